# SPDX-License-Identifier: Apache-2.0
"""What is measured: one URL each, with the size of what goes in and comes out."""

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """A request: `path` below a server's prefix, bytes sent, bytes expected."""

    name: str
    path: str
    answer: int
    body: int = 0
    judged: bool = False  # one of the project's figures is about it: measured in every round
    static: bool = False  # a file can answer it, too


CASES = (
    Case("hello", "/hello.txt", 13, judged=True, static=True),
    Case("64 KB", "/64k.txt", 64 * 1024, judged=True, static=True),
    Case("1 MB", "/1m.txt", MIB, static=True),
    Case("Flask", "/flask.txt", 13),
    Case("1,000 yields", "/yields.txt", 1000),
    Case("1 MB upload", "/upload.txt", len(str(MIB)), body=MIB),
)
