/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_open.c - storages and instances: their making, their sharing and their end.
 *
 * Called by whoever opens a storage, and by every other conn_, poll_ and commit_ file for the
 * checks and the leases. Invariants:
 *
 *   1. A storage_t lives as long as its opener's share or an instance. Its pool, and with it the
 *      reslist, the cache and all idle connections, goes with the last share.
 *   2. A connection is leased by at most one instance, and has a pool of its own below the
 *      reslist's, so that closing it needs nothing else.
 *   3. In a child of the process that opened the storage nothing is touched, closed or freed: to
 *      close an inherited connection could harm the parent's database.
 */
#include "storage/storage_private.h"

#include <apr_strings.h>

#include <stdlib.h>

/* ---- The pool of connections ---- */

static apr_status_t connection_make(void **presource, void *params, apr_pool_t *pool)
{
    storage_t *storage = params;
    backend_conn_t *made;
    apr_pool_t *p;
    apr_status_t rv = apr_pool_create(&p, pool);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_tag(p, "storage_connection");
    rv = storage->backend->connect(&made, storage->uri, p);
    *presource = made;
    /* The lease looks at made->status, so that it can tell the reason of a failure. */
    made->broken |= rv != APR_SUCCESS;
    return APR_SUCCESS;
}

static apr_status_t connection_end(void *resource, void *params, apr_pool_t *pool)
{
    backend_conn_t *connection = resource;

    (void)params;
    (void)pool;
    apr_pool_destroy(connection->pool);
    return APR_SUCCESS;
}

static apr_status_t make_reslist(storage_t *storage)
{
    const apr_int64_t *options = storage->uri->options;
    apr_status_t rv = apr_reslist_create(
        &storage->connections, (int)options[URI_POOL_MIN], (int)options[URI_POOL_SOFT_MAX],
        (int)options[URI_POOL_MAX], apr_time_from_sec(options[URI_POOL_TTL]), connection_make,
        connection_end, storage, storage->pool);

    if (rv == APR_SUCCESS) {
        /* Each connection's pool is a child of the list's, and must not go before the list. */
        apr_reslist_cleanup_order_set(storage->connections, APR_RESLIST_CLEANUP_FIRST);
        apr_reslist_timeout_set(storage->connections, apr_time_from_sec(options[URI_POOL_TIMEOUT]));
    }
    return rv;
}

apr_status_t conn_lease(storage_conn_t *conn, backend_conn_t **pleased)
{
    storage_t *storage = conn->storage;
    void *resource = NULL;
    apr_status_t rv = apr_reslist_acquire(storage->connections, &resource);
    backend_conn_t *leased = resource;

    *pleased = NULL;
    if (rv != APR_SUCCESS) {
        return APR_STATUS_IS_TIMEUP(rv)
                   ? conn_fail(conn, STORAGE_RETRY, "no database connection came free in time")
                   : conn_fail(conn, rv, NULL);
    }
    if (leased->status != APR_SUCCESS) {
        rv = conn_fail_from(conn, leased->status, leased);
        conn_return(conn, leased);
        return rv;
    }
    *pleased = leased;
    return APR_SUCCESS;
}

void conn_return(storage_conn_t *conn, backend_conn_t *leased)
{
    storage_t *storage = conn->storage;

    if (leased->broken || atomic_load(&storage->closed)) {
        apr_reslist_invalidate(storage->connections, leased);
    } else {
        apr_reslist_release(storage->connections, leased);
    }
}

/* ---- Messages and checks ---- */

apr_status_t conn_fail(storage_conn_t *conn, apr_status_t rv, const char *text)
{
    char buffer[120];

    if (!text || !*text) {
        text = storage_strerror(rv, buffer, sizeof(buffer));
    }
    apr_cpystrn(conn->error, text, sizeof(conn->error));
    return rv;
}

apr_status_t conn_fail_from(storage_conn_t *conn, apr_status_t rv, const backend_conn_t *from)
{
    return conn_fail(conn, rv, from->error);
}

apr_status_t conn_check(storage_conn_t *conn)
{
    if (fork_guard_crossed(conn->storage->guard)) {
        return conn_fail(conn, STORAGE_FORKED, NULL);
    }
    if (atomic_load(&conn->storage->closed)) {
        return conn_fail(conn, STORAGE_CLOSED, NULL);
    }
    conn->error[0] = '\0';
    return APR_SUCCESS;
}

