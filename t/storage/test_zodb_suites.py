# SPDX-License-Identifier: Apache-2.0
"""ZODB's own suites for storages, run against ours on every backend.

The storage keeps no history and undoes nothing, so the tests of those are not among them:
RevisionStorage's one test of undo is taken out, as ZODB does for its own MVCCMappingStorage.
"""

import os

from ZODB.tests import (
    BasicStorage,
    ConflictResolution,
    MTStorage,
    PersistentStorage,
    RevisionStorage,
    StorageTestBase,
    Synchronization,
    testMVCCMappingStorage,
)

import mod_pipeline.storage


class SQLiteBackend:
    """The backend under test: says how to open the storage of this test."""

    def open_storage(self, **options):
        return mod_pipeline.storage.open("sqlite://" + os.path.abspath("Storage"), **options)


class StorageSuite(
    BasicStorage.BasicStorage,
    Synchronization.SynchronizedStorage,
    MTStorage.MTStorage,
    RevisionStorage.RevisionStorage,
    ConflictResolution.ConflictResolvingStorage,
    PersistentStorage.PersistentStorage,
    testMVCCMappingStorage.MVCCTests,
):
    testLoadBeforeUndo = None

    def setUp(self):
        super().setUp()
        self._storage = self.open_storage()

    # RaceTests open the same database as several clients would.
    def _new_storage_client(self):
        return self.open_storage()

    # PersistentStorage closes the storage and opens it again.
    def open(self):
        self._storage = self.open_storage()

    # ConflictResolvingStorage still calls this one by the old prefix of test methods.
    def test_checkResolve(self):
        self.checkResolve()


class TestSQLite(SQLiteBackend, StorageSuite, StorageTestBase.StorageTestBase):
    pass
