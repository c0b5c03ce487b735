/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage.h - the public face of the object storage library.
 *
 * A storage_t is one database as this process sees it: a pool of database connections, a cache of
 * object states, and the options of its URI. A storage_conn_t is an instance: one MVCC view of
 * that database together with at most one transaction that is being committed.
 *
 * Used by the stages inside a daemon and by the Python extension. It knows APR and itself; it holds
 * no interpreter lock, and everything marked "waits" may block on a disk, a server or a lock, so a
 * caller that owns an interpreter lock gives it up first.
 *
 * Threads: a storage_t may be shared by any number of threads. A storage_conn_t is used by one
 * thread at a time; which thread may change from call to call.
 *
 * Forks: nothing crosses a fork. In a child every call on an inherited storage_t or
 * storage_conn_t answers STORAGE_FORKED and touches neither a connection nor a lock.
 */
#ifndef STORAGE_STORAGE_H
#define STORAGE_STORAGE_H

#include <apr_errno.h>
#include <apr_pools.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An object's id and a transaction's id, as the integers that the big-endian eight bytes of ZODB
 * stand for. Tids are persistent.TimeStamp values; both stay below 2^63, as SQL needs. */
typedef apr_uint64_t storage_oid_t;
typedef apr_uint64_t storage_tid_t;

/* The first status of this library within APR's range for applications; 3000 keeps clear of the
 * ranges that httpd's own modules use near the start of it. */
#define STORAGE_START_STATUS (APR_OS_START_USERERR + 3000)

/* Another transaction changed an object that this one stores. See storage_conflicts(). */
#define STORAGE_CONFLICT (STORAGE_START_STATUS + 1)
/* An object that had to stay unchanged has changed. See storage_read_conflict(). */
#define STORAGE_READ_CONFLICT (STORAGE_START_STATUS + 2)
/* A lock or a connection was not to be had in time; the whole transaction may be tried again. */
#define STORAGE_RETRY (STORAGE_START_STATUS + 3)
/* The storage is closed, or the database went away. */
#define STORAGE_CLOSED (STORAGE_START_STATUS + 4)
/* There is no such object, or no such revision of it. */
#define STORAGE_MISSING (STORAGE_START_STATUS + 5)
/* The database is damaged, is no database of this kind, or cannot be reached at all. */
#define STORAGE_FATAL (STORAGE_START_STATUS + 6)
/* The URI, or one of its options, is wrong; the message names the option and its range. */
#define STORAGE_BAD_URI (STORAGE_START_STATUS + 7)
/* The storage was opened with read-only. */
#define STORAGE_READ_ONLY (STORAGE_START_STATUS + 8)
/* The call does not fit the phase of the transaction. */
#define STORAGE_PHASE (STORAGE_START_STATUS + 9)
/* The storage was opened before a fork, in the parent. */
#define STORAGE_FORKED (STORAGE_START_STATUS + 10)
/* Only the *_cached calls: the answer is not in memory; ask again with the call that waits. */
#define STORAGE_WOULD_WAIT (STORAGE_START_STATUS + 11)
/* An oid, a tid or a state lies outside what the database can hold. */
#define STORAGE_RANGE (STORAGE_START_STATUS + 12)

typedef struct storage_t storage_t;
typedef struct storage_conn_t storage_conn_t;
typedef struct storage_state_t storage_state_t;

/* The English sentence for a status of this library, or APR's own for any other. The result is
 * static or lives in buffer. */
const char *storage_strerror(apr_status_t rv, char *buffer, apr_size_t size);

/* ---- The database ---- */

/*
 * Open the database that uri names, creating it if the option create allows; waits.
 * uri: sqlite:///absolute/directory?option=value&... ; error: where a message of at most
 * error_size bytes goes on failure. A storage_t lives in a pool of its own, until storage_close()
 * and the end of its last instance. Answers STORAGE_BAD_URI, STORAGE_FATAL, STORAGE_RETRY or a
 * status of APR.
 */
apr_status_t storage_open(storage_t **pstorage, const char *uri, char *error,
                          apr_size_t error_size);

/* Give up the opener's share; waits. Instances answer STORAGE_CLOSED from now on, and the last to
 * be released takes the storage with it. */
void storage_close(storage_t *storage);

/* The URI without its options: a key that is the same for every opener of the database. Borrowed
 * from storage. */
const char *storage_name(const storage_t *storage);

/* Whether it was opened with read-only; of an open storage, by any thread. */
int storage_is_read_only(const storage_t *storage);

/* What the cache holds now and may hold at most, in bytes, its hits and its misses since it was
 * opened. STORAGE_FORKED leaves *stats alone. Does not wait. */
