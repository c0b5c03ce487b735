/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runner.c: registers the stages' actions in a daemon, and walks requests through them.
 *
 * runner_start() runs in the daemon's main thread with the GIL; runner_run() in a worker thread,
 * which takes and gives back the GIL by the stage `interp`.
 *
 * Invariants of a walk:
 *  1. `depth` stages have been entered, and none of them has left: stages 0..depth-1 of the type's
 *     chain.
 *  2. Up to `classify` the chains of all types are the same, so the type may change there.
 *  3. `reason` is APR_SUCCESS on the way in and while leaving by exit; else stages leave by error.
 *
 * States:  ENTERING --STAGE_DONE, end of chain--> LEAVING --depth 0--> done
 *          ENTERING --error--> FAILING --error action: APR_SUCCESS--> LEAVING
 *          LEAVING --error of an exit--> FAILING --error action: STAGE_AGAIN--> ENTERING
 */
#include "stages/runner_private.h"

#include <apr_hash.h>
#include <apr_strings.h>
#include <http_log.h>
#include <http_protocol.h>

#include <stdlib.h>
#include <string.h>

APLOG_USE_MODULE(pipeline);

struct runner_t {
    interp_t *interp;      /* borrowed */
    publish_t *publish;    /* owned; NULL: nothing to publish, or it could not be started */
    apr_hash_t *servers;   /* server_rec pointer -> runner_server_t */
    apr_hash_t *callables; /* config_stage_t pointer -> publish_callable_t */
};

/* ---- Registration --------------------------------------------------------------------------- */

typedef struct runner_builtin_t {
    const char *name;
    pipeline_HOOK_stage_t *actions;
} runner_builtin_t;

#define RUNNER_DEFINE(stage, types, after, before)             \
    static const stage_actions_t *runner_actions_##stage(void) \
    {                                                          \
        return &stage_##stage;                                 \
    }
STAGE_TABLE(RUNNER_DEFINE)

#define RUNNER_ENTRY(stage, types, after, before) { #stage, runner_actions_##stage },
static const runner_builtin_t runner_builtins[] = { STAGE_TABLE(RUNNER_ENTRY) };

static const stage_actions_t *runner_actions_of_python(void)
{
    return &stage_python;
}

static pipeline_HOOK_stage_t *runner_provider(const order_stage_t *stage)
{
    apr_size_t i;

    if (stage->added != NULL) {
        return stage->added->actions;
    }
    for (i = 0; stage->config == NULL && i < sizeof runner_builtins / sizeof *runner_builtins;
         ++i) {
        if (strcmp(runner_builtins[i].name, stage->name) == 0) {
            return runner_builtins[i].actions;
        }
    }
    return runner_actions_of_python;
}

static const stage_actions_t *runner_registered(const char *name)
{
    const apr_array_header_t *hooks = pipeline_hook_get_stage();
    int i;

    for (i = 0; hooks != NULL && i < hooks->nelts; ++i) {
        const pipeline_LINK_stage_t *hook = &APR_ARRAY_IDX(hooks, i, const pipeline_LINK_stage_t);

        if (hook->szName != NULL && strcmp(hook->szName, name) == 0) {
            return hook->pFunc();
        }
    }
    return NULL;
}

/* APR takes the name of a hook from a variable of its own, which each stage therefore sets. */
static void runner_register(const order_stage_t *stage, const char *predecessor, apr_pool_t *pchild)
{
    const char **after = apr_pcalloc(pchild, 2 * sizeof *after);
    const char *current = apr_hook_debug_current;

    after[0] = predecessor;
    apr_hook_debug_current = stage->name;
    pipeline_hook_stage(runner_provider(stage), after, NULL, APR_HOOK_MIDDLE);
    apr_hook_debug_current = current;
}

/* The stages of all types of a server, by their place; entries of no type are NULL. */
static apr_array_header_t *runner_by_place(const config_server_t *config, apr_pool_t *p)
{
    apr_array_header_t *all = apr_array_make(p, 32, sizeof(const order_stage_t *));
    int type, i;

    for (type = 0; type < CONFIG_TYPE_COUNT; ++type) {
        for (i = 0; i < config->order[type]->nelts; ++i) {
            const order_stage_t *stage =
                APR_ARRAY_IDX(config->order[type], i, const order_stage_t *);

            while (all->nelts <= stage->place) {
                *(const order_stage_t **)apr_array_push(all) = NULL;
            }
            APR_ARRAY_IDX(all, stage->place, const order_stage_t *) = stage;
        }
    }
    return all;
}

