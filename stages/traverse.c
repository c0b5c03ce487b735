/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traverse.c: the stage `traverse`: from the site's folder along the names of the path to what is
 * called.  A worker thread, with the GIL.
 *
 * For each name, the first that answers:
 *  1. `@@name` and `++namespace++name`: the namespace's ITraversable;
 *  2. the object's own publishTraverse(), or that of an adapter to IPublishTraverse;
 *  3. its item of that name;
 *  4. a view of that name, for the object and the request.
 * Where the path ends, browserDefault() of the object or of an adapter to IBrowserPublisher may
 * send it further; else what can be called is called; else the default view is (index.html unless
 * the site has registered another name).  The names that are left stand in the request's traversal
 * stack, which whatever is traversed may read and change.
 */
#include "stages/runner_private.h"

/* A browserDefault() that never comes to an end is an error of the application. */
#define TRAVERSE_STEPS_MAX 1000

typedef struct traverse_t {
    stage_run_t *run;
    publish_run_t *py;
    PyObject *at;        /* owned: where the walk is */
    PyObject *stack;     /* owned: the names that are left, the next one last */
    PyObject *names;     /* owned: those behind it, for URLs */
    PyObject *hooks;     /* owned: whatever a hook makes of the environ's */
    PyObject *traversed; /* owned, likewise */
    int steps;
    int asked; /* names that the client asked for, before any default */
} traverse_t;

/* ---- Asking --------------------------------------------------------------------------------- */

/* The object itself if it provides the interface, else its adapter, else NULL (exception or none).
 */
static PyObject *traverse_provider(const traverse_t *t, PyObject *interface)
{
    PyObject *provided = PyObject_CallMethod(interface, "providedBy", "O", t->at), *adapter = NULL;
    int provides = provided != NULL ? PyObject_IsTrue(provided) : -1;

    Py_XDECREF(provided);
    if (provides == 1) {
        return Py_NewRef(t->at);
    }
    if (provides == 0) {
        adapter = PyObject_CallFunction(t->py->publish->multi_adapter, "(OO)O", t->at,
                                        t->py->request, interface);
    }
    if (adapter == Py_None) {
        Py_CLEAR(adapter);
    }
    return adapter;
}

/* The view of that name; NULL without an exception: there is none. */
static PyObject *traverse_view(const traverse_t *t, PyObject *name)
{
    PyObject *args = Py_BuildValue("((OO))", t->at, t->py->request);
    PyObject *keywords = Py_BuildValue("{sO}", "name", name), *view = NULL;

    if (args != NULL && keywords != NULL) {
        view = PyObject_Call(t->py->publish->multi_adapter, args, keywords);
    }
    if (view == Py_None) {
        Py_CLEAR(view);
    }
    Py_XDECREF(args);
    Py_XDECREF(keywords);
    return view;
}

static PyObject *traverse_not_found(const traverse_t *t, PyObject *name)
{
    PyObject *error;

    PyErr_Clear();
    error = PyObject_CallFunction(t->py->publish->not_found, "OOO", t->at, name, t->py->request);
    if (error != NULL) {
        PyErr_SetObject(t->py->publish->not_found, error);
        Py_DECREF(error);
    }
    return NULL;
}

/* ---- One name ------------------------------------------------------------------------------- */

static PyObject *traverse_namespace(const traverse_t *t, PyObject *namespace, PyObject *name,
                                    PyObject *whole)
{
    PyObject *found = PyObject_CallFunction(t->py->publish->namespace_lookup, "OOOO", namespace,
                                            name, t->at, t->py->request);

    if (found == NULL && PyErr_ExceptionMatches(t->py->publish->location_error)) {
        return traverse_not_found(t, whole);
    }
    return found;
}

/* A sequence's items are no names; nor is a missing object in the database a missing name. */
static PyObject *traverse_item(const traverse_t *t, PyObject *name)
{
    PyObject *item;

    if (!PyMapping_Check(t->at) || PyUnicode_Check(t->at) || PyBytes_Check(t->at) ||
        PyList_Check(t->at) || PyTuple_Check(t->at)) {
        return NULL;
    }
    item = PyObject_GetItem(t->at, name);
    if (item == NULL && !PyErr_ExceptionMatches(t->py->publish->pos_error) &&
        (PyErr_ExceptionMatches(PyExc_LookupError) || PyErr_ExceptionMatches(PyExc_TypeError))) {
        PyErr_Clear();
    }
    return item;
}

