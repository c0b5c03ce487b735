/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h - the object states that a process remembers, shared by the instances of one storage.
 *
 * Called by conn_load.c, poll_snapshot.c and commit_vote.c, from any thread, with or without an
 * interpreter lock: the cache's own lock is never held across a system call, an allocation, or the
 * taking of another lock.
 */
#ifndef STORAGE_CACHE_H
#define STORAGE_CACHE_H

#include "storage/storage.h"

typedef struct cache_t cache_t;

typedef struct cache_change_t {
    storage_oid_t oid;
    storage_tid_t tid; /* the newest revision */
} cache_change_t;

/* A growing list of changes; past limit nothing more is added, and overflow is set. */
typedef struct cache_changes_t {
    cache_change_t *items; /* owned, malloc */
    apr_size_t count, room, limit;
    int overflow;
} cache_changes_t;

/* A cache that holds at most limit bytes, states and their bookkeeping counted, none of them larger
 * than object_max; limit 0 remembers nothing. Lives as long as pool. */
apr_status_t cache_create(cache_t **pcache, apr_size_t limit, apr_size_t object_max,
                          apr_pool_t *pool);

/* The state of oid that a snapshot at tid `at` shows, or NULL if that is not known. Every result
 * of the three is the caller's to release. */
storage_state_t *cache_get(cache_t *cache, storage_oid_t oid, storage_tid_t at);

/* Exactly that revision, or NULL. */
storage_state_t *cache_get_revision(cache_t *cache, storage_oid_t oid, storage_tid_t tid);

/* The newest revision before that tid, if it and its exact successor are known; else NULL. */
storage_state_t *cache_get_before(cache_t *cache, storage_oid_t oid, storage_tid_t before,
                                  storage_tid_t *pnext);

/* Whether cache_get() would answer; counts neither as a hit nor as a use. */
int cache_has(cache_t *cache, storage_oid_t oid, storage_tid_t at);

/* Remember a state that was read in a snapshot at tid `at`; takes a reference of its own. */
void cache_put(cache_t *cache, storage_state_t *state, storage_tid_t at);

/* Remember a state that this process has just committed in the place of revision replaced (0:
 * none); takes a reference of its own. */
void cache_put_committed(cache_t *cache, storage_state_t *state, storage_tid_t replaced);

/* The newest tid up to which the cache knows all changes; 0 before the first cache_advance(). */
storage_tid_t cache_horizon(cache_t *cache);

/* Tell the cache the newest change of every object changed in (from, to], as some snapshot shows
 * it. changes NULL: they are not known. */
void cache_advance(cache_t *cache, storage_tid_t from, storage_tid_t to,
                   const cache_changes_t *changes);

void cache_stats(cache_t *cache, storage_cache_stats_t *stats);

#endif
