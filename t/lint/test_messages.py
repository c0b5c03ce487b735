# SPDX-License-Identifier: Apache-2.0
"""Every message id of the sources has its section in docs/messages.md, and the reverse."""

import re

from t.lint.source import ROOT, c_files

TEXT = (ROOT / "docs" / "messages.md").read_text()
SECTIONS = dict(re.findall(r"^## (PIPE\d{4})\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
PARTS = ["Cause", "Outcome", "What to do"]


def ids_of_sources():
    """The ids that C and Python sources log, but for those of the tests."""
    ids = set()
    for path in c_files():
        if not path.startswith("t/"):
            text = (ROOT / path).read_text()
            ids |= {f"PIPE{number}" for number in re.findall(r"PIPELOGNO\((\d{4})\)", text)}
    for path in (ROOT / "python" / "mod_pipeline").rglob("*.py"):
        ids |= set(re.findall(r"\bPIPE\d{4}\b", path.read_text()))
    return ids


def test_every_id_is_explained_and_every_explained_id_exists():
    ids = ids_of_sources()
    assert {"missing": sorted(ids - set(SECTIONS)), "stale": sorted(set(SECTIONS) - ids)} == {
        "missing": [],
        "stale": [],
    }


def test_ids_are_in_order_and_each_has_one_section():
    headings = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    assert headings == sorted(set(headings))
    assert headings == list(SECTIONS)


def test_every_section_says_cause_outcome_and_what_to_do():
    wrong = {
        number: parts
        for number, text in SECTIONS.items()
        if (parts := re.findall(r"^\*\*(.+?)\.\*\*", text, re.MULTILINE)) != PARTS
    }
    assert wrong == {}
