# SPDX-License-Identifier: Apache-2.0
"""A site of folders and notes, with a view for each thing that a test asks about."""

import hashlib
import json

import transaction
from persistent import Persistent
from persistent.mapping import PersistentMapping
from zope.interface import Interface, alsoProvides, implementer
from zope.publisher.browser import BrowserPage, BrowserView
from zope.publisher.interfaces import NotFound, Redirect
from zope.publisher.interfaces.browser import IBrowserPublisher, IBrowserRequest, IBrowserSkinType
from zope.security.interfaces import Unauthorized
from zope.traversing.browser import absoluteURL


class IFolder(Interface):
    """A container of folders and notes."""


class INote(Interface):
    """A text."""


@implementer(IFolder)
class Folder(PersistentMapping):
    __parent__ = __name__ = None

    def add(self, name, thing):
        thing.__parent__, thing.__name__ = self, name
        self[name] = thing
        return thing


@implementer(INote)
class Note(Persistent):
    __parent__ = __name__ = None

    def __init__(self, text=""):
        self.text = text


@implementer(IBrowserPublisher)
class Shop(BrowserView):
    """Publishes by itself: /@@shop/red/shoes takes two names; /@@shop leads to its catalogue."""

    def publishTraverse(self, request, name):
        if name == "nothing":
            raise NotFound(self, name, request)
        if name == "number":
            request.setTraversalStack([7])
            return self
        if name == "catalogue":
            return Shelf("catalogue", self.request)
        rest = request.getTraversalStack()
        found = " ".join([name, *reversed(rest)])
        request.setTraversalStack([])
        return Shelf(found, self.request)

    def browserDefault(self, request):
        return self, ("catalogue",)


class Shelf(BrowserPage):
    def __call__(self, *, color="any"):
        steps = self.request.environment["zope.pipeline.default_traversal_steps"]
        return f"{self.context}, {color}, {steps} steps more at {self.request.getURL()}"


class IPlain(IBrowserRequest):
    """A skin."""


class PlainNote(BrowserView):
    def __call__(self):
        return f"plain: {self.context.text} at {absoluteURL(self.context, self.request)}"


alsoProvides(IPlain, IBrowserSkinType)


class QuotaExceeded(Exception):
    """Has a page of its own."""


class DoubleTrouble(Exception):
    """Its page fails as well."""


def fill(root, *names):
    """Content for the tests: for each name a folder of the root, with a note and a folder in it."""
    for name in names:
        folder = root[name] = Folder()
        folder.__name__ = name
        folder.add("welcome", Note(f"Welcome to {name}"))
        folder.add("sub", Folder()).add("deep", Note("deep"))


class FolderPage(BrowserView):
    def __call__(self):
        lines = [f"folder {absoluteURL(self.context, self.request)}"]
        lines += [absoluteURL(thing, self.request) for thing in self.context.values()]
        return "\n".join(lines)


class NotePage(BrowserPage):
    def __call__(self):
        return f"<!DOCTYPE html><title>note</title><p>{self.context.text}</p>"


class Edit(BrowserView):
    def __call__(self, text, REQUEST):
        self.context.text = text
        if text == "refused":
            REQUEST.response.setStatus(409)
            return "this is not what the page should say"
        REQUEST.response.redirect(absoluteURL(self.context, REQUEST))
        return REQUEST.response


class Add(BrowserView):
    def __call__(self, name, text="empty"):
        note = self.context.add(name, Note(text))
        return absoluteURL(note, self.request)


_CONTENDED = {}


class Contend(BrowserView):
    """Somebody else changes the note first, as often as the form says."""

    def __call__(self, key, times, upload):
        done = _CONTENDED.setdefault(key, 0)
        seen = hashlib.sha256(upload.read()).hexdigest()
        if done < int(times):
            _CONTENDED[key] += 1
            self._meddle()
        self.context.text = seen
        return json.dumps({"digest": seen, "attempts": _CONTENDED[key] + 1})

    def _meddle(self):
        self.context.text  # noqa: B018 (loads the object as it was before the other's change)
        manager = transaction.TransactionManager()
        connection = self.context._p_jar.db().open(manager)
        connection.get(self.context._p_oid).text = "meddled"
        manager.commit()
        connection.close()


