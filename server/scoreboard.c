/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scoreboard.c: making and reading the shared block of a group.  scoreboard.h says who writes what.
 * Called by the httpd parent (create, destroy), managers (live), children and status pages
 * (reading).
 */
#include "server/scoreboard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <apr_strings.h>
#include <apr_tables.h>

static apr_status_t pair_make(int *first, int *second)
{
    int pair[2];

    *first = -1;
    *second = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        return errno;
    }
    *first = pair[0];
    *second = pair[1];
    return APR_SUCCESS;
}

/* A worker that waits for a frame looks up that often whether its request is still wanted. */
static void receive_limit(int fd)
{
    struct timeval limit = { .tv_sec = 1, .tv_usec = 0 };

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

static void pair_close(int *first, int *second)
{
    if (*first >= 0) {
        (void)close(*first);
    }
    if (*second >= 0) {
        (void)close(*second);
    }
    *first = -1;
    *second = -1;
}

static apr_status_t block_map(scoreboard_instance_t *instance, const scoreboard_shape_t *shape)
{
    apr_uint32_t slots = shape->processes * SCOREBOARD_GENERATIONS;
    apr_size_t size = sizeof(scoreboard_t) + shape->channels * sizeof(scoreboard_channel_t) +
                      slots * sizeof(scoreboard_process_t) +
                      (apr_size_t)slots * shape->threads * sizeof(scoreboard_worker_t);
    void *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (block == MAP_FAILED) {
        return errno;
    }
    instance->size = size;
    instance->board = block;
    instance->channels = (scoreboard_channel_t *)(instance->board + 1);
    instance->processes = (scoreboard_process_t *)(instance->channels + shape->channels);
    instance->workers = (scoreboard_worker_t *)(instance->processes + slots);
    apr_cpystrn(instance->board->name, instance->name, SCOREBOARD_NAME_MAX);
    instance->board->channel_count = shape->channels;
    instance->board->process_count = slots;
    instance->board->threads = shape->threads;
    instance->board->processes = shape->processes;
    instance->board->created = apr_time_now();
    return APR_SUCCESS;
}

static apr_status_t descriptors_make(scoreboard_instance_t *instance, apr_uint32_t channels)
{
    apr_status_t rv = pair_make(&instance->queue_send, &instance->queue_recv);
    apr_uint32_t i;

    for (i = 0; i < channels; i++) {
        instance->child_end[i] = -1;
        instance->daemon_end[i] = -1;
    }
    for (i = 0; rv == APR_SUCCESS && i < channels; i++) {
        rv = pair_make(&instance->child_end[i], &instance->daemon_end[i]);
        if (rv == APR_SUCCESS) {
            receive_limit(instance->daemon_end[i]);
        }
    }
    return rv;
}

apr_status_t scoreboard_create(const char *name, const char *digest,
                               const scoreboard_shape_t *shape, scoreboard_instance_t **instance,
                               apr_pool_t *parent)
{
    scoreboard_instance_t *made;
    apr_pool_t *pool;
    apr_status_t rv;

    *instance = NULL;
    rv = apr_pool_create(&pool, parent);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_tag(pool, "pipeline-instance");
    made = apr_pcalloc(pool, sizeof(*made));
    made->pool = pool;
    made->name = apr_pstrdup(pool, name);
    made->digest = apr_pstrdup(pool, digest);
    made->queue_send = -1;
    made->queue_recv = -1;
    made->child_end = apr_pcalloc(pool, shape->channels * sizeof(int));
    made->daemon_end = apr_pcalloc(pool, shape->channels * sizeof(int));
    made->mounts = apr_pmemdup(pool, shape->mounts, shape->mount_count * sizeof(*made->mounts));
    made->mount_count = shape->mount_count;
    rv = block_map(made, shape);
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(pool);
        return rv;
    }
    rv = descriptors_make(made, shape->channels);
    if (rv != APR_SUCCESS) {
        scoreboard_destroy(made);
        return rv;
    }
    *instance = made;
    return APR_SUCCESS;
}

static int id_compare(const void *left, const void *right)
{
    apr_uint64_t a = *(const apr_uint64_t *)left;
    apr_uint64_t b = *(const apr_uint64_t *)right;

    return (a > b) - (a < b);
}

int scoreboard_has_mount(const scoreboard_instance_t *instance, apr_uint64_t id)
{
    return instance->mount_count > 0 &&
           bsearch(&id, instance->mounts, instance->mount_count, sizeof(id), id_compare) != NULL;
}

void scoreboard_destroy(scoreboard_instance_t *instance)
{
    apr_uint32_t i;

    pair_close(&instance->queue_send, &instance->queue_recv);
    for (i = 0; i < instance->board->channel_count; i++) {
        pair_close(&instance->child_end[i], &instance->daemon_end[i]);
    }
    (void)munmap(instance->board, instance->size);
    instance->board = NULL;
    apr_pool_destroy(instance->pool);
}

void scoreboard_descriptors(const scoreboard_instance_t *instance, apr_array_header_t *keep)
{
    apr_uint32_t i;

    APR_ARRAY_PUSH(keep, int) = instance->queue_send;
    APR_ARRAY_PUSH(keep, int) = instance->queue_recv;
    for (i = 0; i < instance->board->channel_count; i++) {
        APR_ARRAY_PUSH(keep, int) = instance->child_end[i];
        APR_ARRAY_PUSH(keep, int) = instance->daemon_end[i];
    }
}

apr_uint32_t scoreboard_live_update(scoreboard_instance_t *instance)
{
    apr_uint32_t live = 0;
    apr_uint32_t i;

    for (i = 0; i < instance->board->process_count; i++) {
        if (atomic_load(&instance->processes[i].state) == SCOREBOARD_READY) {
            live++;
        }
    }
    atomic_store(&instance->board->live, live);
    return live;
}

apr_uint32_t scoreboard_busy_count(const scoreboard_instance_t *instance)
{
    apr_uint32_t count = instance->board->process_count * instance->board->threads;
    apr_uint32_t busy = 0;
    apr_uint32_t i;

    for (i = 0; i < count; i++) {
        busy += atomic_load_explicit(&instance->workers[i].busy, memory_order_relaxed) != 0;
    }
    return busy;
}

void scoreboard_sample(scoreboard_instance_t *instance)
{
    apr_uint64_t second = (apr_uint64_t)apr_time_sec(apr_time_now());
    scoreboard_sample_t *sample = &instance->board->samples[second % SCOREBOARD_SAMPLES];
    apr_uint32_t busy = scoreboard_busy_count(instance);

    if (atomic_load(&sample->second) != second) {
        atomic_store(&sample->busy, 0);
    }
    if (busy > atomic_load(&sample->busy)) { /* the most that was seen within the second */
        atomic_store(&sample->busy, busy);
    }
    atomic_store(&sample->requests, atomic_load(&instance->board->requests));
    atomic_store(&sample->live, atomic_load(&instance->board->live));
    atomic_store(&sample->second, second);
}

void scoreboard_latency_add(scoreboard_t *board, apr_int64_t us)
{
    int bucket = us <= 1 ? 0 : 64 - __builtin_clzll((unsigned long long)us - 1);

    if (bucket >= SCOREBOARD_LATENCY_BUCKETS) {
        bucket = SCOREBOARD_LATENCY_BUCKETS - 1;
    }
    atomic_fetch_add_explicit(&board->latency[bucket], 1, memory_order_relaxed);
}

int scoreboard_pid_dead(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

apr_int64_t scoreboard_clock(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (apr_int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}