typedef struct storage_cache_stats_t {
    apr_size_t bytes;
    apr_size_t limit;
    apr_size_t states;
    apr_uint64_t hits;
    apr_uint64_t misses;
} storage_cache_stats_t;

apr_status_t storage_cache_stats(storage_t *storage, storage_cache_stats_t *stats);

/* ---- Instances ---- */

/* A new instance, with no snapshot and no transaction. Does not wait. STORAGE_CLOSED or
 * STORAGE_FORKED. The caller owns it, and ends it by storage_conn_release(). */
apr_status_t storage_conn_create(storage_conn_t **pconn, storage_t *storage);

/* Whether this process inherited the instance from its parent, in which case it is of no use. */
int storage_conn_forked(const storage_conn_t *conn);

/* Abort what is under way, give back what is leased, and free the instance; waits. */
void storage_conn_release(storage_conn_t *conn);

/* The message of the last failure on this instance; empty if there was none. Borrowed. */
const char *storage_conn_error(const storage_conn_t *conn);

/* ---- Snapshots and invalidations ---- */

/*
 * Until its first storage_poll() an instance has no snapshot, and each call sees the newest state.
 * From then on it reads from a snapshot that storage_poll() or, after storage_snapshot_end(), the
 * next read begins.
 */

/* What storage_poll() found. oids is borrowed until the next call on the instance. */
typedef struct storage_changes_t {
    const storage_oid_t *oids;
    apr_size_t count;
    int flush_all;     /* too many to list, or unknown: everything may have changed */
    storage_tid_t tid; /* the newest transaction that the snapshot shows */
} storage_changes_t;

/*
 * Begin a new snapshot and say which objects others have changed since the last one; waits. The
 * transaction that this instance committed last is not listed. Never fails for a caller that
 * cannot bear it: on an error flush_all is set, the error comes back here, and the next read tries
 * again and answers it.
 */
apr_status_t storage_poll(storage_conn_t *conn, storage_changes_t *changes);

/* End the snapshot, and give the connection back unless a vote holds it; waits. */
void storage_snapshot_end(storage_conn_t *conn);

/* The newest committed transaction that this instance can see, 0 in an empty database; waits. */
apr_status_t storage_last_tid(storage_conn_t *conn, storage_tid_t *ptid);

/* ---- Reading ---- */

/* A state is a counted reference to an immutable record; the caller of a load owns one, and may
 * release it from any thread. */
const void *storage_state_data(const storage_state_t *state);
apr_size_t storage_state_size(const storage_state_t *state);
storage_oid_t storage_state_oid(const storage_state_t *state);
storage_tid_t storage_state_tid(const storage_state_t *state);
void storage_state_release(storage_state_t *state);

/* The current state of oid in the snapshot, if memory has it; does not wait. STORAGE_WOULD_WAIT
 * if not, and as storage_load(). */
apr_status_t storage_load_cached(storage_conn_t *conn, storage_oid_t oid, storage_state_t **pstate);

/* The current state of oid in the snapshot; waits. STORAGE_MISSING, STORAGE_RETRY,
 * STORAGE_CLOSED, STORAGE_FATAL. */
apr_status_t storage_load(storage_conn_t *conn, storage_oid_t oid, storage_state_t **pstate);

/*
 * The newest state of oid older than before; waits. *pnext is the transaction that replaced it, 0
 * if it is current. A history-free database knows the current revision only; older ones are found
 * while this process remembers both them and their successors. *pstate is NULL, with APR_SUCCESS,
 * if the object is there and no such revision is known; STORAGE_MISSING if there is no object.
 */
apr_status_t storage_load_before(storage_conn_t *conn, storage_oid_t oid, storage_tid_t before,
                                 storage_state_t **pstate, storage_tid_t *pnext);

/* Exactly that revision of oid; waits. STORAGE_MISSING if it is neither current nor remembered. */
apr_status_t storage_load_serial(storage_conn_t *conn, storage_oid_t oid, storage_tid_t tid,
                                 storage_state_t **pstate);

/* Bring the current states of many objects into the cache with one wait. Missing ones are no
 * error. oids is sorted in place. Statuses as storage_load(). */
apr_status_t storage_prefetch(storage_conn_t *conn, storage_oid_t *oids, apr_size_t count);

/* Up to max current records with oid >= start, by oid; waits. *pcount may be 0 at the end. The
 * caller owns the states. Statuses of this and of the next four as storage_load(), but for
 * STORAGE_MISSING; on an error *pcount is 0. */
