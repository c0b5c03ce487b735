# SPDX-License-Identifier: Apache-2.0
"""The pages of the wiki: one class a page, registered by configure.zcml.

A view is called with the GIL inside a transaction, which the pipeline commits afterwards; if it
conflicts with another, the whole request is run again, and then sees what the other has stored.
"""

from urllib.parse import quote, unquote, urlsplit

from zope.publisher.browser import BrowserPage
from zope.publisher.interfaces import BadRequest, NotFound
from zope.security.interfaces import Forbidden
from zope.traversing.browser import absoluteURL

from wiki import merge, models
from wiki.markup import render
from wiki.templating import TEMPLATES

AUTHOR_COOKIE = "wiki_author"
AUTHOR_SECONDS = 365 * 24 * 3600
RESULTS_SHOWN = 50
# The page that is shown above a folder's contents.
FRONT_PAGE = "home"

# Nothing from elsewhere, no scripts at all, and forms that go nowhere else.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

NOTICES = {
    "saved": "Saved.",
    "unchanged": "Nothing was changed.",
    "merged": "Saved. Somebody else had changed this page meanwhile: both changes are in it.",
    "created": "Created.",
    "deleted": "Deleted.",
}


def refuse_other_sites(request):
    """Forbid a POST that a page of another site has made the browser send.

    Browsers say in Origin, or at least in Referer, where a form was. A request with neither comes
    from no browser, so it carries nobody's cookies.
    """
    source = request.getHeader("Origin") or request.getHeader("Referer")
    if source is None:
        return
    site = urlsplit(request.getApplicationURL())
    origin = urlsplit(source)
    if (origin.scheme, origin.netloc) != (site.scheme, site.netloc):
        raise Forbidden("the form was on another site")


def _number(text):
    """A revision's number, which fits in the key of an IOBTree, or None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


class View(BrowserPage):
    """What every page has: a template, the site's frame, and form fields as text."""

    template = ""
    title = ""
    status = 200
    error = None
    words = ""

    def __call__(self):
        if self.request.method == "POST":
            refuse_other_sites(self.request)
            answer = self.post()
            if answer is not None:
                return answer
        return self.render()

    def post(self):
        """Act on a form; None to show the page after all."""
        raise BadRequest("there is no form here")

    def render(self):
        response = self.request.response
        response.setStatus(self.status)
        response.setHeader("Content-Type", "text/html; charset=utf-8")
        response.setHeader("Content-Security-Policy", POLICY)
        response.setHeader("X-Content-Type-Options", "nosniff")
        response.setHeader("Referrer-Policy", "same-origin")
        response.setHeader("Cache-Control", "no-cache")
        return TEMPLATES.get_template(self.template).render(view=self, context=self.context)

    def refuse(self, message, status=400):
        """Show the form again, with what was wrong with it."""
        self.error = str(message)
        self.status = status

    def redirect(self, item, notice=None, query=""):
        self.request.response.redirect(self.url(item) + (f"?notice={notice}" if notice else query))
        return ""

    # ---- Form fields ------------------------------------------------------------------------

    def field(self, name, default=""):
        """A field of the form as text; whatever else a client may have sent is the default."""
        value = self.request.form.get(name)
        return value if isinstance(value, str) else default

    @property
    def author(self):
        remembered = unquote(self.request.cookies.get(AUTHOR_COOKIE, ""))
        return self.field("author", remembered[: models.AUTHOR_LIMIT])

    def read_author(self):
        """The author's name from the form, which the browser is asked to remember."""
        name = models.clean_line(self.field("author"), models.AUTHOR_LIMIT, "name")
        self.request.response.setCookie(
            AUTHOR_COOKIE,
            quote(name),
            path="/",
            max_age=AUTHOR_SECONDS,
            httponly=True,
            samesite="Lax",
        )
        return name

    # ---- For the templates --------------------------------------------------------------------

    @property
    def notice(self):
        return NOTICES.get(self.field("notice"))

    @property
    def request_id(self):
        return self.request.environment.get("mod_pipeline.request_id", "-")

    @property
    def site(self):
        return self.request.getVirtualHostRoot()

    @property
    def folder(self):
        """The folder that the page is in, or shows."""
        inside = self.context
        return inside if models.IFolder.providedBy(inside) else inside.__parent__

    def is_folder(self, item):
        return models.IFolder.providedBy(item)

    def url(self, item=None, view=None):
        item = self.context if item is None else item
        address = absoluteURL(item, self.request)
        if view:
            return f"{address}/@@{view}"
        return f"{address}/" if item is self.site else address

    def static(self, name):
        return f"/static/{name}"

    def breadcrumbs(self):
        return list(models.lineage(self.context))[::-1]

    def path(self, item):
        return models.path_of(item)

    def html(self, page):
        return render(page.text, lambda target: self.resolve(page.__parent__, target))

    def resolve(self, folder, target):
        """Where [[target]] leads from a folder; if nothing is there, the form that makes it."""
        start = self.site if target.startswith("/") else folder
        names = [models.name_of(part) for part in target.split("/")]
        found = models.find(start, "/".join(names))
        if found is not None:
            return self.url(found), True
        parent = models.find(start, "/".join(names[:-1]))
        parent = parent if models.IFolder.providedBy(parent) else folder
        title = quote(target.rpartition("/")[2])
        return f"{self.url(parent, 'new-page')}?title={title}", False


