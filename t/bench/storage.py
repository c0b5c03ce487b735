# SPDX-License-Identifier: Apache-2.0
"""Commits and loads on SQLite, ours beside RelStorage's, in one run.

    .venv/bin/python t/bench/storage.py [--rounds 5] [--commits 1000] [--objects 20000]

Both storages keep no history, use synchronous=NORMAL and their default caches, and lie in the same
temporary folder. The rounds of the two alternate, so that whatever else the machine does falls on
both; the medians of all rounds are printed, and the ratio with what it must reach.
"""

import argparse
import gc
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import transaction
from persistent.mapping import PersistentMapping
from relstorage.adapters.sqlite.adapter import Sqlite3Adapter
from relstorage.options import Options
from relstorage.storage import RelStorage
from ZODB import DB
from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

import mod_pipeline.storage

STATE_SIZE = 300

# What is measured, and how many times faster than RelStorage it must be (None: only shown).
REQUIRED = {
    "commit, storage API": 3.0,
    "commit, Connection": 1.7,
    "commit of 10, storage API": None,
    "cold load": 2.0,
    "warm load": None,
    "empty transaction": None,
    "new_oid": None,
}


def open_ours(folder):
    return mod_pipeline.storage.open(f"sqlite://{folder}")


def open_relstorage(folder):
    options = Options(keep_history=False)
    return RelStorage(Sqlite3Adapter(str(folder), pragmas={}, options=options), options=options)


OPENERS = {"mod_pipeline": open_ours, "RelStorage": open_relstorage}


def record(size=STATE_SIZE):
    """A record of that size that decodes to a persistent mapping, with random bytes in it."""
    head = b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\x00."
    body = random.randbytes(size - len(head) - 6)
    return head + b"\x80\x03B" + len(body).to_bytes(4, "little")[:4] + body + b"."


def store_all(storage, items):
    """One transaction through the storage API: items are (oid, serial, record)."""
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for oid, serial, data in items:
        storage.store(oid, serial, data, "", txn)
    storage.tpc_vote(txn)
    return storage.tpc_finish(txn)


def microseconds(work, count):
    """How long work(), which does something count times, takes for each of them."""
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    work()
    elapsed = time.perf_counter() - start
    gc.enable()
    return elapsed / count * 1e6


class Subject:
    """One storage under measurement, on a database of its own."""

    def __init__(self, opener, folder, arguments):
        self.opener = opener
        self.folder = folder
        self.commits = arguments.commits
        self.objects = arguments.objects
        self.storage = opener(folder)
        self.db = DB(self.storage)
        self.instance = self.storage.new_instance()
        self.instance.poll_invalidations()
        self.oids = []
        self.fill()

    def fill(self):
        for _ in range(0, self.objects, 1000):
            batch = [(self.instance.new_oid(), z64, record()) for _ in range(1000)]
            store_all(self.instance, batch)
            self.oids += [oid for oid, _, _ in batch]
        with self.db.transaction() as connection:
            connection.root()["page"] = PersistentMapping(text="x" * STATE_SIZE)

    def commit_api(self, size=1):
        """Update the same objects again and again, each time from tpc_begin to tpc_finish."""
        oids = random.sample(self.oids, size)
        datas = [record() for _ in range(self.commits)]
        serials = [self.instance.load(oid)[1] for oid in oids]

        def work():
            tids = serials
            for data in datas:
                tid = store_all(
                    self.instance,
                    [(oid, serial, data) for oid, serial in zip(oids, tids, strict=True)],
                )
                tids = [tid] * size

        result = microseconds(work, self.commits)
        self.instance.afterCompletion()
        self.instance.poll_invalidations()
        return result

    def commit_connection(self):
        """Change one persistent object and commit, through ZODB's Connection."""
        connection = self.db.open()
        page = connection.root()["page"]
        texts = [f"{i:0{STATE_SIZE}}" for i in range(self.commits)]

        def work():
            for text in texts:
                page["text"] = text
                transaction.commit()

        result = microseconds(work, self.commits)
        connection.close()
        return result

    def cold_load(self):
        """Load every object once, in random order, through a storage that was just opened."""
        storage = self.opener(self.folder)
        instance = storage.new_instance()
        instance.poll_invalidations()
        oids = random.sample(self.oids, len(self.oids))

        def work():
            load = instance.load
            for oid in oids:
                load(oid)

        result = microseconds(work, len(oids))
        instance.release()
        storage.close()
        return result

    def warm_load(self):
        """Load objects that the cache has."""
        oids = random.sample(self.oids, 1000)
        for oid in oids:
            self.instance.load(oid)

        def work():
            load = self.instance.load
            for _ in range(10):
                for oid in oids:
                    load(oid)

        return microseconds(work, 10 * len(oids))

    def empty_transaction(self):
        """What a transaction that touches nothing asks of its storage."""

        def work():
            instance = self.instance
            for _ in range(self.commits):
                instance.sync(True)
                instance.poll_invalidations()
                instance.afterCompletion()

        result = microseconds(work, self.commits)
        self.instance.poll_invalidations()
        return result

    def new_oid(self):
        def work():
            new_oid = self.instance.new_oid
            for _ in range(self.commits):
                new_oid()

        return microseconds(work, self.commits)

    def measure(self):
        return {
            "commit, storage API": self.commit_api(),
            "commit, Connection": self.commit_connection(),
            "commit of 10, storage API": self.commit_api(10),
            "cold load": self.cold_load(),
            "warm load": self.warm_load(),
            "empty transaction": self.empty_transaction(),
            "new_oid": self.new_oid(),
        }

    def close(self):
        self.instance.release()
        self.db.close()


def run(arguments, folder):
    """The rounds of every subject, alternating: {what: {subject: [microseconds]}}."""
    subjects = {
        name: Subject(opener, Path(folder) / name, arguments) for name, opener in OPENERS.items()
    }
    rounds = {what: {name: [] for name in subjects} for what in REQUIRED}
    for number in range(arguments.rounds):
        # Each goes first in turn.
        for name in sorted(subjects, reverse=bool(number % 2)):
            for what, value in subjects[name].measure().items():
                rounds[what][name].append(value)
    for subject in subjects.values():
        subject.close()
    return rounds


def report(rounds):
    """Print the table; whether everything that is required was reached."""
    print(
        f"{'microseconds (median)':28}{'mod_pipeline':>14}{'RelStorage':>14}{'ratio':>8}  must be"
    )
    reached = True
    for what, required in REQUIRED.items():
        ours = statistics.median(rounds[what]["mod_pipeline"])
        theirs = statistics.median(rounds[what]["RelStorage"])
        ratio = theirs / ours
        verdict = ""
        if required is not None:
            verdict = f"{required:.1f}" + ("" if ratio >= required else "  MISSED")
            reached = reached and ratio >= required
        print(f"{what:28}{ours:14.2f}{theirs:14.2f}{ratio:8.2f}  {verdict}")
    return reached


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--objects", type=int, default=20000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mod_pipeline-bench-") as folder:
        rounds = run(arguments, folder)
    return 0 if report(rounds) else 1


# Only the program measures; who imports this wants its parts.
if __name__ == "__main__":
    sys.exit(main())
