# SPDX-License-Identifier: Apache-2.0
"""The directives: what is refused, with which words; what a host inherits; how long it takes.

A wrong configuration here marks the line that is to be blamed with a '!', which is taken off
before httpd sees it. Nothing is started: `apache2 -t` reads, merges and checks as a start does.
"""

import os
import pwd
import re
import time

import pytest

from t.support import environment

GROUP = "PipelineDaemonProcess site\n"
STORAGE = "PipelineStorage main sqlite:///srv/main\n"
HTTPD_OWN_LINES = re.compile(
    r"AH00526: Syntax error on line \d+ of .*:|AH00014: Configuration check failed"
)


def blame(server, directives):
    """Configure `directives`; the one line that httpd must say: its directive, file and line."""
    server.configure(directives.replace("!", ""))
    wrong = next(line for line in directives.splitlines() if line.lstrip().startswith("!"))
    wrong = server.expand(wrong.lstrip()[1:])
    lines = [line.strip() for line in server.config.read_text().splitlines()]
    return f"{wrong.split()[0]} at {server.config}:{len(lines) - lines[::-1].index(wrong)}: "


def refusal(server):
    """What `apache2 -t` says beside httpd's own lines, which must be exactly one line."""
    answer = server.configtest()
    assert answer.code == 1, answer.text
    said = [line for line in answer.text.splitlines() if not HTTPD_OWN_LINES.fullmatch(line)]
    assert len(said) == 1, answer.text
    return said[0]


def dump(server, directives):
    server.configure(directives)
    answer = server.configtest("-D", "DUMP_PIPELINE_CONFIG", "-D", "DUMP_PIPELINE")
    assert answer.code == 0, answer.text
    return answer.text


def mounts(text):
    """{(host, prefix): target} of a dump."""
    found = re.findall(r"^  mount (\S+):\d+ (\S+) -> (\S+) \(", text, re.MULTILINE)
    return {(host, prefix): target for host, prefix, target in found}


def mount_ids(text):
    found = re.findall(r"^  mount (\S+) (\S+) -> .* ([0-9a-f]{16})$", text, re.MULTILINE)
    return {(host, prefix): number for host, prefix, number in found}


def digest(text):
    return re.search(r"^  digest ([0-9a-f]{40})$", text, re.MULTILINE).group(1)


@pytest.fixture
def server(apache):
    return apache(start=False)


GROUP_OPTIONS = {
    "no name": ("", "too few arguments: it takes NAME"),
    "a name with a slash": ("a/b", "'a/b' is not a name"),
    "an empty name": ('""', "'' is not a name"),
    "a name of 65 letters": ("n" * 65, "is not a name"),
    "an unknown option": ("site process=2", "there is no option 'process'"),
    "a word without =": ("site processes", "'processes' is not of the form option=value"),
    "an option without name": ("site =2", "'=2' is not of the form option=value"),
    "a doubled option": ("site threads=2 threads=2", "threads= is given twice"),
    "an open quote": ('site display-name="a b', "a quote is not closed"),
    "no number": ("site processes=many", "processes=many is not a whole number between 1 and 1000"),
    "an empty number": ("site processes=", "processes= is not a whole number"),
    "a negative number": ("site processes=-1", "processes=-1 is not a whole number"),
    "a number with a tail": ("site threads=2x", "threads=2x is not a whole number"),
    "zero processes": ("site processes=0", "processes=0 is not a whole number between 1 and 1000"),
    "too many threads": ("site threads=1001", "threads=1001 is not a whole number"),
    "a huge number": ("site processes=99999999999999999999", "is not a whole number"),
    "too many channels": ("site channels=65536", "is not a whole number between 1 and 65535"),
    "a negative limit": ("site maximum-requests=-1", "is not a whole number between 0 and"),
    "no octal number": ("site umask=0088", "umask=0088 is not an octal number between 0 and 777"),
    "a large umask": ("site umask=1000", "umask=1000 is not an octal number"),
    "no time": ("site queue-timeout=soon", "queue-timeout=soon is not a time"),
    "a time of unknown unit": ("site queue-timeout=3d", "queue-timeout=3d is not a time"),
    "a time with a fraction": ("site queue-timeout=0.5s", "queue-timeout=0.5s is not a time"),
    "a time that overflows": ("site queue-timeout=9223372036854775807h", "is not a time"),
    "a long time": ("site queue-timeout=2h", "queue-timeout=2h is not between 0s and 3600s"),
    "a short time": ("site startup-timeout=10ms", "is not between 1s and 3600s"),
    "a shutdown in no time": ("site shutdown-timeout=0", "is not between 100ms and 3600s"),
    "a relative home": ("site home=srv", "home=srv is not an absolute path"),
    "no home": ("site home=", "home= has no value"),
    "a relative python-home": ("site python-home=venv", "python-home=venv is not an absolute path"),
    "a relative path": ("site python-path=/a:b", "python-path=/a:b: each path between colons"),
    "an empty path": ("site python-path=/a:", "python-path=/a:: each path between colons"),
    "no version": ("site python-version=3", "python-version=3 is not a version like 3."),
    "a version too many": ("site python-version=3.11.2", "is not a version like 3."),
    "no lang": ("site lang=", "lang= has no value"),
}


