# SPDX-License-Identifier: Apache-2.0
"""wsgi.file_wrapper over files, and over what only looks like one. FILE_PATH names the file."""

# ruff: noqa: SIM115 - who closes these files is the server.

import gzip
import io
import tempfile

from dispatch import PLAIN, Dispatch

application = Dispatch()
closed = []


class Opened(io.FileIO):
    """Notes that it was closed: a subclass, so it is read."""

    def close(self):
        closed.append("read")
        super().close()


def wrap(environ, start_response, file, headers=(), *block):
    start_response("200 OK", [*PLAIN, *headers])
    return environ["wsgi.file_wrapper"](file, *block)


@application.add
def whole(environ, start_response):
    return wrap(environ, start_response, open(environ["FILE_PATH"], "rb"))


@application.add
def unbuffered(environ, start_response):
    return wrap(environ, start_response, open(environ["FILE_PATH"], "rb", 0))


@application.add
def from_position(environ, start_response):
    file = open(environ["FILE_PATH"], "rb")
    file.readline()
    return wrap(environ, start_response, file)


@application.add
def part(environ, start_response):
    file = open(environ["FILE_PATH"], "rb")
    file.seek(10)
    return wrap(environ, start_response, file, [("Content-Length", "20")])


@application.add
def at_end(environ, start_response):
    file = open(environ["FILE_PATH"], "rb")
    file.seek(0, 2)
    return wrap(environ, start_response, file)


@application.add
def too_short(environ, start_response):
    return wrap(
        environ, start_response, open(environ["FILE_PATH"], "rb"), [("Content-Length", "9999999")]
    )


@application.add
def behind_written(environ, start_response):
    write = start_response("200 OK", PLAIN)
    write(b"written first|")
    return environ["wsgi.file_wrapper"](open(environ["FILE_PATH"], "rb"))


@application.add
def memory(environ, start_response):
    return wrap(environ, start_response, io.BytesIO(b"in memory" * 5000), (), 1000)


@application.add
def decompressed(environ, start_response):
    with open(environ["FILE_PATH"], "rb") as file:
        packed = tempfile.NamedTemporaryFile()
        packed.write(gzip.compress(file.read()))
        packed.flush()
    return wrap(environ, start_response, gzip.open(packed.name))


@application.add
def temporary(environ, start_response):
    """What was written is still in the file object's buffer."""
    file = tempfile.NamedTemporaryFile()
    file.write(b"written to a temporary file")
    file.seek(8)
    return wrap(environ, start_response, file)


@application.add
def subclass(environ, start_response):
    return wrap(environ, start_response, Opened(environ["FILE_PATH"]))


@application.add
def generator_inside(environ, start_response):
    """A middleware that does not hand the wrapper through."""
    yield from wrap(environ, start_response, open(environ["FILE_PATH"], "rb"))


@application.add
def text(environ, start_response):
    return wrap(environ, start_response, open(environ["FILE_PATH"]))


@application.add
def which_closed(environ, start_response):
    start_response("200 OK", PLAIN)
    names, closed[:] = list(closed), []
    return [" ".join(names).encode()]
