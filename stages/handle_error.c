/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle_error.c: the stage `handle_error`: a page for an exception.
 *
 * By the time its error action runs, the transaction has been aborted, and the database is still
 * open. The exception's view runs in a transaction of its own.  A conflict is left to `retry`; what
 * has been sent in part is left to `interp`, as is a mounted application.  A worker thread, with
 * the GIL.
 */
#include "stages/runner_private.h"

#include <apr_strings.h>
#include <http_log.h>

APLOG_USE_MODULE(pipeline);

/* A C stage's failure becomes an exception, so that it gets a page like any other. */
static void handle_error_adopt(stage_run_t *run, apr_status_t reason)
{
    char text[120];

    PyErr_Format(PyExc_RuntimeError, "the stage %s failed: %s", run->work->failed,
                 apr_strerror(reason, text, sizeof text));
    publish_raise(runner_python(run));
}

static void handle_error_log(stage_run_t *run, long status)
{
    publish_run_t *py = runner_python(run);
    const char *what =
        apr_psprintf(run->r->pool, PIPELOGNO(0640) "%s %s failed", run->r->method, run->r->uri);

    if (status >= HTTP_INTERNAL_SERVER_ERROR) {
        run->error_id = interp_thread_label(run->work->thread);
        publish_log(py, run->work->thread, run->r, what);
        return;
    }
    Py_BEGIN_ALLOW_THREADS
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, run->r, "%s %s: answered with %ld", run->r->method,
                  run->r->uri, status);
    Py_END_ALLOW_THREADS
}

/* Resets the response to the exception's status. Returns that, or 500 if the exception is unusable.
 */
static long handle_error_prepare(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    PyObject *answer = publish_call(py->publish, "prepare_error", "(OO)", py->request, py->raised);
    long status = answer != NULL ? PyLong_AsLong(answer) : -1;

    Py_XDECREF(answer);
    if (status > 0) {
        return status;
    }
    publish_raise(py);
    answer = publish_call(py->publish, "prepare_error", "(OO)", py->request, py->raised);
    PyErr_Clear();
    Py_XDECREF(answer);
    return HTTP_INTERNAL_SERVER_ERROR;
}

/* Calls something of the site's in a transaction of its own. True: it has worked. */
static int handle_error_call(stage_run_t *run, PyObject *target, int is_page)
{
    publish_run_t *py = runner_python(run);
    PyObject *kept = Py_NewRef(py->raised), *result = NULL;
    apr_status_t rv = transaction_begin(run);
    int rc = -1;

    if (rv == APR_SUCCESS && is_page) {
        rc = marshal_page(py->publish, target, py->request);
    } else if (rv == APR_SUCCESS) {
        result = marshal_call(py->publish, target, py->request);
        rc = result != NULL ? 0 : -1;
        Py_XDECREF(result);
    }
    if (rv == APR_SUCCESS && rc != 0) {
        rv = publish_raise(py);
    }
    if (rv == APR_SUCCESS) {
        rv = transaction_end(run);
    } else {
        transaction_abort(run);
    }
    if (rv != APR_SUCCESS) {
        publish_log(py, run->work->thread, run->r,
                    PIPELOGNO(0641) "the site's handling of an exception failed itself");
    }
    Py_XSETREF(py->raised, kept);
    return rv == APR_SUCCESS;
}

/* Asks a function of mod_pipeline.publish for what the site has registered, and calls that. */
static int handle_error_registered(stage_run_t *run, const char *function, int is_page)
{
    publish_run_t *py = runner_python(run);
    PyObject *found = publish_call(py->publish, function, "(OO)", py->request, py->raised);
    int done = 0;

    if (found == NULL) {
        interp_log_exception(run->work->thread, run->r,
                             PIPELOGNO(0641) "the site's handling of an exception failed itself");
    } else if (found != Py_None) {
        done = handle_error_call(run, found, is_page);
    }
    Py_XDECREF(found);
    return done;
}

static void handle_error_plain(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    long status = handle_error_prepare(run);
    PyObject *done = publish_call(py->publish, "plain_page", "(OlOs)", py->request, status,
                                  py->raised, interp_thread_label(run->work->thread));

    if (done == NULL) {
        interp_log_exception(run->work->thread, run->r,
                             PIPELOGNO(0642) "the plain error page could not be made");
        run->api->answer(run, (int)status, NULL, "The page could not be made.\n");
    }
    Py_XDECREF(done);
}

static apr_status_t handle_error_error(stage_run_t *run, apr_status_t reason)
{
    publish_run_t *py = runner_python(run);

    if (py->request == NULL || reason == STAGE_RETRY || interp_thread_sent(run->work->thread) ||
        publish_client_gone(py, run->work->thread)) {
        return reason;
    }
    if (reason != STAGE_RAISED || py->raised == NULL) {
        handle_error_adopt(run, reason);
    }
    if (py->retryable) {
        return STAGE_RETRY;
    }
    publish_drop(py);
    run->work->answer.status = 0;
    handle_error_log(run, handle_error_prepare(run));
    if (!handle_error_registered(run, "error_view", 1)) {
        handle_error_plain(run);
    }
    handle_error_registered(run, "side_effects", 0);
    publish_forget(py);
    return APR_SUCCESS;
}

const stage_actions_t stage_handle_error = { "handle_error", NULL, NULL, handle_error_error };
