# SPDX-License-Identifier: Apache-2.0
"""Who a daemon is: the group's user, with no way back; its folder, its mask and its locale."""

import grp
import json
import os
import pwd
import subprocess

from t.http.sites import steps
from t.support import environment, processes
from t.support.environment import PATIENCE


def identity(server):
    assert processes.wait_until(lambda: server.get("/ready").status == 200, 20 * PATIENCE)
    return json.loads(server.get("/app/identity").text)


def ids(name):
    user = pwd.getpwnam(name)
    groups = {g.gr_gid for g in grp.getgrall() if name in g.gr_mem} | {user.pw_gid}
    return [user.pw_uid] * 3, [user.pw_gid] * 3, sorted(groups)


def own_ids():
    return list(os.getresuid()), list(os.getresgid()), sorted(os.getgroups())


def test_a_daemon_is_the_servers_user_with_no_way_back(apache):
    told = identity(apache(steps()))
    root = environment.RUNS_AS_ROOT
    expected = ids(environment.SERVER_USER) if root else own_ids()
    assert (told["uids"], told["gids"], told["groups"]) == expected
    assert not told["regained"]


def test_user_and_group_of_the_process_group_win(apache):
    if environment.RUNS_AS_ROOT:
        told = identity(apache(steps("processes=1 user=daemon group=nogroup")))
        user, _, groups = ids("daemon")
        nogroup = grp.getgrnam("nogroup").gr_gid
        assert told["uids"] == user
        assert told["gids"] == [nogroup] * 3
        assert set(told["groups"]) == (set(groups) - set(ids("daemon")[1])) | {nogroup}
    else:  # only the own identity can be asked for, and stays
        name = pwd.getpwuid(os.getuid()).pw_name
        assert identity(apache(steps(f"processes=1 user={name}")))["uids"] == own_ids()[0]


def test_home_umask_and_lang(apache):
    server = apache(steps("processes=1 home=/usr umask=0027 lang=C.UTF-8"))
    told = identity(server)
    assert (told["home"], told["umask"], told["lang"]) == ("/usr", 0o027, "C.UTF-8")


def test_home_that_is_missing_starts_nothing(apache):
    server = apache(steps("processes=1 home=/nowhere"))
    server.expect("PIPE0330", "PIPE0313", "PIPE0311", "PIPE0200")
    assert "home" in server.wait_log("PIPE0330")
    server.wait_log("PIPE0311")
    assert server.get("/app/identity").status == 503


def test_children_map_no_python_and_daemons_hold_no_listener(apache):
    server = apache(steps())
    identity(server)
    listening = processes.listening_inodes(server.port)
    for process in server.processes():
        maps = subprocess.run(["cat", f"/proc/{process.pid}/maps"], capture_output=True, text=True)
        assert ("libpython" in maps.stdout) == (process.role == "daemon"), process
        if process.role in ("daemon", "manager"):
            assert not listening & set(processes.descriptors(process.pid).values()), process
