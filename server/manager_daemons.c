/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager_daemons.c: starting, hearing and ending the daemons of one group, in the manager's one
 * thread.
 *
 * A daemon's states, and what moves it:
 *
 *   FREE --fork--> STARTING --ready--> READY --drain--> DRAINING --ends--> FREE
 *
 * READY, and ends unasked: the children that wait for it are told, and another is started at once.
 * STARTING, and ends or is late: the generation has failed; another is started after a back-off.
 * A daemon that wants to be recycled stays READY until its successor is, so nobody waits.
 */
#include "server/manager_private.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>
#include <http_log.h>

#include "server/daemon.h"
#include "server/scoreboard_channel.h"

APLOG_USE_MODULE(pipeline);

apr_uint32_t manager_daemons_count(const manager_group_t *g, scoreboard_process_e state)
{
    apr_uint32_t n = 0;
    apr_uint32_t i;

    for (i = 0; i < g->rows; i++) {
        n += g->daemons[i].pid != 0 && g->daemons[i].state == state && !g->daemons[i].replaced;
    }
    return n;
}

static void state_set(manager_group_t *g, manager_daemon_t *d, scoreboard_process_e state)
{
    d->state = state;
    atomic_store(&g->instance->processes[d->slot].state, state);
    (void)scoreboard_live_update(g->instance);
}

/* Takes a free row of the scoreboard; the table is large enough for all generations that overlap.
 */
static int slot_take(const manager_t *m, manager_group_t *g, apr_uint32_t *slot)
{
    apr_uint32_t i;

    for (i = 0; i < g->instance->board->process_count; i++) {
        scoreboard_process_t *process = &g->instance->processes[i];
        apr_uint32_t nobody = 0;

        if (atomic_compare_exchange_strong(&process->owner, &nobody,
                                           (apr_uint32_t)g->instance->self)) {
            atomic_store(&process->generation, m->generation);
            atomic_store(&process->started, apr_time_now());
            *slot = i;
            return 1;
        }
    }
    return 0;
}

static void slot_free(manager_group_t *g, apr_uint32_t slot)
{
    scoreboard_process_t *process = &g->instance->processes[slot];
    apr_uint32_t threads = g->instance->board->threads;
    apr_uint32_t i;

    for (i = 0; i < threads; i++) {
        atomic_store(&g->instance->workers[slot * threads + i].busy, 0);
    }
    atomic_store(&process->state, SCOREBOARD_FREE);
    atomic_store(&process->pid, 0);
    atomic_store(&process->owner, 0);
    (void)scoreboard_live_update(g->instance);
}

static manager_daemon_t *row_free(manager_group_t *g)
{
    apr_uint32_t i;

    for (i = 0; i < g->rows; i++) {
        if (g->daemons[i].pid == 0) {
            return &g->daemons[i];
        }
    }
    return NULL;
}

static void daemon_become(const manager_t *m, const manager_group_t *g, apr_uint32_t slot,
                          int control)
{
    daemon_plan_t plan = { .server = m->server,
                           .group = g->group,
                           .instance = g->instance,
                           .slot = slot,
                           .generation = m->generation,
                           .control = control,
                           .liveness = m->liveness,
                           .parent = m->parent };

    daemon_main(&plan);
}

static apr_status_t daemon_fork(manager_t *m, manager_group_t *g, manager_daemon_t *d)
{
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        return errno;
    }
    if (!slot_take(m, g, &d->slot)) {
        (void)close(pair[0]);
        (void)close(pair[1]);
        return APR_EAGAIN;
    }
    state_set(g, d, SCOREBOARD_STARTING);
    pid = fork();
    if (pid == 0) {
        daemon_become(m, g, d->slot, pair[1]);
    }
    (void)close(pair[1]);
    if (pid < 0) {
        (void)close(pair[0]);
        slot_free(g, d->slot);
        return errno;
    }
    atomic_store(&g->instance->processes[d->slot].pid, (apr_uint32_t)pid);
    d->pid = pid;
    d->control = pair[0];
    d->replaced = 0;
    d->partial = 0;
    d->killed = 0;
    d->deadline = scoreboard_clock() + g->group->startup_timeout;
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, m->server,
                 "process group %s: daemon %" APR_PID_T_FMT " of generation %u starts",
                 g->group->name, pid, m->generation);
    return APR_SUCCESS;
}

/* After a failure one daemon tries alone, so that a broken application costs one import at a time.
 */
static apr_uint32_t daemons_wanted(const manager_group_t *g)
{
    return g->failed && manager_daemons_count(g, SCOREBOARD_READY) == 0
               ? 1
               : (apr_uint32_t)g->group->processes;
}

