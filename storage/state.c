/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - one revision of an object in memory.
 *
 * States outlive pools and travel between threads, so they are counted and come from malloc.
 * Any thread; the count is atomic (C11's, which ThreadSanitizer sees, unlike APR's).
 */
#include "storage/state.h"

#include <stdlib.h>

storage_state_t *state_create(storage_oid_t oid, storage_tid_t tid, apr_size_t size)
{
    storage_state_t *state;

    if (size > APR_SIZE_MAX - sizeof(*state)) {
        return NULL;
    }
    state = malloc(sizeof(*state) + size);
    if (state) {
        *state = (storage_state_t){ .oid = oid, .tid = tid, .size = size };
        atomic_init(&state->refs, 1);
    }
    return state;
}

storage_state_t *state_retain(storage_state_t *state)
{
    atomic_fetch_add_explicit(&state->refs, 1, memory_order_relaxed);
    return state;
}

void storage_state_release(storage_state_t *state)
{
    if (state && atomic_fetch_sub(&state->refs, 1) == 1) {
        free(state);
    }
}

const void *storage_state_data(const storage_state_t *state)
{
    return state->data;
}

apr_size_t storage_state_size(const storage_state_t *state)
{
    return state->size;
}

storage_oid_t storage_state_oid(const storage_state_t *state)
{
    return state->oid;
}

storage_tid_t storage_state_tid(const storage_state_t *state)
{
    return state->tid;
}
