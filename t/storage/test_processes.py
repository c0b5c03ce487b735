# SPDX-License-Identifier: Apache-2.0
"""Several processes on one database: forks, crashes, and threads beside a waiting one."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback

import pytest
import ZODB
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import StorageError
from ZODB.utils import p64, u64, z64

import mod_pipeline.storage
from t.storage.conftest import commit_records
from t.support import environment


def in_child(work):
    """Run work() in a fork; its exit status, after any traceback was printed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check_database(folder):
    database = sqlite3.connect(folder / "main.sqlite3")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


# Forks


def test_nothing_crosses_a_fork_and_the_parent_is_not_harmed(storage, uri, folder, commit):
    first = commit(storage, (p64(1), z64, b"one"))
    view = storage.new_instance()
    view.poll_invalidations()
    view.load(p64(1))
    voted = TransactionMetaData()
    storage.tpc_begin(voted)
    storage.store(p64(2), z64, b"two", "", voted)
    storage.tpc_vote(voted)

    def child():
        for call in (
            lambda: view.load(p64(1)),
            lambda: view.load(p64(9)),
            lambda: storage.tpc_finish(voted),
            storage.new_oid,
            storage.new_instance,
            storage.lastTransaction,
        ):
            with pytest.raises(StorageError, match="before a fork"):
                call()
        assert view.poll_invalidations() is None
        view.release()
        storage.close()
        # What the child opens for itself is its own.
        own = mod_pipeline.storage.open(uri)
        assert own.load(p64(1)) == (b"one", first)
        own.close()

    assert in_child(child) == 0
    # The child has neither given up the parent's lock nor its transaction.
    other = mod_pipeline.storage.open(uri, commit_lock_timeout=0)
    with pytest.raises(mod_pipeline.storage.StorageRetryError):
        commit(other, (p64(3), z64, b"three"))
    storage.tpc_finish(voted)
    commit(other, (p64(3), z64, b"three"))
    other.close()
    view.poll_invalidations()
    assert view.load(p64(2))[0] == b"two"
    view.release()
    check_database(folder)


def test_child_of_a_threaded_parent_is_refused_instead_of_waiting(storage, commit):
    """A turn or a lock that a thread of the parent has at the fork must not stop the child."""
    commit(storage, *((p64(n), z64, b"x") for n in range(100)))
    views = [storage.new_instance() for _ in range(2)]
    stop = threading.Event()

    def read(view):
        while not stop.is_set():
            view.poll_invalidations()
            view.prefetch([p64(n) for n in range(100)])

    threads = [threading.Thread(target=read, args=(view,)) for view in views]
    for thread in threads:
        thread.start()

    def child():
        signal.alarm(20)
        for instance in (storage, *views):
            with pytest.raises(StorageError, match="before a fork"):
                instance.load(p64(1))

    statuses = [in_child(child) for _ in range(20)]
    stop.set()
    for thread in threads:
        thread.join()
    for view in views:
        view.release()
    assert statuses == [0] * 20


def test_child_is_refused_to_begin_where_a_thread_of_the_parent_has_begun(storage):
    txn = TransactionMetaData()
    thread = threading.Thread(target=storage.tpc_begin, args=(txn,))
    thread.start()
    thread.join()

    def child():
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        with pytest.raises(StorageError, match="before a fork"):
            storage.tpc_begin(TransactionMetaData())

    assert in_child(child) == 0
    storage.tpc_abort(txn)


# Crashes

CRASHER = """
import sys
import mod_pipeline.storage
from ZODB.utils import p64
from t.storage.conftest import commit_records

storage = mod_pipeline.storage.open(sys.argv[1])
view = storage.new_instance()
number = int(sys.argv[2])
while True:
    view.poll_invalidations()
    serials = [view.load(p64(n))[1] for n in (1, 2)]
    number += 1
    data = b'%d' % number
    commit_records(view, (p64(1), serials[0], data), (p64(2), serials[1], data))
    print(number, flush=True)
"""


