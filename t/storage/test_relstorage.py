# SPDX-License-Identifier: Apache-2.0
"""Our storage and RelStorage 4.3 take turns on one database, in both directions."""

import re
import sqlite3

import pytest
from persistent.mapping import PersistentMapping
from ZODB import DB
from ZODB.POSException import ConflictError
from ZODB.tests.ConflictResolution import PCounter
from ZODB.tests.StorageTestBase import zodb_pickle, zodb_unpickle
from ZODB.utils import p64, u64, z64


def fresh(storage):
    """A view of what is committed now."""
    view = storage.new_instance()
    view.poll_invalidations()
    return view


def load(storage, oid):
    view = fresh(storage)
    try:
        return view.load(oid)
    finally:
        view.release()


@pytest.fixture(params=["ours first", "RelStorage first"])
def both(request, open_storage, open_relstorage):
    """Both storages on one database, made by whichever is opened first."""
    if request.param == "ours first":
        ours = open_storage()
        return ours, open_relstorage()
    theirs = open_relstorage()
    return open_storage(), theirs


def schema(path):
    database = sqlite3.connect(path)
    rows = database.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE name != 'sqlite_stat1'"
    )
    found = {(kind, name): re.sub(r"\s+", " ", sql or "") for kind, name, sql in rows}
    settings = [
        database.execute(f"PRAGMA {name}").fetchone()
        for name in ("page_size", "journal_mode", "user_version", "application_id", "encoding")
    ]
    rows = (
        database.execute("SELECT * FROM commit_row_lock").fetchall() if "main" in path.name else 0
    )
    database.close()
    return found, settings, rows


@pytest.mark.parametrize("name", ["main.sqlite3", "oids.sqlite3"])
def test_schema_is_the_same_to_the_letter(tmp_path, name):
    from relstorage.adapters.sqlite.adapter import Sqlite3Adapter
    from relstorage.options import Options
    from relstorage.storage import RelStorage

    import mod_pipeline.storage

    options = Options(keep_history=False)
    adapter = Sqlite3Adapter(str(tmp_path / "theirs"), pragmas={}, options=options)
    theirs = RelStorage(adapter, options=options)
    ours = mod_pipeline.storage.open(f"sqlite://{tmp_path}/ours")
    theirs.new_oid()
    ours.new_oid()
    assert schema(tmp_path / "ours" / name) == schema(tmp_path / "theirs" / name)
    theirs.close()
    ours.close()


def test_commits_alternate_and_each_reads_the_other(both, commit):
    serial, tids = z64, []
    for turn in range(10):
        writer, reader = both[turn % 2], both[(turn + 1) % 2]
        data = zodb_pickle(PersistentMapping(turn=turn))
        view = fresh(writer)
        serial = commit(view, (p64(1), serial, data))
        view.release()
        tids.append(serial)
        assert load(reader, p64(1)) == (data, serial)
        assert load(writer, p64(1)) == (data, serial)
    assert tids == sorted(set(tids))


def test_oids_never_collide(both):
    ours, theirs = both
    instances = [storage.new_instance() for storage in (ours, theirs, ours, theirs)]
    oids = [instance.new_oid() for _ in range(100) for instance in instances]
    assert len(set(oids)) == len(oids)
    for instance in instances:
        instance.release()


def test_first_grants_are_the_ranges_of_sixteen(both):
    ours, theirs = both
    assert [u64(ours.new_oid()) for _ in range(16)] == list(range(1, 17))
    assert [u64(theirs.new_oid()) for _ in range(16)] == list(range(17, 33))
    # Ours has grown its appetite: it takes the third and fourth range.
    assert [u64(ours.new_oid()) for _ in range(32)] == list(range(33, 65))
    assert u64(theirs.new_oid()) == 65


@pytest.mark.parametrize("writer", [0, 1])
def test_imported_oids_are_not_granted_again(both, commit, writer):
    commit(both[writer], (p64(5000), z64, zodb_pickle(PersistentMapping())))
    for storage in both:
        instance = storage.new_instance()
        assert u64(instance.new_oid()) > 5000
        instance.release()


