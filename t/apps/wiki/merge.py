# SPDX-License-Identifier: Apache-2.0
"""Reconciles two edits of one text, line by line, and shows where texts differ. No state."""

from dataclasses import dataclass
from difflib import SequenceMatcher

MINE_MARK = "<<<<<<< yours"
MIDDLE_MARK = "======="
THEIRS_MARK = ">>>>>>> saved meanwhile"


@dataclass(frozen=True)
class Chunk:
    """Some lines of a merge. Its kind: same, mine, theirs (changed by one), both, conflict."""

    kind: str
    mine: list
    theirs: list

    @property
    def lines(self):
        """What the merged text has here; a conflict has both, between marks."""
        if self.kind == "conflict":
            return [MINE_MARK, *self.mine, MIDDLE_MARK, *self.theirs, THEIRS_MARK]
        return self.theirs if self.kind == "theirs" else self.mine


def merge(base, mine, theirs):
    """The chunks of a merge of two texts that were both made from `base`."""
    base, mine, theirs = (text.splitlines() for text in (base, mine, theirs))
    chunks = []
    base_at = mine_at = theirs_at = 0
    for base_start, mine_start, theirs_start, size in _unchanged(base, mine, theirs):
        chunk = _changed(
            base[base_at:base_start], mine[mine_at:mine_start], theirs[theirs_at:theirs_start]
        )
        if chunk is not None:
            chunks.append(chunk)
        base_at, mine_at, theirs_at = base_start + size, mine_start + size, theirs_start + size
        if size:
            same = base[base_start:base_at]
            chunks.append(Chunk("same", same, same))
    return chunks


def _unchanged(base, mine, theirs):
    """(base, mine, theirs, size) of each run of lines that nobody changed, and of an empty last."""
    mine_blocks = SequenceMatcher(None, base, mine, autojunk=False).get_matching_blocks()
    theirs_blocks = SequenceMatcher(None, base, theirs, autojunk=False).get_matching_blocks()
    i = j = 0
    while i < len(mine_blocks) and j < len(theirs_blocks):
        in_mine, in_theirs = mine_blocks[i], theirs_blocks[j]
        start = max(in_mine.a, in_theirs.a)
        end = min(in_mine.a + in_mine.size, in_theirs.a + in_theirs.size)
        if start < end:
            yield (
                start,
                in_mine.b + start - in_mine.a,
                in_theirs.b + start - in_theirs.a,
                end - start,
            )
        if in_mine.a + in_mine.size < in_theirs.a + in_theirs.size:
            i += 1
        else:
            j += 1
    yield len(base), len(mine), len(theirs), 0


def _changed(base, mine, theirs):
    if mine == theirs:
        return Chunk("both", mine, theirs) if mine or base else None
    if mine == base:
        return Chunk("theirs", mine, theirs)
    if theirs == base:
        return Chunk("mine", mine, theirs)
    return Chunk("conflict", mine, theirs)


def merge_word(base, mine, theirs):
    """A short text, as a title, as a whole: (merged, whether both changed it)."""
    if mine in (base, theirs):
        return theirs, False
    return mine, theirs != base


def text_of(chunks):
    """The merged text, with marks where there are conflicts."""
    lines = [line for chunk in chunks for line in chunk.lines]
    return "\n".join(lines) + "\n" if lines else ""


def conflicts(chunks):
    """How many places somebody has to decide about."""
    return sum(chunk.kind == "conflict" for chunk in chunks)


def has_marks(text):
    """Whether a text still has what `text_of` puts around a conflict."""
    marks = {MINE_MARK, THEIRS_MARK}
    return any(line.rstrip() in marks for line in text.splitlines())


def differences(old, new, around=3):
    """(kind, line) pairs: same, added, removed, or gap, where unchanged lines are left out."""
    old, new = old.splitlines(), new.splitlines()
    groups = SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(around)
    lines = []
    for number, group in enumerate(groups):
        if number or group[0][1] > 0:
            lines.append(("gap", ""))
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                lines += [("same", line) for line in old[i1:i2]]
            else:
                lines += [("removed", line) for line in old[i1:i2]]
                lines += [("added", line) for line in new[j1:j2]]
    return lines
