/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.c - what a transaction wants to write and to rely on, in memory until it finishes.
 *
 * Called by the commit_ files, by the thread that uses the instance. Invariants: a sorted spool
 * has one entry for an oid; every conflict's committed state is owned by the spool, and its data
 * belongs to the entry of the same oid.
 */
#include "storage/spool.h"

#include <stdlib.h>
#include <string.h>

/* A spool that has grown beyond this many entries is given back after its transaction. */
#define KEPT_ROOM 1024

static apr_status_t grow(void **parray, apr_size_t count, apr_size_t *proom, apr_size_t item)
{
    apr_size_t room = *proom ? *proom * 2 : 16;
    void *array;

    if (count < *proom) {
        return APR_SUCCESS;
    }
    array = realloc(*parray, room * item);
    if (!array) {
        return APR_ENOMEM;
    }
    *parray = array;
    *proom = room;
    return APR_SUCCESS;
}

apr_status_t spool_store(spool_t *spool, storage_oid_t oid, storage_tid_t serial, const void *data,
                         apr_size_t size)
{
    storage_state_t *state;
    apr_status_t rv =
        grow((void **)&spool->entries, spool->count, &spool->room, sizeof(*spool->entries));

    if (rv != APR_SUCCESS) {
        return rv;
    }
    state = state_create(oid, 0, size);
    if (!state) {
        return APR_ENOMEM;
    }
    memcpy(state->data, data, size);
    spool->entries[spool->count] = (spool_entry_t){ state, serial, spool->count };
    spool->count++;
    spool->sorted = 0;
    return APR_SUCCESS;
}

apr_status_t spool_read_current(spool_t *spool, storage_oid_t oid, storage_tid_t serial)
{
    apr_status_t rv =
        grow((void **)&spool->reads, spool->read_count, &spool->read_room, sizeof(*spool->reads));

    if (rv == APR_SUCCESS) {
        spool->reads[spool->read_count++] = (spool_read_t){ oid, serial };
    }
    return rv;
}

static int compare_entries(const void *a, const void *b)
{
    const spool_entry_t *x = a, *y = b;

    if (x->state->oid != y->state->oid) {
        return x->state->oid < y->state->oid ? -1 : 1;
    }
    return x->order < y->order ? -1 : 1;
}

void spool_sort(spool_t *spool)
{
    apr_size_t i, kept = 0;

    if (spool->sorted) {
        return;
    }
    qsort(spool->entries, spool->count, sizeof(*spool->entries), compare_entries);
    for (i = 0; i < spool->count; i++) {
        if (kept > 0 && spool->entries[kept - 1].state->oid == spool->entries[i].state->oid) {
            kept--;
            storage_state_release(spool->entries[kept].state);
        }
        spool->entries[kept] = spool->entries[i];
        /* The next store comes after all of these, however many were dropped. */
        spool->entries[kept].order = kept;
        kept++;
    }
    spool->count = kept;
    spool->sorted = 1;
}

static int compare_oid(const void *key, const void *entry)
{
    storage_oid_t oid = *(const storage_oid_t *)key;
    storage_oid_t other = ((const spool_entry_t *)entry)->state->oid;

    return oid < other ? -1 : oid > other;
}

spool_entry_t *spool_find(spool_t *spool, storage_oid_t oid)
{
    if (spool->count == 0) {
        return NULL;
    }
    return bsearch(&oid, spool->entries, spool->count, sizeof(*spool->entries), compare_oid);
}

apr_status_t spool_conflict(spool_t *spool, const spool_entry_t *entry, storage_state_t *committed)
{
    apr_status_t rv = grow((void **)&spool->conflicts, spool->conflict_count, &spool->conflict_room,
                           sizeof(*spool->conflicts));

    if (rv != APR_SUCCESS) {
        storage_state_release(committed);
        return rv;
    }
    spool->conflicts[spool->conflict_count++] = (storage_conflict_t){
        .oid = entry->state->oid,
        .serial = entry->serial,
        .committed_tid = committed->tid,
        .committed = committed,
        .data = entry->state->data,
        .size = entry->state->size,
    };
    return APR_SUCCESS;
}

void spool_conflicts_clear(spool_t *spool)
{
    while (spool->conflict_count > 0) {
        storage_state_release(spool->conflicts[--spool->conflict_count].committed);
    }
}

void spool_clear(spool_t *spool)
{
    spool_conflicts_clear(spool);
    while (spool->count > 0) {
        storage_state_release(spool->entries[--spool->count].state);
    }
    spool->read_count = 0;
    spool->sorted = 0;
    if (spool->room > KEPT_ROOM || spool->read_room > KEPT_ROOM) {
        spool_free(spool);
    }
}

void spool_free(spool_t *spool)
{
    spool_conflicts_clear(spool);
    while (spool->count > 0) {
        storage_state_release(spool->entries[--spool->count].state);
    }
    free(spool->entries);
    free(spool->reads);
    free(spool->conflicts);
    *spool = (spool_t){ 0 };
}
