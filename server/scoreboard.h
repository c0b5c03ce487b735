/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scoreboard.h: what the processes of one group share: a block of anonymous shared memory, the
 * ticket queue and the channels.
 *
 * An instance belongs to one group and one configuration digest.  The httpd parent makes it in the
 * process pool, so that it outlives a graceful; children, managers and daemons inherit its memory
 * and its descriptors by fork, and nobody ever opens it by a name.  While the digest stays the
 * same, every generation uses the same instance, and old daemons serve the queue until new ones are
 * ready.
 *
 * Who may write what.  There is no lock: every field has one writer at a time, by this table.
 *
 *   channel.owner   a child's thread takes it by compare-and-swap from 0, and alone sets it back;
 *                   a manager's sweep sets it to 0, by compare-and-swap, once the pid is dead
 *   channel.req     the owner, or the sweep while it takes the channel from a dead owner
 *   channel.claim   a worker takes it by compare-and-swap for the req of its ticket, and gives it
 *                   back; a manager clears it, by compare-and-swap, once that process is dead;
 *                   the owner withdraws its ticket by compare-and-swap, before a worker claims it
 *   process.owner   a manager takes it by compare-and-swap from 0, and alone sets it back; another
 *                   does so, by compare-and-swap, once that manager and the daemon are dead
 *   process.*       that manager (pid, generation, started), or the daemon itself (state)
 *   worker.*        the worker's thread alone
 *   newest          the httpd parent alone
 *   superseded      the httpd parent, or the manager of the instance that takes over; only grows
 *   ready, live     managers; all compute the same from the slots, so the last writer is as right
 *                   as the first, and a sweep every 100 ms mends what a dead one left
 *   failed          the managers of the newest generation that failed, or was ready since
 *   samples         managers; those that sweep in the same second write the same row alike
 *   waiters         children's threads, by atomic addition; the sweep sets it to 0, after which a
 *                   child that still waits counts itself again within SCOREBOARD_WAIT
 *   counters        children, managers and workers, by atomic addition
 */
#ifndef SERVER_SCOREBOARD_H
#define SERVER_SCOREBOARD_H

#include <stdatomic.h>
#include <sys/types.h>

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#define SCOREBOARD_GENERATIONS 32    /* generations whose daemons may overlap while they drain */
#define SCOREBOARD_NAME_MAX    64    /* bytes of a group's name kept in shared memory */
#define SCOREBOARD_WAIT        50000 /* us between two looks of a child that waits for a channel */
#define SCOREBOARD_SAMPLES     300   /* seconds of history for the status page: five minutes */
#define SCOREBOARD_LATENCY_BUCKETS \
    32 /* log2 of us: the last one holds everything over 35 minutes */

/* States of a daemon process. */
typedef enum {
    SCOREBOARD_FREE = 0,
    SCOREBOARD_STARTING, /* forked, not ready */
    SCOREBOARD_READY,    /* serves the queue */
    SCOREBOARD_DRAINING, /* ends its requests, takes no more */
    SCOREBOARD_GONE      /* ended; its slot is about to be freed */
} scoreboard_process_e;

/* A claim is one word: req (high half), a mark, and the worker's number + 1 (low bits). */
#define SCOREBOARD_CLAIM_FINISHING \
    0x80000000u /* the last frame is on its way; the worker reads no more */
#define SCOREBOARD_CLAIM_WORKER 0x7fffffffu

typedef struct scoreboard_channel_t {
    _Alignas(64) _Atomic apr_uint64_t owner; /* pid of the child, 0 free */
    _Atomic apr_uint32_t req;
    _Atomic apr_uint64_t claim;
} scoreboard_channel_t;

typedef struct scoreboard_process_t {
    _Alignas(64) _Atomic apr_uint32_t owner; /* pid of the manager, 0 free */
    _Atomic apr_uint32_t pid;
    _Atomic apr_uint32_t generation;
    _Atomic apr_uint32_t state;  /* scoreboard_process_e */
    _Atomic apr_int64_t started; /* us since the epoch */
} scoreboard_process_t;

typedef struct scoreboard_worker_t {
    _Alignas(64) _Atomic apr_uint32_t busy; /* channel + 1, 0 idle */
    _Atomic apr_uint32_t req;
    _Atomic apr_int64_t since; /* us, CLOCK_MONOTONIC: when it became busy or idle */
    _Atomic apr_uint64_t requests;
    _Atomic apr_uint64_t errors;  /* responses of status 500 and above, and cut ones */
    _Atomic apr_uint64_t busy_us; /* sum of the time it was busy */
} scoreboard_worker_t;

/* What one second looked like; row (second % SCOREBOARD_SAMPLES). */
typedef struct scoreboard_sample_t {
    _Atomic apr_uint64_t second;   /* since the epoch; written last */
    _Atomic apr_uint64_t requests; /* counted since the instance was made */
    _Atomic apr_uint32_t busy;     /* workers */
    _Atomic apr_uint32_t live;     /* daemons */
} scoreboard_sample_t;