/* Returns how many places the server's stages have. */
static int runner_register_server(const config_server_t *config, apr_pool_t *pchild)
{
    apr_array_header_t *all = runner_by_place(config, pchild);
    const char *predecessor = NULL;
    int i;

    for (i = 0; i < all->nelts; ++i) {
        const order_stage_t *stage = APR_ARRAY_IDX(all, i, const order_stage_t *);

        if (stage != NULL && runner_registered(stage->name) == NULL) {
            runner_register(stage, predecessor, pchild);
        }
        predecessor = stage != NULL ? stage->name : predecessor;
    }
    return all->nelts;
}

/* ---- The arrays of each server -------------------------------------------------------------- */

static apr_status_t runner_load(runner_t *runner, const order_stage_t *stage,
                                const publish_callable_t **callable, apr_pool_t *pchild)
{
    publish_callable_t *loaded =
        apr_hash_get(runner->callables, &stage->config, sizeof stage->config);
    apr_status_t rv;

    *callable = loaded;
    if (loaded != NULL) {
        return loaded->ready ? APR_SUCCESS : APR_EGENERAL;
    }
    rv = publish_callable_load(runner->interp, stage->config, &loaded, pchild);
    apr_hash_set(runner->callables, &stage->config, sizeof stage->config, loaded);
    if (rv != APR_SUCCESS) {
        interp_log_exception(interp_starter(runner->interp), NULL,
                             apr_psprintf(pchild,
                                          PIPELOGNO(0603) "PipelineStage %s (%s:%d): %s cannot "
                                                          "be loaded",
                                          stage->name, stage->config->place.file,
                                          stage->config->place.line, stage->config->target));
    }
    *callable = loaded;
    return rv;
}

static apr_status_t runner_chain_fill(runner_t *runner, const apr_array_header_t *order,
                                      runner_chain_t *chain, apr_pool_t *pchild)
{
    apr_status_t rv = APR_SUCCESS;
    int i;

    chain->count = order->nelts;
    chain->stages = apr_pcalloc(pchild, sizeof *chain->stages * (apr_size_t)order->nelts);
    for (i = 0; i < order->nelts && rv == APR_SUCCESS; ++i) {
        runner_stage_t *stage = &chain->stages[i];

        stage->order = APR_ARRAY_IDX(order, i, const order_stage_t *);
        stage->actions = runner_registered(stage->order->name);
        if (stage->order->config != NULL) {
            rv = runner_load(runner, stage->order, &stage->callable, pchild);
        }
    }
    return rv;
}

static const runner_server_t *runner_add_server(runner_t *runner, const config_mount_t *mount,
                                                apr_pool_t *pchild)
{
    runner_server_t *server = apr_hash_get(runner->servers, &mount->server, sizeof mount->server);
    apr_status_t rv = APR_SUCCESS;
    server_rec **key;
    int type;

    if (server != NULL) {
        return server;
    }
    server = apr_pcalloc(pchild, sizeof *server);
    server->places = runner_register_server(mount->config, pchild);
    for (type = 0; type < CONFIG_TYPE_COUNT && rv == APR_SUCCESS; ++type) {
        rv = runner_chain_fill(runner, mount->config->order[type], &server->chains[type], pchild);
    }
    server->broken = rv != APR_SUCCESS;
    server->closed = runner->publish == NULL || publish_is_broken(runner->publish, mount->config);
    key = apr_pmemdup(pchild, &mount->server, sizeof mount->server);
    apr_hash_set(runner->servers, key, sizeof *key, server);
    return server;
}

/* ---- Start and stop ------------------------------------------------------------------------- */

static int runner_publishes(const config_group_t *group)
{
    int i;

    for (i = 0; i < group->mounts->nelts; ++i) {
        if (APR_ARRAY_IDX(group->mounts, i, const config_mount_t *)->kind == CONFIG_MOUNT_ROOT) {
            return 1;
        }
    }
    return group->zcml->nelts > 0;
}

static void runner_start_publishing(runner_t *runner, apr_pool_t *pchild)
{
    if (publish_start(runner->interp, &runner->publish, pchild) == APR_SUCCESS) {
        return;
    }
    interp_log_exception(interp_starter(runner->interp), NULL,
                         PIPELOGNO(0600) "the publishing pipeline cannot be started");
    publish_stop(runner->publish);
    runner->publish = NULL;
}

static int runner_can_serve(const runner_server_t *server, const config_mount_t *mount)
{
    return !server->broken && (mount->kind != CONFIG_MOUNT_ROOT || !server->closed);
}

/* A site that cannot be loaded is no reason not to serve the others of the group. */
static apr_status_t runner_add_servers(runner_t *runner, const config_group_t *group,
                                       apr_pool_t *pchild)
{
    int served = 0, i;

    for (i = 0; i < group->mounts->nelts; ++i) {
        const config_mount_t *mount = APR_ARRAY_IDX(group->mounts, i, const config_mount_t *);
        const runner_server_t *server = runner_add_server(runner, mount, pchild);

        served += runner_can_serve(server, mount);
    }
    if (served == group->mounts->nelts) {
        return APR_SUCCESS;
    }
    return served > 0 ? APR_INCOMPLETE : APR_EGENERAL;
}

