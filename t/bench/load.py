# SPDX-License-Identifier: Apache-2.0
"""One measurement: wrk on one URL for some seconds, and what that cost the server's processes.

CPU time is the difference of utime and stime (/proc/PID/stat, in ticks of 10 ms) over all of the
server's processes; it hardly depends on what else the machine does, unlike requests a second.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from t.support import environment

CONNECTIONS = 8
TICKS = os.sysconf("SC_CLK_TCK")
UTIME, STIME = 11, 12  # behind the command's name, in /proc/PID/stat

UPLOAD = 'wrk.method = "POST"\nwrk.body = string.rep("x", {size})\n'

TOTAL = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
RATE = re.compile(r"^Requests/sec:\s*([\d.]+)", re.MULTILINE)
BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)")
SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read \d+, write (\d+), timeout (\d+)")


@dataclass(frozen=True)
class Sample:
    """What one run of wrk saw."""

    rate: float  # requests/s
    cpu: float  # µs of the server's processes per request
    bad: int  # answers that were errors, and requests without an answer
    busy: float  # cores that neither the server nor wrk has used: what else went on


def cpu_seconds(pids):
    """What each process has used so far, by pid; gone ones are missing."""
    used = {}
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        used[pid] = (int(fields[UTIME]) + int(fields[STIME])) / TICKS
    return used


def machine_seconds():
    """CPU time of the whole machine but for idling and waiting."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def script_for(case, folder):
    """wrk's script for a case that sends a body; None if it sends none."""
    if not case.body:
        return None
    path = Path(folder) / f"{case.body}.lua"
    path.write_text(UPLOAD.format(size=case.body))
    return path


def command(url, seconds, script=None, connections=CONNECTIONS):
    options = ["-s", str(script)] if script else []
    return ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *options, url]


def bad_answers(text):
    """A server that closes its connections makes wrk count reads that end: no errors."""
    found = SOCKET_ERRORS.search(text)
    bad = BAD.search(text)
    return sum(map(int, found.groups()) if found else ()) + (int(bad[1]) if bad else 0)


def run(url, seconds, script, pids):
    """Load on `url`; a Sample."""
    machine = machine_seconds()
    before = cpu_seconds(pids)
    started = os.times()
    text = subprocess.run(
        command(url, seconds, script),
        env=environment.clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    ended = os.times()
    after = cpu_seconds(pids)
    spent = sum(after[pid] - before[pid] for pid in after if pid in before)
    client = ended.children_user + ended.children_system
    client -= started.children_user + started.children_system
    others = machine_seconds() - machine - spent - client
    requests = int(TOTAL.search(text)[1])
    return Sample(
        rate=float(RATE.search(text)[1]),
        cpu=spent * 1e6 / requests if requests else float("inf"),
        bad=bad_answers(text),
        busy=max(0.0, others / (ended.elapsed - started.elapsed)),
    )
