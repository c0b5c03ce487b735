# SPDX-License-Identifier: Apache-2.0
"""Measures all there is to compare, and prints medians, ratios and the figures to be reached.

    make bench        BENCH_SECONDS=2 BENCH_ROUNDS=5 BENCH_ONLY= BENCH_JSON=

The servers take turns: each round goes through the cases, each case through the servers, in an
order that is rotated from round to round. Cases without a figure of their own get half the rounds.
BENCH_ONLY=http,storage,vhosts runs parts; BENCH_JSON=FILE has everything for a program. Speed never
makes this fail: a figure that is not reached is printed as such.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from t.bench import figures, load, storage, vhosts
from t.bench.cases import CASES
from t.bench.servers import Servers
from t.support import environment

SECONDS = int(os.environ.get("BENCH_SECONDS", "2"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
ONLY = os.environ.get("BENCH_ONLY", "http,storage,vhosts").split(",")
WARM_UP = 1  # seconds
STORAGE = argparse.Namespace(rounds=ROUNDS, commits=1000, objects=10000)


def say(text):
    """Progress: for who watches, not part of the result."""
    print(text, file=sys.stderr, flush=True)


def machine():
    """On what, and beside how much else, this was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "?")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load": [round(value, 1) for value in os.getloadavg()],
    }


def rotated(items, by):
    by %= len(items)
    return items[by:] + items[:by]


def rounds_of(case):
    return ROUNDS if case.judged else (ROUNDS + 1) // 2


def warm_up(servers, folder):
    for server in servers:
        say(f"warming up: {server.name}")
        for case in server.cases:
            load.run(server.url(case), WARM_UP, load.script_for(case, folder), ())


def measure_round(number, servers, folder, results):
    for case in CASES:
        if number >= rounds_of(case):
            continue
        script = load.script_for(case, folder)
        for server in rotated(servers, number):
            if case in server.cases:
                sample = load.run(server.url(case), SECONDS, script, server.pids())
                results[case.name][server.name].append(sample)


def measure_http(tree):
    """{case name: {server name: [Sample]}}"""
    with tempfile.TemporaryDirectory() as folder, Servers(tree) as servers:
        results = {
            case.name: {server.name: [] for server in servers.all if case in server.cases}
            for case in CASES
        }
        warm_up(servers.all, folder)
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}")
            measure_round(number, servers.all, folder, results)
    return results


def http_part(report):
    tree = environment.publish()
    os.environ["PIPELINE_TREE"] = str(tree)
    try:
        results = measure_http(tree)
    finally:
        if tree != environment.ROOT:
            shutil.rmtree(tree, ignore_errors=True)
    for case, samples in results.items():
        print("\n".join(figures.table(case, samples)))
    everything = [s for servers in results.values() for taken in servers.values() for s in taken]
    busy = figures.median(everything, "busy")
    print(f"Cores busy with other things meanwhile, median: {busy:.2f}\n")
    report["http"] = {
        case: {name: [asdict(sample) for sample in taken] for name, taken in samples.items()}
        for case, samples in results.items()
    }
    return list(figures.http_figures(results))


def storage_part(report):
    say("storages")
    with tempfile.TemporaryDirectory(prefix="mod_pipeline-bench-") as folder:
        rounds = storage.run(STORAGE, folder)
    storage.report(rounds)
    print()
    report["storage"] = rounds
    return list(figures.storage_figures(rounds, storage.REQUIRED))


def vhosts_part(report):
    say("virtual hosts")
    ours, bare = vhosts.measure()
    print(f"apachectl -t, {vhosts.HOSTS} virtual hosts: {ours:.3f} s, empty ones {bare:.3f} s\n")
    report["vhosts"] = {"ours": ours, "bare": bare}
    return [figures.Figure(f"apachectl -t with {vhosts.HOSTS} virtual hosts, s", ours, 0.3, False)]


PARTS = {"http": http_part, "storage": storage_part, "vhosts": vhosts_part}


def main():
    report = {"machine": machine(), "seconds": SECONDS, "rounds": ROUNDS}
    found = []
    print(
        "{cpu}, {cores} cores, Linux {kernel}, load {load}; ".format(**report["machine"])
        + f"{ROUNDS} rounds of {SECONDS} s, {load.CONNECTIONS} connections kept alive\n"
    )
    for name, part in PARTS.items():
        if name in ONLY:
            found += part(report)
    print("\n".join(figures.verdicts(found)))
    report["figures"] = [figure.as_json() for figure in found]
    if path := os.environ.get("BENCH_JSON"):
        Path(path).write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