apr_status_t runner_start(interp_t *interp, runner_t **runner, apr_pool_t *pchild)
{
    const config_group_t *group = interp_group(interp);
    runner_t *made = apr_pcalloc(pchild, sizeof *made);
    apr_status_t rv;
    int whole;

    *runner = made;
    made->interp = interp;
    made->servers = apr_hash_make(pchild);
    made->callables = apr_hash_make(pchild);
    if (!runner_publishes(group)) {
        return runner_add_servers(made, group, pchild);
    }
    runner_start_publishing(made, pchild);
    rv = runner_add_servers(made, group, pchild);
    whole = made->publish != NULL && made->publish->broken->nelts == 0;
    return rv == APR_SUCCESS && !whole ? APR_INCOMPLETE : rv;
}

void runner_stop(runner_t *runner)
{
    apr_hash_index_t *i;

    for (i = apr_hash_first(NULL, runner->callables); i != NULL; i = apr_hash_next(i)) {
        publish_callable_drop(apr_hash_this_val(i));
    }
    if (runner->publish != NULL) {
        publish_stop(runner->publish);
    }
}

/* ---- Answers of stages ---------------------------------------------------------------------- */

static apr_status_t runner_answer(stage_run_t *run, int status, const char *content_type,
                                  const char *body)
{
    runner_answer_t *answer = &run->work->answer;

    answer->status = run->status = status;
    answer->content_type = content_type != NULL ? content_type : "text/plain; charset=utf-8";
    answer->body = apr_pstrdup(run->r->pool, body);
    answer->len = strlen(body);
    return STAGE_DONE;
}

static const stage_api_t runner_api = { runner_answer };

static int runner_add_field(void *list, const char *name, const char *value)
{
    wire_field_t *field = apr_array_push(list);

    field->name.data = name;
    field->name.len = (apr_uint32_t)strlen(name);
    field->value.data = value;
    field->value.len = (apr_uint32_t)strlen(value);
    return 1;
}

/* Without the GIL: every stage has left. */
static apr_status_t runner_send_answer(stage_run_t *run)
{
    const runner_answer_t *answer = &run->work->answer;
    apr_array_header_t *fields = apr_array_make(run->r->pool, 8, sizeof(wire_field_t));
    const char *line = ap_get_status_line(answer->status);
    wire_response_t head = { .status = (apr_uint16_t)answer->status,
                             .content_length = (apr_int64_t)answer->len };
    apr_status_t rv;

    runner_add_field(fields, "Content-Type", answer->content_type);
    apr_table_do(runner_add_field, fields, run->r->headers_out, NULL);
    apr_table_do(runner_add_field, fields, run->r->err_headers_out, NULL);
    /* httpd knows a line for the usual statuses, and gives that of 500 for others. */
    head.reason.data = atoi(line) == answer->status && strlen(line) > 4 ? line + 4 : "";
    head.reason.len = (apr_uint32_t)strlen(head.reason.data);
    head.fields = (wire_field_t *)(void *)fields->elts;
    head.field_count = (apr_uint32_t)fields->nelts;
    daemon_exchange_reset(run->x);
    rv = daemon_exchange_head_set(run->x, &head);
    if (rv == APR_SUCCESS && answer->len > 0 && !run->r->header_only) {
        rv = daemon_exchange_write(run->x, answer->body, answer->len, 1);
    }
    return rv;
}

/* ---- The walk ------------------------------------------------------------------------------- */

typedef enum { RUNNER_ENTER, RUNNER_EXIT, RUNNER_ERROR } runner_action_e;

static apr_status_t runner_call(stage_run_t *run, const stage_actions_t *actions,
                                runner_action_e action, apr_status_t reason)
{
    switch (action) {
    case RUNNER_ENTER:
        return actions->enter != NULL ? actions->enter(run) : APR_SUCCESS;
    case RUNNER_EXIT:
        return actions->exit != NULL ? actions->exit(run) : APR_SUCCESS;
    default:
        return actions->error != NULL ? actions->error(run, reason) : reason;
    }
}

static apr_status_t runner_step(stage_run_t *run, int place, runner_action_e action,
                                apr_status_t reason)
{
    runner_work_t *work = run->work;
    const runner_stage_t *stage = &work->server->chains[run->type].stages[place];
    apr_time_t start = work->times != NULL ? apr_time_now() : 0;
    void **state = &work->states[stage->order->place];
    apr_status_t rv;

    work->stage = stage;
    run->state = *state;
    rv = runner_call(run, stage->actions, action, reason);
    *state = run->state;
    if (action != RUNNER_ERROR && rv != APR_SUCCESS && rv != STAGE_DONE) {
        work->failed = stage->order->name;
    }
    if (work->times != NULL) {
        work->times[stage->order->place] += apr_time_now() - start;
    }
    return rv;
}

