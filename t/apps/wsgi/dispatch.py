# SPDX-License-Identifier: Apache-2.0
"""One WSGI application out of many small ones: /name calls the one of that name."""

PLAIN = [("Content-Type", "text/plain")]


class Dispatch:
    """`@dispatch` adds an application under its function's name; a module exports the object."""

    def __init__(self):
        self.applications = {}

    def add(self, application):
        self.applications[application.__name__] = application
        return application

    def __call__(self, environ, start_response):
        name = environ["PATH_INFO"].split("/")[1]
        application = self.applications.get(name)
        if application is None:
            start_response("404 Not Found", PLAIN)
            return [b"no such application"]
        return application(environ, start_response)
