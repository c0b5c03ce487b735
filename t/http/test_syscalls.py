# SPDX-License-Identifier: Apache-2.0
"""How many system calls a request costs, counted by strace: the budget of the design.

A trivial application may cost an httpd child three calls more than a static file does (the ticket's
send, poll, the answer's recv), and a daemon three in all, of which it needs two (recv, send). The
file is counted in the same way, on the same server, just before.

Several connections take turns, so that each is idle, and back with httpd's listener, when its next
request comes: how often that happens would otherwise be a matter of luck, and costs calls.
"""

import contextlib
import re
import signal
import subprocess
from pathlib import Path

import pytest

from t.support import environment, processes
from t.support.environment import PATIENCE

# As the figure is defined; instrumented code is slower, and strace makes it slower still.
REQUESTS = 10_000 // PATIENCE
CHILD_BEYOND_STATIC = 3
DAEMON = 3
CONNECTIONS = 8

SITE = """
MaxKeepAliveRequests 0
<Directory />
    Options FollowSymLinks
    AllowOverride None
</Directory>
PipelineDaemonProcess site processes=1 threads=1 python-path=@ROOT@/app
PipelineProcessGroup site
PipelineScriptAlias /app hello:application
<Location /ready>
    SetHandler pipeline-ready
</Location>
"""

HELLO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, world!"]
"""

ROW = re.compile(r"^\s*(\w+)\s+(\d+)$", re.MULTILINE)


class Strace:
    """Counts the calls of all threads of some processes, while it is entered.

    Only between enter and exit; `calls` then says how often each was made.
    """

    def __init__(self, pids, output):
        self.pids = pids
        self.output = Path(output)
        self.calls = {}

    def __enter__(self):
        options = [word for pid in self.pids for word in ("-p", str(pid))]
        self._process = subprocess.Popen(
            ["strace", "-f", "-c", "-U", "name,calls", "-o", str(self.output), *options],
            env=environment.clean_environment(),
            stderr=subprocess.PIPE,
        )
        if not processes.wait_until(self._attached, 10 * PATIENCE):
            self._process.kill()
            raise AssertionError(f"strace: {self._process.communicate()[1].decode()}")
        return self

    def __exit__(self, *exception):
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=20 * PATIENCE)
        self.calls = {name: int(calls) for name, calls in ROW.findall(self.output.read_text())}
        self.calls.pop("total", None)

    def _attached(self):
        tracer = f"TracerPid:\t{self._process.pid}\n"
        tasks = [task for pid in self.pids for task in Path(f"/proc/{pid}/task").iterdir()]
        return all(tracer in (task / "status").read_text() for task in tasks)

    def per_request(self):
        return sum(self.calls.values()) / REQUESTS


def pids(server, role):
    return [process.pid for process in server.processes(role)]


def ask(connections, path, times):
    for number in range(times):
        assert connections[number % len(connections)].get(path).body == b"Hello, world!"


def count(server, path, folder):
    """The calls of children and of daemons during REQUESTS requests for `path`."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect(timeout=60)) for _ in range(CONNECTIONS)]
        ask(connections, path, 100)  # what is done once only has been done
        with (
            Strace(pids(server, "child"), folder / "child") as child,
            Strace(pids(server, "daemon"), folder / "daemon") as daemon,
        ):
            ask(connections, path, REQUESTS)
    return child, daemon


@pytest.mark.timeout(240 * PATIENCE)
def test_a_trivial_request_stays_within_its_budget_of_system_calls(apache, tmp_path):
    server = apache(SITE, files={"app/hello.py": HELLO, "htdocs/hello.txt": "Hello, world!"})
    assert processes.wait_until(lambda: server.get("/ready").status == 200, 20 * PATIENCE)
    file_child, file_daemon = count(server, "/hello.txt", tmp_path)
    child, daemon = count(server, "/app", tmp_path)
    print(f"child, static file: {file_child.per_request():.2f} a request: {file_child.calls}")
    print(f"child: {child.per_request():.2f} a request: {child.calls}")
    print(f"daemon: {daemon.per_request():.2f} a request: {daemon.calls}")
    assert file_child.per_request() > 3, "strace saw too little"
    assert child.per_request() - file_child.per_request() <= CHILD_BEYOND_STATIC
    assert daemon.per_request() - file_daemon.per_request() <= DAEMON
    # One frame each way, and no file: what the two sides say to each other is all there is.
    for side in (child, daemon):
        exchanged = [side.calls.get(name, 0) / REQUESTS for name in ("sendmsg", "recvmsg")]
        assert exchanged == pytest.approx([1, 1], abs=0.05), side.calls
        assert side.calls.get("openat", 0) / REQUESTS < 0.05, side.calls
