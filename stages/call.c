/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c: the stage `call`: the view that was found, or the mounted application.
 *
 * The innermost stage, in a worker thread, with the GIL.  What is returned is kept, and sent by the
 * stage `interp` once everything has been committed and closed.
 */
#include "stages/runner_private.h"

#include <http_log.h>

APLOG_USE_MODULE(pipeline);

/* Its neighbours are served all the same; the daemon's successor will try to load it again. */
static apr_status_t call_missing(stage_run_t *run)
{
    Py_BEGIN_ALLOW_THREADS
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, run->r,
                  PIPELOGNO(0504) "%s could not be loaded, see PIPE0503", run->mount->target);
    Py_END_ALLOW_THREADS
    apr_table_setn(run->r->headers_out, "Retry-After", RUNNER_RETRY_AFTER);
    return run->api->answer(run, HTTP_SERVICE_UNAVAILABLE, NULL,
                            "The application could not be loaded (PIPE0504).\n");
}

static apr_status_t call_application(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    interp_thread_t *thread = run->work->thread;
    PyObject *application = interp_application_for(interp_of(thread), run->mount);

    if (application == NULL) {
        return call_missing(run);
    }
    if (interp_wsgi_call(thread, application, py->environ, &py->response) != APR_SUCCESS) {
        return publish_raise(py);
    }
    return APR_SUCCESS;
}

static apr_status_t call_view(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    int rc = marshal_page(py->publish, py->target, py->request);

    return rc == 0 ? APR_SUCCESS : publish_raise(py);
}

static apr_status_t call_enter(stage_run_t *run)
{
    return run->mount->kind == CONFIG_MOUNT_WSGI ? call_application(run) : call_view(run);
}

const stage_actions_t stage_call = { "call", call_enter, NULL, NULL };
