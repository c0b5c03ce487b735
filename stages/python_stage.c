/* SPDX-License-Identifier: Apache-2.0 */
/*
 * python_stage.c: the actions of every stage written in Python (PipelineStage).
 *
 * The callable is called as stage(environ, **params).  What it returns, if not None, answers the
 * request: (status, headers, body), or the response of the environ.  A generator function runs up
 * to its yield on the way in and on from there on the way out; on an exception, that is thrown in
 * at the yield.  A worker thread, with the GIL: such a stage stands behind `interp`.
 *
 * run->state is the generator (owned), between enter and exit or error.
 */
#include "stages/runner_private.h"

#include <apr_strings.h>
#include <http_protocol.h>

#include <stdlib.h>

/* ---- Answers -------------------------------------------------------------------------------- */

/* "404 Not Found" for 404, and for a text that text. */
static PyObject *python_status(PyObject *status)
{
    const char *line;
    long number;

    if (PyUnicode_Check(status)) {
        return Py_NewRef(status);
    }
    number = PyLong_AsLong(status);
    if (number == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (number < 100 || number > 999) {
        return PyErr_Format(PyExc_ValueError, "a stage answered with status %ld", number);
    }
    line = ap_get_status_line((int)number);
    /* httpd has a line of its own for the statuses that it knows, and 500 for others. */
    return atoi(line) == number ? PyUnicode_FromString(line)
                                : PyUnicode_FromFormat("%ld Status %ld", number, number);
}

static PyObject *python_body(PyObject *body)
{
    PyObject *bytes, *list;

    if (!PyUnicode_Check(body) && !PyBytes_Check(body)) {
        return Py_NewRef(body);
    }
    bytes = PyUnicode_Check(body) ? PyUnicode_AsUTF8String(body) : Py_NewRef(body);
    list = bytes != NULL ? PyList_New(1) : NULL;
    if (list != NULL) {
        PyList_SET_ITEM(list, 0, bytes);
        return list;
    }
    Py_XDECREF(bytes);
    return NULL;
}

static apr_status_t python_answer_parts(stage_run_t *run, PyObject *status, PyObject *headers,
                                        PyObject *body)
{
    publish_run_t *py = runner_python(run);
    PyObject *line = python_status(status), *bytes = python_body(body);
    PyObject *list = PyDict_Check(headers) ? PyDict_Items(headers) : PySequence_List(headers);
    apr_status_t rv = APR_EGENERAL;

    publish_drop(py);
    if (line != NULL && bytes != NULL && list != NULL) {
        rv = interp_wsgi_answer(run->work->thread, line, list, bytes, &py->response);
    }
    if (rv == APR_SUCCESS) {
        run->status = atoi(PyUnicode_AsUTF8(line));
    }
    Py_XDECREF(list);
    Py_XDECREF(bytes);
    Py_XDECREF(line);
    return rv;
}

/* Takes what a stage has answered with; value is not None. STAGE_DONE, or STAGE_RAISED. */
static apr_status_t python_answer(stage_run_t *run, PyObject *value)
{
    publish_run_t *py = runner_python(run);
    PyObject *status, *headers, *body;

    if (value == PyDict_GetItemString(py->environ, "zope.response")) {
        return STAGE_DONE;
    }
    if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) != 3) {
        PyErr_Format(PyExc_TypeError,
                     "the stage %s answered with %.100s, not with (status, headers, body)",
                     run->work->stage->order->name, Py_TYPE(value)->tp_name);
        return publish_raise(py);
    }
    status = PyTuple_GET_ITEM(value, 0);
    headers = PyTuple_GET_ITEM(value, 1);
    body = PyTuple_GET_ITEM(value, 2);
    if (python_answer_parts(run, status, headers, body) != APR_SUCCESS) {
        return publish_raise(py);
    }
    return STAGE_DONE;
}

/* ---- Generators ----------------------------------------------------------------------------- */

/*
 * What a generator did when it was resumed: result is what it yielded, a new reference which this
 * takes, or NULL.  *value: what it returned, a new reference, if it has ended; else NULL.
 * APR_SUCCESS: it has ended; STAGE_RAISED: it raised, or yielded twice.
 */
