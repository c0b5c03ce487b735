/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_state.c - the object states that a process remembers.
 *
 * Owned by a storage_t, shared by its instances; see cache.h for who calls. Invariants:
 *
 *   1. bytes is the sum of state_cost() over all states here, and never above limit.
 *   2. There is at most one state here for an (oid, tid).
 *   3. A state with upto == STATE_CURRENT was the current revision at max(horizon, its tid).
 *      A state with any other upto was the current revision from its tid through upto.
 *   4. next is 0 or the tid of the revision that replaced the state, with nothing between.
 *   5. horizon never decreases, and no snapshot of this process is newer than it: who polls
 *      advances the horizon before it reads. Hence a CURRENT state with tid <= at serves every at.
 *   6. The list by use holds exactly the states here, the last used first; the last are dropped.
 *
 * A state read at a snapshot behind the horizon may have been replaced since; it is remembered as
 * current through that snapshot only. So is one that was committed here but is not above the
 * horizon any more: somebody polled in between, and may have seen it replaced.
 */
#include "storage/cache.h"
#include "storage/state.h"

#include <apr_thread_mutex.h>

#include <string.h>

/* One bucket for this many bytes of the limit: near the size of a common record with its head, so
 * chains stay about one long. */
#define BYTES_PER_BUCKET 512

struct cache_t {
    apr_thread_mutex_t *lock;
    storage_state_t **buckets; /* owned; a power of two of them */
    apr_size_t mask;
    apr_size_t limit, object_max;
    apr_size_t bytes, states;
    storage_state_t *newest, *oldest;
    storage_tid_t horizon;
    apr_uint64_t hits, misses;
};

static apr_size_t state_cost(const storage_state_t *state)
{
    return sizeof(*state) + state->size;
}

static storage_state_t **bucket_of(cache_t *cache, storage_oid_t oid)
{
    /* Fibonacci hashing: oids are dense, and the bucket must not depend on their low bits only. */
    return &cache->buckets[((oid * 0x9e3779b97f4a7c15U) >> 24) & cache->mask];
}

static void list_remove(cache_t *cache, storage_state_t *state)
{
    *(state->newer ? &state->newer->older : &cache->newest) = state->older;
    *(state->older ? &state->older->newer : &cache->oldest) = state->newer;
    state->newer = state->older = NULL;
}

static void list_push(cache_t *cache, storage_state_t *state)
{
    state->newer = NULL;
    state->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = state;
    cache->newest = state;
}

static void touch(cache_t *cache, storage_state_t *state)
{
    if (cache->newest != state) {
        list_remove(cache, state);
        list_push(cache, state);
    }
}

static void chain_remove(cache_t *cache, storage_state_t *state)
{
    storage_state_t **link = bucket_of(cache, state->oid);

    while (*link != state) {
        link = &(*link)->chain;
    }
    *link = state->chain;
}

/* Take the least used out until size bytes fit; they come back as a chain, to be released without
 * the lock, since free() may be a system call. */
static storage_state_t *make_room(cache_t *cache, apr_size_t size)
{
    storage_state_t *dropped = NULL;

    while (cache->bytes + size > cache->limit) {
        storage_state_t *last = cache->oldest;

        list_remove(cache, last);
        chain_remove(cache, last);
        cache->bytes -= state_cost(last);
        cache->states--;
        last->chain = dropped;
        dropped = last;
    }
    return dropped;
}

static void release_chain(storage_state_t *state)
{
    while (state) {
        storage_state_t *next = state->chain;

        storage_state_release(state);
        state = next;
    }
}

static storage_state_t *find_revision(cache_t *cache, storage_oid_t oid, storage_tid_t tid)
{
    storage_state_t *state = *bucket_of(cache, oid);

    while (state && (state->oid != oid || state->tid != tid)) {
        state = state->chain;
    }
    return state;
}

static storage_state_t *find_at(cache_t *cache, storage_oid_t oid, storage_tid_t at)
{
    storage_state_t *state = *bucket_of(cache, oid);

    while (state && (state->oid != oid || state->tid > at || state->upto < at)) {
        state = state->chain;
    }
    return state;
}

static storage_state_t *use(cache_t *cache, storage_state_t *state)
{
    if (!state) {
        cache->misses++;
        return NULL;
    }
    cache->hits++;
    touch(cache, state);
    return state_retain(state);
}

/* Put a new state in, or learn about the one that is here already. */
static storage_state_t *insert(cache_t *cache, storage_state_t *state, storage_tid_t upto)
{
    storage_state_t *known = find_revision(cache, state->oid, state->tid);
    storage_state_t *dropped;
    storage_state_t **link;

    if (known) {
        if (!known->next && upto > known->upto) {
            known->upto = upto;
        }
        return NULL;
    }
    dropped = make_room(cache, state_cost(state));
    link = bucket_of(cache, state->oid);
    state->chain = *link;
    *link = state_retain(state);
    state->upto = upto;
    state->next = 0;
    list_push(cache, state);
    cache->bytes += state_cost(state);
    cache->states++;
    return dropped;
}

static int too_large(const cache_t *cache, const storage_state_t *state)
{
    return state->size > cache->object_max || state_cost(state) > cache->limit;
}

