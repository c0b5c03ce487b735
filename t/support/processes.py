# SPDX-License-Identifier: Apache-2.0
"""A server's processes, as /proc shows them: who they are, what they hold, and if any is left."""

import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process of a server. `role` is parent, child, manager, daemon or orphan."""

    pid: int
    ppid: int
    role: str
    name: str


def _read(pid, name):
    """A file of a process, empty once it is gone."""
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def alive(pid):
    """Whether `pid` runs; a zombie does not."""
    state = _read(pid, "stat").rpartition(b")")[2].split()
    return bool(state) and state[0] not in (b"Z", b"X")


def stopped(pid):
    """Whether every thread of `pid` has heeded SIGSTOP."""
    try:
        threads = os.listdir(PROC / str(pid) / "task")
    except OSError:
        return False
    states = [_read(pid, f"task/{tid}/stat").rpartition(b")")[2].split() for tid in threads]
    return all(state and state[0] == b"T" for state in states)


def parent_of(pid):
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def tagged(tag):
    """The pids whose environment has `tag`: a server's processes, also after their parent died."""
    needle = tag.encode()
    pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return sorted(pid for pid in pids if needle in _read(pid, "environ") and alive(pid))


def descriptors(pid):
    """What each open descriptor of `pid` points to."""
    opened = {}
    folder = PROC / str(pid) / "fd"
    try:
        numbers = os.listdir(folder)
    except OSError:
        return opened
    for number in numbers:
        try:
            opened[int(number)] = os.readlink(folder / number)
        except OSError:
            continue
    return opened


def listening_inodes(port):
    """The sockets on which somebody listens at `port`, as /proc/PID/fd names them."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        for row in (PROC / "net" / table).read_text().splitlines()[1:]:
            field = row.split()
            if int(field[1].rpartition(":")[2], 16) == port and field[3] == "0A":
                inodes.add(f"socket:[{field[9]}]")
    return inodes


def connections(port):
    """How many connections a server at `port` still has: established, or closed by the client."""
    count = 0
    for table in ("tcp", "tcp6"):
        for row in (PROC / "net" / table).read_text().splitlines()[1:]:
            field = row.split()
            local = int(field[1].rpartition(":")[2], 16)
            count += local == port and field[3] in ("01", "08")
    return count


def tree(parent, tag, port):
    """The processes of the server `parent`. Its children serve `port`; a manager does not."""
    sockets = listening_inodes(port)
    pids = tagged(tag)
    parents = {pid: parent_of(pid) for pid in pids}

    def role(pid):
        if pid == parent:
            return "parent"
        if parents[pid] == parent:
            return "child" if sockets & set(descriptors(pid).values()) else "manager"
        return "daemon" if parents.get(parents[pid]) == parent else "orphan"

    return [
        Process(pid, parents[pid], role(pid), _read(pid, "comm").decode().strip()) for pid in pids
    ]


def shared_memory(pids):
    """The named shared memory of these processes: what would outlive them if nobody removes it."""
    names = set()
    for pid in pids:
        names |= set(re.findall(r"/dev/shm/\S+", _read(pid, "maps").decode(errors="replace")))
    rows = [row.split() for row in (PROC / "sysvipc" / "shm").read_text().splitlines()[1:]]
    return names | {f"sysv:{row[1]}" for row in rows if int(row[4]) in pids}


def still_there(segments):
    """Those of `shared_memory()` that exist."""
    present = {
        f"sysv:{row.split()[1]}" for row in (PROC / "sysvipc" / "shm").read_text().splitlines()[1:]
    }
    return sorted(
        name for name in segments if name in present or (name[0] == "/" and os.path.exists(name))
    )


def wait_until(condition, seconds, interval=0.01):
    """Poll `condition` until it is true; its last value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(interval)
    return value


def kill_all(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def describe(pid):
    """The command line of `pid`, for people."""
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
