# SPDX-License-Identifier: Apache-2.0
"""What the publishing stages need of Python: configuration, databases, error pages, form data.

The stages themselves are in C (stages/*.c), and call this module by name; they hold the GIL, in a
daemon's worker thread, except for `configure`, which runs once in its main thread before there are
any. The request and the response are in `mod_pipeline.request` and `mod_pipeline.response`.
"""

import html
import threading
from http import HTTPStatus
from urllib.parse import parse_qsl

import multipart
import ZODB
import zope.component
import zope.publisher
import zope.traversing
import zope.traversing.browser
from ZODB.POSException import ConflictError
from zope.configuration import xmlconfig
from zope.configuration.config import ConfigurationMachine, resolveConflicts
from zope.interface import Interface
from zope.publisher.defaultview import queryDefaultViewName
from zope.publisher.interfaces import (
    BadRequest,
    IBadRequest,
    IExceptionSideEffects,
    INotFound,
    IRedirect,
    PublishingException,
)
from zope.publisher.interfaces.http import IMethodNotAllowed
from zope.security.interfaces import IForbidden, IUnauthorized

from mod_pipeline import storage

# A form's fields, all together, and one text field, in bytes: a page of text is far below.
FORM_MEMORY_LIMIT = 8 * 1024 * 1024
# An uploaded file stays in memory up to here, then it goes to a temporary file.
FORM_SPOOL_LIMIT = 256 * 1024
# All files of one form together, in bytes.
FORM_DISK_LIMIT = 1024 * 1024 * 1024
# Fields of one form; Python's own limit against crafted dictionaries is far above.
FORM_FIELD_LIMIT = 1000

FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class TooLarge(PublishingException):
    """A form exceeds a limit; answered with status 413."""


class ICommitVeto(Interface):
    """A utility that is asked before each commit."""

    def __call__(environ, status, headers):
        """True aborts the transaction; the response (status, pairs) is sent all the same."""


def veto_errors(environ, status, headers):
    """An ICommitVeto: nothing that is answered with an error is committed.

    The response's header `X-Tm` overrules it: `commit` or `abort`.
    """
    for name, value in headers:
        if name.lower() == "x-tm":
            return value.lower() != "commit"
    return status >= 400


def commit_vetoed(environ):
    """Whether the site's ICommitVeto, if there is one, is against committing."""
    veto = zope.component.queryUtility(ICommitVeto)
    response = environ["zope.response"]
    return veto is not None and bool(veto(environ, response.getStatus(), response.getHeaders()))


# ---- Configuration ----------------------------------------------------------------------------


def configure(files):
    """Load ZCML: what traversal and URLs need, then the hosts' own files, each as a unit.

    For each file None, or the exception for which it could not be loaded. A file that contradicts
    one before it is the one that fails. What is included from several files is loaded once.
    """
    context = _declare([])
    context.execute_actions(clear=False)
    done, loaded, outcomes = list(context.actions), [], []
    for file in files:
        context.actions.clear()
        try:
            xmlconfig.include(context, file)
            resolveConflicts(done + context.actions)
            context.execute_actions(clear=False)
        except (Exception, SystemExit) as error:
            outcomes.append(error)
            # What the file has included counts as not seen, should another one include it too.
            context = _declare(loaded)
        else:
            outcomes.append(None)
            loaded.append(file)
            done += context.actions
    return outcomes


def _declare(files):
    """A configuration that has read the pipeline's own ZCML and `files`, and executed nothing."""
    context = ConfigurationMachine()
    xmlconfig.registerCommonDirectives(context)
    for package in (zope.publisher, zope.traversing, zope.traversing.browser):
        xmlconfig.include(context, "configure.zcml", package=package)
    for file in files:
        xmlconfig.include(context, file)
    return context


# ---- Databases --------------------------------------------------------------------------------


class Databases:
    """The open databases of the process, one for each storage URI."""

    def __init__(self, threads):
        self._threads = threads
        self._lock = threading.Lock()
        self._open = {}

    def get(self, uri):
        """The database of a storage; opened when first asked for, and again after a failure."""
        database = self._open.get(uri)
        if database is None:
            with self._lock:
                database = self._open.get(uri)
                if database is None:
                    database = self._open[uri] = self._make(uri)
        return database

    def _make(self, uri):
        """Several daemons may make the root object of a new database at once; one of them wins."""
        try:
            return self._make_once(uri)
        except ConflictError:
            return self._make_once(uri)

    def _make_once(self, uri):
        opened = storage.open(uri)
        try:
            return ZODB.DB(opened, pool_size=self._threads)
        except BaseException:
            opened.close()
            raise

    def close(self):
        while self._open:
            self._open.popitem()[1].close()


# ---- Inputs -----------------------------------------------------------------------------------


class FileUpload:
    """A file that came with a form: bytes by read(), seek() and tell(), a name, and headers."""

    def __init__(self, part):
        self.headers = {name.lower(): value for name, value in part.headerlist}
        # Some browsers send the path on the client's own machine.
        self.filename = part.filename.replace("\\", "/").rpartition("/")[2]
        self.contentType = part.content_type
        self.size = part.size
        self._file = part.file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __iter__(self):
        return iter(self._file)

    def __bool__(self):
        return bool(self.filename)


