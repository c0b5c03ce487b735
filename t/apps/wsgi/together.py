# SPDX-License-Identifier: Apache-2.0
"""Requests that are served at the same time by threads of one process."""

import threading

from dispatch import PLAIN, Dispatch

application = Dispatch()
meeting = threading.Barrier(3)


@application.add
def meet(environ, start_response):
    """Ends only when three requests are here at once."""
    meeting.wait(10)
    start_response("200 OK", PLAIN)
    return [threading.current_thread().name.encode()]


@application.add
def quick(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"quick"]


@application.add
def upload(environ, start_response):
    print("reading", len(environ["wsgi.input"].read(1)))
    rest = environ["wsgi.input"].read()
    start_response("200 OK", PLAIN)
    return [b"%d" % (len(rest) + 1)]


@application.add
def download(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"x" * 1000] * 32000


@application.add
def stream(environ, start_response):
    start_response("200 OK", PLAIN)
    yield from [b"x" * 65536] * 500


@application.add
def write_lines(environ, start_response):
    """Lines in pieces, while others do the same: no piece may stand in another's line."""
    me = environ["QUERY_STRING"]
    for _ in range(50):
        environ["wsgi.errors"].write(f"<{me}")
        meeting_point.wait(10)
        environ["wsgi.errors"].write(f"-{me}>\n")
    start_response("200 OK", PLAIN)
    return []


meeting_point = threading.Barrier(2)


@application.add
def read_in_thread(environ, start_response):
    """wsgi.input and write() in the hands of a thread of the application's own."""
    write = start_response("200 OK", PLAIN)

    def copy():
        while data := environ["wsgi.input"].read(10000):
            write(data)

    thread = threading.Thread(target=copy)
    thread.start()
    thread.join()
    return []


@application.add
def two_readers(environ, start_response):
    """One thread is in read() when another one tries."""
    said = []
    body = environ["wsgi.input"]
    body.read(1)

    def read():
        try:
            said.append(len(body.read()))
        except RuntimeError as error:
            said.append(str(error))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join(0.5)
    print("both are reading", said)
    for thread in threads:
        thread.join()
    start_response("200 OK", PLAIN)
    return [repr(said).encode()]


left_over = []


@application.add
def leave_a_thread(environ, start_response):
    """A thread goes on to read and write when its request is over."""
    go = threading.Event()
    body = environ["wsgi.input"]

    def late():
        go.wait(10)
        try:
            body.read()
        except ValueError as error:
            print("late read:", error)

    thread = threading.Thread(target=late)
    thread.start()
    left_over.append((go, thread))
    start_response("200 OK", PLAIN)
    return [b"left"]


@application.add
def end_the_thread(environ, start_response):
    go, thread = left_over.pop()
    go.set()
    thread.join()
    start_response("200 OK", PLAIN)
    return [b"ended"]
