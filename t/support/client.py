# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1.1 client that never guesses: what arrived, what is missing, and how it ended.

Libraries retry, pool and smooth over; a test of lossless restarts must not. Each way in which a
request can end has its own exception, and nothing is sent twice.

    with Connection("127.0.0.1", port) as connection:
        response = connection.request("GET", "/")
        exchange = connection.begin("POST", "/echo", chunked=True)   # both directions at once
        exchange.send(b"part")
        exchange.head()
        exchange.read()
"""

import socket
import ssl
import time
from dataclasses import dataclass, field

RECEIVE_SIZE = 65536
# httpd closing an idle connection can cross a request on its way. Whoever closes later than this
# had the request, and dropped it.
CROSSING_SECONDS = 0.1


class Failure(Exception):
    """A request that did not end with a whole response. `partial` is what had arrived of one."""

    def __init__(self, message="", partial=None):
        super().__init__(message)
        self.partial = partial


class Refused(Failure):
    """The connection could not be made."""


class ClosedIdle(Failure):
    """A used connection was closed before any byte of this response: httpd's right."""


class Cut(Failure):
    """The connection ended within the response, or before it on a new connection."""


class TimedOut(Failure):
    """Nothing came for as long as the connection waits."""


class Malformed(Failure):
    """What came is no HTTP/1.1."""


@dataclass
class Response:
    """A response; `headers` are pairs as sent, names in lower case."""

    status: int
    reason: str
    headers: list
    body: bytes = b""
    version: str = "HTTP/1.1"
    trailers: list = field(default_factory=list)

    def header(self, name, default=None):
        """The first header of that name."""
        return next((value for key, value in self.headers if key == name.lower()), default)

    @property
    def text(self):
        return self.body.decode()


