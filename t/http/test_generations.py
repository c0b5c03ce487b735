# SPDX-License-Identifier: Apache-2.0
"""Graceful, restart, stop: nothing is lost, nobody waits, what cannot load changes nothing."""

import contextlib
import os
import signal
import subprocess
import threading
import time

import pytest

from t.http.sites import steps
from t.support import client, environment, processes
from t.support.environment import PATIENCE
from t.support.load import Load

STEPS = steps()

SLOW_IMPORT = """\
import time
time.sleep({seconds})
from steps import application
"""

OWN = steps("processes=2 threads=2", path="@ROOT@/app:", target="own:application")


def ready(server):
    """Every daemon of the first generation serves."""
    return server.wait_log("generation 1 is ready", 20)


def pids(server):
    return {p.pid for p in server.processes("daemon")}


@pytest.mark.serial
def test_twenty_gracefuls_lose_no_request(apache):
    server = apache(STEPS, files={"htdocs/static.txt": "static"})
    assert ready(server)
    quick = ["/app/pid", "/app/sleep?s=0.01", "/app/body?n=70000", "/static.txt"]
    slow = ["/app/sleep?s=6", "/app/sleep?s=1", "/app/sleep?s=4"]
    with (
        Load(server, quick, connections=4) as many,
        Load(server, slow, connections=2) as long,
        Load(server, ["/static.txt"], connections=1) as static,
    ):
        for _ in range(20):
            time.sleep(1.5)
            server.graceful()
        time.sleep(1)
    for tally in (many.tally, long.tally, static.tally):
        assert tally.lost == 0, tally.notes
        assert tally.complete == tally.statuses[200] > 0
    assert long.tally.latency_max < 6.5 * PATIENCE
    assert many.tally.latency_max < 0.4 * PATIENCE, many.tally.slowest
    assert static.tally.latency_max < 0.4 * PATIENCE


@pytest.mark.serial
def test_graceful_waits_for_no_import(apache):
    server = apache(OWN, files={"app/own.py": SLOW_IMPORT.format(seconds=3)})
    assert ready(server)
    first = pids(server)
    with Load(server, ["/app/pid", "/app/sleep?s=0.01"], connections=2) as load:
        for _ in range(2):
            server.graceful()
            time.sleep(4.5 * PATIENCE)
    assert load.tally.lost == 0, load.tally.notes
    assert load.tally.latency_max < 0.4 * PATIENCE
    assert processes.wait_until(lambda: not first & pids(server), 10 * PATIENCE)


def test_graceful_replaces_every_daemon(apache):
    server = apache(STEPS)
    assert ready(server)
    before = pids(server)
    server.graceful()
    assert processes.wait_until(
        lambda: len(pids(server)) == 4 and not before & pids(server), 10 * PATIENCE
    )
    assert processes.wait_until(lambda: len(server.processes("manager")) == 1, 5 * PATIENCE)


def test_code_that_cannot_be_imported_leaves_the_old_serving(apache):
    server = apache(OWN, files={"app/own.py": "from steps import application\n"})
    server.expect("PIPE0503", "PIPE0313", "PIPE0311")
    assert ready(server)
    before = pids(server)
    server.write("app/own.py", "this is no Python\n")
    server.graceful()
    line = server.wait_log("PIPE0311")
    assert "goes on serving" in line
    assert server.get("/app/pid").status == 200
    assert int(server.get("/app/pid").text) in before
    answer = server.get("/ready")
    assert answer.status == 200
    assert "generation 2 could not be started" in answer.text
    assert "SyntaxError" in server.wait_log("PIPE0503")

    server.write("app/own.py", "from steps import application\n")
    server.graceful()
    assert processes.wait_until(lambda: not before & pids(server), 10 * PATIENCE)
    assert processes.wait_until(lambda: "could not" not in server.get("/ready").text, 10 * PATIENCE)
    assert server.get("/app/pid").status == 200


