# SPDX-License-Identifier: Apache-2.0
"""`make demo`: what a stranger types first. It is started as they do, and ended as they do."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from mod_pipeline.demo import mirror
from t.support import environment, processes
from t.support.ports import free_port

START_SECONDS = 60
FORM = b"title=Kept&text=still+here"


class Demo:
    """A demo that runs; its processes are known by a mark in their environment."""

    def __init__(self, folder, port, command=(sys.executable,), **options):
        self.port = port
        self.tag = f"MOD_PIPELINE_DEMO={folder.name}-{port}"
        name, _, value = self.tag.partition("=")
        variables = {"PORT": str(port), "DEMO_DIR": str(folder), name: value}
        self.process = subprocess.Popen(
            [*command, "-m", "mod_pipeline.demo"],
            env=environment.clean_environment() | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def ask(self, path, body=None):
        """The status and the text of an answer."""
        try:
            with urllib.request.urlopen(self.url(path), body, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def wait_for_address(self):
        """What it prints until it says where the site is."""
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if self.url("/") in line:
                return "".join(lines)
        raise AssertionError(f"it ended: {''.join(lines)}{self.process.stderr.read()}")

    def end(self, number=signal.SIGTERM):
        """Its exit code; nothing may be left of it."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        assert not processes.tagged(self.tag)
        assert errors == ""
        return self.process.returncode

    def clean_up(self):
        processes.kill_all(processes.tagged(self.tag))
        self.process.wait(10)


@pytest.fixture
def demo(request):
    """A factory of demos, in a folder where nobody else's are."""

    def factory(folder, port=None, **options):
        running = Demo(folder, port or free_port(), **options)
        request.addfinalizer(running.clean_up)
        return running

    return factory


@pytest.fixture
def folder():
    """One into which the server's user can look; removed afterwards."""
    made = environment.public_folder("mod_pipeline-demo-")
    yield made
    shutil.rmtree(made)


def second_tree(source, target):
    """The same files under a second name, or copies of them."""

    def share(old, new):
        try:
            os.link(old, new)
        except OSError:
            shutil.copy2(old, new)

    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=share)
    else:
        share(source, target)


