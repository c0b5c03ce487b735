# SPDX-License-Identifier: Apache-2.0
"""The application that every server of the benchmark runs: one WSGI callable, a path per case.

Static files of the same names and sizes stand beside it; cases.py has the sizes.
"""

import flask

PLAIN = [("Content-Type", "text/plain")]
KIB = 1024
CHUNK = 64 * KIB
HELLO = b"Hello, world!"
BODY_64K = b"x" * (64 * KIB)
BODY_1M = b"x" * (KIB * KIB)
YIELDS = 1000

site = flask.Flask(__name__)


@site.get("/flask.txt")
def flask_hello():
    return HELLO.decode(), 200, {"Content-Type": "text/plain"}


def whole(body):
    """An application that answers with `body` in one piece."""
    headers = [*PLAIN, ("Content-Length", str(len(body)))]

    def answer(environ, start_response):
        start_response("200 OK", headers)
        return [body]

    return answer


def yields(environ, start_response):
    start_response("200 OK", PLAIN)
    for _ in range(YIELDS):
        yield b"x"


def upload(environ, start_response):
    """Reads the body in pieces, and answers how long it was."""
    left = int(environ["CONTENT_LENGTH"])
    total = 0
    while left > 0 and (piece := environ["wsgi.input"].read(min(CHUNK, left))):
        total += len(piece)
        left -= len(piece)
    body = str(total).encode()
    start_response("200 OK", [*PLAIN, ("Content-Length", str(len(body)))])
    return [body]


ROUTES = {
    "/hello.txt": whole(HELLO),
    "/flask.txt": site,
    "/64k.txt": whole(BODY_64K),
    "/1m.txt": whole(BODY_1M),
    "/yields.txt": yields,
    "/upload.txt": upload,
}


def application(environ, start_response):
    return ROUTES[environ["PATH_INFO"]](environ, start_response)