int storage_conn_forked(const storage_conn_t *conn)
{
    return fork_guard_crossed(conn->storage->guard);
}

const char *storage_conn_error(const storage_conn_t *conn)
{
    return conn->error;
}

/* ---- Opening and closing ---- */

static apr_status_t open_parts(storage_t *storage)
{
    const apr_int64_t *options = storage->uri->options;
    apr_status_t rv = fork_guard_create(&storage->guard, storage->pool);

    if (rv == APR_SUCCESS) {
        rv = cache_create(&storage->cache, (apr_size_t)options[URI_CACHE_LOCAL_MB] << 20,
                          (apr_size_t)options[URI_CACHE_LOCAL_OBJECT_MAX], storage->pool);
    }
    return rv == APR_SUCCESS ? make_reslist(storage) : rv;
}

static apr_status_t open_storage(storage_t *storage, const char *text, char *error,
                                 apr_size_t error_size)
{
    char message[BACKEND_ERROR_SIZE] = "";
    const char *reason = NULL;
    uri_t *uri;
    apr_status_t rv = uri_parse(text, &uri, &reason, storage->pool);

    storage->uri = uri;
    if (rv == APR_SUCCESS) {
        storage->backend = backend_find(uri->scheme);
        if (!storage->backend) {
            rv = STORAGE_BAD_URI;
            reason = "no storage is known by this scheme; the schemes are: sqlite";
        }
    }
    if (rv != APR_SUCCESS) {
        apr_snprintf(error, error_size, "storage URI \"%s\": %s", text, reason);
        return rv;
    }
    rv = storage->backend->prepare(uri, message, storage->pool);
    if (rv == APR_SUCCESS) {
        rv = open_parts(storage);
    }
    if (rv != APR_SUCCESS) {
        char buffer[120];

        apr_cpystrn(error, *message ? message : storage_strerror(rv, buffer, sizeof(buffer)),
                    error_size);
    }
    return rv;
}

apr_status_t storage_open(storage_t **pstorage, const char *uri, char *error, apr_size_t error_size)
{
    storage_t *storage;
    apr_pool_t *p;
    apr_status_t rv = apr_pool_create(&p, NULL);

    *pstorage = NULL;
    error[0] = '\0';
    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_tag(p, "storage");
    storage = apr_pcalloc(p, sizeof(*storage));
    storage->pool = p;
    atomic_init(&storage->shares, 1);
    rv = open_storage(storage, uri, error, error_size);
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(p);
        return rv;
    }
    *pstorage = storage;
    return APR_SUCCESS;
}

static void drop_share(storage_t *storage)
{
    if (!fork_guard_crossed(storage->guard) && atomic_fetch_sub(&storage->shares, 1) == 1) {
        apr_pool_destroy(storage->pool);
    }
}

void storage_close(storage_t *storage)
{
    if (storage) {
        atomic_store(&storage->closed, 1);
        drop_share(storage);
    }
}

const char *storage_name(const storage_t *storage)
{
    return storage->uri->name;
}

int storage_is_read_only(const storage_t *storage)
{
    return storage->uri->options[URI_READ_ONLY] != 0;
}

apr_status_t storage_cache_stats(storage_t *storage, storage_cache_stats_t *stats)
{
    if (fork_guard_crossed(storage->guard)) {
        return STORAGE_FORKED;
    }
    cache_stats(storage->cache, stats);
    return APR_SUCCESS;
}

/* ---- Instances ---- */

apr_status_t storage_conn_create(storage_conn_t **pconn, storage_t *storage)
{
    storage_conn_t *conn;

    *pconn = NULL;
    if (fork_guard_crossed(storage->guard)) {
        return STORAGE_FORKED;
    }
    if (atomic_load(&storage->closed)) {
        return STORAGE_CLOSED;
    }
    conn = calloc(1, sizeof(*conn));
    if (!conn) {
        return APR_ENOMEM;
    }
    atomic_fetch_add(&storage->shares, 1);
    conn->storage = storage;
    *pconn = conn;
    return APR_SUCCESS;
}

void storage_conn_release(storage_conn_t *conn)
{
    if (!conn) {
        return;
    }
    if (!fork_guard_crossed(conn->storage->guard)) {
        storage_abort(conn);
        conn_snapshot_drop(conn);
    }
    spool_free(&conn->spool);
    free(conn->changes.items);
    free(conn->pending);
    drop_share(conn->storage);
    free(conn);
}
