# SPDX-License-Identifier: Apache-2.0
"""What a daemon says of a site that it cannot load."""

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


def test_host_with_a_stage_that_cannot_be_loaded_leaves_other_hosts_alone(site):
    host = "<VirtualHost *:@PORT@>\nServerName bad.example\nPipelineStage bad nowhere:stage\n"
    server = partly(site(f"{host}PipelineRoot / main:/one\n</VirtualHost>"), "PIPE0603")
    assert server.get("/", [("Host", "two.example")]).status == 200
    assert server.get("/", [("Host", "bad.example")]).status == 503
