# SPDX-License-Identifier: Apache-2.0
"""What is written about the directives, and the configuration that ships, hold for the module."""

import re

import pytest

from t.support import environment

DOCUMENT = (environment.ROOT / "docs" / "directives.md").read_text()
EXAMPLES = re.findall(r"^```apache\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
SOURCES = environment.ROOT / "server"


def test_every_directive_has_a_section_and_an_example():
    table = (SOURCES / "config_directives.c").read_text()
    directives = re.findall(r'DIRECTIVE\("(\w+)"', table)
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
    assert sorted(sections) == sorted(directives)
    for name, text in sections.items():
        assert f"\n    {name} " in text
        assert "Context: server" in text
        assert re.search(rf"^```apache\n(.*\n)* *{name} ", text, re.MULTILINE)


def test_every_option_is_documented_with_its_default(apache):
    source = (SOURCES / "config_group.c").read_text()
    options = re.findall(r'^    \{ "([\w-]+)", OPTION_', source, re.MULTILINE)
    rows = re.findall(r"^\| `([\w-]+)` \| .+? \| (.+?) \| ", DOCUMENT, re.MULTILINE)
    documented = dict(row for row in rows if row[0] in options)
    assert list(documented) == options
    server = apache("PipelineDaemonProcess site", start=False)
    text = server.configtest("-D", "DUMP_PIPELINE_CONFIG").text
    effective = dict(re.findall(r"^  ([\w-]+)=(.*)$", text, re.MULTILINE))
    del effective["interp-module"]  # resolved from python-version
    assert effective.pop("channels") == "0"  # that is, from MaxRequestWorkers
    assert len(effective) == 8
    for name, value in effective.items():
        assert documented[name] == value, name


@pytest.mark.parametrize("name", ["processes", "threads", "channels", "maximum-requests"])
def test_documented_range_is_the_range(apache, name):
    values = re.search(rf"^\| `{name}` \| (\d+) to (\d+) \|", DOCUMENT, re.MULTILINE).groups()
    server = apache(f"PipelineDaemonProcess site {name}=x", start=False)
    text = server.configtest().text
    assert f"is not a whole number between {values[0]} and {values[1]}" in text


@pytest.mark.parametrize(
    "name",
    [
        "queue-timeout",
        "startup-timeout",
        "request-timeout",
        "graceful-timeout",
        "shutdown-timeout",
    ],
)
def test_documented_bounds_of_a_time_are_its_bounds(apache, name):
    least, most = re.search(rf"^\| `{name}` \| (\w+) to (\w+) \|", DOCUMENT, re.MULTILINE).groups()
    server = apache(start=False)
    for value, code in ((least, 0), (most, 0), (f"{int(most[:-1]) * 3600000 + 1}ms", 1)):
        server.configure(f"PipelineDaemonProcess site {name}={value}")
        assert server.configtest().code == code, value


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_in_the_document_is_accepted(apache, example):
    server = apache(example, start=False)
    answer = server.configtest()
    assert answer.code == 0, answer.text


def test_shipped_configuration_is_accepted(apache):
    path = environment.ROOT / "conf.d" / "pipeline.conf"
    server = apache(f"Include {path}", modules=("authz_host", "reqtimeout"), start=False)
    answer = server.configtest("-D", "DUMP_PIPELINE_CONFIG")
    assert answer.code == 0, answer.text
    assert re.search(r"mount www.example.com:80 / -> main:/site ", answer.text)
    assert re.search(r"mount www.example.com:80 /api -> siteapi.wsgi:application ", answer.text)
