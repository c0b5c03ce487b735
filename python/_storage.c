/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _storage.c - the module mod_pipeline._storage: its types, its exceptions, and open().
 *
 * Imported by mod_pipeline/storage.py, in a daemon's interpreter or in any Python process. The
 * module keeps no object outside its state, so that every interpreter has its own. Functions here
 * run with the GIL held, and give it up around every call of the library that waits.
 */
#include "python/_storage.h"

#include <apr_general.h>

#include <string.h>

/* Bytes of a message of storage_open(): a database's name and a sentence; longer ones are cut. */
#define MESSAGE_SIZE 512

/* ---- Conversions and exceptions ---- */

PyObject *storage_id_bytes(apr_uint64_t id)
{
    apr_uint64_t big = __builtin_bswap64(id);

    return PyBytes_FromStringAndSize((const char *)&big, sizeof(big));
}

int storage_id_from(PyObject *bytes, int none_allowed, apr_uint64_t *pid)
{
    apr_uint64_t big;

    *pid = 0;
    if (none_allowed && bytes == Py_None) {
        return 1;
    }
    if (!PyBytes_Check(bytes) || PyBytes_GET_SIZE(bytes) != sizeof(big)) {
        PyErr_Format(PyExc_TypeError, "an oid or a tid must be 8 bytes, not %R", bytes);
        return 0;
    }
    memcpy(&big, PyBytes_AS_STRING(bytes), sizeof(big));
    *pid = __builtin_bswap64(big);
    return 1;
}

PyObject *storage_state_bytes(storage_state_t *state)
{
    PyObject *bytes =
        PyBytes_FromStringAndSize(storage_state_data(state), (Py_ssize_t)storage_state_size(state));

    storage_state_release(state);
    return bytes;
}

static int argument_index(const signature_t *signature, PyObject *name)
{
    Py_ssize_t i;

    for (i = 0; i < signature->most; i++) {
        if (PyUnicode_CompareWithASCIIString(name, signature->names[i]) == 0) {
            return (int)i;
        }
    }
    PyErr_Format(PyExc_TypeError, "%s() has no argument %R", signature->function, name);
    return -1;
}

static int named_arguments(const signature_t *signature, PyObject *const *args, PyObject *names,
                           PyObject **values)
{
    Py_ssize_t i;

    for (i = 0; i < PyTuple_GET_SIZE(names); i++) {
        int index = argument_index(signature, PyTuple_GET_ITEM(names, i));

        if (index < 0) {
            return 0;
        }
        if (values[index]) {
            PyErr_Format(PyExc_TypeError, "%s() got %s twice", signature->function,
                         signature->names[index]);
            return 0;
        }
        values[index] = args[i];
    }
    return 1;
}

int storage_arguments(const signature_t *signature, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *names, PyObject **values)
{
    Py_ssize_t i;

    for (i = 0; i < signature->most; i++) {
        values[i] = i < nargs ? args[i] : NULL;
    }
    if (names && !named_arguments(signature, args + nargs, names, values)) {
        return 0;
    }
    for (i = 0; i < signature->least && values[i]; i++) {
    }
    if (nargs > signature->most || i < signature->least) {
        PyErr_Format(PyExc_TypeError, "%s() takes from %zd to %zd arguments", signature->function,
                     signature->least, signature->most);
        return 0;
    }
    return 1;
}

static PyObject *exception_of(const module_state_t *state, apr_status_t rv)
{
    const struct {
        apr_status_t status;
        PyObject *exception;
    } table[] = {
        { STORAGE_RETRY, state->retry_error },       { STORAGE_READ_ONLY, state->read_only_error },
        { STORAGE_PHASE, state->transaction_error }, { STORAGE_BAD_URI, PyExc_ValueError },
        { STORAGE_RANGE, PyExc_ValueError },         { APR_ENOMEM, PyExc_MemoryError },
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].status == rv) {
            return table[i].exception;
        }
    }
    return state->storage_error;
}

static void raise_missing(const module_state_t *state, storage_oid_t oid)
{
    PyObject *bytes = storage_id_bytes(oid);

    if (bytes) {
        PyErr_SetObject(state->key_error, bytes);
        Py_DECREF(bytes);
    }
}

