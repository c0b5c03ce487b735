# SPDX-License-Identifier: Apache-2.0
"""Processes that die, clients that leave: everybody else is served, and nothing is left behind."""

import contextlib
import os
import random
import re
import resource
import signal
import subprocess
import time

import pytest

from t.http.sites import steps
from t.support import client, processes
from t.support.environment import PATIENCE
from t.support.load import Load

# Between two kills: short, but a daemon must have the time to start.
STORM_PAUSE = 0.03 * PATIENCE**2


def site(apache, number=4, threads=1, options="channels=24"):
    """A running site whose daemons serve."""
    server = apache(steps(f"processes={number} threads={threads} {options}"))
    assert processes.wait_until(lambda: server.get("/ready").status == 200, 20 * PATIENCE)
    return server


def status(server):
    rows = re.findall(r"^site\.(\w+): (\d+)$", server.get("/status?auto").text, re.M)
    return {name: int(value) for name, value in rows}


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.serial
def test_request_of_a_killed_daemon_gets_502_and_the_next_is_served(apache):
    server = site(apache)
    server.expect("PIPE0312", "PIPE0202")
    assert server.get("/app/die").status == 502
    with server.connect() as connection:
        begun = time.monotonic()
        assert connection.get("/app/pid").status == 200
        assert time.monotonic() - begun < 0.2 * PATIENCE


def test_killed_only_daemon_is_replaced_before_the_next_request_gives_up(apache):
    server = site(apache, number=1)
    server.expect("PIPE0312", "PIPE0202")
    assert server.get("/app/die").status == 502
    begun = time.monotonic()
    assert server.get("/app/pid").status == 200
    assert time.monotonic() - begun < 1.0 * PATIENCE


def test_response_of_a_killed_daemon_is_visibly_cut(apache):
    server = site(apache)
    server.expect("PIPE0312", "PIPE0206")
    with pytest.raises(client.Cut):
        server.get("/app/die-midway")


def test_stopped_worker_is_answered_for_after_its_death(apache):
    """A daemon that hangs is no concern of others; once killed, its client hears at once."""
    server = site(apache)
    server.expect("PIPE0312", "PIPE0202")
    with server.connect() as connection:
        exchange = connection.begin("GET", "/app/sleep?s=60")
        assert processes.wait_until(lambda: status(server)["Busy"] == 1, 5)
        busy = [p.pid for p in server.processes("daemon")]
        begun = time.monotonic()
        for pid in busy:
            kill(pid)
        assert exchange.head().status == 502
        assert time.monotonic() - begun < 1.0 * PATIENCE


@pytest.mark.serial
def test_kill_storm_of_daemons(apache):
    server = site(apache, threads=2)
    server.expect("PIPE0312", "PIPE0202", "PIPE0206")
    kills = 0
    paths = ["/app/pid", "/app/sleep?s=0.002", "/app/body?n=100000"]
    with Load(server, paths, connections=6) as load:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            victims = server.processes("daemon")
            if victims:
                kill(random.choice(victims).pid)
                kills += 1
            time.sleep(STORM_PAUSE)
    tally = load.tally
    assert kills > 3 / STORM_PAUSE
    # what the victims had in hand is lost, one request a worker at most, and nothing else
    assert tally.failed + tally.cut <= 2 * kills, tally
    assert set(tally.statuses) <= {200, 502}, tally
    assert tally.refused == tally.timed_out == tally.malformed == tally.wrong == 0, tally.notes
    assert tally.latency_max < 1.5 * PATIENCE, tally.slowest
    assert processes.wait_until(lambda: status(server)["Live"] == 4, 10 * PATIENCE)
    assert status(server)["Busy"] == 0
    all_channels_serve(server)


