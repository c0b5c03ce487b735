/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_vote.c - the second half of a transaction: lock, compare, write, commit.
 *
 * Called by the users of storage.h, by the thread that uses the instance; everything here waits.
 * Invariants:
 *
 *   1. writer is leased exactly in the phase voted, and holds the database's commit lock.
 *   2. Nothing is written before finish, so until then the snapshot shows what it showed, also
 *      where writer and reader are the same connection.
 *   3. The tid is above every tid in the database, since it is chosen under the commit lock.
 *
 * If the instance's snapshot is still the newest, its own connection takes the lock: it has the
 * pages in memory. Otherwise a second connection waits for the lock.
 */
#include "storage/storage_private.h"
#include "storage/tid.h"

/* ---- Vote ---- */

static apr_status_t take_lock(storage_conn_t *conn)
{
    backend_conn_t *writer;
    apr_status_t rv;

    if (conn->reader) {
        rv = conn->reader->backend->lock(conn->reader, 1);
        if (rv == APR_SUCCESS) {
            conn->writer = conn->reader;
            return rv;
        }
        if (rv != STORAGE_RETRY) {
            return conn_fail_from(conn, rv, conn->reader);
        }
    }
    rv = conn_lease(conn, &writer);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = writer->backend->lock(writer, 0);
    if (rv != APR_SUCCESS) {
        conn_fail_from(conn, rv, writer);
        conn_return(conn, writer);
        return rv;
    }
    conn->writer = writer;
    return APR_SUCCESS;
}

/* The revision that oid has now, 0 if there is no such object. */
static apr_status_t tid_now(storage_conn_t *conn, storage_oid_t oid, storage_tid_t *ptid)
{
    apr_status_t rv = conn->writer->backend->tid_of(conn->writer, oid, ptid);

    if (rv == STORAGE_MISSING) {
        return APR_SUCCESS;
    }
    return rv == APR_SUCCESS ? rv : conn_fail_from(conn, rv, conn->writer);
}

static apr_status_t compare_reads(storage_conn_t *conn)
{
    const spool_t *spool = &conn->spool;
    storage_tid_t tid;
    apr_status_t rv;
    apr_size_t i;

    for (i = 0; i < spool->read_count; i++) {
        rv = tid_now(conn, spool->reads[i].oid, &tid);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (tid != spool->reads[i].serial) {
            conn->bad_oid = spool->reads[i].oid;
            conn->bad_actual = tid;
            conn->bad_expected = spool->reads[i].serial;
            return conn_fail(conn, STORAGE_READ_CONFLICT, NULL);
        }
    }
    return APR_SUCCESS;
}

static apr_status_t note_conflict(storage_conn_t *conn, const spool_entry_t *entry)
{
    storage_state_t *committed;
    apr_status_t rv = conn->writer->backend->load(conn->writer, entry->state->oid, &committed);

    return rv == APR_SUCCESS ? spool_conflict(&conn->spool, entry, committed)
                             : conn_fail_from(conn, rv, conn->writer);
}

/* An object that is not there any more, because it was packed away, is no conflict: it is made
 * anew, as RelStorage does. */