@pytest.mark.parametrize(("arguments", "reason"), GROUP_OPTIONS.values(), ids=GROUP_OPTIONS)
def test_daemon_process_with_a_wrong_argument_is_refused(server, arguments, reason):
    place = blame(server, f"!PipelineDaemonProcess {arguments}".rstrip())
    said = refusal(server)
    assert said.startswith(f"PIPE0100: {place}"), said
    assert reason in said


DIRECTIVES = {
    "storage without URI": ("!PipelineStorage main", "too few arguments: it takes NAME URI"),
    "storage with more": ("!PipelineStorage main sqlite:///a b", "too many arguments"),
    "storage with a bad name": ("!PipelineStorage a:b sqlite:///a", "'a:b' is not a name"),
    "storage of unknown kind": ("!PipelineStorage main oracle:///a", "is of no known kind"),
    "storage of no kind": ("!PipelineStorage main /srv/main", "is of no known kind"),
    "storage with a relative path": (
        "!PipelineStorage main sqlite://srv/main?x=1",
        "names no absolute path: it has the form sqlite:///absolute/directory",
    ),
    "storage with a root alone": ("!PipelineStorage main sqlite:///", "names no absolute path"),
    "group without name": ("!PipelineProcessGroup", "too few arguments: it takes NAME"),
    "group with two names": ("!PipelineProcessGroup a b", "too many arguments"),
    "group with a bad name": ("!PipelineProcessGroup a/b", "'a/b' is not the name of a group"),
    "ZCML without file": ("!PipelineZCML", "too few arguments: it takes FILE"),
    "ZCML with an empty file": ('!PipelineZCML ""', "'' is not the name of a file"),
    "root without target": (
        "!PipelineRoot /",
        "too few arguments: it takes PREFIX STORAGE:/FOLDER",
    ),
    "root with a relative prefix": ("!PipelineRoot a main:/", "'a' is not a URL prefix"),
    "root with an empty prefix": ('!PipelineRoot "" main:/', "'' is not a URL prefix"),
    "root with dots": ("!PipelineRoot /a/../b main:/", "'/a/../b' is not a URL prefix"),
    "root with two slashes": ("!PipelineRoot //a main:/", "'//a' is not a URL prefix"),
    "root with slashes alone": ("!PipelineRoot // main:/", "'//' is not a URL prefix"),
    "root with a query": ("!PipelineRoot /a?b main:/", "'/a?b' is not a URL prefix"),
    "root without folder": ("!PipelineRoot / main", "'main' is not of the form STORAGE:/FOLDER"),
    "root with a relative folder": ("!PipelineRoot / main:a", "is not of the form STORAGE:/FOLDER"),
    "root with a folder upwards": (
        "!PipelineRoot / main:/a/..",
        "is not of the form STORAGE:/FOLDER",
    ),
    "root without storage": ("!PipelineRoot / :/a", "is not of the form STORAGE:/FOLDER"),
    "root with a fourth word": ("!PipelineRoot / main:/ process-group=a x", "too many arguments"),
    "root with another option": ("!PipelineRoot / main:/ group=a", "is not process-group=NAME"),
    "root with a bad group": (
        "!PipelineRoot / main:/ process-group=",
        "is not the name of a group",
    ),
    "script without target": ("!PipelineScriptAlias /", "too few arguments"),
    "script without callable": (
        "!PipelineScriptAlias / myapp",
        "'myapp' is neither module:callable",
    ),
    "script with an empty callable": (
        "!PipelineScriptAlias / myapp:",
        "is neither module:callable",
    ),
    "script with a bad module": ("!PipelineScriptAlias / my-app:a", "is neither module:callable"),
    "script with a call": ("!PipelineScriptAlias / myapp:make()", "is neither module:callable"),
    "script that is a folder": ("!PipelineScriptAlias / /srv/app/", "is neither module:callable"),
    "script file with a bad callable": ("!PipelineScriptAlias / /srv/a.py:1", "is neither module"),
    "stage without target": (
        "!PipelineStage audit",
        "too few arguments: it takes NAME module:callable",
    ),
    "stage with a bad name": ("!PipelineStage a,b m:c", "'a,b' is not a name"),
    "stage with a bad target": ("!PipelineStage audit m", "'m' is not of the form module:callable"),
    "stage with a bare word": ("!PipelineStage audit m:c x", "'x' is not of the form key=value"),
    "stage with a doubled key": ("!PipelineStage audit m:c a=1 a=2", "a= is given twice"),
    "stage with a bad key": ("!PipelineStage audit m:c a/b=1", "'a/b' is not a parameter's name"),
    "stage with a key of the module": (
        "!PipelineStage audit m:c environ=1",
        "environ= is what every stage is handed",
    ),
    "stage with an empty list": (
        "!PipelineStage audit m:c after=",
        "after= is not a list of stages",
    ),
    "stage with a gap": ("!PipelineStage audit m:c before=call,,log", "is not a list of stages"),
    "stage of an unknown type": (
        "!PipelineStage audit m:c types=ftp",
        "'ftp' is not one of browser",
    ),
    "stage of no type": ("!PipelineStage audit m:c types=", "'' is not one of browser"),
    "stage of a doubled type": (
        "!PipelineStage audit m:c types=http,http",
        "'http' is given twice",
    ),
}