@pytest.mark.serial
def test_kill_storm_of_children_leaks_no_channel(apache):
    server = site(apache, threads=2)
    server.expect("AH00052", "PIPE0312")
    kills = 0
    with Load(server, ["/app/pid", "/app/sleep?s=0.02"], connections=6) as load:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            victims = server.processes("child")
            if len(victims) > 1:
                kill(random.choice(victims).pid)
                kills += 1
            time.sleep(0.05)
    assert kills > 20
    assert load.tally.failed == 0, load.tally.notes
    assert load.tally.wrong == load.tally.malformed == 0
    assert processes.wait_until(lambda: status(server)["Busy"] == 0, 10 * PATIENCE)
    all_channels_serve(server)


def all_channels_serve(server):
    """As many requests at once as there are channels: with one leaked, one of them would wait."""
    with Load(server, ["/app/sleep?s=0.3"], connections=24) as load:
        time.sleep(2)
    assert load.tally.lost == 0, load.tally.notes


def test_client_that_leaves_frees_its_worker(apache):
    server = site(apache, number=1)
    connection = server.connect()
    exchange = connection.begin("GET", "/app/endless")
    assert exchange.head().status == 200
    connection.close()
    assert server.get("/app/pid").status == 200
    assert processes.wait_until(lambda: status(server)["Cancelled"] == 1, 5 * PATIENCE)


def test_request_whose_client_left_while_it_waited_is_not_run(apache):
    server = site(apache, number=1)
    with server.connect() as busy:
        holding = busy.begin("GET", "/app/sleep?s=1")
        assert processes.wait_until(lambda: status(server)["Busy"] == 1, 5)
        waiting = server.connect()
        waiting.begin("GET", "/app/sleep?s=30")
        time.sleep(0.2)
        waiting.close()
        assert holding.head().status == 200
        holding.read()
    assert server.get("/app/pid").status == 200
    assert status(server)["Cancelled"] == 1


def test_nobody_free_within_queue_timeout_is_503_with_retry_after(apache):
    server = site(apache, number=1, options="queue-timeout=1")
    server.expect("PIPE0201")
    with server.connect() as busy:
        holding = busy.begin("GET", "/app/sleep?s=3")
        assert processes.wait_until(lambda: status(server)["Busy"] == 1, 5)
        begun = time.monotonic()
        answer = server.get("/app/pid")
        assert answer.status == 503
        assert answer.header("retry-after")
        assert 0.9 < time.monotonic() - begun < 2 * PATIENCE
        assert holding.head().status == 200


def test_more_requests_than_channels_wait_their_turn(apache):
    server = site(apache, number=2, options="channels=4")
    with Load(server, ["/app/sleep?s=0.01"], connections=12) as load:
        time.sleep(3)
    assert load.tally.lost == 0, load.tally.notes
    assert load.tally.latency_max < 1.0 * PATIENCE


def test_a_worker_that_does_not_answer_is_504(apache):
    server = site(apache, number=2, options="request-timeout=1")
    server.expect("PIPE0205")
    assert server.get("/app/sleep?s=3").status == 504
    assert server.get("/app/pid").status == 200


@pytest.mark.parametrize("how", ["exit", "raise", "return"])
@pytest.mark.parametrize("threads", [1, 2])
def test_fork_of_an_application_is_no_worker(apache, how, threads):
    server = site(apache, number=1, threads=threads)
    server.expect("PIPE0510", "PIPE0511", "PIPE0513")
    daemons = {p.pid for p in server.processes("daemon")}
    for _ in range(3):
        answer = server.get(f"/app/fork?how={how}")
        assert (answer.status, answer.text) == (200, "the parent answers")
    assert {int(server.get("/app/pid").text) for _ in range(20)} == daemons
    assert processes.wait_until(
        lambda: {p.pid for p in server.processes() if p.name.startswith("pipeline:")} == daemons,
        5 * PATIENCE,
    )


def test_programs_of_an_application_hear_signals(apache):
    server = site(apache, number=1)
    assert server.get("/app/terminate", timeout=30).text == "[true, true, true, true, true]"


