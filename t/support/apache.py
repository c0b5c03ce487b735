# SPDX-License-Identifier: Apache-2.0
"""A real Apache in a folder and on a port of its own, and what must be true once it has ended."""

import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from t.support import environment, processes
from t.support.client import Connection
from t.support.ports import free_port

MODULES_FOLDER = Path("/usr/lib/apache2/modules")
BASE_MODULES = ("mpm_event", "authn_core", "authz_core", "mime", "dir", "alias", "headers")
START_SECONDS = 20 * environment.PATIENCE
STOP_SECONDS = 15 * environment.PATIENCE

CONFIGURATION = """\
ServerRoot "@ROOT@"
ServerName 127.0.0.1
DefaultRuntimeDir "@ROOT@"
PidFile "@ROOT@/httpd.pid"
@LOAD@
@IDENTITY@
Listen 127.0.0.1:@PORT@
ErrorLog "@ROOT@/error.log"
LogLevel @LOG_LEVEL@
LogFormat "%t %p \\"%r\\" %>s %O %X %D" exact
CustomLog "@ROOT@/access.log" exact
TypesConfig /etc/mime.types
DocumentRoot "@ROOT@/htdocs"
StartServers 2
ThreadsPerChild 25
MinSpareThreads 25
MaxSpareThreads 75
MaxRequestWorkers 100
@TLS@
@DIRECTIVES@
"""

TLS_CONFIGURATION = """\
Listen 127.0.0.1:@TLS_PORT@ https
SSLCertificateFile "@CERTIFICATE@"
SSLSessionCache none
Protocols h2 h2c http/1.1
<VirtualHost 127.0.0.1:@TLS_PORT@>
    SSLEngine on
</VirtualHost>
"""

LOG_LINE = re.compile(r"^\[[^\]]+\] \[(?P<module>\w*):(?P<level>\w+)\] \[pid (?P<pid>\d+)")
OUR_ID = re.compile(r"\bPIPE\d{4}\b")
QUIET_LEVELS = ("notice", "info", "debug") + tuple(f"trace{i}" for i in range(1, 9))
LOUD_LEVELS = ("crit", "alert", "emerg")
# AH00052 is httpd's "child exit signal"; the others come from libc, Python and the sanitizers.
CRASHES = re.compile(
    r"AH00052|[Ss]egmentation fault|core dumped|[Aa]ssertion|Sanitizer"
    r"|Fatal Python error|free\(\)|malloc\(\)|double free|stack smashing|corrupted"
)


@dataclass
class Answer:
    """What a command said: its exit code and its output, both streams together."""

    code: int
    text: str