/* The block's first bytes; the arrays follow it in this order: channels, processes, workers. */
typedef struct scoreboard_t {
    char name[SCOREBOARD_NAME_MAX];
    apr_uint32_t channel_count;
    apr_uint32_t process_count; /* slots, not daemons */
    apr_uint32_t threads;       /* workers of one process */
    apr_uint32_t processes;     /* daemons that the configuration asks for */
    apr_int64_t created;        /* us since the epoch */

    _Alignas(
        64) _Atomic apr_uint32_t newest; /* newest generation that was started for the instance */
    _Atomic apr_uint32_t ready;          /* newest generation all of whose daemons were ready */
    _Atomic apr_uint32_t superseded;     /* generation that serves the group by another instance */
    _Atomic apr_uint32_t failed;   /* newest generation that could not load its applications */
    _Atomic apr_uint32_t live;     /* daemons that serve the queue now */
    _Atomic apr_int64_t failed_at; /* us since the epoch */
    _Atomic apr_uint32_t deaths;   /* daemons that ended without having drained */
    _Atomic apr_uint32_t restarts; /* daemons started in place of one that ended */

    _Alignas(64) _Atomic apr_uint32_t freed; /* counts releases; a futex word */
    _Atomic apr_uint32_t waiters;

    /* Counted by children, by atomic addition. */
    _Alignas(64) _Atomic apr_uint64_t requests;
    _Atomic apr_uint64_t refused;   /* 503: nobody free in time, or nobody there */
    _Atomic apr_uint64_t aborted;   /* 502 and cut responses */
    _Atomic apr_uint64_t cancelled; /* the client left first */
    _Atomic apr_uint64_t latency[SCOREBOARD_LATENCY_BUCKETS];

    _Alignas(64) scoreboard_sample_t samples[SCOREBOARD_SAMPLES];
} scoreboard_t;

/* One group's shared parts, as a process sees them.  Owned by its pool, a child of the process
 * pool. */
typedef struct scoreboard_instance_t {
    const char *name;
    const char *digest;
    scoreboard_t *board; /* shared */
    scoreboard_channel_t *channels;
    scoreboard_process_t *processes;
    scoreboard_worker_t *workers;
    apr_uint64_t *mounts; /* owned: ids, sorted */
    apr_uint32_t mount_count;
    apr_size_t size; /* bytes of the shared block */
    int queue_send;  /* children put tickets in here */
    int queue_recv;  /* workers take them out here */
    int *child_end;  /* [channel] */
    int *daemon_end; /* [channel] */
    struct scoreboard_instance_t
        *fallback;                /* borrowed: the instance of the digest before; NULL none */
    apr_uint32_t last_generation; /* newest generation that was configured with this instance */
    pid_t self; /* of the child, set in its child_init: getpid() is a system call */
    apr_pool_t *pool;
} scoreboard_instance_t;

typedef struct scoreboard_shape_t {
    apr_uint32_t channels;
    apr_uint32_t processes;
    apr_uint32_t threads;
    const apr_uint64_t *mounts; /* ids, sorted */
    apr_uint32_t mount_count;
} scoreboard_shape_t;

/*
 * Makes an instance in a pool of its own under `parent` (the process pool).  Parent process only.
 * Statuses: APR_SUCCESS, APR_ENOMEM, or that of mmap or socketpair (APR_EMFILE: too few
 * descriptors).
 */
apr_status_t scoreboard_create(const char *name, const char *digest,
                               const scoreboard_shape_t *shape, scoreboard_instance_t **instance,
                               apr_pool_t *parent);

/* True when the instance's daemons know the mount point of that id. */
int scoreboard_has_mount(const scoreboard_instance_t *instance, apr_uint64_t id);

/* Unmaps, closes and frees an instance in this process; others keep theirs. */
void scoreboard_destroy(scoreboard_instance_t *instance);

/* Adds every descriptor of the instance to the set `keep`, an array of int. */
void scoreboard_descriptors(const scoreboard_instance_t *instance, apr_array_header_t *keep);

/* Counts the daemons that serve the queue, and writes board.live. Managers. */
apr_uint32_t scoreboard_live_update(scoreboard_instance_t *instance);

/* Workers that are busy now, in all processes. */
apr_uint32_t scoreboard_busy_count(const scoreboard_instance_t *instance);

/* Records what this second looks like.  Managers, at every sweep. */
void scoreboard_sample(scoreboard_instance_t *instance);

/* Records one request's time in us.  Children. */
void scoreboard_latency_add(scoreboard_t *board, apr_int64_t us);

/* True when the process is gone (ESRCH); a zombie is not gone yet. */
int scoreboard_pid_dead(pid_t pid);

/* CLOCK_MONOTONIC in us; the same clock in every process of the machine. */
apr_int64_t scoreboard_clock(void);

static inline apr_uint32_t scoreboard_claim_req(apr_uint64_t claim)
{
    return (apr_uint32_t)(claim >> 32);
}

static inline apr_uint32_t scoreboard_claim_worker(apr_uint64_t claim)
{
    return (apr_uint32_t)claim & SCOREBOARD_CLAIM_WORKER;
}

#endif