void manager_daemons_start(manager_t *m, manager_group_t *g)
{
    apr_uint32_t wanted = daemons_wanted(g);
    apr_uint32_t have =
        manager_daemons_count(g, SCOREBOARD_STARTING) + manager_daemons_count(g, SCOREBOARD_READY);

    if (g->state != MANAGER_SERVING || scoreboard_clock() < g->next_start) {
        return;
    }
    for (; have < wanted; have++) {
        manager_daemon_t *d = row_free(g);
        apr_status_t rv = d != NULL ? daemon_fork(m, g, d) : APR_EAGAIN;

        if (rv != APR_SUCCESS) {
            g->next_start = scoreboard_clock() + MANAGER_BACKOFF_MIN;
            ap_log_error(APLOG_MARK, APLOG_ERR, rv, m->server,
                         PIPELOGNO(0310) "cannot start a daemon of process group %s; trying again",
                         g->group->name);
            return;
        }
    }
}

static void daemon_drain(manager_group_t *g, manager_daemon_t *d, apr_interval_time_t limit)
{
    char order = DAEMON_DRAIN;

    (void)send(d->control, &order, 1, MSG_NOSIGNAL);
    if (d->state != SCOREBOARD_READY) {
        (void)kill(d->pid, SIGTERM); /* it may be loading for minutes, and listens to nothing */
    }
    d->replaced = 0;
    state_set(g, d, SCOREBOARD_DRAINING);
    d->deadline = scoreboard_clock() + limit;
}

void manager_group_drain(manager_group_t *g, manager_state_e state, apr_interval_time_t limit)
{
    apr_uint32_t i;

    if (g->state >= state) {
        return;
    }
    g->state = state;
    for (i = 0; i < g->rows; i++) {
        if (g->daemons[i].pid != 0 && g->daemons[i].state != SCOREBOARD_GONE) {
            daemon_drain(g, &g->daemons[i], limit);
        }
    }
}

void manager_barrier_pass(manager_t *m, manager_group_t *g)
{
    scoreboard_t *board = g->instance->board;
    apr_uint32_t failed = atomic_load(&board->failed);

    if (manager_daemons_count(g, SCOREBOARD_READY) < (apr_uint32_t)g->group->processes) {
        return;
    }
    g->next_start = 0;
    if (!g->partial) {
        if (failed <= m->generation) {
            (void)atomic_compare_exchange_strong(&board->failed, &failed, 0);
        }
        g->failures = 0;
        g->failed = 0;
    }
    if (g->announced) {
        return;
    }
    g->announced = 1;
    if (atomic_load(&board->ready) < m->generation) {
        atomic_store(&board->ready, m->generation);
    }
    if (g->instance->fallback != NULL) {
        atomic_store(&g->instance->fallback->board->superseded, m->generation);
    }
    ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, m->server,
                 "process group %s: generation %u is ready (%d processes, %d threads)",
                 g->group->name, m->generation, g->group->processes, g->group->threads);
}

/* A daemon that asked to be recycled may go once enough others are ready. */
static void replaced_drain(manager_group_t *g)
{
    apr_uint32_t i;

    if (manager_daemons_count(g, SCOREBOARD_READY) < (apr_uint32_t)g->group->processes) {
        return;
    }
    for (i = 0; i < g->rows; i++) {
        manager_daemon_t *d = &g->daemons[i];

        if (d->pid != 0 && d->replaced && d->state == SCOREBOARD_READY) {
            daemon_drain(g, d, g->group->graceful_timeout);
        }
    }
}

static void daemon_ready(manager_t *m, manager_group_t *g, manager_daemon_t *d, int partial)
{
    state_set(g, d, SCOREBOARD_READY);
    d->deadline = 0;
    d->partial = partial;
    g->next_start = 0; /* it can load: the others need not wait */
    g->killed = 0;
    if (partial) {
        manager_partial_note(m, g);
    }
    manager_partial_review(m, g);
    manager_barrier_pass(m, g);
    replaced_drain(g);
}

void manager_daemon_message(manager_t *m, manager_group_t *g, manager_daemon_t *d)
{
    char message;

    while (recv(d->control, &message, 1, 0) == 1) {
        if (d->state == SCOREBOARD_STARTING &&
            (message == DAEMON_READY || message == DAEMON_PARTIAL)) {
            daemon_ready(m, g, d, message == DAEMON_PARTIAL);
        } else if (message == DAEMON_RECYCLE && d->state == SCOREBOARD_READY) {
            d->replaced = 1;
            manager_daemons_start(m, g);
        }
    }
}