/* Enters the stages from *depth on. Returns the reason to leave by: APR_SUCCESS, or an error. */
static apr_status_t runner_enter(stage_run_t *run, int *depth)
{
    apr_status_t rv = APR_SUCCESS;

    while (rv == APR_SUCCESS && *depth < run->work->server->chains[run->type].count) {
        rv = runner_step(run, *depth, RUNNER_ENTER, APR_SUCCESS);
        if (rv == APR_SUCCESS || rv == STAGE_DONE) {
            ++*depth;
        }
    }
    return rv == STAGE_DONE ? APR_SUCCESS : rv;
}

/* Leaves the stages before *depth. STAGE_AGAIN: enter again from there; else how it ended. */
static apr_status_t runner_leave(stage_run_t *run, int *depth, apr_status_t reason)
{
    while (*depth > 0) {
        reason = runner_step(run, *depth - 1, reason == APR_SUCCESS ? RUNNER_EXIT : RUNNER_ERROR,
                             reason);
        if (reason == STAGE_AGAIN) {
            return reason;
        }
        --*depth;
    }
    return reason;
}

static apr_status_t runner_walk(stage_run_t *run)
{
    apr_status_t reason;
    int depth = 0;

    do {
        reason = runner_enter(run, &depth);
        reason = runner_leave(run, &depth, reason);
    } while (reason == STAGE_AGAIN);
    return reason;
}

/* The built-in stages are twelve; a server with more than twelve others takes the request's pool.
 */
#define RUNNER_STATES_INLINE 24

static void runner_prepare(stage_run_t *run, runner_work_t *work, void **states)
{
    const int places = work->server->places;

    work->states = states;
    if (places > RUNNER_STATES_INLINE) {
        work->states = apr_pcalloc(run->r->pool, sizeof *states * (apr_size_t)places);
    }
    if (APLOGrdebug(run->r)) {
        work->times = apr_pcalloc(run->r->pool, sizeof *work->times * (apr_size_t)places);
    }
}

/* An exception has been logged by whoever met it; this is what a C stage returned. */
static void runner_log_failure(const stage_run_t *run, apr_status_t reason)
{
    ap_log_rerror(APLOG_MARK, APLOG_ERR, reason, run->r,
                  PIPELOGNO(0604) "%s %s: the stage %s failed", run->r->method, run->r->uri,
                  run->work->failed);
}

/* What it misses was logged when the daemon started; a successor will try to load it again. */
static apr_status_t runner_refuse(stage_run_t *run)
{
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, run->r,
                  PIPELOGNO(0605) "%s (%s:%d): the site could not be loaded, see PIPE0600 and "
                                  "PIPE0603",
                  run->mount->place.directive, run->mount->place.file, run->mount->place.line);
    apr_table_setn(run->r->err_headers_out, "Retry-After", RUNNER_RETRY_AFTER);
    runner_answer(run, HTTP_SERVICE_UNAVAILABLE, NULL, "The site could not be loaded.\n");
    return APR_SUCCESS;
}

void runner_run(const runner_t *runner, interp_thread_t *thread, request_rec *r,
                daemon_exchange_t *x)
{
    void *states[RUNNER_STATES_INLINE] = { NULL };
    runner_work_t work = { .runner = runner, .thread = thread };
    stage_run_t run = { .r = r, .x = x, .attempt = 1, .attempts = 1, .api = &runner_api };
    apr_status_t rv;

    run.work = &work;
    run.mount = daemon_exchange_mount(x);
    run.type = __builtin_ctz(run.mount->kind == CONFIG_MOUNT_ROOT ? CONFIG_TYPE_BROWSER
                                                                  : CONFIG_TYPE_WSGI);
    work.python.publish = runner->publish;
    work.server = apr_hash_get(runner->servers, &run.mount->server, sizeof run.mount->server);
    if (runner_can_serve(work.server, run.mount)) {
        runner_prepare(&run, &work, states);
        rv = runner_walk(&run);
    } else {
        rv = runner_refuse(&run);
    }
    if (rv != APR_SUCCESS && rv != STAGE_RAISED) {
        runner_log_failure(&run, rv);
    }
    if (work.answer.status == 0 && !work.ended) {
        runner_answer(&run, HTTP_INTERNAL_SERVER_ERROR, NULL,
                      "The request could not be answered.\n");
    }
    if (work.answer.status != 0 && !work.ended) {
        rv = runner_send_answer(&run);
    }
    daemon_exchange_finish(x, rv == APR_SUCCESS);
}
