# SPDX-License-Identifier: Apache-2.0
"""Sizes and habits: licence lines, files, functions, braces.

    python -m t.lint.sizes

A function past 100 lines and a file past 800 are split by noun.
"""

import re
import sys

from t.lint.source import blanked, line_at, report

COLUMNS = 100
FILE_LINES = 800
FUNCTION_LINES = 100
LICENCE = "SPDX-License-Identifier: Apache-2.0"

# clang-format puts a function's braces, and no others of a block, alone in the first column.
FUNCTION = re.compile(r"^\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"(\w+)\s*\(")
CONDITION = re.compile(r"\b(if|for|while|switch)\s*\(")
ELSE = re.compile(r"\belse\b(?!\s*(\{|if\b))")


def functions(text):
    """(name, first line, lines between the braces) of every function body in `text`."""
    code = blanked(text)
    for match in FUNCTION.finditer(code):
        head = re.split(r"[;}]\s*\n|\n\s*\n", code[: match.start()])[-1]
        name = NAME.search(head)
        if name:
            yield name.group(1), line_at(code, match.start()), match.group(1).count("\n")


def closing(code, opening):
    """The offset after the parenthesis that closes the one at `opening`."""
    depth = 0
    for offset in range(opening, len(code)):
        depth += {"(": 1, ")": -1}.get(code[offset], 0)
        if depth == 0:
            return offset + 1
    return len(code)


def unbraced(text):
    """The lines where a condition or a loop has no braces. `while (…);` ends a do or is empty."""
    code = re.sub(r"\\\n", " \n", blanked(text))
    code = re.sub(r"^\s*#[^\n]*", lambda match: " " * len(match.group()), code, flags=re.MULTILINE)
    for match in CONDITION.finditer(code):
        rest = code[closing(code, match.end() - 1) :].lstrip()
        if not rest.startswith(("{", ";")):
            yield line_at(code, match.start())
    for match in ELSE.finditer(code):
        yield line_at(code, match.start())


def check(path, text):
    """The complaints about one file, each `path:line: what`."""
    complaints = []
    if LICENCE not in "\n".join(text.split("\n", 3)[:3]):
        complaints.append(f"{path}:1: no '{LICENCE}' in the first lines")
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > COLUMNS:
            complaints.append(f"{path}:{number}: over {COLUMNS} columns")
    lines = text.count("\n")
    if lines > FILE_LINES:
        complaints.append(f"{path}:{lines}: {lines} lines; a file past {FILE_LINES} is split")
    for name, line, length in functions(text):
        if length > FUNCTION_LINES:
            complaints.append(f"{path}:{line}: {name} has {length} lines, over {FUNCTION_LINES}")
    complaints += [f"{path}:{line}: no braces" for line in unbraced(text)]
    return complaints


if __name__ == "__main__":
    sys.exit(report(check))
