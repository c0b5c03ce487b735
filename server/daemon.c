/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.c: the main thread of a daemon process.
 *
 * It takes the group's identity, opens the interpreter, loads the applications, starts the workers,
 * and then sleeps until the manager says something or is no more.
 *
 *   1. Once 'ready' is sent, the process ends only when every worker has finished its request.
 *   2. A daemon whose manager has died goes on serving, until a newer generation is ready or httpd
 *      has gone: no request is lost to the death of a manager.
 */
#include "server/daemon_private.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_strings.h>
#include <apr_signal.h>
#include <http_log.h>

#include "server/manager_descriptors.h"

APLOG_USE_MODULE(pipeline);

#define ORPHAN_LOOK 100 /* ms between two looks of a daemon without a manager */
#define WAKE_EVERY \
    2 /* ms between two attempts to wake a worker: a signal may come just before recv() */

/* Does nothing: that there is a handler ends a system call. */
void daemon_wake_up(int signum)
{
    (void)signum;
}

static void signal_set(int signum, void (*handler)(int))
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    (void)sigaction(signum, &action, NULL); /* without SA_RESTART: recv() is to end */
}

/* Handlers that do nothing, where the manager ignores: a program that an application starts gets
 * the default back, which it would not of a signal that is ignored. */
static void signals_begin(void)
{
    static const int idle[] = { SIGINT, SIGHUP, SIGUSR1, SIGWINCH, DAEMON_WAKE };
    sigset_t none;
    apr_size_t i;

    for (i = 0; i < sizeof(idle) / sizeof(idle[0]); i++) {
        signal_set(idle[i], daemon_wake_up);
    }
    signal_set(SIGTERM, SIG_DFL); /* until the applications are loaded; they may take for ever */
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void daemon_become(daemon_t *d, const daemon_plan_t *plan)
{
    apr_array_header_t *keep;

    memset(d, 0, sizeof(*d));
    d->plan = *plan;
    signals_begin();
    apr_pool_create(&d->pchild, NULL);
    apr_pool_tag(d->pchild, "pipeline-pchild");
    keep = apr_array_make(d->pchild, 64, sizeof(int));
    APR_ARRAY_PUSH(keep, int) = plan->control;
    APR_ARRAY_PUSH(keep, int) = plan->liveness;
    scoreboard_descriptors(plan->instance, keep);
    manager_descriptors_close(plan->server, keep, d->pchild);
    manager_title_set(plan->server, plan->group->display_name != NULL
                                        ? plan->group->display_name
                                        : apr_psprintf(d->pchild, "pipeline:%s generation %u",
                                                       plan->group->name, plan->generation));
}

/* Whether somebody serves every application of the group, so that a part of them is no gain. */
static int is_served_better(const daemon_t *d)
{
    const scoreboard_instance_t *instance = d->plan.instance;

    if (instance->fallback != NULL && atomic_load(&instance->fallback->board->live) > 0) {
        return 1;
    }
    return atomic_load(&instance->board->ready) != 0 && atomic_load(&instance->board->live) > 0;
}

static void daemon_load(daemon_t *d)
{
    pid_t manager = getppid();
    apr_status_t rv;

    if (daemon_identity_take(&d->plan) != APR_SUCCESS) {
        _exit(DAEMON_EXIT_PRIVILEGES);
    }
    if (getppid() != manager) {
        _exit(0); /* it died before the kernel was told to tell us */
    }
    rv = daemon_fork_guard(d);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, d->plan.server,
                     PIPELOGNO(0335) "process group %s: forks cannot be told from the daemon",
                     d->plan.group->name);
        _exit(DAEMON_EXIT_INTERP);
    }
    if (daemon_interp_open(&d->plan, &d->api) != APR_SUCCESS) {
        _exit(DAEMON_EXIT_INTERP);
    }
    rv = d->api->start(d->plan.group, &d->interp, d->pchild);
    if (daemon_fork_crossed(d)) {
        _exit(0); /* an application forks while it is imported: this is its child */
    }
    d->partial = rv == APR_INCOMPLETE;
    if (rv != APR_SUCCESS && (!d->partial || is_served_better(d))) {
        _exit(DAEMON_EXIT_LOAD);
    }
}

static daemon_worker_t *workers_start(daemon_t *d)
{
    int count = d->plan.group->threads;
    daemon_worker_t *workers = apr_pcalloc(d->pchild, (apr_size_t)count * sizeof(*workers));
    int i;

    for (i = 0; i < count; i++) {
        apr_status_t rv = daemon_worker_start(d, i, &workers[i]);

        if (rv != APR_SUCCESS) {
            daemon_worker_failed(d, i, rv);
        }
    }
    return workers;
}

static void message_send(const daemon_t *d, char message)
{
    (void)send(d->plan.control, &message, 1, MSG_NOSIGNAL);
}

/* True once an orphan has nobody to serve, or somebody else serves: a manager's rule, by its
 * group_review(). */
static int orphan_over(const daemon_t *d)
{
    const scoreboard_t *board = d->plan.instance->board;
    struct pollfd liveness = { .fd = d->plan.liveness, .events = POLLIN };

    if (atomic_load(&board->ready) > d->plan.generation) {
        return 1;
    }
    if (poll(&liveness, 1, ORPHAN_LOOK) == 0) {
        return 0;
    }
    if (atomic_load(&board->superseded) > d->plan.generation ||
        scoreboard_pid_dead(d->plan.parent)) {
        return 1;
    }
    (void)poll(NULL, 0, ORPHAN_LOOK);
    return 0;
}

/* The kernel ends this process after `limit` us, however it hangs. */
static void limit_self(apr_interval_time_t limit)
{
    signal_set(SIGALRM, SIG_DFL);
    (void)alarm((unsigned)(limit / 1000000 + 1));
}

/* Returns when the daemon is to drain. */
static void manager_listen(const daemon_t *d)
{
    for (;;) {
        struct pollfd watched = { .fd = d->plan.control, .events = POLLIN };
        char message;
        ssize_t n;

        (void)poll(&watched, 1, -1);
        n = recv(d->plan.control, &message, 1, 0);
        if (n == 1 && message == DAEMON_DRAIN) {
            return;
        }
        if (n == 0) {
            break;
        }
    }
    while (!orphan_over(d)) {
    }
    limit_self(d->plan.group->graceful_timeout); /* the manager would have seen to it */
}

static void workers_drain(daemon_t *d, daemon_worker_t *workers)
{
    int count = d->plan.group->threads;
    int i;

    atomic_store(&d->draining, 1);
    for (i = 0; i < count; i++) {
        while (!atomic_load(&workers[i].left)) {
            if (!atomic_load(&workers[i].row->busy)) { /* a request is not to see our signals */
                daemon_worker_wake(&workers[i]);
            }
            (void)poll(NULL, 0, WAKE_EVERY);
        }
        (void)pthread_join(workers[i].thread, NULL);
    }
}

/* Python's finalisation can hang; the process ends all the same. */
static void interp_end(daemon_t *d)
{
    limit_self(d->plan.group->shutdown_timeout);
    d->api->stop(d->interp);
}

void daemon_main(const daemon_plan_t *plan)
{
    daemon_t d;
    daemon_worker_t *workers;

    daemon_become(&d, plan);
    daemon_load(&d);
    signal_set(
        SIGTERM,
        daemon_wake_up); /* from now on the manager's word counts, or the end of its socket */
    workers = workers_start(&d);
    message_send(&d, d.partial ? DAEMON_PARTIAL : DAEMON_READY);
    manager_listen(&d);
    workers_drain(&d, workers);
    interp_end(&d);
    _exit(0);
}
