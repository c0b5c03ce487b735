/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_store.c - the first half of a transaction: what it wants is collected in memory.
 *
 * Called by the users of storage.h, by the thread that uses the instance. Nothing here waits or
 * touches the database; see commit_vote.c for the other half, and storage.h for the phases.
 */
#include "storage/storage_private.h"

apr_status_t storage_begin(storage_conn_t *conn, storage_tid_t tid)
{
    apr_status_t rv = conn_check(conn);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (storage_is_read_only(conn->storage)) {
        return conn_fail(conn, STORAGE_READ_ONLY, NULL);
    }
    if (conn->phase != PHASE_NONE) {
        return conn_fail(conn, STORAGE_PHASE, "a transaction is under way on this instance");
    }
    if (tid > APR_INT64_MAX) {
        return conn_fail(conn, STORAGE_RANGE, NULL);
    }
    conn->phase = PHASE_BEGUN;
    conn->given_tid = tid;
    return APR_SUCCESS;
}

static apr_status_t check_begun(storage_conn_t *conn, storage_oid_t oid, storage_tid_t serial)
{
    apr_status_t rv = conn_check(conn);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (conn->phase != PHASE_BEGUN) {
        return conn_fail(conn, STORAGE_PHASE, NULL);
    }
    return oid > APR_INT64_MAX || serial > APR_INT64_MAX ? conn_fail(conn, STORAGE_RANGE, NULL)
                                                         : APR_SUCCESS;
}

apr_status_t storage_store(storage_conn_t *conn, storage_oid_t oid, storage_tid_t serial,
                           const void *data, apr_size_t size)
{
    apr_status_t rv = check_begun(conn, oid, serial);

    /* No backend holds more in one value. */
    if (rv == APR_SUCCESS && size > APR_INT32_MAX) {
        rv = conn_fail(conn, STORAGE_RANGE, NULL);
    }
    if (rv == APR_SUCCESS) {
        rv = spool_store(&conn->spool, oid, serial, data, size);
    }
    return rv;
}

apr_status_t storage_read_current(storage_conn_t *conn, storage_oid_t oid, storage_tid_t serial)
{
    apr_status_t rv = check_begun(conn, oid, serial);

    return rv == APR_SUCCESS ? spool_read_current(&conn->spool, oid, serial) : rv;
}