def refusal(folder, **variables):
    """The one line in which a demo says why it does not start."""
    answer = subprocess.run(
        [sys.executable, "-m", "mod_pipeline.demo"],
        env=environment.clean_environment() | {"DEMO_DIR": str(folder)} | variables,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert answer.returncode == 1
    # a tree that the server's user cannot read is copied first, and the demo says so
    assert [row for row in answer.stdout.splitlines() if "what runs is copied" not in row] == []
    assert answer.stderr.count("\n") == 1, answer.stderr
    return answer.stderr.strip()


def test_it_serves_the_wiki_and_ends_with_all_its_processes(demo, folder):
    running = demo(folder)
    running.wait_for_address()
    assert running.ask("/")[0] == 200
    assert running.ask("/api/pages")[0] == 200
    assert running.ask("/status")[0] == 200
    assert len(processes.tagged(running.tag)) > 3
    assert running.end(signal.SIGTERM) == 0
    with socket.create_server(("127.0.0.1", running.port)):
        assert (folder / "main").is_dir()


def test_what_was_written_is_there_after_a_restart(demo, folder):
    first = demo(folder)
    first.wait_for_address()
    assert first.ask("/@@new-page", FORM)[0] == 200
    assert first.end(signal.SIGINT) == 0
    second = demo(folder)
    second.wait_for_address()
    status, text = second.ask("/kept")
    assert status == 200
    assert "still here" in text
    assert second.end(signal.SIGINT) == 0


def test_a_stop_while_it_starts_leaves_nothing(demo, folder):
    running = demo(folder)
    begun = folder / "httpd.pid"
    processes.wait_until(lambda: begun.exists() or running.process.poll() is not None, 60)
    assert running.end(signal.SIGTERM) == 0


SLOW_START = """\
import pathlib
import sys
import time

mark = pathlib.Path(__file__).with_name("begun")
if "mod_pipeline.demo" in sys.orig_argv and not mark.exists():
    mark.touch()
    time.sleep(1)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_python_itself_starts_is_quiet(folder, number):
    """Sent as the terminal does it: to make, and to all that it has started."""
    (folder / "sitecustomize.py").write_text(SLOW_START)
    running = subprocess.Popen(
        ["make", "-s", "-o", "build/config.mk", "-o", "all", "-o", ".venv/.demo", "demo"],
        cwd=environment.ROOT,
        env=environment.clean_environment()
        | {"PYTHONPATH": str(folder), "DEMO_DIR": str(folder), "PORT": str(free_port())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert processes.wait_until((folder / "begun").exists, 20)
    os.killpg(running.pid, number)
    said, errors = running.communicate(timeout=30)
    assert said == ""
    # What make says of it, if anything.
    assert [line for line in errors.splitlines() if not line.startswith("make")] == []
    assert running.returncode in (0, 2, -number)
    assert not (folder / "httpd.conf").exists()


def test_it_ends_in_one_line_when_its_apache_is_killed(demo, folder):
    running = demo(folder)
    running.wait_for_address()
    os.kill(int((folder / "httpd.pid").read_text()), signal.SIGKILL)
    _, errors = running.process.communicate(timeout=30)
    assert running.process.returncode == 1
    assert errors.startswith("demo: Apache was ended by SIGKILL")
    assert errors.count("\n") == 1
    assert not processes.tagged(running.tag)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "eighty", "80 80", "٨٠٨٠", "9" * 5000])
def test_a_wrong_port_is_told_in_one_line(folder, port):
    assert refusal(folder, PORT=port).endswith("is not a number between 1 and 65535")


def test_a_port_in_use_is_told_in_one_line(folder):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refusal(folder, PORT=str(port))
    assert f"port {port} of 127.0.0.1: address already in use" in line


@pytest.mark.parametrize("name", ["httpd.conf/below", 'quo"te', "dollar${X}"])
def test_a_folder_that_cannot_be_used_is_told_in_one_line(folder, name):
    (folder / "httpd.conf").touch()
    line = refusal(folder / name, PORT=str(free_port()))
    assert "cannot be used" in line


def test_a_database_that_cannot_be_opened_is_told_in_one_line(folder):
    (folder / "main").mkdir()
    for name in ("main.sqlite3", "main.db", "main"):
        (folder / "main" / name).mkdir()
    line = refusal(folder, PORT=str(free_port()))
    assert "cannot be opened" in line


if environment.RUNS_AS_ROOT:

    def test_root_in_a_closed_tree_runs_a_copy_and_opens_nothing(demo, folder):
        """As after a clone into root's home, where the server's user can read nothing."""
        closed = folder / "closed"
        closed.mkdir(mode=0o700)
        tree = closed / "tree"
        for part in (".venv", "build/lib", "build/config.mk", "python", "t/apps"):
            second_tree(environment.ROOT / part, tree / part)
        for module in environment.BUILD.glob("mod_pipeline*.so"):
            second_tree(module, tree / "build" / module.name)
        running = demo(folder, command=[tree / ".venv" / "bin" / "python"], cwd="/", umask=0o077)
        said = running.wait_for_address()
        assert f"cannot read {tree}: what runs is copied to {folder}/program" in said
        assert running.ask("/")[0] == 200
        assert running.ask("/api/pages")[0] == 200
        assert closed.stat().st_mode & 0o777 == 0o700
        assert running.end() == 0

    def test_no_process_that_answers_is_roots(demo, folder):
        running = demo(folder)
        running.wait_for_address()
        parent = int((folder / "httpd.pid").read_text())
        workers = [pid for pid in processes.tagged(running.tag) if pid not in (parent, os.getpid())]
        names = {pid: processes.describe(pid) for pid in workers}
        daemons = [pid for pid, name in names.items() if "pipeline demo" in name]
        assert len(daemons) == 2
        for pid in daemons:
            assert os.stat(f"/proc/{pid}").st_uid != 0
        assert running.end() == 0


def test_a_copy_follows_its_source(folder):
    source, copy = folder / "source", folder / "copy"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "private").write_text("old")
    (source / "inner" / "private").chmod(0o600)
    (source / "gone").write_text("gone")
    (source / "python3").symlink_to("/usr/bin/python3")
    (source / "elsewhere").symlink_to("../source/gone")
    mirror(source, copy)
    assert (copy / "inner" / "private").stat().st_mode & 0o777 == 0o644
    assert (copy / "elsewhere").read_text() == "gone"
    assert not (copy / "elsewhere").is_symlink()
    assert os.readlink(copy / "python3") == "/usr/bin/python3"

    (source / "inner" / "private").write_text("newer")
    (source / "gone").unlink()
    (source / "elsewhere").unlink()
    (source / "elsewhere").mkdir()
    mirror(source, copy)
    assert (copy / "inner" / "private").read_text() == "newer"
    assert (source / "inner" / "private").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(copy)) == ["elsewhere", "inner", "python3"]


@pytest.mark.serial
def test_it_is_there_in_seconds_once_it_is_built(demo, folder):
    begun = time.monotonic()
    running = demo(folder)
    running.wait_for_address()
    seconds = time.monotonic() - begun
    # What others have to do on this machine meanwhile stretches it.
    assert seconds < 5 * max(1, os.getloadavg()[0] / os.cpu_count())
    assert running.end() == 0
