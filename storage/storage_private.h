/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_private.h - what the conn_, poll_ and commit_ files know of a storage and an instance.
 *
 * Not for callers of the library. Fields of storage_t are written once when it is opened, but for
 * the atomic ones; fields of storage_conn_t belong to the thread that uses the instance.
 */
#ifndef STORAGE_STORAGE_PRIVATE_H
#define STORAGE_STORAGE_PRIVATE_H

#include "storage/backend.h"
#include "storage/cache.h"
#include "storage/fork_guard.h"
#include "storage/spool.h"
#include "storage/storage.h"
#include "storage/uri.h"

#include <apr_reslist.h>

struct storage_t {
    apr_pool_t *pool; /* owned: all of this */
    const uri_t *uri;
    const backend_t *backend;   /* borrowed: static */
    apr_reslist_t *connections; /* owned by pool */
    cache_t *cache;             /* owned by pool */
    fork_guard_t *guard;        /* owned by pool */
    atomic_uint shares;         /* the opener's and one per instance */
    atomic_int closed;
    atomic_ullong oids_safe; /* the sequence of oids is known to be past these */
};

typedef enum conn_phase_e { PHASE_NONE, PHASE_BEGUN, PHASE_VOTED, PHASE_FAILED } conn_phase_e;

struct storage_conn_t {
    storage_t *storage; /* owned: one share */

    /* The view. reader is leased while the snapshot is open. */
    backend_conn_t *reader;
    int polled;                 /* the instance has been polled: it reads from snapshots */
    storage_tid_t snapshot_tid; /* of the open snapshot */
    int seen; /* the instance has read or committed something, so changes matter to it */
    storage_tid_t seen_tid;  /* up to here, changes are in pending or were reported */
    storage_tid_t own_tid;   /* what this instance committed last */
    cache_changes_t changes; /* owned: what the last snapshot listed */
    storage_oid_t *pending;  /* owned, malloc: changed oids, not reported yet */
    apr_size_t pending_count, pending_room;
    int pending_all;

    /* The transaction. writer is leased from vote to its end, and may be the reader. */
    conn_phase_e phase;
    backend_conn_t *writer;
    storage_tid_t given_tid;
    spool_t spool;
    storage_oid_t bad_oid; /* of the last read conflict */
    storage_tid_t bad_actual, bad_expected;

    /* Granted oids: next to last are free. */
    storage_oid_t oid_next, oid_last;
    unsigned int oid_ranges; /* how many to take next time */

    char error[BACKEND_ERROR_SIZE];
};

/* Whether the instance may be used: STORAGE_FORKED, STORAGE_CLOSED. Clears the last message. */
apr_status_t conn_check(storage_conn_t *conn);

/* Keep a message, or the sentence of rv if text is empty; returns rv. */
apr_status_t conn_fail(storage_conn_t *conn, apr_status_t rv, const char *text);

/* The same with the connection's message. */
apr_status_t conn_fail_from(storage_conn_t *conn, apr_status_t rv, const backend_conn_t *from);

/* Take a connection from the pool, waiting up to pool-timeout; give it back, or close it if it
 * broke or the storage has been closed. */
apr_status_t conn_lease(storage_conn_t *conn, backend_conn_t **pleased);
void conn_return(storage_conn_t *conn, backend_conn_t *leased);

/* Have a snapshot open, beginning one if there is none. conn_snapshot_done() ends it again if the
 * instance has none of its own. */
apr_status_t conn_snapshot(storage_conn_t *conn);
void conn_snapshot_done(storage_conn_t *conn);
void conn_snapshot_drop(storage_conn_t *conn);

/* Raise the sequence of oids past oid, unless it is known to be. */
apr_status_t conn_oid_seen(storage_conn_t *conn, backend_conn_t *leased, storage_oid_t oid);

#endif