/* ReadConflictError takes the oid and the two serials by name. */
static void raise_read_conflict(instance_t *self)
{
    storage_oid_t oid;
    storage_tid_t actual, expected;
    PyObject *kwargs = NULL, *args = NULL, *error = NULL;

    storage_read_conflict(self->conn, &oid, &actual, &expected);
    args = PyTuple_New(0);
    kwargs = Py_BuildValue("{s:N,s:(NN)}", "oid", storage_id_bytes(oid), "serials",
                           storage_id_bytes(actual), storage_id_bytes(expected));
    if (args && kwargs) {
        error = PyObject_Call(self->state->read_conflict_error, args, kwargs);
    }
    if (error) {
        PyErr_SetObject(self->state->read_conflict_error, error);
    }
    Py_XDECREF(error);
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
}

PyObject *storage_raise_status(const module_state_t *state, apr_status_t rv)
{
    char buffer[120];

    PyErr_SetString(exception_of(state, rv), storage_strerror(rv, buffer, sizeof(buffer)));
    return NULL;
}

PyObject *storage_raise(instance_t *self, apr_status_t rv, storage_oid_t oid)
{
    const char *text = storage_conn_error(self->conn);

    if (rv == STORAGE_MISSING) {
        raise_missing(self->state, oid);
    } else if (rv == STORAGE_READ_CONFLICT) {
        raise_read_conflict(self);
    } else if (*text) {
        PyErr_SetString(exception_of(self->state, rv), text);
    } else {
        storage_raise_status(self->state, rv);
    }
    return NULL;
}

/* ---- The database ---- */

/* The URI's text, which belongs to arg; NULL with an exception set. */
static const char *uri_text(PyObject *arg)
{
    const char *text;
    Py_ssize_t size;

    if (!PyUnicode_Check(arg)) {
        PyErr_Format(PyExc_TypeError, "uri must be a string, not %.100s", Py_TYPE(arg)->tp_name);
        return NULL;
    }
    text = PyUnicode_AsUTF8AndSize(arg, &size);
    if (text && strlen(text) != (size_t)size) {
        PyErr_Format(PyExc_ValueError, "storage URI %R has a NUL", arg);
        return NULL;
    }
    return text;
}

static PyObject *module_open(PyObject *module, PyObject *arg)
{
    module_state_t *state = PyModule_GetState(module);
    const char *uri = uri_text(arg);
    char message[MESSAGE_SIZE];
    storage_t *storage;
    database_t *database;
    apr_status_t rv;

    if (!uri) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    rv = storage_open(&storage, uri, message, sizeof(message));
    Py_END_ALLOW_THREADS
    if (rv != APR_SUCCESS) {
        PyErr_SetString(exception_of(state, rv), message);
        return NULL;
    }
    database = PyObject_New(database_t, state->database_type);
    if (!database) {
        storage_close(storage);
        return NULL;
    }
    database->state = state;
    database->storage = storage;
    return (PyObject *)database;
}

static void close_database(database_t *self)
{
    storage_t *storage = self->storage;

    self->storage = NULL;
    Py_BEGIN_ALLOW_THREADS
    storage_close(storage);
    Py_END_ALLOW_THREADS
}

static PyObject *database_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    close_database((database_t *)object);
    Py_RETURN_NONE;
}