def test_kill_9_in_commit_leaves_a_sound_database(storage, uri, folder, commit):
    """Both objects of a transaction always agree, and what was reported as committed is there."""
    commit(storage, (p64(1), z64, b"0"), (p64(2), z64, b"0"))
    number = 0
    for round_ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", CRASHER, uri, str(number)],
            stdout=subprocess.PIPE,
            env=environment.extension_environment(),
            cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
        )
        for _ in range(10 + round_):
            line = process.stdout.readline()
        # At a moment that the commits do not choose.
        time.sleep(0.0003 * round_)
        process.kill()
        lines = (line + process.stdout.read()).split()
        process.wait()
        process.stdout.close()
        view = storage.new_instance()
        view.poll_invalidations()
        one, two = view.load(p64(1)), view.load(p64(2))
        view.release()
        assert one == two
        number = int(one[0])
        assert number >= int(lines[-1])
        check_database(folder)
    commit(storage, (p64(1), one[1], b"after"))


# Committing together

COMMITTER = """
import sys
import mod_pipeline.storage
from ZODB import DB
from ZODB.POSException import ConflictError
from persistent.mapping import PersistentMapping
import transaction

storage = mod_pipeline.storage.open(sys.argv[1])
db = DB(storage)
connection = db.open()
for n in range(int(sys.argv[3])):
    while True:
        transaction.begin()
        root = connection.root()
        root[sys.argv[2]] = PersistentMapping(n=n)
        root['count'] = root.get('count', 0) + 1
        try:
            transaction.commit()
            break
        except ConflictError:
            transaction.abort()
    print(int.from_bytes(root[sys.argv[2]]._p_oid, 'big'))
db.close()
"""


def test_two_processes_commit_and_lose_nothing(uri, storage, folder):
    db = ZODB.DB(storage)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COMMITTER, uri, name, "60"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment.extension_environment(),
        )
        for name in ("one", "two")
    ]
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert len({oid for output in outputs for oid in output}) == 120
    with db.transaction() as connection:
        assert connection.root()["count"] == 120
        assert connection.root()["one"]["n"] == connection.root()["two"]["n"] == 59
    db.close()
    check_database(folder)


# The GIL


def test_other_threads_run_while_one_waits_for_the_commit_lock(uri, storage, commit):
    holder = mod_pipeline.storage.open(uri)
    voted = TransactionMetaData()
    holder.tpc_begin(voted)
    holder.store(p64(1), z64, b"one", "", voted)
    holder.tpc_vote(voted)

    waiting = threading.Event()
    result = []

    def wait():
        waiting.set()
        result.append(commit(storage, (p64(2), z64, b"two")))

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    steps, end = 0, time.monotonic() + 0.5
    while time.monotonic() < end:
        steps += 1
        time.sleep(0.001)
    assert thread.is_alive()
    tid = holder.tpc_finish(voted)
    thread.join(10)
    holder.close()
    assert not thread.is_alive()
    assert u64(result[0]) > u64(tid)
    # With the GIL held, this thread would have made no step before the lock was free.
    assert steps > 50


def test_thread_that_waits_for_another_threads_transaction_lets_others_run(storage):
    first, second = TransactionMetaData(), TransactionMetaData()
    storage.tpc_begin(first)
    order = []

    def begin():
        storage.tpc_begin(second)
        order.append("second")
        storage.tpc_abort(second)

    thread = threading.Thread(target=begin)
    thread.start()
    time.sleep(0.1)
    order.append("first")
    storage.tpc_abort(first)
    thread.join(10)
    assert order == ["first", "second"]


def test_commit_helper_aborts_what_fails(storage):
    """The helper of these tests leaves nothing under way."""
    with pytest.raises(TypeError):
        commit_records(storage, (p64(1), z64, "no bytes"))
    assert storage.tpc_transaction() is None


# A full disk


def test_commit_that_cannot_be_written_leaves_nothing_and_the_next_one_works(uri, folder):
    def child():
        storage = mod_pipeline.storage.open(uri)
        first = commit_records(storage, (p64(1), z64, b"one"))
        view = storage.new_instance()
        view.poll_invalidations()
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200000, hard))
        for _ in range(3):
            with pytest.raises(StorageError, match="disk"):
                commit_records(view, (p64(1), first, bytes(1000000)), (p64(2), z64, b"two"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        view.poll_invalidations()
        assert view.load(p64(1)) == (b"one", first)
        with pytest.raises(KeyError):
            view.load(p64(2))
        commit_records(view, (p64(1), first, bytes(1000000)))
        view.release()
        storage.close()

    assert in_child(child) == 0
    check_database(folder)
