/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - one revision of an object in memory: counted, and immutable but for its links.
 *
 * Made by a backend (load) or by a spool (store), handed to the cache and to callers. data, oid and
 * tid never change once the state has been handed on. The links belong to the cache that holds the
 * state, and are read and written under its lock only.
 */
#ifndef STORAGE_STATE_H
#define STORAGE_STATE_H

#include "storage/storage.h"

#include <stdatomic.h>

struct storage_state_t {
    atomic_uint refs;
    storage_oid_t oid;
    storage_tid_t tid;
    apr_size_t size;

    /* The cache's, under its lock: */
    storage_state_t *chain;         /* next in the bucket */
    storage_state_t *newer, *older; /* the list by last use */
    storage_tid_t upto; /* last tid at which it is known to be current; STATE_CURRENT: still is */
    storage_tid_t next; /* the tid that replaced it, if that is known exactly; else 0 */

    unsigned char data[];
};

#define STATE_CURRENT APR_UINT64_MAX

/* A state with one reference and uninitialised data, or NULL without memory. */
storage_state_t *state_create(storage_oid_t oid, storage_tid_t tid, apr_size_t size);

storage_state_t *state_retain(storage_state_t *state);

#endif
