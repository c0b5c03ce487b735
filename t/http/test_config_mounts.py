# SPDX-License-Identifier: Apache-2.0
"""Which mount answers a URL: whole segments, the longest prefix, a host's own before the main's."""

import pytest

NAMING = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    text = "{name} {{}} {{}}".format(environ["SCRIPT_NAME"], environ["PATH_INFO"])
    return [text.encode("latin-1")]
"""
NAMES = ("root", "wiki", "deep", "host")
FILES = {f"{name}.py": NAMING.format(name=name) for name in NAMES}

DIRECTIVES = """\
PipelineDaemonProcess site processes=1
PipelineProcessGroup site
PipelineScriptAlias / @ROOT@/root.py
PipelineScriptAlias /wiki @ROOT@/wiki.py
PipelineScriptAlias /wiki/deep/er/ @ROOT@/deep.py
PipelineScriptAlias "/with space" @ROOT@/deep.py
<VirtualHost *>
    ServerName main.example
</VirtualHost>
<VirtualHost *>
    ServerName host.example
    PipelineScriptAlias /wiki @ROOT@/host.py
</VirtualHost>
"""

ANSWERS = {
    "/": "root  /",
    "/page": "root  /page",
    "/wiki": "wiki /wiki ",
    "/wiki/": "wiki /wiki /",
    "/wiki/page": "wiki /wiki /page",
    "/wikipedia": "root  /wikipedia",
    "/Wiki": "root  /Wiki",
    "/wiki/deep": "wiki /wiki /deep",
    "/wiki/deep/er": "deep /wiki/deep/er ",
    "/wiki/deep/er/x": "deep /wiki/deep/er /x",
    "/wiki/deep/erx": "wiki /wiki /deep/erx",
    "/w%69ki/page": "wiki /wiki /page",
    "/a/../wiki/page": "wiki /wiki /page",
    "/with%20space/x": "deep /with space /x",
}


def test_longest_prefix_of_whole_segments_answers(apache):
    server = apache(DIRECTIVES, files=FILES)
    answers = {path: server.get(path, [("Host", "main.example")]).text for path in ANSWERS}
    assert answers == ANSWERS


def test_host_answers_by_its_own_mount_and_by_inherited_ones(apache):
    server = apache(DIRECTIVES, files=FILES)
    paths = ("/wiki/x", "/wiki/deep/er", "/x")
    answers = [server.get(path, [("Host", "host.example")]).text for path in paths]
    assert answers == ["host /wiki /x", "deep /wiki/deep/er ", "root  /x"]


@pytest.mark.parametrize("host", ["main.example", "host.example"])
def test_path_that_no_mount_covers_is_httpds(apache, host):
    directives = DIRECTIVES.replace("PipelineScriptAlias / @ROOT@/root.py\n", "")
    server = apache(directives, files={**FILES, "htdocs/page": "a file"})
    assert server.get("/page", [("Host", host)]).text == "a file"
    assert server.get("/nowhere", [("Host", host)]).status == 404


def test_groups_of_one_host_run_in_processes_of_their_own(apache):
    pid = "import os\n" + NAMING.format(name="pid").replace('environ["PATH_INFO"]', "os.getpid()")
    server = apache(
        """PipelineDaemonProcess a processes=1
PipelineDaemonProcess b processes=1
PipelineProcessGroup a
PipelineScriptAlias /a @ROOT@/pid.py
PipelineScriptAlias /also @ROOT@/pid.py
PipelineScriptAlias /b @ROOT@/pid.py process-group=b
""",
        files={"pid.py": pid},
    )
    a, also, b = (server.get(path).text.split()[-1] for path in ("/a", "/also", "/b"))
    assert a == also
    assert a != b
