# SPDX-License-Identifier: Apache-2.0
"""WSGI applications to be mounted beside the site."""

from ZODB.POSException import ConflictError


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"hello from {environ['SCRIPT_NAME']}".encode()]


def conflict(environ, start_response):
    print("application: called")
    raise ConflictError()
