# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/stages.md, as they are printed there."""

import re
import subprocess

from t.support import environment

DOCUMENT = environment.ROOT / "docs" / "stages.md"
EXAMPLE = re.compile(r"<!-- example: (\w+) -->\n```(\w+)\n(.*?)```", re.DOTALL)
ONE = [("Host", "one.example")]


def example(name):
    """The blocks of an example by their language."""
    found = {kind: text for n, kind, text in EXAMPLE.findall(DOCUMENT.read_text()) if n == name}
    assert found, name
    return found


def with_python(site, name):
    """A site with the module `timing` as the document has it."""
    parts = example(name)
    module = environment.public_folder("mod_pipeline-example-") / "timing.py"
    module.write_text(parts["python"])
    module.chmod(0o644)
    return site(parts["apache"], python_path=f":{module.parent}")


def test_python_example_times_the_page(site):
    server = with_python(site, "python")
    answer = server.get("/welcome", ONE)
    assert answer.status == 200
    assert re.fullmatch(r"page;dur=\d+\.\d", answer.header("Server-Timing"))


def test_python_example_closes_the_gate(site):
    server = with_python(site, "gate")
    assert server.get("/welcome", ONE).status == 403
    assert server.get("/welcome", [*ONE, ("X-Key", "open")]).status == 200


def build_module(folder):
    """mod_closed.so, built by apxs as the document says."""
    (folder / "mod_closed.c").write_text(example("c")["c"])
    subprocess.run(
        ["apxs", "-c", "-I", str(environment.ROOT), "mod_closed.c"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / ".libs" / "mod_closed.so"


def test_c_example_adds_a_header_and_closes_the_site(site, tmp_path):
    module = build_module(tmp_path)
    load = f"LoadModule closed_module {module}"
    server = site(load)
    answer = server.get("/welcome", ONE)
    assert (answer.status, answer.header("X-Attempt")) == (200, "1")
    server.write("closed", "")
    answer = server.get("/welcome", ONE)
    assert (answer.status, answer.text) == (503, "Closed for today.\n")


def test_c_example_is_listed_where_it_stands(site, tmp_path):
    server = site(f"LoadModule closed_module {build_module(tmp_path)}", start=False)
    answer = server.configtest("-D", "DUMP_PIPELINE")
    assert answer.code == 0
    rows = [line.split()[1] for line in answer.text.splitlines() if line.startswith("    ")]
    assert rows[rows.index("closed") - 1] == "retry"
    assert rows[rows.index("closed") + 1] == "interp"
    assert "module mod_closed" in answer.text
