/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backend.c - the list of backends, and what they share.
 *
 * Called while a storage is opened, and by backends that list changes. No state, any thread.
 */
#include "storage/backend.h"

#include <stdlib.h>
#include <string.h>

static const backend_t *const backends[] = { &sqlite_backend };

const backend_t *backend_find(const char *scheme)
{
    apr_size_t i;

    for (i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
        if (strcmp(backends[i]->scheme, scheme) == 0) {
            return backends[i];
        }
    }
    return NULL;
}

apr_status_t backend_changes_add(cache_changes_t *changes, storage_oid_t oid, storage_tid_t tid)
{
    cache_change_t *items;
    apr_size_t room;

    if (changes->count >= changes->limit) {
        changes->overflow = 1;
        return APR_SUCCESS;
    }
    if (changes->count == changes->room) {
        room = changes->room ? changes->room * 2 : 64;
        items = realloc(changes->items, room * sizeof(*items));
        if (!items) {
            return APR_ENOMEM;
        }
        changes->items = items;
        changes->room = room;
    }
    changes->items[changes->count++] = (cache_change_t){ oid, tid };
    return APR_SUCCESS;
}
