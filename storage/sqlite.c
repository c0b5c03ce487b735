/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sqlite.c - the SQLite backend: RelStorage's history-free schema in a directory of two files.
 *
 * main.sqlite3 holds the objects, in WAL mode; oids.sqlite3 holds one row, the number of the last
 * range of oids that was granted. Called through backend.h by the thread that holds the lease.
 *
 * Invariants:
 *
 *   1. Idle: no transaction is open. Snapshot: a deferred transaction has read, so its view stands.
 *      Locked: it has also run LOCK, so no other process or connection can write.
 *   2. Every statement is reset when its function returns; a transaction can always end.
 *   3. Statements are prepared once per connection, and every value in them is bound.
 *   4. The file of oids is opened when first needed, by a handle of its own: no transaction of main
 *      has a part in its transactions, and each of these ends in the function that began it.
 *
 *   idle --snapshot--> snapshot --lock(1)--> locked --commit--> idle
 *   idle --lock(0)--> locked        snapshot, locked --rollback--> idle
 */
#include "storage/backend.h"

#include <apr_file_io.h>
#include <apr_strings.h>
#include <apr_time.h>

#include <sqlite3.h>

#include <string.h>
#include <sys/stat.h>

/* Of what is created here, less the umask: a site's data is not for every user of the machine. The
 * group may read, for backups. SQLite gives its own files beside a database that one's mode. */
#define DIRECTORY_MODE 0x0750 /* as APR writes 0750 */
#define FILE_MODE      0640

/* RelStorage's text of each table and index, as sqlite_master of a database that it made shows. */
static const char schema_sql[] =
    "CREATE TABLE commit_row_lock(tid INTEGER PRIMARY KEY NOT NULL );"
    "INSERT INTO commit_row_lock (tid) VALUES (0);"
    "CREATE TABLE object_state (\n"
    "zoid        INTEGER NOT NULL PRIMARY KEY,\n"
    "tid         INTEGER NOT NULL,\n"
    "state_size  BIGINT NOT NULL,\n"
    "state       BLOB,\n"
    "CHECK (tid > 0),\n"
    "CHECK (state_size >= 0)\n"
    ");"
    "CREATE INDEX object_state_tid ON object_state (tid);"
    "CREATE TABLE blob_chunk (\n"
    "zoid        INTEGER NOT NULL,\n"
    "chunk_num   INTEGER NOT NULL,\n"
    "tid         INTEGER NOT NULL,\n"
    "chunk       BLOB NOT NULL,\n"
    "CONSTRAINT blob_chunk_pk\n"
    "PRIMARY KEY (zoid, chunk_num),\n"
    "CONSTRAINT  blob_chunk_fk\n"
    "FOREIGN KEY (zoid)\n"
    "REFERENCES object_state (zoid)\n"
    "ON DELETE CASCADE\n"
    ");"
    "CREATE INDEX blob_chunk_lookup ON blob_chunk (zoid);"
    "CREATE TABLE object_ref (\n"
    "zoid        INTEGER NOT NULL,\n"
    "to_zoid     INTEGER NOT NULL,\n"
    "tid         INTEGER NOT NULL,\n"
    "PRIMARY KEY (zoid, to_zoid)\n"
    ");"
    "CREATE TABLE object_refs_added (\n"
    "zoid        INTEGER NOT NULL PRIMARY KEY,\n"
    "tid         INTEGER NOT NULL\n"
    ");"
    "CREATE TABLE pack_object(zoid INTEGER PRIMARY KEY NOT NULL , keep INTEGER NOT NULL , "
    "keep_tid INTEGER NOT NULL , visited INTEGER DEFAULT FALSE NOT NULL );"
    "CREATE INDEX pack_object_keep_zoid ON pack_object (keep, zoid);";

typedef enum statement_e {
    BEGIN,
    COMMIT,
    ROLLBACK,
    LOCK,
    NEWEST,
    CHANGES,
    TID_OF,
    LOAD,
    WRITE,
    RECORDS,
    RECORDS_OF,
    TIDS,
    COUNT,
    SIZE,
    MAX_OID,
    OIDS_BEGIN, /* from here on, of the file of oids */
    OIDS_FIRST,
    OIDS_COMMIT,
    OIDS_ROLLBACK,
    OIDS_NOW,
    OIDS_TAKE,
    OIDS_RAISE,
    STATEMENT_COUNT
} statement_e;

