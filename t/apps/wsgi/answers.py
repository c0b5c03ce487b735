# SPDX-License-Identifier: Apache-2.0
"""Every form in which PEP 3333 lets an application answer."""

import sys
import time

from dispatch import PLAIN, Dispatch

application = Dispatch()
closed = []


class Closing:
    """An iterable that notes that it was closed."""

    def __init__(self, name, items):
        self.name, self.items = name, items

    def __iter__(self):
        return iter(self.items)

    def close(self):
        closed.append(self.name)


@application.add
def hello(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"hello"]


@application.add
def several(environ, start_response):
    start_response("200 Fine", [*PLAIN, ("X-Twice", "1"), ("X-Twice", "2"), ("X-Latin", "caf\xe9")])
    return (b"one ", b"", b"two ", b"three")


@application.add
def yielded(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"one "
    yield b""
    yield b"two"


@application.add
def started_late(environ, start_response):
    yield b""
    start_response("202 Accepted", PLAIN)
    yield b"late"


@application.add
def counted(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "6")])
    yield b"one"
    yield b"two"


@application.add
def nothing(environ, start_response):
    start_response("200 OK", PLAIN)
    return []


@application.add
def no_content(environ, start_response):
    start_response("204 No Content", [])
    return [b"not for 204"]


@application.add
def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"1"')])
    return [b"not for 304"]


@application.add
def written(environ, start_response):
    write = start_response("200 OK", PLAIN)
    write(b"one ")
    write(b"two ")
    return [b"three"]


@application.add
def paced(environ, start_response):
    """Each item is on its way before the next one is asked for."""
    start_response("200 OK", PLAIN)
    for _ in range(3):
        yield b"%r" % time.monotonic() + b"\n"
        time.sleep(0.3)


@application.add
def replaced(environ, start_response):
    """What was begun is replaced, since nothing of it was sent."""
    start_response("200 OK", [*PLAIN, ("X-First", "yes")])
    try:
        raise ValueError("in time")
    except ValueError:
        start_response("503 Service Unavailable", PLAIN, sys.exc_info())
    return [b"replaced"]


@application.add
def closing(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing("closing", [b"a", b"b"])


@application.add
def closing_after_failure(environ, start_response):
    def items():
        raise ValueError("no item")
        yield b""

    start_response("200 OK", PLAIN)
    return Closing("failure", items())


@application.add
def closing_after_cut(environ, start_response):
    def items():
        yield b"part"
        raise ValueError("second item")

    start_response("200 OK", PLAIN)
    return Closing("cut", items())


@application.add
def closing_badly(environ, start_response):
    class Bad(Closing):
        def close(self):
            super().close()
            raise ValueError("close")

    start_response("200 OK", PLAIN)
    return Bad("bad", [b"whole"])


@application.add
def endless(environ, start_response):
    """Until its client has left."""

    def items():
        while True:
            yield b"x" * 8192

    start_response("200 OK", PLAIN)
    return Closing("endless", items())


@application.add
def which_closed(environ, start_response):
    start_response("200 OK", PLAIN)
    names, closed[:] = list(closed), []
    return [" ".join(names).encode()]


@application.add
def large(environ, start_response):
    size = int(environ["QUERY_STRING"])
    start_response("200 OK", PLAIN)
    return [bytes(range(256)) * (size // 256)]