static apr_status_t python_ended(stage_run_t *run, PyObject *result, PyObject **value)
{
    PyObject *type, *stop, *traceback;

    *value = NULL;
    if (result != NULL) {
        Py_DECREF(result);
        PyErr_Format(PyExc_RuntimeError, "the stage %s yielded more than once",
                     run->work->stage->order->name);
        return publish_raise(runner_python(run));
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return publish_raise(runner_python(run));
    }
    PyErr_Fetch(&type, &stop, &traceback);
    PyErr_NormalizeException(&type, &stop, &traceback);
    *value = Py_XNewRef(((PyStopIterationObject *)stop)->value);
    Py_XDECREF(type);
    Py_XDECREF(stop);
    Py_XDECREF(traceback);
    return APR_SUCCESS;
}

/* Runs a generator up to its yield. */
static apr_status_t python_begin(stage_run_t *run, PyObject *generator)
{
    PyObject *value = PyObject_CallMethod(generator, "__next__", NULL);
    apr_status_t rv = APR_SUCCESS;

    if (value != NULL) {
        run->state = generator;
        rv = value != Py_None ? python_answer(run, value) : APR_SUCCESS;
        Py_DECREF(value);
        if (rv == STAGE_RAISED) {
            run->state = NULL;
            Py_DECREF(generator);
        }
        return rv;
    }
    rv = python_ended(run, NULL, &value);
    if (value != NULL && value != Py_None) {
        rv = python_answer(run, value);
    }
    Py_XDECREF(value);
    Py_DECREF(generator);
    return rv;
}

/* ---- Actions -------------------------------------------------------------------------------- */

static apr_status_t python_enter(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    const publish_callable_t *stage = run->work->stage->callable;
    PyObject *args = PyTuple_Pack(1, py->environ), *value = NULL;
    apr_status_t rv = APR_SUCCESS;

    if (args != NULL) {
        value = PyObject_Call(stage->callable, args, stage->params);
    }
    Py_XDECREF(args);
    if (value == NULL) {
        return publish_raise(py);
    }
    if (stage->generator) {
        return python_begin(run, value);
    }
    if (value != Py_None) {
        rv = python_answer(run, value);
    }
    Py_DECREF(value);
    return rv;
}

static apr_status_t python_exit(stage_run_t *run)
{
    PyObject *generator = run->state, *value = NULL;
    apr_status_t rv;

    run->state = NULL;
    if (generator == NULL) {
        return APR_SUCCESS;
    }
    rv = python_ended(run, PyObject_CallMethod(generator, "__next__", NULL), &value);
    if (rv == APR_SUCCESS && value != NULL && value != Py_None) {
        rv = python_answer(run, value);
    }
    Py_XDECREF(value);
    Py_DECREF(generator);
    return rv == STAGE_DONE ? APR_SUCCESS : rv;
}

/* The exception goes on unless the stage answers in its place. */
static apr_status_t python_error(stage_run_t *run, apr_status_t reason)
{
    publish_run_t *py = runner_python(run);
    PyObject *generator = run->state, *value = NULL, *raised;
    int retryable = py->retryable;
    apr_status_t rv;

    run->state = NULL;
    if (generator == NULL) {
        return reason;
    }
    if (py->raised == NULL) {
        PyErr_Format(PyExc_RuntimeError, "the stage %s failed", run->work->failed);
        publish_raise(py);
    }
    raised = Py_NewRef(py->raised);
    rv = python_ended(run, PyObject_CallMethod(generator, "throw", "O", raised), &value);
    if (rv == APR_SUCCESS && value != NULL && value != Py_None) {
        rv = python_answer(run, value) == STAGE_DONE ? APR_SUCCESS : STAGE_RAISED;
    } else if (rv == APR_SUCCESS || py->raised == raised) {
        Py_XSETREF(py->raised, Py_NewRef(raised));
        py->retryable = retryable;
        rv = reason;
    }
    if (rv == APR_SUCCESS) {
        publish_forget(py);
    }
    Py_XDECREF(value);
    Py_DECREF(raised);
    Py_DECREF(generator);
    return rv;
}

const stage_actions_t stage_python = { "python", python_enter, python_exit, python_error };
