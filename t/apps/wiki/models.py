# SPDX-License-Identifier: Apache-2.0
"""What the wiki stores: folders, which hold folders and pages, and pages with their revisions.

Ordinary persistent objects; ZODB gives each thread its own copies. They know neither requests nor
HTML: the views (`views`) and the JSON interface (`api`) are two faces of them.
"""

import unicodedata
from datetime import UTC, datetime

from BTrees.IOBTree import IOBTree
from BTrees.OOBTree import OOBTree
from persistent import Persistent
from zope.interface import Attribute, Interface, implementer
from zope.location.interfaces import ILocation

# As many old revisions are kept as somebody might still have in an open edit form.
REVISIONS_KEPT = 50
# In characters: a long book chapter; beyond this a form is a mistake or an attack.
TEXT_LIMIT = 200_000
TITLE_LIMIT = 120
AUTHOR_LIMIT = 60
# One component of a URL.
NAME_LIMIT = 80
# Depth of folders: URLs stay readable, and recursion bounded.
DEPTH_LIMIT = 8

# What else is mounted beside the wiki's root, and would hide a page of that name.
RESERVED_NAMES = frozenset({"api", "static", "status", "live", "ready", "metrics"})


class Refused(ValueError):
    """What somebody wants to store cannot be stored; the message is for people."""


class IFolder(Interface):
    """Holds folders and pages by name."""

    title = Attribute("What people call it.")


class IPage(Interface):
    """A text with a title, and the revisions before it."""

    title = Attribute("What people call it.")
    text = Attribute("Markdown, lines ending in a newline.")
    revision = Attribute("Counts the changes, from 1.")
    author = Attribute("Who wrote this revision; empty if nobody said.")
    modified = Attribute("When, in UTC.")


def name_of(title):
    """The name in URLs that stands for a title: `Ferns & Mosses` becomes `ferns-mosses`."""
    letters = unicodedata.normalize("NFKC", title).lower()
    words = "".join(letter if letter.isalnum() else " " for letter in letters).split()
    return "-".join(words)[:NAME_LIMIT].strip("-")


def clean_text(text):
    """A text as it is stored: newlines alone between lines, one at the end, nothing invisible."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(letter for letter in text if letter in "\n\t" or letter.isprintable())
    lines = [line.rstrip() for line in text.split("\n")]
    text = "\n".join(lines).strip("\n")
    if len(text) > TEXT_LIMIT:
        raise Refused(f"The text is longer than {TEXT_LIMIT:,} characters.")
    return text + "\n" if text else ""


def clean_line(text, limit, what):
    """A title or a name of a person: one line."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(text) > limit:
        raise Refused(f"The {what} is longer than {limit} characters.")
    return text


def clean_title(title):
    title = clean_line(title, TITLE_LIMIT, "title")
    if not title:
        raise Refused("It needs a title.")
    return title


@implementer(IFolder, ILocation)
class Folder(Persistent):
    """A folder. Two people who add different things at once do not conflict: it is a BTree."""

    __parent__ = None
    __name__ = None

    def __init__(self, title):
        self.title = title
        self._items = OOBTree()

    def __getitem__(self, name):
        return self._items[name]

    def get(self, name, default=None):
        return self._items.get(name, default)

    def __contains__(self, name):
        return name in self._items

    def __iter__(self):
        return iter(self._items)

    def __len__(self):
        return len(self._items)

    def __bool__(self):
        return True

    def keys(self):
        return self._items.keys()

    def values(self):
        return self._items.values()

    def items(self):
        return self._items.items()

    def add(self, name, item):
        """Put an item under a name that is free, and good for URLs."""
        if not name or name != name_of(name):
            raise Refused("Its name needs letters or digits.")
        if name in self._items:
            raise Refused(f"There is already something called “{name}” here.")
        if name in RESERVED_NAMES and not IFolder.providedBy(self.__parent__):
            raise Refused(f"“{name}” is taken by the site itself.")
        if IFolder.providedBy(item) and len(list(lineage(self))) >= DEPTH_LIMIT:
            raise Refused(f"Folders go {DEPTH_LIMIT} deep.")
        item.__parent__ = self
        item.__name__ = name
        self._items[name] = item
        return item

    def remove(self, name):
        """Take an item out; a folder only when it is empty."""
        item = self._items[name]
        if IFolder.providedBy(item) and len(item):
            raise Refused("Only an empty folder can be deleted.")
        del self._items[name]


class Revision(Persistent):
    """What a page once said. Its own record, so that reading a page does not load its past."""

    def __init__(self, title, text, author, modified):
        self.title = title
        self.text = text
        self.author = author
        self.modified = modified


@implementer(IPage, ILocation)
class Page(Persistent):
    """A page. `revision` is in every edit form: what was based on an older one is merged."""

    __parent__ = None
    __name__ = None

    def __init__(self, title, text="", author=""):
        self._revisions = IOBTree()
        self.revision = 0
        self._set(title, text, author)

    def _set(self, title, text, author):
        self.revision += 1
        self.title = title
        self.text = text
        self.author = author
        self.modified = datetime.now(UTC).replace(microsecond=0)
        self._revisions[self.revision] = Revision(title, text, author, self.modified)

    def change(self, title, text, author=""):
        """Make a new revision; False, and none, if nothing is different."""
        if (title, text) == (self.title, self.text):
            return False
        self._set(title, text, author)
        while len(self._revisions) > REVISIONS_KEPT:
            del self._revisions[self._revisions.minKey()]
        return True

    def at(self, revision):
        """A revision that is still kept, or None."""
        return self._revisions.get(revision) if 0 < revision <= self.revision else None

    def history(self):
        """(number, revision) pairs, the newest first."""
        return sorted(self._revisions.items(), reverse=True)


def lineage(item):
    """The item and the folders around it, up to the wiki's root."""
    while item is not None and (IFolder.providedBy(item) or IPage.providedBy(item)):
        yield item
        item = item.__parent__


def path_of(item):
    """Names from the wiki's root to the item, with slashes between them."""
    return "/".join([part.__name__ for part in lineage(item)][-2::-1])


def find(folder, path):
    """What is at a path below a folder, or None."""
    item = folder
    for name in [part for part in path.split("/") if part]:
        if not IFolder.providedBy(item) or name not in item:
            return None
        item = item[name]
    return item


def pages(folder):
    """Every page in a folder and below, in the order of their paths."""
    for item in folder.values():
        if IFolder.providedBy(item):
            yield from pages(item)
        else:
            yield item


def search(folder, words):
    """(page, score) of the pages with all the words, the best first.

    It reads every page, which is right for hundreds of them; a larger wiki wants an index.
    """
    words = [word for word in words.casefold().split() if word]
    found = []
    for page in pages(folder) if words else ():
        title, text = page.title.casefold(), page.text.casefold()
        if all(word in title or word in text for word in words):
            score = sum(10 * title.count(word) + text.count(word) for word in words)
            found.append((page, score))
    return sorted(found, key=lambda pair: (-pair[1], path_of(pair[0])))
