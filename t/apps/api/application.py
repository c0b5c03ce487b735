# SPDX-License-Identifier: Apache-2.0
"""Lists, reads and writes the wiki's pages as JSON.

    GET /                   what there is
    GET /pages              all pages, without their texts; ?q=words searches
    GET /pages/PATH         one page
    PUT /pages/PATH         {"title", "text", "author", "revision"}: changes it, or makes it

A change names the revision that it was made from; if the page has a newer one, and the changes
cannot be merged, the answer is 409 with the newer page and a merged text that shows both.

`create()` makes a WSGI application. It may be called in any thread; each request has a transaction
and a connection of its own, and is run again when it conflicts with another.
"""

import transaction
import ZODB
from flask import Flask, abort, jsonify, request, url_for
from werkzeug.exceptions import HTTPException
from wiki import merge, models
from wiki.site import ROOT

from mod_pipeline import storage

# A page's text in JSON: each character takes up to twelve bytes as an escape.
BODY_LIMIT = 12 * models.TEXT_LIMIT + 10_000
ATTEMPTS = 3


def create(uri):
    """The application, on the wiki in this storage."""
    flask = Flask("api", static_folder=None)
    flask.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
    flask.json.ensure_ascii = False
    flask.json.sort_keys = False
    database = ZODB.DB(storage.open(uri))
    flask.register_error_handler(HTTPException, _error)
    _add_routes(flask, database)
    return flask


def _add_routes(flask, database):
    @flask.get("/")
    def index():
        return {"pages": url_for("list_pages"), "one page": url_for("list_pages") + "/PATH"}

    @flask.get("/pages")
    def list_pages():
        return _transact(database, _list)

    @flask.get("/pages/<path:path>")
    def get_page(path):
        return _transact(database, lambda wiki: _get(wiki, path))

    @flask.put("/pages/<path:path>")
    def put_page(path):
        return _transact(database, lambda wiki: _put(wiki, path, _read_change()))


def _transact(database, work):
    """Run `work(wiki)` in a transaction, again if it conflicts; its answer."""
    manager = transaction.TransactionManager()
    connection = database.open(manager)
    try:
        return manager.run(lambda: work(connection.root()[ROOT]), tries=ATTEMPTS)
    finally:
        manager.abort()
        connection.close()


def _error(error):
    return jsonify(error=error.description), error.code


# ---- What pages look like --------------------------------------------------------------


def _summary(page):
    path = models.path_of(page)
    return {
        "path": path,
        "title": page.title,
        "revision": page.revision,
        "author": page.author,
        "modified": page.modified.isoformat(),
        "url": url_for("get_page", path=path),
    }


def _whole(page):
    return _summary(page) | {"text": page.text}


# ---- The work --------------------------------------------------------------------------


def _list(wiki):
    words = request.args.get("q")
    if words is not None:
        found = [page for page, _ in models.search(wiki, words)]
    else:
        found = sorted(models.pages(wiki), key=models.path_of)
    return {"pages": [_summary(page) for page in found]}


def _get(wiki, path):
    page = models.find(wiki, path)
    if not models.IPage.providedBy(page):
        abort(404, f"there is no page at {path}")
    return _whole(page)


def _read_change():
    """The body's members as clean text; what is missing is None."""
    body = request.get_json()
    if not isinstance(body, dict):
        abort(400, "the body must be an object")
    for name, kind in (("title", str), ("text", str), ("author", str), ("revision", int)):
        if name in body and (type(body[name]) is not kind):
            abort(400, f"{name} must be {'a number' if kind is int else 'a string'}")
    try:
        return {
            "title": models.clean_title(body["title"]) if "title" in body else None,
            "text": models.clean_text(body["text"]) if "text" in body else None,
            "author": models.clean_line(body.get("author", ""), models.AUTHOR_LIMIT, "name"),
            "revision": body.get("revision"),
        }
    except models.Refused as error:
        abort(400, str(error))


def _put(wiki, path, change):
    item = models.find(wiki, path)
    if models.IPage.providedBy(item):
        return _change(item, change)
    if item is not None:
        abort(409, f"there is a folder at {path}")
    return _make(wiki, path, change)


def _make(wiki, path, change):
    if change["revision"] is not None:
        abort(404, f"there is no page at {path}; leave the revision out to make one")
    where, _, name = path.strip("/").rpartition("/")
    folder = models.find(wiki, where)
    if not models.IFolder.providedBy(folder):
        abort(404, f"there is no folder at {where}")
    page = models.Page(change["title"] or name, change["text"] or "", change["author"])
    try:
        folder.add(name, page)
    except models.Refused as error:
        abort(400, str(error))
    return _whole(page), 201


def _change(page, change):
    if change["revision"] is None:
        abort(428, "say by revision which one the change was made from")
    base = page.at(change["revision"])
    if base is None:
        abort(409, f"revision {change['revision']} is not kept; the page's is {page.revision}")
    title = base.title if change["title"] is None else change["title"]
    text = base.text if change["text"] is None else change["text"]
    if merge.has_marks(text):
        abort(400, "the marks around a conflict are still in the text")
    chunks = merge.merge(base.text, text, page.text)
    title, title_differs = merge.merge_word(base.title, title, page.title)
    if title_differs or merge.conflicts(chunks):
        error = "the page was changed meanwhile, in the same place"
        return {"error": error, "page": _whole(page), "merged": merge.text_of(chunks)}, 409
    page.change(title, merge.text_of(chunks), change["author"])
    return _whole(page)
