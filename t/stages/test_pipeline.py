# SPDX-License-Identifier: Apache-2.0
"""Folders published through the pipeline: traversal, forms, transactions, retry and error pages."""

import hashlib
import json
import secrets

import pytest

from t.support import processes
from t.support.apache import wait

ONE = [("Host", "one.example")]
TWO = [("Host", "two.example")]


def multipart(fields, name, data):
    """Headers and body of a form with one file."""
    boundary = secrets.token_hex(8)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="f.bin"\r\n\r\n'
    )
    body = "".join(parts).encode() + head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return [("Content-Type", f"multipart/form-data; boundary={boundary}")], body


def post(server, path, fields, host=ONE):
    body = "&".join(f"{key}={value}" for key, value in fields.items()).encode()
    kind = [("Content-Type", "application/x-www-form-urlencoded")]
    return server.request("POST", path, host + kind, body)


# ---- Traversal and URLs -----------------------------------------------------------------------


def test_two_hosts_publish_two_folders_and_generate_their_own_urls(site):
    server = site()
    for host, name in ((ONE, "one"), (TWO, "two")):
        answer = server.get("/", host)
        assert answer.status == 200
        root = f"http://{name}.example"
        assert answer.text.splitlines() == [f"folder {root}", f"{root}/welcome", f"{root}/sub"]
        assert f"Welcome to {name}" in server.get("/welcome", host).text


def test_a_mount_below_a_prefix_generates_urls_below_it(site):
    answer = site().get("/under/here/sub", [("Host", "one.example:81")])
    assert answer.text.splitlines()[0] == "folder http://one.example:81/under/here/sub"


def test_default_view_named_view_and_namespace_lead_to_the_same_page(site):
    server = site()
    pages = [server.get(f"/welcome{end}", ONE) for end in ("", "/", "/index.html", "/@@index.html")]
    pages.append(server.get("/welcome/++view++index.html", ONE))
    pages.append(server.get("/++item++welcome", ONE))
    assert {page.status for page in pages} == {200}
    assert len({page.text for page in pages}) == 1
    assert pages[0].header("Content-Type") == "text/html; charset=utf-8"


def test_object_that_publishes_itself_takes_names_and_has_a_default(site):
    server = site()
    where = "http://one.example/@@shop"
    assert (
        server.get("/@@shop/red/shoes", ONE).text == f"red shoes, any, 0 steps more at {where}/red"
    )
    answer = server.get("/@@shop?color=red", ONE)
    assert answer.text == f"catalogue, red, 1 steps more at {where}/catalogue"
    assert server.get("/@@shop/nothing", ONE).status == 404


def test_skin_stays_in_the_urls_that_are_generated(site):
    answer = site().get("/++skin++plain/welcome", ONE)
    assert answer.text == "plain: Welcome to one at http://one.example/++skin++plain/welcome"


def test_traversal_hooks_see_each_object_once(site):
    server = site("PipelineStage hooks audit:hooks after=create_request types=browser")
    answer = server.get("/sub/deep", ONE)
    assert answer.header("X-Seen") == "Folder,Folder,Note,NotePage"


def test_head_has_the_headers_of_get_and_no_body(site):
    server = site()
    got, head = server.get("/welcome", ONE), server.request("HEAD", "/welcome", ONE)
    assert (head.status, head.body) == (200, b"")
    assert head.header("Content-Length") == got.header("Content-Length") == str(len(got.body))


def test_what_is_not_there_is_not_found(site):
    server = site()
    for path in ("/absent", "/welcome/absent", "/@@absent", "/++bogus++x", "/sub/text"):
        assert server.get(path, ONE).status == 404, path


def test_names_of_the_operator_are_refused(site):
    server = site()
    for name in ("++vh++http:evil.example:80/++", "++etc++process", "++debug++source"):
        assert server.get(f"/sub/{name}", ONE).status == 400, name


def test_path_that_is_not_utf_8_is_refused(site):
    assert site().get("/%ff", ONE).status == 400


