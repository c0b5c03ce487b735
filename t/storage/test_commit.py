# SPDX-License-Identifier: Apache-2.0
"""Commits, conflicts, snapshots and invalidations through the storage API."""

import sqlite3
import threading
import time

import pytest
import transaction as transactions
from persistent import Persistent
from persistent.TimeStamp import TimeStamp
from ZODB import DB
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import (
    ConflictError,
    POSKeyError,
    ReadConflictError,
    StorageTransactionError,
)
from ZODB.tests.ConflictResolution import PCounter, PCounter2
from ZODB.tests.MinPO import MinPO
from ZODB.tests.StorageTestBase import zodb_pickle, zodb_unpickle
from ZODB.utils import p64, u64, z64

from mod_pipeline.storage import StorageRetryError

OID = p64(1)


def counter(value, factory=PCounter):
    result = factory()
    result._value = value
    return zodb_pickle(result)


# Conflicts


def test_conflict_is_resolved_from_the_snapshot_of_another_process(open_storage, commit):
    """The old state is in nobody's cache: it comes from the snapshot that the view still has."""
    ours, theirs = open_storage(cache_local_mb=0), open_storage(cache_local_mb=0)
    first = commit(theirs, (OID, z64, counter(1)))
    view = ours.new_instance()
    view.poll_invalidations()
    second = commit(theirs, (OID, first, counter(11)))

    txn = TransactionMetaData()
    view.tpc_begin(txn)
    view.store(OID, first, counter(101), "", txn)
    assert view.tpc_vote(txn) == [OID]
    tid = view.tpc_finish(txn)
    assert tid > second
    view.poll_invalidations()
    data, serial = view.load(OID)
    assert serial == tid
    assert zodb_unpickle(data)._value == 111


def test_conflict_of_an_object_stored_after_others_were_stored_often_is_resolved(storage, commit):
    first = commit(storage, (OID, z64, counter(1)))
    commit(storage, (OID, first, counter(11)))
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for _ in range(3):
        storage.store(p64(2), z64, b"other", "", txn)
    storage.store(OID, first, counter(101), "", txn)
    assert storage.tpc_vote(txn) == [OID]
    storage.tpc_finish(txn)
    assert zodb_unpickle(storage.load(OID)[0])._value == 111


def test_unresolved_conflict_names_object_serials_and_class(storage, commit):
    first = commit(storage, (OID, z64, counter(1, PCounter2)))
    second = commit(storage, (OID, first, counter(2, PCounter2)))
    with pytest.raises(ConflictError) as caught:
        commit(storage, (OID, first, counter(3, PCounter2)))
    assert caught.value.oid == OID
    assert caught.value.serials == (second, first)
    assert caught.value.class_name == "ZODB.tests.ConflictResolution.PCounter2"
    assert zodb_unpickle(storage.load(OID)[0])._value == 2


def test_one_conflict_that_fails_undoes_those_that_were_resolved(storage, commit):
    first = commit(storage, (p64(1), z64, counter(1)), (p64(2), z64, counter(1, PCounter2)))
    commit(storage, (p64(1), first, counter(2)), (p64(2), first, counter(2, PCounter2)))
    with pytest.raises(ConflictError):
        commit(storage, (p64(1), first, counter(5)), (p64(2), first, counter(5, PCounter2)))
    assert zodb_unpickle(storage.load(p64(1))[0])._value == 2


def test_new_object_on_a_taken_oid_conflicts(storage, commit):
    commit(storage, (OID, z64, zodb_pickle(MinPO(1))))
    with pytest.raises(ConflictError):
        commit(storage, (OID, z64, zodb_pickle(MinPO(2))))


def test_lock_is_free_after_a_failed_vote_before_the_abort(storage, open_storage, commit):
    first = commit(storage, (OID, z64, zodb_pickle(MinPO(1))))
    commit(storage, (OID, first, zodb_pickle(MinPO(2))))
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(OID, first, zodb_pickle(MinPO(3)), "", txn)
    with pytest.raises(ConflictError):
        storage.tpc_vote(txn)
    other = open_storage(commit_lock_timeout=0)
    commit(other, (p64(2), z64, b"state"))
    with pytest.raises(StorageTransactionError):
        storage.tpc_finish(txn)
    storage.tpc_abort(txn)


# readCurrent


def test_read_current_conflicts_when_the_object_has_changed(storage, commit):
    first = commit(storage, (OID, z64, b"one"))
    second = commit(storage, (OID, first, b"two"))
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(p64(2), z64, b"state", "", txn)
    storage.checkCurrentSerialInTransaction(OID, first, txn)
    with pytest.raises(ReadConflictError) as caught:
        storage.tpc_vote(txn)
    storage.tpc_abort(txn)
    assert (caught.value.oid, caught.value.serials) == (OID, (second, first))
    with pytest.raises(POSKeyError):
        storage.load(p64(2))


