/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backend.h - what a kind of database does for the storage: one vtable, one connection object.
 *
 * Implemented by sqlite.c; called by the conn_, poll_ and commit_ files, by the thread that holds
 * the lease on the connection, and by no two at once. Every call may wait, and so may the end of a
 * connection's pool, which closes it.
 *
 * A connection is idle, in a snapshot (reads only), or locked (it holds the database's commit lock,
 * and reads what is committed and what it wrote). A failed call leaves text in error; if it also
 * sets broken, the connection is only fit to be closed.
 */
#ifndef STORAGE_BACKEND_H
#define STORAGE_BACKEND_H

#include "storage/cache.h"
#include "storage/state.h"
#include "storage/uri.h"

/* Bytes of a message: a database's name and a sentence of its library. Longer ones are cut. */
#define BACKEND_ERROR_SIZE 400

/* So many oids belong to one value of the sequence, as RelStorage has it. */
#define BACKEND_OID_RANGE 16

typedef struct backend_t backend_t;

typedef struct backend_conn_t {
    const backend_t *backend; /* borrowed: static */
    const uri_t *uri;         /* borrowed from the storage */
    apr_pool_t *pool;         /* owned: its end closes the connection */
    apr_status_t status;      /* how connect ended */
    int broken;
    char error[BACKEND_ERROR_SIZE];
} backend_conn_t;

struct backend_t {
    const char *scheme;

    /* Create the database if the options allow and it is not there; check that it is one. error
     * holds BACKEND_ERROR_SIZE bytes. */
    apr_status_t (*prepare)(const uri_t *uri, char *error, apr_pool_t *pool);

    /* Make a connection object in pool, which closes it; *pconn is set even on failure. */
    apr_status_t (*connect)(backend_conn_t **pconn, const uri_t *uri, apr_pool_t *pool);

    /* Idle to snapshot. *ptid: the newest tid in it. Unless changes is NULL, fill it with the
     * newest tid of every object changed after since. */
    apr_status_t (*snapshot)(backend_conn_t *conn, storage_tid_t since, cache_changes_t *changes,
                             storage_tid_t *ptid);

    /* To locked, from idle by waiting, or from a snapshot at once or with STORAGE_RETRY, which
     * leaves the snapshot as it was: it succeeds only if the snapshot is still the newest. */
    apr_status_t (*lock)(backend_conn_t *conn, int in_snapshot);

    /* To idle, giving up what is not committed; never fails but by breaking the connection. */
    void (*rollback)(backend_conn_t *conn);

    /* Locked: write that state; make it all durable, to idle. */
    apr_status_t (*write)(backend_conn_t *conn, const storage_state_t *state);
    apr_status_t (*commit)(backend_conn_t *conn);

    /* Snapshot or locked. STORAGE_MISSING without such an object. */
    apr_status_t (*newest)(backend_conn_t *conn, storage_tid_t *ptid);
    apr_status_t (*tid_of)(backend_conn_t *conn, storage_oid_t oid, storage_tid_t *ptid);
    apr_status_t (*load)(backend_conn_t *conn, storage_oid_t oid, storage_state_t **pstate);

    /* As the functions of storage.h. */
    apr_status_t (*records)(backend_conn_t *conn, storage_oid_t start, apr_size_t max,
                            storage_state_t **states, apr_size_t *pcount);
    apr_status_t (*records_of)(backend_conn_t *conn, storage_tid_t tid, storage_oid_t start,
                               apr_size_t max, storage_state_t **states, apr_size_t *pcount);
    apr_status_t (*tids)(backend_conn_t *conn, storage_tid_t start, storage_tid_t stop,
                         apr_size_t max, storage_tid_t *tids, apr_size_t *pcount);
    apr_status_t (*count)(backend_conn_t *conn, apr_uint64_t *pcount);
    apr_status_t (*size)(backend_conn_t *conn, apr_uint64_t *pbytes);

    /* Any phase. Value n of the sequence stands for the BACKEND_OID_RANGE oids up to n times
     * that. Take `ranges` values;
     * *plast is the last of them. */
    apr_status_t (*oid_grant)(backend_conn_t *conn, unsigned int ranges, apr_uint64_t *plast);

    /* Any phase. Raise the sequence to at least n; *pnow is what it is at least. */
    apr_status_t (*oid_raise)(backend_conn_t *conn, apr_uint64_t n, apr_uint64_t *pnow);
};

/* The backend for that scheme, or NULL. */
const backend_t *backend_find(const char *scheme);

/* Append a change; APR_ENOMEM. */
apr_status_t backend_changes_add(cache_changes_t *changes, storage_oid_t oid, storage_tid_t tid);

extern const backend_t sqlite_backend;

#endif