def test_configuration_whose_application_fails_leaves_the_old_one_serving(apache):
    server = apache(OWN, files={"app/own.py": "from steps import application\n"})
    server.expect("PIPE0503", "PIPE0313", "PIPE0311")
    assert ready(server)
    before = pids(server)
    server.configure(OWN.replace("own:application", "nowhere:application"))
    server.graceful()
    server.wait_log("PIPE0311")
    assert int(server.get("/app/pid").text) in before
    server.configure(OWN.replace("own:application", "steps:application"))
    server.graceful()
    assert processes.wait_until(lambda: not before & pids(server), 10 * PATIENCE)
    assert server.get("/app/pid").status == 200


def test_old_configuration_serves_on_without_its_manager_while_the_new_one_fails(apache):
    server = apache(OWN, files={"app/own.py": "from steps import application\n"})
    server.expect("PIPE0503", "PIPE0313", "PIPE0311")
    assert ready(server)
    before = pids(server)
    server.configure(OWN.replace("own:application", "nowhere:application"))
    server.graceful()
    server.wait_log("PIPE0311")
    daemon = int(server.get("/app/pid").text)
    os.kill(processes.parent_of(daemon), signal.SIGKILL)
    assert processes.wait_until(lambda: server.processes("orphan"), 5 * PATIENCE)
    with Load(server, ["/app/pid"], connections=2) as load:
        time.sleep(2)
    assert load.tally.lost == 0, load.tally.notes
    server.configure(OWN)
    server.graceful()
    assert processes.wait_until(lambda: not before & pids(server), 10 * PATIENCE)
    assert processes.wait_until(lambda: not server.processes("orphan"), 10 * PATIENCE)
    assert server.get("/app/pid").status == 200


def test_without_old_code_a_failure_is_a_503_at_once(apache):
    server = apache(OWN, files={"app/own.py": "raise RuntimeError('broken')\n"})
    server.expect("PIPE0503", "PIPE0313", "PIPE0311", "PIPE0200", "PIPE0201")
    server.wait_log("PIPE0311")
    begun = time.monotonic()
    answer = server.get("/app/pid")
    assert answer.status == 503
    assert answer.header("retry-after")
    assert time.monotonic() - begun < 0.5 * PATIENCE
    assert server.get("/ready").status == 503

    server.write("app/own.py", "from steps import application\n")  # tried again by itself
    assert processes.wait_until(lambda: server.get("/app/pid").status == 200, 20 * PATIENCE)


def test_requests_that_wait_for_a_failing_import_get_503_when_it_fails(apache):
    server = apache(
        OWN, files={"app/own.py": "import time\ntime.sleep(1)\nraise RuntimeError('late')\n"}
    )
    server.expect("PIPE0503", "PIPE0313", "PIPE0311", "PIPE0200", "PIPE0201")
    begun = time.monotonic()
    assert server.get("/app/pid").status == 503
    assert time.monotonic() - begun < 4 * PATIENCE


# A crash; under a sanitizer one that it does not take for a find of its own.
CRASH = "SIGSYS" if environment.SANITIZE else "SIGSEGV"


@pytest.mark.parametrize(
    "code",
    ["import sys\nsys.exit(0)\n", f"import os, signal\nos.kill(os.getpid(), signal.{CRASH})\n"],
)
def test_import_that_ends_the_process_backs_off(apache, code):
    server = apache(OWN, files={"app/own.py": code})
    server.expect("PIPE0503", "PIPE0312", "PIPE0313", "PIPE0311", "PIPE0200", "PIPE0201")
    server.wait_log("PIPE0311")
    time.sleep(3)
    starts = server.log().count("of generation 1 starts")
    assert 2 <= starts <= 5, starts
    assert server.get("/app/pid").status == 503


def test_import_that_never_returns_is_ended_by_startup_timeout(apache):
    directives = OWN.replace("threads=2", "threads=2 startup-timeout=1 queue-timeout=5")
    server = apache(directives, files={"app/own.py": "while True:\n    pass\n"})
    server.expect("PIPE0315", "PIPE0312", "PIPE0311", "PIPE0200", "PIPE0201")
    server.wait_log("PIPE0311")
    assert server.get("/app/pid").status == 503