static apr_status_t compare_stores(storage_conn_t *conn)
{
    spool_t *spool = &conn->spool;
    storage_tid_t tid;
    apr_status_t rv;
    apr_size_t i;

    spool_conflicts_clear(spool);
    for (i = 0; i < spool->count; i++) {
        rv = tid_now(conn, spool->entries[i].state->oid, &tid);
        if (rv == APR_SUCCESS && tid && tid != spool->entries[i].serial) {
            rv = note_conflict(conn, &spool->entries[i]);
        }
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return spool->conflict_count ? conn_fail(conn, STORAGE_CONFLICT, NULL) : APR_SUCCESS;
}

/* Oids that this process was not given, in an import, must not be given to anybody later. */
static apr_status_t raise_oids(storage_conn_t *conn)
{
    const spool_t *spool = &conn->spool;

    if (spool->count == 0) {
        return APR_SUCCESS;
    }
    return conn_oid_seen(conn, conn->writer, spool->entries[spool->count - 1].state->oid);
}

static void release_writer(storage_conn_t *conn)
{
    backend_conn_t *writer = conn->writer;

    if (!writer) {
        return;
    }
    conn->writer = NULL;
    if (conn->reader == writer) {
        conn->reader = NULL;
    }
    writer->backend->rollback(writer);
    conn_return(conn, writer);
}

static apr_status_t vote(storage_conn_t *conn)
{
    apr_status_t rv = APR_SUCCESS;

    spool_sort(&conn->spool);
    if (!conn->writer) {
        rv = take_lock(conn);
        if (rv == APR_SUCCESS) {
            rv = raise_oids(conn);
        }
    }
    if (rv == APR_SUCCESS) {
        rv = compare_reads(conn);
    }
    return rv == APR_SUCCESS ? compare_stores(conn) : rv;
}

apr_status_t storage_vote(storage_conn_t *conn)
{
    apr_status_t rv = conn_check(conn);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (conn->phase != PHASE_BEGUN) {
        return conn_fail(conn, STORAGE_PHASE, NULL);
    }
    rv = vote(conn);
    if (rv == APR_SUCCESS) {
        conn->phase = PHASE_VOTED;
    } else if (rv != STORAGE_CONFLICT) {
        conn->phase = PHASE_FAILED;
        release_writer(conn);
    }
    return rv;
}

/* ---- Conflicts ---- */

void storage_conflicts(const storage_conn_t *conn, const storage_conflict_t **pconflicts,
                       apr_size_t *pcount)
{
    *pconflicts = conn->spool.conflicts;
    *pcount = conn->spool.conflict_count;
}

void storage_read_conflict(const storage_conn_t *conn, storage_oid_t *poid, storage_tid_t *pactual,
                           storage_tid_t *pexpected)
{
    *poid = conn->bad_oid;
    *pactual = conn->bad_actual;
    *pexpected = conn->bad_expected;
}

apr_status_t storage_replace(storage_conn_t *conn, storage_oid_t oid, const void *data,
                             apr_size_t size)
{
    spool_t *spool = &conn->spool;
    storage_conflict_t *conflict = spool->conflicts;
    storage_conflict_t *end = conflict + spool->conflict_count;
    apr_status_t rv = conn_check(conn);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    while (conflict != end && conflict->oid != oid) {
        conflict++;
    }
    if (conflict == end || !conn->writer) {
        return conn_fail(conn, STORAGE_MISSING, "this object has no conflict");
    }
    return spool_store(spool, oid, conflict->committed_tid, data, size);
}

/* ---- Finish and abort ---- */

static apr_status_t choose_tid(storage_conn_t *conn, storage_tid_t *ptid)
{
    storage_tid_t newest;
    apr_status_t rv = conn->writer->backend->newest(conn->writer, &newest);

    *ptid = 0;
    if (rv != APR_SUCCESS) {
        return conn_fail_from(conn, rv, conn->writer);
    }
    if (newest < conn->own_tid) {
        newest = conn->own_tid;
    }
    *ptid = conn->given_tid ? conn->given_tid : tid_after(newest, apr_time_now());
    if (*ptid <= newest || *ptid > APR_INT64_MAX) {
        return conn_fail(conn, STORAGE_RANGE, "the transaction's tid is not above the last one");
    }
    return APR_SUCCESS;
}

static apr_status_t write_all(storage_conn_t *conn, storage_tid_t tid)
{
    spool_t *spool = &conn->spool;
    apr_status_t rv = APR_SUCCESS;
    apr_size_t i;

    for (i = 0; i < spool->count && rv == APR_SUCCESS; i++) {
        spool->entries[i].state->tid = tid;
        rv = conn->writer->backend->write(conn->writer, spool->entries[i].state);
    }
    if (rv == APR_SUCCESS) {
        /* A reader that stays would keep the log from being emptied after the commit. */
        if (conn->reader != conn->writer) {
            conn_snapshot_drop(conn);
        }
        rv = conn->writer->backend->commit(conn->writer);
    }
    return rv == APR_SUCCESS ? rv : conn_fail_from(conn, rv, conn->writer);
}

static void remember(storage_conn_t *conn)
{
    const spool_t *spool = &conn->spool;
    apr_size_t i;

    for (i = 0; i < spool->count; i++) {
        cache_put_committed(conn->storage->cache, spool->entries[i].state,
                            spool->entries[i].serial);
    }
}

/* An instance that had read nothing knows now what it committed, as of that tid. */
static void note_own(storage_conn_t *conn, storage_tid_t tid)
{
    conn->own_tid = tid;
    if (!conn->seen) {
        conn->seen = 1;
        conn->seen_tid = tid;
    }
}

apr_status_t storage_finish(storage_conn_t *conn, storage_tid_t *ptid)
{
    apr_status_t rv = conn_check(conn);

    *ptid = 0;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (conn->phase != PHASE_VOTED) {
        return conn_fail(conn, STORAGE_PHASE, NULL);
    }
    rv = choose_tid(conn, ptid);
    if (rv == APR_SUCCESS) {
        rv = write_all(conn, *ptid);
    }
    release_writer(conn);
    conn->phase = PHASE_FAILED;
    if (rv == APR_SUCCESS) {
        note_own(conn, *ptid);
        conn->phase = PHASE_NONE;
        remember(conn);
        spool_clear(&conn->spool);
    }
    return rv;
}

void storage_abort(storage_conn_t *conn)
{
    if (fork_guard_crossed(conn->storage->guard) || conn->phase == PHASE_NONE) {
        return;
    }
    release_writer(conn);
    conn_snapshot_drop(conn);
    spool_clear(&conn->spool);
    conn->phase = PHASE_NONE;
}