def test_methods_that_pages_do_not_take(site):
    server = site()
    for method, status in (("PUT", 405), ("DELETE", 405), ("BREW", 501)):
        answer = server.request(method, "/welcome", ONE)
        assert answer.status == status, method
        assert answer.header("Allow") == "GET, HEAD, POST"


def test_missing_folder_is_not_found_and_logged_once(site):
    server = site()
    server.expect("PIPE0610")
    for _ in range(3):
        assert server.get("/", [("Host", "lost.example")]).status == 404
    assert server.log().count("PIPE0610") == 1
    assert server.get("/", ONE).status == 200


# ---- Forms and results ------------------------------------------------------------------------


def test_form_has_fields_lists_and_files(site):
    server = site()
    headers, body = multipart({"title": "Größe", "tag": "a"}, "upload", b"content")
    answer = server.request("POST", "/@@echo?tag=b&q=%C3%A4", ONE + headers, body).text
    assert json.loads(answer)["form"] == {
        "title": "Größe",
        "tag": ["a", "b"],
        "q": "ä",
        "upload": {"file": "f.bin", "text": "content"},
    }


def test_request_knows_where_it_is_and_what_it_carries(site):
    answer = json.loads(site().get("/sub/deep/@@echo", [*ONE, ("Cookie", 'a="x y"; b=2')]).text)
    assert answer["url"] == "http://one.example/sub/deep/@@echo"
    assert answer["application"] == "http://one.example"
    assert answer["traversed"] == ["sub", "deep", "@@echo"]
    assert answer["cookies"] == {"a": "x y", "b": "2"}
    assert answer["retry"] is True
    assert {"zope.request", "zope.response", "zope.interaction"} <= set(answer["keys"])


