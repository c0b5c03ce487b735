# SPDX-License-Identifier: Apache-2.0
"""What the storage tests share: storages of one database, ours and RelStorage's, and commits."""

import pytest
from relstorage.adapters.sqlite.adapter import Sqlite3Adapter
from relstorage.options import Options
from relstorage.storage import RelStorage
from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

import mod_pipeline.storage


@pytest.fixture
def folder(tmp_path):
    """Where the database lies."""
    return tmp_path / "database"


@pytest.fixture
def uri(folder):
    return f"sqlite://{folder}"


@pytest.fixture
def open_storage(uri):
    """Open our storage of the database; all are closed in the end."""
    opened = []

    def opener(**options):
        storage = mod_pipeline.storage.open(uri, **options)
        opened.append(storage)
        return storage

    yield opener
    for storage in opened:
        storage.close()


@pytest.fixture
def open_relstorage(folder):
    """Open RelStorage's storage of the same database; all are closed in the end."""
    opened = []

    def opener(**settings):
        options = Options(keep_history=False, **settings)
        adapter = Sqlite3Adapter(str(folder), pragmas={}, options=options)
        storage = RelStorage(adapter, options=options)
        opened.append(storage)
        return storage

    yield opener
    for storage in opened:
        storage.close()


@pytest.fixture
def storage(open_storage):
    return open_storage()


@pytest.fixture
def commit():
    return commit_records


def commit_records(storage, *items, tid=None):
    """Commit (oid, serial, data) items in one transaction; the tid."""
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction, tid)
    try:
        for oid, serial, data in items:
            storage.store(oid, serial or z64, data, "", transaction)
        storage.tpc_vote(transaction)
        return storage.tpc_finish(transaction)
    except BaseException:
        storage.tpc_abort(transaction)
        raise
