# SPDX-License-Identifier: Apache-2.0
"""Free ports, of which no other test process takes the same."""

import itertools
import os
import socket

# Below the range from which the kernel picks clients' ports, so that none of these is taken by one.
FIRST = 20000
PER_WORKER = 1000
# So many workers have ports of their own: the kernel's range begins at 32768.
WORKERS = 12


def _range():
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    first = FIRST + PER_WORKER * (int(worker) % WORKERS)
    return itertools.cycle(range(first, first + PER_WORKER))


_candidates = _range()


def free_port():
    """A port on which nobody listens now, and that was not handed out lately."""
    for port in _candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the candidates never end")