def test_form_that_is_malformed_or_too_large_is_refused(site):
    server = site()
    plain = "application/x-www-form-urlencoded"
    forms = (
        (plain, b"a=1&" * 1200, 413),
        (plain, b"a=" + b"x" * 9_000_000, 413),
        ("multipart/form-data", b"no boundary", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nbroken", 400),
    )
    for kind, body, status in forms:
        answer = server.request("POST", "/@@echo", [*ONE, ("Content-Type", kind)], body)
        assert answer.status == status, (kind, body[:20])


def test_client_that_breaks_off_in_its_form_leaves_nothing_behind(site):
    server = site()
    assert server.get("/welcome", ONE).status == 200  # a daemon is ready and takes the next at once
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    with server.connect() as connection:
        connection.begin("POST", "/welcome/edit", [*ONE, kind], length=100_000).send(b"text=half")
        wait(0.5)
    processes.wait_until(lambda: "broke off" in server.log(), 10)
    assert "broke off" in server.log()
    assert "Welcome" in server.get("/welcome", ONE).text


def test_missing_argument_is_named(site):
    answer = site().get("/@@result", ONE)
    assert answer.status == 400
    assert "missing argument: kind" in answer.text


def test_results_of_views(site):
    server = site()
    results = {"none": b"", "bytes": b"\x00\x01", "iterable": b"one two three"}
    for kind, body in results.items():
        answer = server.get(f"/@@result?kind={kind}", ONE)
        assert (answer.status, answer.body) == (200, body), kind
    answer = server.get("/@@result?kind=response", ONE)
    assert (answer.status, answer.text) == (202, "as the view set it")
    assert answer.header("X-Own") == "yes"
    assert answer.header("Set-Cookie") == "seen=1; HttpOnly; Path=/"


# ---- Transactions -----------------------------------------------------------------------------


def test_edit_is_committed_redirected_and_annotated(site):
    server = site("PipelineStage annotations audit:annotations after=transaction")
    answer = post(server, "/sub/deep/edit", {"text": "changed"})
    assert answer.status == 303
    assert answer.header("Location") == "http://one.example/sub/deep"
    assert (
        "commit: /one/sub/deep/edit [('request_info', 'POST http://one.example/sub/deep/edit'),"
        " ('request_type', 'browser')]"
    ) in server.log()
    assert "changed" in server.get("/sub/deep", ONE).text


def test_veto_aborts_what_is_answered_with_an_error(site):
    server = site("PipelineZCML @TREE@/t/apps/pipeline/veto.zcml")
    assert post(server, "/welcome/edit", {"text": "refused"}).status == 409
    assert "Welcome" in server.get("/welcome", ONE).text
    assert post(server, "/welcome/edit", {"text": "accepted"}).status == 303
    assert "accepted" in server.get("/welcome", ONE).text


def test_without_a_veto_an_error_status_is_committed(site):
    server = site()
    assert post(server, "/welcome/edit", {"text": "refused"}).status == 409
    assert "refused" in server.get("/welcome", ONE).text


def test_doomed_transaction_is_aborted_and_answered(site):
    server = site()
    assert server.get("/welcome/doomed", ONE).text == "doomed, and answered"
    assert "Welcome" in server.get("/welcome", ONE).text


HEADS = ("injection", "foreign", "long", "hop", "status", "reason", "cookie")
BODIES = ("texts", "mixed", "dict", "set", "array", "number", "short")


def test_response_that_cannot_be_sent_commits_nothing_and_gets_a_page(site):
    server = site()
    server.expect("PIPE0640")
    for kind in HEADS + BODIES:
        answer = server.get(f"/welcome/unsendable?kind={kind}", ONE)
        assert (answer.status, answer.header("X-Title")) == (500, None), kind
        assert "The log knows this request" in answer.text, kind
        assert "Welcome" in server.get("/welcome", ONE).text, kind
    assert server.log().count("PIPE0640") == len(HEADS + BODIES)
    assert server.get("/welcome/unsendable?kind=none", ONE).text == "a page"
    assert "changed by none" in server.get("/welcome", ONE).text


def test_header_that_a_stage_inside_the_transaction_spoils_commits_nothing(site):
    server = site("PipelineStage spoil audit:spoil after=transaction before=traverse")
    server.expect("PIPE0640")
    assert post(server, "/welcome/edit", {"text": "changed"}).status == 500
    assert server.log().count("PIPE0640") == 1
    assert server.get("/absent", ONE).status == 404


def test_answer_of_a_stage_that_cannot_be_sent_gets_an_error_page(site):
    server = site("PipelineStage texts audit:texts after=transaction types=browser")
    server.expect("PIPE0640")
    answer = server.get("/", ONE)
    assert answer.status == 500
    assert "The log knows this request" in answer.text


def test_page_for_an_exception_that_cannot_be_sent_is_replaced_and_stores_nothing(site):
    server = site()
    server.expect("PIPE0640", "PIPE0641")
    answer = server.get("/@@raise?what=unsendable", ONE)
    assert answer.status == 500
    assert "The log knows this request" in answer.text
    assert "Welcome" in server.get("/welcome", ONE).text


def test_what_a_generator_yields_is_found_after_the_commit(site):
    server = site()
    server.expect("PIPE0513")
    assert server.get("/welcome/lazy", ONE).status == 500
    assert "kept" in server.get("/welcome", ONE).text


def test_conflict_is_retried_with_the_whole_body(site):
    server = site()
    for times in (0, 1, 2):
        data = secrets.token_bytes(300_000)
        headers, body = multipart({"key": times, "times": times}, "upload", data)
        answer = server.request("POST", "/welcome/contend", ONE + headers, body)
        assert answer.status == 200
        digest = hashlib.sha256(data).hexdigest()
        assert json.loads(answer.text) == {"digest": digest, "attempts": times + 1}
        assert digest in server.get("/welcome", ONE).text


def test_conflicts_that_do_not_end_are_answered_with_retry_after(site):
    server = site()
    server.expect("PIPE0620")
    headers, body = multipart({"key": "k", "times": 99}, "upload", b"x")
    answer = server.request("POST", "/welcome/contend", ONE + headers, body)
    assert answer.status == 503
    assert answer.header("Retry-After")
    assert "meddled" in server.get("/welcome", ONE).text


# ---- Error pages ------------------------------------------------------------------------------


def test_error_page_has_its_id_and_nothing_of_the_site(site):
    server = site()
    server.expect("PIPE0640")
    answer = server.get("/@@raise?what=error", ONE)
    assert answer.status == 500
    label = answer.text.partition("<code>")[2].partition("</code>")[0]
    assert label
    assert "secret" not in answer.text
    entry = next(line for line in server.log().splitlines() if "PIPE0640" in line)
    assert label in entry
    assert "a <secret> of the site" in server.log()


def test_view_for_an_exception_reads_the_database(site):
    server = site()
    server.expect("PIPE0640")
    answer = server.get("/@@raise?what=quota", ONE)
    assert (answer.status, answer.text) == (507, "quota: too many notes; the root has 2 things")


def test_view_for_an_exception_that_fails_gives_a_plain_page(site):
    server = site()
    server.expect("PIPE0640", "PIPE0641")
    answer = server.get("/@@raise?what=double", ONE)
    assert answer.status == 500
    assert "Internal Server Error" in answer.text


def test_view_that_returns_something_else_gives_an_error_page(site):
    server = site()
    server.expect("PIPE0640")
    assert server.get("/@@result?kind=number", ONE).status == 500
    assert "returned 42" in server.log()


def test_name_to_traverse_that_is_no_text_gives_an_error_page(site):
    server = site()
    server.expect("PIPE0640")
    assert server.get("/@@shop/number", ONE).status == 500
    assert "a name to traverse must be str, not int" in server.log()


def test_exceptions_that_are_answers(site):
    server = site()
    server.expect("PIPE0640")
    answer = server.get("/@@raise?what=unauthorized", ONE)
    assert (answer.status, answer.header("WWW-Authenticate")) == (401, 'Basic realm="site"')
    answer = server.get("/@@raise?what=redirect", ONE)
    assert (answer.status, answer.header("Location")) == (303, "/sub")
    answer = server.get("/@@raise?what=outside", ONE)
    assert (answer.status, answer.header("Location")) == (500, None)


def test_storage_that_cannot_be_opened_is_unavailable_and_others_go_on(site):
    server = site("PipelineStorage broken sqlite:///proc/nowhere\nPipelineRoot /broken broken:/x")
    server.expect("PIPE0601", "PIPE0611")
    for word in ("PIPE0611", "still cannot be used"):
        answer = server.get("/broken/", ONE)
        assert answer.status == 503
        assert answer.header("Retry-After")
        label = answer.text.split()[-1].rstrip(".")
        lines = server.log().splitlines()
        assert any(f"[{label}]" in line and word in line for line in lines), word
    assert server.get("/", ONE).status == 200


# ---- Stages of a site's own -------------------------------------------------------------------


def test_stage_in_python_takes_its_place(site):
    server = site(
        "PipelineStage audit audit:stage after=transaction before=traverse types=browser level=2"
    )
    answer = server.get("/@@echo", ONE)
    assert json.loads(answer.text)["audited"] == "2"
    assert answer.header("X-Audit") == "2"


def test_stage_in_python_answers_in_place_of_the_page(site):
    server = site("PipelineStage gate audit:gate after=create_request key=open")
    assert (server.get("/", ONE).status, server.get("/", ONE).text) == (403, "closed\n")
    assert server.get("/", [*ONE, ("X-Key", "open")]).status == 200


def test_stage_in_python_answers_an_exception(site):
    server = site("PipelineStage shield audit:shield after=handle_error")
    answer = server.get("/@@raise?what=error", ONE)
    assert (answer.status, answer.text) == (418, "shielded: a <secret> of the site")
    assert server.get("/", ONE).status == 200


def test_stage_in_python_sees_an_exception_pass(site):
    server = site("PipelineStage watch audit:watch after=handle_error")
    server.expect("PIPE0640")
    assert server.get("/@@raise?what=error", ONE).status == 500
    assert "watch: left /@@raise" in server.log()


@pytest.mark.parametrize("target", ["fail", "broken_answer"])
def test_stage_in_python_that_fails_gets_an_error_page(site, target):
    server = site(f"PipelineStage bad audit:{target} after=transaction")
    server.expect("PIPE0640")
    answer = server.get("/", ONE)
    assert answer.status == 500
    assert "<code>" in answer.text
