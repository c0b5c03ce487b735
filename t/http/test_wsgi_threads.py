# SPDX-License-Identifier: Apache-2.0
"""Several threads in one process: requests at once, slow clients, threads of the application."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

DIRECTIVES = """\
PipelineDaemonProcess site processes=1 threads=3 python-path=@TREE@/t/apps/wsgi
PipelineProcessGroup site
PipelineScriptAlias / together:application
"""


@pytest.fixture
def server(apache):
    return apache(DIRECTIVES)


def test_threads_serve_at_the_same_time(server):
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: server.get("/meet"), range(3)))
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert len({answer.text for answer in answers}) == 3


def test_slow_upload_leaves_the_interpreter_to_others(server):
    with server.connect() as connection:
        exchange = connection.begin("POST", "/upload", length=100000)
        exchange.send(b"x" * 1000)
        server.wait_log("reading 1")
        for _ in range(20):
            assert server.get("/quick", timeout=2).body == b"quick"
        exchange.send(b"x" * 99000)
        assert exchange.response().body == b"100000"


@pytest.mark.parametrize("path", ["/download", "/stream"])
def test_slow_download_leaves_the_interpreter_to_others(server, path):
    with server.connect() as connection:
        exchange = connection.begin("GET", path)
        exchange.head()
        for _ in range(20):
            assert server.get("/quick", timeout=2).body == b"quick"
        assert len(exchange.response().body) > 30_000_000


def test_lines_of_two_threads_are_not_mixed(server):
    server.expect("PIPE0520")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda me: server.get(f"/write_lines?{me}"), ["a", "b"]))
    server.wait_log("<a-a>", count=50)
    server.wait_log("<b-b>", count=50)
    assert not re.search(r"<a<|<b<|<a-b|<b-a", server.log())


def test_application_may_read_and_write_in_its_own_thread(server):
    body = b"0123456789" * 50000
    assert server.request("POST", "/read_in_thread", body=body).body == body


def test_second_reader_at_once_is_refused(server):
    with server.connect() as connection:
        exchange = connection.begin("POST", "/two_readers", length=20000)
        exchange.send(b"x" * 10000)
        server.wait_log("both are reading")
        exchange.send(b"x" * 10000)
        answer = exchange.response().text
    assert answer == "['wsgi.input is being read by another thread', 19999]"


def test_thread_that_outlives_its_request_finds_nothing(server):
    assert server.request("POST", "/leave_a_thread", body=b"body").body == b"left"
    assert server.get("/end_the_thread").body == b"ended"
    assert "request that is over" in server.wait_log("late read:")
