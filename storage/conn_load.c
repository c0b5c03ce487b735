/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_load.c - reading through an instance: from the cache if it knows, else from the snapshot.
 *
 * Called by the users of storage.h, by the thread that uses the instance. What comes from the
 * database is remembered in the cache as of the snapshot's tid; see cache_state.c for why that is
 * safe. Reading waits; only the *_cached call never does.
 */
#include "storage/storage_private.h"

#include <stdlib.h>

static int beyond_sql(apr_uint64_t id)
{
    return id > APR_INT64_MAX;
}

apr_status_t storage_load_cached(storage_conn_t *conn, storage_oid_t oid, storage_state_t **pstate)
{
    apr_status_t rv = conn_check(conn);

    *pstate = NULL;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (conn->reader) {
        *pstate = cache_get(conn->storage->cache, oid, conn->snapshot_tid);
    }
    return *pstate ? APR_SUCCESS : STORAGE_WOULD_WAIT;
}

/* Read from the open snapshot, and remember. */
static apr_status_t load_stored(storage_conn_t *conn, storage_oid_t oid, storage_state_t **pstate)
{
    apr_status_t rv;

    if (beyond_sql(oid)) {
        return STORAGE_MISSING;
    }
    rv = conn->reader->backend->load(conn->reader, oid, pstate);
    if (rv == APR_SUCCESS) {
        cache_put(conn->storage->cache, *pstate, conn->snapshot_tid);
        return APR_SUCCESS;
    }
    return rv == STORAGE_MISSING ? rv : conn_fail_from(conn, rv, conn->reader);
}

static apr_status_t load_current(storage_conn_t *conn, storage_oid_t oid, storage_state_t **pstate)
{
    *pstate = cache_get(conn->storage->cache, oid, conn->snapshot_tid);
    return *pstate ? APR_SUCCESS : load_stored(conn, oid, pstate);
}

apr_status_t storage_load(storage_conn_t *conn, storage_oid_t oid, storage_state_t **pstate)
{
    apr_status_t rv = conn_snapshot(conn);

    *pstate = NULL;
    if (rv == APR_SUCCESS) {
        rv = load_current(conn, oid, pstate);
        conn_snapshot_done(conn);
    }
    return rv;
}

apr_status_t storage_load_before(storage_conn_t *conn, storage_oid_t oid, storage_tid_t before,
                                 storage_state_t **pstate, storage_tid_t *pnext)
{
    apr_status_t rv = storage_load(conn, oid, pstate);

    *pnext = 0;
    if (rv == APR_SUCCESS && (*pstate)->tid >= before) {
        storage_state_release(*pstate);
        *pstate = cache_get_before(conn->storage->cache, oid, before, pnext);
    }
    return rv;
}

apr_status_t storage_load_serial(storage_conn_t *conn, storage_oid_t oid, storage_tid_t tid,
                                 storage_state_t **pstate)
{
    apr_status_t rv = conn_check(conn);

    *pstate = NULL;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *pstate = cache_get_revision(conn->storage->cache, oid, tid);
    if (*pstate) {
        return APR_SUCCESS;
    }
    rv = storage_load(conn, oid, pstate);
    if (rv == APR_SUCCESS && (*pstate)->tid != tid) {
        storage_state_release(*pstate);
        *pstate = NULL;
        rv = STORAGE_MISSING;
    }
    return rv;
}

static int compare_oids(const void *a, const void *b)
{
    storage_oid_t x = *(const storage_oid_t *)a, y = *(const storage_oid_t *)b;

    return x < y ? -1 : x > y;
}

apr_status_t storage_prefetch(storage_conn_t *conn, storage_oid_t *oids, apr_size_t count)
{
    apr_status_t rv = conn_snapshot(conn);
    storage_state_t *state = NULL;
    apr_size_t i;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    /* In the order of the table, neighbours share a page. */
    qsort(oids, count, sizeof(*oids), compare_oids);
    for (i = 0; i < count && rv == APR_SUCCESS; i++) {
        if (cache_has(conn->storage->cache, oids[i], conn->snapshot_tid)) {
            continue;
        }
        rv = load_stored(conn, oids[i], &state);
        if (rv == APR_SUCCESS) {
            storage_state_release(state);
        } else if (rv == STORAGE_MISSING) {
            rv = APR_SUCCESS;
        }
    }
    conn_snapshot_done(conn);
    return rv;
}

/* The end of a call on the open snapshot. */
static apr_status_t done(storage_conn_t *conn, apr_status_t rv)
{
    if (rv != APR_SUCCESS) {
        conn_fail_from(conn, rv, conn->reader);
    }
    conn_snapshot_done(conn);
    return rv;
}

apr_status_t storage_records(storage_conn_t *conn, storage_oid_t start, apr_size_t max,
                             storage_state_t **states, apr_size_t *pcount)
{
    apr_status_t rv = conn_check(conn);

    *pcount = 0;
    if (rv != APR_SUCCESS || beyond_sql(start)) {
        return rv;
    }
    rv = conn_snapshot(conn);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    return done(conn, conn->reader->backend->records(conn->reader, start, max, states, pcount));
}

apr_status_t storage_records_of(storage_conn_t *conn, storage_tid_t tid, storage_oid_t start,
                                apr_size_t max, storage_state_t **states, apr_size_t *pcount)
{
    apr_status_t rv = conn_check(conn);

    *pcount = 0;
    if (rv != APR_SUCCESS || beyond_sql(start) || beyond_sql(tid)) {
        return rv;
    }
    rv = conn_snapshot(conn);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    return done(conn,
                conn->reader->backend->records_of(conn->reader, tid, start, max, states, pcount));
}

apr_status_t storage_tids(storage_conn_t *conn, storage_tid_t start, storage_tid_t stop,
                          apr_size_t max, storage_tid_t *tids, apr_size_t *pcount)
{
    apr_status_t rv = conn_check(conn);

    *pcount = 0;
    if (rv != APR_SUCCESS || beyond_sql(start)) {
        return rv;
    }
    rv = conn_snapshot(conn);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    stop = beyond_sql(stop) ? APR_INT64_MAX : stop;
    return done(conn, conn->reader->backend->tids(conn->reader, start, stop, max, tids, pcount));
}

apr_status_t storage_count(storage_conn_t *conn, apr_uint64_t *pcount)
{
    apr_status_t rv = conn_snapshot(conn);

    *pcount = 0;
    return rv == APR_SUCCESS ? done(conn, conn->reader->backend->count(conn->reader, pcount)) : rv;
}

apr_status_t storage_size(storage_conn_t *conn, apr_uint64_t *pbytes)
{
    apr_status_t rv = conn_snapshot(conn);

    *pbytes = 0;
    return rv == APR_SUCCESS ? done(conn, conn->reader->backend->size(conn->reader, pbytes)) : rv;
}
