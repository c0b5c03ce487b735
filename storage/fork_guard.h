/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork_guard.h - whether this process is the one that made something, asked on every call.
 *
 * Made with each storage. Reading it is one load, and no system call; any thread.
 */
#ifndef STORAGE_FORK_GUARD_H
#define STORAGE_FORK_GUARD_H

#include <apr_pools.h>

typedef struct fork_guard_t fork_guard_t;

/* A guard for this process; its memory goes with pool. */
apr_status_t fork_guard_create(fork_guard_t **pguard, apr_pool_t *pool);

/* True in a child of the process that made it. */
int fork_guard_crossed(const fork_guard_t *guard);

#endif
