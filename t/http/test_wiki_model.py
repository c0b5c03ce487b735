# SPDX-License-Identifier: Apache-2.0
"""The example wiki without a server: its objects, its merge, its markup."""

import random
import sys

import pytest

from t.support import environment

sys.path.insert(0, str(environment.ROOT / "t" / "apps"))

from wiki import merge, models  # noqa: E402
from wiki.markup import render  # noqa: E402

BASE = "one\ntwo\nthree\nfour\nfive\n"


@pytest.fixture
def wiki():
    root = models.Folder("Wiki")
    garden = root.add("garden", models.Folder("Garden"))
    garden.add("ferns", models.Page("Ferns", "Ferns like shade.\n", "Ada"))
    root.add("home", models.Page("Home", "Shade is rare; see [[Garden/Ferns]].\n"))
    return root


def merged(base, mine, theirs):
    chunks = merge.merge(base, mine, theirs)
    return merge.text_of(chunks), merge.conflicts(chunks)


# ---- Merging ---------------------------------------------------------------------------


def test_changes_in_different_lines_are_both_kept():
    mine, theirs = BASE.replace("one", "ONE"), BASE.replace("five", "FIVE\nsix")
    assert merged(BASE, mine, theirs) == ("ONE\ntwo\nthree\nfour\nFIVE\nsix\n", 0)


def test_the_same_change_twice_is_no_conflict():
    changed = BASE.replace("two", "TWO")
    assert merged(BASE, changed, changed) == (changed, 0)


def test_different_changes_of_one_line_conflict_and_both_are_shown():
    text, conflicts = merged(BASE, BASE.replace("two", "mine"), BASE.replace("two", "theirs"))
    assert conflicts == 1
    assert text.splitlines()[1:6] == [
        merge.MINE_MARK,
        "mine",
        merge.MIDDLE_MARK,
        "theirs",
        merge.THEIRS_MARK,
    ]
    assert merge.has_marks(text)


def test_a_line_deleted_by_one_and_changed_by_the_other_conflicts():
    text, conflicts = merged(BASE, BASE.replace("two\n", ""), BASE.replace("two", "TWO"))
    assert conflicts == 1
    assert "TWO" in text


def test_a_text_without_a_common_base_conflicts_as_a_whole():
    assert merged("", "mine\n", "theirs\n")[1] == 1


def test_random_edits_lose_no_line_and_agree_whichever_side_is_mine():
    choose = random.Random(3)
    for _ in range(300):
        base = [f"line {number}" for number in range(choose.randrange(12))]
        sides = []
        for side in ("mine", "theirs"):
            lines = list(base)
            for edit in range(choose.randrange(4)):
                at = choose.randrange(len(lines) + 1)
                lines[at : at + choose.randrange(2)] = [f"{side} {edit}"]
            sides.append("\n".join(lines) + "\n" if lines else "")
        whole = "\n".join(base) + "\n" if base else ""
        text, conflicts = merged(whole, *sides)
        for line in sides[0].splitlines() + sides[1].splitlines():
            assert line in text.splitlines() or line in base
        assert merged(whole, *sides[::-1])[1] == conflicts
        if not conflicts:
            assert merged(whole, *sides[::-1])[0] == text
        assert merged(whole, whole, sides[1]) == (sides[1], 0)
        assert merged(whole, sides[0], whole) == (sides[0], 0)


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "expected"),
    [
        ("a", "a", "a", ("a", False)),
        ("a", "b", "a", ("b", False)),
        ("a", "a", "b", ("b", False)),
        ("a", "b", "b", ("b", False)),
        ("a", "b", "c", ("b", True)),
    ],
)
def test_a_title_is_merged_as_a_whole(base, mine, theirs, expected):
    assert merge.merge_word(base, mine, theirs) == expected


def test_differences_show_what_was_added_and_removed_and_leave_out_the_rest():
    old = "".join(f"{number}\n" for number in range(20))
    lines = merge.differences(old, old.replace("15\n", "fifteen\n"), around=1)
    assert lines == [
        ("gap", ""),
        ("same", "14"),
        ("removed", "15"),
        ("added", "fifteen"),
        ("same", "16"),
    ]


# ---- Objects ---------------------------------------------------------------------------


def test_a_change_makes_a_revision_and_keeps_the_one_before():
    page = models.Page("Title", "old\n", "Ada")
    assert page.change("Title", "new\n", "Bob")
    assert (page.revision, page.text, page.author) == (2, "new\n", "Bob")
    assert (page.at(1).text, page.at(1).author) == ("old\n", "Ada")
    assert [number for number, _ in page.history()] == [2, 1]