def test_lost_file_of_oids_is_made_again_above_every_object(open_storage, commit, folder):
    commit(open_storage(), (p64(777), z64, b"state"))
    for path in folder.glob("oids.sqlite3*"):
        path.unlink()
    assert u64(open_storage().new_oid()) > 777


def test_invalidations_cross_over(both, commit):
    ours, theirs = both
    our_view, their_view = fresh(ours), fresh(theirs)
    data = zodb_pickle(PersistentMapping())
    first = commit(theirs, (p64(1), z64, data))
    assert list(our_view.poll_invalidations()) == [p64(1)]
    assert list(their_view.poll_invalidations() or [p64(1)]) == [p64(1)]
    commit(our_view, (p64(1), first, data))
    assert list(their_view.poll_invalidations()) == [p64(1)]
    our_view.release()
    their_view.release()


@pytest.mark.parametrize("winner", [0, 1])
def test_conflicts_between_the_two_are_seen(both, commit, winner):
    data = zodb_pickle(PersistentMapping())
    first = commit(both[winner], (p64(1), z64, data))
    loser = fresh(both[1 - winner])
    loser.load(p64(1))
    second = commit(both[winner], (p64(1), first, data))
    with pytest.raises(ConflictError) as caught:
        commit(loser, (p64(1), first, data))
    assert caught.value.serials == (second, first)
    loser.release()


def test_conflicts_between_the_two_are_resolved(both, commit):
    ours, theirs = both

    def record(value):
        counter = PCounter()
        counter._value = value
        return zodb_pickle(counter)

    first = commit(ours, (p64(1), z64, record(1)))
    our_view, their_view = fresh(ours), fresh(theirs)
    our_view.load(p64(1))
    their_view.load(p64(1))
    commit(their_view, (p64(1), first, record(11)))
    commit(our_view, (p64(1), first, record(101)))
    data, _ = load(theirs, p64(1))
    assert zodb_unpickle(data)._value == 111
    our_view.release()
    their_view.release()


def test_either_waits_for_the_commit_lock_of_the_other(open_storage, open_relstorage, commit):
    from relstorage.adapters.interfaces import UnableToAcquireLockError
    from ZODB.Connection import TransactionMetaData

    from mod_pipeline.storage import StorageRetryError

    ours = open_storage(commit_lock_timeout=0)
    theirs = open_relstorage(commit_lock_timeout=1)
    data = zodb_pickle(PersistentMapping())
    transaction = TransactionMetaData()
    theirs.tpc_begin(transaction)
    theirs.store(p64(1), z64, data, "", transaction)
    theirs.tpc_vote(transaction)
    with pytest.raises(StorageRetryError):
        commit(ours, (p64(2), z64, data))
    theirs.tpc_finish(transaction)

    ours.tpc_begin(transaction)
    ours.store(p64(2), z64, data, "", transaction)
    ours.tpc_vote(transaction)
    blocked = theirs.new_instance()
    with pytest.raises((UnableToAcquireLockError, sqlite3.OperationalError)):
        commit(blocked, (p64(3), z64, data))
    ours.tpc_finish(transaction)


def test_blobs_of_an_object_survive_our_update_of_it(open_relstorage, open_storage, commit, folder):
    """An upsert must not delete the row: RelStorage's blob chunks hang on it."""
    theirs = open_relstorage()
    first = commit(theirs, (p64(1), z64, zodb_pickle(PersistentMapping())))
    database = sqlite3.connect(folder / "main.sqlite3")
    with database:
        database.execute("INSERT INTO blob_chunk VALUES (1, 0, ?, 'chunk')", (u64(first),))
    commit(open_storage(), (p64(1), first, zodb_pickle(PersistentMapping(a=1))))
    assert database.execute("SELECT COUNT(*) FROM blob_chunk").fetchone() == (1,)
    database.close()


def test_application_moves_over_and_back(both):
    for turn, storage in enumerate([*both, *both]):
        db = DB(storage.new_instance())
        with db.transaction() as connection:
            root = connection.root()
            assert sorted(root) == list(range(turn))
            for value in root.values():
                assert value["text"] == "x" * 100
            root[turn] = PersistentMapping(text="x" * 100)
        for connection in list(db.pool.all):
            connection._storage.release()
