/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mod_probe.c: two stages for tests, built by apxs: `outer` before the GIL is taken, `inner` inside
 * of the transaction.  Each fails in the action that the request's header X-Fail names, and both
 * write down in X-Trace which actions they saw.
 */
#include <httpd.h>
#include <http_config.h>
#include <apr_strings.h>

#include "stages/stage.h"

static apr_status_t probe_note(stage_run_t *run, const char *what)
{
    const char *fail = apr_table_get(run->r->headers_in, "X-Fail");

    apr_table_mergen(run->r->headers_out, "X-Trace", what);
    return fail != NULL && strcmp(fail, what) == 0 ? APR_EGENERAL : APR_SUCCESS;
}

static apr_status_t outer_enter(stage_run_t *run)
{
    run->state = apr_pstrdup(run->r->pool, "outer-exit");
    return probe_note(run, "outer-enter");
}

static apr_status_t outer_exit(stage_run_t *run)
{
    return probe_note(run, run->state);
}

static apr_status_t outer_error(stage_run_t *run, apr_status_t reason)
{
    probe_note(run, "outer-error");
    return reason;
}

static apr_status_t inner_enter(stage_run_t *run)
{
    return probe_note(run, "inner-enter");
}

static apr_status_t inner_exit(stage_run_t *run)
{
    return probe_note(run, "inner-exit");
}

/* Answers a failure of the stages behind, if the client asks for that. */
static apr_status_t inner_error(stage_run_t *run, apr_status_t reason)
{
    probe_note(run, "inner-error");
    if (apr_table_get(run->r->headers_in, "X-Answer") == NULL) {
        return reason;
    }
    run->api->answer(run, HTTP_CONFLICT, "text/html", "<p>inner answers</p>");
    return APR_SUCCESS;
}

static const stage_actions_t outer_actions = { "outer", outer_enter, outer_exit, outer_error };
static const stage_actions_t inner_actions = { "inner", inner_enter, inner_exit, inner_error };

static const stage_actions_t *outer_stage(void)
{
    return &outer_actions;
}

static const stage_actions_t *inner_stage(void)
{
    return &inner_actions;
}

static int probe_add(stage_add_t *add, void *list)
{
    static const stage_added_t outer = { "outer",         "retry",     "interp",
                                         CONFIG_TYPE_ALL, "mod_probe", outer_stage };
    static const stage_added_t inner = { "inner",     "transaction", "inputs", CONFIG_TYPE_BROWSER,
                                         "mod_probe", inner_stage };

    add(list, &outer);
    add(list, &inner);
    return OK;
}

static void probe_hooks(apr_pool_t *p)
{
    (void)p;
    APR_OPTIONAL_HOOK(pipeline, add_stages, probe_add, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(probe) = { STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, probe_hooks };
