# SPDX-License-Identifier: Apache-2.0
"""Runs the example site of the source tree: `make demo`, or `python -m mod_pipeline.demo`.

Makes a folder with a configuration and a database, starts Apache in it, waits for it, and stops it
on Ctrl-C or SIGTERM. PORT (8080) and DEMO_DIR (build/demo) are read from the environment.

Run by root, Apache's processes are those of a user who may not be able to read the tree, such as
one in /root. Then what runs is copied to a folder where that user can: nobody gets more access to
the tree. Every problem is told in one line, with exit code 1.
"""

import http.client
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

TREE = Path(__file__).resolve().parents[2]
# Where root's demo is if the tree is closed to the server's user; survives a reboot, unlike /tmp.
OPEN_FOLDER = Path("/var/tmp/mod_pipeline-demo")
# Debian's, Fedora's, and the one that is everywhere.
SERVER_USERS = ("www-data", "apache", "nobody")
# What must be readable to run, and is copied if it is not.
PROGRAM_PARTS = (
    ".venv/pyvenv.cfg",
    ".venv/bin/python",
    ".venv/bin/python3",
    ".venv/lib",
    "build/lib",
    "t/apps/wiki",
    "t/apps/api",
)

READY_SECONDS = 60
# httpd kills what has not ended after ten seconds.
STOP_SECONDS = 15
# The children of an httpd that was killed hear no SIGTERM, and have nothing to finish.
ORPHAN_SECONDS = 2


class Problem(Exception):
    """Something that the user can do something about, in one line."""


# ---- Where it runs, and as whom --------------------------------------------------------


def server_user():
    """Whose Apache's processes will be: pwd's record, or None for whoever runs this."""
    if os.geteuid() != 0:
        return None
    for name in SERVER_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Problem(f"there is no user {' or '.join(SERVER_USERS)} for Apache to run as")


def as_user(user):
    """The arguments that let `subprocess` run something as the server's user."""
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def can_read(user, paths):
    """Whether the server's user can read all of these; asked of the system, not guessed."""
    script = 'for path; do test -r "$path" || exit 1; done'
    command = ["/bin/sh", "-c", script, "sh", *(str(path) for path in paths)]
    return subprocess.run(command, cwd="/", **as_user(user)).returncode == 0


def program_files():
    """One file of each part of what runs, and the modules."""
    modules = sorted((TREE / "build").glob("mod_pipeline*.so"))
    package = Path(__file__).resolve().parent / "__init__.py"
    wiki = TREE / "t" / "apps" / "wiki" / "models.py"
    return [*modules, package, wiki, *(TREE / part for part in PROGRAM_PARTS)]


def demo_folder(user):
    """The folder for the configuration, the logs and the database; made if it is not there."""
    wanted = os.environ.get("DEMO_DIR", "")
    if wanted:
        folder = Path(wanted).absolute()
    else:
        folder = TREE / "build" / "demo" if can_read(user, program_files()) else OPEN_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder == OPEN_FOLDER:
            _refuse_foreign(folder)
        folder.chmod(0o755)
    except OSError as error:
        raise Problem(f"{folder} cannot be used: {error.strerror}") from None
    if any(character in str(folder) for character in '"\\:\n${}'):
        raise Problem(f"{folder} cannot be used: its name has characters that Apache would misread")
    if not can_read(user, [folder]):
        raise Problem(f"{folder} cannot be read by {user.pw_name}; choose another by DEMO_DIR=")
    return folder


def _refuse_foreign(folder):
    """In a place where everybody can make folders, only our own will do."""
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise Problem(f"{folder} belongs to somebody else; choose another by DEMO_DIR=")


# ---- A copy of what runs ---------------------------------------------------------------


def program_folder(folder, user):
    """The tree, or a copy of what runs if the server's user cannot read the tree."""
    if can_read(user, program_files()):
        return TREE
    copy = folder / "program"
    print(f"{user.pw_name} cannot read {TREE}: what runs is copied to {copy}", flush=True)
    for part in PROGRAM_PARTS:
        mirror(TREE / part, copy / part)
    for module in (TREE / "build").glob("mod_pipeline*.so"):
        mirror(module, copy / "build" / module.name)
    return copy


