# SPDX-License-Identifier: Apache-2.0
"""Each layout rule, broken and kept."""

import pytest

from t.lint.includes import check

BROKEN = {
    "the wire includes httpd": ("server/wire_frame.c", "#include <httpd.h>"),
    "the wire includes a neighbour": ("server/wire_frame.c", '#include "scoreboard.h"'),
    "the storage includes Python": ("storage/refs_scan.c", "#include <Python.h>"),
    "the storage includes the module": ("storage/conn_open.c", '#include "mod_pipeline.h"'),
    "the storage includes a stage": ("storage/conn_open.c", '#include "stages/table.h"'),
    "a client database header elsewhere": ("storage/conn_open.c", "#include <sqlite3.h>"),
    "a second file with libpq": ("storage/mysql.c", "#include <libpq-fe.h>"),
    "a backend includes another": ("storage/mysql.c", '#include "storage/sqlite.h"'),
    "the server includes the storage": ("server/child_map.c", '#include "storage/storage.h"'),
    "the server includes a stage": ("server/daemon_loop.c", '#include "stages/runner.h"'),
    "the server includes Python": ("server/daemon_loop.c", "#include <Python.h>"),
    "a child includes a daemon": ("server/child_map.c", '#include "server/daemon_loop.h"'),
    "a daemon includes a child, by its name": ("server/daemon_loop.c", '#include "child_map.h"'),
    "a stage includes Python silently": ("stages/retry.c", "\n#include <Python.h>"),
}

KEPT = {
    "the wire includes APR and itself": (
        "server/wire_frame.c",
        '#include "server/wire_frame.h"\n#include <apr_pools.h>\n#include <stdint.h>',
    ),
    "the one owner of a client library": ("storage/sqlite.c", "#include <sqlite3.h>"),
    "the server includes the stages' table": (
        "server/config_group.c",
        '#include "stages/table.h"\n#include "stages/order.h"',
    ),
    "both sides include the wire": ("server/child_map.c", '#include "wire_frame.h"'),
    "a stage that says so": ("stages/retry.c", "/* needs Python.h: why */\n#include <Python.h>"),
    "Python's own folder": ("python/interp_gil.c", "#include <Python.h>"),
    "an include in a comment's prose": ("server/wire_frame.c", "/* see #include <httpd.h> */"),
}


@pytest.mark.parametrize(("path", "text"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_rule_is_reported_once(path, text):
    assert len(check(path, text)) == 1


@pytest.mark.parametrize(("path", "text"), KEPT.values(), ids=KEPT.keys())
def test_kept_rule_is_quiet(path, text):
    assert check(path, text) == []


def test_complaint_names_the_line():
    (complaint,) = check("server/wire_frame.c", "/* one */\n\n#include <httpd.h>\n")
    assert complaint.startswith("server/wire_frame.c:3: includes httpd.h")
