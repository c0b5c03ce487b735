# SPDX-License-Identifier: Apache-2.0
"""Fixtures of every test: servers that are checked after use, a browser, a folder to share.

def test_hello(apache):
    server = apache("PipelineScriptAlias / hello:application")
    assert server.get("/").text == "hello"
"""

import os
import shutil
from pathlib import Path

import pytest

from t.support import environment
from t.support.apache import Apache, self_signed_certificate
from t.support.browser import chromium


def pytest_configure(config):
    """Once, before xdist's workers start: they inherit where the servers' tree is."""
    if "PIPELINE_TREE" not in os.environ:
        tree = environment.publish()
        os.environ["PIPELINE_TREE"] = str(tree)
        if tree != environment.ROOT:
            config.add_cleanup(lambda: shutil.rmtree(tree, ignore_errors=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Let fixtures see, at their end, whether the test has passed."""
    report = yield
    setattr(item, f"report_{report.when}", report)
    return report


def _passed(request):
    report = getattr(request.node, "report_call", None)
    return report is not None and report.passed


@pytest.fixture(scope="session", autouse=True)
def _no_preload_for_children():
    """A sanitizer was preloaded for the tests' own Python; programs they start are not ours."""
    os.environ.pop("LD_PRELOAD", None)


@pytest.fixture(autouse=True)
def _no_sanitizer_report():
    """What a sanitizer found in the tests' own process fails the test in which it was found."""
    folder = os.environ.get("PIPELINE_REPORTS")
    before = _report_sizes(folder)
    yield
    grown = [path for path, size in _report_sizes(folder).items() if size > before.get(path, 0)]
    if grown:
        pytest.fail("\n".join(path.read_text(errors="replace") for path in grown), pytrace=False)


def _report_sizes(folder):
    """This process's report files only: other workers have theirs."""
    if not folder:
        return {}
    return {path: path.stat().st_size for path in Path(folder).glob(f"*.{os.getpid()}")}


@pytest.fixture
def apache(request):
    """A factory of running Apaches: `apache(directives, modules=(), tls=None, start=True, …)`.

    Directives may use @PORT@, @TLS_PORT@, @ROOT@ (the server's folder), @TREE@ and @VENV@ (the
    virtual environment for python-home). After the test each must have stopped cleanly: nothing
    unexpected in its log, no descriptor, process or shared memory left, no sanitizer report.
    """
    servers = []

    def factory(directives="", *, start=True, files=None, **options):
        server = Apache(directives, **options)
        servers.append(server)
        for name, text in (files or {}).items():
            server.write(name, text)
        return server.start() if start else server

    yield factory
    wrong = [sentence for server in servers for sentence in server.verify()]
    if not wrong and _passed(request):
        for server in servers:
            server.remove()
        return
    for server in servers:
        print(f"---- {server.folder}\n{server.log_tail()}")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """For `apache(…, tls=certificate)`: a key and certificate for localhost, in one file."""
    return self_signed_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def _chromium():
    with chromium() as driver:
        yield driver


@pytest.fixture
def browser(_chromium):
    """A selenium driver of headless Chromium on an empty page, without cookies."""
    _chromium.get("about:blank")
    _chromium.delete_all_cookies()
    return _chromium


@pytest.fixture
def shared_folder():
    """A temporary folder in which a server's processes can write."""
    folder = environment.public_folder()
    environment.give_to_server(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
