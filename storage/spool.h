/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.h - what a transaction wants to write and to rely on, in memory until it finishes.
 *
 * Part of an instance, used by the thread that uses it; knows no database. The array of conflicts
 * is filled by commit_vote.c.
 */
#ifndef STORAGE_SPOOL_H
#define STORAGE_SPOOL_H

#include "storage/state.h"

typedef struct spool_entry_t {
    storage_state_t *state; /* owned; its tid is set at finish */
    storage_tid_t serial;   /* the revision it is based on */
    apr_size_t order;       /* when it was stored */
} spool_entry_t;

typedef struct spool_read_t {
    storage_oid_t oid;
    storage_tid_t serial;
} spool_read_t;

typedef struct spool_t {
    spool_entry_t *entries; /* owned, malloc */
    apr_size_t count, room;
    int sorted;
    spool_read_t *reads; /* owned, malloc: what must be current */
    apr_size_t read_count, read_room;
    storage_conflict_t *conflicts; /* owned, malloc, with their committed states */
    apr_size_t conflict_count, conflict_room;
} spool_t;

/* Keep a copy. APR_ENOMEM. */
apr_status_t spool_store(spool_t *spool, storage_oid_t oid, storage_tid_t serial, const void *data,
                         apr_size_t size);
apr_status_t spool_read_current(spool_t *spool, storage_oid_t oid, storage_tid_t serial);

/* Sort by oid, the last store of an object winning; later stores undo it. */
void spool_sort(spool_t *spool);

/* The entry for oid in a sorted spool, or NULL. */
spool_entry_t *spool_find(spool_t *spool, storage_oid_t oid);

/* Note that entry conflicts with committed, whose reference is taken over even on failure. */
apr_status_t spool_conflict(spool_t *spool, const spool_entry_t *entry, storage_state_t *committed);
void spool_conflicts_clear(spool_t *spool);

/* Empty it, keeping some room for the next transaction; or give up all its memory. */
void spool_clear(spool_t *spool);
void spool_free(spool_t *spool);

#endif
