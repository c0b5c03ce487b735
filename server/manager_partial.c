/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager_partial.c: a group some of whose applications cannot be loaded, in the manager's one
 * thread.
 *
 * As long as an older generation serves, a daemon that cannot load everything does not start at
 * all. When there is none, it serves the applications that it could load, so that one broken
 * application does not take its neighbours down, and answers 503 for the others.  Every now and
 * then one such daemon gets a successor; as soon as one can load everything, all of them do.
 */
#include "server/manager_private.h"

#include <http_log.h>

APLOG_USE_MODULE(pipeline);

apr_int64_t manager_backoff(apr_uint32_t failures)
{
    apr_int64_t delay = MANAGER_BACKOFF_MIN;

    for (; failures > 0 && delay < MANAGER_BACKOFF_MAX; failures--) {
        delay *= 2;
    }
    return delay < MANAGER_BACKOFF_MAX ? delay : MANAGER_BACKOFF_MAX;
}

/* An older generation that fails to replace a daemon is no news beside a newer one that failed. */
void manager_failure_record(const manager_t *m, scoreboard_t *board)
{
    if (atomic_load(&board->failed) <= m->generation) {
        atomic_store(&board->failed, m->generation);
        atomic_store(&board->failed_at, apr_time_now());
    }
}

void manager_partial_note(manager_t *m, manager_group_t *g)
{
    manager_failure_record(m, g->instance->board);
    if (!g->partial) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, m->server,
                     PIPELOGNO(0316) "process group %s: generation %u serves without some of its "
                                     "applications, whose requests are answered with 503",
                     g->group->name, m->generation);
    }
    g->partial = 1;
}

static apr_uint32_t ready_count(const manager_group_t *g, int partial)
{
    apr_uint32_t n = 0;
    apr_uint32_t i;

    for (i = 0; i < g->rows; i++) {
        const manager_daemon_t *d = &g->daemons[i];

        n += d->pid != 0 && d->state == SCOREBOARD_READY && d->partial == partial;
    }
    return n;
}

/* Marks up to `most` partial daemons as to be replaced. */
static void partial_replace(manager_group_t *g, apr_uint32_t most)
{
    apr_uint32_t i;

    for (i = 0; i < g->rows && most > 0; i++) {
        manager_daemon_t *d = &g->daemons[i];

        if (d->pid != 0 && d->state == SCOREBOARD_READY && d->partial && !d->replaced) {
            d->replaced = 1;
            most--;
        }
    }
}

void manager_partial_keep(manager_group_t *g)
{
    apr_uint32_t i;

    for (i = 0; i < g->rows; i++) {
        if (g->daemons[i].partial) {
            g->daemons[i].replaced = 0;
        }
    }
}

void manager_partial_review(manager_t *m, manager_group_t *g)
{
    apr_int64_t now = scoreboard_clock();

    if (!g->partial || g->state != MANAGER_SERVING) {
        return;
    }
    if (ready_count(g, 1) == 0) {
        g->partial = 0;
        manager_barrier_pass(m, g);
    } else if (ready_count(g, 0) > 0) {
        partial_replace(g, g->rows);
        manager_daemons_start(m, g);
    } else if (now >= g->next_partial && manager_daemons_count(g, SCOREBOARD_STARTING) == 0) {
        if (g->next_partial != 0) {
            partial_replace(g, 1);
        }
        g->next_partial = now + manager_backoff(g->failures++);
    }
}
