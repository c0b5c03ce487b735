/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry.c: the stage `retry`: another attempt when somebody else was faster.
 *
 * An error action behind this stage returns STAGE_RETRY for an exception that may not happen again.
 * What the attempt has made is undone by then; the body is rewound by `interp`, on every attempt,
 * the last included.  A worker thread, without the GIL: the back-off holds up nobody else.
 */
#include "stages/runner_private.h"

#include <apr_general.h>
#include <http_log.h>

APLOG_USE_MODULE(pipeline);

/* As zope.app.publication and repoze.retry have it.  A mounted application has one: it commits by
 * itself, and nothing here knows what it has done already. */
#define RETRY_ATTEMPTS 3
/* Between attempts, us, times the attempt's number: longer than a commit takes on SQLite. */
#define RETRY_PAUSE_MAX 20000u
/* Seconds, for clients: load that makes three attempts fail has passed by then. */
#define RETRY_AFTER "2"

static apr_status_t retry_enter(stage_run_t *run)
{
    run->attempts = run->mount->kind == CONFIG_MOUNT_ROOT ? RETRY_ATTEMPTS : 1;
    return APR_SUCCESS;
}

static void retry_pause(const stage_run_t *run)
{
    unsigned random = 0;

    if (apr_generate_random_bytes((unsigned char *)&random, sizeof random) != APR_SUCCESS) {
        random = (unsigned)apr_time_now();
    }
    apr_sleep((apr_interval_time_t)(random % RETRY_PAUSE_MAX) * run->attempt);
}

static apr_status_t retry_spent(stage_run_t *run)
{
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, run->r,
                  PIPELOGNO(0620) "%s %s: gave up after %d attempts: %s", run->r->method,
                  run->r->uri, run->attempts, run->work->conflict);
    apr_table_setn(run->r->err_headers_out, "Retry-After", RETRY_AFTER);
    run->api->answer(run, HTTP_SERVICE_UNAVAILABLE, NULL,
                     "Others are changing the same things. Please try again.\n");
    return APR_SUCCESS;
}

static apr_status_t retry_error(stage_run_t *run, apr_status_t reason)
{
    if (reason != STAGE_RETRY || daemon_exchange_sent(run->x)) {
        return reason;
    }
    if (run->attempt >= run->attempts) {
        return retry_spent(run);
    }
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, run->r,
                  "%s %s: attempt %d of %d failed, to be repeated: %s", run->r->method, run->r->uri,
                  run->attempt, run->attempts, run->work->conflict);
    retry_pause(run);
    ++run->attempt;
    run->status = 0;
    run->error_id = NULL;
    return STAGE_AGAIN;
}

const stage_actions_t stage_retry = { "retry", retry_enter, NULL, retry_error };
