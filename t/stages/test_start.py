# SPDX-License-Identifier: Apache-2.0
"""What a daemon says of a site that it cannot load."""

import os

import pytest

from t.support import processes

ONE = [("Host", "one.example")]

BROKEN = {
    "missing": None,
    "malformed": "<configure",
    "unknown": '<configure xmlns="http://namespaces.zope.org/zope"><nonsense/></configure>',
    "unimportable": (
        '<configure xmlns="http://namespaces.zope.org/zope">'
        '<include package="zope.component" file="meta.zcml"/>'
        '<utility component="no_such_module.thing" provides="zope.interface.Interface"/>'
        "</configure>"
    ),
}


def unavailable(server, id_):
    """The site answers 503, and the log has one line with the id."""
    server.expect(id_, "PIPE0200", "PIPE0201", "PIPE0311", "PIPE0313")
    assert processes.wait_until(lambda: id_ in server.log(), 20)
    assert server.get("/", ONE).status == 503
    return next(line for line in server.log().splitlines() if id_ in line)


@pytest.mark.parametrize("kind", BROKEN)
def test_zcml_that_cannot_be_loaded_keeps_the_daemon_from_serving(site, kind):
    files = {"extra.zcml": BROKEN[kind]} if BROKEN[kind] else {}
    server = site("PipelineZCML @ROOT@/extra.zcml", files=files)
    unavailable(server, "PIPE0600")
    assert "Traceback" in server.log()


@pytest.mark.parametrize("target", ["no_such_module:stage", "audit:no_such_name", "audit:__name__"])
def test_stage_that_cannot_be_loaded_is_named(site, target):
    line = unavailable(site(f"PipelineStage bad {target}"), "PIPE0603")
    assert "PipelineStage bad" in line
    assert "httpd.conf:" in line
    assert target in line


def partly(server, *ids):
    """Expects the ids of a daemon that serves a part of its sites."""
    server.expect("PIPE0316", "PIPE0605", *ids)
    return server


def test_site_that_cannot_be_loaded_leaves_an_application_beside_it_alone(site):
    server = site("PipelineZCML /nowhere/site.zcml\nPipelineScriptAlias /app application:hello")
    partly(server, "PIPE0600")
    assert server.get("/app", ONE).text == "hello from /app"
    answer = server.get("/", ONE)
    assert (answer.status, answer.header("Retry-After")) == (503, "5")


def hosts(server):
    """The status of each host's root."""
    names = ("one", "two", "bad", "late")
    return {name: server.get("/", [("Host", f"{name}.example")]).status for name in names}


OTHERS = (
    "<VirtualHost *:@PORT@>\nServerName bad.example\nPipelineZCML @ROOT@/bad.zcml\n"
    "PipelineRoot / main:/one\n</VirtualHost>\n"
    "<VirtualHost *:@PORT@>\nServerName late.example\nPipelineZCML @ROOT@/late.zcml\n"
    "PipelineRoot / main:/two\n</VirtualHost>\n"
)
OPEN = '<configure xmlns="http://namespaces.zope.org/zope">\n'
VETO = '<include file="@TREE@/t/apps/pipeline/veto.zcml"/>\n'
PAGE = (
    '<include package="zope.component" file="meta.zcml"/>\n'
    '<adapter factory="{}" name="own.html" provides="zope.interface.Interface"'
    ' for="notes.IFolder zope.publisher.interfaces.browser.IBrowserRequest"/>\n'
)


@pytest.mark.parametrize("kind", BROKEN)
def test_zcml_of_one_host_that_cannot_be_loaded_leaves_other_hosts_alone(site, kind):
    files = {"bad.zcml": BROKEN[kind]} if BROKEN[kind] else {}
    files["late.zcml"] = f"{OPEN}{PAGE.format('notes.FolderPage')}</configure>"
    server = partly(site(OTHERS, files=files), "PIPE0600")
    assert hosts(server) == {"one": 200, "two": 200, "bad": 503, "late": 200}
    assert server.get("/own.html", [("Host", "late.example")]).status == 200
    lines = [line for line in server.log().splitlines() if "PIPE0600:" in line]
    assert len(lines) == 1
    assert "bad.zcml" in lines[0]
    assert "bad.example" in lines[0]
    assert "two.example" not in lines[0]


def test_what_a_file_that_fails_has_included_is_loaded_for_the_next(site):
    include = VETO.replace("@TREE@", os.environ["PIPELINE_TREE"])
    files = {"bad.zcml": f"{OPEN}{include}<nonsense/></configure>"}
    files["late.zcml"] = f"{OPEN}{include}</configure>"
    server = partly(site(OTHERS, files=files), "PIPE0600")
    edit = "/welcome/edit?text=refused"
    assert server.get(edit, [("Host", "late.example")]).status == 409
    assert "Welcome" in server.get("/welcome", [("Host", "late.example")]).text


def test_zcml_that_contradicts_that_of_a_host_before_it_is_refused(site):
    files = {"bad.zcml": f"{OPEN}{PAGE.format('notes.FolderPage')}</configure>"}
    files["late.zcml"] = f"{OPEN}{PAGE.format('notes.NotePage')}</configure>"
    server = partly(site(OTHERS, files=files), "PIPE0600")
    assert hosts(server) == {"one": 200, "two": 200, "bad": 200, "late": 503}
    assert server.get("/own.html", [("Host", "bad.example")]).text.startswith("folder")
    assert "Conflicting configuration actions" in server.log()


def test_host_with_a_stage_that_cannot_be_loaded_leaves_other_hosts_alone(site):
    host = "<VirtualHost *:@PORT@>\nServerName bad.example\nPipelineStage bad nowhere:stage\n"
    server = partly(site(f"{host}PipelineRoot / main:/one\n</VirtualHost>"), "PIPE0603")
    assert server.get("/", [("Host", "two.example")]).status == 200
    assert server.get("/", [("Host", "bad.example")]).status == 503
