# SPDX-License-Identifier: Apache-2.0
"""Sizes and braces, as the lint sees them."""

from t.lint.sizes import FILE_LINES, FUNCTION_LINES, LICENCE, check, functions, unbraced

HEAD = f"/* {LICENCE} */\n"


def function(lines):
    return "static int f(int x)\n{\n" + "    x++;\n" * lines + "}\n"


def test_function_length_counts_the_lines_between_its_braces():
    assert list(functions(HEAD + function(7))) == [("f", 3, 7)]


def test_function_of_the_longest_length_is_quiet():
    assert check("a.c", HEAD + function(FUNCTION_LINES)) == []


def test_longer_function_is_reported_by_name():
    (complaint,) = check("a.c", HEAD + function(FUNCTION_LINES + 1))
    assert "f has 101 lines" in complaint


def test_long_file_is_reported():
    assert any("lines; a file" in c for c in check("a.c", HEAD + "\n" * FILE_LINES))


def test_missing_licence_is_reported():
    assert "a.c:1: no" in check("a.c", "/* a file */\n")[0]


def test_long_line_is_reported():
    assert check("a.c", HEAD + "/" * 101 + "\n") == ["a.c:2: over 100 columns"]


def test_condition_over_lines_without_braces_is_reported():
    assert list(unbraced("if (f(a,\n      b))\n    return;\n")) == [1]


def test_else_without_braces_is_reported():
    assert list(unbraced("if (a) {\n} else\n    b();\n")) == [2]


def test_braces_everywhere_are_quiet():
    text = "if (a) {\n} else if (b) {\n} else {\n}\ndo {\n} while (c);\nfor (;;) {\n}\n"
    assert list(unbraced(text)) == []


def test_words_in_comments_strings_and_macros_are_not_code():
    text = '/* if (a) b; */ x = "while (1) y";\n#if defined(A)\n#else\n#endif\n'
    assert list(unbraced(text)) == []
