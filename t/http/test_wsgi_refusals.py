# SPDX-License-Identifier: Apache-2.0
"""Applications that break the rules: status 500 with an id, or a visible cut, and a coded line."""

import re
import subprocess

import pytest

from t.support.client import Cut

DIRECTIVES = """\
Protocols h2c http/1.1
PipelineDaemonProcess site processes=1 threads=1 python-path=@TREE@/t/apps/wsgi
PipelineProcessGroup site
PipelineScriptAlias / broken:application
"""

HEADS = [
    "status_int",
    "status_bytes",
    "status_short",
    "status_no_number",
    "status_informational",
    "status_line_end",
    "status_wide",
    "headers_tuple",
    "headers_dict",
    "header_list",
    "header_triple",
    "header_value_int",
    "header_name_bytes",
    "header_line_end",
    "header_bare_newline",
    "header_nul",
    "header_wide",
    "header_name_space",
    "header_name_colon",
    "header_name_empty",
    "hop_by_hop",
    "transfer_encoding",
    "length_no_number",
    "length_negative",
    "length_huge",
    "lengths_differ",
    "headers_many",
    "headers_long",
    "starts_twice",
]

RAISED = ["raises", "raises_after_start", "raises_at_first_item", "exits", "exc_info_no_tuple"]

BODIES = [
    "returns_none",
    "returns_str",
    "returns_bytes",
    "item_str",
    "second_item_str",
    "does_not_start",
    "list_too_short",
]

CUTS = {
    "cut_raises": "PIPE0511",
    "cut_raises_counted": "PIPE0511",
    "cut_exc_info": "PIPE0511",
    "cut_starts_again": "PIPE0513",
    "cut_item_str": "PIPE0513",
    "cut_too_short": "PIPE0515",
    "cut_after_write": "PIPE0511",
    "cut_exit": "PIPE0511",
}

ID_ON_PAGE = re.compile(r"<code>([^<]+)</code>")

# A child says so, too, when it cuts a response, or finds that it can still answer 502.
CHILD = ("PIPE0206", "PIPE0209")

# curl's exit codes for a response that is not whole: 18 a part is missing, 56 reset, 92 an HTTP/2
# stream that was not closed cleanly.
CURL = {
    "--http1.0": (18, 56),
    "--http1.1": (18,),
    "--http2-prior-knowledge": (92,),
}


@pytest.fixture
def server(apache):
    return apache(DIRECTIVES, modules=["http2"])


def faults(server, names):
    """What came of each: (status, whether the page's id is in the log line, the line's id)."""
    seen = {}
    for name in names:
        response = server.get(f"/{name}")
        found = ID_ON_PAGE.search(response.text)
        line = server.wait_log(found.group(1)) if found else ""
        seen[name] = (response.status, f"/{name}" in line, re.findall(r"PIPE\d+", line))
        assert response.header("x-injected") is None
    return seen


def test_refused_head_is_a_500_with_an_id(server):
    server.expect("PIPE0512")
    assert faults(server, HEADS) == {name: (500, True, ["PIPE0512"]) for name in HEADS}


def test_exception_before_the_first_byte_is_a_500_with_an_id(server):
    server.expect("PIPE0510")
    assert faults(server, RAISED) == {name: (500, True, ["PIPE0510"]) for name in RAISED}


def test_wrong_body_is_a_500_with_an_id(server):
    server.expect("PIPE0513")
    assert faults(server, BODIES) == {name: (500, True, ["PIPE0513"]) for name in BODIES}


def test_page_of_a_failure_tells_nothing_of_it(server):
    server.expect("PIPE0510")
    response = server.get("/raises")
    assert "before" not in response.text
    assert response.header("content-type") == "text/html; charset=utf-8"
    head = server.request("HEAD", "/raises")
    assert (head.status, head.body) == (500, b"")


def test_traceback_stands_in_one_line(server):
    server.expect("PIPE0510")
    server.get("/raises")
    line = server.wait_log("PIPE0510")
    assert "ValueError: before <start>" in line
    assert "Traceback (most recent call last):" in line
    assert "broken.py" in line
    assert "in raises" in line


def test_application_may_handle_a_refusal(server):
    response = server.get("/goes_on")
    assert (response.status, response.body) == (409, b"handled")


def test_bytes_beyond_content_length_are_not_sent(server):
    server.expect("PIPE0514")
    with server.connect() as connection:
        assert connection.get("/list_too_long").body == b"abcd"
        assert connection.get("/goes_on").body == b"handled"
    assert "Content-Length of 4" in server.wait_log("PIPE0514")


def test_failure_in_mid_response_is_a_visible_cut(server):
    for name, number in CUTS.items():
        server.expect(number, *CHILD)
        with pytest.raises(Cut) as cut:
            server.get(f"/{name}")
        assert (name, cut.value.partial.body) == (name, b"part")
        assert f"/{name}" in server.wait_log(f"/{name}")
        assert number in server.wait_log(f"/{name}")


def test_failure_behind_the_first_item_never_looks_whole(server):
    server.expect("PIPE0511", *CHILD)
    try:
        status = server.get("/cut_at_once").status
    except Cut:
        status = None
    assert status in (500, None)
    assert "/cut_at_once" in server.wait_log("PIPE0511")


@pytest.mark.parametrize("version", CURL)
@pytest.mark.parametrize("counted", [True, False])
def test_curl_sees_the_cut(server, version, counted):
    server.expect("PIPE0511", *CHILD)
    url = server.url("/cut_raises_counted" if counted else "/cut_raises")
    command = ["curl", "-s", "-o", "/dev/null", version, url]
    assert subprocess.run(command, timeout=20).returncode in CURL[version]


def test_worker_serves_on_after_every_fault(server):
    server.expect("PIPE0510", "PIPE0511", "PIPE0512", "PIPE0513", "PIPE0515")
    for name in [*HEADS, *RAISED, *BODIES]:
        assert server.get(f"/{name}").status == 500
        assert server.get("/goes_on").body == b"handled"
    assert len(server.processes("daemon")) == 1