def mirror(source, target):
    """Make `target` what `source` is, renewing only what has changed; readable by everybody."""
    if source.is_dir():
        if not target.is_dir():
            remove(target)
        target.mkdir(parents=True, exist_ok=True)
        names = set(os.listdir(source))
        for name in set(os.listdir(target)) - names:
            remove(target / name)
        for name in names:
            mirror(source / name, target / name)
    elif source.is_symlink() and _stays_valid(os.readlink(source)):
        remove(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(os.readlink(source))
    elif _differs(source, target):
        remove(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _share(source, target)


def _share(source, target):
    """A second name for the file, which takes no time; a copy where that cannot be."""
    if source.stat().st_mode & 0o444 == 0o444:
        try:
            os.link(source.resolve(), target)
            return
        except OSError:
            pass
    shutil.copy2(source, target)
    target.chmod(source.stat().st_mode & 0o755 | 0o444)


def _stays_valid(link):
    """Whether a link means the same in the copy: to the system's files, or to its neighbour."""
    return link.startswith("/usr/") or "/" not in link


def _differs(source, target):
    old, new = source.stat(), target.stat() if target.exists() else None
    return new is None or (old.st_size, old.st_mtime_ns) != (new.st_size, new.st_mtime_ns)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# ---- The site --------------------------------------------------------------------------


def free_port():
    """The port to listen at."""
    text = os.environ.get("PORT", "") or "8080"
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise Problem(f"PORT={text} is not a number between 1 and 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(text)))
            probe.listen(1)
        except OSError as error:
            reason = error.strerror.lower()
            raise Problem(f"port {text} of 127.0.0.1: {reason}; choose another by PORT=") from None
    return int(text)


def apache():
    """The path of httpd, and the folder of its modules."""
    program = shutil.which("apache2", path="/usr/sbin:/usr/bin") or shutil.which("httpd")
    if program is None:
        raise Problem("Apache is not installed; `make deps`, as root, installs it")
    settings = (TREE / "build" / "config.mk").read_text().splitlines()
    values = dict(line.split(" := ", 1) for line in settings if " := " in line)
    return program, values["HTTPD_LIBEXECDIR"].strip()


def prepare_database(folder, program, user):
    """Make the wiki's database if there is none; its URI. Done by the user who will write to it."""
    database = folder / "main"
    database.mkdir(mode=0o750, exist_ok=True)
    if user:
        os.chown(database, user.pw_uid, user.pw_gid)
    uri = f"sqlite://{quote(str(database))}"
    answer = subprocess.run(
        [program / ".venv" / "bin" / "python", "-m", "wiki.site", uri],
        env=os.environ | {"PYTHONPATH": str(program / "t" / "apps")},
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **as_user(user),
    )
    if answer.returncode:
        last = answer.stdout.decode(errors="replace").strip().splitlines()[-1:]
        raise Problem(f"the database in {database} cannot be opened: {''.join(last)}")
    return uri


def write_files(folder, defines, uri):
    """Apache's configuration, and the script that mounts the Flask application."""
    lines = [f'Define {name} "{value}"' for name, value in defines.items()]
    lines.append('Include "${PROGRAM}/t/apps/wiki/httpd.conf"')
    (folder / "httpd.conf").write_text("\n".join(lines) + "\n")
    script = folder / "api.wsgi"
    script.write_text(f"from api.application import create\n\napplication = create({uri!r})\n")
    script.chmod(0o644)
    return folder / "httpd.conf"


def configure(folder, port, user, modules):
    program = program_folder(folder, user)
    uri = prepare_database(folder, program, user)
    defines = {"DEMO_DIR": folder, "PORT": port, "PROGRAM": program, "MODULES": modules}
    defines |= {"VENV": program / ".venv", "STORAGE": uri}
    if user:
        defines["SERVER_USER"], defines["SERVER_GROUP"] = user.pw_name, f"#{user.pw_gid}"
    return write_files(folder, defines, uri)


# ---- Running ---------------------------------------------------------------------------


# The Makefile blocks them until there is somebody to answer.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """Somebody has asked for the end."""


def _stop(number, frame):
    raise Stopped


class Server:
    """Apache in a session of its own: Ctrl-C reaches only us, and we end it in order."""

    def __init__(self, httpd, configuration):
        self.log = configuration.parent / "error.log"
        self.log_begins = self.log.stat().st_size if self.log.exists() else 0
        self.process = subprocess.Popen(
            [httpd, "-f", str(configuration), "-DFOREGROUND"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_ready(self, port):
        """Until the daemons can answer; False if they take too long."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Problem(self.obituary())
            if _is_ready(port):
                return True
            time.sleep(0.05)
        return False

    def obituary(self):
        """Why Apache has ended, in one line."""
        code = self.process.returncode
        if code < 0:
            return f"Apache was ended by {signal.Signals(-code).name}"
        return f"Apache ended with code {code}: {self._last_words() or 'it has said why above'}"

    def _last_words(self):
        """The last line that this Apache has logged."""
        if not self.log.exists():
            return ""
        with open(self.log, errors="replace") as log:
            log.seek(self.log_begins)
            return log.read().strip().rpartition("\n")[2]

    def stop(self):
        """End Apache and whatever it has started."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        seconds = STOP_SECONDS
        if self.process.poll() is None:
            self.process.terminate()
        elif self._is_alive():
            os.killpg(self.process.pid, signal.SIGTERM)
            seconds = ORPHAN_SECONDS
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._is_alive():
            time.sleep(0.02)
        if self._is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _is_alive(self):
        """Whether any process of the session runs; one that only waits to be reaped does not."""
        self.process.poll()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(group) == self.process.pid and state != "Z":
                return True
        return False


def _is_ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def serve(port, folder, server):
    if server.wait_ready(port):
        print(f"\n  http://127.0.0.1:{port}/\n", flush=True)
    else:
        print(f"The site is not ready; {server.log} may say why", flush=True)
    print(f"Database and logs are in {folder}; Ctrl-C ends it.", flush=True)
    server.process.wait()
    raise Problem(server.obituary())


def require_tree():
    """The demo is part of the source tree, not of what `make install` installs."""
    needed = ("build/mod_pipeline.so", "build/config.mk", "t/apps/wiki/httpd.conf")
    for part in needed:
        if not (TREE / part).exists():
            raise Problem(f"there is no {TREE / part}; run `make demo` in the source tree")


def run():
    require_tree()
    port = free_port()
    httpd, modules = apache()
    user = server_user()
    folder = demo_folder(user)
    configuration = configure(folder, port, user, modules)
    server = Server(httpd, configuration)
    try:
        serve(port, folder, server)
    finally:
        server.stop()


def main():
    """Run until it is asked to end; the exit code."""
    for number in STOP_SIGNALS:
        signal.signal(number, _stop)
    # The server's user must be able to read what is made here, whatever the caller's own files are.
    os.umask(0o022)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        run()
    except Stopped:
        return 0
    except (Problem, OSError) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
