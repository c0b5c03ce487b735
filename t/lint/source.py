# SPDX-License-Identifier: Apache-2.0
"""Our C sources as the checks see them: text, text without comments and strings, complaints."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".", "server", "stages", "storage", "python", "t/unit", "t/fuzz")

_SKIPPED = re.compile(
    r"""
      /\*.*?\*/            # block comment
    | //[^\n]*             # line comment
    | "(?:\\.|[^"\\\n])*"  # string
    | '(?:\\.|[^'\\\n])*'  # character
    """,
    re.VERBOSE | re.DOTALL,
)


def c_files(root=ROOT, folders=FOLDERS):
    """Every .c and .h of ours, as paths relative to `root`, sorted."""
    found = (path for folder in folders for path in (root / folder).glob("*.[ch]"))
    return sorted(path.relative_to(root).as_posix() for path in found)


def blanked(text):
    """`text` with comments and strings replaced by spaces; offsets and lines stay as they are."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    return _SKIPPED.sub(blank, text)


def line_at(text, offset):
    return text.count("\n", 0, offset) + 1


def report(check):
    """Run `check(path, text)` over every file, print its complaints; the exit code says if any."""
    complaints = []
    for path in c_files():
        complaints += check(path, (ROOT / path).read_text())
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0
