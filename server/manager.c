/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager.c: the manager's life: one process, one thread, one loop.
 *
 * It sleeps in poll() on its signals, its generation's liveness pipe and the control pairs of its
 * daemons, and every 100 ms sweeps what dead processes left in the scoreboards.
 *
 * A group drains when
 *   1. a newer generation serves the same queue (board.ready), at once; or
 *   2. nobody of this generation can send any more (liveness EOF), and either a newer generation
 *      serves by another queue (board.superseded), or the httpd parent has gone; or
 *   3. Apache stops or restarts (SIGTERM).
 * So a generation whose successor cannot load goes on serving.
 */
#include "server/manager_private.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ap_listen.h>
#include <apr_strings.h>
#include <http_log.h>

#include "server/manager_descriptors.h"
#include "server/scoreboard_channel.h"

APLOG_USE_MODULE(pipeline);

#define KICKS         8  /* SIGCHLD to the parent after a graceful: found enough in trials */
#define KICK_EVERY    25 /* ms between two of them */
#define WATCHED_FIXED 2  /* signals, liveness */

/* What httpd's parent made of signals is not ours. */
static int signals_take(void)
{
    static const int ignored[] = { SIGHUP, SIGINT, SIGUSR1, SIGUSR2, SIGWINCH, SIGPIPE };
    sigset_t heard;
    apr_size_t i;

    for (i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
        (void)signal(ignored[i], SIG_IGN);
    }
    (void)signal(SIGCHLD, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)sigemptyset(&heard);
    (void)sigaddset(&heard, SIGCHLD);
    (void)sigaddset(&heard, SIGTERM);
    (void)sigprocmask(SIG_SETMASK, &heard, NULL);
    return signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void groups_make(manager_t *m, const config_server_t *config, apr_int64_t delay)
{
    int i;

    m->groups = apr_pcalloc(m->pool, (apr_size_t)config->groups->nelts * sizeof(*m->groups));
    for (i = 0; i < config->groups->nelts; i++) {
        const config_group_t *group = APR_ARRAY_IDX(config->groups, i, config_group_t *);
        manager_group_t *g = &m->groups[m->group_count];
        scoreboard_instance_t *instance;

        if (group->instance == NULL) {
            continue;
        }
        m->group_count++;
        g->group = group;
        g->instance = group->instance;
        g->rows = (apr_uint32_t)group->processes * SCOREBOARD_GENERATIONS;
        g->daemons = apr_pcalloc(m->pool, g->rows * sizeof(*g->daemons));
        g->next_start = scoreboard_clock() + delay;
        for (instance = g->instance; instance != NULL; instance = instance->fallback) {
            instance->self = getpid();
            scoreboard_descriptors(instance, m->keep);
        }
    }
}

static void manager_become(manager_t *m, const manager_plan_t *plan)
{
    memset(m, 0, sizeof(*m));
    m->server = plan->server;
    m->generation = plan->generation;
    m->parent = plan->parent; /* getppid() may name somebody else already */
    m->liveness = plan->liveness_read;
    m->kicks = plan->kick ? KICKS : 0;
    m->signals = signals_take();
    apr_pool_create(&m->pool, NULL);
    apr_pool_tag(m->pool, "pipeline-manager");
    m->keep = apr_array_make(m->pool, 64, sizeof(int));
    APR_ARRAY_PUSH(m->keep, int) = m->liveness;
    APR_ARRAY_PUSH(m->keep, int) = m->signals;
    groups_make(m, config_server_get(plan->server), plan->delay);
    ap_close_listeners();
    manager_descriptors_close(m->server, m->keep, m->pool);
    manager_title_set(m->server,
                      apr_psprintf(m->pool, "pipeline-manager generation %u", m->generation));
}

static void daemon_reaped(manager_t *m, pid_t pid, int status)
{
    int i;
    apr_uint32_t k;

    for (i = 0; i < m->group_count; i++) {
        manager_group_t *g = &m->groups[i];

        for (k = 0; k < g->rows; k++) {
            if (g->daemons[k].pid == pid) {
                manager_daemon_ended(m, g, &g->daemons[k], status);
                return;
            }
        }
    }
}

static void daemons_reap(manager_t *m)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        daemon_reaped(m, pid, status);
    }
}

static void groups_stop(manager_t *m)
{
    int i;

    for (i = 0; i < m->group_count; i++) {
        manager_group_drain(&m->groups[i], MANAGER_STOPPING, m->groups[i].group->shutdown_timeout);
    }
}

static void signals_hear(manager_t *m)
{
    struct signalfd_siginfo heard;

    while (read(m->signals, &heard, sizeof(heard)) == (ssize_t)sizeof(heard)) {
        if (heard.ssi_signo == SIGTERM) {
            groups_stop(m);
        }
    }
    daemons_reap(m);
}

static int parent_gone(const manager_t *m)
{
    return getppid() != m->parent;
}

