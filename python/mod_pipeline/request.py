# SPDX-License-Identifier: Apache-2.0
"""The request that the publishing stages pass along: it holds data, and finds URLs.

It satisfies IBrowserRequest of zope.publisher, so that views and adapters written for that work;
what a request of zope.publisher *does* (traverse, retry, processInputs) is done by the stages.
Used by one worker thread at a time.
"""

import base64
from urllib.parse import quote

import zope.event
from zope.i18n.interfaces import IUserPreferredLanguages
from zope.i18n.locales import LoadLocaleError, locales
from zope.interface import implementer
from zope.publisher.base import DebugFlags
from zope.publisher.http import HTTPVirtualHostChangedEvent, URLGetter
from zope.publisher.interfaces.browser import IBrowserApplicationRequest, IBrowserRequest
from zope.publisher.interfaces.http import IHTTPCredentials
from zope.publisher.skinnable import setDefaultSkin

from mod_pipeline.response import Response

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_SAFE = "/+@"


def _steps(path):
    """The names of a path of a WSGI environ, without the empty ones and `.`."""
    text = path.encode("latin-1").decode("utf-8")
    return [name for name in text.split("/") if name not in ("", ".")]


def _urlpath(names):
    return "/" + "/".join(quote(name, safe=_SAFE) for name in names)