def test_read_current_holds_from_vote_to_finish(open_storage, commit):
    ours, theirs = open_storage(), open_storage(commit_lock_timeout=0)
    first = commit(ours, (OID, z64, b"one"))
    txn = TransactionMetaData()
    ours.tpc_begin(txn)
    ours.store(p64(2), z64, b"state", "", txn)
    ours.checkCurrentSerialInTransaction(OID, first, txn)
    ours.tpc_vote(txn)
    with pytest.raises(StorageRetryError, match="locked"):
        commit(theirs, (OID, first, b"two"))
    ours.tpc_finish(txn)
    commit(theirs, (OID, first, b"two"))


# Tids and phases


def test_tid_is_the_time_and_above_every_other(storage, open_storage, commit, folder):
    before = time.time()
    tid = commit(storage, (OID, z64, b"one"))
    assert before - 0.001 <= TimeStamp(tid).timeTime() <= time.time() + 0.001
    # Somebody's clock is a day ahead.
    ahead = u64(tid) + (1440 << 32)
    database = sqlite3.connect(folder / "main.sqlite3")
    with database:
        database.execute("UPDATE object_state SET tid = ?", (ahead,))
    database.close()
    assert u64(commit(open_storage(), (p64(2), z64, b"two"))) == ahead + 1


def test_given_tid_is_used_and_must_be_above_the_last(storage, commit):
    given = p64(u64(commit(storage, (OID, z64, b"one"))) + 5)
    assert commit(storage, (p64(2), z64, b"two"), tid=given) == given
    with pytest.raises(ValueError, match="not above"):
        commit(storage, (p64(3), z64, b"three"), tid=given)
    with pytest.raises(POSKeyError):
        storage.load(p64(3))


def test_second_begin_in_the_same_thread_raises_instead_of_waiting_for_ever(storage):
    first, second = TransactionMetaData(), TransactionMetaData()
    storage.tpc_begin(first)
    with pytest.raises(StorageTransactionError):
        storage.tpc_begin(second)
    storage.tpc_abort(first)
    storage.tpc_begin(second)
    storage.tpc_abort(second)


def test_finish_without_vote_raises_and_stores_nothing(storage):
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(OID, z64, b"state", "", txn)
    with pytest.raises(StorageTransactionError):
        storage.tpc_finish(txn)
    with pytest.raises(POSKeyError):
        storage.load(OID)


def test_wrong_transaction_is_named_whatever_failed_before(storage):
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    with pytest.raises(ValueError, match="beyond what the database can hold"):
        storage.store(b"\xff" * 8, z64, b"state", "", txn)
    with pytest.raises(StorageTransactionError, match="does not fit the phase"):
        storage.tpc_vote(TransactionMetaData())
    storage.tpc_abort(txn)


def test_callback_that_raises_leaves_the_committed_transaction_behind(storage):
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(OID, z64, b"state", "", txn)
    storage.tpc_vote(txn)

    def callback(tid):
        raise RuntimeError(tid)

    with pytest.raises(RuntimeError) as caught:
        storage.tpc_finish(txn, callback)
    assert storage.load(OID) == (b"state", caught.value.args[0])
    assert storage.tpc_transaction() is None


def test_last_store_of_an_object_wins(storage, commit):
    commit(storage, (OID, z64, b"one"), (p64(2), z64, b"other"), (OID, z64, b"two"))
    assert storage.load(OID)[0] == b"two"
    assert len(storage) == 2


def test_empty_and_large_records_come_back_whole(storage, commit):
    large = bytes(range(256)) * 40000
    tid = commit(storage, (p64(1), z64, b""), (p64(2), z64, large))
    assert storage.load(p64(1)) == (b"", tid)
    assert storage.load(p64(2)) == (large, tid)


@pytest.mark.parametrize("oid", [b"\xff" * 8, p64(1 << 63)])
def test_oid_beyond_sql_is_refused_or_missing(storage, commit, oid):
    with pytest.raises(ValueError, match="beyond"):
        commit(storage, (oid, z64, b"state"))
    with pytest.raises(POSKeyError):
        storage.load(oid)


@pytest.mark.parametrize("oid", [b"", b"1234567", b"123456789", "12345678", 1, None])
def test_malformed_oid_is_a_type_error(storage, oid):
    with pytest.raises(TypeError):
        storage.load(oid)


# Snapshots and invalidations


def test_view_keeps_its_snapshot_until_it_polls(storage, commit):
    view = storage.new_instance()
    first = commit(storage, (OID, z64, b"one"))
    assert view.poll_invalidations() == []
    second = commit(storage, (OID, first, b"two"))
    commit(storage, (p64(2), z64, b"new"))
    assert view.load(OID) == (b"one", first)
    with pytest.raises(POSKeyError):
        view.load(p64(2))
    assert view.lastTransaction() == first
    assert sorted(view.poll_invalidations()) == [OID, p64(2)]
    assert view.load(OID) == (b"two", second)
    assert view.poll_invalidations() == []
    view.release()