@pytest.mark.parametrize(("directives", "reason"), DIRECTIVES.values(), ids=DIRECTIVES)
def test_directive_with_a_wrong_argument_is_refused(server, directives, reason):
    place = blame(server, directives)
    said = refusal(server)
    assert said.startswith(f"PIPE0100: {place}"), said
    assert reason in said


TWICE = {
    "group": ("PipelineDaemonProcess site\n!PipelineDaemonProcess site", "was declared before, at"),
    "storage": (STORAGE + "!PipelineStorage main sqlite:///other", "was declared before, at"),
    "group of a host": (
        "PipelineProcessGroup a\n!PipelineProcessGroup b",
        "the group of this host was said before, at",
    ),
    "ZCML": ("PipelineZCML a.zcml\n!PipelineZCML @ROOT@/a.zcml", "was named before in this host"),
    "stage": ("PipelineStage a m:c\n!PipelineStage a m:d", "the stage 'a' was declared before, at"),
    "prefix": (
        "PipelineRoot /a main:/\n!PipelineScriptAlias /a m:c",
        "the prefix '/a' was given before in this host, by PipelineRoot at",
    ),
    "prefix with a slash behind": (
        "PipelineScriptAlias /a m:c\n!PipelineScriptAlias /a/ m:d",
        "the prefix '/a/' was given before",
    ),
}


@pytest.mark.parametrize(("directives", "reason"), TWICE.values(), ids=TWICE)
def test_what_is_said_twice_is_refused(server, directives, reason):
    place = blame(server, directives)
    said = refusal(server)
    assert said.startswith(f"PIPE0100: {place}"), said
    assert reason in said