/* A generation that never loaded has nothing to wait for once a newer one tries. */
static int is_useless(const manager_t *m, const manager_group_t *g)
{
    const scoreboard_t *board = g->instance->board;

    return manager_daemons_count(g, SCOREBOARD_READY) == 0 &&
           (atomic_load(&board->newest) > m->generation ||
            atomic_load(&board->failed) == m->generation);
}

static void group_review(manager_t *m, manager_group_t *g)
{
    const scoreboard_t *board = g->instance->board;
    int over = atomic_load(&board->ready) > m->generation;

    if (!over && m->liveness_ended) {
        over =
            atomic_load(&board->superseded) > m->generation || parent_gone(m) || is_useless(m, g);
    }
    if (over) {
        manager_group_drain(g, MANAGER_DRAINING, g->group->graceful_timeout);
    }
}

/* The older instance's own manager may be dead, so this one sees to what dies there, too. */
static void group_sweep(manager_group_t *g)
{
    scoreboard_instance_t *older = g->instance->fallback;

    scoreboard_sweep(g->instance);
    if (older == NULL) {
        return;
    }
    scoreboard_sweep(older);
    if (g->announced && atomic_load(&older->board->live) == 0) {
        g->instance->fallback = NULL;
        scoreboard_destroy(older); /* this process's part of it */
    }
}

/* Returns whether anything is left to do. */
static int groups_review(manager_t *m)
{
    int busy = 0;
    int i;

    for (i = 0; i < m->group_count; i++) {
        manager_group_t *g = &m->groups[i];

        group_review(m, g);
        manager_partial_review(m, g);
        manager_daemons_start(m, g);
        manager_daemons_expire(m, g);
        group_sweep(g);
        busy |= g->state == MANAGER_SERVING || manager_daemons_count(g, SCOREBOARD_DRAINING) > 0 ||
                manager_daemons_count(g, SCOREBOARD_READY) > 0 ||
                manager_daemons_count(g, SCOREBOARD_STARTING) > 0;
    }
    return busy;
}

static apr_uint32_t rows_total(const manager_t *m)
{
    apr_uint32_t rows = WATCHED_FIXED;
    int i;

    for (i = 0; i < m->group_count; i++) {
        rows += m->groups[i].rows;
    }
    return rows;
}

/* Row n of the three arrays speaks of the same daemon; returns how many rows there are. */
static nfds_t watched_fill(manager_t *m, struct pollfd *watched, manager_daemon_t **daemons,
                           manager_group_t **groups)
{
    nfds_t n = WATCHED_FIXED;
    int i;
    apr_uint32_t k;

    watched[0] = (struct pollfd){ .fd = m->signals, .events = POLLIN };
    watched[1] = (struct pollfd){ .fd = m->liveness_ended ? -1 : m->liveness, .events = POLLIN };
    for (i = 0; i < m->group_count; i++) {
        for (k = 0; k < m->groups[i].rows; k++) {
            manager_daemon_t *d = &m->groups[i].daemons[k];

            if (d->pid != 0 && d->control >= 0) {
                watched[n] = (struct pollfd){ .fd = d->control, .events = POLLIN };
                daemons[n] = d;
                groups[n] = &m->groups[i];
                n++;
            }
        }
    }
    return n;
}

static void kick_parent(manager_t *m)
{
    if (m->kicks > 0) {
        m->kicks--;
        (void)kill(m->parent, SIGCHLD);
    }
}

static void manager_loop(manager_t *m)
{
    apr_uint32_t total = rows_total(m);
    struct pollfd *watched = apr_pcalloc(m->pool, total * sizeof(*watched));
    manager_daemon_t **daemons = apr_pcalloc(m->pool, total * sizeof(*daemons));
    manager_group_t **groups = apr_pcalloc(m->pool, total * sizeof(*groups));

    while (groups_review(m)) {
        nfds_t n = watched_fill(m, watched, daemons, groups);
        nfds_t i;

        if (poll(watched, n, m->kicks > 0 ? KICK_EVERY : MANAGER_TICK) > 0) {
            for (i = WATCHED_FIXED; i < n; i++) {
                if (watched[i].revents & POLLIN && daemons[i]->control == watched[i].fd) {
                    manager_daemon_message(m, groups[i], daemons[i]);
                }
            }
            m->liveness_ended |= watched[1].revents & (POLLIN | POLLHUP);
        }
        signals_hear(m);
        kick_parent(m);
    }
}

void manager_main(const manager_plan_t *plan)
{
    manager_t m;

    (void)close(plan->liveness_write);
    manager_become(&m, plan);
    if (m.signals >= 0) {
        manager_loop(&m);
    } else {
        ap_log_error(APLOG_MARK, APLOG_CRIT, errno, m.server,
                     PIPELOGNO(0317) "the manager cannot hear signals, and ends");
    }
    _exit(0);
}
