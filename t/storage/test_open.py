# SPDX-License-Identifier: Apache-2.0
"""Opening: URIs and their options, what is created, and what is refused."""

import os
import sqlite3

import pytest
from relstorage.adapters.sqlite.adapter import Sqlite3Adapter
from relstorage.options import Options
from relstorage.storage import RelStorage
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ReadOnlyError, StorageError
from ZODB.utils import p64, z64

import mod_pipeline.storage
from mod_pipeline import _storage


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("colour=blue", 'unknown option "colour"; the options are: create, read-only'),
        ("pool-max", 'option "pool-max" has no value'),
        ("pool-max=1", 'option pool-max is "1", but must be a whole number from 2 to 1024'),
        ("pool-max=1025", "must be a whole number from 2 to 1024"),
        ("pool-max=ten", "must be a whole number from 2 to 1024"),
        ("pool-max=-3", "must be a whole number from 2 to 1024"),
        ("pool-max=", "must be a whole number from 2 to 1024"),
        ("cache-local-mb=99999999999999999999", "must be a whole number from 0 to 65536"),
        ("create=maybe", 'option create is "maybe", but must be one of: false, true'),
        ("synchronous=2", "must be one of: off, normal, full, extra"),
        ("pool-ttl=1&pool-ttl=2", "option pool-ttl is given twice"),
        ("pool-min=9&pool-soft-max=8", "must not decrease in this order"),
        ("pool-ttl=%zz", "option pool-ttl has a malformed % escape"),
        ("pool-ttl=1%0", "option pool-ttl has a malformed % escape"),
    ],
)
def test_wrong_option_is_refused_by_name_and_range(uri, folder, options, reason):
    with pytest.raises(ValueError, match="storage URI") as caught:
        mod_pipeline.storage.open(f"{uri}?{options}")
    assert reason in str(caught.value)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("/var/lib/pipeline", "it has no scheme"),
        ("sqlite://relative", "its path is not absolute"),
        ("sqlite:///?create=false", "its path is the root directory"),
        ("sqlite:///a\nb?create=false", "its path has a control character"),
        ("sqlite:///a%00b", "its path has a malformed % escape"),
        ("oracle:///a", "no storage is known by this scheme"),
    ],
)
def test_wrong_uri_is_refused_with_its_reason(uri, reason):
    with pytest.raises(ValueError, match="storage URI") as caught:
        mod_pipeline.storage.open(uri)
    assert reason in str(caught.value)


@pytest.mark.parametrize("rest", ["\0", "\0x?read-only=true", "?read-only=true\0", "?a=\0b"])
def test_nul_does_not_cut_the_uri(uri, folder, rest):
    with pytest.raises(ValueError, match="NUL"):
        mod_pipeline.storage.open(uri + rest)
    assert not folder.exists()


@pytest.mark.parametrize("wrong", [None, 5, b"sqlite:///a"])
@pytest.mark.parametrize("options", [{}, {"create": False}])
def test_uri_that_is_no_string_is_a_type_error(wrong, options):
    kind = type(wrong).__name__
    with pytest.raises(TypeError, match=f"uri must be a string, not {kind}"):
        mod_pipeline.storage.open(wrong, **options)
    with pytest.raises(TypeError, match=f"uri must be a string, not {kind}"):
        _storage.open(wrong)


def test_keyword_options_are_the_options_of_the_uri(uri):
    with pytest.raises(ValueError, match="cache-local-mb"):
        mod_pipeline.storage.open(uri, cache_local_mb="a&b=c")
    storage = mod_pipeline.storage.open(f"{uri}?create=true", cache_local_mb=3)
    assert storage.cache_stats()["limit"] == 3 << 20
    storage.close()


def test_path_is_percent_decoded(tmp_path):
    storage = mod_pipeline.storage.open(f"sqlite://{tmp_path}/a%20b")
    storage.close()
    assert (tmp_path / "a b" / "main.sqlite3").exists()


def test_create_false_refuses_what_is_not_there(uri, folder):
    with pytest.raises(StorageError):
        mod_pipeline.storage.open(uri, create=False)
    folder.mkdir()
    with pytest.raises(StorageError):
        mod_pipeline.storage.open(uri, create=False)
    assert list(folder.iterdir()) == []


def test_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file/database"):
        mod_pipeline.storage.open(f"sqlite://{tmp_path}/file/database")


def test_file_that_is_no_database_is_refused(uri, folder):
    folder.mkdir()
    (folder / "main.sqlite3").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageError, match="not a database"):
        mod_pipeline.storage.open(uri)


