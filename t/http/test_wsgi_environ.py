# SPDX-License-Identifier: Apache-2.0
"""The environ, the interpreter and the log, as an application finds them."""

import json
import re

import pytest

DIRECTIVES = """\
PipelineDaemonProcess site processes=2 threads=1 python-path=@TREE@/t/apps/wsgi
PipelineProcessGroup site
SetEnv FROM_SERVER "set by the server"
SetEnv HTTP_X_TRUSTED "the server's"
SetEnv wsgi.input "no stream"
PipelineScriptAlias /app surroundings:application
PipelineScriptAlias /validated surroundings:validated
PipelineScriptAlias /threaded surroundings:application process-group=threaded
PipelineDaemonProcess threaded processes=1 threads=3 python-path=@TREE@/t/apps/wsgi
"""


@pytest.fixture
def server(apache):
    return apache(DIRECTIVES, modules=["env"])


def environ_of(server, path="/app/environ", headers=(), method="GET", body=b""):
    return json.loads(server.request(method, path, headers, body).text)


def test_request_is_described(server):
    environ = environ_of(server, "/app/environ/%C3%A9t%2B?q=%C3%A9&x")
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/app",
        "PATH_INFO": "/environ/\xc3\xa9t+",
        "QUERY_STRING": "q=%C3%A9&x",
        "REQUEST_URI": "/app/environ/%C3%A9t%2B?q=%C3%A9&x",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(server.port),
        "SERVER_ADDR": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_SCHEME": "http",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "HTTP_HOST": f"127.0.0.1:{server.port}",
        "mod_pipeline.process_group": "site",
        "mod_pipeline.application": "surroundings:application",
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert environ["REMOTE_PORT"].isdigit()
    assert environ["mod_pipeline.request_id"]
    absent = {"REMOTE_USER", "AUTH_TYPE", "CONTENT_TYPE", "CONTENT_LENGTH", "HTTPS"}
    assert not absent & set(environ)


def test_wsgi_keys_are_whole(server):
    environ = environ_of(server)
    expected = {
        "wsgi.version": [1, 0],
        "wsgi.url_scheme": "http",
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.input": "mod_pipeline.Input",
        "wsgi.errors": "mod_pipeline.Log",
        "wsgi.file_wrapper": "type",
    }
    shown = {key: environ.get(key) for key in expected}
    shown["wsgi.input"] = f"mod_pipeline.{shown['wsgi.input']}"
    shown["wsgi.errors"] = f"mod_pipeline.{shown['wsgi.errors']}"
    assert shown == expected


def test_threads_are_announced(server):
    environ = environ_of(server, "/threaded/environ")
    assert (environ["wsgi.multithread"], environ["wsgi.multiprocess"]) == (True, False)


def test_every_cgi_value_is_text(server):
    assert environ_of(server, "/app/types", [("X-A", "1"), ("Content-Type", "a/b")]) == []


def test_body_is_described(server):
    environ = environ_of(server, headers=[("Content-Type", "a/b")], method="POST", body=b"12345")
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("a/b", "5")
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(environ)


def test_headers_become_variables(server):
    headers = [("X-Some-Header", "value"), ("x-lower", "caf\xe9"), ("X-EMPTY", "")]
    environ = environ_of(server, headers=headers)
    found = [environ.get(f"HTTP_X_{name}") for name in ("SOME_HEADER", "LOWER", "EMPTY")]
    assert found == ["value", "caf\xe9", ""]


def test_repeated_headers_are_joined(server):
    environ = environ_of(server, headers=[("X-A", "1"), ("x-a", "2"), ("X-A", "2")])
    assert re.fullmatch(r"1, ?2, ?2", environ["HTTP_X_A"])


def test_headers_that_pose_as_others_are_dropped(server):
    headers = [("X_Some", "bad"), ("X.Some", "bad"), ("Proxy", "http://bad/"), ("X-Good", "good")]
    environ = environ_of(server, headers=headers)
    assert environ["HTTP_X_GOOD"] == "good"
    assert "bad" not in " ".join(str(value) for value in environ.values())


def test_variables_of_the_server_win(server):
    environ = environ_of(server, headers=[("X-Trusted", "the client's")])
    assert environ["FROM_SERVER"] == "set by the server"
    assert environ["HTTP_X_TRUSTED"] == "the server's"
    assert environ["wsgi.input"] == "Input"


def test_many_strange_headers_are_all_there(server):
    """More names than are remembered, over several requests; each arrives all the same."""
    for start in range(0, 900, 90):
        names = [f"X-Name-{number}" for number in range(start, start + 90)]
        environ = environ_of(server, headers=[(name, f"is {name}") for name in names])
        for name in names:
            assert environ["HTTP_" + name.upper().replace("-", "_")] == f"is {name}"


def test_values_of_one_request_are_not_seen_in_the_next(server):
    secret = [("Cookie", "session=1"), ("Authorization", "Bearer 1"), ("X-Once", "1")]
    with server.connect() as connection:
        first = json.loads(connection.get("/app/environ", secret).text)
        second = json.loads(connection.get("/app/environ").text)
    assert first["HTTP_AUTHORIZATION"] == "Bearer 1"
    assert first["HTTP_COOKIE"] == "session=1"
    assert not {"HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_X_ONCE"} & set(second)


def test_validator_of_wsgiref_finds_nothing(server):
    for method, body in (("GET", b""), ("POST", b"one\ntwo"), ("HEAD", b"")):
        response = server.request(method, "/validated/x?y=z", body=body)
        assert (response.status, response.header("content-length")) == (200, "5")


def test_interpreter_is_a_program_of_its_own(server):
    found = environ_of(server, "/app/interpreter")
    assert found["argv"] == ["mod_pipeline"]
    assert found["path"][0] == server.expand("@TREE@/t/apps/wsgi")
    assert found["encoding"] == "utf-8"
    assert re.search(r"/bin/python3(\.\d+)?$", found["executable"])
    assert (found["main"], found["in_main"]) == ("MainThread", False)


def test_lines_go_to_the_log_of_the_request(server):
    server.expect("PIPE0520", "PIPE0521")
    server.get("/app/log")
    server.wait_log("left at the end")
    log = server.log()
    for text in ("one line", "from a list", "without an end until now", "left at the end"):
        line = rf":error\].*client 127\.0\.0\.1.*PIPE0520: (to errors, )?{text}$"
        assert re.search(line, log, re.M)
    assert re.search(r":warn\].*PIPE0521: to stderr$", log, re.M)
    assert re.search(r":notice\].*to stdout$", log, re.M)
    assert "ud800" in server.wait_log("caf")


def test_threads_of_an_application_reach_the_log(server):
    server.get("/app/log_from_thread")
    assert ":notice]" in server.wait_log("from a thread")


def test_logging_and_warnings_reach_the_log(server):
    server.expect("PIPE0521")
    server.get("/app/log_warning")
    assert "PIPE0521" in server.wait_log("by logging")
    assert "PIPE0521" in server.wait_log("by warnings")


@pytest.mark.parametrize("lang", ["C", "POSIX", "C.UTF-8", "no_SUCH.UTF-8"])
def test_files_are_named_in_utf8_whatever_the_language(apache, lang):
    directives = DIRECTIVES.replace("DaemonProcess site", f"DaemonProcess site lang={lang}")
    server = apache(directives, modules=["env"])
    assert environ_of(server, "/app/interpreter")["encoding"] == "utf-8"