OUT_OF_CONTEXT = {
    "group in a host": ("<VirtualHost *:80>", "PipelineDaemonProcess site", "outside of every"),
    "storage in a host": ("<VirtualHost *:80>", STORAGE.strip(), "outside of every <VirtualHost>"),
    "group in a location": ("<Location />", "PipelineDaemonProcess site", "not into a section"),
    "group of a location": ("<Location />", "PipelineProcessGroup site", "not into a section"),
    "root in a directory": ("<Directory />", "PipelineRoot / main:/", "not into a section inside"),
    "script in files": ('<Files "a">', "PipelineScriptAlias / m:c", "not into a section inside"),
    "stage in a location": ("<Location />", "PipelineStage a m:c", "not into a section inside it"),
    "ZCML in a directory": ("<Directory />", "PipelineZCML a.zcml", "not into a section inside it"),
}


@pytest.mark.parametrize(("section", "line", "reason"), OUT_OF_CONTEXT.values(), ids=OUT_OF_CONTEXT)
def test_directive_out_of_its_context_is_refused(server, section, line, reason):
    end = f"</{section[1:].split()[0]}>".replace(">>", ">")
    place = blame(server, f"{section}\n!{line}\n{end}")
    said = refusal(server)
    assert said.startswith(f"PIPE0100: {place}"), said
    assert reason in said


UNRESOLVED = {
    "mount without group": (
        GROUP + "!PipelineScriptAlias / m:c",
        "PIPE0101",
        "no process group: this host has no PipelineProcessGroup",
    ),
    "mount of an unknown group": (
        GROUP + "!PipelineScriptAlias / m:c process-group=other",
        "PIPE0101",
        "there is no PipelineDaemonProcess 'other'",
    ),
    "host of an unknown group": (
        GROUP + "!PipelineProcessGroup other",
        "PIPE0101",
        "there is no PipelineDaemonProcess 'other'",
    ),
    "root in an unknown storage": (
        GROUP + STORAGE + "PipelineProcessGroup site\n!PipelineRoot / other:/",
        "PIPE0102",
        "there is no PipelineStorage 'other'",
    ),
    "unknown user": (
        "!PipelineDaemonProcess site user=nobody-of-that-name",
        "PIPE0103",
        "there is no user 'nobody-of-that-name'",
    ),
    "unknown group of users": (
        "!PipelineDaemonProcess site group=no-such-group",
        "PIPE0103",
        "there is no group 'no-such-group'",
    ),
    "absent interpreter module": (
        "!PipelineDaemonProcess site interp-module=/nowhere/module.so",
        "PIPE0105",
        "needs the interpreter module /nowhere/module.so, which is not there",
    ),
    "absent Python version": (
        "!PipelineDaemonProcess site python-version=2.7",
        "PIPE0105",
        "mod_pipeline_python2.7.so, which is not there",
    ),
    "too few channels": (
        "!PipelineDaemonProcess site processes=4 threads=2 channels=7",
        "PIPE0106",
        "the group 'site' has 8 workers, and only 7 channels for them",
    ),
    "too many workers": (
        "!PipelineDaemonProcess site processes=1000 threads=100",
        "PIPE0106",
        "the group 'site' has 100000 workers, and only 65535 channels for them",
    ),
}


@pytest.mark.parametrize(("directives", "number", "reason"), UNRESOLVED.values(), ids=UNRESOLVED)
def test_what_cannot_be_resolved_is_refused(server, directives, number, reason):
    place = blame(server, directives)
    said = refusal(server)
    assert said.startswith(f"{number}: {place}"), said
    assert reason in said


def test_group_that_would_run_as_root_is_refused(server):
    place = blame(server, "!PipelineDaemonProcess site user=root")
    answer = server.configtest()
    if environment.RUNS_AS_ROOT:
        assert f"PIPE0104: {place}the group 'site' would run as root" in answer.text
    else:
        assert answer.code == 0, answer.text


