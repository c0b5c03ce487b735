# SPDX-License-Identifier: Apache-2.0
"""A thousand daemons and a thousand children killed under load.

What a victim had in hand is lost, and nothing else: every loss overlaps a kill, there are no more
of them than the victims had workers, all other requests are right and in time, and afterwards every
channel serves.
"""

import contextlib
import os
import random
import signal
import time

from t.http.sites import steps
from t.soak import MINUTES, marks
from t.support import processes
from t.support.environment import PATIENCE
from t.support.load import Ask, Load

pytestmark = marks(MINUTES)

KILLS = max(100, min(1000, int(MINUTES * 100)))
CHANNELS = 24
THREADS = 2
# A client sees its loss a moment after the kill: the manager has to reap, the child to be told.
NOTICED = 0.5 * PATIENCE
BODY = bytes(range(256)) * 400
ASKS = [
    Ask("/app/work?s=0&n=10"),
    Ask("/app/work?s=0.004&n=100000"),
    Ask("/app/work?s=0.02&n=300", body=BODY),
    Ask("/app/pid"),
]
# Many small children, so that httpd is never out of them while it forks others.
CHILDREN = """
ServerLimit 32
StartServers 12
ThreadsPerChild 5
MinSpareThreads 50
MaxSpareThreads 150
MaxRequestWorkers 150
"""


def site(apache, directives=""):
    server = apache(directives + steps(f"processes=4 threads={THREADS} channels={CHANNELS}"))
    assert processes.wait_until(lambda: server.get("/ready").status == 200, 20 * PATIENCE)
    return server


def storm(server, role, *, spare, pause):
    """Kills one process of `role` after the other; the moments at which it did."""
    kills = []
    deadline = time.monotonic() + (MINUTES * 60 + 120) * PATIENCE
    while len(kills) < KILLS and time.monotonic() < deadline:
        victims = server.processes(role)
        if len(victims) > spare:
            kills.append(time.monotonic())
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.choice(victims).pid, signal.SIGKILL)
        time.sleep(pause)
    return kills


def unexplained(losses, kills):
    """The losses during which nobody was killed."""
    return [
        loss
        for loss in losses
        if not any(loss.begun - NOTICED <= moment <= loss.ended for moment in kills)
    ]


def all_channels_serve(server):
    """As many requests at once as there are channels: with one leaked, one of them would wait."""
    with Load(server, ["/app/sleep?s=0.3"], connections=CHANNELS) as load:
        time.sleep(2)
    assert load.tally.lost == 0, load.tally.notes
    status = server.get("/status?auto").text
    assert "site.Busy: 0" in status
    assert "site.Live: 4" in status


def test_killed_daemons_lose_what_they_had_in_hand(apache):
    server = site(apache)
    server.expect("PIPE0312", "PIPE0202", "PIPE0206")
    with Load(server, ASKS, connections=6) as load:
        kills = storm(server, "daemon", spare=0, pause=0.03)
    tally = load.tally
    assert len(kills) == KILLS
    assert set(tally.statuses) <= {200, 502}, tally
    assert tally.refused == tally.timed_out == tally.malformed == tally.wrong == 0, tally
    assert len(tally.losses) <= THREADS * len(kills), tally
    assert not unexplained(tally.losses, kills), tally
    assert tally.latency_max < 1.0 * PATIENCE, tally.slowest
    assert processes.wait_until(lambda: "site.Live: 4" in server.get("/status?auto").text, 10)
    all_channels_serve(server)


def test_killed_children_lose_their_connections_only(apache):
    server = site(apache, CHILDREN)
    server.expect("AH00052")
    with Load(server, ASKS, connections=6) as load, Load(server, ["/ready"], connections=1) as idle:
        kills = storm(server, "child", spare=4, pause=0.02)
    tally = load.tally
    assert len(kills) == KILLS
    assert set(tally.statuses) == {200}, tally
    assert tally.timed_out == tally.malformed == tally.wrong == 0, tally
    assert not unexplained(tally.losses, kills), tally
    # httpd itself may have nobody to accept for a while; what it answers by itself waits as long
    assert tally.latency_max < max(1.0, idle.tally.latency_max + 0.5) * PATIENCE, tally.slowest
    assert processes.wait_until(lambda: "site.Busy: 0" in server.get("/status?auto").text, 10)
    all_channels_serve(server)
