/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c: the stage `log`: when the request began, and at LogLevel debug how it went.
 *
 * Outermost, in a worker thread without the GIL.
 */
#include "stages/runner_private.h"

#include <apr_strings.h>
#include <http_log.h>

APLOG_USE_MODULE(pipeline);

static apr_status_t log_enter(stage_run_t *run)
{
    run->work->start = apr_time_now();
    return APR_SUCCESS;
}

/* "traverse 120 us, call 840 us": the stages that took any time. */
static const char *log_times(const stage_run_t *run)
{
    const runner_chain_t *chain = &run->work->server->chains[run->type];
    const char *text = "";
    int i;

    for (i = 0; i < chain->count; ++i) {
        apr_time_t spent = run->work->times[chain->stages[i].order->place];

        if (spent > 0) {
            text = apr_psprintf(run->r->pool, "%s, %s %" APR_TIME_T_FMT " us", text,
                                chain->stages[i].order->name, spent);
        }
    }
    return text;
}

static void log_line(stage_run_t *run, apr_status_t reason)
{
    if (run->work->times == NULL) {
        return;
    }
    ap_log_rerror(
        APLOG_MARK, APLOG_DEBUG, reason, run->r,
        "%s %s: %s, status %d, attempt %d of %d, %s%s%s, %" APR_TIME_T_FMT " us%s", run->r->method,
        run->r->uri, order_type_name(run->type), run->status, run->attempt, run->attempts,
        run->work->outcome != NULL ? run->work->outcome : "no transaction",
        run->error_id != NULL ? ", failed as " : "", run->error_id != NULL ? run->error_id : "",
        apr_time_now() - run->work->start, log_times(run));
}

static apr_status_t log_exit(stage_run_t *run)
{
    log_line(run, APR_SUCCESS);
    return APR_SUCCESS;
}

static apr_status_t log_error(stage_run_t *run, apr_status_t reason)
{
    log_line(run, reason);
    return reason;
}

const stage_actions_t stage_log = { "log", log_enter, log_exit, log_error };
