# SPDX-License-Identifier: Apache-2.0
"""What `apachectl -t` says of the order of the stages."""

import time

import pytest

SITE = (
    "PipelineDaemonProcess site processes=1\n"
    "PipelineStorage main sqlite:///tmp/nowhere\n"
    "PipelineProcessGroup site\n"
    "PipelineRoot / main:/one\n"
)


def configtest(apache, stages, *arguments):
    """The answer, and for each line of `stages` the place that a message would name."""
    server = apache(SITE + stages, start=False)
    lines = server.config.read_text().splitlines()
    places = [f"{server.config}:{lines.index(stage) + 1}" for stage in stages.splitlines()]
    started = time.monotonic()
    answer = server.configtest(*arguments)
    assert time.monotonic() - started < 2
    return answer, places


def complaint(answer):
    """The one line about a stage."""
    lines = [line for line in answer.text.splitlines() if "PipelineStage" in line]
    assert len(lines) == 1, answer.text
    return lines[0]


def test_cycle_is_refused_with_its_stages_file_and_line(apache):
    stages = (
        "PipelineStage one audit:stage after=traverse before=two\n"
        "PipelineStage two audit:stage after=one before=inputs\n"
    )
    answer, places = configtest(apache, stages)
    assert answer.code == 1
    line = complaint(answer)
    assert all(place in line for place in places)
    assert all(f" {name} " in f" {line} " for name in ("one", "two", "inputs", "traverse"))


def test_unknown_stage_is_refused_with_file_and_line(apache):
    answer, (place,) = configtest(apache, "PipelineStage one audit:stage after=travrese\n")
    assert answer.code == 1
    assert place in complaint(answer)
    assert '"travrese"' in complaint(answer)


def test_unknown_stage_that_may_be_absent_is_accepted(apache):
    answer, _ = configtest(apache, "PipelineStage one audit:stage after=?travrese,inputs\n")
    assert answer.code == 0, answer.text


@pytest.mark.parametrize("name", ["traverse", "log"])
def test_name_of_a_built_in_stage_is_refused(apache, name):
    answer, (place,) = configtest(apache, f"PipelineStage {name} audit:stage\n")
    assert answer.code == 1
    assert place in complaint(answer)
    assert "built in" in complaint(answer)


def test_dump_lists_every_host_and_type_in_order(apache):
    stages = "PipelineStage audit audit:stage after=inputs before=traverse types=browser\n"
    answer, (place,) = configtest(apache, stages, "-D", "DUMP_PIPELINE")
    assert answer.code == 0
    rows = [line.split() for line in answer.text.splitlines() if line.startswith("    ")]
    assert " ".join(row[1] for row in rows) == (
        "log vhost classify retry interp create_request open_root handle_error transaction "
        "inputs audit traverse call"
    )
    audit = next(row for row in rows if row[1] == "audit")
    assert audit[2:] == ["audit:stage", place, "after=inputs", "before=traverse"]
