/* SPDX-License-Identifier: Apache-2.0 */
/*
 * classify.c: the stage `classify`: which kind of request this is, and so which stages it passes.
 *
 * A mounted application answers every method itself.  A published folder takes GET, HEAD and POST:
 * the methods that httpd knows besides get 405, the others 501.  A worker thread, without the GIL.
 */
#include "stages/runner_private.h"

#include <http_protocol.h>

#define CLASSIFY_ALLOW "GET, HEAD, POST"

/* The number of a request type's bit. */
static int classify_number(unsigned type)
{
    return __builtin_ctz(type);
}

static apr_status_t classify_refuse(stage_run_t *run)
{
    apr_table_setn(run->r->err_headers_out, "Allow", CLASSIFY_ALLOW);
    if (ap_method_number_of(run->r->method) == M_INVALID) {
        return run->api->answer(run, HTTP_NOT_IMPLEMENTED, NULL,
                                "This method is not known here.\n");
    }
    return run->api->answer(run, HTTP_METHOD_NOT_ALLOWED, NULL,
                            "Pages here take " CLASSIFY_ALLOW ".\n");
}

static apr_status_t classify_enter(stage_run_t *run)
{
    if (run->mount->kind == CONFIG_MOUNT_WSGI) {
        run->type = classify_number(CONFIG_TYPE_WSGI);
        return APR_SUCCESS;
    }
    run->type = classify_number(CONFIG_TYPE_BROWSER);
    /* HEAD has the number of GET. */
    switch (ap_method_number_of(run->r->method)) {
    case M_GET:
    case M_POST:
        return APR_SUCCESS;
    default:
        return classify_refuse(run);
    }
}

const stage_actions_t stage_classify = { "classify", classify_enter, NULL, NULL };