def test_changes_seen_by_an_implicit_snapshot_are_reported_by_the_next_poll(storage, commit):
    view = storage.new_instance()
    first = commit(storage, (OID, z64, b"one"))
    view.poll_invalidations()
    view.load(OID)
    view.afterCompletion()
    commit(storage, (OID, first, b"two"))
    assert view.load(OID)[0] == b"two"
    assert view.poll_invalidations() == [OID]
    view.release()


def test_own_commit_is_not_reported_but_a_later_one_is(storage, open_storage, commit):
    view, other = storage.new_instance(), open_storage()
    # The view has never polled, and the database was empty when it committed.
    first = commit(view, (OID, z64, b"one"))
    second = commit(other, (p64(2), z64, b"two"))
    assert view.poll_invalidations() == [p64(2)]
    commit(view, (OID, first, b"three"))
    assert view.poll_invalidations() == []
    commit(other, (p64(2), second, b"four"))
    assert view.poll_invalidations() == [p64(2)]
    view.release()


def test_reading_between_vote_and_finish_sees_the_snapshot(storage, commit):
    view = storage.new_instance()
    first = commit(storage, (OID, z64, b"one"), (p64(2), z64, b"other"))
    view.poll_invalidations()
    txn = TransactionMetaData()
    view.tpc_begin(txn)
    view.store(OID, first, b"two", "", txn)
    view.tpc_vote(txn)
    assert view.load(OID) == (b"one", first)
    assert view.load(p64(2)) == (b"other", first)
    view.tpc_finish(txn)
    assert view.load(OID)[0] == b"two"
    view.release()


def test_two_views_of_one_cache_each_see_their_own_time(storage, commit):
    old, new = storage.new_instance(), storage.new_instance()
    first = commit(storage, (OID, z64, b"one"))
    old.poll_invalidations()
    second = commit(storage, (OID, first, b"two"))
    new.poll_invalidations()
    for _ in range(2):
        assert new.load(OID) == (b"two", second)
        assert old.load(OID) == (b"one", first)
    old.release()
    new.release()


def test_too_many_changes_flush_everything(storage, open_storage, commit):
    view = storage.new_instance()
    commit(storage, (OID, z64, b"one"))
    view.poll_invalidations()
    commit(open_storage(), *((p64(n), z64, b"x") for n in range(2, 100100)))
    assert view.poll_invalidations() is None
    assert view.load(p64(100099))[0] == b"x"
    view.release()


def test_cache_stays_within_its_limit(open_storage, commit):
    storage = open_storage(cache_local_mb=1)
    view = storage.new_instance()
    records = [(p64(n), z64, bytes(1000)) for n in range(1, 3000)]
    commit(storage, *records)
    view.poll_invalidations()
    view.prefetch([oid for oid, _, _ in records])
    stats = storage.cache_stats()
    assert 0.95 * stats["limit"] < stats["bytes"] <= stats["limit"] == 1 << 20
    view.release()


def test_prefetched_objects_are_loaded_from_memory(storage, commit, folder):
    commit(storage, *((p64(n), z64, b"state %d" % n) for n in range(1, 11)))
    view = storage.new_instance()
    view.poll_invalidations()
    view.prefetch([p64(n) for n in range(1, 13)])
    before = storage.cache_stats()
    assert [view.load(p64(n))[0] for n in range(1, 11)] == [b"state %d" % n for n in range(1, 11)]
    after = storage.cache_stats()
    assert (after["hits"] - before["hits"], after["misses"] - before["misses"]) == (10, 0)
    view.release()


# Iteration


def test_iterator_gives_transactions_with_their_current_records(storage, commit):
    tids = [
        commit(storage, (p64(n), z64, b"%d" % n), (p64(n + 1000), z64, b"")) for n in range(300)
    ]
    last = commit(storage, (p64(0), tids[0], b"again"))
    found = [(t.tid, [(r.oid, r.tid, r.data) for r in t]) for t in storage.iterator()]
    assert [tid for tid, _ in found] == [*tids, last]
    assert found[0][1] == [(p64(1000), tids[0], b"")]
    assert found[-1][1] == [(p64(0), last, b"again")]
    inclusive = [t.tid for t in storage.iterator(tids[3], tids[7])]
    assert inclusive == tids[3:8]