class Doomed(BrowserView):
    def __call__(self):
        self.context.text = "this must not last"
        transaction.doom()
        return "doomed, and answered"


class Echo(BrowserView):
    """What the request was taken for, as JSON."""

    def __call__(self):
        request = self.request
        return json.dumps(
            {
                "form": {name: self._show(value) for name, value in request.form.items()},
                "url": request.getURL(),
                "application": request.getApplicationURL(),
                "method": request.method,
                "cookies": request.cookies,
                "keys": sorted(key for key in request.environment if "zope" in key),
                "traversed": [name for name, _ in request.environment["zope.pipeline.traversed"]],
                "audited": request.environment.get("audit.level"),
                "retry": request.supportsRetry(),
            }
        )

    @staticmethod
    def _show(value):
        if hasattr(value, "read"):
            return {"file": value.filename, "text": value.read().decode()}
        return value


class Raise(BrowserView):
    def __call__(self, what):
        raise {
            "error": ValueError("a <secret> of the site"),
            "quota": QuotaExceeded("too many notes"),
            "double": DoubleTrouble("first"),
            "unsendable": UnsendableError("first"),
            "unauthorized": Unauthorized(),
            "redirect": Redirect("/sub"),
            "outside": Redirect("http://elsewhere.example/"),
        }[what]


class Result(BrowserView):
    def __call__(self, kind):
        if kind == "iterable":
            return (line for line in (b"one ", b"two ", b"three"))
        if kind == "response":
            self.request.response.setStatus(202)
            self.request.response.setHeader("X-Own", "yes")
            self.request.response.setCookie("seen", "1", path="/", httponly=True)
            self.request.response.setResult("as the view set it")
            return self.request.response
        return {"none": None, "bytes": b"\x00\x01", "number": 42}[kind]


class Unsendable(BrowserView):
    """Changes the note, and answers with what no client can be sent."""

    def __call__(self, kind):
        self.context.text = f"changed by {kind}"
        response = self.request.response
        if kind == "short":
            response.setResult(b"short")
        spoil = {
            "injection": lambda: response.setHeader("X-Title", "a\r\nSet-Cookie: b=c"),
            "foreign": lambda: response.setHeader("X-Title", "\u20ac"),
            "long": lambda: response.setHeader("X-Title", "x" * 70_000),
            "hop": lambda: response.setHeader("Connection", "close"),
            "status": lambda: response.setStatus(99),
            "reason": lambda: response.setStatus(200, "\ud800"),
            "cookie": lambda: response.setCookie("a b", "c"),
            "short": lambda: response.setHeader("Content-Length", 100),
        }
        spoil.get(kind, lambda: None)()
        results = {"texts": ["a", "b"], "mixed": (b"a", "b"), "dict": {"a": 1}, "set": {"a"}}
        results |= {"array": bytearray(b"a"), "number": 5, "short": response}
        return results.get(kind, "a page")


class Lazy(BrowserView):
    """What a generator yields is not known before the commit."""

    def __call__(self):
        self.context.text = "kept"
        return (item for item in ("not bytes",))


class UnsendableError(Exception):
    """Its page cannot be sent."""


class UnsendablePage(BrowserView):
    def __call__(self):
        self.request.getVirtualHostRoot()["welcome"].text = "changed by a page for an error"
        return ["not bytes"]


class QuotaPage(BrowserView):
    """Reads the database: the failed transaction is over, the connection is still open."""

    def __call__(self):
        self.request.response.setStatus(507)
        root = self.request.getVirtualHostRoot()
        return f"quota: {self.context}; the root has {len(root)} things"


class BrokenPage(BrowserView):
    def __call__(self):
        raise RuntimeError("the page for the error failed")