@pytest.mark.parametrize(
    ("directives", "reason"),
    [
        ("PipelineStage a m:c after=nothing", 'unknown stage "nothing"'),
        ("PipelineStage a m:c after=call before=traverse", "traverse > call > a > traverse"),
        ("PipelineStage a m:c after=b\nPipelineStage b m:c after=a", "a > b > a"),
    ],
    ids=["an unknown neighbour", "a cycle with a built-in stage", "a cycle of two"],
)
def test_stages_without_an_order_are_refused_in_time(server, directives, reason):
    server.configure(directives)
    began = time.monotonic()
    said = refusal(server)
    assert time.monotonic() - began < 2 * environment.PATIENCE
    assert said.startswith("PIPE0107: "), said
    assert reason in said
    assert f"{server.config}:" in said


def test_place_of_an_included_file_is_named(server):
    path = server.write("site.conf", "\n\nPipelineProcessGroup nobody\n")
    server.configure("Include @ROOT@/site.conf")
    assert refusal(server).startswith(f"PIPE0101: PipelineProcessGroup at {path}:3: ")


# ---- What is accepted ----


def test_options_are_taken_as_written(server):
    text = dump(
        server,
        'PipelineDaemonProcess site processes=4 threads=2 umask=027 display-name="a \\"b\\" c" \\\n'
        "    'lang=de_DE.UTF-8' queue-timeout=500ms request-timeout=0 graceful-timeout=2min "
        "startup-timeout=45 python-path=/srv/a:/srv/b maximum-requests=1000 channels=9",
    )
    for line in (
        "processes=4",
        "threads=2",
        "umask=0027",
        'display-name=a "b" c',
        "lang=de_DE.UTF-8",
        "queue-timeout=500ms",
        "request-timeout=0s",
        "graceful-timeout=120s",
        "startup-timeout=45s",
        "shutdown-timeout=5s",
        "python-path=/srv/a:/srv/b",
        "maximum-requests=1000",
        "channels=9",
    ):
        assert f"\n  {line}\n" in text


def test_group_runs_as_its_user_or_as_httpd(server):
    text = dump(server, "PipelineDaemonProcess site user=#1234 group=#5678")
    assert "  uid 1234, gid 5678\n" in text
    text = dump(server, "PipelineDaemonProcess site")
    owner = pwd.getpwnam(environment.SERVER_USER) if environment.RUNS_AS_ROOT else None
    uid, gid = (owner.pw_uid, owner.pw_gid) if owner else (os.geteuid(), os.getegid())
    assert f"  uid {uid}, gid {gid}\n" in text


@pytest.mark.parametrize(
    "target",
    ["myapp.wsgi:application", "m:a.b", "/srv/app.wsgi", "/srv/app.wsgi:make", "/s:x/a.py"],
)
def test_script_targets(server, target):
    text = dump(server, f"{GROUP}PipelineScriptAlias /a {target} process-group=site")
    assert mounts(text) == {("127.0.0.1", "/a"): target}


def test_host_inherits_what_it_does_not_say_itself(server):
    text = dump(
        server,
        f"""{GROUP}{STORAGE}PipelineDaemonProcess other
PipelineProcessGroup site
PipelineZCML all.zcml
PipelineScriptAlias /common m:c
PipelineScriptAlias /own m:main
<VirtualHost *:80>
    ServerName a.example
    PipelineScriptAlias /own m:host
    PipelineZCML a.zcml
</VirtualHost>
<VirtualHost *:80>
    ServerName b.example
    PipelineProcessGroup other
    PipelineRoot / main:/b
</VirtualHost>
""",
    )
    site, other = text[text.index("Process group site") :].split("Process group other")
    assert mounts(site) == {
        ("127.0.0.1", "/common"): "m:c",
        ("127.0.0.1", "/own"): "m:main",
        ("a.example", "/common"): "m:c",
        ("a.example", "/own"): "m:host",
    }
    assert mounts(other) == {
        ("b.example", "/common"): "m:c",
        ("b.example", "/own"): "m:main",
        ("b.example", "/"): "main:/b",
    }
    assert re.findall(r"zcml .*/(\S+)", site) == ["all.zcml", "a.zcml"]
    assert re.findall(r"zcml .*/(\S+)", other) == ["all.zcml"]


