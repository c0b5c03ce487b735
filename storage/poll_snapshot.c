/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poll_snapshot.c - snapshots, and the invalidations that come with them.
 *
 * Called by the users of storage.h and by the conn_ and commit_ files, by the thread that uses the
 * instance; beginning and ending a snapshot waits. Invariants:
 *
 *   1. reader is leased exactly while a snapshot is open; snapshot_tid is the newest tid in it.
 *   2. Every change since the instance first read or committed, up to seen_tid, that is not its
 *      own has been reported by a poll, is in pending, or is covered by pending_all.
 *   3. Before an instance reads at a snapshot, the cache's horizon is at or past its tid.
 *
 * One select serves both: it lists what changed since the older of seen_tid and the horizon. The
 * horizon is never behind seen_tid, so seen_tid it is, but for an instance's first snapshot.
 */
#include "storage/storage_private.h"

#include <stdlib.h>

/* An instance with more changes than this is told to flush everything: that is cheaper for its
 * owner than a list in which most objects of a large cache stand. */
#define MOST_CHANGES 100000

static apr_status_t pending_add(storage_conn_t *conn, storage_oid_t oid)
{
    storage_oid_t *pending;
    apr_size_t room;

    if (conn->pending_count == conn->pending_room) {
        room = conn->pending_room ? conn->pending_room * 2 : 64;
        pending = realloc(conn->pending, room * sizeof(*pending));
        if (!pending) {
            return APR_ENOMEM;
        }
        conn->pending = pending;
        conn->pending_room = room;
    }
    conn->pending[conn->pending_count++] = oid;
    return APR_SUCCESS;
}

/* Take over what the new snapshot listed. */
static void note_changes(storage_conn_t *conn)
{
    apr_size_t i;

    if (conn->changes.overflow || conn->pending_count > MOST_CHANGES) {
        conn->pending_all = 1;
    }
    for (i = 0; i < conn->changes.count && !conn->pending_all; i++) {
        const cache_change_t *change = &conn->changes.items[i];

        /* Its own transaction's objects are in its owner's hands already. */
        if (change->tid > conn->seen_tid && change->tid != conn->own_tid &&
            pending_add(conn, change->oid) != APR_SUCCESS) {
            conn->pending_all = 1;
        }
    }
    if (conn->pending_all) {
        conn->pending_count = 0;
    }
}

static apr_status_t open_snapshot(storage_conn_t *conn)
{
    storage_t *storage = conn->storage;
    storage_tid_t since = conn->seen ? conn->seen_tid : cache_horizon(storage->cache);
    cache_changes_t *changes = conn->seen || since ? &conn->changes : NULL;
    storage_tid_t tid;
    apr_status_t rv;

    conn->changes.count = 0;
    conn->changes.overflow = 0;
    conn->changes.limit = MOST_CHANGES;
    rv = conn->reader->backend->snapshot(conn->reader, since, changes, &tid);
    if (rv != APR_SUCCESS) {
        return conn_fail_from(conn, rv, conn->reader);
    }
    cache_advance(storage->cache, since, tid, changes && !changes->overflow ? changes : NULL);
    if (conn->seen) {
        note_changes(conn);
    }
    conn->seen = 1;
    conn->seen_tid = tid;
    conn->snapshot_tid = tid;
    return APR_SUCCESS;
}

void conn_snapshot_drop(storage_conn_t *conn)
{
    backend_conn_t *reader = conn->reader;

    conn->reader = NULL;
    if (reader && reader != conn->writer) {
        reader->backend->rollback(reader);
        conn_return(conn, reader);
    }
}

apr_status_t conn_snapshot(storage_conn_t *conn)
{
    apr_status_t rv = conn_check(conn);

    if (rv != APR_SUCCESS || conn->reader) {
        return rv;
    }
    rv = conn_lease(conn, &conn->reader);
    if (rv == APR_SUCCESS) {
        rv = open_snapshot(conn);
        if (rv != APR_SUCCESS) {
            conn_snapshot_drop(conn);
        }
    }
    return rv;
}

void conn_snapshot_done(storage_conn_t *conn)
{
    if (!conn->polled && conn->reader != conn->writer) {
        conn_snapshot_drop(conn);
    }
}

void storage_snapshot_end(storage_conn_t *conn)
{
    if (!fork_guard_crossed(conn->storage->guard) && conn->reader != conn->writer) {
        conn_snapshot_drop(conn);
    }
}

apr_status_t storage_poll(storage_conn_t *conn, storage_changes_t *changes)
{
    apr_status_t rv;

    storage_snapshot_end(conn);
    conn->polled = 1;
    rv = conn_snapshot(conn);
    *changes = (storage_changes_t){
        .oids = conn->pending,
        .count = conn->pending_count,
        .flush_all = conn->pending_all || rv != APR_SUCCESS,
        .tid = conn->snapshot_tid,
    };
    /* After a failure the changes stay pending; flushing twice does no harm. */
    if (rv == APR_SUCCESS) {
        conn->pending_count = 0;
        conn->pending_all = 0;
    }
    return rv;
}

apr_status_t storage_last_tid(storage_conn_t *conn, storage_tid_t *ptid)
{
    apr_status_t rv = conn_snapshot(conn);

    *ptid = 0;
    if (rv == APR_SUCCESS) {
        *ptid = conn->snapshot_tid > conn->own_tid ? conn->snapshot_tid : conn->own_tid;
        conn_snapshot_done(conn);
    }
    return rv;
}