static const char *const statement_sql[STATEMENT_COUNT] = {
    [BEGIN] = "BEGIN",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    /* Changes nothing, and takes the write lock: the statement by which RelStorage locks too. */
    [LOCK] = "UPDATE commit_row_lock SET tid = tid WHERE tid < 0",
    [NEWEST] = "SELECT MAX(tid) FROM object_state",
    [CHANGES] = "SELECT zoid, tid FROM object_state WHERE tid > ?1 ORDER BY tid DESC",
    [TID_OF] = "SELECT tid FROM object_state WHERE zoid = ?1",
    [LOAD] = "SELECT tid, state FROM object_state WHERE zoid = ?1",
    /* Not INSERT OR REPLACE: that deletes the row, and with it the object's blob chunks. */
    [WRITE] = "INSERT INTO object_state (zoid, tid, state_size, state) VALUES (?1, ?2, ?3, ?4) "
              "ON CONFLICT (zoid) DO UPDATE SET tid = excluded.tid, "
              "state_size = excluded.state_size, state = excluded.state",
    [RECORDS] = "SELECT zoid, tid, state FROM object_state WHERE zoid >= ?1 ORDER BY zoid LIMIT ?2",
    [RECORDS_OF] = "SELECT zoid, tid, state FROM object_state WHERE zoid >= ?1 AND tid = ?3 "
                   "ORDER BY zoid LIMIT ?2",
    [TIDS] = "SELECT DISTINCT tid FROM object_state WHERE tid >= ?1 AND tid <= ?3 "
             "ORDER BY tid LIMIT ?2",
    [COUNT] = "SELECT COUNT(*) FROM object_state",
    [SIZE] = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    [MAX_OID] = "SELECT MAX(zoid) FROM object_state",
    [OIDS_BEGIN] = "BEGIN IMMEDIATE",
    [OIDS_FIRST] = "INSERT INTO new_oid SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM new_oid)",
    [OIDS_COMMIT] = "COMMIT",
    [OIDS_ROLLBACK] = "ROLLBACK",
    [OIDS_NOW] = "SELECT zoid FROM new_oid",
    [OIDS_TAKE] = "UPDATE new_oid SET zoid = zoid + ?1",
    [OIDS_RAISE] = "UPDATE new_oid SET zoid = ?1 WHERE zoid < ?1",
};

typedef struct sqlite_conn_t {
    backend_conn_t base;
    sqlite3 *main;                             /* owned */
    sqlite3 *oids;                             /* owned, NULL until needed */
    sqlite3_stmt *statements[STATEMENT_COUNT]; /* owned, each NULL until used */
    apr_time_t busy_since;
} sqlite_conn_t;

/* ---- Errors ---- */

static const struct {
    int code; /* a primary result code */
    apr_status_t status;
} error_table[] = {
    { SQLITE_OK, APR_SUCCESS },       { SQLITE_DONE, APR_SUCCESS },
    { SQLITE_ROW, APR_SUCCESS },      { SQLITE_BUSY, STORAGE_RETRY },
    { SQLITE_LOCKED, STORAGE_RETRY }, { SQLITE_INTERRUPT, STORAGE_RETRY },
    { SQLITE_NOMEM, APR_ENOMEM },     { SQLITE_TOOBIG, STORAGE_RANGE },
    { SQLITE_FULL, APR_ENOSPC },      { SQLITE_READONLY, STORAGE_READ_ONLY },
};

static apr_status_t status_of(int code)
{
    apr_size_t i;

    for (i = 0; i < sizeof(error_table) / sizeof(error_table[0]); i++) {
        if (error_table[i].code == (code & 0xff)) {
            return error_table[i].status;
        }
    }
    return STORAGE_FATAL;
}