/* The generation cannot load: says so, lets nobody wait for it, and tries again later. */
static void group_failed(manager_t *m, manager_group_t *g)
{
    scoreboard_t *board = g->instance->board;

    if (scoreboard_clock() >=
        g->next_start) { /* else one that failed was started together with it */
        g->next_start = scoreboard_clock() + manager_backoff(g->failures);
        g->failures++;
    }
    manager_partial_keep(g);
    manager_failure_record(m, board);
    if (scoreboard_live_update(g->instance) == 0) {
        scoreboard_abort_waiting(g->instance);
    }
    if (!g->failed) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, m->server,
                     PIPELOGNO(0311) "process group %s: generation %u could not be started; %s",
                     g->group->name, m->generation,
                     atomic_load(&board->live) > 0 || g->instance->fallback != NULL
                         ? "what serves now goes on serving"
                         : "its requests are answered with 503 until it can");
    }
    g->failed = 1;
}

static void ended_log(const manager_t *m, const manager_group_t *g, const manager_daemon_t *d,
                      int status)
{
    if (WIFSIGNALED(status)) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, m->server,
                     PIPELOGNO(0312) "a daemon of process group %s (pid %" APR_PID_T_FMT
                                     ") was ended by signal %d%s",
                     g->group->name, d->pid, WTERMSIG(status),
                     d->state == SCOREBOARD_STARTING ? " while it started" : "");
    } else if (WEXITSTATUS(status) != 0) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, m->server,
                     PIPELOGNO(0313) "a daemon of process group %s (pid %" APR_PID_T_FMT
                                     ") exited with status %d%s",
                     g->group->name, d->pid, WEXITSTATUS(status),
                     d->state == SCOREBOARD_STARTING ? " while it started" : "");
    } else if (d->state != SCOREBOARD_DRAINING) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, m->server,
                     PIPELOGNO(0314) "a daemon of process group %s (pid %" APR_PID_T_FMT
                                     ") exited without being asked to",
                     g->group->name, d->pid);
    }
}

/* Somebody's kill -9 of a daemon that starts is no fault of the application, unless it goes on so.
 */
static int is_failure(const manager_group_t *g, int status)
{
    return !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL || g->killed >= MANAGER_STARTS_MAX;
}

void manager_daemon_ended(manager_t *m, manager_group_t *g, manager_daemon_t *d, int status)
{
    scoreboard_process_e state = d->state;
    apr_uint32_t threads = g->instance->board->threads;
    int late = state == SCOREBOARD_STARTING && d->killed;

    if (g->state == MANAGER_SERVING || state == SCOREBOARD_READY) {
        ended_log(m, g, d, status);
    }
    if (state != SCOREBOARD_DRAINING || status != 0) {
        atomic_fetch_add(&g->instance->board->deaths, 1); /* it may have had a ticket in hand */
    }
    if (state != SCOREBOARD_DRAINING) {
        atomic_fetch_add(&g->instance->board->restarts, 1);
    }
    (void)close(d->control);
    d->pid = 0;
    d->control = -1;
    d->replaced = 0;
    d->partial = 0;
    atomic_store(&g->instance->processes[d->slot].state, SCOREBOARD_GONE);
    scoreboard_abort_workers(g->instance, d->slot * threads, threads);
    slot_free(g, d->slot);
    if (state == SCOREBOARD_STARTING && g->state == MANAGER_SERVING) {
        if (late || is_failure(g, status)) {
            group_failed(m, g);
        } else {
            g->killed++;
        }
    }
    manager_daemons_start(m, g);
}

void manager_daemons_expire(manager_t *m, manager_group_t *g)
{
    apr_int64_t now = scoreboard_clock();
    apr_uint32_t i;

    for (i = 0; i < g->rows; i++) {
        manager_daemon_t *d = &g->daemons[i];

        /* One that was killed may take a while to go, but no second signal hastens it. */
        if (d->pid == 0 || d->killed || d->deadline == 0 || now < d->deadline) {
            continue;
        }
        d->killed = 1;
        if (d->state != SCOREBOARD_DRAINING || g->state != MANAGER_STOPPING) {
            ap_log_error(APLOG_MARK, APLOG_ERR, 0, m->server,
                         PIPELOGNO(0315) "a daemon of process group %s (pid %" APR_PID_T_FMT
                                         ") did not %s in time and is killed",
                         g->group->name, d->pid,
                         d->state == SCOREBOARD_STARTING ? "start" : "drain");
        }
        (void)kill(d->pid, SIGKILL);
    }
}