# ---- Folders ---------------------------------------------------------------------------


class FolderView(View):
    template = "folder.html"

    @property
    def title(self):
        return self.context.title

    def front(self):
        front = self.context.get(FRONT_PAGE)
        return front if models.IPage.providedBy(front) else None

    def folders(self):
        return self._sorted(models.IFolder)

    def pages(self):
        return [page for page in self._sorted(models.IPage) if page.__name__ != FRONT_PAGE]

    def _sorted(self, interface):
        items = [item for item in self.context.values() if interface.providedBy(item)]
        return sorted(items, key=lambda item: (item.title.casefold(), item.__name__))


class NewFolder(View):
    template = "new_folder.html"
    title = "New folder"

    def post(self):
        try:
            title = models.clean_title(self.field("title"))
            folder = self.context.add(models.name_of(title), models.Folder(title))
        except models.Refused as error:
            return self.refuse(error)
        return self.redirect(folder, "created")


class Search(View):
    template = "search.html"
    title = "Search"

    @property
    def words(self):
        return self.field("q").strip()[:200]

    def results(self):
        found = models.search(self.context, self.words)
        self.count = len(found)
        return [(page, self.excerpt(page)) for page, _ in found[:RESULTS_SHOWN]]

    def excerpt(self, page):
        """The line that has the first of the words, as (text, whether it is a word found) pairs."""
        words = self.words.casefold().split()
        lines = [line for line in page.text.splitlines() if line.strip()] or [""]
        line = next((row for row in lines if any(w in row.casefold() for w in words)), lines[0])
        return _marked(line.strip("#>*- ")[:240], words)


def _marked(line, words):
    """Cut a line where the words are; a line whose length changes by folding is not cut."""
    folded = line.casefold()
    if len(folded) != len(line):
        return [(line, False)]
    marks = [False] * len(line)
    for word in words:
        at = folded.find(word)
        while at >= 0:
            marks[at : at + len(word)] = [True] * len(word)
            at = folded.find(word, at + len(word))
    pieces, start = [], 0
    for at in range(1, len(line) + 1):
        if at == len(line) or marks[at] != marks[start]:
            pieces.append((line[start:at], marks[start]))
            start = at
    return pieces


# ---- Pages -----------------------------------------------------------------------------


class PageView(View):
    template = "page.html"

    @property
    def title(self):
        return self.context.title


class PageForm(View):
    """The form of a page, be it new or not."""

    template = "edit.html"

    @property
    def values(self):
        """What stands in the form."""
        return {"title": self.field("title"), "text": self.field("text"), "author": self.author}

    def read(self):
        """(title, text, author) as sent. Raises Refused."""
        return (
            models.clean_title(self.field("title")),
            models.clean_text(self.field("text")),
            self.read_author(),
        )


class NewPage(PageForm):
    title = "New page"
    revision = 0

    def post(self):
        try:
            title, text, author = self.read()
            page = self.context.add(models.name_of(title), models.Page(title, text, author))
        except models.Refused as error:
            return self.refuse(error)
        return self.redirect(page, "created")


