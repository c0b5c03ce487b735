# SPDX-License-Identifier: Apache-2.0
"""Bodies both ways: any size and form, at once, within bounded memory, and visibly cut when cut."""

import hashlib
import os
import subprocess
import threading
import time

import pytest

from t.http.sites import steps
from t.support import processes
from t.support.apache import self_signed_certificate
from t.support.environment import PATIENCE

STEPS = steps("processes=2 threads=2")
MB = 1 << 20


@pytest.fixture
def server(apache):
    running = apache(STEPS)
    assert processes.wait_until(lambda: running.get("/ready").status == 200, 20 * PATIENCE)
    return running


def memory(server):
    """Resident KiB of every process of the server, by pid."""
    found = {}
    for process in server.processes():
        with open(f"/proc/{process.pid}/status") as rows:
            found[process.pid] = next(
                (int(row.split()[1]) for row in rows if row.startswith("VmRSS")), 0
            )
    return found


@pytest.mark.parametrize(
    "size", [1, 8191, 16383, 16384, 16385, 65535, 65536, 65537, 131072, 3000000]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_body_comes_back_as_it_was_sent(server, size, chunked):
    body = os.urandom(size)
    with server.connect() as connection:
        length = None if chunked else size
        exchange = connection.begin("POST", "/app/echo", chunked=chunked, length=length)
        sender = threading.Thread(target=send_all, args=(exchange, body))
        sender.start()
        assert exchange.head().status == 200
        assert b"".join(iter(exchange.read, b"")) == body
        sender.join()


def send_all(exchange, body):
    for start in range(0, len(body), 50000):
        exchange.send(body[start : start + 50000])
    exchange.end()


@pytest.mark.serial
def test_hundred_megabytes_echo_without_growth(server):
    part = os.urandom(MB)
    sent, received = hashlib.sha256(), hashlib.sha256()
    server.get("/app/pid")
    before = memory(server)
    with server.connect(timeout=60) as connection:
        exchange = connection.begin("POST", "/app/echo", chunked=True)

        def send():
            for _ in range(100):
                exchange.send(part)
                sent.update(part)
            exchange.end()

        sender = threading.Thread(target=send)
        sender.start()
        assert exchange.head().status == 200
        for piece in iter(exchange.read, b""):
            received.update(piece)
        sender.join()
    assert received.digest() == sent.digest()
    after = memory(server)
    grown = {pid: after[pid] - before[pid] for pid in before if pid in after}
    assert max(grown.values()) < 12 * 1024 * PATIENCE, grown


def test_body_that_nobody_reads_does_not_stop_the_response(server):
    with server.connect() as connection:
        exchange = connection.begin("POST", "/app/pid", length=4 * MB)
        exchange.send(b"x" * 100000)
        assert exchange.head().status == 200


def test_expect_100_continue_is_answered_when_the_body_is_wanted(server):
    def ask(path):
        done = subprocess.run(
            ["curl", "-sS", "-v", "-H", "Expect: 100-continue", "--data-binary", "x" * 5000]
            + [server.url(path)],
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.stdout, "HTTP/1.1 100 Continue" in done.stderr

    assert ask("/app/count") == ("5000", True)
    assert ask("/app/pid")[1] is False


def test_client_that_breaks_off_its_body_frees_the_worker(server):
    for _ in range(8):
        connection = server.connect()
        exchange = connection.begin("POST", "/app/count", length=100000)
        exchange.send(b"x" * 20000)
        time.sleep(0.05)
        connection.close()
    assert processes.wait_until(lambda: "Busy: 0" in server.get("/status?auto").text, 5 * PATIENCE)
    assert server.get("/app/pid").status == 200


def test_client_that_sends_a_byte_at_a_time(server):
    with server.connect() as connection:
        exchange = connection.begin("POST", "/app/count", length=30)
        for _ in range(30):
            exchange.send(b"x")
            time.sleep(0.02)
        assert exchange.response().body == b"30"


def test_malformed_chunks_are_400(server):
    with server.connect() as connection:
        connection.socket.sendall(
            b"POST /app/count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"zz\r\nbad\r\n"
        )
        assert b" 400 " in connection.socket.recv(1000)


def test_transfer_encoding_wins_over_content_length(server):
    with server.connect() as connection:
        connection.socket.sendall(
            b"POST /app/count HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"
        )
        answer = b""
        while part := connection.socket.recv(1000):
            answer += part
    # httpd may refuse the pair outright; what must not be is 3 bytes, and two more as a request
    assert b" 400 " in answer.split(b"\r\n")[0] or answer.endswith(b"5") or b"\r\n5\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("size", [16384, 16385, 65536, 3000000])
def test_body_over_tls_comes_back_as_it_was_sent(apache, certificate, size):
    """mod_ssl reads into one buffer again and again: what is not sent yet must not lie in it."""
    server = apache(STEPS, tls=certificate)
    assert processes.wait_until(lambda: server.get("/ready").status == 200, 20 * PATIENCE)
    body = os.urandom(size)
    assert server.request("POST", "/app/count", body=body, tls=True).body == str(size).encode()
    answer = server.request("POST", "/app/work?s=0&n=0", body=body, tls=True)
    assert answer.text == hashlib.sha256(body).hexdigest()


def test_body_over_http2(apache, tmp_path):
    server = apache(STEPS, tls=self_signed_certificate(tmp_path))
    assert processes.wait_until(lambda: server.get("/ready").status == 200, 20 * PATIENCE)
    upload = tmp_path / "upload"
    upload.write_bytes(os.urandom(5 * MB))
    for extra in (["-H", "Expect:"], ["-H", "Transfer-Encoding: chunked", "-H", "Expect:"]):
        for url in (server.url("/app/echo", tls=True), server.url("/app/echo")):
            done = subprocess.run(
                [
                    "curl",
                    "-sSk",
                    "--http2-prior-knowledge" if url.startswith("http:") else "--http2",
                ]
                + extra
                + ["--data-binary", f"@{upload}", url],
                capture_output=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            assert (
                hashlib.sha256(done.stdout).digest() == hashlib.sha256(upload.read_bytes()).digest()
            )


def test_head_of_many_headers(apache):
    server = apache("LimitRequestFields 0\nLimitRequestFieldSize 65000\n" + STEPS)
    assert processes.wait_until(lambda: server.get("/ready").status == 200, 20 * PATIENCE)
    many = [(f"X-Field-{i}", "v" * 40) for i in range(8000)]
    assert server.get("/app/pid", many).status == 200
    large = [(f"X-Large-{i}", "v" * 60000) for i in range(10)]
    answer = server.request("POST", "/app/count", large, b"y" * 300000)
    assert answer.status == 200
    assert answer.text == "300000"
    too_large = [(f"X-Large-{i}", "v" * 60000) for i in range(20)]
    assert server.get("/app/pid", too_large).status == 431


def test_response_after_the_client_was_slow_to_read(server):
    with server.connect(timeout=30) as connection:
        exchange = connection.begin("GET", "/app/body?n=20000000")
        time.sleep(1)
        assert exchange.head().status == 200
        assert len(exchange.response().body) == 20000000
