# SPDX-License-Identifier: Apache-2.0
"""Where applications come from, and what happens when they do not."""

import subprocess
import sys

import pytest

GROUP = """\
PipelineDaemonProcess site processes=1 python-path=@ROOT@/modules:@ROOT@/more
PipelineProcessGroup site
"""

ANSWER = """\
def {name}(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [{value}.encode()]
"""

# What the manager and the children say when a generation cannot be loaded and none is older.
NOT_SERVING = ("PIPE0200", "PIPE0201", "PIPE0311", "PIPE0313")

FAILURES = {
    "syntax": ("def application(environ, start_response)\n    pass\n", "SyntaxError"),
    "encoding": (b"# coding: utf-8\nname = '\xff'\n", "SyntaxError"),
    "raise": ("raise ValueError('at import')\n", "ValueError: at import"),
    "exit": ("import sys\nsys.exit('asked to')\n", "SystemExit: asked to"),
    "import": ("import no_such_module_at_all\n", "ModuleNotFoundError"),
    "missing": ("other = 1\n", "has no attribute 'application'"),
    "no_callable": ("application = 1\n", "cannot be called"),
}


def answer(name, value):
    return ANSWER.format(name=name, value=value)


def test_modules_files_and_dotted_names(apache):
    server = apache(
        GROUP
        + """\
PipelineScriptAlias /module wsgi_site:application
PipelineScriptAlias /named wsgi_site:other
PipelineScriptAlias /dotted wsgi_site:Holder.application
PipelineScriptAlias /file @ROOT@/site.wsgi
PipelineScriptAlias /file-named @ROOT@/site.wsgi:other
""",
        files={
            "modules/wsgi_site.py": answer("application", "'module'")
            + answer("other", "'named'")
            + "class Holder:\n    application = staticmethod(other)\n",
            "site.wsgi": "# coding: latin-1\n"
            + answer("application", "__file__.rpartition('/')[2]")
            + answer("other", "__name__"),
        },
    )
    paths = ("module", "named", "dotted", "file")
    answers = [server.get(f"/{path}").text for path in paths]
    assert answers == ["module", "named", "named", "site.wsgi"]
    assert server.get("/file-named").text.startswith("_mod_pipeline_")


def test_one_target_at_two_places_is_loaded_once(apache):
    server = apache(
        GROUP
        + "PipelineScriptAlias /a @ROOT@/a.wsgi\n"
        + "PipelineScriptAlias /b @ROOT@/a.wsgi:other\n",
        files={
            "a.wsgi": "count = 0\n"
            "def application(environ, start_response):\n"
            "    global count\n"
            "    count += 1\n"
            "    start_response('200 OK', [])\n"
            "    return [str(count).encode()]\n"
            "other = application\n"
        },
    )
    assert [server.get(path).text for path in ("/a", "/b", "/a")] == ["1", "2", "3"]


def test_two_files_of_one_name_are_two_modules(apache):
    server = apache(
        GROUP + "PipelineScriptAlias /a @ROOT@/a/x.wsgi\nPipelineScriptAlias /b @ROOT@/b/x.wsgi\n",
        files={"a/x.wsgi": answer("application", "'a'"), "b/x.wsgi": answer("application", "'b'")},
    )
    assert [server.get(path).text for path in ("/a", "/b")] == ["a", "b"]


def test_python_path_comes_first_in_its_order_with_pth_files(apache):
    server = apache(
        GROUP + "PipelineScriptAlias / main_site:application\n",
        files={
            "modules/main_site.py": "import json, both, by_pth\n"
            + answer("application", "' '.join([both.where, by_pth.where, json.__name__])"),
            "modules/json.py": "",
            "modules/both.py": "where = 'modules'\n",
            "more/both.py": "where = 'more'\n",
            "more/some.pth": "../elsewhere\n",
            "elsewhere/by_pth.py": "where = 'elsewhere'\n",
        },
    )
    assert server.get("/").text == "modules elsewhere json"


def test_python_home_is_a_virtual_environment(apache, shared_folder):
    home = shared_folder / "venv"
    command = [sys.executable, "-m", "venv", "--without-pip", str(home)]
    subprocess.run(command, check=True)
    packages = next(home.glob("lib/python*/site-packages"))
    (packages / "only_here.py").write_text("where = 'venv'\n")
    server = apache(
        GROUP.replace("python-path", f"python-home={home} python-path")
        + "PipelineScriptAlias / home_site:application\n",
        files={
            "modules/home_site.py": "import sys, only_here\n"
            + answer("application", "f'{only_here.where} {sys.prefix} {sys.executable}'")
        },
    )
    assert server.get("/").text == f"venv {home} {home}/bin/python3"


def test_python_home_of_another_version_is_refused(apache):
    server = apache(
        GROUP.replace("python-path", "python-home=@ROOT@/home python-path")
        + "PipelineScriptAlias / @ROOT@/a.wsgi\n",
        files={"a.wsgi": answer("application", "'a'"), "home/lib/python2.7/os.py": ""},
        start=False,
    )
    server.expect("PIPE0501", *NOT_SERVING)
    server.start()
    assert "python-home" in server.wait_log("PIPE0501")
    assert server.get("/").status == 503


@pytest.mark.parametrize("name", FAILURES)
def test_application_that_does_not_load_is_a_503_and_a_line(apache, name):
    source, said = FAILURES[name]
    server = apache(
        GROUP
        + "PipelineDaemonProcess other processes=1\n"
        + "PipelineScriptAlias /good @ROOT@/good.wsgi process-group=other\n"
        + "PipelineScriptAlias /bad @ROOT@/bad.wsgi\n",
        files={"bad.wsgi": source, "good.wsgi": answer("application", "'good'")},
        start=False,
    )
    server.expect("PIPE0503", *NOT_SERVING)
    server.start()
    line = server.wait_log("PIPE0503")
    assert said in line
    assert "PipelineScriptAlias" in line
    assert "httpd.conf:" in line
    assert server.get("/bad").status == 503
    assert server.get("/good").text == "good"


def test_every_application_that_fails_is_named(apache):
    server = apache(
        GROUP
        + "PipelineScriptAlias /a no_such_one:application\n"
        + "PipelineScriptAlias /b no_such_two:application\n",
        start=False,
    )
    server.expect("PIPE0503", *NOT_SERVING)
    server.start()
    assert "no_such_one" in server.wait_log("No module named 'no_such_one'")
    assert "no_such_two" in server.wait_log("No module named 'no_such_two'")


def test_threads_and_exit_handlers_end_with_the_daemon(apache):
    """Non-daemon threads are joined first, then the handlers run."""
    server = apache(
        GROUP + "PipelineScriptAlias / @ROOT@/end.wsgi\n",
        files={
            "end.wsgi": "import atexit, threading\n"
            "ending = threading.Event()\n"
            "atexit.register(print, 'exit handler')\n"
            "threading._register_atexit(ending.set)\n"
            "def wait():\n"
            "    ending.wait()\n"
            "    print('thread ended')\n"
            "threading.Thread(target=wait).start()\n" + answer("application", "'running'")
        },
    )
    assert server.get("/").text == "running"
    server.stop()
    log = server.log()
    assert 0 < log.index("thread ended") < log.index("exit handler")
