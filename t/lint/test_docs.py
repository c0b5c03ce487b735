# SPDX-License-Identifier: Apache-2.0
"""The documents lead nowhere wrong: links, files, functions and pictures that they name exist."""

import re
from xml.etree import ElementTree

import pytest

from t.lint.source import ROOT, c_files

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^(```.*?^```|    .*?)$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`[^`]*`")
FOLDERS = "server|stages|storage|python|conf.d|docs|t|requirements"
FILE = re.compile(rf"`((?:{FOLDERS})/[\w./*-]+)`")
FUNCTION = re.compile(r"`([a-z]\w*_\w+)\(\)`")


def anchors(text):
    """As GitHub names headings: small letters, spaces as hyphens, other signs dropped."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_broken(page, link):
    if re.match(r"https?:|mailto:", link):
        return False
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return True
    return bool(anchor) and anchor not in anchors(target.read_text())


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    text = re.sub(r"\s*\n\s*", " ", INLINE.sub("", FENCED.sub("", page.read_text())))
    assert [link for link in LINK.findall(text) if is_broken(page, link)] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_that_are_named_exist(page):
    named = FILE.findall(FENCED.sub("", page.read_text()))
    named = [name for name in named if "NAME" not in name]  # that is for the reader to fill in
    assert [name for name in named if not any(ROOT.glob(name.rstrip("/")))] == []


def test_functions_that_are_named_exist():
    sources = "\n".join((ROOT / path).read_text() for path in c_files())
    sources += "\n".join(path.read_text() for path in (ROOT / "python").rglob("*.py"))
    known = set(re.findall(r"\w+", sources))
    for page in PAGES:
        named = set(FUNCTION.findall(page.read_text()))
        foreign = {name for name in named if name.startswith(("ap_", "apr_", "sqlite3_"))}
        assert sorted(named - foreign - known) == [], page.name


def test_pictures_are_well_formed():
    pictures = sorted((ROOT / "docs").glob("*.svg"))
    assert pictures
    for picture in pictures:
        root = ElementTree.parse(picture).getroot()
        assert root.find("{http://www.w3.org/2000/svg}title") is not None, picture.name
