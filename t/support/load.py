# SPDX-License-Identifier: Apache-2.0
"""Steady load on a server, each request accounted for.

with Load(server, ["/hello"], connections=8) as load:
    for _ in range(20):
        server.graceful()
assert load.tally.lost == 0
"""

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from t.support import client


@dataclass(frozen=True)
class Ask:
    """One request of a load: GET, or POST if it has a body; `status` is the right answer's."""

    path: str
    body: bytes = b""
    status: int = 200

    @property
    def method(self):
        return "POST" if self.body else "GET"


@dataclass(frozen=True)
class Loss:
    """A request that did not get the answer it should, from when to when (time.monotonic())."""

    begun: float
    ended: float
    how: str


@dataclass
class Tally:
    """How requests ended. Whole responses are counted by status, too."""

    complete: int = 0
    cut: int = 0
    refused: int = 0
    timed_out: int = 0
    malformed: int = 0
    wrong: int = 0
    closed_idle: int = 0
    statuses: Counter = field(default_factory=Counter)
    latency_max: float = 0.0
    seconds: float = 0.0
    slowest: Counter = field(default_factory=Counter)
    notes: list = field(default_factory=list)
    losses: list = field(default_factory=list)

    @property
    def failed(self):
        """Whole responses that tell of a failure of the server."""
        return sum(count for status, count in self.statuses.items() if status >= 500)

    @property
    def lost(self):
        """Requests that did not get the answer they should. Idle closes are retried, not lost."""
        broken = self.cut + self.refused + self.timed_out + self.malformed
        return broken + self.wrong + self.failed

    @property
    def rate(self):
        return self.complete / self.seconds if self.seconds else 0.0

    def add(self, other):
        """Take over what another thread has counted."""
        for name in ("complete", "cut", "refused", "timed_out", "malformed", "wrong"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.closed_idle += other.closed_idle
        self.statuses += other.statuses
        self.latency_max = max(self.latency_max, other.latency_max)
        self.notes += other.notes
        self.losses += other.losses
        for path, seconds in other.slowest.items():
            self.slowest[path] = max(self.slowest[path], seconds)


_ENDS = {
    client.Cut: "cut",
    client.Refused: "refused",
    client.TimedOut: "timed_out",
    client.Malformed: "malformed",
    client.ClosedIdle: "closed_idle",
}


class _Worker(threading.Thread):
    """One connection at a time, kept alive, requests one after the other."""

    def __init__(self, load):
        super().__init__(daemon=True)
        self.load = load
        self.tally = Tally()
        self.connection = None
        self.error = None

    def run(self):
        try:
            while not self.load.stopping.is_set():
                self._request(next(self.load.asks))
        except Exception as error:  # a thread that died has counted nothing since: say so
            self.error = error
        self._drop()

    def _request(self, ask):
        begun = time.monotonic()
        while not self._attempt(ask, begun):
            pass
        taken = time.monotonic() - begun
        self.tally.latency_max = max(self.tally.latency_max, taken)
        self.tally.slowest[ask.path] = max(self.tally.slowest[ask.path], taken)

    def _attempt(self, ask, begun):
        """Whether the request is over; after a connection that was closed idle it is not."""
        try:
            self.connection = self.connection or self.load.connect()
            response = self.connection.request(ask.method, ask.path, body=ask.body)
        except client.Failure as failure:
            return self._count_failure(ask, failure, begun)
        self._count(ask, response, begun)
        return True

    def _count_failure(self, ask, failure, begun):
        self._drop()
        end = _ENDS[type(failure)]
        setattr(self.tally, end, getattr(self.tally, end) + 1)
        if end != "closed_idle":
            self._note(ask, f"{end}: {failure}", begun)
        return end != "closed_idle"

    def _count(self, ask, response, begun):
        self.tally.complete += 1
        self.tally.statuses[response.status] += 1
        if response.status >= 500:
            self._note(ask, f"{response.status} {response.body[:200]!r}", begun)
        elif not self.load.check(ask, response):
            self.tally.wrong += 1
            self._note(ask, f"wrong: {response.status} {response.body[:200]!r}", begun)
        if response.header("connection", "").lower() == "close":
            self._drop()

    def _note(self, ask, how, begun):
        self.tally.losses.append(Loss(begun, time.monotonic(), f"{ask.path}: {how}"))
        if len(self.tally.notes) < 5:
            self.tally.notes.append(f"{time.strftime('%H:%M:%S')} {ask.path}: {how}")

    def _drop(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Load:
    """`connections` threads that ask in turn until the block ends; `asks` are paths, or Ask.

    `check(ask, response)` says whether an answer below 500 is right; by default its status is.
    """

    def __init__(self, server, asks=("/",), *, connections=8, check=None, timeout=15, tls=False):
        self.connect = lambda: server.connect(timeout, tls=tls)
        self.asks = itertools.cycle([Ask(ask) if isinstance(ask, str) else ask for ask in asks])
        self.check = check or (lambda ask, response: response.status == ask.status)
        self.stopping = threading.Event()
        self.tally = Tally()
        self._begun = 0.0
        self._workers = [_Worker(self) for _ in range(connections)]

    def __enter__(self):
        self._begun = time.monotonic()
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *exception):
        self.stopping.set()
        for worker in self._workers:
            worker.join()
            self.tally.add(worker.tally)
            if worker.error:
                raise worker.error
        self.tally.seconds = time.monotonic() - self._begun


def load(server, connections=8, seconds=1.0, paths=("/",), **options):
    """Load for `seconds`; the tally."""
    with Load(server, paths, connections=connections, **options) as running:
        time.sleep(seconds)
    return running.tally
