# SPDX-License-Identifier: Apache-2.0
"""Who may include what: the layout's rules, by folder and by a file's prefix.

    python -m t.lint.includes

A file that needs Python outside python/ says so in its first line: `/* needs Python.h: why */`.
"""

import re
import sys

from t.lint.source import line_at, report

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"][^>"]+)[>"]', re.MULTILINE)

HTTPD_HEADERS = re.compile(r"^(httpd|http_\w+|ap_\w+|util_\w+|scoreboard|mpm_common|mod_\w+)\.h$")
OUR_MODULE_HEADER = "mod_pipeline.h"
DATABASE_CLIENTS = {
    "sqlite3.h": "storage/sqlite.c",
    "libpq-fe.h": "storage/postgresql.c",
    "mysql.h": "storage/mysql.c",
    "mysql/mysql.h": "storage/mysql.c",
    "mariadb/mysql.h": "storage/mysql.c",
}
BACKENDS = ("sqlite", "postgresql", "mysql")
STAGES_FOR_SERVER = ("stages/table.h", "stages/order.h")


def resolved(path, spelled):
    """The header's name; one in quotes and without a folder is the including file's neighbour."""
    header = spelled[1:]
    if spelled[0] == "<" or "/" in header or header == OUR_MODULE_HEADER:
        return header
    return f"{path.rpartition('/')[0]}/{header}"


def is_python(header):
    return header in ("Python.h", "structmember.h")


def is_httpd(header):
    return header == OUR_MODULE_HEADER or bool(HTTPD_HEADERS.match(header))


def rule_pure(path, header, text):
    """The wire and the storage know APR and themselves: usable without httpd and Python."""
    if not path.startswith(("server/wire_", "storage/")):
        return None
    if is_httpd(header) or is_python(header):
        return "the wire and the storage know only APR and themselves"
    if "/" in header and header.startswith(("server/", "stages/", "python/", "storage/")):
        home = "server/wire_" if path.startswith("server/") else "storage/"
        if not header.startswith(home):
            return f"{path.split('/')[0]} includes only {home}*"
    return None


def rule_python(path, header, text):
    """An httpd child runs no Python, so its header stays where it must be."""
    if not is_python(header) or path.startswith(("python/", "t/")):
        return None
    if path.startswith("stages/") and "Python.h" in text.split("\n", 1)[0]:
        return None
    return "Python.h is for python/, and for stages whose first line says so"


def rule_database_client(path, header, text):
    """One file per database knows its client library."""
    owner = DATABASE_CLIENTS.get(header)
    if owner is None or path == owner or path.startswith("t/"):
        return None
    return f"{header} is for {owner} alone"


def rule_backends(path, header, text):
    """What backends share has one place, above them."""
    names = tuple(f"storage/{name}" for name in BACKENDS)
    own = next((name for name in names if path.startswith(name)), None)
    if own and header.startswith(names) and not header.startswith(own):
        return "a backend never includes another"
    return None


def rule_server(path, header, text):
    """An httpd child opens no database and runs no Python."""
    if not path.startswith("server/") or header in STAGES_FOR_SERVER:
        return None
    if header.startswith(("python/", "stages/", "storage/")):
        return "server/ includes of these only " + " and ".join(STAGES_FOR_SERVER)
    return None


def rule_sides(path, header, text):
    """The two sides of a channel meet in the wire and in the scoreboard, nowhere else."""
    sides = {"server/child_": "server/daemon_", "server/daemon_": "server/child_"}
    for side, other in sides.items():
        if path.startswith(side) and header.startswith(other):
            return "child_* and daemon_* meet only in wire_* and scoreboard_*"
    return None


RULES = (
    rule_pure,
    rule_python,
    rule_database_client,
    rule_backends,
    rule_server,
    rule_sides,
)


def check(path, text):
    """The complaints about one file, each `path:line: what`."""
    complaints = []
    for match in INCLUDE.finditer(text):
        header = resolved(path, match.group(1))
        broken = next(filter(None, (rule(path, header, text) for rule in RULES)), None)
        if broken:
            line = line_at(text, match.start(1))
            complaints.append(f"{path}:{line}: includes {header}: {broken}")
    return complaints


if __name__ == "__main__":
    sys.exit(report(check))
