/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager_private.h: the manager's own state; shared by manager_*.c only.
 *
 * One thread.  Everything hangs from one manager_t on the stack of manager_main().
 */
#ifndef SERVER_MANAGER_PRIVATE_H
#define SERVER_MANAGER_PRIVATE_H

#include <sys/types.h>

#include <httpd.h>

#include "server/config.h"
#include "server/scoreboard.h"

#define MANAGER_TICK        100      /* ms between two sweeps */
#define MANAGER_BACKOFF_MIN 1000000  /* us before loading is tried again */
#define MANAGER_BACKOFF_MAX 30000000 /* us, after some doublings */
#define MANAGER_STARTS_MAX  100 /* daemons killed in a row before they were ready, then back off */

typedef enum {
    MANAGER_SERVING,  /* starts what is missing */
    MANAGER_DRAINING, /* a newer generation serves; ends when the last daemon has */
    MANAGER_STOPPING  /* Apache stops or restarts: ends within shutdown-timeout */
} manager_state_e;

/* One daemon process. */
typedef struct manager_daemon_t {
    pid_t pid;         /* 0: this row is free */
    apr_uint32_t slot; /* its row in the scoreboard */
    int control;       /* our end of the control pair */
    scoreboard_process_e state;
    apr_int64_t deadline; /* us, CLOCK_MONOTONIC: killed if it is not ready or gone by then */
    int killed;           /* it was late, and has had its SIGKILL */
    int replaced;         /* a successor is starting; it serves until that is ready */
    int partial;          /* it could not load every application */
} manager_daemon_t;

/* One group, as this generation runs it. */
typedef struct manager_group_t {
    const config_group_t *group; /* borrowed from pconf */
    scoreboard_instance_t *instance;
    manager_daemon_t *daemons; /* rows: SCOREBOARD_GENERATIONS times the processes */
    apr_uint32_t rows;
    apr_int64_t next_start;   /* us, CLOCK_MONOTONIC: not before */
    apr_int64_t next_partial; /* us, CLOCK_MONOTONIC: when a partial daemon may get a successor */
    apr_uint32_t failures;    /* to load, in a row */
    apr_uint32_t killed;      /* daemons killed in a row before they were ready */
    int announced;            /* the ready barrier was passed */
    int failed;               /* and said so */
    int partial;              /* daemons serve that could not load every application */
    manager_state_e state;
} manager_group_t;

typedef struct manager_t {
    server_rec *server;
    apr_pool_t *pool;
    apr_uint32_t generation;
    pid_t parent;
    int liveness; /* EOF: nobody of this generation can send a request any more */
    int liveness_ended;
    int signals; /* signalfd: SIGCHLD, SIGTERM */
    int kicks;   /* SIGCHLD still to be sent to the parent */
    manager_group_t *groups;
    int group_count;
    apr_array_header_t *keep; /* int: descriptors that a daemon keeps besides its control */
} manager_t;

/* How a manager is started; everything borrowed from the parent's pconf. */
typedef struct manager_plan_t {
    server_rec *server;
    apr_pool_t *pconf;
    apr_uint32_t generation;
    pid_t parent; /* httpd's */
    int liveness_read;
    int liveness_write;
    int kick;          /* a graceful is under way: the parent is to be woken */
    apr_int64_t delay; /* us to wait before the first daemon; after a manager that died young */
} manager_plan_t;

/* manager.c: the whole life of a manager process.  Never returns. */
void manager_main(const manager_plan_t *plan) __attribute__((noreturn));

/* manager_daemons.c: starts what is missing, as far as the group's state and back-off allow. */
void manager_daemons_start(manager_t *m, manager_group_t *g);

/* A message came on a daemon's control pair, or its end. */
void manager_daemon_message(manager_t *m, manager_group_t *g, manager_daemon_t *d);

/* It was reaped. */
void manager_daemon_ended(manager_t *m, manager_group_t *g, manager_daemon_t *d, int status);

/* Tells every daemon to take no more; the rest of them is killed after `limit` us. */
void manager_group_drain(manager_group_t *g, manager_state_e state, apr_interval_time_t limit);

/* Says so, once, when all daemons of the generation are ready: older ones may go. */
void manager_barrier_pass(manager_t *m, manager_group_t *g);

/* manager_partial.c: some applications cannot be loaded, and nobody else serves: says so. */
void manager_partial_note(manager_t *m, manager_group_t *g);

/* A daemon has loaded everything: the partial ones are to be replaced.  Else, from time to time,
 * lets one of them have a successor, in case the code was mended. */
void manager_partial_review(manager_t *m, manager_group_t *g);

/* A successor could not be started: those that were to be replaced stay. */
void manager_partial_keep(manager_group_t *g);

/* Says in the scoreboard that this generation could not load its applications. */
void manager_failure_record(const manager_t *m, scoreboard_t *board);

/* us to wait before the next attempt, after that many failures in a row. */
apr_int64_t manager_backoff(apr_uint32_t failures);

/* Kills those over their deadline. */
void manager_daemons_expire(manager_t *m, manager_group_t *g);

/* Counts daemons in that state. */
apr_uint32_t manager_daemons_count(const manager_group_t *g, scoreboard_process_e state);

#endif
