/* SPDX-License-Identifier: Apache-2.0 */
/*
 * marshal.c: a view's parameters, out of the request.
 *
 * By name, from the form, the cookies and the environ (request.get()); `REQUEST` is the request;
 * then the parameter's default.  One that is missing is the client's error, and named.  What Python
 * cannot say the parameters of (written in C, or *args) is called without any.  With the GIL.
 */
#include "stages/runner_private.h"

typedef struct marshal_t {
    const publish_t *publish;
    PyObject *request;
    PyObject *function; /* owned: with __code__; NULL: called without arguments */
    int skip;           /* parameters that are bound already: self */
} marshal_t;

/* Finds the Python function behind what is called: itself, a method's, or that of __call__. */
static int marshal_function(marshal_t *m, PyObject *target)
{
    PyObject *method;

    if (PyFunction_Check(target)) {
        m->function = Py_NewRef(target);
        return 0;
    }
    if (PyMethod_Check(target)) {
        m->skip = 1;
        m->function = PyFunction_Check(PyMethod_GET_FUNCTION(target))
                          ? Py_NewRef(PyMethod_GET_FUNCTION(target))
                          : NULL;
        return 0;
    }
    if (PyType_Check(target)) {
        return 0;
    }
    method = PyObject_GetAttrString(target, "__call__");
    if (method == NULL) {
        return -1;
    }
    if (PyMethod_Check(method)) {
        marshal_function(m, method);
    }
    Py_DECREF(method);
    return 0;
}

static long marshal_count(PyObject *code, const char *attribute)
{
    PyObject *number = PyObject_GetAttrString(code, attribute);
    long count = number != NULL ? PyLong_AsLong(number) : -1;

    Py_XDECREF(number);
    return count;
}

static PyObject *marshal_missing(const marshal_t *m, PyObject *name)
{
    PyObject *text = PyUnicode_FromFormat("missing argument: %U", name);

    if (text != NULL) {
        PyErr_SetObject(m->publish->bad_request, text);
        Py_DECREF(text);
    }
    return NULL;
}

/* A new reference to the value for a parameter; fallback: borrowed, NULL if it is required. */
static PyObject *marshal_value(const marshal_t *m, PyObject *name, PyObject *fallback)
{
    /* No request holds the publish module itself as a value: it stands for "none". */
    PyObject *none = m->publish->module;
    PyObject *value = PyObject_CallMethod(m->request, "get", "OO", name, none);

    if (value != none) {
        return value;
    }
    Py_DECREF(value);
    if (PyUnicode_CompareWithASCIIString(name, "REQUEST") == 0) {
        return Py_NewRef(m->request);
    }
    return fallback != NULL ? Py_NewRef(fallback) : marshal_missing(m, name);
}

static PyObject *marshal_positional(const marshal_t *m, PyObject *names, long count)
{
    PyObject *defaults = PyFunction_GetDefaults(m->function);
    long first_default = count - (defaults != NULL ? PyTuple_GET_SIZE(defaults) : 0), i;
    PyObject *args = PyTuple_New(count > m->skip ? count - m->skip : 0);

    for (i = m->skip; args != NULL && i < count; ++i) {
        PyObject *fallback =
            i >= first_default ? PyTuple_GET_ITEM(defaults, i - first_default) : NULL;
        PyObject *value = marshal_value(m, PyTuple_GET_ITEM(names, i), fallback);

        if (value == NULL) {
            Py_CLEAR(args);
            break;
        }
        PyTuple_SET_ITEM(args, i - m->skip, value);
    }
    return args;
}

static PyObject *marshal_keywords(const marshal_t *m, PyObject *names, long first, long count)
{
    PyObject *defaults = PyFunction_GetKwDefaults(m->function), *keywords = PyDict_New();
    long i;

    for (i = first; keywords != NULL && i < first + count; ++i) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        PyObject *fallback = defaults != NULL ? PyDict_GetItem(defaults, name) : NULL;
        PyObject *value = marshal_value(m, name, fallback);

        if (value == NULL || PyDict_SetItem(keywords, name, value) != 0) {
            Py_CLEAR(keywords);
        }
        Py_XDECREF(value);
    }
    return keywords;
}

static PyObject *marshal_apply(const marshal_t *m, PyObject *target)
{
    PyObject *code = PyFunction_GET_CODE(m->function);
    PyObject *names = PyObject_GetAttrString(code, "co_varnames");
    PyObject *args = NULL, *keywords = NULL, *result = NULL;
    long count = marshal_count(code, "co_argcount");
    long keyword_count = marshal_count(code, "co_kwonlyargcount");

    if (names != NULL && count >= 0 && keyword_count >= 0) {
        args = marshal_positional(m, names, count);
    }
    if (args != NULL) {
        keywords = marshal_keywords(m, names, count, keyword_count);
    }
    if (keywords != NULL) {
        result = PyObject_Call(target, args, keywords);
    }
    Py_XDECREF(keywords);
    Py_XDECREF(args);
    Py_XDECREF(names);
    return result;
}

PyObject *marshal_call(const publish_t *publish, PyObject *target, PyObject *request)
{
    marshal_t m = { .publish = publish, .request = request };
    PyObject *result;

    if (marshal_function(&m, target) != 0) {
        return NULL;
    }
    result = m.function != NULL ? marshal_apply(&m, target) : PyObject_CallNoArgs(target);
    Py_XDECREF(m.function);
    return result;
}

/* A view may fill the response itself, and return it. */
int marshal_page(const publish_t *publish, PyObject *target, PyObject *request)
{
    PyObject *response = PyObject_GetAttrString(request, "response");
    PyObject *result = NULL, *done = NULL;

    if (response != NULL) {
        result = marshal_call(publish, target, request);
    }
    if (result != NULL && result == response) {
        done = Py_NewRef(Py_None);
    } else if (result != NULL) {
        done = PyObject_CallMethod(response, "setResult", "O", result);
    }
    Py_XDECREF(done);
    Py_XDECREF(result);
    Py_XDECREF(response);
    return done != NULL ? 0 : -1;
}
