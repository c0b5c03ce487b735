# SPDX-License-Identifier: Apache-2.0
"""wsgi.file_wrapper: real files go out by their descriptor, all others by read()."""

import pytest

from t.support.client import Cut

DIRECTIVES = """\
PipelineDaemonProcess site processes=1 threads=1 python-path=@TREE@/t/apps/wsgi
PipelineProcessGroup site
SetEnv FILE_PATH @ROOT@/file
PipelineScriptAlias / files:application
"""

CONTENT = b"first line\n" + bytes(range(128)) * 1200 + b"the end"

BODIES = {
    "whole": CONTENT,
    "unbuffered": CONTENT,
    "from_position": CONTENT[11:],
    "part": CONTENT[10:30],
    "at_end": b"",
    "behind_written": b"written first|" + CONTENT,
    "memory": b"in memory" * 5000,
    "decompressed": CONTENT,
    "temporary": b"to a temporary file",
    "subclass": CONTENT,
    "generator_inside": CONTENT,
}

# A length that is known goes with the file.
LENGTHS = {
    "whole": str(len(CONTENT)),
    "unbuffered": str(len(CONTENT)),
    "from_position": str(len(CONTENT) - 11),
    "part": "20",
    "at_end": "0",
    "temporary": "19",
}


@pytest.fixture
def server(apache):
    return apache(DIRECTIVES, files={"file": CONTENT}, modules=["env"])


def test_files_arrive_as_read_would_give_them(server):
    with server.connect() as connection:
        assert {name: connection.get(f"/{name}").body for name in BODIES} == BODIES


def test_files_have_their_length(server):
    lengths = {name: server.get(f"/{name}").header("content-length") for name in LENGTHS}
    assert lengths == LENGTHS


def test_head_of_a_file_has_its_length_and_no_body(server):
    with server.connect() as connection:
        response = connection.request("HEAD", "/whole")
        assert (response.header("content-length"), response.body) == (str(len(CONTENT)), b"")
        assert connection.get("/part").body == CONTENT[10:30]


def test_range_of_a_file_is_cut_out_by_httpd(server):
    with server.connect() as connection:
        for _ in range(20):
            response = connection.get("/whole", [("Range", "bytes=5-14")])
            assert (response.status, response.body) == (206, CONTENT[5:15])
            assert response.header("content-range") == f"bytes 5-14/{len(CONTENT)}"


def test_file_shorter_than_its_length_never_looks_whole(server):
    server.expect("PIPE0515", "PIPE0206", "PIPE0209")
    try:
        status = server.get("/too_short").status
    except Cut:
        status = None
    assert status in (500, None)
    assert f"{len(CONTENT)} of 9999999 bytes" in server.wait_log("PIPE0515")


def test_text_file_is_refused(server):
    server.expect("PIPE0513")
    assert server.get("/text").status == 500


def test_wrapped_file_is_closed(server):
    assert server.get("/subclass").body == CONTENT
    assert server.get("/which_closed").body == b"read"
