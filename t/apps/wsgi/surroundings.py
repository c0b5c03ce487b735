# SPDX-License-Identifier: Apache-2.0
"""What an application finds around it: the environ, the interpreter, the log."""

import json
import logging
import sys
import threading
import warnings
from wsgiref.validate import validator

from dispatch import PLAIN, Dispatch

application = Dispatch()


def as_json(start_response, value):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(value).encode()]


@application.add
def environ(environ, start_response):
    shown = {
        key: value if isinstance(value, (str, bool, int, tuple)) else type(value).__name__
        for key, value in environ.items()
    }
    return as_json(start_response, shown)


@application.add
def types(environ, start_response):
    """The keys whose values WSGI wants as str, and that are not."""
    plain = {key: value for key, value in environ.items() if "." not in key}
    return as_json(start_response, [key for key, value in plain.items() if type(value) is not str])


@application.add
def interpreter(environ, start_response):
    return as_json(
        start_response,
        {
            "argv": sys.argv,
            "path": sys.path,
            "prefix": sys.prefix,
            "executable": sys.executable,
            "encoding": sys.getfilesystemencoding(),
            "main": threading.main_thread().name,
            "in_main": threading.current_thread() is threading.main_thread(),
        },
    )


@application.add
def log(environ, start_response):
    errors = environ["wsgi.errors"]
    errors.write("to errors, ")
    errors.write("one line\nand another\n")
    errors.writelines(["from a ", "list\n"])
    print("to stdout")
    print("to stderr", file=sys.stderr)
    print("caf\xe9 \ud800", file=errors)
    errors.write("without an end")
    errors.write(" until now")
    errors.flush()
    errors.write("left at the end")
    start_response("200 OK", PLAIN)
    return [environ["mod_pipeline.request_id"].encode()]


@application.add
def log_from_thread(environ, start_response):
    thread = threading.Thread(target=print, args=("from a thread",))
    thread.start()
    thread.join()
    start_response("200 OK", PLAIN)
    return []


@application.add
def log_warning(environ, start_response):
    logging.getLogger("some").warning("by logging")
    warnings.warn("by warnings", stacklevel=1)
    start_response("200 OK", PLAIN)
    return []


def simple(environ, start_response):
    environ["wsgi.input"].read(5)
    environ["wsgi.input"].readline()
    environ["wsgi.errors"].flush()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"valid"]


validated = validator(simple)
