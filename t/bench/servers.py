# SPDX-License-Identifier: Apache-2.0
"""The servers that are compared, each running application.py with four processes of one thread.

Every Apache has the same httpd.conf but for the lines that load and mount the application: Debian's
event MPM settings and its <Directory />, so that no file pays for .htaccess; no access log, and
connections kept alive without a limit. EnableSendfile and EnableMMAP are httpd's defaults (off,
on), which Debian leaves as they are. The static file is served by the Apache that runs
mod_pipeline. All stay up for the whole run; idle ones cost next to nothing.

mod_wsgi's embedded mode has no processes of its own: the application runs in the httpd children.
"""

import subprocess
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from t.bench.cases import CASES
from t.support import apache, environment, processes
from t.support.client import Connection, Failure
from t.support.ports import free_port

OURS = "mod_pipeline"
STATIC = "static file"
DAEMON = "mod_wsgi daemon"
EMBEDDED = "mod_wsgi embedded"

PROCESSES = 4
START_SECONDS = 30

CONFIGURATION = """\
ServerRoot "@ROOT@"
ServerName 127.0.0.1
DefaultRuntimeDir "@ROOT@"
PidFile "@ROOT@/httpd.pid"
@LOAD@
@IDENTITY@
Listen 127.0.0.1:@PORT@
ErrorLog "@ROOT@/error.log"
LogLevel notice
TypesConfig /etc/mime.types
DocumentRoot "@ROOT@/htdocs"
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
StartServers 2
MinSpareThreads 25
MaxSpareThreads 75
ThreadsPerChild 25
MaxRequestWorkers 150
<Directory />
    Options FollowSymLinks
    AllowOverride None
    Require all granted
</Directory>
@DIRECTIVES@
"""

PIPELINE = """\
PipelineDaemonProcess site processes=@PROCESSES@ threads=1 python-home=@VENV@ python-path=@ROOT@/app
PipelineProcessGroup site
PipelineScriptAlias /app application:application
"""

WSGI_DAEMON = """\
LoadModule wsgi_module @MOD_WSGI@
WSGISocketPrefix @ROOT@/wsgi
WSGIDaemonProcess site processes=@PROCESSES@ threads=1 python-home=@VENV@ python-path=@ROOT@/app
WSGIScriptAlias /app @ROOT@/app/application.py process-group=site application-group=%{GLOBAL}
"""

WSGI_EMBEDDED = """\
LoadModule wsgi_module @MOD_WSGI@
WSGIPythonHome @VENV@
WSGIPythonPath @ROOT@/app
WSGIRestrictEmbedded Off
WSGIScriptAlias /app @ROOT@/app/application.py application-group=%{GLOBAL}
"""

GUNICORN = ("gunicorn", "--workers", str(PROCESSES), "--log-level", "warning")
GRANIAN = ("granian", "--interface", "wsgi", "--workers", str(PROCESSES), "--log-level", "warning")


@dataclass(frozen=True)
class Server:
    """A place to send requests to, and the tags of all processes that work for it."""

    name: str
    port: int
    prefix: str
    tags: tuple
    cases: tuple = CASES

    def url(self, case):
        return f"http://127.0.0.1:{self.port}{self.prefix}{case.path}"

    def pids(self):
        return sorted(pid for tag in self.tags for pid in processes.tagged(tag))


class BenchApache(apache.Apache):
    """An Apache with the benchmark's configuration in place of the tests'."""

    template = CONFIGURATION

    def configure(self, directives):
        self._values["MOD_WSGI"] = str(mod_wsgi_module(Path(self._values["VENV"])))
        self._values["PROCESSES"] = str(PROCESSES)
        super().configure(directives)


class Program:
    """A server that is no Apache, in the foreground of its own session."""

    def __init__(self, command, folder):
        self.tag = f"MOD_PIPELINE_TEST={uuid.uuid4().hex}"
        name, _, value = self.tag.partition("=")
        with open(folder / f"{Path(command[0]).name}.log", "ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder / "app",
                env=environment.clean_environment() | {name: value},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        processes.kill_all(processes.tagged(self.tag))


def mod_wsgi_module(venv):
    return next(venv.glob("lib/python*/site-packages/mod_wsgi/server/mod_wsgi*.so"))


def lay_out(folder, static):
    """The application and the files of `static` sizes, where a server's user can read them."""
    source = Path(__file__).with_name("application.py").read_text()
    (folder / "app").mkdir()
    (folder / "app" / "application.py").write_text(source)
    for case in static:
        (folder / "htdocs" / case.path.lstrip("/")).write_bytes(b"x" * case.answer)


class Servers:
    """All of them, as a context; a list of Server in the order of the tables."""

    def __init__(self, tree):
        self.venv = environment.venv(tree)
        self.static = tuple(case for case in CASES if case.static)
        self.all = []
        self._stack = ExitStack()

    def __enter__(self):
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def _start(self):
        ours = self._apache(PIPELINE)
        self.all = [
            Server(OURS, ours.port, "/app", (ours.tag,)),
            Server(STATIC, ours.port, "", (ours.tag,), self.static),
        ]
        for name, directives in ((DAEMON, WSGI_DAEMON), (EMBEDDED, WSGI_EMBEDDED)):
            server = self._apache(directives)
            self.all.append(Server(name, server.port, "/app", (server.tag,)))
        for name, arguments in (("gunicorn", GUNICORN), ("granian", GRANIAN)):
            self._program(name, arguments, ours.folder)
        for server in self.all:
            await_answers(server)

    def _apache(self, directives, modules=()):
        server = BenchApache(directives, modules=modules, pipeline=directives is PIPELINE)
        self._stack.callback(self._stop, server)
        lay_out(server.folder, self.static)
        return server.start()

    @staticmethod
    def _stop(server):
        server.verify()
        server.remove()

    def _program(self, name, arguments, folder):
        """A Python server by itself, and the same one behind Apache's proxy."""
        port = free_port()
        address = {
            "gunicorn": ("--bind", f"127.0.0.1:{port}"),
            "granian": ("--host", "127.0.0.1", "--port", str(port)),
        }[name]
        command = [str(self.venv / "bin" / arguments[0]), *arguments[1:], *address]
        program = Program([*command, "application:application"], folder)
        self._stack.callback(program.stop)
        proxy = self._apache(
            f"ProxyPass /app http://127.0.0.1:{port}\n", modules=("proxy", "proxy_http")
        )
        self.all.append(Server(name, port, "", (program.tag,)))
        self.all.append(Server(f"Apache to {name}", proxy.port, "/app", (program.tag, proxy.tag)))


def answer_of(server, case):
    """The size of one answer, by a connection of its own; None if there is none."""
    method = "POST" if case.body else "GET"
    try:
        with Connection("127.0.0.1", server.port, timeout=START_SECONDS) as connection:
            response = connection.request(method, server.prefix + case.path, (), b"x" * case.body)
    except Failure:
        return None
    return len(response.body) if response.status == 200 else None


def await_answers(server):
    """Every case must be answered with as many bytes as by the others."""
    deadline = time.monotonic() + START_SECONDS
    for case in server.cases:
        while (size := answer_of(server, case)) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if size != case.answer:
            raise SystemExit(f"{server.name}: {case.name} has {size} bytes, not {case.answer}")
