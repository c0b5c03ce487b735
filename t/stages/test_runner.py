# SPDX-License-Identifier: Apache-2.0
"""Entering, leaving and failing, seen by the stages of a C module (mod_probe.c)."""

import subprocess

import pytest

from t.support import environment

ONE = [("Host", "one.example")]


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """mod_probe.so, built by apxs from this folder's source."""
    folder = tmp_path_factory.mktemp("probe")
    source = environment.ROOT / "t" / "stages" / "mod_probe.c"
    (folder / "mod_probe.c").write_text(source.read_text())
    command = ["apxs", "-c", "-I", str(environment.ROOT), "mod_probe.c"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / ".libs" / "mod_probe.so"


@pytest.fixture
def probed(site, probe):
    """The site with the probe's stages; `probed(extra directives)`."""
    return lambda extra="": site(f"LoadModule probe_module {probe}\n{extra}")


def ask(server, path="/welcome", **headers):
    """The status, and the actions that the probe has seen up to when the response was made."""
    pairs = [(f"X-{name.capitalize()}", value) for name, value in headers.items()]
    answer = server.get(path, ONE + pairs)
    trace = answer.header("X-Trace") or ""
    return answer, trace.split(", ") if trace else []


def test_stages_leave_in_reverse(probed):
    answer, trace = ask(probed())
    assert answer.status == 200
    assert trace == ["outer-enter", "inner-enter", "inner-exit"]


def test_failure_on_the_way_in_gets_a_page_and_unwinds_by_error_no_further(probed):
    server = probed()
    server.expect("PIPE0640")
    answer, trace = ask(server, fail="inner-enter")
    assert answer.status == 500
    assert "<code>" in answer.text
    assert trace == ["outer-enter", "inner-enter"]
    assert "the stage inner failed" in server.log()


def test_failure_on_the_way_out_aborts_and_gets_a_page(probed):
    server = probed()
    server.expect("PIPE0640")
    answer, trace = ask(server, "/welcome/edit?text=lost", fail="inner-exit")
    assert answer.status == 500
    assert trace == ["outer-enter", "inner-enter", "inner-exit"]
    assert "Welcome" in ask(server)[0].text


def test_error_action_sees_a_failure_behind_it(probed):
    server = probed()
    server.expect("PIPE0640")
    answer, trace = ask(server, "/@@raise?what=error")
    assert answer.status == 500
    assert trace == ["outer-enter", "inner-enter", "inner-error"]


def test_error_action_may_answer(probed):
    answer, trace = ask(probed(), "/@@raise?what=error", answer="yes")
    assert (answer.status, answer.text) == (409, "<p>inner answers</p>")
    assert answer.header("Content-Type") == "text/html"
    assert trace == ["outer-enter", "inner-enter", "inner-error", "outer-exit"]


def test_failure_before_the_interpreter_is_answered_and_logged_with_its_stage(probed):
    server = probed()
    server.expect("PIPE0604")
    answer, trace = ask(server, fail="outer-enter")
    assert answer.status == 500
    assert trace == ["outer-enter"]
    assert "the stage outer failed" in server.log()
    assert ask(server)[0].status == 200


def test_stage_for_all_types_is_part_of_a_mounted_application(probed):
    server = probed("PipelineScriptAlias /app application:hello")
    server.expect("PIPE0604")
    assert ask(server, "/app")[0].text == "hello from /app"
    assert ask(server, "/app", fail="outer-enter")[0].status == 500


def test_python_stage_guards_a_mounted_application(probed):
    server = probed(
        "PipelineScriptAlias /app application:hello\n"
        "PipelineStage gate audit:gate types=wsgi key=open"
    )
    assert ask(server, "/app")[0].status == 403
    assert ask(server, "/app", key="open")[0].text == "hello from /app"
    assert ask(server)[0].status == 200


def test_application_that_raises_a_conflict_is_not_called_again(probed):
    server = probed("PipelineScriptAlias /app application:conflict")
    server.expect("PIPE0510")
    assert ask(server, "/app")[0].status == 500
    assert server.log().count("application: called") == 1