class Connection:
    """One connection, kept alive as long as both sides allow. Not for several threads at once."""

    def __init__(self, host, port, *, timeout=10, tls=False):
        self.host, self.port, self.timeout, self.tls = host, port, timeout, tls
        self.served = 0
        self._buffer = b""
        self.socket = self._connect()

    def _connect(self):
        try:
            plain = socket.create_connection((self.host, self.port), self.timeout)
        except OSError as error:
            raise Refused(str(error)) from error
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.tls:
            return plain
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            return context.wrap_socket(plain, server_hostname="localhost")
        except OSError as error:
            plain.close()
            raise Refused(str(error)) from error

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        self.socket.close()

    # ---- Bytes ------------------------------------------------------------------------------

    def send_raw(self, data):
        """Send `data` as it is. What the server answered meanwhile can still be read."""
        try:
            self.socket.sendall(data)
        except TimeoutError as error:
            raise TimedOut("sending") from error
        except OSError:
            # The peer's answer, or its absence, says more than a broken pipe.
            return

    def _receive(self):
        """More bytes into the buffer; False at the end of the stream."""
        try:
            data = self.socket.recv(RECEIVE_SIZE)
        except TimeoutError as error:
            raise TimedOut("receiving") from error
        except OSError:
            return False
        self._buffer += data
        return bool(data)

    def take_line(self):
        """One line without its end; None if the stream ended first."""
        while b"\n" not in self._buffer:
            if not self._receive():
                return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def take(self, size):
        """At most `size` bytes, at least one; b"" at the end of the stream."""
        if not self._buffer and not self._receive():
            return b""
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    @property
    def received_nothing(self):
        return not self._buffer

    # ---- Requests ---------------------------------------------------------------------------

    def begin(self, method, path, headers=(), *, length=None, chunked=False):
        """Send a request's head; its body, if any, goes through the exchange."""
        lines = [f"{method} {path} HTTP/1.1"]
        names = {name.lower() for name, _ in headers}
        if "host" not in names:
            lines.append(f"Host: {self.host}:{self.port}")
        lines += [f"{name}: {value}" for name, value in headers]
        if chunked:
            lines.append("Transfer-Encoding: chunked")
        elif length is not None:
            lines.append(f"Content-Length: {length}")
        self.send_raw(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return Exchange(self, method, chunked)

    def request(self, method, path, headers=(), body=b""):
        """One request, one whole response."""
        exchange = self.begin(method, path, headers, length=len(body) if body else None)
        if body:
            exchange.send(body)
        return exchange.response()

    def get(self, path, headers=()):
        return self.request("GET", path, headers)


class Exchange:
    """A request under way: its body can be sent while its response is read."""

    def __init__(self, connection, method, chunked):
        self.connection = connection
        self._method = method
        self._chunked = chunked
        self._begun = time.monotonic()
        self._ended = False
        self._head = None
        self._reader = None

    # ---- Sending ----------------------------------------------------------------------------

    def send(self, data):
        """A part of the body; a chunk of its own if the body is chunked."""
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.connection.send_raw(data)

    def end(self):
        """Say that the body is complete. A body with a length needs no word."""
        if self._chunked and not self._ended:
            self.connection.send_raw(b"0\r\n\r\n")
        self._ended = True

    # ---- Receiving --------------------------------------------------------------------------

    def head(self):
        """Wait for the final response's head; interim ones (100, 103) are passed over."""
        while self._head is None:
            response = self._read_head()
            if response.status >= 200 or response.status == 101:
                self._head = response
        self._reader = _reader(self.connection, self._method, self._head)
        return self._head

    def _read_head(self):
        connection = self.connection
        line = connection.take_line()
        if line is None:
            raise self._nothing_came()
        response = _status_line(line)
        response.headers = self._read_fields(response)
        return response

    def _nothing_came(self):
        crossed = time.monotonic() - self._begun < CROSSING_SECONDS
        if self.connection.served and self.connection.received_nothing and crossed:
            return ClosedIdle("closed between requests")
        return Cut("closed before the response")

    def _read_fields(self, response):
        fields = []
        while line := self.connection.take_line():
            name, colon, value = line.partition(b":")
            if not colon:
                raise Malformed(f"header line {line!r}", response)
            fields.append((name.decode("latin-1").lower(), value.strip().decode("latin-1")))
        if line is None:
            raise Cut("closed within the head", response)
        return fields

    def read(self):
        """The next part of the body as it comes; b"" once it is complete. Cut if it never is."""
        if self._head is None:
            self.head()
        return next(self._reader, b"")

    def response(self):
        """End the request, and read the whole response; a Failure has what came of it."""
        self.end()
        parts = []
        try:
            parts.extend(iter(self.read, b""))
        finally:
            if self._head is not None:
                self._head.body = b"".join(parts)
        self.connection.served += 1
        return self._head


def _status_line(line):
    version, _, rest = line.decode("latin-1").partition(" ")
    code, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or not (len(code) == 3 and code.isdigit()):
        raise Malformed(f"status line {line!r}")
    return Response(int(code), reason, [], version=version)


def _reader(connection, method, response):
    """The parts of a response's body, by whichever framing its head declares."""
    if method == "HEAD" or response.status in (204, 304) or response.status < 200:
        return iter(())
    if "chunked" in (response.header("transfer-encoding") or ""):
        return _chunked_parts(connection, response)
    length = response.header("content-length")
    if length is not None:
        return _counted_parts(connection, response, int(length))
    return iter(lambda: connection.take(RECEIVE_SIZE), b"")


def _counted_parts(connection, response, missing):
    while missing:
        part = connection.take(min(missing, RECEIVE_SIZE))
        if not part:
            raise Cut(f"{missing} bytes are missing", response)
        missing -= len(part)
        yield part


def _chunked_parts(connection, response):
    while size := _chunk_size(connection, response):
        yield from _counted_parts(connection, response, size)
        if connection.take_line() != b"":
            raise Cut("closed after a chunk", response)
    while line := connection.take_line():
        name, _, value = line.decode("latin-1").partition(":")
        response.trailers.append((name.lower(), value.strip()))
    if line is None:
        raise Cut("closed within the trailers", response)


def _chunk_size(connection, response):
    line = connection.take_line()
    if line is None:
        raise Cut("no last chunk", response)
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise Malformed(f"chunk size {line!r}", response) from None