static PyObject *traverse_plain(const traverse_t *t, PyObject *name)
{
    PyObject *publisher = traverse_provider(t, t->py->publish->publish_traverse), *found = NULL;

    if (publisher != NULL) {
        found = PyObject_CallMethod(publisher, "publishTraverse", "OO", t->py->request, name);
        Py_DECREF(publisher);
        return found;
    }
    if (!PyErr_Occurred()) {
        found = traverse_item(t, name);
    }
    if (found == NULL && !PyErr_Occurred()) {
        found = traverse_view(t, name);
    }
    if (found == NULL && !PyErr_Occurred()) {
        return traverse_not_found(t, name);
    }
    return found;
}

/* A new reference to what the name leads to, or NULL with an exception set. */
static PyObject *traverse_name(const traverse_t *t, PyObject *name)
{
    PyObject *parsed, *found = NULL;
    Py_UCS4 first = PyUnicode_GET_LENGTH(name) > 0 ? PyUnicode_READ_CHAR(name, 0) : 0;

    if (first != '@' && first != '+') {
        return traverse_plain(t, name);
    }
    parsed = PyObject_CallOneArg(t->py->publish->parse_name, name);
    if (parsed == NULL) {
        return NULL;
    }
    if (PyUnicode_GET_LENGTH(PyTuple_GET_ITEM(parsed, 0)) > 0) {
        found =
            traverse_namespace(t, PyTuple_GET_ITEM(parsed, 0), PyTuple_GET_ITEM(parsed, 1), name);
    } else {
        found = traverse_plain(t, name);
    }
    Py_DECREF(parsed);
    return found;
}

/* ---- The walk ------------------------------------------------------------------------------- */

/* Whoever has put a hook into the environ is told of each object, once. */
static int traverse_tell(const traverse_t *t)
{
    Py_ssize_t i;

    for (i = 0; i < PyList_GET_SIZE(t->hooks); ++i) {
        PyObject *hook = Py_NewRef(PyList_GET_ITEM(t->hooks, i));
        PyObject *told = PyObject_CallFunctionObjArgs(hook, t->py->request, t->at, NULL);

        Py_DECREF(hook);
        if (told == NULL) {
            return -1;
        }
        Py_DECREF(told);
    }
    return 0;
}

static int traverse_record(traverse_t *t, PyObject *name)
{
    PyObject *pair = PyTuple_Pack(2, name, t->at);
    int rc = pair != NULL ? PyList_Append(t->traversed, pair) : -1;

    Py_XDECREF(pair);
    if (rc == 0) {
        rc = PyObject_SetAttrString(t->py->request, "_last_traversed", t->at);
    }
    return rc == 0 ? traverse_tell(t) : -1;
}

/* The next name, a new reference; whatever is traversed may have put something else there. */
static PyObject *traverse_pop(const traverse_t *t)
{
    PyObject *name = PyObject_CallMethod(t->stack, "pop", NULL);

    if (name != NULL && !PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "a name to traverse must be str, not %.100s",
                     Py_TYPE(name)->tp_name);
        Py_CLEAR(name);
    }
    return name;
}

static int traverse_step(traverse_t *t)
{
    PyObject *name = traverse_pop(t), *found = NULL;
    int rc = -1;

    if (name != NULL && ++t->steps > TRAVERSE_STEPS_MAX) {
        PyErr_SetString(PyExc_RecursionError, "traversal does not come to an end");
    } else if (name != NULL && PyList_Append(t->names, name) == 0) {
        found = traverse_name(t, name);
    }
    if (found != NULL) {
        Py_SETREF(t->at, found);
        rc = traverse_record(t, name);
    }
    Py_XDECREF(name);
    return rc;
}

static int traverse_stack(traverse_t *t)
{
    int rc = 0;

    while (rc == 0 && PyList_GET_SIZE(t->stack) > 0) {
        rc = traverse_step(t);
    }
    return rc;
}

/* ---- Where the path ends -------------------------------------------------------------------- */

/* Puts the names of a sequence on the stack. 1: there are some; 0: none; -1: an exception is set.
 */
static int traverse_push(const traverse_t *t, PyObject *names)
{
    PyObject *list = PySequence_List(names);
    int rc = list != NULL ? PyList_Reverse(list) : -1;

    if (rc == 0 && PyList_GET_SIZE(list) > 0) {
        rc = PyList_SetSlice(t->stack, PyList_GET_SIZE(t->stack), PyList_GET_SIZE(t->stack), list);
        rc = rc == 0 ? 1 : -1;
    }
    Py_XDECREF(list);
    return rc;
}

