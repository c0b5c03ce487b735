# SPDX-License-Identifier: Apache-2.0
"""Where things are, and the environments in which servers and clients are started.

The Makefile says by PIPELINE_BUILD and PIPELINE_SANITIZE which build is tested; without them it
is the plain one, so that `.venv/bin/python -m pytest t/http` works by itself.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("PIPELINE_BUILD", "build")
SANITIZE = os.environ.get("PIPELINE_SANITIZE", "")
# Sanitized code runs up to ten times slower, and starting it slower still.
PATIENCE = 5 if SANITIZE else 1

HTTPD = shutil.which("apache2", path="/usr/sbin:/usr/bin:/sbin:/bin") or "httpd"
SERVER_USER = "www-data"
RUNS_AS_ROOT = os.geteuid() == 0

_SANITIZER_OPTIONS = {
    # Python frees little at its end, and APR's pools hide the rest: leaks are measured elsewhere.
    # What is freed stays out of use for a while, but not so long that memory seems to grow.
    "address": "ASAN_OPTIONS=detect_leaks=0:abort_on_error=0:handle_abort=1:quarantine_size_mb=16",
    "thread": "TSAN_OPTIONS=die_after_fork=0:print_suppressions=0:report_signal_unsafe=0",
}
_SANITIZER_LIBRARY = {"address": "libasan.so", "thread": "libtsan.so"}


def sanitizer_library():
    """What must be loaded first into a program that was not built with the sanitizer."""
    compiler = os.environ.get("PIPELINE_CC", "gcc").split()[0]
    name = _SANITIZER_LIBRARY[SANITIZE]
    if "clang" in compiler:
        name = {"address": "libclang_rt.asan-x86_64.so", "thread": "libclang_rt.tsan-x86_64.so"}[
            SANITIZE
        ]
    answer = subprocess.run(
        [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    return os.path.realpath(answer.stdout.strip())


def sanitized(reports):
    """The variables that preload the sanitizer, and send what it finds to files `reports`.PID."""
    if not SANITIZE:
        return {}
    name, _, options = _SANITIZER_OPTIONS[SANITIZE].partition("=")
    suppressions = ROOT / "t" / "sanitize" / f"{SANITIZE}.supp"
    return {
        "LD_PRELOAD": sanitizer_library(),
        name: f"{options}:suppressions={suppressions}:log_path={reports}",
    }


def extension_environment():
    """For Python programs that load our extension; what is found fails the program."""
    reports = Path(os.environ.get("PIPELINE_REPORTS", tempfile.gettempdir()))
    return os.environ | sanitized(reports / "program")


def clean_environment():
    """For programs that are not ours: whatever was preloaded into the tests is not for them."""
    hidden = ("LD_PRELOAD", "ASAN_OPTIONS", "TSAN_OPTIONS")
    return {name: value for name, value in os.environ.items() if name not in hidden}


def public_folder(prefix="mod_pipeline-"):
    """A new temporary folder into which the server's user can look, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)
    return folder


def give_to_server(path):
    """Let the server's processes write below `path`."""
    if RUNS_AS_ROOT:
        owner = pwd.getpwnam(SERVER_USER)
        os.chown(path, owner.pw_uid, owner.pw_gid)


def readable_by_server(path):
    """Whether every folder on the way to `path` can be passed by other users."""
    return not RUNS_AS_ROOT or all(part.stat().st_mode & 0o001 for part in [path, *path.parents])


def publish():
    """The tree that servers use: ours, or a copy if its place is closed to the server's user.

    Root's home and many temporary folders are closed; a daemon, having dropped its privileges,
    could then import nothing.
    """
    if readable_by_server(ROOT):
        return ROOT
    tree = public_folder("mod_pipeline-tree-")
    for part in {ROOT / ".venv", venv(ROOT), BUILD / "lib", ROOT / "t" / "apps"}:
        if part.exists():
            _copy(part, tree / part.relative_to(ROOT))
    for path in BUILD.glob("*.so"):
        shutil.copy(path, build(tree))
    return tree


def _copy(source, target):
    keep_links = source.name in (".venv", "venv")
    shutil.copytree(source, target, symlinks=keep_links, dirs_exist_ok=True)


def build(tree):
    """Where the modules under test are, in our tree or a published one."""
    return tree / BUILD.relative_to(ROOT)


def venv(tree):
    """The virtual environment below `tree`, which a sanitized build has of its own."""
    return build(tree) / "venv" if SANITIZE else tree / ".venv"
