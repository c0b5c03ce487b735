/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transaction.c: the stage `transaction`: what the request did is committed as one, or not at all.
 * A worker thread, with the GIL; the transaction is the thread's own (transaction.manager).
 *
 * Every method commits, GET too.  Doomed, or against the site's ICommitVeto: aborted, and answered
 * all the same.  A response that cannot be sent is found before the commit and fails like a view,
 * so that whoever gets an error page has changed nothing.  Whether another attempt may help is
 * asked before the abort, while the storages that have joined can still say so.
 */
#include "stages/runner_private.h"

#include <apr_strings.h>

static PyObject *transaction_manager(const stage_run_t *run)
{
    return runner_python(run)->publish->manager;
}

apr_status_t transaction_begin(stage_run_t *run)
{
    PyObject *begun = PyObject_CallMethod(transaction_manager(run), "begin", NULL);

    Py_XDECREF(begun);
    return begun != NULL ? APR_SUCCESS : publish_raise(runner_python(run));
}

/* True, false, or -1 with an exception set. */
static int transaction_ask(PyObject *object, const char *method, PyObject *argument)
{
    PyObject *answer = argument != NULL ? PyObject_CallMethod(object, method, "O", argument)
                                        : PyObject_CallMethod(object, method, NULL);
    int yes = answer != NULL ? PyObject_IsTrue(answer) : -1;

    Py_XDECREF(answer);
    return yes;
}

void transaction_abort(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    PyObject *transaction = PyObject_CallMethod(transaction_manager(run), "get", NULL);
    PyObject *aborted = NULL;

    if (transaction != NULL && py->raised != NULL && !py->retryable) {
        py->retryable = transaction_ask(transaction, "isRetryableError", py->raised) == 1;
        PyErr_Clear();
    }
    if (transaction != NULL) {
        aborted = PyObject_CallMethod(transaction_manager(run), "abort", NULL);
    }
    if (aborted == NULL) {
        interp_log_exception(run->work->thread, run->r,
                             PIPELOGNO(0650) "the transaction could not be aborted");
    }
    Py_XDECREF(aborted);
    Py_XDECREF(transaction);
    run->work->outcome = "aborted";
}

static int transaction_set(PyObject *transaction, const char *key, const char *value)
{
    PyObject *done = PyObject_CallMethod(transaction, "setExtendedInfo", "ss", key, value);

    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

static int transaction_set_user(const publish_run_t *py, PyObject *transaction)
{
    PyObject *user = PyDict_GetItemString(py->environ, "REMOTE_USER"), *done;
    int named = user != NULL ? PyObject_IsTrue(user) : 0;

    if (named != 1) {
        return named;
    }
    done = PyObject_CallMethod(transaction, "setUser", "O", user);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

/* Who did what, and where: for the storage's history. */
static int transaction_annotate(const stage_run_t *run, PyObject *transaction)
{
    const publish_run_t *py = runner_python(run);
    const char *folder = run->mount->folder[1] != '\0' ? run->mount->folder : "";
    const char *path = apr_pstrcat(run->r->pool, folder, run->path, NULL);
    PyObject *url = PyObject_CallMethod(py->request, "getURL", NULL);
    PyObject *note = PyUnicode_DecodeUTF8(path, (Py_ssize_t)strlen(path), "replace");
    PyObject *noted = NULL;
    const char *text = url != NULL ? PyUnicode_AsUTF8(url) : NULL;
    int rc = -1;

    if (text != NULL && note != NULL) {
        noted = PyObject_CallMethod(transaction, "note", "O", note);
    }
    if (noted != NULL) {
        rc = transaction_set_user(py, transaction) ||
             transaction_set(transaction, "request_type", order_type_name(run->type)) ||
             transaction_set(transaction, "request_info",
                             apr_pstrcat(run->r->pool, run->r->method, " ", text, NULL));
    }
    Py_XDECREF(noted);
    Py_XDECREF(note);
    Py_XDECREF(url);
    return rc == 0 ? 0 : -1;
}

/* 1: to be committed; 0: not; -1: an exception is set. */
static int transaction_wanted(stage_run_t *run, PyObject *transaction)
{
    publish_run_t *py = runner_python(run);
    int doomed = transaction_ask(transaction, "isDoomed", NULL), vetoed;
    PyObject *answer;

    if (doomed != 0) {
        return doomed < 0 ? -1 : 0;
    }
    answer = publish_call(py->publish, "commit_vetoed", "(O)", py->environ);
    vetoed = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return vetoed < 0 ? -1 : !vetoed;
}

static apr_status_t transaction_finish(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    PyObject *transaction = PyObject_CallMethod(transaction_manager(run), "get", NULL);
    PyObject *committed = NULL;
    int wanted = transaction != NULL ? transaction_wanted(run, transaction) : -1;
    apr_status_t rv = APR_SUCCESS;

    if (wanted == 1 && transaction_annotate(run, transaction) == 0) {
        committed = PyObject_CallMethod(transaction, "commit", NULL);
    }
    run->work->outcome = "committed";
    if (wanted != 0 && committed == NULL) {
        rv = publish_raise(py);
    }
    if (committed == NULL) {
        transaction_abort(run);
    }
    Py_XDECREF(committed);
    Py_XDECREF(transaction);
    return rv;
}

apr_status_t transaction_end(stage_run_t *run)
{
    apr_status_t rv = create_request_check(run);

    if (rv == APR_SUCCESS) {
        return transaction_finish(run);
    }
    transaction_abort(run);
    return rv;
}

static apr_status_t transaction_enter(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);

    if (PyDict_SetItemString(py->environ, "transaction", transaction_manager(run)) != 0) {
        return publish_raise(py);
    }
    return transaction_begin(run);
}

static apr_status_t transaction_error(stage_run_t *run, apr_status_t reason)
{
    transaction_abort(run);
    return reason;
}

const stage_actions_t stage_transaction = { "transaction", transaction_enter, transaction_end,
                                            transaction_error };