def test_a_change_of_nothing_makes_no_revision():
    page = models.Page("Title", "text\n")
    assert not page.change("Title", "text\n")
    assert page.revision == 1


def test_old_revisions_are_dropped_beyond_what_is_kept():
    page = models.Page("Title", "1\n")
    for number in range(2, models.REVISIONS_KEPT + 11):
        page.change("Title", f"{number}\n")
    assert len(page.history()) == models.REVISIONS_KEPT
    assert page.at(10) is None
    assert page.at(11).text == "11\n"


@pytest.mark.parametrize("number", [-1, 0, 2, 2**40])
def test_there_is_no_revision_of_a_number_that_was_never_given(number):
    assert models.Page("Title").at(number) is None


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("How this works", "how-this-works"),
        ("  Ferns & Mosses! ", "ferns-mosses"),
        ("Über uns", "über-uns"),
        ("A/B", "a-b"),
        ("../..", ""),
        ("@@edit", "edit"),
        ("++vh++x", "vh-x"),
    ],
)
def test_a_name_has_letters_and_digits_only(title, name):
    assert models.name_of(title) == name


@pytest.mark.parametrize("name", ["", "Home", "a/b", "..", "@@edit", "api", "home"])
def test_names_that_cannot_be_addresses_or_are_taken_are_refused(wiki, name):
    with pytest.raises(models.Refused):
        wiki.add(name, models.Page("Title"))


def test_folders_do_not_nest_without_end(wiki):
    for number in range(models.DEPTH_LIMIT - 1):
        wiki = wiki.add(f"f{number}", models.Folder("Deeper"))
    with pytest.raises(models.Refused, match="deep"):
        wiki.add("deeper", models.Folder("Deeper"))


def test_only_an_empty_folder_can_be_removed(wiki):
    with pytest.raises(models.Refused):
        wiki.remove("garden")
    wiki["garden"].remove("ferns")
    wiki.remove("garden")
    assert list(wiki) == ["home"]


def test_a_text_is_stored_with_plain_newlines_and_without_control_characters():
    assert models.clean_text("a\r\nb \rc\x00\x1b[1m\n\n\n") == "a\nb\nc[1m\n"
    assert models.clean_text("\n\n") == ""


def test_too_long_texts_and_titles_are_refused():
    with pytest.raises(models.Refused):
        models.clean_text("x" * (models.TEXT_LIMIT + 1))
    with pytest.raises(models.Refused):
        models.clean_title("x" * (models.TITLE_LIMIT + 1))
    with pytest.raises(models.Refused):
        models.clean_title(" \t ")


def test_paths_lead_to_their_objects_and_back(wiki):
    ferns = models.find(wiki, "garden/ferns")
    assert ferns.title == "Ferns"
    assert models.path_of(ferns) == "garden/ferns"
    assert models.find(wiki, "") is wiki
    assert models.find(wiki, "garden/ferns/deeper") is None


def test_a_search_wants_all_words_and_puts_the_title_first(wiki):
    assert [page.title for page, _ in models.search(wiki, "ferns")] == ["Ferns", "Home"]
    assert [page.title for page, _ in models.search(wiki, "SHADE rare")] == ["Home"]
    assert models.search(wiki, "  ") == []


# ---- Markup ----------------------------------------------------------------------------


def html(text):
    return render(text, lambda target: (f"/{target}", target == "Home"))


def test_wiki_links_say_whether_their_page_exists():
    assert '<a href="/Home" class="wiki">Home</a>' in html("[[Home]]")
    assert 'class="wiki missing"' in html("[[Other|words]]")
    assert ">words</a>" in html("[[Other|words]]")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![picture](http://elsewhere/picture.png)",
        "[link](javascript:alert(1))",
        "[link](vbscript:x)",
        "<javascript:alert(1)>",
        '[[x" onclick="alert(1)]]',
        "[[x|<script>]]",
    ],
)
def test_nothing_in_a_text_becomes_active_html(text):
    made = html(text)
    for tag in ("<script", "<img", 'href="javascript', 'href="vbscript', ' onclick="'):
        assert tag not in made


@pytest.mark.parametrize("text", ["[[", "[[]]", "[[ ]]", "[[a\nb]]", "[[a[b]]", "`[[Home]]`", "]]"])
def test_what_is_no_wiki_link_stays_as_it_was_written(text):
    assert "<a" not in html(text)


def test_headings_begin_below_the_title():
    assert "<h2>A</h2>" in html("# A")
    assert "<h6>B</h6>" in html("###### B")