/* Turn a result code into a status, keeping SQLite's words for it. */
static apr_status_t check(sqlite_conn_t *c, sqlite3 *db, int code)
{
    apr_status_t rv = status_of(code);

    if (rv != APR_SUCCESS) {
        apr_snprintf(c->base.error, sizeof(c->base.error), "%s: %s", c->base.uri->name,
                     db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
        c->base.broken |= rv == STORAGE_FATAL;
    }
    return rv;
}

/* ---- Connections ---- */

/* SQLite asks this while somebody else has the lock it wants. Its own waits grow to 100 ms; a
 * commit takes some 20 us, so these stay short: from 50 us to 5 ms. */
static int wait_for_lock(void *data, int attempt)
{
    sqlite_conn_t *c = data;
    apr_interval_time_t pause = attempt < 7 ? (apr_interval_time_t)50 << attempt : 5000;
    apr_time_t now = apr_time_now();

    if (attempt == 0) {
        c->busy_since = now;
    }
    if (now - c->busy_since >= apr_time_from_sec(c->base.uri->options[URI_COMMIT_LOCK_TIMEOUT])) {
        return 0;
    }
    apr_sleep(pause);
    return 1;
}

/* Closes a file with its statements, from first on; SQLite keeps one open that still has some. */
static void close_file(sqlite_conn_t *c, sqlite3 **pdb, statement_e first, statement_e end)
{
    int i;

    for (i = (int)first; i < (int)end; i++) {
        sqlite3_finalize(c->statements[i]);
        c->statements[i] = NULL;
    }
    sqlite3_close(*pdb);
    *pdb = NULL;
}

static void close_oids(sqlite_conn_t *c)
{
    close_file(c, &c->oids, OIDS_BEGIN, STATEMENT_COUNT);
}

static apr_status_t disconnect(void *data)
{
    sqlite_conn_t *c = data;

    close_oids(c);
    close_file(c, &c->main, BEGIN, OIDS_BEGIN);
    return APR_SUCCESS;
}

static apr_status_t run(sqlite_conn_t *c, sqlite3 *db, const char *sql)
{
    return check(c, db, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

static apr_status_t open_file(sqlite_conn_t *c, const char *name, int create, sqlite3 **pdb)
{
    const char *path = apr_pstrcat(c->base.pool, c->base.uri->path, "/", name, NULL);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    int code;

    if (create) {
        /* SQLite takes an empty file for a new database. Not made by open(): its close() would take
         * this process's locks from whoever has opened the file meanwhile. SQLite meets and tells
         * what is wrong. */
        (void)mknod(path, S_IFREG | FILE_MODE, 0);
    }
    code = sqlite3_open_v2(path, pdb, flags, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_busy_handler(*pdb, wait_for_lock, c);
    }
    return check(c, *pdb, code);
}

static sqlite_conn_t *conn_new(const uri_t *uri, apr_pool_t *pool)
{
    sqlite_conn_t *c = apr_pcalloc(pool, sizeof(*c));

    c->base.backend = &sqlite_backend;
    c->base.uri = uri;
    c->base.pool = pool;
    apr_pool_cleanup_register(pool, c, disconnect, apr_pool_cleanup_null);
    return c;
}

static apr_status_t sqlite_connect(backend_conn_t **pconn, const uri_t *uri, apr_pool_t *pool)
{
    sqlite_conn_t *c = conn_new(uri, pool);
    apr_status_t rv;

    *pconn = &c->base;
    rv = open_file(c, "main.sqlite3", 0, &c->main);
    if (rv == APR_SUCCESS) {
        rv = run(c, c->main,
                 apr_psprintf(pool,
                              "PRAGMA foreign_keys = ON; PRAGMA synchronous = %d; "
                              "PRAGMA cache_size = -%d; PRAGMA query_only = %d",
                              (int)uri->options[URI_SYNCHRONOUS],
                              (int)uri->options[URI_PAGE_CACHE_KB],
                              (int)uri->options[URI_READ_ONLY]));
    }
    c->base.status = rv;
    return rv;
}

/* ---- Statements ---- */

static apr_status_t statement(sqlite_conn_t *c, statement_e which, sqlite3_stmt **pstmt)
{
    sqlite3 *db = which >= OIDS_BEGIN ? c->oids : c->main;
    apr_status_t rv = APR_SUCCESS;

    if (!c->statements[which]) {
        rv = check(c, db,
                   sqlite3_prepare_v3(db, statement_sql[which], -1, SQLITE_PREPARE_PERSISTENT,
                                      &c->statements[which], NULL));
    }
    *pstmt = c->statements[which];
    return rv;
}

/* Run a statement that takes at most one number and gives at most one. *pvalue stays as it is
 * if there is no row, or NULL in it. */
static apr_status_t run_number(sqlite_conn_t *c, statement_e which, apr_uint64_t number,
                               apr_uint64_t *pvalue)
{
    sqlite3_stmt *stmt;
    apr_status_t rv = statement(c, which, &stmt);
    int code;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (sqlite3_bind_parameter_count(stmt) > 0) {
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)number);
    }
    code = sqlite3_step(stmt);
    if (code == SQLITE_ROW && pvalue && sqlite3_column_type(stmt, 0) == SQLITE_INTEGER) {
        *pvalue = (apr_uint64_t)sqlite3_column_int64(stmt, 0);
    }
    /* The message belongs to the step, so it is fetched before reset, which may change it. */
    rv = check(c, sqlite3_db_handle(stmt), code);
    sqlite3_reset(stmt);
    return rv;
}

static apr_status_t run_plain(sqlite_conn_t *c, statement_e which)
{
    return run_number(c, which, 0, NULL);
}

/* ---- Transactions ---- */

static void sqlite_rollback(backend_conn_t *conn)
{
    sqlite_conn_t *c = (sqlite_conn_t *)conn;

    /* Some errors end the transaction by themselves. */
    if (c->main && !sqlite3_get_autocommit(c->main) && run_plain(c, ROLLBACK) != APR_SUCCESS) {
        conn->broken = 1;
    }
}

static apr_status_t sqlite_newest(backend_conn_t *conn, storage_tid_t *ptid)
{
    *ptid = 0;
    return run_number((sqlite_conn_t *)conn, NEWEST, 0, ptid);
}

static apr_status_t read_changes(sqlite_conn_t *c, storage_tid_t since, cache_changes_t *changes,
                                 storage_tid_t *ptid)
{
    sqlite3_stmt *stmt;
    apr_status_t rv = statement(c, CHANGES, &stmt);
    storage_tid_t tid;
    int code = SQLITE_DONE;

    *ptid = since;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)since);
    while (rv == APR_SUCCESS && !changes->overflow && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
        tid = (storage_tid_t)sqlite3_column_int64(stmt, 1);
        *ptid = tid > *ptid ? tid : *ptid;
        rv = backend_changes_add(changes, (storage_oid_t)sqlite3_column_int64(stmt, 0), tid);
    }
    if (rv == APR_SUCCESS) {
        rv = check(c, c->main, code);
    }
    sqlite3_reset(stmt);
    return rv;
}