@implementer(IBrowserRequest, IBrowserApplicationRequest, IHTTPCredentials)
class Request:
    """One attempt at one request."""

    principal = None
    interaction = None

    def __init__(self, environ):
        self.environment = environ
        self.method = environ["REQUEST_METHOD"].upper()
        self.form = {}
        self.annotations = {}
        self.debug = DebugFlags()
        self.response = Response(self)
        self._held = []
        self._cookies = None
        self._locale = None
        self._app_server = self._server(environ)
        self._app_names = _steps(environ.get("SCRIPT_NAME", ""))
        self._traversed_names = []
        self._last_traversed = None
        self._vh_root = None
        self._stack = _steps(environ.get("PATH_INFO", ""))[::-1]
        setDefaultSkin(self)

    @staticmethod
    def _server(environ):
        scheme = environ.get("wsgi.url_scheme", "http")
        host = environ.get("HTTP_HOST", "").strip()
        if not host:
            host = environ.get("SERVER_NAME", "localhost")
            if ":" in host and not host.startswith("["):
                host = f"[{host}]"
            host += ":" + environ.get("SERVER_PORT", "")
        default = ":" + _DEFAULT_PORTS.get(scheme, "")
        return f"{scheme}://{host.removesuffix(default)}"

    # ---- Data -----------------------------------------------------------------------------

    @property
    def bodyStream(self):
        return self.environment["wsgi.input"]

    @property
    def headers(self):
        return {
            key[5:].replace("_", "-").title(): value
            for key, value in self.environment.items()
            if key.startswith("HTTP_")
        }

    def getHeader(self, name, default=None, literal=False):
        key = name if literal else name.replace("-", "_").upper()
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH") and not key.startswith("HTTP_"):
            key = "HTTP_" + key
        return self.environment.get(key, default)

    @property
    def cookies(self):
        if self._cookies is None:
            self._cookies = {}
            for pair in self.environment.get("HTTP_COOKIE", "").split(";"):
                name, separator, value = pair.strip().partition("=")
                if separator and name not in self._cookies:
                    self._cookies[name] = _unquoted(value)
        return self._cookies

    def getCookies(self):
        return self.cookies

    @property
    def locale(self):
        if self._locale is None:
            self.setupLocale()
        return self._locale

    def setupLocale(self):
        """Choose the locale by the languages that the client prefers."""
        languages = IUserPreferredLanguages(self, None)
        for language in languages.getPreferredLanguages() if languages is not None else ():
            parts = (language.split("-") + [None, None])[:3]
            try:
                self._locale = locales.getLocale(*parts)
                return
            except LoadLocaleError:
                continue
        self._locale = locales.getLocale(None, None, None)

    def setPrincipal(self, principal):
        self.principal = principal
        self.response.authUser = getattr(principal, "id", "-")

    def getPositionalArguments(self):
        return ()

    def supportsRetry(self):
        return bool(self.environment.get("zope.pipeline.can_retry"))

    def hold(self, held):
        """Keep an object until the request ends; release() or close() of it is called then."""
        self._held.append(held)

    def close(self):
        while self._held:
            held = self._held.pop()
            end = getattr(held, "release", None) or getattr(held, "close", None)
            if end is not None:
                end()

    def _authUserPW(self):
        scheme, _, token = self.environment.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name, separator, password = base64.b64decode(token).decode("utf-8").partition(":")
        except ValueError:
            return None
        return (name, password) if separator else None

    def unauthorized(self, challenge):
        self.response.setStatus(401)
        self.response.setHeader("WWW-Authenticate", challenge, True)

    # ---- As a mapping: form, cookies, environ ---------------------------------------------

    def get(self, key, default=None):
        for source in (self.form, self.cookies, self.environment):
            if key in source:
                return source[key]
        return default

    def __getitem__(self, key):
        marker = object()
        value = self.get(key, marker)
        if value is marker:
            raise KeyError(key)
        return value

    def __contains__(self, key):
        return key in self.form or key in self.cookies or key in self.environment

    has_key = __contains__

    def keys(self):
        return {**self.environment, **self.cookies, **self.form}.keys()

    def values(self):
        return [self[key] for key in self.keys()]

    def items(self):
        return [(key, self[key]) for key in self.keys()]

    def __iter__(self):
        return iter(self.keys())

    def __len__(self):
        return len(self.keys())

    def __bool__(self):
        return True

    def __eq__(self, other):
        return self is other

    def __hash__(self):
        return id(self)

    def __repr__(self):
        return f"<{type(self).__module__}.{type(self).__name__} {self.method} {self.getURL()}>"

    # ---- Traversal's data -----------------------------------------------------------------

    def getTraversalStack(self):
        return self._stack

    def setTraversalStack(self, stack):
        self._stack[:] = list(stack)

    def setPathSuffix(self, steps):
        self._stack[:] = list(steps)[::-1]

    # ---- URLs -----------------------------------------------------------------------------

    @property
    def URL(self):
        return URLGetter(self)

    def getURL(self, level=0, path_only=False):
        """The address of what was traversed so far, `level` steps up."""
        names = self._app_names + self._traversed_names
        if level > len(names):
            raise IndexError(level)
        return self._url(names[: len(names) - level], path_only)

    def getApplicationURL(self, depth=0, path_only=False):
        """The address of the root of the site, `depth` steps down towards what was traversed."""
        if depth > len(self._traversed_names):
            raise IndexError(depth)
        return self._url(self._app_names + self._traversed_names[:depth], path_only)

    def _url(self, names, path_only):
        if path_only:
            return _urlpath(names)
        return self._app_server + (_urlpath(names) if names else "")

    def setApplicationServer(self, host, proto="http", port=None):
        if port and str(port) != _DEFAULT_PORTS.get(proto):
            host = f"{host}:{port}"
        self._app_server = f"{proto}://{host}"
        zope.event.notify(HTTPVirtualHostChangedEvent(self))

    def shiftNameToApplication(self):
        """Leave the first name, which is being traversed, in every URL that is generated."""
        if len(self._traversed_names) != 1:
            raise ValueError("only the first name can become part of the application's address")
        self._app_names.append(self._traversed_names.pop())
        zope.event.notify(HTTPVirtualHostChangedEvent(self))

    def setVirtualHostRoot(self, names=()):
        self._traversed_names.clear()
        self._app_names = list(names)
        self._vh_root = self._last_traversed
        zope.event.notify(HTTPVirtualHostChangedEvent(self))

    def getVirtualHostRoot(self):
        """The object at the site's root: where URLs begin."""
        return self._vh_root

    # ---- What the stages call -------------------------------------------------------------

    def begin_traversal(self, root):
        """Called by the stage open_root: what the site's address stands for."""
        self._vh_root = self._last_traversed = root


def _unquoted(value):
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return value
