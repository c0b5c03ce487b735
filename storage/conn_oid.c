/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_oid.c - new object ids, taken from the database in ranges of sixteen.
 *
 * Called by the users of storage.h, and by commit_vote.c for oids that came from elsewhere. Each
 * instance has a stock of its own, so that no lock is needed; an instance that needs many takes
 * twice as many ranges each time. What is left of a stock is lost with its instance, as in
 * RelStorage.
 */
#include "storage/storage_private.h"

/* At most this many ranges at once: 512 oids cost one wait, and few are lost. */
#define MAX_RANGES 32

/* Note that the sequence is past all oids up to that one. */
static void note_safe(storage_t *storage, storage_oid_t oid)
{
    unsigned long long known = atomic_load(&storage->oids_safe);

    while (known < oid && !atomic_compare_exchange_weak(&storage->oids_safe, &known, oid)) {
        /* known has been read anew */
    }
}

apr_status_t storage_new_oid_cached(storage_conn_t *conn, storage_oid_t *poid)
{
    apr_status_t rv = conn_check(conn);

    *poid = 0;
    if (rv == APR_SUCCESS && storage_is_read_only(conn->storage)) {
        rv = STORAGE_READ_ONLY;
    }
    if (rv == APR_SUCCESS && (conn->oid_next == 0 || conn->oid_next > conn->oid_last)) {
        rv = STORAGE_WOULD_WAIT;
    }
    if (rv == APR_SUCCESS) {
        *poid = conn->oid_next++;
    }
    return rv;
}

static apr_status_t take_ranges(storage_conn_t *conn, backend_conn_t *connection)
{
    unsigned int ranges = conn->oid_ranges ? conn->oid_ranges : 1;
    apr_uint64_t last;
    apr_status_t rv = connection->backend->oid_grant(connection, ranges, &last);

    if (rv != APR_SUCCESS) {
        return conn_fail_from(conn, rv, connection);
    }
    if (last < ranges || last > APR_INT64_MAX / BACKEND_OID_RANGE) {
        return conn_fail(conn, STORAGE_RANGE, "the sequence of oids is damaged or used up");
    }
    conn->oid_next = (last - ranges) * BACKEND_OID_RANGE + 1;
    conn->oid_last = last * BACKEND_OID_RANGE;
    conn->oid_ranges = ranges < MAX_RANGES ? ranges * 2 : ranges;
    note_safe(conn->storage, conn->oid_last);
    return APR_SUCCESS;
}

apr_status_t storage_new_oid(storage_conn_t *conn, storage_oid_t *poid)
{
    apr_status_t rv = storage_new_oid_cached(conn, poid);
    backend_conn_t *leased = NULL;
    backend_conn_t *connection = conn->writer ? conn->writer : conn->reader;

    if (rv != STORAGE_WOULD_WAIT) {
        return rv;
    }
    if (!connection) {
        rv = conn_lease(conn, &leased);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        connection = leased;
    }
    rv = take_ranges(conn, connection);
    if (leased) {
        conn_return(conn, leased);
    }
    return rv == APR_SUCCESS ? storage_new_oid_cached(conn, poid) : rv;
}

apr_status_t conn_oid_seen(storage_conn_t *conn, backend_conn_t *leased, storage_oid_t oid)
{
    apr_uint64_t now;
    apr_status_t rv;

    if (oid <= atomic_load(&conn->storage->oids_safe)) {
        return APR_SUCCESS;
    }
    rv =
        leased->backend->oid_raise(leased, (oid + BACKEND_OID_RANGE - 1) / BACKEND_OID_RANGE, &now);
    if (rv != APR_SUCCESS) {
        return conn_fail_from(conn, rv, leased);
    }
    note_safe(conn->storage,
              now > APR_INT64_MAX / BACKEND_OID_RANGE ? APR_INT64_MAX : now * BACKEND_OID_RANGE);
    if (conn->oid_next <= oid && oid <= conn->oid_last) {
        conn->oid_next = oid + 1;
    }
    return APR_SUCCESS;
}
