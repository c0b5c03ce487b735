# SPDX-License-Identifier: Apache-2.0
"""Every way to read wsgi.input."""

import io

from dispatch import PLAIN, Dispatch

application = Dispatch()
kept = []


def answer(start_response, value):
    start_response("200 OK", PLAIN)
    return [value if isinstance(value, bytes) else repr(value).encode()]


@application.add
def read(environ, start_response):
    return answer(start_response, environ["wsgi.input"].read())


@application.add
def read_parts(environ, start_response):
    size = int(environ["QUERY_STRING"])
    parts = list(iter(lambda: environ["wsgi.input"].read(size), b""))
    exact = all(len(part) == size for part in parts[:-1])
    return answer(start_response, b"".join(parts) if exact else b"short part")


@application.add
def readline(environ, start_response):
    return answer(start_response, b"|".join(iter(environ["wsgi.input"].readline, b"")))


@application.add
def readline_limited(environ, start_response):
    return answer(start_response, b"|".join(iter(lambda: environ["wsgi.input"].readline(3), b"")))


@application.add
def readlines(environ, start_response):
    return answer(start_response, environ["wsgi.input"].readlines())


@application.add
def readlines_hint(environ, start_response):
    body = environ["wsgi.input"]
    return answer(start_response, [body.readlines(4), body.read()])


@application.add
def iterate(environ, start_response):
    return answer(start_response, list(environ["wsgi.input"]))


@application.add
def readinto(environ, start_response):
    return answer(start_response, io.BufferedReader(environ["wsgi.input"], 1000).read())


@application.add
def past_the_end(environ, start_response):
    body = environ["wsgi.input"]
    body.read()
    return answer(start_response, [body.read(), body.read(5), body.readline(), body.readlines()])


@application.add
def again(environ, start_response):
    """Read, sought and read again: the same bytes, wherever one begins."""
    body = environ["wsgi.input"]
    first = body.read()
    length = body.tell()
    wrong = []
    for start in {0, 1, length // 2, max(length - 1, 0), length, length + 10}:
        body.seek(start)
        if body.read() != first[start:]:
            wrong.append(start)
        body.seek(start)
        if b"".join(body) != first[start:]:
            wrong.append((start, "lines"))
    ends = [body.seek(0, 2), body.seek(-1, 2) if length else -1, body.seek(0), body.seek(1, 1)]
    return answer(start_response, [length == len(first), ends, wrong])


@application.add
def seek_wrong(environ, start_response):
    body = environ["wsgi.input"]
    said = []
    for arguments in ((-1,), (0, 3), ("0",)):
        try:
            body.seek(*arguments)
        except (ValueError, TypeError) as error:
            said.append(type(error).__name__)
    return answer(start_response, said)


@application.add
def unread(environ, start_response):
    return answer(start_response, b"not read")


@application.add
def keep(environ, start_response):
    kept.append((environ["wsgi.input"], start_response))
    return answer(start_response, b"kept")


@application.add
def use_kept(environ, start_response):
    body, old_start_response = kept.pop()
    said = [body.closed]
    for use in (body.read, body.readline, body.tell, lambda: old_start_response("200 OK", [])):
        try:
            use()
        except ValueError as error:
            said.append(str(error))
    return answer(start_response, said)


@application.add
def echo(environ, start_response):
    """Both directions at once."""
    start_response("200 OK", PLAIN)
    while data := environ["wsgi.input"].read(8192):
        yield data


@application.add
def broken_off(environ, start_response):
    said = []
    print("reading", len(environ["wsgi.input"].read(10)))
    for _ in range(2):
        try:
            environ["wsgi.input"].read()
        except ConnectionError as error:
            said.append(type(error).__name__)
    print("broken off:", said, "then", len(environ["wsgi.input"].read(3)))
    return answer(start_response, said)