def test_history_preserving_database_is_refused(uri, folder):
    options = Options(keep_history=True)
    RelStorage(Sqlite3Adapter(str(folder), pragmas={}, options=options), options=options).close()
    with pytest.raises(StorageError, match="keeps history"):
        mod_pipeline.storage.open(uri)


def test_database_files_are_as_documented(storage, folder):
    storage.new_oid()
    database = sqlite3.connect(folder / "main.sqlite3")
    pragmas = {
        name: database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "page_size", "user_version")
    }
    database.close()
    assert pragmas == {"journal_mode": "wal", "page_size": 4096, "user_version": 0}
    assert (folder / "oids.sqlite3").exists()


def modes(folder):
    """Of a folder and of the files in it, by name."""
    return {path.name: path.stat().st_mode & 0o7777 for path in [folder, *folder.iterdir()]}


@pytest.fixture
def umask():
    """Sets the umask until the test ends."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize(
    ("mask", "of_folder", "of_file"),
    [(0o022, 0o750, 0o640), (0, 0o750, 0o640), (0o077, 0o700, 0o600)],
)
def test_what_is_created_is_not_for_everybody(
    umask, open_storage, folder, commit, mask, of_folder, of_file
):
    umask(mask)
    storage = open_storage()
    commit(storage, (storage.new_oid(), z64, b"state"))
    found = modes(folder)
    assert {"main.sqlite3", "main.sqlite3-wal", "oids.sqlite3"} <= set(found)
    assert found.pop(folder.name) == of_folder
    assert set(found.values()) == {of_file}


def test_modes_of_what_was_there_stay(umask, open_relstorage, open_storage, folder, commit):
    umask(0o002)
    open_relstorage().close()
    folder.chmod(0o775)
    (folder / "main.sqlite3").chmod(0o664)
    before = modes(folder)
    storage = open_storage()
    commit(storage, (storage.new_oid(), z64, b"state"))
    assert modes(folder) | before == modes(folder)


def test_read_only_storage_reads_and_refuses_writes(open_storage, storage, commit):
    tid = commit(storage, (p64(1), z64, b"state"))
    reader = open_storage(read_only=True)
    assert reader.isReadOnly()
    assert reader.load(p64(1)) == (b"state", tid)
    transaction = TransactionMetaData()
    for call, arguments in [
        (reader.new_oid, ()),
        (reader.tpc_begin, (transaction,)),
        (reader.store, (p64(1), tid, b"", "", transaction)),
        (reader.pack, (0, None)),
    ]:
        with pytest.raises(ReadOnlyError):
            call(*arguments)


def test_closed_storage_refuses_its_instances_and_leaves_no_descriptor(uri, commit):
    before = set(os.listdir("/proc/self/fd"))
    storage = mod_pipeline.storage.open(uri)
    instance = storage.new_instance()
    instance.poll_invalidations()
    commit(storage, (p64(1), z64, b"state"))
    storage.close()
    with pytest.raises(StorageError):
        instance.load(p64(1))
    with pytest.raises(StorageError):
        storage.new_instance()
    instance.release()
    assert set(os.listdir("/proc/self/fd")) == before


def test_released_instance_says_so(storage):
    instance = storage.new_instance()
    instance.release()
    instance.release()
    with pytest.raises(StorageError, match="released"):
        instance.load(z64)


def test_connections_are_shared_and_bounded(open_storage):
    storage = open_storage(pool_max=2, pool_soft_max=2, pool_timeout=1)
    instances = [storage.new_instance() for _ in range(3)]
    instances[0].poll_invalidations()
    instances[1].poll_invalidations()
    # Polling never raises; the next read does.
    assert instances[2].poll_invalidations() is None
    with pytest.raises(mod_pipeline.storage.StorageRetryError, match="no database connection"):
        instances[2].load(z64)
    instances[0].afterCompletion()
    assert instances[2].poll_invalidations() == []
    for instance in instances:
        instance.release()


def test_file_of_oids_that_is_refused_is_not_kept_locked(storage, folder):
    file = sqlite3.connect(folder / "oids.sqlite3", isolation_level=None)
    file.execute("CREATE TABLE new_oid (other INTEGER PRIMARY KEY CHECK (other > 5))")
    with pytest.raises(StorageError, match="CHECK constraint failed"):
        storage.new_oid()
    file.execute("PRAGMA busy_timeout = 0")
    file.execute("BEGIN IMMEDIATE")
    file.execute("DROP TABLE new_oid")
    file.execute("COMMIT")
    file.close()
    assert storage.new_oid() == p64(1)
