# SPDX-License-Identifier: Apache-2.0
"""How long `apachectl -t` takes with a hundred virtual hosts, each with a folder and an API."""

import statistics
import time

from t.bench.servers import BenchApache

HOSTS = 100
ROUNDS = 7

SITE = """\
PipelineDaemonProcess site processes=4 threads=1 python-path=@ROOT@/app
PipelineStorage main sqlite://@ROOT@/main
"""

HOST = """\
<VirtualHost *:@PORT@>
    ServerName www{n}.example.com
    {lines}
</VirtualHost>
"""

OURS = """\
    PipelineProcessGroup site
    PipelineRoot / main:/site{n}
    PipelineScriptAlias /api api{n}:application
"""


def directives(ours):
    hosts = [HOST.format(n=n, lines=OURS.format(n=n) if ours else "") for n in range(HOSTS)]
    return (SITE if ours else "") + "".join(hosts)


def seconds(ours):
    """The times of single runs; without `ours`, of the same hosts with nothing in them."""
    server = BenchApache(directives(ours), pipeline=ours)
    server.writable_folder("main")
    try:
        return [_once(server) for _ in range(ROUNDS)]
    finally:
        server.remove()


def _once(server):
    begun = time.perf_counter()
    answer = server.configtest()
    took = time.perf_counter() - begun
    if answer.code != 0:
        raise SystemExit(f"apachectl -t failed:\n{answer.text}")
    return took


def measure():
    """Medians in seconds: (with our directives, without module and directives)."""
    return statistics.median(seconds(True)), statistics.median(seconds(False))