apr_status_t storage_records(storage_conn_t *conn, storage_oid_t start, apr_size_t max,
                             storage_state_t **states, apr_size_t *pcount);

/* Up to max tids in [start, stop], ascending; waits. */
apr_status_t storage_tids(storage_conn_t *conn, storage_tid_t start, storage_tid_t stop,
                          apr_size_t max, storage_tid_t *tids, apr_size_t *pcount);

/* Up to max current records of that transaction with oid >= start; waits. */
apr_status_t storage_records_of(storage_conn_t *conn, storage_tid_t tid, storage_oid_t start,
                                apr_size_t max, storage_state_t **states, apr_size_t *pcount);

/* The number of objects, and the size of the database in bytes; wait. */
apr_status_t storage_count(storage_conn_t *conn, apr_uint64_t *pcount);
apr_status_t storage_size(storage_conn_t *conn, apr_uint64_t *pbytes);

/* ---- Writing ---- */

/*
 * The phases: none --begin--> begun --vote--> voted --finish--> none. storage_abort() leads to
 * none from everywhere. A failed vote gives up its locks at once and leads to failed, where only
 * storage_abort() is of use.
 */

/* An oid that nobody else is given; waits once for many. STORAGE_READ_ONLY, STORAGE_RETRY,
 * STORAGE_CLOSED, STORAGE_FATAL; STORAGE_RANGE once all are used up. */
apr_status_t storage_new_oid(storage_conn_t *conn, storage_oid_t *poid);

/* The same out of what was granted before; STORAGE_WOULD_WAIT if that is used up. */
apr_status_t storage_new_oid_cached(storage_conn_t *conn, storage_oid_t *poid);

/* Begin a transaction; does not touch the database. tid: 0, or the tid that the transaction is
 * to have, for copying. STORAGE_PHASE, STORAGE_READ_ONLY. */
apr_status_t storage_begin(storage_conn_t *conn, storage_tid_t tid);

/* Keep a copy of data as the new state of oid; serial is the revision that was changed, 0 for a new
 * object. Does not wait. STORAGE_PHASE, STORAGE_RANGE. */
apr_status_t storage_store(storage_conn_t *conn, storage_oid_t oid, storage_tid_t serial,
                           const void *data, apr_size_t size);

/* Demand that oid still has that revision when the transaction finishes. Does not wait.
 * STORAGE_PHASE, STORAGE_RANGE. */
apr_status_t storage_read_current(storage_conn_t *conn, storage_oid_t oid, storage_tid_t serial);

/*
 * Take the commit lock and compare what was stored and what must be current; waits.
 * STORAGE_CONFLICT keeps the lock: the caller replaces every conflicting state and votes again, or
 * aborts. STORAGE_READ_CONFLICT, STORAGE_RETRY (no lock in time) and the rest give it up.
 */
apr_status_t storage_vote(storage_conn_t *conn);

typedef struct storage_conflict_t {
    storage_oid_t oid;
    storage_tid_t serial; /* what the transaction was based on */
    storage_tid_t committed_tid;
    storage_state_t *committed; /* borrowed from the transaction */
    const void *data;           /* what it stores; borrowed from the transaction */
    apr_size_t size;
} storage_conflict_t;

/* What the last vote that answered STORAGE_CONFLICT found. Borrowed until the next vote or the end
 * of the transaction. */
void storage_conflicts(const storage_conn_t *conn, const storage_conflict_t **pconflicts,
                       apr_size_t *pcount);

/* The object on which the last vote answered STORAGE_READ_CONFLICT. */
void storage_read_conflict(const storage_conn_t *conn, storage_oid_t *poid, storage_tid_t *pactual,
                           storage_tid_t *pexpected);

/* Put data, a resolved state based on the committed revision, in the place of a conflicting state.
 * Copied. STORAGE_MISSING if oid has no conflict. */
apr_status_t storage_replace(storage_conn_t *conn, storage_oid_t oid, const void *data,
                             apr_size_t size);

/* Make the transaction durable as far as the option synchronous asks, end the snapshot, and say
 * which tid it got; waits. On an error nothing of it is in the database, *ptid means nothing, and
 * only storage_abort() is of use: STORAGE_PHASE without a vote, STORAGE_RANGE for a given tid that
 * is not above the last, STORAGE_RETRY, STORAGE_FATAL. */
apr_status_t storage_finish(storage_conn_t *conn, storage_tid_t *ptid);

/* Give up the transaction, its locks and the snapshot; waits. Does nothing without one. */
void storage_abort(storage_conn_t *conn);

#ifdef __cplusplus
}
#endif

#endif