def test_a_kill_is_told_once_however_long_the_daemon_takes_to_go(apache):
    """A tracer that sleeps keeps the dead daemon from being reaped."""
    directives = OWN.replace("processes=2 threads=2", "processes=1 startup-timeout=2")
    server = apache(directives, files={"app/own.py": "while True:\n    pass\n"})
    server.expect("PIPE0315", "PIPE0312", "PIPE0311")
    (daemon,) = processes.wait_until(lambda: server.processes("daemon"), 2)
    with held_by_tracer(daemon.pid):
        server.wait_log("PIPE0315")
        time.sleep(0.5)
        assert server.log().count("PIPE0315") == 1
    server.wait_log("PIPE0311")


@contextlib.contextmanager
def held_by_tracer(pid):
    """Until this ends, the process stays a zombie if it is killed, and its parent hears nothing."""
    tracer = subprocess.Popen(["strace", "-o", "/dev/null", "-p", str(pid)], stderr=subprocess.PIPE)
    try:
        assert b"attached" in tracer.stderr.readline()
        tracer.send_signal(signal.SIGSTOP)
        yield
    finally:
        tracer.kill()
        tracer.communicate(timeout=10)


def test_stop_ends_everything_and_lets_requests_go(apache):
    server = apache(STEPS)
    assert ready(server)
    begun = time.monotonic()
    server.stop()
    assert processes.wait_until(lambda: not processes.tagged(server.tag), 5 * PATIENCE)
    assert time.monotonic() - begun < 4 * PATIENCE


def test_graceful_stop_finishes_what_was_begun(apache):
    server = apache(STEPS)
    assert ready(server)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(server.get("/app/sleep?s=2")))
    asking.start()
    time.sleep(0.5)
    server.graceful_stop()
    asking.join()
    assert answers[0].status == 200
    assert answers[0].text == "slept"


def test_restart_serves_again(apache):
    server = apache(STEPS)
    assert ready(server)
    before = pids(server)
    server.restart()
    assert processes.wait_until(lambda: server.get("/ready").status == 200, 10 * PATIENCE)
    assert server.get("/app/pid").status == 200
    assert processes.wait_until(lambda: not before & pids(server), 10 * PATIENCE)


def test_a_group_that_is_removed_drains(apache):
    server = apache(STEPS + "PipelineDaemonProcess other processes=1 threads=1\n")
    assert ready(server)
    assert len(server.processes("daemon")) == 5
    server.configure(STEPS)
    server.graceful()
    assert processes.wait_until(lambda: len(server.processes("daemon")) == 4, 10 * PATIENCE)
    assert processes.wait_until(lambda: len(server.processes("manager")) == 1, 10 * PATIENCE)


def test_max_connections_per_child_loses_nothing(apache):
    server = apache("MaxConnectionsPerChild 20\n" + STEPS)
    assert ready(server)
    for _ in range(150):
        assert server.get("/app/pid").status == 200


def test_maximum_requests_recycles_without_a_gap(apache):
    directives = STEPS.replace("threads=1", "threads=1 maximum-requests=50").replace(
        "processes=4", "processes=1"
    )
    server = apache(directives)
    assert ready(server)
    seen = set()
    deadline = time.monotonic() + 20 * PATIENCE
    connection = server.connect()
    while len(seen) < 3 and time.monotonic() < deadline:
        try:
            response = connection.get("/app/pid")
        except client.ClosedIdle:
            connection = server.connect()
            response = connection.get("/app/pid")
        assert response.status == 200
        seen.add(response.text)
    connection.close()
    assert len(seen) == 3


def test_orphans_serve_on_when_the_manager_is_killed(apache):
    server = apache(STEPS)
    server.expect("PIPE0301")
    assert ready(server)
    with Load(server, ["/app/pid", "/app/sleep?s=0.05"], connections=4) as load:
        for _ in range(3):
            time.sleep(0.7)
            os.kill(server.processes("manager")[0].pid, signal.SIGKILL)
            server.wait_log("PIPE0301")
        time.sleep(1.5)
    assert load.tally.lost == 0, load.tally.notes
    assert processes.wait_until(lambda: len(server.processes("daemon")) == 4, 10 * PATIENCE)
    assert processes.wait_until(lambda: not server.processes("orphan"), 10 * PATIENCE)


