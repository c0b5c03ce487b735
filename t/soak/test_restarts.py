# SPDX-License-Identifier: Apache-2.0
"""SOAK_MINUTES of gracefuls under full load: every request is answered, whole and right."""

import hashlib
import os
import random
import subprocess
import threading
import time
from collections import Counter

from t.http.sites import steps
from t.soak import MINUTES, marks
from t.support import processes
from t.support.environment import PATIENCE, clean_environment
from t.support.load import Ask, Load

pytestmark = marks(MINUTES)

MB = 1 << 20
LONGEST = 6.0  # seconds that a request takes by itself
SITE = steps("processes=4 threads=3")
NOISE = os.urandom(MB)


def size(number):
    """0 to 1 MB: as many small ones as large ones, and the edges of frames and windows."""
    edges = (0, 1, 16384, 16385, 65520, 65536, 65537, MB)
    return number.choice(edges) if number.random() < 0.3 else int(MB ** number.random())


def asks(longest, count, seed):
    """Uploads and downloads of all sizes that take up to `longest` seconds."""
    number = random.Random(seed)
    made = []
    for _ in range(count):
        seconds = round(longest * number.random() ** 3, 3)
        path = f"/app/work?s={seconds}&n={size(number)}"
        body = NOISE[: size(number)] if number.random() < 0.6 else b""
        made.append(Ask(path, body=body))
    return made


def expected(ask):
    """What /app/work answers."""
    count = int(ask.path.rpartition("n=")[2])
    return hashlib.sha256(ask.body).hexdigest().encode() + b"x" * count


def right(ask, response):
    return response.status == 200 and response.body == expected(ask)


class Curl(threading.Thread):
    """Asks over HTTP/2 with TLS, some requests to a connection, until it is stopped."""

    def __init__(self, server, folder):
        super().__init__(daemon=True)
        self.url = server.url("/app/work", tls=True)
        self.upload = folder / "upload"
        self.upload.write_bytes(NOISE[:300000])
        self.stopping = threading.Event()
        self.statuses = Counter()
        self.failures = []
        self.number = random.Random(3)

    def run(self):
        while not self.stopping.is_set():
            sizes = [size(self.number) for _ in range(5)]
            done = self._curl(sizes)
            if done.returncode:
                self.failures.append((time.strftime("%H:%M:%S"), done.returncode, done.stderr))
                continue
            for row, count in zip(done.stdout.splitlines(), sizes, strict=True):
                status, version, length = row.split()
                whole = version == "2" and int(length) == count + 64
                self.statuses[status if whole else f"wrong: {row}"] += 1

    def _curl(self, sizes):
        urls = [f"{self.url}?s={self.number.choice((0, 0.2, 1.5))}&n={n}" for n in sizes]
        each = [part for url in urls for part in ("-o", "/dev/null", url)]
        return subprocess.run(
            ["curl", "-sSk", "--http2", "--max-time", str(60 * PATIENCE), "-H", "Expect:"]
            + ["--data-binary", f"@{self.upload}"]
            + ["-w", "%{http_code} %{http_version} %{size_download}\n", *each],
            capture_output=True,
            text=True,
            env=clean_environment(),
        )

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.stopping.set()
        self.join()


def test_gracefuls_lose_nothing(apache, certificate, tmp_path):
    server = apache(SITE, tls=certificate)
    assert processes.wait_until(lambda: server.get("/ready").status == 200, 20 * PATIENCE)
    waits = {"timeout": 30, "check": right}
    with (
        Load(server, asks(0.05, 97, seed=1), connections=3, **waits) as quick,
        Load(server, asks(LONGEST, 31, seed=2), connections=4, **waits) as long,
        Load(server, asks(0.5, 53, seed=4), connections=2, tls=True, **waits) as secure,
        Curl(server, tmp_path) as curl,
    ):
        deadline = time.monotonic() + MINUTES * 60
        count = 0
        while time.monotonic() < deadline:
            time.sleep(2)
            server.graceful()
            count += 1
    for tally in (quick.tally, long.tally, secure.tally):
        assert tally.lost == 0, tally.notes
        assert tally.complete == tally.statuses[200] > 0
    assert quick.tally.latency_max < 1.5 * PATIENCE, quick.tally.slowest
    assert long.tally.latency_max < (LONGEST + 1.5) * PATIENCE, long.tally.slowest
    assert curl.failures == []
    assert set(curl.statuses) == {"200"}, curl.statuses
    assert count > MINUTES * 60 / (4 * PATIENCE)
    assert processes.wait_until(lambda: len(server.processes("manager")) == 1, 15 * PATIENCE)
    assert len(server.processes("daemon")) == 4