static apr_status_t sqlite_snapshot(backend_conn_t *conn, storage_tid_t since,
                                    cache_changes_t *changes, storage_tid_t *ptid)
{
    sqlite_conn_t *c = (sqlite_conn_t *)conn;
    apr_status_t rv = run_plain(c, BEGIN);

    *ptid = 0;
    if (rv == APR_SUCCESS) {
        rv = changes ? read_changes(c, since, changes, ptid) : sqlite_newest(conn, ptid);
    }
    if (rv != APR_SUCCESS) {
        sqlite_rollback(conn);
    }
    return rv;
}

static apr_status_t sqlite_lock(backend_conn_t *conn, int in_snapshot)
{
    sqlite_conn_t *c = (sqlite_conn_t *)conn;
    apr_status_t rv = in_snapshot ? APR_SUCCESS : run_plain(c, BEGIN);

    if (rv == APR_SUCCESS) {
        rv = run_plain(c, LOCK);
    }
    if (rv != APR_SUCCESS && !in_snapshot) {
        sqlite_rollback(conn);
    }
    return rv;
}

static apr_status_t sqlite_write(backend_conn_t *conn, const storage_state_t *state)
{
    sqlite_conn_t *c = (sqlite_conn_t *)conn;
    sqlite3_stmt *stmt;
    apr_status_t rv = statement(c, WRITE, &stmt);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)state->oid);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)state->tid);
    sqlite3_bind_int64(stmt, 3, (sqlite3_int64)state->size);
    rv = check(c, c->main, sqlite3_bind_blob64(stmt, 4, state->data, state->size, SQLITE_STATIC));
    if (rv == APR_SUCCESS) {
        rv = check(c, c->main, sqlite3_step(stmt));
    }
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return rv;
}

static apr_status_t sqlite_commit(backend_conn_t *conn)
{
    apr_status_t rv = run_plain((sqlite_conn_t *)conn, COMMIT);

    if (rv != APR_SUCCESS) {
        sqlite_rollback(conn);
    }
    return rv;
}

