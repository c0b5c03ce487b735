# SPDX-License-Identifier: Apache-2.0
"""The response of a published request: status, headers, cookies, body. It holds data only.

Used by one worker thread at a time. The stage transaction renders it before the commit, to see
whether it can be sent, and the stage create_request after it, to be sent.
"""

import re
from http import HTTPStatus
from http.cookies import Morsel
from urllib.parse import urljoin, urlsplit

import zope.component
from zope.interface import implementer
from zope.publisher.interfaces.http import IHTTPApplicationResponse, IHTTPResponse, IResult

_HTML_START = re.compile(r"\s*<(!doctype\s+html|html[\s>])", re.IGNORECASE)
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
_EXPIRED = "Thu, 01 Jan 1970 00:00:00 GMT"


@implementer(IHTTPResponse, IHTTPApplicationResponse)
class Response:
    """IHTTPResponse, for browser requests."""

    authUser = "-"

    def __init__(self, request=None):
        self._request = request
        self.reset()

    def reset(self):
        """Forget everything, as before the first call."""
        self._status = None
        self._reason = None
        self._headers = {}
        self._cookies = {}
        self._result = b""

    # ---- Status ---------------------------------------------------------------------------

    def getStatus(self):
        return self._status or 200

    def setStatus(self, status, reason=None):
        """`status`: a number, or a text that begins with one."""
        number, _, rest = str(status).partition(" ")
        self._status = int(number)
        self._reason = reason or rest or None

    def getStatusString(self):
        status = self.getStatus()
        reason = self._reason
        if reason is None:
            try:
                reason = HTTPStatus(status).phrase
            except ValueError:
                reason = "Unknown"
        return f"{status} {reason}"

    # ---- Headers --------------------------------------------------------------------------

    def setHeader(self, name, value, literal=False):
        self._headers[name.lower()] = [(name, str(value))]

    def addHeader(self, name, value):
        self._headers.setdefault(name.lower(), []).append((name, str(value)))

    def getHeader(self, name, default=None, literal=False):
        found = self._headers.get(name.lower())
        return found[0][1] if found else default

    def getHeaders(self):
        pairs = [pair for values in self._headers.values() for pair in values]
        return pairs + [("Set-Cookie", cookie.OutputString()) for cookie in self._morsels()]

    # ---- Cookies --------------------------------------------------------------------------

    def setCookie(self, name, value, **attributes):
        """Attributes as in the header: max_age, domain, path, secure, httponly, samesite…"""
        self._cookies[name] = dict(attributes, value=value)

    def appendToCookie(self, name, value):
        cookie = self._cookies.setdefault(name, {"value": ""})
        cookie["value"] = f"{cookie['value']}:{value}" if cookie["value"] else value

    def expireCookie(self, name, **attributes):
        self.setCookie(name, "deleted", **{"max_age": 0, "expires": _EXPIRED, **attributes})

    def getCookie(self, name, default=None):
        return self._cookies.get(name, default)

    def _morsels(self):
        for name, attributes in self._cookies.items():
            morsel = Morsel()
            value = str(attributes["value"])
            quoted = value if re.fullmatch(r"[\w!#$%&'*+\-.^`|~:/=@?]*", value) else _quote(value)
            morsel.set(name, value, quoted)
            for key, setting in attributes.items():
                if key != "value" and setting is not None and setting is not False:
                    morsel[key.replace("_", "-")] = setting
            yield morsel

    # ---- Redirect -------------------------------------------------------------------------

    def redirect(self, location, status=None, trusted=False):
        """Answer with another address; one of another host only if the caller says `trusted`."""
        location = str(location)
        if not trusted:
            self._refuse_other_host(location)
        if status is None:
            old = self._request is not None and self._request.get("SERVER_PROTOCOL") == "HTTP/1.0"
            status = 302 if old else 303
        self.setStatus(status)
        self.setHeader("Location", location)
        self.setResult(b"")
        return location

    def _refuse_other_host(self, location):
        if self._request is None:
            return
        own = urlsplit(self._request.getApplicationURL())
        # A browser takes a backslash for a slash and three slashes for two, and drops controls.
        target = re.sub(r"[\x00-\x20]", "", location).replace("\\", "/")
        target = re.sub(r"^(https?:)?/{2,}", r"\1//", target, flags=re.IGNORECASE)
        other = urlsplit(urljoin(self._request.getApplicationURL() + "/", target))
        if (other.scheme, other.netloc) != (own.scheme, own.netloc):
            raise ValueError(f"untrusted redirect to {other.scheme}://{other.netloc}")

    # ---- Body -----------------------------------------------------------------------------

    def setResult(self, result):
        """None, text, bytes, an iterable of bytes, or what has an IResult for this request."""
        if isinstance(result, str):
            result = self._encode(result)
        elif result is None:
            result = b""
        elif not isinstance(result, (bytes, list, tuple)):
            adapted = zope.component.queryMultiAdapter((result, self._request), IResult)
            result = result if adapted is None else adapted
            if not hasattr(result, "__iter__"):
                raise TypeError(f"a view returned {result!r}, which is no text, bytes or iterable")
        if isinstance(result, bytes):
            self.setHeader("Content-Length", len(result))
        else:
            self._headers.pop("content-length", None)
        self._result = result

    def _encode(self, text):
        kind = self.getHeader("Content-Type")
        if kind is None:
            kind = "text/html" if _HTML_START.match(text) else "text/plain"
        found = _CHARSET.search(kind)
        if found is None and kind.startswith("text/"):
            kind += "; charset=utf-8"
        self.setHeader("Content-Type", kind)
        return text.encode(found.group(1) if found else "utf-8", "xmlcharrefreplace")

    def consumeBody(self):
        return b"".join(self.consumeBodyIter())

    def consumeBodyIter(self):
        return [self._result] if isinstance(self._result, bytes) else self._result

    def internalError(self):
        self.reset()
        self.setStatus(500)

    def handleException(self, exc_info):
        """The stage handle_error finds the page; this only says what kind of answer it is."""
        self.internalError()

    def retry(self):
        """An empty response for another attempt."""
        return type(self)(self._request)

    def render(self, extra):
        """(status, headers, body) as WSGI has them; `extra`: pairs that httpd modules have set."""
        headers = self.getHeaders()
        known = {name.lower() for name, value in headers}
        headers += [(name, value) for name, value in extra if name.lower() not in known]
        return self.getStatusString(), headers, self.consumeBodyIter()


def _quote(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
