# SPDX-License-Identifier: Apache-2.0
"""Applications that break the rules of PEP 3333, each in one way."""

import sys
import time

from dispatch import PLAIN, Dispatch

application = Dispatch()


def refused(name, status="200 OK", headers=PLAIN):
    """An application whose start_response() is wrong."""

    def answer(environ, start_response):
        start_response(status, headers)
        return [b"never"]

    answer.__name__ = name
    application.add(answer)


refused("status_int", 200)
refused("status_bytes", b"200 OK")
refused("status_short", "200")
refused("status_no_number", "abc Fine")
refused("status_informational", "101 Switching Protocols")
refused("status_line_end", "200 OK\r\nX-Injected: yes")
refused("status_wide", "200 \u20ac")
refused("headers_tuple", headers=tuple(PLAIN))
refused("headers_dict", headers=dict(PLAIN))
refused("header_list", headers=[["Content-Type", "text/plain"]])
refused("header_triple", headers=[("A", "b", "c")])
refused("header_value_int", headers=[("Content-Length", 5)])
refused("header_name_bytes", headers=[(b"Content-Type", "text/plain")])
refused("header_line_end", headers=[("X-A", "b\r\nX-Injected: yes")])
refused("header_bare_newline", headers=[("X-A", "b\nX-Injected: yes")])
refused("header_nul", headers=[("X-A", "b\0c")])
refused("header_wide", headers=[("X-A", "\u20ac")])
refused("header_name_space", headers=[("X A", "b")])
refused("header_name_colon", headers=[("X-A:", "b")])
refused("header_name_empty", headers=[("", "b")])
refused("hop_by_hop", headers=[("Connection", "close")])
refused("transfer_encoding", headers=[("transfer-encoding", "chunked")])
refused("length_no_number", headers=[("Content-Length", "five")])
refused("length_negative", headers=[("Content-Length", "-1")])
refused("length_huge", headers=[("Content-Length", "9" * 30)])
refused("lengths_differ", headers=[("Content-Length", "5"), ("Content-Length", "6")])
refused("headers_many", headers=[("X-A", "b")] * 600)
refused("headers_long", headers=[("X-A", "b" * 70000)])


@application.add
def raises(environ, start_response):
    raise ValueError("before <start>")


@application.add
def raises_after_start(environ, start_response):
    start_response("200 OK", PLAIN)
    raise ValueError("after start")


@application.add
def raises_at_first_item(environ, start_response):
    start_response("200 OK", PLAIN)
    raise ValueError("at the first item")
    yield b""


@application.add
def exits(environ, start_response):
    sys.exit(3)


@application.add
def returns_none(environ, start_response):
    start_response("200 OK", PLAIN)


@application.add
def returns_str(environ, start_response):
    start_response("200 OK", PLAIN)
    return "text"


@application.add
def returns_bytes(environ, start_response):
    start_response("200 OK", PLAIN)
    return b"text"


@application.add
def item_str(environ, start_response):
    start_response("200 OK", PLAIN)
    return ["text"]


@application.add
def second_item_str(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"bytes", "text"]


@application.add
def does_not_start(environ, start_response):
    return [b"text"]


@application.add
def starts_twice(environ, start_response):
    start_response("200 OK", PLAIN)
    start_response("200 OK", PLAIN)
    return [b"text"]


@application.add
def exc_info_no_tuple(environ, start_response):
    start_response("200 OK", PLAIN, "exc_info")
    return [b"text"]


@application.add
def list_too_short(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "9")])
    return [b"abc", b"def"]


@application.add
def list_too_long(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "4")])
    return [b"abc", b"def"]


@application.add
def goes_on(environ, start_response):
    """Handles the refusal itself."""
    try:
        start_response("200 OK", [("X-A", "b\r\nc")])
    except ValueError:
        start_response("409 Conflict", PLAIN)
    return [b"handled"]


def later(item):
    """`item`, and a pause behind it in which it reaches the client."""
    yield item
    time.sleep(0.1)


@application.add
def cut_at_once(environ, start_response):
    """Fails when the client may have been sent nothing yet."""
    start_response("200 OK", PLAIN)
    yield b"part"
    raise ValueError("at once")


@application.add
def cut_raises(environ, start_response):
    start_response("200 OK", PLAIN)
    yield from later(b"part")
    raise ValueError("second item")


@application.add
def cut_raises_counted(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "100")])
    yield from later(b"part")
    raise ValueError("second item")


@application.add
def cut_exc_info(environ, start_response):
    start_response("200 OK", PLAIN)
    yield from later(b"part")
    try:
        raise ValueError("too late")
    except ValueError:
        start_response("500 Failed", PLAIN, sys.exc_info())


@application.add
def cut_starts_again(environ, start_response):
    start_response("200 OK", PLAIN)
    yield from later(b"part")
    start_response("200 OK", PLAIN)


@application.add
def cut_item_str(environ, start_response):
    start_response("200 OK", PLAIN)
    yield from later(b"part")
    yield "text"


@application.add
def cut_too_short(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "100")])
    yield from later(b"part")


@application.add
def cut_after_write(environ, start_response):
    write = start_response("200 OK", PLAIN)
    write(b"part")
    time.sleep(0.1)
    raise ValueError("after write")


@application.add
def cut_exit(environ, start_response):
    start_response("200 OK", PLAIN)
    yield from later(b"part")
    sys.exit(3)