def test_death_of_the_parent_leaves_children_and_daemons_serving(apache):
    server = apache(STEPS)
    assert ready(server)
    with server.connect() as connection:
        assert connection.get("/app/pid").status == 200
        os.kill(server.pid, signal.SIGKILL)
        assert connection.get("/app/pid").status == 200
    children = [p.pid for p in server.processes() if p.name == "apache2"]
    processes.kill_all(children)
    assert processes.wait_until(lambda: not processes.tagged(server.tag), 10 * PATIENCE)


NEIGHBOURS = OWN.replace(
    "PipelineScriptAlias /app own:application",
    "PipelineScriptAlias /app steps:application\nPipelineScriptAlias /own own:application",
)


def test_broken_application_leaves_its_neighbours_alone(apache):
    server = apache(NEIGHBOURS, files={"app/own.py": "raise RuntimeError('broken')\n"})
    server.expect("PIPE0503", "PIPE0504", "PIPE0316", "PIPE0313")
    server.wait_log("PIPE0316")
    assert server.get("/app/pid").status == 200
    answer = server.get("/own/pid")
    assert answer.status == 503
    assert answer.header("retry-after")
    assert "could not be started" in server.get("/ready").text

    server.write("app/own.py", "from steps import application\n")  # tried again by itself
    with Load(server, ["/app/pid"], connections=2) as load:
        assert processes.wait_until(lambda: server.get("/own/pid").status == 200, 20 * PATIENCE)
        assert processes.wait_until(
            lambda: "could not" not in server.get("/ready").text, 20 * PATIENCE
        )
    assert load.tally.lost == 0, load.tally.notes
    assert len(pids(server)) >= 2


def test_broken_neighbour_does_not_replace_a_generation_that_is_whole(apache):
    server = apache(NEIGHBOURS, files={"app/own.py": "from steps import application\n"})
    server.expect("PIPE0503", "PIPE0311", "PIPE0313")
    assert ready(server)
    before = pids(server)
    server.write("app/own.py", "raise RuntimeError('broken')\n")
    server.graceful()
    server.wait_log("PIPE0311")
    assert server.get("/own/pid").status == 200
    assert before <= pids(server)


@pytest.mark.serial
def test_changed_configuration_waits_for_no_import_and_loses_nothing(apache):
    """The digest changes, so there is a new queue; the old one serves until the new one can."""
    slow = SLOW_IMPORT.format(seconds=2)
    server = apache(OWN, files={"app/own.py": slow})
    assert ready(server)
    before = pids(server)
    body = b"x" * 100_000
    with (
        Load(server, ["/app/pid", "/app/sleep?s=0.01"], connections=4) as load,
        Load(server, ["/app/sleep?s=3"], connections=1) as long,
    ):
        for threads in (3, 1, 2):
            server.configure(OWN.replace("threads=2", f"threads={threads}"))
            server.graceful()
            for _ in range(8):
                time.sleep(0.4)
                answer = server.request("POST", "/app/count", body=body)
                assert answer.status == 200
                assert answer.text == str(len(body))
    for tally in (load.tally, long.tally):
        assert tally.lost == 0, tally.notes
    assert load.tally.latency_max < 0.5 * PATIENCE, load.tally.slowest
    assert processes.wait_until(lambda: not before & pids(server), 15 * PATIENCE)
    assert processes.wait_until(lambda: len(server.processes("manager")) == 1, 10 * PATIENCE)


@pytest.mark.serial
def test_more_requests_than_the_queue_holds_wait_for_the_first_import(apache):
    directives = OWN.replace("threads=2", "threads=2 channels=256")
    server = apache(
        "ThreadsPerChild 64\nMaxRequestWorkers 256\n" + directives,
        files={"app/own.py": SLOW_IMPORT.format(seconds=3)},
    )
    large = [("X-Large", "v" * 6000)]
    waiting = [server.connect(timeout=30) for _ in range(150)]
    exchanges = [connection.begin("GET", "/app/pid", large) for connection in waiting]
    statuses = {exchange.response().status for exchange in exchanges}
    for connection in waiting:
        connection.close()
    assert statuses == {200}
