/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c: the handlers of the health checks, and reading a group's scoreboard.  Child threads.
 */
#include "server/status.h"

#include <string.h>

#include <http_config.h>
#include <http_main.h>
#include <http_protocol.h>

static const scoreboard_instance_t *instance_serving(const config_group_t *group)
{
    const scoreboard_instance_t *instance =
        group->instance != NULL ? group->instance : group->older;

    if (instance != NULL && instance->fallback != NULL &&
        atomic_load(&instance->board->live) == 0 &&
        atomic_load(&instance->fallback->board->live) > 0) {
        return instance->fallback;
    }
    return instance;
}

static apr_uint32_t generation_serving(const scoreboard_instance_t *instance)
{
    apr_uint32_t newest = 0;
    apr_uint32_t i;

    for (i = 0; i < instance->board->process_count; i++) {
        apr_uint32_t generation = atomic_load(&instance->processes[i].generation);

        if (atomic_load(&instance->processes[i].state) == SCOREBOARD_READY && generation > newest) {
            newest = generation;
        }
    }
    return newest;
}

/* Upper bound in us of the bucket below which `share` of 1000 requests lie; 0 without any. */
static apr_int64_t latency_quantile(const scoreboard_t *board, apr_uint64_t share)
{
    apr_uint64_t total = 0;
    apr_uint64_t below = 0;
    int i;

    for (i = 0; i < SCOREBOARD_LATENCY_BUCKETS; i++) {
        total += atomic_load_explicit(&board->latency[i], memory_order_relaxed);
    }
    for (i = 0; total > 0 && i < SCOREBOARD_LATENCY_BUCKETS; i++) {
        below += atomic_load_explicit(&board->latency[i], memory_order_relaxed);
        if (below * 1000 >= total * share) {
            return (apr_int64_t)1 << i;
        }
    }
    return 0;
}

void status_group_read(const config_group_t *group, status_group_t *status)
{
    const scoreboard_t *board;

    memset(status, 0, sizeof(*status));
    status->name = group->name;
    status->processes = (apr_uint32_t)group->processes;
    status->threads = (apr_uint32_t)group->threads;
    status->instance = instance_serving(group);
    if (status->instance == NULL) {
        return;
    }
    board = group->instance != NULL ? group->instance->board : status->instance->board;
    status->failed = atomic_load(&board->failed);
    status->failed_at = atomic_load(&board->failed_at);
    board = status->instance->board;
    status->live = atomic_load(&board->live);
    status->busy = scoreboard_busy_count(status->instance);
    status->serving = generation_serving(status->instance);
    status->requests = atomic_load(&board->requests);
    status->refused = atomic_load(&board->refused);
    status->aborted = atomic_load(&board->aborted);
    status->cancelled = atomic_load(&board->cancelled);
    status->deaths = atomic_load(&board->deaths);
    status->median_us = latency_quantile(board, 500);
    status->p99_us = latency_quantile(board, 990);
}

typedef int (*status_check_f)(const status_group_t *status);

static int check_started(const status_group_t *status)
{
    return status->live > 0 ||
           (status->instance != NULL && atomic_load(&status->instance->board->ready) > 0);
}

static int check_ready(const status_group_t *status)
{
    return status->live > 0;
}

static void health_line(request_rec *r, const status_group_t *status, int good)
{
    char when[APR_RFC822_DATE_LEN];

    ap_rprintf(r, "%s: %s", status->name, good ? "ok" : "not serving");
    if (status->serving != 0) {
        ap_rprintf(r, ", generation %u", status->serving);
    }
    if (status->failed != 0) {
        apr_rfc822_date(when, status->failed_at);
        ap_rprintf(r, "; generation %u could not be started (%s)", status->failed, when);
    }
    ap_rputs("\n", r);
}

static int health_answer(request_rec *r, status_check_f check)
{
    const config_server_t *config =
        config_server_get(ap_server_conf); /* groups belong to the whole server */
    status_group_t status;
    int all = 1;
    int i;

    for (i = 0; i < config->groups->nelts; i++) {
        status_group_read(APR_ARRAY_IDX(config->groups, i, config_group_t *), &status);
        all &= check(&status);
    }
    r->status = all ? HTTP_OK : HTTP_SERVICE_UNAVAILABLE;
    for (i = 0; i < config->groups->nelts; i++) {
        status_group_read(APR_ARRAY_IDX(config->groups, i, config_group_t *), &status);
        health_line(r, &status, check(&status));
    }
    return OK;
}

static int live_answer(request_rec *r)
{
    ap_rputs("ok\n", r);
    return OK;
}

static int startup_answer(request_rec *r)
{
    return health_answer(r, check_started);
}

static int ready_answer(request_rec *r)
{
    return health_answer(r, check_ready);
}

static int status_answer(request_rec *r)
{
    const config_server_t *config = config_server_get(ap_server_conf);

    if (r->args != NULL && !strcmp(r->args, "auto")) {
        status_text_write(r, config);
        return OK;
    }
    ap_set_content_type(r, "text/html; charset=utf-8");
    status_page_write(r, config);
    return OK;
}

int status_handle(request_rec *r)
{
    static const struct {
        const char *name;
        int (*answer)(request_rec *r);
    } handlers[] = { { "pipeline-live", live_answer },
                     { "pipeline-startup", startup_answer },
                     { "pipeline-ready", ready_answer },
                     { "pipeline-status", status_answer } };
    apr_size_t i;

    for (i = 0; r->handler != NULL && i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        if (!strcmp(r->handler, handlers[i].name)) {
            r->allowed |= AP_METHOD_BIT << M_GET;
            if (r->method_number != M_GET) {
                return HTTP_METHOD_NOT_ALLOWED;
            }
            ap_set_content_type(r, "text/plain; charset=utf-8");
            apr_table_setn(r->headers_out, "Cache-Control", "no-store");
            return handlers[i].answer(r);
        }
    }
    return DECLINED;
}
