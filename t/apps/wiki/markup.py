# SPDX-License-Identifier: Apache-2.0
"""Turns a page's text into HTML: CommonMark, tables, and [[links]] between pages. No raw HTML.

markdown-it escapes whatever is not markup, and refuses addresses such as `javascript:`. Pictures
are off: a page loads nothing from elsewhere.
"""

from markdown_it import MarkdownIt
from markdown_it.token import Token

LINK_OPEN, LINK_CLOSE = "[[", "]]"


def render(text, resolve):
    """HTML of a text. `resolve(target)` says where [[target]] is: (address, does it exist)."""
    return MARKDOWN.render(text, {"resolve": resolve})


def _wiki_link(state, silent):
    """An inline rule: [[Target]] and [[Target|words shown]]."""
    if not state.src.startswith(LINK_OPEN, state.pos):
        return False
    end = state.src.find(LINK_CLOSE, state.pos, state.posMax)
    target, _, words = state.src[state.pos + len(LINK_OPEN) : end].partition("|")
    if end < 0 or not target.strip() or "[" in target or "\n" in target:
        return False
    if not silent:
        href, exists = state.env["resolve"](target.strip())
        opened = state.push("link_open", "a", 1)
        opened.attrs = {"href": href, "class": "wiki" if exists else "wiki missing"}
        if not exists:
            opened.attrs["title"] = "This page does not exist yet"
        state.push("text", "", 0).content = words.strip() or target.strip()
        state.push("link_close", "a", -1)
    state.pos = end + len(LINK_CLOSE)
    return True


def _finish(state):
    """A core rule: the page's title is the only h1; links to elsewhere pass on no reputation."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"
        for child in token.children or []:
            if child.type == "link_open" and "://" in (child.attrGet("href") or ""):
                child.attrSet("rel", "nofollow ugc noreferrer")
    state.tokens = list(_scrollable(state.tokens))


def _scrollable(tokens):
    """A wide table scrolls by itself, instead of the page."""
    for token in tokens:
        if token.type == "table_open":
            wrapper = Token("wrapper_open", "div", 1, block=True)
            wrapper.attrs = {
                "class": "table",
                "tabindex": "0",
                "role": "region",
                "aria-label": "Table",
            }
            yield wrapper
        yield token
        if token.type == "table_close":
            yield Token("wrapper_close", "div", -1, block=True)


def _markdown():
    markdown = MarkdownIt("commonmark", {"html": False, "typographer": True, "quotes": "“”‘’"})
    markdown.enable(["table", "strikethrough", "replacements", "smartquotes"])
    markdown.disable(["image", "html_block", "html_inline"])
    markdown.inline.ruler.before("link", "wiki_link", _wiki_link)
    markdown.core.ruler.push("finish", _finish)
    return markdown


MARKDOWN = _markdown()
