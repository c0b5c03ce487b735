# SPDX-License-Identifier: Apache-2.0
"""What applications answer, as a client gets it: every form that PEP 3333 knows."""

import contextlib

import pytest

from t.support.client import Cut

DIRECTIVES = """\
PipelineDaemonProcess site processes=1 threads=1 python-path=@TREE@/t/apps/wsgi
PipelineProcessGroup site
PipelineScriptAlias / answers:application
"""


@pytest.fixture
def server(apache):
    return apache(DIRECTIVES)


def test_list_of_one_has_its_length(server):
    response = server.get("/hello")
    assert (response.status, response.reason, response.body) == (200, "OK", b"hello")
    assert response.header("content-length") == "5"
    assert response.header("content-type") == "text/plain"


def test_tuple_of_several_is_joined_under_one_length(server):
    response = server.get("/several")
    assert (response.status, response.reason, response.body) == (200, "Fine", b"one two three")
    assert response.header("content-length") == "13"


def test_repeated_and_latin_headers_arrive_as_given(server):
    headers = server.get("/several").headers
    assert [value for name, value in headers if name == "x-twice"] == ["1", "2"]
    assert ("x-latin", "caf\xe9") in headers


def test_yielded_items_arrive_in_order(server):
    assert server.get("/yielded").body == b"one two"


def test_body_without_a_length_is_chunked(server):
    response = server.get("/paced")
    assert response.header("transfer-encoding") == "chunked"
    assert response.header("content-length") is None


def test_start_response_may_come_with_the_first_bytes(server):
    response = server.get("/started_late")
    assert (response.status, response.body) == (202, b"late")


def test_counted_items_keep_their_length(server):
    response = server.get("/counted")
    assert (response.header("content-length"), response.body) == ("6", b"onetwo")


def test_empty_body_has_length_zero(server):
    response = server.get("/nothing")
    assert (response.header("content-length"), response.body) == ("0", b"")


@pytest.mark.parametrize(("path", "status"), [("/no_content", 204), ("/not_modified", 304)])
def test_statuses_without_a_body_have_none(server, path, status):
    with server.connect() as connection:
        response = connection.get(path)
        assert (response.status, response.body) == (status, b"")
        assert connection.get("/hello").body == b"hello"


def test_written_bytes_come_before_returned_ones(server):
    assert server.get("/written").body == b"one two three"


def test_yielded_item_is_on_its_way_before_the_next(server):
    with server.connect() as connection:
        exchange = connection.begin("GET", "/paced")
        exchange.head()
        arrived = []
        while data := exchange.read():
            arrived.append(data)
        assert len(arrived) == 3


def test_exc_info_replaces_what_was_not_sent(server):
    response = server.get("/replaced")
    assert (response.status, response.body) == (503, b"replaced")
    assert response.header("x-first") is None


HEAD_LENGTHS = {
    "/hello": "5",
    "/several": "13",
    "/yielded": None,
    "/counted": "6",
    "/written": None,
    "/large?65536": "65536",
}


def test_head_has_the_headers_of_get_and_no_body(server):
    with server.connect() as connection:
        for path, length in HEAD_LENGTHS.items():
            head = connection.request("HEAD", path)
            whole = connection.get(path)
            assert head.body == b""
            assert head.status == whole.status
            assert head.header("content-type") == whole.header("content-type")
            assert (path, head.header("content-length")) == (path, length)


@pytest.mark.parametrize("size", [256, 65024, 65536, 1 << 20, 10 << 20])
def test_large_list_arrives_whole(server, size):
    assert server.get(f"/large?{size}").body == bytes(range(256)) * (size // 256)


def test_close_is_called_once_after_each_response(server):
    server.expect("PIPE0510", "PIPE0511", "PIPE0516", "PIPE0206", "PIPE0209")
    assert server.get("/closing").body == b"ab"
    assert server.get("/which_closed").body == b"closing"
    assert server.request("HEAD", "/closing").status == 200
    assert server.get("/which_closed").body == b"closing"
    assert server.get("/closing_after_failure").status == 500
    assert server.get("/which_closed").body == b"failure"
    assert server.get("/closing_badly").body == b"whole"
    assert server.get("/which_closed").body == b"bad"
    with contextlib.suppress(Cut):
        assert server.get("/closing_after_cut").status == 500
    assert server.get("/which_closed").body == b"cut"


def test_response_that_nobody_reads_is_ended_and_closed(server):
    with server.connect() as connection:
        exchange = connection.begin("GET", "/endless")
        assert exchange.head().status == 200
        assert exchange.read()
    assert server.get("/which_closed", timeout=20).body == b"endless"
