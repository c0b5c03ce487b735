# SPDX-License-Identifier: Apache-2.0
"""Neither requests nor gracefuls make any process of a server grow, in memory or descriptors."""

import time

from t.http.sites import steps
from t.soak import MINUTES, marks
from t.support import processes
from t.support.environment import PATIENCE
from t.support.load import Ask, Load

pytestmark = marks(MINUTES)

SITE = steps("processes=2 threads=2 channels=32")
# One child, so that it is there from the first request to the last.
ONE_CHILD = """
ServerLimit 1
StartServers 1
ThreadsPerChild 16
MinSpareThreads 1
MaxSpareThreads 16
MaxRequestWorkers 16
MaxKeepAliveRequests 0
"""
ASKS = [
    Ask("/app/pid"),
    Ask("/app/work?s=0&n=100000"),
    Ask("/app/work?s=0&n=10", body=b"x" * 5000),
    Ask("/app/work?s=0&n=10", body=b"x" * 200000),
    Ask("/nowhere", status=404),
]
ROLES = ("parent", "manager", "child", "daemon")
# KiB that a process may grow by, a choice: less than 30 bytes a request in a minute's run. Over 32
# gracefuls the parent grew by none at all, with this module or without it.
NOISE = 1024


def resident(pid):
    """KiB."""
    with open(f"/proc/{pid}/status") as rows:
        return next((int(row.split()[1]) for row in rows if row.startswith("VmRSS")), 0)


def measured(server):
    """By role: the most KiB and the most descriptors that a process of it has."""
    found = dict.fromkeys(ROLES, (0, 0))
    for process in server.processes():
        memory, opened = found[process.role]
        found[process.role] = (
            max(memory, resident(process.pid)),
            max(opened, len(processes.descriptors(process.pid))),
        )
    return found


def settled(server):
    """Old generations have gone, and every daemon of the new one is there."""
    return (
        len(server.processes("manager")) == 1
        and len(server.processes("daemon")) == 2
        and server.get("/ready").status == 200
    )


def ask_for(server, seconds):
    with Load(server, ASKS, connections=4) as load:
        time.sleep(seconds)
    assert load.tally.lost == 0, load.tally
    return load.tally.complete


def compare(before, after, memory_allowed):
    for role in ROLES:
        assert after[role][1] <= before[role][1], (role, before, after)
        assert after[role][0] - before[role][0] <= memory_allowed, (role, before, after)


def test_requests_take_no_memory(apache):
    server = apache(ONE_CHILD + SITE)
    assert processes.wait_until(lambda: settled(server), 20 * PATIENCE)
    ask_for(server, max(5, MINUTES * 60 / 4))
    before = measured(server)
    pids = {process.pid for process in server.processes()}
    count = ask_for(server, MINUTES * 60 / 2)
    compare(before, measured(server), NOISE)
    assert {process.pid for process in server.processes()} == pids
    assert count > 1000 * MINUTES


def test_gracefuls_take_no_memory(apache):
    """Every other one changes the configuration, so that queues and channels are made anew."""
    server = apache(ONE_CHILD + SITE)
    other = ONE_CHILD + SITE.replace("threads=2", "threads=3")

    def restart(turn):
        server.configure(other if turn % 4 > 1 else ONE_CHILD + SITE)
        server.graceful()
        assert processes.wait_until(lambda: settled(server), 30 * PATIENCE)
        ask_for(server, 0.3)

    for turn in range(8):
        restart(turn)
    before = measured(server)
    count = 4 * max(4, int(MINUTES * 4))
    for turn in range(count):
        restart(turn)
    compare(before, measured(server), NOISE)