/* What browserDefault() says: another object, and names to go on by. */
static int traverse_browser_default(traverse_t *t, PyObject *publisher)
{
    PyObject *answer = PyObject_CallMethod(publisher, "browserDefault", "O", t->py->request);
    PyObject *object, *names;
    int rc = -1;

    if (answer != NULL && PyArg_ParseTuple(answer, "OO", &object, &names)) {
        Py_SETREF(t->at, Py_NewRef(object));
        rc = PyObject_IsTrue(names);
        rc = rc == 1 ? traverse_push(t, names) : rc;
    }
    Py_XDECREF(answer);
    return rc;
}

/* Puts the default view's name on the stack. */
static int traverse_default_view(traverse_t *t)
{
    PyObject *name = PyObject_CallFunctionObjArgs(t->py->publish->default_view_name, t->at,
                                                  t->py->request, NULL);
    PyObject *view;
    int rc = -1;

    if (name == Py_None) {
        Py_SETREF(name, PyUnicode_FromString("index.html"));
    }
    view = name != NULL ? PyUnicode_FromFormat("@@%S", name) : NULL;
    if (view != NULL) {
        rc = PyList_Append(t->stack, view) == 0 ? 1 : -1;
    }
    Py_XDECREF(view);
    Py_XDECREF(name);
    return rc;
}

/* 1: names were put on the stack; 0: what is there is to be called; -1: an exception is set. */
static int traverse_default(traverse_t *t)
{
    PyObject *publisher = traverse_provider(t, t->py->publish->browser_publisher);
    int rc;

    if (publisher != NULL) {
        rc = traverse_browser_default(t, publisher);
        Py_DECREF(publisher);
        return rc;
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    return PyCallable_Check(t->at) ? 0 : traverse_default_view(t);
}

static int traverse_walk(traverse_t *t)
{
    int rc = traverse_tell(t);

    if (rc == 0) {
        rc = traverse_stack(t);
    }
    t->asked = t->steps;
    while (rc == 0) {
        rc = traverse_default(t);
        if (rc != 1) {
            break;
        }
        rc = traverse_stack(t);
    }
    return rc;
}

static int traverse_open(traverse_t *t)
{
    t->stack = PyObject_CallMethod(t->py->request, "getTraversalStack", NULL);
    t->names = PyObject_GetAttrString(t->py->request, "_traversed_names");
    t->hooks = PyDict_GetItemString(t->py->environ, "zope.pipeline.traversal_hooks");
    Py_XINCREF(t->hooks);
    t->traversed = PyDict_GetItemString(t->py->environ, "zope.pipeline.traversed");
    Py_XINCREF(t->traversed);
    if (t->stack == NULL || t->names == NULL) {
        return -1;
    }
    if (t->hooks == NULL || t->traversed == NULL || !PyList_Check(t->stack) ||
        !PyList_Check(t->names) || !PyList_Check(t->hooks) || !PyList_Check(t->traversed)) {
        PyErr_SetString(PyExc_TypeError, "the traversal's lists in the environ must be lists");
        return -1;
    }
    return 0;
}

static int traverse_close(traverse_t *t)
{
    PyObject *steps = PyLong_FromLong(t->steps - t->asked);
    int rc = -1;

    if (steps != NULL) {
        rc = PyDict_SetItemString(t->py->environ, "zope.pipeline.default_traversal_steps", steps);
    }
    Py_XDECREF(steps);
    return rc;
}

static apr_status_t traverse_enter(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    traverse_t t = { .run = run, .py = py, .at = Py_NewRef(py->root) };
    apr_status_t rv = APR_SUCCESS;

    if (traverse_open(&t) != 0 || traverse_walk(&t) != 0 || traverse_close(&t) != 0) {
        rv = publish_raise(py);
    } else {
        Py_XSETREF(py->target, Py_NewRef(t.at));
    }
    Py_XDECREF(t.at);
    Py_XDECREF(t.stack);
    Py_XDECREF(t.names);
    Py_XDECREF(t.hooks);
    Py_XDECREF(t.traversed);
    return rv;
}

const stage_actions_t stage_traverse = { "traverse", traverse_enter, NULL, NULL };
