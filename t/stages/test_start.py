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
    server.expect(id_, "PIPE0201", "PIPE0311", "PIPE0313")
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
