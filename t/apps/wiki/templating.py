# SPDX-License-Identifier: Apache-2.0
"""The templates, with everything escaped that is not marked as HTML. Read-only once loaded."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def _when(moment):
    """A time for people: `24 November 2026, 18:05 UTC`."""
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _count(number, one, many=None):
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _templates():
    templates = Environment(
        loader=PackageLoader("wiki", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters["when"] = _when
    templates.filters["count"] = _count
    return templates


TEMPLATES = _templates()