def test_stage_of_a_host_replaces_the_main_servers_of_the_same_name(server):
    text = dump(
        server,
        f"""{GROUP}PipelineProcessGroup site
PipelineStage first m:main_first before=call
PipelineStage second m:main_second before=call
PipelineScriptAlias / m:c
<VirtualHost *:80>
    ServerName a.example
    PipelineStage first m:host_first before=call
</VirtualHost>
""",
    )
    main, host = text.split("Virtual host")
    assert re.findall(r"m:(?:main|host)_\w+", main) == ["m:main_first", "m:main_second"]
    assert re.findall(r"m:(?:main|host)_\w+", host) == ["m:main_second", "m:host_first"]


# ---- Identities ----

TWO_HOSTS = """
<VirtualHost *:80>
    ServerName a.example
    PipelineScriptAlias / m:c
</VirtualHost>
<VirtualHost *:80>
    ServerName b.example
    PipelineScriptAlias / m:c
</VirtualHost>
"""


def test_mount_ids_do_not_change_with_other_parts_of_the_configuration(server):
    base = GROUP + "PipelineProcessGroup site\n"
    before = mount_ids(dump(server, base + TWO_HOSTS))
    first, second = TWO_HOSTS.split("</VirtualHost>\n", 1)
    moved = (
        base + "# a comment\n" + second + first + "</VirtualHost>\nPipelineScriptAlias /new m:c\n"
    )
    after = mount_ids(dump(server, moved))
    assert len(set(before.values())) == 2
    assert before.items() <= after.items()


def test_hosts_of_the_same_name_and_address_have_ids_of_their_own(server):
    twins = TWO_HOSTS.replace("b.example", "a.example")
    text = dump(server, GROUP + "PipelineProcessGroup site\n" + twins)
    ids = re.findall(r"^  mount .* ([0-9a-f]{16})$", text, re.MULTILINE)
    assert len(ids) == len(set(ids)) == 2


CHANGES = {
    "an option": ("threads=1", "threads=2"),
    "a time-out": ("threads=1", "threads=1 request-timeout=61"),
    "a target": ("m:c", "m:d"),
    "a prefix": ("PipelineScriptAlias / ", "PipelineScriptAlias /x "),
    "a host's name": ("a.example", "c.example"),
    "a storage": ("/srv/main", "/srv/other"),
    "a stage's parameter": ("level=1", "level=2"),
    "a stage's place": ("before=call", "after=interp"),
    "a ZCML file": ("a.zcml", "b.zcml"),
}


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
def test_digest_changes_with_what_a_daemon_depends_on(server, old, new):
    directives = (
        "PipelineDaemonProcess site threads=1\nPipelineProcessGroup site\nPipelineZCML a.zcml\n"
        f"{STORAGE}PipelineStage audit m:c before=call level=1\n{TWO_HOSTS}"
    )
    assert old in directives
    before = digest(dump(server, directives))
    assert digest(dump(server, "# moved\n\n" + directives)) == before
    assert digest(dump(server, directives.replace(old, new))) != before


def test_digest_changes_with_the_build(server):
    module = server.write("interp.so", "one build")
    directives = f"PipelineDaemonProcess site interp-module={module}"
    before = digest(dump(server, directives))
    server.write("interp.so", "another build")
    assert digest(dump(server, directives)) != before


# ---- Time ----


@pytest.mark.serial
def test_a_hundred_hosts_are_checked_in_a_third_of_a_second(server):
    hosts = "".join(
        f"""<VirtualHost *:80>
    ServerName host{i}.example
    PipelineZCML host{i}.zcml
    PipelineRoot / main:/host{i}
    PipelineScriptAlias /api host{i}.wsgi:application
    PipelineStage audit{i} audit:stage before=call types=browser level={i}
</VirtualHost>
"""
        for i in range(100)
    )
    server.configure(GROUP + STORAGE + "PipelineProcessGroup site\n" + hosts)
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        answer = server.configtest()
        seconds.append(time.monotonic() - began)
        assert answer.code == 0, answer.text
    assert min(seconds) < 0.3 * environment.PATIENCE
