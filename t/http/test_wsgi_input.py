# SPDX-License-Identifier: Apache-2.0
"""wsgi.input: every way to read it, with bodies of every size around the ones that matter."""

import re
import threading
from pathlib import Path

import pytest

DIRECTIVES = """\
PipelineDaemonProcess site processes=1 threads=1 python-path=@TREE@/t/apps/wsgi
PipelineProcessGroup site
PipelineScriptAlias / bodies:application
"""

LINES = b"one\ntwo\n\nfour is longer\nlast"

# Around one frame, around what is kept in memory, and far beyond it.
SIZES = [0, 1, 65535, 65536, 65537, 1048575, 1048576, 1048577, 3000003]


@pytest.fixture
def server(apache):
    return apache(DIRECTIVES)


def post(server, path, body, chunked=False):
    with server.connect() as connection:
        if not chunked:
            return connection.request("POST", path, body=body).body
        exchange = connection.begin("POST", path, chunked=True)
        for start in range(0, len(body), 7777):
            exchange.send(body[start : start + 7777])
        return exchange.response().body


def body_of(size):
    """Lines of 1 to 100 bytes, so that they straddle every border."""
    lines = b"".join(b"%0*d\n" % (n % 100 + 1, n) for n in range(size // 50 + 2))
    return lines[:size]


FORMS = {
    "read": LINES,
    "read_parts?5": LINES,
    "readline": b"one\n|two\n|\n|four is longer\n|last",
    "readline_limited": b"one|\n|two|\n|\n|fou|r i|s l|ong|er\n|las|t",
    "readlines": repr(LINES.splitlines(keepends=True)).encode(),
    "readlines_hint": repr([[b"one\n"], LINES[4:]]).encode(),
    "iterate": repr(LINES.splitlines(keepends=True)).encode(),
    "readinto": LINES,
    "past_the_end": b"[b'', b'', b'', []]",
    "again": repr([True, [28, 27, 0, 1], []]).encode(),
    "seek_wrong": b"['ValueError', 'ValueError', 'TypeError']",
}


@pytest.mark.parametrize("chunked", [False, True])
def test_every_form_of_reading(server, chunked):
    assert len(LINES) == 28
    assert {form: post(server, f"/{form}", LINES, chunked) for form in FORMS} == FORMS


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_of_every_size_arrive_whole(server, chunked):
    for size in SIZES:
        body = body_of(size)
        assert post(server, "/read", body, chunked) == body
        assert post(server, "/read_parts?1000", body, chunked) == body
        assert post(server, "/readinto", body, chunked) == body
        assert post(server, "/readline", body, chunked).replace(b"|", b"") == body


@pytest.mark.parametrize("chunked", [False, True])
def test_body_can_be_read_again_from_anywhere(server, chunked):
    for size in SIZES:
        ends = [size, size - 1, 0, 1] if size else [0, -1, 0, 1]
        expected = repr([True, ends, []]).encode()
        assert (size, post(server, "/again", body_of(size), chunked)) == (size, expected)


def test_body_that_was_not_read_is_no_hindrance(server):
    with server.connect() as connection:
        for _ in range(3):
            assert connection.request("POST", "/unread", body=b"x" * 30000).body == b"not read"
            assert connection.request("POST", "/read", body=b"next").body == b"next"


def test_request_without_a_body_reads_empty(server):
    assert server.get("/read").body == b""
    assert server.request("DELETE", "/past_the_end").body == b"[b'', b'', b'', []]"


def test_input_is_dead_after_its_request(server):
    assert post(server, "/keep", b"body") == b"kept"
    answer = server.get("/use_kept").text
    assert answer.startswith("[True, ")
    assert answer.count("request that is over") == 4


@pytest.mark.parametrize("chunked", [False, True])
def test_echo_streams_both_ways_at_once(server, chunked):
    """Eight megabytes come back while they are sent: neither side may wait for the other's end."""
    body = body_of(8 << 20)
    with server.connect(30) as connection:
        exchange = connection.begin(
            "POST", "/echo", length=None if chunked else len(body), chunked=chunked
        )
        sender = threading.Thread(target=_send, args=(exchange, body))
        sender.start()
        exchange.head()
        echoed = b"".join(iter(exchange.read, b""))
        sender.join()
    assert echoed == body


def _send(exchange, body):
    for start in range(0, len(body), 50000):
        exchange.send(body[start : start + 50000])
    exchange.end()


@pytest.mark.parametrize("chunked", [False, True])
def test_client_that_breaks_off_raises_at_each_read(server, chunked):
    with server.connect() as connection:
        length = None if chunked else 100000
        exchange = connection.begin("POST", "/broken_off", length=length, chunked=chunked)
        exchange.send(b"x" * 50000)
        server.wait_log("reading")
    line = server.wait_log("broken off:")
    assert re.search(r"\['Connection(Reset|Aborted)Error'(, 'Connection\w+Error')\] then 3", line)


def test_large_upload_leaves_no_file_behind(server):
    body = body_of(3 << 20)
    assert post(server, "/read", body) == body
    (daemon,) = server.processes("daemon")
    assert server.get("/unread").body == b"not read"
    assert not [name for name in _open_files(daemon.pid) if "pipeline-body" in name]


def test_malformed_chunk_is_a_400_and_no_error_of_the_application(server):
    with server.connect() as connection:
        exchange = connection.begin("POST", "/read", chunked=True)
        exchange.send(b"whole")
        server.wait_log("ready")
        connection.send_raw(b"no size\r\n")
        assert exchange.head().status == 400
    assert server.get("/unread").body == b"not read"


def _open_files(pid):
    return [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
