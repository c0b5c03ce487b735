/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork_guard.c - whether this process is the one that made something.
 *
 * A page that the kernel wipes in a child (MADV_WIPEONFORK) holds a 1: a load of a cached object
 * takes a fraction of a microsecond, and getpid() would be a good part of it. Where the kernel
 * does not know that advice, getpid() it is. Any thread; nothing is written after creation.
 */
#include "storage/fork_guard.h"

#include <sys/mman.h>
#include <unistd.h>

struct fork_guard_t {
    volatile int *alive; /* owned: a page; NULL where pages cannot be wiped */
    apr_size_t page_size;
    pid_t pid;
};

static apr_status_t unmap(void *data)
{
    fork_guard_t *guard = data;

    munmap((void *)guard->alive, guard->page_size);
    return APR_SUCCESS;
}

apr_status_t fork_guard_create(fork_guard_t **pguard, apr_pool_t *pool)
{
    fork_guard_t *guard = apr_pcalloc(pool, sizeof(*guard));
    void *page;

    *pguard = guard;
    guard->pid = getpid();
    guard->page_size = (apr_size_t)sysconf(_SC_PAGESIZE);
    page = mmap(NULL, guard->page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return APR_ENOMEM;
    }
#ifdef MADV_WIPEONFORK
    if (madvise(page, guard->page_size, MADV_WIPEONFORK) == 0) {
        guard->alive = page;
        *guard->alive = 1;
        apr_pool_cleanup_register(pool, guard, unmap, apr_pool_cleanup_null);
        return APR_SUCCESS;
    }
#endif
    munmap(page, guard->page_size);
    return APR_SUCCESS;
}

int fork_guard_crossed(const fork_guard_t *guard)
{
    return guard->alive ? !*guard->alive : getpid() != guard->pid;
}
