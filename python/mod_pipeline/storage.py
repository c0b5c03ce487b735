# SPDX-License-Identifier: Apache-2.0
"""A drop-in ZODB storage over the C library of mod_pipeline.

Open one, and give it to ZODB::

    import ZODB
    import mod_pipeline.storage

    db = ZODB.DB(mod_pipeline.storage.open('sqlite:///var/lib/pipeline/main'))

Everything that runs often (loading, storing, the phases of a commit, polling, new oids) is in the
extension ``mod_pipeline._storage``. What is here ties it to ZODB: its interfaces, its conflict
resolution, and iteration. Any thread may use an instance, one call at a time; ZODB gives each of
its connections an instance of its own. Nothing crosses a fork: open the storage in the process
that uses it.
"""

from urllib.parse import quote

from ZODB.BaseStorage import DataRecord, TransactionRecord
from ZODB.ConflictResolution import ConflictResolvingStorage
from ZODB.interfaces import (
    IMultiCommitStorage,
    IMVCCAfterCompletionStorage,
    IMVCCPrefetchStorage,
    IMVCCStorage,
    IStorage,
    IStorageCurrentRecordIteration,
    IStorageIteration,
    ReadVerifyingStorage,
    StorageStopIteration,
)
from ZODB.POSException import POSKeyError, ReadOnlyError
from ZODB.TimeStamp import TimeStamp
from ZODB.utils import maxtid, p64, u64, z64
from zope.interface import implementer

from mod_pipeline import _storage
from mod_pipeline._storage import StorageRetryError

__all__ = ["PipelineStorage", "StorageRetryError", "open"]


def open(uri, **options):
    """Open the storage that *uri* names, creating its database unless ``create=false``.

    *options* are the URI's own, with underscores for hyphens: ``open(uri, cache_local_mb=100)``.
    A wrong one raises ValueError, which names it and what it may be.
    """
    if not isinstance(uri, str):
        raise TypeError(f"uri must be a string, not {type(uri).__name__}")
    return PipelineStorage(_storage.open(_with_options(uri, options)))


def _with_options(uri, options):
    items = [
        f"{name.replace('_', '-')}={quote(_option_text(value), safe='')}"
        for name, value in options.items()
    ]
    if not items:
        return uri
    return uri + ("&" if "?" in uri else "?") + "&".join(items)


def _option_text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


@implementer(
    IStorage,
    IMultiCommitStorage,
    IMVCCStorage,
    IMVCCPrefetchStorage,
    IMVCCAfterCompletionStorage,
    ReadVerifyingStorage,
    IStorageIteration,
    IStorageCurrentRecordIteration,
)
class PipelineStorage(_storage.Instance, ConflictResolvingStorage):
    """One MVCC view of a database; ``new_instance()`` makes another of the same database."""

    def __init__(self, database):
        super().__init__(database)
        self._database = database
        self.__name__ = database.name

    def __repr__(self):
        return f"<{type(self).__name__} {self.__name__}>"

    # Being one of several

    def new_instance(self):
        other = type(self)(self._database)
        # A wrapper that transforms records was registered with the first instance only.
        for name in ("_crs_transform_record_data", "_crs_untransform_record_data"):
            if name in self.__dict__:
                setattr(other, name, self.__dict__[name])
        return other

    def close(self):
        """Close the database for every instance; the last to be released ends it."""
        self.release()
        self._database.close()

    def getName(self):
        return self.__name__

    def sortKey(self):
        return self.__name__

    def isReadOnly(self):
        return self._database.read_only

    def cache_stats(self):
        """The bytes, limit, states, hits and misses of the cache that all instances share."""
        return self._database.cache_stats()

    # History: of a history-free database, the current revision.

    def history(self, oid, size=1):
        data, tid = self.load(oid)
        when = TimeStamp(tid).timeTime()
        entry = {"tid": tid, "time": when, "size": len(data), "user_name": b"", "description": b""}
        return [entry][:size]

    def pack(self, pack_time, referencesf):
        """Do nothing but refuse if read-only: there are no old revisions to remove.

        Objects that nothing refers to stay until a garbage collector removes them.
        """
        if self.isReadOnly():
            raise ReadOnlyError()

    # Iteration

    def iterator(self, start=None, stop=None):
        """The transactions from *start* to *stop*, both included, that wrote a current record."""
        return TransactionIterator(self, start or z64, stop or maxtid)

    def record_iternext(self, next=None):
        """The record at the cookie *next*: (oid, tid, data, the following cookie or None).

        None begins with the first object, an oid with that one or the first after it. A cookie
        stands for a place in one snapshot, and may be used again.
        """
        cursor = next
        if not isinstance(cursor, RecordCursor):
            view = snapshot_of(self)
            cursor = RecordCursor.at(view, next or z64)
        if cursor is None:
            raise POSKeyError(next or z64)
        return *cursor.record(), cursor.following()


def snapshot_of(storage):
    """An instance of its own for an iteration, which sees one state of the database to the end."""
    view = storage.new_instance()
    view.poll_invalidations()
    return view


class RecordCursor:
    """A place among the current records, by oid, in a batch that was read with one wait."""

    __slots__ = ("_view", "_batch", "_index")

    def __init__(self, view, batch, index):
        self._view = view
        self._batch = batch
        self._index = index

    @classmethod
    def at(cls, view, oid):
        batch = view._records(oid, None)
        return cls(view, batch, 0) if batch else None

    def record(self):
        return self._batch[self._index]

    def following(self):
        if self._index + 1 < len(self._batch):
            return RecordCursor(self._view, self._batch, self._index + 1)
        return RecordCursor.at(self._view, p64(u64(self.record()[0]) + 1))


class TransactionIterator:
    """Iterates over transactions in batches, so that a large database is never in memory."""

    def __init__(self, storage, start, stop):
        self._view = snapshot_of(storage)
        self._next = start
        self._stop = stop
        self._tids = []

    def __iter__(self):
        return self

    def __next__(self):
        if not self._tids and self._next is not None:
            self._tids = self._view._tids(self._next, self._stop)[::-1]
            self._next = p64(u64(self._tids[0]) + 1) if self._tids else None
        if not self._tids:
            raise StorageStopIteration()
        return RecordIterator(self._view, self._tids.pop())

    def close(self):
        self._tids = []
        self._next = None
        self._view = None


class RecordIterator(TransactionRecord):
    """One transaction; iterates over the records that it wrote and that are still current."""

    def __init__(self, view, tid):
        super().__init__(tid, " ", b"", b"", b"")
        self._view = view

    def __iter__(self):
        start = z64
        while start is not None:
            records = self._view._records(start, self.tid)
            start = p64(u64(records[-1][0]) + 1) if records else None
            for oid, tid, data in records:
                yield DataRecord(oid, tid, data, None)
