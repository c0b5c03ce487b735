# SPDX-License-Identifier: Apache-2.0
"""What README.md and docs/operations.md show works, and what they say of defaults is so."""

import re
import threading

import pytest

from t.support import environment, processes
from t.support.environment import PATIENCE

README = (environment.ROOT / "README.md").read_text()
OPERATIONS = (environment.ROOT / "docs" / "operations.md").read_text()
APACHE = re.compile(r"^```apache\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

API = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the api"]
"""
READER = API.replace("    start", "    environ['wsgi.input'].read()\n    start")
VIEW = """\
from persistent.mapping import PersistentMapping
from zope.component import adapter
from zope.interface import Interface, implementer
from zope.publisher.interfaces.browser import IBrowserRequest


@adapter(PersistentMapping, IBrowserRequest)
@implementer(Interface)
class Front:
    def __init__(self, context, request):
        pass

    def __call__(self):
        return "the front page"
"""
ZCML = """\
<configure xmlns="http://namespaces.zope.org/zope">
  <include package="zope.component" file="meta.zcml"/>
  <adapter factory="front.Front" name="index.html"/>
</configure>
"""


def production(text):
    """The README's configuration with the paths and the port of a test."""
    replaced = {
        "LoadModule pipeline_module /usr/lib/apache2/modules/mod_pipeline.so\n": "",
        "/srv/site/venv": "@VENV@",
        "/srv/site/app": "@ROOT@/app",
        "/var/lib/pipeline/main": "@ROOT@/main",
        "*:80": "127.0.0.1:@PORT@",
    }
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return text


def is_ready(server, path):
    return processes.wait_until(lambda: server.get(path).status == 200, 20 * PATIENCE)


def test_production_configuration_serves(apache):
    (text,) = APACHE.findall(README)
    server = apache(
        production(text),
        modules=("authz_host", "reqtimeout"),
        files={"app/api.wsgi": API, "app/front.py": VIEW, "app/site.zcml": ZCML},
        start=False,
    )
    server.writable_folder("main")
    answer = server.configtest()
    assert answer.code == 0, answer.text
    server.start()
    assert is_ready(server, "/ready")
    assert server.get("/api").text == "the api"
    assert server.get("/").text == "the front page"
    assert "Pipeline status" in server.get("/pipeline-status").text


def test_client_that_sends_too_slowly_gives_its_worker_back(apache):
    """One byte at a time, for ever; the README's limits, but of a second instead of twenty."""
    (text,) = APACHE.findall(README)
    (limits,) = re.findall(r"^RequestReadTimeout .*", text, re.MULTILINE)
    assert "body=20," in limits
    group = (
        "PipelineDaemonProcess site processes=1 threads=1\nPipelineProcessGroup site\n"
        "PipelineScriptAlias /api @ROOT@/app/api.wsgi\n"
    )
    server = apache(
        group + limits.replace("body=20,", "body=1,"),
        modules=("reqtimeout",),
        files={"app/api.wsgi": READER},
    )
    answered = threading.Event()
    with server.connect(timeout=20) as connection:
        exchange = connection.begin("POST", "/api", length=1000)
        sending = threading.Thread(target=trickle, args=(exchange, answered))
        sending.start()
        try:
            assert exchange.response().status == 408
        finally:
            answered.set()
            sending.join()
    assert server.get("/api").text == "the api"


def trickle(exchange, answered):
    while not answered.wait(0.1):
        exchange.send(b"x")


def test_production_configuration_is_short():
    (text,) = APACHE.findall(README)
    lines = [line.strip() for line in text.splitlines()]
    assert len([line for line in lines if line and not line.startswith("#")]) <= 20


def test_example_of_the_storage_runs(tmp_path):
    (code,) = PYTHON.findall(README)
    names = {}
    exec(code.replace("/var/lib/pipeline/main", str(tmp_path / "main")), names)
    db = names["db"]
    with db.transaction() as connection:
        assert connection.root()["greeting"] == "hello"
    db.close()


def test_health_checks_answer_as_documented(apache):
    (text,) = APACHE.findall(OPERATIONS)
    group = (
        "PipelineDaemonProcess site processes=1\nPipelineProcessGroup site\n"
        "PipelineScriptAlias /api @ROOT@/app/api.wsgi\n"
    )
    slow = "import time\ntime.sleep(1)\n" + API
    server = apache(group + text, modules=("authz_host",), files={"app/api.wsgi": slow})
    assert server.get("/live").status == 200
    assert server.get("/startup").status == server.get("/ready").status == 503
    assert is_ready(server, "/ready")
    assert server.get("/ready").text == "site: ok, generation 1\n"
    for path in ("/live", "/startup", "/ready", "/pipeline-status"):
        assert server.get(path).status == server.request("HEAD", path).status == 200
        assert server.request("POST", path).status == 405


def test_keys_of_the_status_are_documented(apache):
    (text,) = APACHE.findall(OPERATIONS)
    server = apache("PipelineDaemonProcess site processes=1\n" + text, modules=("authz_host",))
    keys = re.findall(r"^site\.(\w+): ", server.get("/pipeline-status?auto").text, re.MULTILINE)
    documented = re.search(r"^The keys of `\?auto`.*?\n\n", OPERATIONS, re.MULTILINE | re.DOTALL)
    assert keys
    assert re.findall(r"`([A-Z]\w+)`", documented.group()) == keys


def test_time_outs_are_the_defaults(apache):
    server = apache("PipelineDaemonProcess site", start=False)
    text = server.configtest("-D", "DUMP_PIPELINE_CONFIG").text
    effective = dict(re.findall(r"^  ([\w-]+-timeout)=(\d+s)$", text, re.MULTILINE))
    rows = re.findall(r"^\| `([\w-]+-timeout)` \| (\d+) s \|", OPERATIONS, re.MULTILINE)
    assert {name: f"{seconds}s" for name, seconds in rows} == effective


@pytest.mark.parametrize("channels", [4, 32])
def test_descriptors_of_a_group_are_as_documented(apache, channels):
    one = "PipelineDaemonProcess site processes=1 threads=1 channels="
    with_one = apache(one + "2")
    with_more = apache(one + str(channels))
    assert "2 + 2 × channels" in OPERATIONS
    more = len(with_more.descriptors()) - len(with_one.descriptors())
    assert more == 2 * (channels - 2)