static void database_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    close_database((database_t *)object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *database_name(PyObject *object, void *unused)
{
    database_t *self = (database_t *)object;

    (void)unused;
    return PyUnicode_FromString(self->storage ? storage_name(self->storage) : "");
}

static PyObject *database_read_only(PyObject *object, void *unused)
{
    database_t *self = (database_t *)object;

    (void)unused;
    return PyBool_FromLong(self->storage && storage_is_read_only(self->storage));
}

static PyObject *database_cache_stats(PyObject *object, PyObject *unused)
{
    database_t *self = (database_t *)object;
    storage_cache_stats_t stats = { 0 };

    (void)unused;
    if (self->storage) {
        storage_cache_stats(self->storage, &stats);
    }
    return Py_BuildValue("{s:n,s:n,s:n,s:K,s:K}", "bytes", (Py_ssize_t)stats.bytes, "limit",
                         (Py_ssize_t)stats.limit, "states", (Py_ssize_t)stats.states, "hits",
                         (unsigned long long)stats.hits, "misses",
                         (unsigned long long)stats.misses);
}

static PyMethodDef database_methods[] = {
    { "close", database_close, METH_NOARGS, "Close the database for all its instances." },
    { "cache_stats", database_cache_stats, METH_NOARGS, "What the cache of states holds and did." },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef database_getset[] = {
    { "name", database_name, NULL, "The URI without options.", NULL },
    { "read_only", database_read_only, NULL, "Whether it was opened for reading only.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot database_slots[] = {
    { Py_tp_dealloc, database_dealloc },
    { Py_tp_methods, database_methods },
    { Py_tp_getset, database_getset },
    { Py_tp_doc, (void *)"One database: its connections and its cache. Made by open()." },
    { 0, NULL },
};

PyType_Spec database_spec = {
    .name = "mod_pipeline._storage.Database",
    .basicsize = sizeof(database_t),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = database_slots,
};

/* ---- The module ---- */

static int import_exceptions(module_state_t *state)
{
    PyObject *module = PyImport_ImportModule("ZODB.POSException");
    int ok;

    if (!module) {
        return 0;
    }
    state->key_error = PyObject_GetAttrString(module, "POSKeyError");
    state->read_conflict_error = PyObject_GetAttrString(module, "ReadConflictError");
    state->transaction_error = PyObject_GetAttrString(module, "StorageTransactionError");
    state->read_only_error = PyObject_GetAttrString(module, "ReadOnlyError");
    state->storage_error = PyObject_GetAttrString(module, "StorageError");
    ok = state->key_error && state->read_conflict_error && state->transaction_error &&
         state->read_only_error && state->storage_error;
    Py_DECREF(module);
    return ok;
}

/* StorageRetryError is a StorageError that transaction managers try again. */
static int make_retry_error(module_state_t *state, PyObject *module)
{
    PyObject *interfaces = PyImport_ImportModule("transaction.interfaces");
    PyObject *transient = NULL, *bases = NULL;
    int ok = 0;

    if (interfaces) {
        transient = PyObject_GetAttrString(interfaces, "TransientError");
    }
    if (transient) {
        bases = PyTuple_Pack(2, state->storage_error, transient);
    }
    if (bases) {
        state->retry_error = PyErr_NewExceptionWithDoc(
            "mod_pipeline._storage.StorageRetryError",
            "A lock or a connection was not to be had in time; try the transaction again.", bases,
            NULL);
    }
    if (state->retry_error) {
        ok = PyModule_AddObjectRef(module, "StorageRetryError", state->retry_error) == 0;
    }
    Py_XDECREF(bases);
    Py_XDECREF(transient);
    Py_XDECREF(interfaces);
    return ok;
}

static int make_types(module_state_t *state, PyObject *module)
{
    state->database_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &database_spec, NULL);
    state->instance_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &instance_spec, NULL);
    return state->database_type && state->instance_type &&
           PyModule_AddType(module, state->database_type) == 0 &&
           PyModule_AddType(module, state->instance_type) == 0;
}

static int module_exec(PyObject *module)
{
    module_state_t *state = PyModule_GetState(module);

    if (apr_initialize() != APR_SUCCESS) {
        PyErr_SetString(PyExc_ImportError, "APR could not be initialised");
        return -1;
    }
    state->resolve_name = PyUnicode_InternFromString("tryToResolveConflict");
    if (!state->resolve_name || !import_exceptions(state) || !make_retry_error(state, module) ||
        !make_types(state, module)) {
        return -1;
    }
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state_t *state = PyModule_GetState(module);

    Py_VISIT(state->database_type);
    Py_VISIT(state->instance_type);
    Py_VISIT(state->key_error);
    Py_VISIT(state->read_conflict_error);
    Py_VISIT(state->transaction_error);
    Py_VISIT(state->read_only_error);
    Py_VISIT(state->storage_error);
    Py_VISIT(state->retry_error);
    return 0;
}

static int module_clear(PyObject *module)
{
    module_state_t *state = PyModule_GetState(module);

    Py_CLEAR(state->database_type);
    Py_CLEAR(state->instance_type);
    Py_CLEAR(state->key_error);
    Py_CLEAR(state->read_conflict_error);
    Py_CLEAR(state->transaction_error);
    Py_CLEAR(state->read_only_error);
    Py_CLEAR(state->storage_error);
    Py_CLEAR(state->retry_error);
    Py_CLEAR(state->resolve_name);
    return 0;
}

static void module_free(void *module)
{
    (void)module_clear(module);
}

static PyMethodDef module_methods[] = {
    { "open", module_open, METH_O, "Open the database of a URI." },
    { NULL, NULL, 0, NULL },
};

static PyModuleDef_Slot module_slots[] = {
    { Py_mod_exec, module_exec },
    { 0, NULL },
};

PyModuleDef storage_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "mod_pipeline._storage",
    .m_doc = "Object storages: the hot path of mod_pipeline.storage.",
    .m_size = sizeof(module_state_t),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

/* No header declares what the import machinery looks up by name. */
PyMODINIT_FUNC PyInit__storage(void);

PyMODINIT_FUNC PyInit__storage(void)
{
    return PyModuleDef_Init(&storage_module);
}
