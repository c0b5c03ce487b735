/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_private.h: the state of a daemon process; shared by daemon_*.c only.
 *
 * The main thread loads the applications, then listens to the manager; each worker thread owns its
 * daemon_worker_t and everything below it.  What they share is atomic and stands in daemon_t.
 */
#ifndef SERVER_DAEMON_PRIVATE_H
#define SERVER_DAEMON_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include <apr_network_io.h>

#include "server/daemon.h"
#include "server/daemon_exchange.h"
#include "server/scoreboard_channel.h"

#define DAEMON_WAKE   SIGUSR2 /* ends a worker's wait for a ticket */
#define DAEMON_FIELDS 256     /* headers and variables decoded without an allocation */

typedef struct daemon_t {
    daemon_plan_t plan;
    apr_pool_t *pchild; /* owned */
    const pipeline_interp_api_t
        *api;                    /* borrowed from the interpreter module, which is never closed */
    void *interp;                /* owned by pchild */
    int partial;                 /* not every application could be loaded */
    volatile int *genuine;       /* a page that is wiped in every fork: 0 there */
    _Atomic int draining;        /* written by the main thread */
    _Atomic apr_uint32_t served; /* requests of all workers */
    _Atomic int recycled;        /* the manager was asked for a successor */
} daemon_t;

/* States of the response; daemon_exchange.h shows the transitions. */
typedef enum { EXCHANGE_OPEN, EXCHANGE_HEAD, EXCHANGE_SENT, EXCHANGE_DONE } exchange_state_e;
typedef enum { EXCHANGE_BODY_OPEN, EXCHANGE_BODY_ENDED, EXCHANGE_BODY_CUT } exchange_body_e;

struct daemon_exchange_t {
    const daemon_t *daemon;          /* borrowed */
    scoreboard_instance_t *instance; /* borrowed */
    apr_uint32_t channel;
    apr_uint32_t req;
    apr_uint32_t worker;
    int fd;           /* the daemon's end of the channel */
    wire_head_t head; /* borrows from the ticket */
    const config_mount_t *mount;
    exchange_state_e state;
    int status; /* of the response, 0 none yet */
    int cancelled;
    exchange_body_e body_state;
    int body_on_demand;    /* the child sends it once it is asked to */
    char *body;            /* WIRE_BODY_WINDOW bytes, of the worker */
    const char *body_next; /* what is not read yet: in body, or in `in` */
    apr_size_t body_len;
    apr_size_t body_taken; /* read by the application, and not told to the child */
    char *in;              /* WIRE_FRAME_MAX bytes, of the worker */
    char *out;             /* WIRE_FRAME_MAX bytes, of the worker: the frame that is gathered */
    apr_size_t out_len;    /* its bytes, the frame header's included */
};

typedef struct daemon_worker_t {
    daemon_t *daemon;
    int index;
    pthread_t thread;
    _Atomic int left;         /* takes no more tickets; written by the worker */
    scoreboard_worker_t *row; /* shared */
    apr_pool_t *pool;         /* owned; its allocator is the thread's alone */
    apr_pool_t *request_pool;
    void *thread_state;   /* the interpreter's, for this thread */
    conn_rec *connection; /* what httpd's logging and hooks need of one */
    apr_sockaddr_t *address;
    wire_field_t *fields; /* DAEMON_FIELDS */
    char *ticket;         /* WIRE_FRAME_MAX bytes */
    daemon_exchange_t exchange;
} daemon_worker_t;

/* daemon.c: the handler of signals that only end a system call. */
void daemon_wake_up(int signum);

/* daemon_fork.c: from now on forks of this process can be told from it.  APR_SUCCESS, or the error
 * of mmap, madvise or pthread_atfork. */
apr_status_t daemon_fork_guard(daemon_t *daemon);

/* True in a process that an application has forked. */
int daemon_fork_crossed(const daemon_t *daemon);

/* daemon_identity.c: becomes the group's user; APR_SUCCESS, or the reason, logged. Any failure is
 * fatal. */
apr_status_t daemon_identity_take(const daemon_plan_t *plan);

/* daemon_interp.c: opens the interpreter module of the group.  APR_EINIT, logged, when it cannot.
 */
apr_status_t daemon_interp_open(const daemon_plan_t *plan, const pipeline_interp_api_t **api);

/* daemon_worker.c: starts a worker's thread, which serves until the daemon drains. */
apr_status_t daemon_worker_start(daemon_t *daemon, int index, daemon_worker_t *worker);

/* Logs that, and ends the daemon. */
void daemon_worker_failed(const daemon_t *daemon, int index, apr_status_t rv)
    __attribute__((noreturn));

/* Wakes it from its wait for a ticket. */
void daemon_worker_wake(const daemon_worker_t *worker);

/* daemon_request.c: what every request_rec of this worker has in common. */
void daemon_connection_make(daemon_worker_t *worker);

/* A request_rec for the exchange's head, in the request's pool: enough for logging, hooks and
 * stages. */
request_rec *daemon_request_make(daemon_worker_t *worker, const daemon_exchange_t *x);

/* daemon_exchange.c: begins an exchange for a claimed channel.  flags: the ticket's; rest: what
 * came in-line of the body. */
void daemon_exchange_begin(daemon_exchange_t *x, apr_byte_t flags, const char *rest,
                           apr_size_t len);

#endif