class EditPage(PageForm):
    """Changes a page; an older revision than the page's is merged with it, or shown beside it."""

    @property
    def title(self):
        return f"Edit “{self.context.title}”"

    @property
    def revision(self):
        return self.context.revision

    @property
    def values(self):
        if self.request.method == "POST":
            return super().values
        return {"title": self.context.title, "text": self.context.text, "author": self.author}

    def post(self):
        page = self.context
        try:
            title, text, author = self.read()
        except models.Refused as error:
            return self.refuse(error)
        if merge.has_marks(text):
            return self.refuse("The marks around a conflict are still in the text.")
        revision = self._based_on()
        if revision != page.revision:
            return self._merge(revision, title, text, author)
        changed = page.change(title, text, author)
        return self.redirect(page, "saved" if changed else "unchanged")

    def _based_on(self):
        number = _number(self.field("revision"))
        if number is None or number > self.context.revision:
            raise BadRequest("the form has no revision of this page")
        return number

    def _merge(self, revision, title, text, author):
        page = self.context
        base = page.at(revision)
        base_title, base_text = (base.title, base.text) if base else ("", "")
        self.chunks = merge.merge(base_text, text, page.text)
        self.merged_title, self.title_differs = merge.merge_word(base_title, title, page.title)
        self.conflicts = merge.conflicts(self.chunks)
        if not self.conflicts and not self.title_differs:
            changed = page.change(self.merged_title, merge.text_of(self.chunks), author)
            return self.redirect(page, "merged" if changed else "unchanged")
        self.template = "merge.html"
        self.status = 409
        self.merged = merge.text_of(self.chunks)
        return None


class History(View):
    """The revisions of a page, and what one of them has changed."""

    template = "history.html"

    @property
    def title(self):
        return f"History of “{self.context.title}”"

    def chosen(self):
        """(number, revision, the one before it or None) of the revision asked for, or None."""
        if not self.field("revision"):
            return None
        number = _number(self.field("revision"))
        revision = None if number is None else self.context.at(number)
        if revision is None:
            raise NotFound(self.context, "revision", self.request)
        return number, revision, self.context.at(number - 1)

    def differences(self, before, revision):
        return merge.differences(before.text if before else "", revision.text)


class Delete(View):
    """Asks, and deletes a page or an empty folder."""

    template = "delete.html"

    @property
    def title(self):
        return f"Delete “{self.context.title}”"

    def post(self):
        parent = self.context.__parent__
        if self.context is self.site:
            return self.refuse("The wiki itself cannot be deleted.")
        try:
            parent.remove(self.context.__name__)
        except models.Refused as error:
            return self.refuse(error)
        return self.redirect(parent, "deleted")


class Broken(View):
    """Fails, so that one can see the page for errors and find its id in the log."""

    def __call__(self):
        raise RuntimeError("this page fails on purpose, to show the page for errors")


# ---- Errors ----------------------------------------------------------------------------


class ErrorView(View):
    """The page for an exception, which is the context. The status stands in the response."""

    template = "error.html"

    def __call__(self):
        self.status = self.request.response.getStatus()
        return self.render()

    @property
    def title(self):
        return self.headings.get(self.status, "That did not work")

    headings = {
        400: "The form was not complete",
        403: "That is not allowed",
        404: "There is no such page",
        405: "That cannot be done here",
        413: "That is too much at once",
        500: "Something went wrong",
        503: "Too busy at the moment",
    }

    @property
    def folder(self):
        return self.site

    def breadcrumbs(self):
        return [self.site]

    @property
    def message(self):
        """What to tell a client about its own mistake; nothing about ours."""
        return str(self.context) if self.status in (400, 403, 413) else ""


class NotFoundView(ErrorView):
    """Offers to make what is missing, if it could be a page."""

    def missing(self):
        """(folder, name) of a page that could be made here, or None."""
        where, name = self.context.ob, self.context.name
        good = isinstance(name, str) and name == models.name_of(name)
        return (where, name) if good and models.IFolder.providedBy(where) else None