/* A CURRENT state stops being known as current: it was at the horizon, or when it was made. */
static void close_interval(cache_t *cache, storage_state_t *state)
{
    state->upto = state->tid > cache->horizon ? state->tid : cache->horizon;
}

static void close_replaced(cache_t *cache, const cache_change_t *change)
{
    storage_state_t *state;

    for (state = *bucket_of(cache, change->oid); state; state = state->chain) {
        if (state->oid == change->oid && state->upto == STATE_CURRENT && state->tid < change->tid) {
            close_interval(cache, state);
        }
    }
}

static void close_all(cache_t *cache)
{
    storage_state_t *state;

    for (state = cache->newest; state; state = state->older) {
        if (state->upto == STATE_CURRENT) {
            close_interval(cache, state);
        }
    }
}

static apr_status_t release_all(void *data)
{
    cache_t *cache = data;

    cache->limit = 0;
    release_chain(make_room(cache, 0));
    return APR_SUCCESS;
}

apr_status_t cache_create(cache_t **pcache, apr_size_t limit, apr_size_t object_max,
                          apr_pool_t *pool)
{
    cache_t *cache = apr_pcalloc(pool, sizeof(*cache));
    apr_size_t count = 64;

    *pcache = cache;
    while (count < limit / BYTES_PER_BUCKET) {
        count *= 2;
    }
    cache->limit = limit;
    cache->object_max = object_max;
    cache->mask = count - 1;
    cache->buckets = apr_pcalloc(pool, count * sizeof(*cache->buckets));
    apr_pool_cleanup_register(pool, cache, release_all, apr_pool_cleanup_null);
    return apr_thread_mutex_create(&cache->lock, APR_THREAD_MUTEX_DEFAULT, pool);
}

storage_state_t *cache_get(cache_t *cache, storage_oid_t oid, storage_tid_t at)
{
    storage_state_t *state;

    apr_thread_mutex_lock(cache->lock);
    state = use(cache, find_at(cache, oid, at));
    apr_thread_mutex_unlock(cache->lock);
    return state;
}

int cache_has(cache_t *cache, storage_oid_t oid, storage_tid_t at)
{
    int has;

    apr_thread_mutex_lock(cache->lock);
    has = find_at(cache, oid, at) != NULL;
    apr_thread_mutex_unlock(cache->lock);
    return has;
}

storage_state_t *cache_get_revision(cache_t *cache, storage_oid_t oid, storage_tid_t tid)
{
    storage_state_t *state;

    apr_thread_mutex_lock(cache->lock);
    state = use(cache, find_revision(cache, oid, tid));
    apr_thread_mutex_unlock(cache->lock);
    return state;
}

storage_state_t *cache_get_before(cache_t *cache, storage_oid_t oid, storage_tid_t before,
                                  storage_tid_t *pnext)
{
    storage_state_t *state;

    apr_thread_mutex_lock(cache->lock);
    state = *bucket_of(cache, oid);
    while (state && (state->oid != oid || state->tid >= before || state->next < before)) {
        state = state->chain;
    }
    state = use(cache, state);
    *pnext = state ? state->next : 0;
    apr_thread_mutex_unlock(cache->lock);
    return state;
}

void cache_put(cache_t *cache, storage_state_t *state, storage_tid_t at)
{
    storage_state_t *dropped;

    if (too_large(cache, state)) {
        return;
    }
    apr_thread_mutex_lock(cache->lock);
    dropped = insert(cache, state, at == cache->horizon ? STATE_CURRENT : at);
    apr_thread_mutex_unlock(cache->lock);
    release_chain(dropped);
}

void cache_put_committed(cache_t *cache, storage_state_t *state, storage_tid_t replaced)
{
    storage_state_t *dropped = NULL;
    storage_state_t *old;

    apr_thread_mutex_lock(cache->lock);
    old = find_revision(cache, state->oid, replaced);
    if (old) {
        old->upto = state->tid - 1;
        old->next = state->tid;
    }
    if (!too_large(cache, state)) {
        dropped = insert(cache, state, state->tid > cache->horizon ? STATE_CURRENT : state->tid);
    }
    apr_thread_mutex_unlock(cache->lock);
    release_chain(dropped);
}

storage_tid_t cache_horizon(cache_t *cache)
{
    storage_tid_t horizon;

    apr_thread_mutex_lock(cache->lock);
    horizon = cache->horizon;
    apr_thread_mutex_unlock(cache->lock);
    return horizon;
}

void cache_advance(cache_t *cache, storage_tid_t from, storage_tid_t to,
                   const cache_changes_t *changes)
{
    apr_size_t i;

    apr_thread_mutex_lock(cache->lock);
    if (to > cache->horizon) {
        if (!changes || from > cache->horizon) {
            close_all(cache);
        }
        for (i = 0; changes && i < changes->count; i++) {
            close_replaced(cache, &changes->items[i]);
        }
        cache->horizon = to;
    }
    apr_thread_mutex_unlock(cache->lock);
}

void cache_stats(cache_t *cache, storage_cache_stats_t *stats)
{
    apr_thread_mutex_lock(cache->lock);
    stats->bytes = cache->bytes;
    stats->limit = cache->limit;
    stats->states = cache->states;
    stats->hits = cache->hits;
    stats->misses = cache->misses;
    apr_thread_mutex_unlock(cache->lock);
}
