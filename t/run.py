# SPDX-License-Identifier: Apache-2.0
"""Runs every kind of test, and closes with one line that counts them all.

    python -m t.run --build build --sanitize "" --cc gcc build/unit/* build/fuzz/*

Programs below unit/ are cmocka tests, those below fuzz/ are fuzzers; pytest finds its own. The
counts are those that the runners themselves wrote down as JUnit files; a runner that ended badly
without a failure in its file counts as a failure itself. With CI=true a skipped test is one, too.
"""

import argparse
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNIT_SECONDS = 120
# Two fuzzers run side by side, one on each core of a small machine.
FUZZERS_AT_ONCE = 2
PYTEST_WORKERS = 2
SANITIZED_TIMEOUT = 600  # seconds for a test; pyproject.toml has that of plain builds
NO_TESTS_COLLECTED = 5


@dataclass
class Count:
    """How many tests have ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other):
        return Count(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )


def read_junit(path):
    """The counts in a JUnit file; none if there is no such file, or half of one."""
    try:
        suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        return Count()
    count = Count()
    for suite in suites:
        for case in suite.iter("testcase"):
            count += _case(case)
    return count


def _case(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return Count(failed=1)
    if case.find("skipped") is not None:
        return Count(skipped=1)
    return Count(passed=1)


def judged(name, code, count):
    """`count`, and one failure more if the runner says it failed but no test of it did."""
    if code == 0 or count.failed:
        return count
    print(f"{name} ended with exit code {code}", flush=True)
    return count + Count(failed=1)


class Runner:
    """One run: which build, which sanitizer, where results go."""

    def __init__(self, options):
        self.options = options
        self.results = Path(options.build) / "results"
        self.reports = Path(options.build) / "reports"
        for folder in (self.results, self.reports):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.environment = os.environ | {
            "PIPELINE_BUILD": options.build,
            "PIPELINE_SANITIZE": options.sanitize,
            "PIPELINE_CC": options.cc,
            "PIPELINE_REPORTS": str(self.reports.resolve()),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    # ---- cmocka -----------------------------------------------------------------------------

    def unit(self, program):
        """Run a cmocka program; it prints, and writes down its counts in a second run's stead."""
        name = Path(program).name
        junit = self.results / f"{name}.xml"
        environment = self.environment | {
            "CMOCKA_MESSAGE_OUTPUT": "XML",
            "CMOCKA_XML_FILE": str(junit),
        }
        code, text = self._ended(program, environment)
        count = judged(name, code, read_junit(junit))
        print(f"{name}: {count.passed} passed, {count.failed} failed", flush=True)
        if count.failed:
            print(text, junit.read_text() if junit.exists() else "", flush=True)
        return count

    @staticmethod
    def _ended(program, environment):
        try:
            done = subprocess.run(
                [program],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=UNIT_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            return 124, (error.stdout or b"").decode(errors="replace")
        return done.returncode, done.stdout.decode(errors="replace")

    # ---- libFuzzer --------------------------------------------------------------------------

    def fuzz(self, programs):
        """Each fuzzer for its share of the time; one that finds something is a failed test."""
        if not programs:
            return Count()
        turns = -(-len(programs) // FUZZERS_AT_ONCE)
        share = max(2, self.options.fuzz_seconds // turns)
        with ThreadPoolExecutor(FUZZERS_AT_ONCE) as pool:
            counts = pool.map(lambda program: self._fuzz_one(program, share), programs)
            return sum(counts, Count())

    def _fuzz_one(self, program, seconds):
        name = Path(program).name
        found = self.results / f"{name}-"
        corpus = Path("build/fuzz-corpus") / name
        corpus.mkdir(parents=True, exist_ok=True)
        seeds = ROOT / "t" / "fuzz" / "corpus" / name
        done = subprocess.run(
            [program, f"-max_total_time={seconds}", "-print_final_stats=1", "-timeout=10"]
            + [f"-artifact_prefix={found}", str(corpus), *([str(seeds)] if seeds.exists() else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        runs = _statistic(done.stdout, "stat::number_of_executed_units")
        print(f"fuzz {name}: {runs} runs in {seconds} s, exit code {done.returncode}", flush=True)
        if done.returncode:
            print("\n".join(done.stdout.splitlines()[-60:]), flush=True)
            return Count(failed=1)
        return Count(passed=1)

    # ---- pytest -----------------------------------------------------------------------------

    def pytest(self):
        """What may run side by side does; what measures time runs alone, after it."""
        parallel = self._pytest(
            "parallel", "not serial and not soak", "-n", str(PYTEST_WORKERS), "--dist", "worksteal"
        )
        return parallel + self._pytest("serial", "serial and not soak")

    def _pytest(self, name, marks, *arguments):
        junit = self.results / f"pytest-{name}.xml"
        code = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", marks, f"--junit-xml={junit}"]
            + self._patience()
            + list(arguments),
            env=self.environment | self._sanitized(),
        ).returncode
        if code == NO_TESTS_COLLECTED:
            return Count()
        return judged(f"pytest ({name})", code, read_junit(junit))

    def _patience(self):
        """A test that hangs is ended, later in a slow build."""
        return ["--timeout", str(SANITIZED_TIMEOUT)] if self.options.sanitize else []

    def _sanitized(self):
        if not self.options.sanitize:
            return {}
        os.environ.update(self.environment)
        from t.support import environment

        return environment.sanitized(self.reports.resolve() / "python")


def _statistic(text, name):
    line = next((line for line in text.splitlines() if line.startswith(name)), ": ?")
    return line.rpartition(":")[2].strip()


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="where the modules under test are")
    parser.add_argument("--sanitize", default="", choices=("", "address", "thread"))
    parser.add_argument("--cc", default="gcc", help="the compiler, whose sanitizer is preloaded")
    parser.add_argument("--fuzz-seconds", type=int, default=60, help="for all fuzzers together")
    parser.add_argument("--only", choices=("unit", "fuzz", "pytest"), help="one kind of tests")
    parser.add_argument("programs", nargs="*", help="unit tests and fuzzers")
    return parser.parse_args(arguments)


def run(options):
    """The counts of all that was asked for."""
    runner = Runner(options)
    total = Count()
    if options.only in (None, "unit"):
        units = [program for program in options.programs if "/unit/" in program]
        total += sum(map(runner.unit, units), Count())
    if options.only in (None, "fuzz"):
        total += runner.fuzz([program for program in options.programs if "/fuzz/" in program])
    if options.only in (None, "pytest"):
        total += runner.pytest()
    return total


def main(arguments=None):
    total = run(parse(arguments))
    if total.skipped and os.environ.get("CI") == "true":
        print(f"{total.skipped} skipped tests count as failed: here all must run")
        total = Count(total.passed, total.failed + total.skipped)
    skipped = f", {total.skipped} skipped" if total.skipped else ""
    print(f"{total.passed} passed, {total.failed} failed{skipped}", flush=True)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
