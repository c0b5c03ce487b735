/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create_request.c: the stage `create_request`: the request and the response, from the environ on
 * the way in, to what is sent on the way out.  A worker thread, with the GIL.
 */
#include "stages/runner_private.h"

#include <stdlib.h>
#include <string.h>

static int create_request_keys(const stage_run_t *run)
{
    const publish_run_t *py = runner_python(run);
    PyObject *response = PyObject_GetAttrString(py->request, "response");
    PyObject *hooks = PyList_New(0), *traversed = PyList_New(0);
    PyObject *can_retry = run->attempt < run->attempts ? Py_True : Py_False;
    int rc = -1;

    if (response != NULL && hooks != NULL && traversed != NULL) {
        rc = PyDict_SetItemString(py->environ, "zope.request", py->request) ||
             PyDict_SetItemString(py->environ, "zope.pipeline.request", py->request) ||
             PyDict_SetItemString(py->environ, "zope.response", response) ||
             PyDict_SetItemString(py->environ, "zope.pipeline.can_retry", can_retry) ||
             PyDict_SetItemString(py->environ, "zope.interaction", Py_None) ||
             PyDict_SetItemString(py->environ, "zope.pipeline.traversal_hooks", hooks) ||
             PyDict_SetItemString(py->environ, "zope.pipeline.traversed", traversed);
    }
    Py_XDECREF(response);
    Py_XDECREF(hooks);
    Py_XDECREF(traversed);
    return rc == 0 ? 0 : -1;
}

/* A path or host that is no text is the client's fault. */
static apr_status_t create_request_refuse(stage_run_t *run)
{
    if (!PyErr_ExceptionMatches(PyExc_UnicodeError)) {
        return publish_raise(runner_python(run));
    }
    PyErr_Clear();
    return run->api->answer(run, HTTP_BAD_REQUEST, NULL, "This address is not valid UTF-8.\n");
}

static apr_status_t create_request_enter(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);

    py->request = PyObject_CallOneArg(py->publish->request_type, py->environ);
    if (py->request == NULL) {
        return create_request_refuse(run);
    }
    if (create_request_keys(run) != 0) {
        Py_CLEAR(py->request);
        return publish_raise(py);
    }
    return APR_SUCCESS;
}

static int create_request_add(void *list, const char *name, const char *value)
{
    PyObject *pair =
        Py_BuildValue("(sN)", name, PyUnicode_DecodeLatin1(value, (Py_ssize_t)strlen(value), NULL));
    int rc = pair != NULL ? PyList_Append(list, pair) : -1;

    Py_XDECREF(pair);
    return rc == 0;
}

/*
 * The response as WSGI has it, (status, headers, body), with the headers that httpd modules' stages
 * have set.  A new reference, or NULL with an exception set.
 */
static PyObject *create_request_parts(const stage_run_t *run)
{
    const publish_run_t *py = runner_python(run);
    PyObject *extra = PyList_New(0), *response = NULL, *parts = NULL;

    if (extra == NULL) {
        return NULL;
    }
    apr_table_do(create_request_add, extra, run->r->headers_out, NULL);
    apr_table_do(create_request_add, extra, run->r->err_headers_out, NULL);
    if (!PyErr_Occurred()) {
        response = PyObject_GetAttrString(py->request, "response");
    }
    if (response != NULL) {
        parts = PyObject_CallMethod(response, "render", "O", extra);
    }
    Py_XDECREF(response);
    Py_DECREF(extra);
    return parts;
}

/* A stage's own answer was checked when it was given. */
apr_status_t create_request_check(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    apr_status_t rv = APR_EGENERAL;
    PyObject *parts;

    if (py->response != NULL || run->work->answer.status != 0) {
        return APR_SUCCESS;
    }
    parts = create_request_parts(run);
    if (parts != NULL) {
        rv = interp_wsgi_check(run->work->thread, PyTuple_GET_ITEM(parts, 0),
                               PyTuple_GET_ITEM(parts, 1), PyTuple_GET_ITEM(parts, 2));
    }
    Py_XDECREF(parts);
    return rv == APR_SUCCESS ? rv : publish_raise(py);
}

static apr_status_t create_request_render(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    PyObject *parts = create_request_parts(run);
    apr_status_t rv = APR_EGENERAL;

    if (parts != NULL) {
        rv = interp_wsgi_answer(run->work->thread, PyTuple_GET_ITEM(parts, 0),
                                PyTuple_GET_ITEM(parts, 1), PyTuple_GET_ITEM(parts, 2),
                                &py->response);
    }
    if (rv == APR_SUCCESS) {
        run->status = atoi(PyUnicode_AsUTF8(PyTuple_GET_ITEM(parts, 0)));
    }
    Py_XDECREF(parts);
    return rv;
}

static void create_request_close(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    PyObject *closed;

    if (py->request == NULL) {
        return;
    }
    closed = PyObject_CallMethod(py->request, "close", NULL);
    if (closed == NULL) {
        interp_log_exception(run->work->thread, run->r,
                             PIPELOGNO(0630) "what the request held could not be released");
    }
    Py_XDECREF(closed);
    Py_CLEAR(py->request);
}

static apr_status_t create_request_exit(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    apr_status_t rv = APR_SUCCESS;

    if (py->response == NULL && py->request != NULL && run->work->answer.status == 0) {
        rv = create_request_render(run);
    }
    if (rv != APR_SUCCESS) {
        rv = publish_raise(py);
    }
    create_request_close(run);
    return rv;
}

static apr_status_t create_request_error(stage_run_t *run, apr_status_t reason)
{
    create_request_close(run);
    return reason;
}

const stage_actions_t stage_create_request = { "create_request", create_request_enter,
                                               create_request_exit, create_request_error };