def test_record_iternext_gives_every_record_once_by_oid(storage, commit):
    commit(storage, *((p64(n), z64, b"%d" % n) for n in range(600)))
    found, cookie = [], None
    while True:
        oid, _, data, cookie = storage.record_iternext(cookie)
        found.append((u64(oid), data))
        if cookie is None:
            break
    assert found == [(n, b"%d" % n) for n in range(600)]
    assert storage.record_iternext(p64(500))[0] == p64(500)
    with pytest.raises(POSKeyError):
        storage.record_iternext(p64(600))


def test_iterations_see_one_state_to_the_end(storage, commit):
    first = commit(storage, *((p64(n), z64, b"old") for n in range(600)))
    _, _, _, cookie = storage.record_iternext()
    transactions_ = storage.iterator()
    commit(storage, *((p64(n), first, b"new") for n in range(0, 600, 2)))
    assert [record.data for record in next(transactions_)] == [b"old"] * 600
    with pytest.raises(StopIteration):
        next(transactions_)
    again, count = cookie, 1
    while cookie is not None:
        _, _, data, cookie = storage.record_iternext(cookie)
        assert data == b"old"
        count += 1
    assert count == 600
    assert storage.record_iternext(again)[0] == p64(1)


# Through ZODB


class Account(Persistent):
    balance = 0


def test_connections_of_two_databases_see_each_other_after_a_sync(open_storage):
    ours, theirs = DB(open_storage()), DB(open_storage())
    with ours.transaction() as connection:
        connection.root()["account"] = Account()
    manager = transactions.TransactionManager()
    reader = theirs.open(manager)
    assert reader.root()["account"].balance == 0
    with ours.transaction() as connection:
        connection.root()["account"].balance = 7
    assert reader.root()["account"].balance == 0
    manager.begin()
    assert reader.root()["account"].balance == 7
    reader.close()
    ours.close()
    theirs.close()


def test_historical_connection_shows_what_the_process_remembers(storage):
    db = DB(storage)
    with db.transaction() as connection:
        connection.root()["n"] = 1
    past = db.lastTransaction()
    with db.transaction() as connection:
        connection.root()["n"] = 2
    before = db.open(at=past)
    assert before.root()["n"] == 1
    before.close()
    db.close()


def test_concurrent_increments_of_many_threads_are_all_counted(storage):
    db = DB(storage)
    with db.transaction() as connection:
        # Its class resolves conflicts only of a value that the state has.
        connection.root()["counter"] = PCounter()
        connection.root()["counter"].inc(0)

    def work():
        for _ in range(25):
            manager = transactions.TransactionManager()
            connection = db.open(manager)
            connection.root()["counter"].inc()
            manager.commit()
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with db.transaction() as connection:
        assert connection.root()["counter"]._value == 100
    db.close()


# What else ZODB asks


def test_storage_describes_itself(storage, uri, commit):
    first = commit(storage, (OID, z64, b"one"))
    assert storage.getName() == storage.sortKey() == storage.new_instance().sortKey() == uri
    assert storage.getSize() > 8192
    assert storage.getTid(OID) == first
    assert [(entry["tid"], entry["size"]) for entry in storage.history(OID, size=2)] == [(first, 3)]
    with pytest.raises(POSKeyError):
        storage.history(p64(2))


def test_retry_error_is_one_that_transaction_managers_try_again():
    assert issubclass(StorageRetryError, transactions.interfaces.TransientError)


def test_wrapper_that_transforms_records_reaches_every_instance(storage):
    class Wrapper:
        def transform_record_data(self, data):
            return b"." + data

        def untransform_record_data(self, data):
            return data[1:]

    storage.registerDB(Wrapper())
    view = storage.new_instance()
    assert view._crs_untransform_record_data(view._crs_transform_record_data(b"x")) == b"x"
    assert view._crs_transform_record_data(b"x") == b".x"
    view.release()


@pytest.mark.parametrize(
    ("method", "arguments", "names"),
    [
        ("load", (), {}),
        ("load", (OID, "", ""), {}),
        ("load", (OID,), {"colour": 1}),
        ("load", (OID,), {"oid": OID}),
        ("store", (OID, z64, b"", ""), {}),
        ("tpc_begin", (), {"status": " "}),
    ],
)
def test_wrong_arguments_are_a_type_error(storage, method, arguments, names):
    with pytest.raises(TypeError, match=method):
        getattr(storage, method)(*arguments, **names)


def test_arguments_can_be_given_by_name(storage):
    txn = TransactionMetaData()
    storage.tpc_begin(transaction=txn, tid=p64(77), status=" ")
    storage.store(oid=OID, serial=None, data=b"one", version="", transaction=txn)
    storage.checkCurrentSerialInTransaction(oid=OID, serial=z64, transaction=txn)
    storage.tpc_vote(txn)
    seen = []
    assert storage.tpc_finish(txn, func=seen.append) == p64(77)
    assert seen == [p64(77)]
    assert storage.load(oid=OID, version="") == (b"one", p64(77))
    storage.sync(force=True)