class Apache:
    """One httpd in the foreground of its own session.

    Files below `folder`: httpd.conf, error.log, access.log, htdocs/, reports/ (sanitizers).
    """

    template = CONFIGURATION

    def __init__(self, directives="", *, modules=(), tls=None, pipeline=True, log_level="info"):
        self.folder = environment.public_folder()
        self.port = free_port()
        self.tls_port = free_port() if tls else None
        self.tag = f"MOD_PIPELINE_TEST={uuid.uuid4().hex}"
        self.expected = set()
        self.process = None
        self._descriptors_at_start = None
        self._segments = set()
        self._restarted = False
        self._lay_out(directives, modules, tls, pipeline, log_level)

    # ---- The folder and its configuration ---------------------------------------------------

    def _lay_out(self, directives, modules, tls, pipeline, log_level):
        (self.folder / "htdocs").mkdir()
        reports = self.folder / "reports"
        reports.mkdir()
        reports.chmod(0o777)
        tree = Path(os.environ.get("PIPELINE_TREE", environment.ROOT))
        self._values = {
            "LOAD": self._load_lines(modules, tls, environment.build(tree) if pipeline else None),
            "IDENTITY": self._identity(),
            "TLS": TLS_CONFIGURATION if tls else "",
            "CERTIFICATE": str(tls),
            "TLS_PORT": str(self.tls_port),
            "LOG_LEVEL": log_level,
            "ROOT": str(self.folder),
            "PORT": str(self.port),
            "TREE": str(tree),
            "VENV": str(environment.venv(tree)),
        }
        self.configure(directives)

    def configure(self, directives):
        """Write httpd.conf anew, for the next start, graceful or configtest."""
        text = self.template.replace("@DIRECTIVES@", directives)
        while text != (replaced := self.expand(text)):
            text = replaced
        self.config.write_text(text)

    def expand(self, text):
        """`text` with @ROOT@, @PORT@, @TLS_PORT@, @TREE@ and @VENV@ filled in."""
        return re.sub(r"@([A-Z_]+)@", lambda m: self._values.get(m.group(1), m.group()), text)

    @staticmethod
    def _load_lines(modules, tls, build):
        names = BASE_MODULES + (("ssl", "http2") if tls else ()) + tuple(modules)
        lines = [f"LoadModule {n}_module {MODULES_FOLDER}/mod_{n}.so" for n in dict.fromkeys(names)]
        if build:
            lines.append(f"LoadModule pipeline_module {build}/mod_pipeline.so")
        return "\n".join(lines)

    @staticmethod
    def _identity():
        user = environment.SERVER_USER
        return f"User {user}\nGroup {user}" if environment.RUNS_AS_ROOT else ""

    @property
    def config(self):
        return self.folder / "httpd.conf"

    def write(self, name, text, mode=0o644):
        """A file below the server's folder, in folders made as needed; its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def writable_folder(self, name):
        """A folder below the server's in which its daemons may write; its path."""
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        environment.give_to_server(path)
        return path

    # ---- Running ----------------------------------------------------------------------------

    def _environment(self):
        name, _, value = self.tag.partition("=")
        return (
            environment.clean_environment()
            | {name: value}
            | environment.sanitized(self.folder / "reports" / "report")
        )

    def command(self, *arguments, timeout=30):
        """Run httpd with this configuration and `arguments` until it ends."""
        done = subprocess.run(
            [environment.HTTPD, "-f", str(self.config), *arguments],
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout * environment.PATIENCE,
        )
        return Answer(done.returncode, done.stdout.decode(errors="replace"))

    def configtest(self, *arguments):
        return self.command("-t", *arguments)

    def start(self):
        """Start, and return once connections are accepted and the log says so."""
        with open(self.folder / "stderr.log", "ab") as stderr:
            self.process = subprocess.Popen(
                [environment.HTTPD, "-f", str(self.config), "-DFOREGROUND"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )
        self._await_resumed(0, START_SECONDS)
        self._descriptors_at_start = len(self.descriptors())
        return self

    def _resumed(self):
        return self.log().count("resuming normal operations")

    def _await_resumed(self, before, seconds):
        processes.wait_until(lambda: self._resumed() > before or not self.running, seconds)
        if not self.running or self._resumed() <= before:
            raise AssertionError(f"Apache did not come up:\n{self.log_tail()}")

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        """The httpd parent's."""
        return self.process.pid

    def _signal(self, number, seconds=START_SECONDS):
        before = self._resumed()
        self._note_segments()
        self.process.send_signal(number)
        self._await_resumed(before, seconds)
        self._restarted = True

    def graceful(self):
        """As `apachectl graceful`; returns once the new generation has been started."""
        self._signal(signal.SIGUSR1)

    def restart(self):
        """As `apachectl restart`."""
        self._signal(signal.SIGHUP)

    def stop(self):
        """As `apachectl stop`; returns once the parent has ended."""
        self._end(signal.SIGTERM, STOP_SECONDS)

    def graceful_stop(self, seconds=STOP_SECONDS):
        """As `apachectl graceful-stop`: what was begun is finished first."""
        self._end(signal.SIGWINCH, seconds)

    def _end(self, number, seconds):
        if self.running:
            self._note_segments()
            self.process.send_signal(number)
            self.process.wait(seconds)

    # ---- Asking -----------------------------------------------------------------------------

    def url(self, path="/", *, tls=False):
        scheme, port = ("https", self.tls_port) if tls else ("http", self.port)
        return f"{scheme}://127.0.0.1:{port}{path}"

    def connect(self, timeout=10, *, tls=False):
        """A new connection; the exact client's."""
        port = self.tls_port if tls else self.port
        return Connection("127.0.0.1", port, timeout=timeout * environment.PATIENCE, tls=tls)

    def request(self, method, path, headers=(), body=b"", *, timeout=10, tls=False):
        """One request on a connection of its own; the whole response."""
        with self.connect(timeout, tls=tls) as connection:
            return connection.request(method, path, headers, body)

    def get(self, path="/", headers=(), **options):
        return self.request("GET", path, headers, **options)

    def processes(self, role=None):
        """The live processes, or those of one role: parent, child, manager, daemon, orphan."""
        found = processes.tree(self.pid, self.tag, self.port)
        return [process for process in found if role in (None, process.role)]

    def descriptors(self):
        """The parent's."""
        return processes.descriptors(self.pid)

    # ---- The log ----------------------------------------------------------------------------

    def log(self):
        path = self.folder / "error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def access_log(self):
        path = self.folder / "access.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def log_tail(self, lines=40):
        """The end of the error log and of stderr, for people."""
        parts = [self.log()]
        stderr = self.folder / "stderr.log"
        if stderr.exists():
            parts.append(stderr.read_text(errors="replace"))
        return "\n".join("\n".join(part.splitlines()[-lines:]) for part in parts)

    def wait_log(self, text, seconds=10, count=1):
        """Wait for `count` log lines with `text` (an id, mostly); the last of them."""

        def found():
            lines = [line for line in self.log().splitlines() if text in line]
            return lines if len(lines) >= count else None

        lines = processes.wait_until(found, seconds * environment.PATIENCE)
        if not lines:
            raise AssertionError(f"no {text!r} in the log:\n{self.log_tail()}")
        return lines[-1]

    def expect(self, *ids):
        """These ids (PIPE0123, or httpd's AH00052) are what the test is about."""
        self.expected |= set(ids)

    def unexpected_lines(self):
        """Log lines that nobody declared: our ids from warning up, alarms, crashes."""
        return [line for line in self.log().splitlines() if self._is_unexpected(line)]

    def _is_unexpected(self, line):
        if any(name in line for name in self.expected):
            return False
        if CRASHES.search(line):
            return True
        head = LOG_LINE.match(line)
        level = head["level"] if head else "error"
        if level in LOUD_LEVELS:
            return True
        return level not in QUIET_LEVELS and OUR_ID.search(line) is not None

    # ---- Afterwards -------------------------------------------------------------------------

    def _note_segments(self):
        self._segments |= processes.shared_memory(processes.tagged(self.tag))

    def verify(self):
        """Stop; then all that is wrong, as sentences. Nothing survives this call."""
        wrong = []
        if self.running:
            wrong += self._leaked_descriptors()
            wrong += self._stop_complaints()
        wrong += self._left_over()
        wrong += [f"shared memory is left: {name}" for name in self._leaked_segments()]
        wrong += [f"unexpected in the log: {line}" for line in self.unexpected_lines()]
        reports = sorted((self.folder / "reports").iterdir())
        wrong += [path.read_text(errors="replace") for path in reports if path.stat().st_size]
        return wrong

    def _leaked_descriptors(self):
        """After restarts the parent holds as many descriptors as before, once all has drained."""
        before = self._descriptors_at_start
        if not self._restarted:
            return []
        settled = processes.wait_until(lambda: len(self.descriptors()) <= before, 5)
        if settled:
            return []
        return [f"the parent held {before} descriptors, and now: {self.descriptors()}"]

    def _settle(self):
        """Let connections end first, if they do.

        A child of event that is told to stop reads the sockets of its workers without a lock; one
        whose connection ends at that moment crashes it (close_worker_sockets() of httpd 2.4).
        """
        processes.wait_until(lambda: not processes.connections(self.port), 1)
        time.sleep(0.05)

    def _stop_complaints(self):
        self._settle()
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            return [f"Apache did not stop within {STOP_SECONDS} s"]
        return []

    def _left_over(self):
        """Nobody outlives the parent by more than a moment."""
        processes.wait_until(lambda: not processes.tagged(self.tag), 5 * environment.PATIENCE)
        left = processes.tagged(self.tag)
        names = [f"process {pid} is left: {processes.describe(pid)}" for pid in left]
        processes.kill_all(left)
        if self.process:
            self.process.wait(10)
        return names

    def _leaked_segments(self):
        processes.wait_until(lambda: not processes.still_there(self._segments), 2)
        return processes.still_there(self._segments)

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def self_signed_certificate(folder):
    """A key and certificate for 127.0.0.1 and localhost, in one file; its path."""
    path = Path(folder) / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        + ["-addext", "basicConstraints=critical,CA:FALSE"]
        + ["-keyout", str(path), "-out", str(path) + ".crt"],
        check=True,
        capture_output=True,
    )
    with open(path, "ab") as whole:
        whole.write(Path(str(path) + ".crt").read_bytes())
    return path


def wait(seconds):
    """A pause that slow builds get more of."""
    time.sleep(seconds * environment.PATIENCE)
