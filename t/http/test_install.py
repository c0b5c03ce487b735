# SPDX-License-Identifier: Apache-2.0
"""`make install`: over an older version, under a running one, and by a cautious root.

Nothing is built here: `-o all` takes the build under test as it is. Everything goes below a folder
of the test's own.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from t.support import environment

LIBRARIES = ("mod_pipeline.so", "mod_pipeline_python*.so", "_storage*.so")

SITE = """
LoadModule pipeline_module "{modules}/mod_pipeline.so"
PipelineDaemonProcess site processes=1 python-path=@ROOT@/app:{packages}:{requirements}
PipelineProcessGroup site
PipelineScriptAlias / @ROOT@/app/hello.wsgi
"""

HELLO = """\
import mod_pipeline.storage


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"hello from {mod_pipeline._storage.__file__}".encode()]
"""


class Installation:
    """What `make install DESTDIR=folder` has made."""

    def __init__(self, folder):
        self.folder = folder

    def make(self, umask=0o022):
        settings = [f"DESTDIR={self.folder}", f"SANITIZE={environment.SANITIZE}"]
        answer = subprocess.run(
            ["make", "-o", "build/config.mk", "-o", "all", *settings, "install"],
            cwd=environment.ROOT,
            env=environment.clean_environment(),
            umask=umask,
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, answer.stderr

    def one(self, pattern):
        """The one file or folder of this name."""
        (path,) = self.folder.rglob(pattern)
        return path

    @property
    def package(self):
        return self.one("dist-packages/mod_pipeline")

    @property
    def modules(self):
        return self.one("mod_pipeline.so").parent

    def files(self):
        return [path for path in self.folder.rglob("*") if not path.is_dir()]


@pytest.fixture
def installation():
    folder = environment.public_folder("mod_pipeline-install-")
    yield Installation(folder)
    shutil.rmtree(folder)


def requirements():
    """Where the packages are that ours needs."""
    tree = Path(os.environ.get("PIPELINE_TREE", environment.ROOT))
    return next((tree / ".venv" / "lib").glob("python*/site-packages"))


def test_what_a_process_has_mapped_is_not_written_into(installation):
    installation.make()
    paths = [installation.one(pattern) for pattern in LIBRARIES]
    with contextlib.ExitStack() as stack:
        held = {path: stack.enter_context(path.open("rb")) for path in paths}
        installation.make()
        for path, file in held.items():
            old = os.fstat(file.fileno())
            assert old.st_nlink == 0, path
            assert path.stat().st_ino != old.st_ino


def test_everything_can_be_read_whatever_the_umask(installation):
    installation.make(umask=0o077)
    files = installation.files()
    assert len(files) > 8
    assert {path.stat().st_mode & 0o7777 for path in files} == {0o644}
    folders = [path for path in installation.folder.rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o7777 for path in folders} == {0o755}


def test_folders_that_were_there_keep_their_modes(installation):
    installation.make()
    shared = installation.package.parent
    shared.chmod(0o2775)
    installation.make()
    assert shared.stat().st_mode & 0o7777 == 0o2775


def test_what_an_older_version_left_in_the_package_goes(installation):
    installation.make()
    before = sorted(installation.files())
    beside = installation.package.with_name("other.py")
    beside.touch()
    (installation.package / "gone.py").touch()
    (installation.package / "inner" / "__pycache__").mkdir(parents=True)
    (installation.package / "inner" / "__pycache__" / "gone.cpython-311.pyc").touch()
    installation.make()
    assert sorted(installation.files()) == sorted([*before, beside])
    assert not (installation.package / "inner").exists()


def test_what_is_installed_serves(apache, installation):
    """By daemons of another user, if we are root, and from nothing but what was installed."""
    installation.make(umask=0o077)
    packages = installation.package.parent
    site = SITE.format(modules=installation.modules, packages=packages, requirements=requirements())
    server = apache(site, pipeline=False, files={"app/hello.wsgi": HELLO})
    assert server.get("/").text == f"hello from {installation.one('_storage*.so')}"