/* ---- Reading ---- */

static apr_status_t sqlite_tid_of(backend_conn_t *conn, storage_oid_t oid, storage_tid_t *ptid)
{
    apr_status_t rv;

    *ptid = 0;
    rv = run_number((sqlite_conn_t *)conn, TID_OF, oid, ptid);
    return rv == APR_SUCCESS && *ptid == 0 ? STORAGE_MISSING : rv;
}

/* The state in that column of the current row; STORAGE_MISSING if it is NULL. */
static apr_status_t column_state(sqlite3_stmt *stmt, int column, storage_oid_t oid,
                                 storage_tid_t tid, storage_state_t **pstate)
{
    const void *data;
    apr_size_t size;

    *pstate = NULL;
    if (sqlite3_column_type(stmt, column) == SQLITE_NULL) {
        return STORAGE_MISSING;
    }
    data = sqlite3_column_blob(stmt, column);
    size = (apr_size_t)sqlite3_column_bytes(stmt, column);
    *pstate = state_create(oid, tid, size);
    if (!*pstate || (!data && size)) {
        storage_state_release(*pstate);
        *pstate = NULL;
        return APR_ENOMEM;
    }
    if (size) {
        memcpy((*pstate)->data, data, size);
    }
    return APR_SUCCESS;
}

static apr_status_t sqlite_load(backend_conn_t *conn, storage_oid_t oid, storage_state_t **pstate)
{
    sqlite_conn_t *c = (sqlite_conn_t *)conn;
    sqlite3_stmt *stmt;
    apr_status_t rv = statement(c, LOAD, &stmt);
    int code;

    *pstate = NULL;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)oid);
    code = sqlite3_step(stmt);
    if (code == SQLITE_ROW) {
        rv = column_state(stmt, 1, oid, (storage_tid_t)sqlite3_column_int64(stmt, 0), pstate);
    } else {
        rv = code == SQLITE_DONE ? STORAGE_MISSING : check(c, c->main, code);
    }
    sqlite3_reset(stmt);
    return rv;
}

static apr_status_t read_records(sqlite_conn_t *c, sqlite3_stmt *stmt, storage_state_t **states,
                                 apr_size_t *pcount)
{
    apr_status_t rv = APR_SUCCESS;
    int code = SQLITE_DONE;

    while (rv == APR_SUCCESS && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
        rv = column_state(stmt, 2, (storage_oid_t)sqlite3_column_int64(stmt, 0),
                          (storage_tid_t)sqlite3_column_int64(stmt, 1), &states[*pcount]);
        if (rv == APR_SUCCESS) {
            (*pcount)++;
        } else if (rv == STORAGE_MISSING) {
            rv = APR_SUCCESS;
        }
    }
    return rv == APR_SUCCESS ? check(c, c->main, code) : rv;
}

static apr_status_t select_records(sqlite_conn_t *c, statement_e which, storage_oid_t start,
                                   apr_size_t max, storage_tid_t tid, storage_state_t **states,
                                   apr_size_t *pcount)
{
    sqlite3_stmt *stmt;
    apr_status_t rv = statement(c, which, &stmt);

    *pcount = 0;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)start);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)max);
    if (which == RECORDS_OF) {
        sqlite3_bind_int64(stmt, 3, (sqlite3_int64)tid);
    }
    rv = read_records(c, stmt, states, pcount);
    sqlite3_reset(stmt);
    while (rv != APR_SUCCESS && *pcount > 0) {
        storage_state_release(states[--*pcount]);
    }
    return rv;
}

static apr_status_t sqlite_records(backend_conn_t *conn, storage_oid_t start, apr_size_t max,
                                   storage_state_t **states, apr_size_t *pcount)
{
    return select_records((sqlite_conn_t *)conn, RECORDS, start, max, 0, states, pcount);
}

static apr_status_t sqlite_records_of(backend_conn_t *conn, storage_tid_t tid, storage_oid_t start,
                                      apr_size_t max, storage_state_t **states, apr_size_t *pcount)
{
    return select_records((sqlite_conn_t *)conn, RECORDS_OF, start, max, tid, states, pcount);
}