def test_daemon_whose_descriptors_were_closed_is_replaced(apache):
    server = site(apache, number=1)
    server.expect("PIPE0334", "PIPE0202", "PIPE0206", "PIPE0312", "PIPE0313", "PIPE0314")
    server.expect("PIPE0201", "PIPE0517", "PIPE0205")
    with server.connect(timeout=5) as connection:
        connection.begin("GET", "/app/close-all")
        assert processes.wait_until(lambda: status(server)["Deaths"] >= 1, 10 * PATIENCE)
        assert processes.wait_until(lambda: server.get("/app/pid").status == 200, 10 * PATIENCE)


def test_slow_sender_of_a_small_body_holds_no_worker(apache):
    server = site(apache, number=1)
    slow = [server.connect() for _ in range(6)]
    exchanges = [connection.begin("POST", "/app/count", length=10) for connection in slow]
    for exchange in exchanges:
        exchange.send(b"12345")
    time.sleep(0.3)
    assert status(server)["Busy"] == 0
    assert server.get("/app/pid").status == 200
    for exchange in exchanges:
        exchange.send(b"67890")
        assert exchange.response().body == b"10"


def test_application_that_fails_late_names_the_line_of_the_log(apache):
    server = site(apache)
    server.expect("PIPE0511", "PIPE0209", "PIPE0206")
    seen = set()
    for _ in range(10):
        try:
            answer = server.get("/app/fail-late")
        except client.Cut:
            continue
        seen.add(answer.status)
        assert answer.status == 500
        shown = re.search(r"under ([0-9a-f-]+)", answer.text)
        assert f"[{shown.group(1)}]" in server.log()
    assert seen <= {500}


def test_trace_is_httpds_own_affair(apache):
    server = apache("TraceEnable off\n" + steps())
    assert processes.wait_until(lambda: server.get("/ready").status == 200, 20 * PATIENCE)
    assert server.request("TRACE", "/app/pid").status == 405


def test_status_that_httpd_does_not_know_is_passed_on(apache):
    server = site(apache)
    with server.connect() as connection:
        for line in ("299 Odd", "299 "):
            response = connection.get("/app/status?line=" + line.replace(" ", "%20"))
            assert response.status == 299


def test_response_whose_daemon_died_behind_a_slow_client_is_cut_at_once(apache):
    """A channel was full when the manager told of the death, so the child finds it out itself."""
    server = site(apache, number=2, threads=4)
    server.expect("PIPE0312", "PIPE0206")
    connections = [server.connect() for _ in range(8)]
    exchanges = [connection.begin("GET", "/app/body?n=20000000") for connection in connections]
    for exchange in exchanges:
        assert exchange.head().status == 200
    time.sleep(0.5)
    for process in server.processes("daemon"):
        kill(process.pid)
    assert processes.wait_until(lambda: status(server)["Live"] == 2, 10 * PATIENCE)
    for exchange in exchanges:
        begun = time.monotonic()
        with pytest.raises(client.Cut):
            exchange.response()
        assert time.monotonic() - begun < 3 * PATIENCE
    for connection in connections:
        connection.close()


def test_frames_of_a_client_that_left_do_not_pass_for_an_answer(apache):
    server = site(apache, number=1, options="channels=2 queue-timeout=1")
    server.expect("PIPE0201")
    for _ in range(6):
        with server.connect() as connection:
            assert connection.begin("GET", "/app/body?n=20000000").head().status == 200
            time.sleep(0.2)
    assert processes.wait_until(lambda: status(server)["Busy"] == 0, 5 * PATIENCE)
    with server.connect(timeout=20) as busy:
        holding = busy.begin("GET", "/app/sleep?s=5")
        assert processes.wait_until(lambda: status(server)["Busy"] == 1, 5 * PATIENCE)
        assert server.get("/app/pid").status == 503
        assert holding.head().status == 200


def test_slow_upload_is_no_silence_of_the_worker(apache):
    server = site(apache, number=1, options="request-timeout=1")
    with server.connect(timeout=20) as connection:
        exchange = connection.begin("POST", "/app/count", chunked=True)
        for _ in range(15):
            exchange.send(b"x")
            time.sleep(0.2)
        assert exchange.response().text == "15"


