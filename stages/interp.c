/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp.c: the stage `interp`: takes the GIL, builds the environ, and sends what was answered.
 *
 * A worker thread; with the GIL from the end of enter to the end of exit or error.  The response is
 * sent here, when the transaction has been committed and the database's connection given back, so a
 * slow client holds neither.
 */
#include "stages/runner_private.h"

#include <apr_strings.h>

static apr_status_t interp_leave(stage_run_t *run, apr_status_t reason)
{
    publish_run_t *py = runner_python(run);

    publish_forget(py);
    Py_CLEAR(py->environ);
    if (reason != STAGE_RETRY || run->attempt >= run->attempts) {
        run->work->ended = interp_thread_sent(run->work->thread);
        interp_thread_end(run->work->thread);
    }
    interp_gil_release(run->work->thread);
    return reason;
}

static apr_status_t interp_enter(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);

    interp_gil_take(run->work->thread);
    if (run->attempt > 1) {
        interp_input_rewind(run->work->thread);
    }
    py->environ = interp_environ_build(run->work->thread);
    if (py->environ != NULL) {
        return APR_SUCCESS;
    }
    interp_wsgi_fail(run->work->thread);
    return interp_leave(run, APR_ENOMEM);
}

static apr_status_t interp_exit(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    PyObject *response = py->response;

    py->response = NULL;
    if (response != NULL && run->work->answer.status != 0) {
        interp_wsgi_drop(response);
    } else if (response != NULL && interp_wsgi_send(response) == APR_EGENERAL) {
        interp_wsgi_fail(run->work->thread);
    }
    return interp_leave(run, APR_SUCCESS);
}

/* Keeps the words of a conflict for the log of the stage retry, which has no GIL. */
static void interp_note_conflict(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    PyObject *text = py->raised != NULL ? PyObject_Str(py->raised) : NULL;
    const char *words = text != NULL ? PyUnicode_AsUTF8(text) : NULL;

    run->work->conflict = apr_pstrdup(run->r->pool, words != NULL ? words : "a conflict");
    PyErr_Clear();
    Py_XDECREF(text);
}

/* What no stage behind has answered, and no further attempt will. */
static apr_status_t interp_error(stage_run_t *run, apr_status_t reason)
{
    publish_run_t *py = runner_python(run);

    publish_drop(py);
    if (reason == STAGE_RAISED && py->retryable && run->attempts > 1 &&
        !interp_thread_sent(run->work->thread)) {
        reason = STAGE_RETRY;
    }
    if (reason == STAGE_RETRY) {
        interp_note_conflict(run);
    }
    if (reason == STAGE_RAISED) {
        run->status = HTTP_INTERNAL_SERVER_ERROR;
        run->error_id = interp_thread_label(run->work->thread);
        publish_restore(py);
        interp_wsgi_fail(run->work->thread);
        reason = APR_SUCCESS;
    }
    return interp_leave(run, reason);
}

const stage_actions_t stage_interp = { "interp", interp_enter, interp_exit, interp_error };
