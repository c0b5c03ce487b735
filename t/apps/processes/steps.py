# SPDX-License-Identifier: Apache-2.0
"""What the tests of processes ask for: who answers, slowly, in parts, or not at all."""

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from urllib.parse import parse_qs

PLAIN = [("Content-Type", "text/plain")]


def _pid(environ, query):
    yield str(os.getpid()).encode()


def _sleep(environ, query):
    time.sleep(float(query["s"][0]))
    yield b"slept"


def _die(environ, query):
    os.kill(os.getpid(), getattr(signal, query.get("signal", ["SIGKILL"])[0]))
    yield b"still here"


def _die_midway(environ, query):
    yield b"x" * 1000
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
    yield b"more"


def _echo(environ, query):
    source = environ["wsgi.input"]
    while part := source.read(65536):
        yield part


def _count(environ, query):
    """Reads the whole body, and says how long it was."""
    total = 0
    while part := environ["wsgi.input"].read(65536):
        total += len(part)
    yield str(total).encode()


def _work(environ, query):
    """Reads the whole body, takes its time, and answers the body's hash with n bytes behind it."""
    received = hashlib.sha256()
    while part := environ["wsgi.input"].read(65536):
        received.update(part)
    time.sleep(float(query["s"][0]))
    yield received.hexdigest().encode() + b"x" * int(query["n"][0])


def _endless(environ, query):
    while True:
        yield b"." * 1000
        time.sleep(0.01)


def _body(environ, query):
    yield b"x" * int(query["n"][0])


def _fork(environ, query):
    """Forks; the child leaves as `how` says, while the parent answers."""
    how = query["how"][0]
    if os.fork() == 0:
        if how == "exit":
            sys.exit(3)
        if how == "raise":
            raise RuntimeError("in the child")
        yield b"the child answers"
        return
    time.sleep(0.3)
    yield b"the parent answers"


def _terminate(environ, query):
    """How a program that this process starts takes the signals sent to it."""
    ends = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        child = subprocess.Popen(["sleep", "20"])
        child.send_signal(number)
        ends.append(-child.wait(timeout=5) == number)
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(20,))
    forked.start()
    forked.terminate()
    forked.join(5)
    ends.append(forked.exitcode == -signal.SIGTERM)
    yield json.dumps(ends).encode()


def _close_all(environ, query):
    os.closerange(3, 2000)
    yield b"closed"


def _fail_late(environ, query):
    yield b"something"
    raise RuntimeError("after the first yield")


def _identity(environ, query):
    """Who this process is, what it may become again, and how it makes files."""
    regained = False
    try:
        os.setuid(0)
        regained = True
    except PermissionError:
        pass
    umask = os.umask(0)
    os.umask(umask)
    told = {
        "uids": os.getresuid(),
        "gids": os.getresgid(),
        "groups": sorted(os.getgroups()),
        "regained": regained,
        "umask": umask,
        "home": os.getcwd(),
        "lang": os.environ.get("LANG"),
    }
    yield json.dumps(told).encode()


STEPS = {
    "/pid": _pid,
    "/sleep": _sleep,
    "/die": _die,
    "/die-midway": _die_midway,
    "/echo": _echo,
    "/count": _count,
    "/work": _work,
    "/endless": _endless,
    "/body": _body,
    "/status": _pid,
    "/identity": _identity,
    "/fork": _fork,
    "/terminate": _terminate,
    "/close-all": _close_all,
    "/fail-late": _fail_late,
}


def application(environ, start_response):
    step = STEPS[environ["PATH_INFO"]]
    query = parse_qs(environ["QUERY_STRING"])
    start_response(query.get("line", ["200 OK"])[0], PLAIN)
    return step(environ, query)