static apr_status_t sqlite_tids(backend_conn_t *conn, storage_tid_t start, storage_tid_t stop,
                                apr_size_t max, storage_tid_t *tids, apr_size_t *pcount)
{
    sqlite_conn_t *c = (sqlite_conn_t *)conn;
    sqlite3_stmt *stmt;
    apr_status_t rv = statement(c, TIDS, &stmt);
    int code;

    *pcount = 0;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)start);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)max);
    sqlite3_bind_int64(stmt, 3, (sqlite3_int64)stop);
    while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
        tids[(*pcount)++] = (storage_tid_t)sqlite3_column_int64(stmt, 0);
    }
    rv = check(c, c->main, code);
    sqlite3_reset(stmt);
    return rv;
}

static apr_status_t sqlite_count(backend_conn_t *conn, apr_uint64_t *pcount)
{
    *pcount = 0;
    return run_number((sqlite_conn_t *)conn, COUNT, 0, pcount);
}

static apr_status_t sqlite_size(backend_conn_t *conn, apr_uint64_t *pbytes)
{
    *pbytes = 0;
    return run_number((sqlite_conn_t *)conn, SIZE, 0, pbytes);
}

/* ---- Oids ---- */

/* A fresh file starts with the range of the highest object there is, so that losing the file, which
 * is written without a journal, cannot lead to an oid being granted twice. */
static apr_status_t create_oids(sqlite_conn_t *c)
{
    apr_uint64_t highest = 0;
    apr_status_t rv = run_number(c, MAX_OID, 0, &highest);

    if (rv == APR_SUCCESS) {
        rv = run(c, c->oids,
                 "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS new_oid "
                 "(zoid INTEGER PRIMARY KEY NOT NULL)");
    }
    if (rv == APR_SUCCESS) {
        rv = run_number(c, OIDS_FIRST, (highest + BACKEND_OID_RANGE - 1) / BACKEND_OID_RANGE, NULL);
    }
    if (rv == APR_SUCCESS) {
        rv = run_plain(c, OIDS_COMMIT);
    }
    return rv;
}