def test_client_that_stops_sending_gets_408(apache):
    server = site(apache, number=1, options="request-timeout=1")
    server.expect("PIPE0210")
    with server.connect(timeout=20) as connection:
        exchange = connection.begin("POST", "/app/count", chunked=True)
        exchange.send(b"x")
        assert exchange.head().status == 408
    assert server.get("/app/pid").status == 200


def test_time_that_a_small_body_takes_is_none_in_the_queue(apache):
    server = site(apache, number=1, options="queue-timeout=1")
    with server.connect(timeout=20) as connection:
        exchange = connection.begin("POST", "/app/count", length=2)
        for _ in range(2):
            time.sleep(1)
            exchange.send(b"x")
        assert exchange.response().text == "2"


def test_orphan_with_a_request_that_never_ends_is_not_for_ever(apache):
    server = site(apache, number=1, options="graceful-timeout=1")
    server.expect("PIPE0301", "PIPE0202")
    with server.connect(timeout=20) as connection:
        exchange = connection.begin("GET", "/app/sleep?s=60")
        assert processes.wait_until(lambda: status(server)["Busy"] == 1, 5 * PATIENCE)
        kill(server.processes("manager")[0].pid)
        server.wait_log("PIPE0301")
        assert processes.wait_until(lambda: server.processes("orphan"), 5 * PATIENCE)
        assert processes.wait_until(lambda: not server.processes("orphan"), 8 * PATIENCE)
        assert exchange.head().status == 502


def test_graceful_without_descriptors_leaves_the_old_daemons_serving(apache):
    """Its queue and channels cannot be made; the next graceful, which needs fewer, is good."""
    server = site(apache, number=1)
    server.expect("PIPE0303")
    before = server.get("/app/pid").text
    room = len(server.descriptors()) + 20
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (room, room))
    server.configure(steps("processes=1 threads=1 channels=32"))
    server.graceful()
    server.wait_log("PIPE0303")
    with Load(server, ["/app/pid"], connections=4) as load:
        time.sleep(3)
    assert load.tally.lost == 0, load.tally.notes
    assert server.get("/app/pid").text == before
    server.configure(steps("processes=1 threads=1 channels=4"))
    server.graceful()
    assert processes.wait_until(lambda: server.get("/app/pid").text != before, 10 * PATIENCE)


@pytest.mark.parametrize("path", ["/app/endless", "/app/sleep?s=2", "/app/count"])
def test_http2_stream_that_is_cancelled_frees_its_worker(apache, certificate, path):
    server = apache(steps("processes=1 threads=1"), tls=certificate)
    assert processes.wait_until(lambda: server.get("/ready").status == 200, 20 * PATIENCE)
    body = ["-T", "-"] if path == "/app/count" else []
    asking = subprocess.Popen(
        ["curl", "-sSk", "--http2", "-o", "/dev/null", *body, server.url(path, tls=True)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert processes.wait_until(lambda: status(server)["Busy"] == 1, 10 * PATIENCE)
    asking.terminate()
    asking.wait()
    asking.stdin.close()
    assert processes.wait_until(lambda: status(server)["Cancelled"] == 1, 3 * PATIENCE)
    assert processes.wait_until(lambda: status(server)["Busy"] == 0, 4 * PATIENCE)
    assert server.get("/app/pid").status == 200


def test_stopped_daemon_takes_no_ticket_and_is_replaced_by_a_graceful(apache):
    server = site(apache, number=2, options="graceful-timeout=1")
    server.expect("PIPE0315", "PIPE0312")
    stopped = server.processes("daemon")[0].pid
    os.kill(stopped, signal.SIGSTOP)
    assert processes.wait_until(lambda: processes.stopped(stopped), 5 * PATIENCE)
    for _ in range(50):
        begun = time.monotonic()
        assert server.get("/app/pid").text != str(stopped)
        assert time.monotonic() - begun < 0.5 * PATIENCE
    server.graceful()
    assert processes.wait_until(lambda: not processes.alive(stopped), 10 * PATIENCE)
    assert processes.wait_until(lambda: status(server)["Live"] == 2, 10 * PATIENCE)