def parse_inputs(request):
    """Fill `request.form` from the body, if it is a form, and from the query string."""
    environ = request.environment
    for name, value in _body_fields(request, environ):
        _add_field(request.form, name, value)
    for name, value in _parse_query(environ.get("QUERY_STRING", "")):
        _add_field(request.form, name, value)


def _add_field(form, name, value):
    if name not in form:
        form[name] = value
    elif isinstance(form[name], list):
        form[name].append(value)
    else:
        form[name] = [form[name], value]


def _parse_query(query):
    try:
        return parse_qsl(
            query, keep_blank_values=True, errors="replace", max_num_fields=FORM_FIELD_LIMIT
        )
    except ValueError:
        raise TooLarge(f"more than {FORM_FIELD_LIMIT} fields in the query string") from None


def _body_fields(request, environ):
    kind, options = multipart.parse_options_header(environ.get("CONTENT_TYPE") or "")
    if request.method != "POST" or kind.lower() not in FORM_TYPES:
        return []
    try:
        if kind.lower() == "multipart/form-data":
            return list(_multipart_fields(request, environ, options))
        return _urlencoded_fields(environ)
    except multipart.ParserLimitReached as error:
        raise TooLarge(str(error)) from error
    except (multipart.MultipartError, UnicodeError, LookupError) as error:
        raise BadRequest(f"malformed form: {error}") from error


def _urlencoded_fields(environ):
    body = environ["wsgi.input"].read(FORM_MEMORY_LIMIT + 1)
    if len(body) > FORM_MEMORY_LIMIT:
        raise TooLarge(f"form of more than {FORM_MEMORY_LIMIT} bytes")
    return _parse_query(body.decode("latin-1"))


def _multipart_fields(request, environ, options):
    if not options.get("boundary"):
        raise BadRequest("malformed form: multipart/form-data without a boundary")
    parser = multipart.MultipartParser(
        environ["wsgi.input"],
        options["boundary"],
        charset="utf-8",
        part_limit=FORM_FIELD_LIMIT,
        spool_limit=FORM_SPOOL_LIMIT,
        memory_limit=FORM_MEMORY_LIMIT,
        disk_limit=FORM_DISK_LIMIT,
        partsize_limit=FORM_DISK_LIMIT,
    )
    for part in parser:
        request.hold(part)
        yield part.name, part.value if part.filename is None else FileUpload(part)


# ---- Errors -----------------------------------------------------------------------------------

_STATUS_OF_INTERFACE = (
    (INotFound, 404),
    (IUnauthorized, 401),
    (IForbidden, 403),
    (IRedirect, 303),
    (IMethodNotAllowed, 405),
    (IBadRequest, 400),
)


def status_of(error):
    """The HTTP status that an exception stands for: 500 unless it is known."""
    if isinstance(error, TooLarge):
        return 413
    for interface, status in _STATUS_OF_INTERFACE:
        if interface.providedBy(error):
            return status
    return 500


def prepare_error(request, error):
    """Forget the response that failed, and give it the exception's status and headers."""
    status = status_of(error)
    response = request.response
    response.reset()
    response.setStatus(status)
    if status == 303:
        response.redirect(error.getLocation(), status=303, trusted=error.getTrusted())
    elif status == 401:
        response.setHeader("WWW-Authenticate", 'Basic realm="site"')
    elif status == 405:
        response.setHeader("Allow", "GET, HEAD, POST")
    return status


def error_view(request, error):
    """The view that the site registered for the exception, or None."""
    name = queryDefaultViewName(error, request)
    names = [name] if name else []
    for candidate in names + ["index.html"]:
        view = zope.component.queryMultiAdapter((error, request), name=candidate)
        if view is not None:
            return view
    return None


def side_effects(request, error):
    """The site's IExceptionSideEffects for the exception, ready to call, or None."""
    effects = IExceptionSideEffects(error, None)
    if effects is None:
        return None
    return lambda: effects(None, request, (type(error), error, error.__traceback__))


ERROR_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{status} {phrase}</title>
<style>body {{ font: 1rem/1.5 sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }}
code {{ background: #eee; padding: .1em .3em }}</style></head>
<body><h1>{phrase}</h1><p>{text}</p></body>
</html>
"""


def plain_page(request, status, error, label):
    """Answer without a view: what went wrong, and the id under which the log tells more."""
    phrase = HTTPStatus(status).phrase
    if status >= 500:
        text = f"The page could not be made. The log knows this request as <code>{label}</code>."
    elif status == 404:
        text = "There is no such page here."
    elif status == 303:
        text = "The page is elsewhere."
    else:
        text = html.escape(str(error)) or f"{phrase}."
    request.response.setHeader("Content-Type", "text/html; charset=utf-8")
    request.response.setResult(ERROR_PAGE.format(status=status, phrase=phrase, text=text))