static apr_status_t open_oids(sqlite_conn_t *c)
{
    apr_status_t rv;

    if (c->oids) {
        return APR_SUCCESS;
    }
    rv = open_file(c, "oids.sqlite3", 1, &c->oids);
    if (rv == APR_SUCCESS) {
        /* As RelStorage has it: what is in this file can always be found again. */
        rv = run(c, c->oids, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF");
    }
    if (rv == APR_SUCCESS && sqlite3_table_column_metadata(c->oids, NULL, "new_oid", "zoid", NULL,
                                                           NULL, NULL, NULL, NULL) != SQLITE_OK) {
        rv = create_oids(c);
    }
    if (rv != APR_SUCCESS) {
        close_oids(c);
    }
    return rv;
}

static apr_status_t oids_change(sqlite_conn_t *c, statement_e which, apr_uint64_t number,
                                apr_uint64_t *pnow)
{
    apr_status_t rv = run_plain(c, OIDS_BEGIN);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = run_number(c, which, number, NULL);
    if (rv == APR_SUCCESS) {
        rv = run_number(c, OIDS_NOW, 0, pnow);
    }
    if (rv == APR_SUCCESS) {
        rv = run_plain(c, OIDS_COMMIT);
    }
    if (rv != APR_SUCCESS && !sqlite3_get_autocommit(c->oids)) {
        (void)run_plain(c, OIDS_ROLLBACK);
    }
    return rv;
}

static apr_status_t sqlite_oid_grant(backend_conn_t *conn, unsigned int ranges, apr_uint64_t *plast)
{
    sqlite_conn_t *c = (sqlite_conn_t *)conn;
    apr_status_t rv = open_oids(c);

    *plast = 0;
    return rv == APR_SUCCESS ? oids_change(c, OIDS_TAKE, ranges, plast) : rv;
}

static apr_status_t sqlite_oid_raise(backend_conn_t *conn, apr_uint64_t n, apr_uint64_t *pnow)
{
    sqlite_conn_t *c = (sqlite_conn_t *)conn;
    apr_status_t rv = open_oids(c);

    *pnow = 0;
    if (rv == APR_SUCCESS) {
        rv = run_number(c, OIDS_NOW, 0, pnow);
    }
    if (rv == APR_SUCCESS && *pnow < n) {
        rv = oids_change(c, OIDS_RAISE, n, pnow);
    }
    return rv;
}

/* ---- Creating and checking a database ---- */

static apr_status_t has_table(sqlite_conn_t *c, const char *table, int *phas)
{
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(
        c->main, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1", -1, &stmt, NULL);
    apr_status_t rv;

    if (code == SQLITE_OK) {
        sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
        code = sqlite3_step(stmt);
    }
    *phas = code == SQLITE_ROW;
    rv = check(c, c->main, code);
    sqlite3_finalize(stmt);
    return rv;
}

static apr_status_t refuse(sqlite_conn_t *c, const char *reason)
{
    apr_snprintf(c->base.error, sizeof(c->base.error), "%s: %s", c->base.uri->name, reason);
    return STORAGE_FATAL;
}

/* Sets *pmade to whether the tables are there. */
static apr_status_t inspect(sqlite_conn_t *c, int *pmade)
{
    int history = 0, blobs = 0;
    apr_status_t rv = has_table(c, "current_object", &history);

    *pmade = 0;
    if (rv == APR_SUCCESS) {
        rv = has_table(c, "object_state", pmade);
    }
    if (rv == APR_SUCCESS) {
        rv = has_table(c, "blob_chunk", &blobs);
    }
    if (rv == APR_SUCCESS && history) {
        return refuse(c, "this database keeps history; only history-free ones can be opened");
    }
    if (rv == APR_SUCCESS && *pmade && !blobs) {
        return refuse(c, "this database has object_state but not blob_chunk; it is too old");
    }
    return rv;
}

static apr_status_t create_tables(sqlite_conn_t *c)
{
    int made = 0;
    apr_status_t rv;

    if (!c->base.uri->options[URI_CREATE] || c->base.uri->options[URI_READ_ONLY]) {
        return refuse(c, "there is no object database, and create is false or read-only true");
    }
    rv = run(c, c->main, "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; BEGIN IMMEDIATE");
    if (rv == APR_SUCCESS) {
        /* Somebody may have been faster. */
        rv = inspect(c, &made);
    }
    if (rv == APR_SUCCESS && !made) {
        rv = run(c, c->main, schema_sql);
    }
    return rv == APR_SUCCESS ? run(c, c->main, "COMMIT") : rv;
}

static apr_status_t prepare_files(sqlite_conn_t *c)
{
    int create = c->base.uri->options[URI_CREATE] && !c->base.uri->options[URI_READ_ONLY];
    apr_status_t rv = APR_SUCCESS;
    int made = 0;

    if (create) {
        rv = apr_dir_make_recursive(c->base.uri->path, DIRECTORY_MODE, c->base.pool);
        if (rv != APR_SUCCESS) {
            char reason[120];

            return refuse(c, apr_psprintf(c->base.pool, "cannot make the directory: %s",
                                          apr_strerror(rv, reason, sizeof(reason))));
        }
    }
    rv = open_file(c, "main.sqlite3", create, &c->main);
    if (rv == APR_SUCCESS) {
        rv = inspect(c, &made);
    }
    if (rv == APR_SUCCESS && !made) {
        rv = create_tables(c);
    }
    return rv;
}

static apr_status_t sqlite_prepare(const uri_t *uri, char *error, apr_pool_t *pool)
{
    apr_pool_t *p;
    sqlite_conn_t *c;
    apr_status_t rv = apr_pool_create(&p, pool);

    error[0] = '\0';
    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_tag(p, "sqlite_prepare");
    c = conn_new(uri, p);
    rv = prepare_files(c);
    apr_cpystrn(error, c->base.error, BACKEND_ERROR_SIZE);
    apr_pool_destroy(p);
    return rv;
}

const backend_t sqlite_backend = {
    .scheme = "sqlite",
    .prepare = sqlite_prepare,
    .connect = sqlite_connect,
    .snapshot = sqlite_snapshot,
    .lock = sqlite_lock,
    .rollback = sqlite_rollback,
    .write = sqlite_write,
    .commit = sqlite_commit,
    .newest = sqlite_newest,
    .tid_of = sqlite_tid_of,
    .load = sqlite_load,
    .records = sqlite_records,
    .records_of = sqlite_records_of,
    .tids = sqlite_tids,
    .count = sqlite_count,
    .size = sqlite_size,
    .oid_grant = sqlite_oid_grant,
    .oid_raise = sqlite_oid_raise,
};
