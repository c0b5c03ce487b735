# SPDX-License-Identifier: Apache-2.0
"""What the tests of processes ask for: who answers, slowly, in parts, or not at all."""

import json
import os
import signal
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


def _endless(environ, query):
    while True:
        yield b"." * 1000
        time.sleep(0.01)


def _body(environ, query):
    yield b"x" * int(query["n"][0])


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
    "/endless": _endless,
    "/body": _body,
    "/identity": _identity,
}


def application(environ, start_response):
    step = STEPS[environ["PATH_INFO"]]
    start_response("200 OK", PLAIN)
    return step(environ, parse_qs(environ["QUERY_STRING"]))
