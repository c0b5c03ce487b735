/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _storage_instance.c - the type Instance: reading, polling and iterating through one MVCC view.
 *
 * The base of mod_pipeline.storage.PipelineStorage. ZODB's Connection uses its instance from one
 * thread at a time, but the database's own instance is shared, so each use takes a turn. Methods
 * run with the GIL held, and give it up around every call of the library that waits; a load that
 * the cache answers does not wait.
 */
#include "python/_storage.h"

#include <string.h>

/* ---- Life ---- */

int storage_refuse_wait(instance_t *self, const turn_t *turn)
{
    if (turn->depth > 0 && self->conn && storage_conn_forked(self->conn)) {
        storage_raise_status(self->state, STORAGE_FORKED);
        return 1;
    }
    return 0;
}

int storage_enter(instance_t *self)
{
    if (storage_refuse_wait(self, &self->use)) {
        return 0;
    }
    turn_take(&self->use);
    if (!self->conn) {
        turn_give(&self->use);
        PyErr_SetString(self->state->storage_error, "this storage instance has been released");
        return 0;
    }
    return 1;
}

void storage_leave(instance_t *self)
{
    turn_give(&self->use);
}

static PyObject *instance_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *module = PyType_GetModuleByDef(type, &storage_module);
    instance_t *self;

    (void)args;
    (void)kwargs;
    if (!module) {
        return NULL;
    }
    self = (instance_t *)type->tp_alloc(type, 0);
    if (self) {
        self->state = PyModule_GetState(module);
        turn_init(&self->use);
        turn_init(&self->commit);
    }
    return (PyObject *)self;
}

static int instance_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    instance_t *self = (instance_t *)object;
    PyObject *database = NULL;
    storage_t *storage;
    apr_status_t rv = STORAGE_CLOSED;

    if (kwargs && PyDict_GET_SIZE(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "Instance() takes no keyword arguments");
        return -1;
    }
    if (!PyArg_ParseTuple(args, "O!:Instance", self->state->database_type, &database)) {
        return -1;
    }
    if (self->conn) {
        PyErr_SetString(PyExc_TypeError, "an Instance is initialised once");
        return -1;
    }
    storage = ((database_t *)database)->storage;
    if (storage) {
        rv = storage_conn_create(&self->conn, storage);
    }
    if (rv != APR_SUCCESS) {
        storage_raise_status(self->state, rv);
        return -1;
    }
    Py_XSETREF(self->database, Py_NewRef(database));
    return 0;
}

void storage_end_transaction(instance_t *self)
{
    if (self->transaction) {
        Py_CLEAR(self->transaction);
        Py_CLEAR(self->resolved);
        turn_give(&self->commit);
    }
}

static void release_conn(instance_t *self)
{
    storage_conn_t *conn = self->conn;

    self->conn = NULL;
    Py_BEGIN_ALLOW_THREADS
    storage_conn_release(conn);
    Py_END_ALLOW_THREADS
}

static int instance_traverse(PyObject *object, visitproc visit, void *arg)
{
    instance_t *self = (instance_t *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->database);
    Py_VISIT(self->transaction);
    Py_VISIT(self->resolved);
    return 0;
}

static int instance_clear(PyObject *object)
{
    instance_t *self = (instance_t *)object;

    Py_CLEAR(self->transaction);
    Py_CLEAR(self->resolved);
    return 0;
}

static void instance_dealloc(PyObject *object)
{
    instance_t *self = (instance_t *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    release_conn(self);
    (void)instance_clear(object);
    Py_CLEAR(self->database);
    turn_destroy(&self->use);
    turn_destroy(&self->commit);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *instance_release(PyObject *object, PyObject *unused)
{
    instance_t *self = (instance_t *)object;

    (void)unused;
    if (self->conn && storage_enter(self)) {
        release_conn(self);
        storage_end_transaction(self);
        storage_leave(self);
    }
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* ---- Reading ---- */

/* The current state of oid, NULL with an exception set. */
static storage_state_t *load_state(instance_t *self, storage_oid_t oid)
{
    storage_state_t *state;
    apr_status_t rv;

    if (!storage_enter(self)) {
        return NULL;
    }
    rv = storage_load_cached(self->conn, oid, &state);
    if (rv == STORAGE_WOULD_WAIT) {
        Py_BEGIN_ALLOW_THREADS
        rv = storage_load(self->conn, oid, &state);
        Py_END_ALLOW_THREADS
    }
    if (rv != APR_SUCCESS) {
        storage_raise(self, rv, oid);
    }
    storage_leave(self);
    return state;
}

static PyObject *steal_pair(PyObject *a, PyObject *b)
{
    PyObject *pair = a && b ? PyTuple_New(2) : NULL;

    if (!pair) {
        Py_XDECREF(a);
        Py_XDECREF(b);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, a);
    PyTuple_SET_ITEM(pair, 1, b);
    return pair;
}

static PyObject *instance_load(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names)
{
    static const signature_t signature = { "load", 1, 2, { "oid", "version" } };
    PyObject *arguments[2];
    instance_t *self = (instance_t *)object;
    storage_state_t *state;
    storage_oid_t oid;
    PyObject *tid;

    if (!storage_arguments(&signature, args, nargs, names, arguments) ||
        !storage_id_from(arguments[0], 0, &oid)) {
        return NULL;
    }
    state = load_state(self, oid);
    if (!state) {
        return NULL;
    }
    tid = storage_id_bytes(storage_state_tid(state));
    return steal_pair(storage_state_bytes(state), tid);
}

static PyObject *instance_get_tid(PyObject *object, PyObject *arg)
{
    storage_state_t *state;
    storage_oid_t oid;
    PyObject *tid;

    if (!storage_id_from(arg, 0, &oid)) {
        return NULL;
    }
    state = load_state((instance_t *)object, oid);
    if (!state) {
        return NULL;
    }
    tid = storage_id_bytes(storage_state_tid(state));
    storage_state_release(state);
    return tid;
}

static PyObject *revision(storage_state_t *state, storage_tid_t next)
{
    PyObject *tid = storage_id_bytes(storage_state_tid(state));
    PyObject *end = next ? storage_id_bytes(next) : Py_NewRef(Py_None);
    PyObject *data = storage_state_bytes(state);

    if (!data || !tid || !end) {
        Py_XDECREF(data);
        Py_XDECREF(tid);
        Py_XDECREF(end);
        return NULL;
    }
    return Py_BuildValue("(NNN)", data, tid, end);
}

static PyObject *instance_load_before(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *names)
{
    static const signature_t signature = { "loadBefore", 2, 2, { "oid", "tid" } };
    PyObject *arguments[2];
    instance_t *self = (instance_t *)object;
    storage_state_t *state;
    storage_tid_t before, next;
    storage_oid_t oid;
    apr_status_t rv;

    if (!storage_arguments(&signature, args, nargs, names, arguments) ||
        !storage_id_from(arguments[0], 0, &oid) || !storage_id_from(arguments[1], 0, &before) ||
        !storage_enter(self)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    rv = storage_load_before(self->conn, oid, before, &state, &next);
    Py_END_ALLOW_THREADS
    if (rv != APR_SUCCESS) {
        storage_raise(self, rv, oid);
    }
    storage_leave(self);
    if (rv != APR_SUCCESS) {
        return NULL;
    }
    return state ? revision(state, next) : Py_NewRef(Py_None);
}

static PyObject *instance_load_serial(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *names)
{
    static const signature_t signature = { "loadSerial", 2, 2, { "oid", "serial" } };
    PyObject *arguments[2];
    instance_t *self = (instance_t *)object;
    storage_state_t *state;
    storage_oid_t oid;
    storage_tid_t tid;
    apr_status_t rv;

    if (!storage_arguments(&signature, args, nargs, names, arguments) ||
        !storage_id_from(arguments[0], 0, &oid) || !storage_id_from(arguments[1], 1, &tid) ||
        !storage_enter(self)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    rv = storage_load_serial(self->conn, oid, tid, &state);
    Py_END_ALLOW_THREADS
    if (rv != APR_SUCCESS) {
        storage_raise(self, rv, oid);
    }
    storage_leave(self);
    return rv == APR_SUCCESS ? storage_state_bytes(state) : NULL;
}

/* The oids of a sequence in memory of the caller's to PyMem_Free(); NULL with an exception. */
static storage_oid_t *oids_from(PyObject *sequence, apr_size_t *pcount)
{
    Py_ssize_t i, count = PySequence_Fast_GET_SIZE(sequence);
    storage_oid_t *oids = PyMem_New(storage_oid_t, count ? count : 1);

    *pcount = (apr_size_t)count;
    if (!oids) {
        PyErr_NoMemory();
        return NULL;
    }
    for (i = 0; i < count; i++) {
        if (!storage_id_from(PySequence_Fast_GET_ITEM(sequence, i), 0, &oids[i])) {
            PyMem_Free(oids);
            return NULL;
        }
    }
    return oids;
}

static PyObject *instance_prefetch(PyObject *object, PyObject *arg)
{
    instance_t *self = (instance_t *)object;
    PyObject *sequence = PySequence_Fast(arg, "prefetch() takes an iterable of oids");
    storage_oid_t *oids = NULL;
    PyObject *result = NULL;
    apr_size_t count;
    apr_status_t rv;

    if (sequence) {
        oids = oids_from(sequence, &count);
    }
    if (oids && storage_enter(self)) {
        Py_BEGIN_ALLOW_THREADS
        rv = storage_prefetch(self->conn, oids, count);
        Py_END_ALLOW_THREADS
        result = rv == APR_SUCCESS ? Py_NewRef(Py_None) : storage_raise(self, rv, 0);
        storage_leave(self);
    }
    PyMem_Free(oids);
    Py_XDECREF(sequence);
    return result;
}

/* ---- Snapshots ---- */

static PyObject *oid_list(const storage_oid_t *oids, apr_size_t count)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    apr_size_t i;

    for (i = 0; list && i < count; i++) {
        PyObject *oid = storage_id_bytes(oids[i]);

        if (!oid) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, oid);
        }
    }
    return list;
}

/* ZODB cannot bear a failure here: the cache is flushed, and the next load raises it. */
static PyObject *instance_poll(PyObject *object, PyObject *unused)
{
    instance_t *self = (instance_t *)object;
    storage_changes_t changes;
    PyObject *result;

    (void)unused;
    if (!storage_enter(self)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    storage_poll(self->conn, &changes);
    Py_END_ALLOW_THREADS
    result = changes.flush_all ? Py_NewRef(Py_None) : oid_list(changes.oids, changes.count);
    storage_leave(self);
    return result;
}

static PyObject *end_snapshot(instance_t *self)
{
    if (!storage_enter(self)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    storage_snapshot_end(self->conn);
    Py_END_ALLOW_THREADS
    storage_leave(self);
    Py_RETURN_NONE;
}

static PyObject *instance_after_completion(PyObject *object, PyObject *unused)
{
    (void)unused;
    return end_snapshot((instance_t *)object);
}

static PyObject *instance_sync(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names)
{
    static const signature_t signature = { "sync", 0, 1, { "force" } };
    PyObject *arguments[1];
    int force = 1;

    if (!storage_arguments(&signature, args, nargs, names, arguments)) {
        return NULL;
    }
    if (arguments[0]) {
        force = PyObject_IsTrue(arguments[0]);
    }
    /* Without force there is nothing to do: the poll that follows begins a new snapshot. */
    return force < 0 ? NULL : force ? end_snapshot((instance_t *)object) : Py_NewRef(Py_None);
}

static PyObject *instance_last_transaction(PyObject *object, PyObject *unused)
{
    instance_t *self = (instance_t *)object;
    PyObject *result;
    storage_tid_t tid;
    apr_status_t rv;

    (void)unused;
    if (!storage_enter(self)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    rv = storage_last_tid(self->conn, &tid);
    Py_END_ALLOW_THREADS
    result = rv == APR_SUCCESS ? storage_id_bytes(tid) : storage_raise(self, rv, 0);
    storage_leave(self);
    return result;
}

/* ---- Iterating ---- */

/* A list of (oid, tid, record); releases the states. */
static PyObject *record_list(storage_state_t **states, apr_size_t count)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    apr_size_t i;

    for (i = 0; i < count; i++) {
        PyObject *item = NULL;

        if (list) {
            PyObject *oid = storage_id_bytes(storage_state_oid(states[i]));
            PyObject *tid = storage_id_bytes(storage_state_tid(states[i]));

            item = Py_BuildValue("(NNy#)", oid, tid, (const char *)storage_state_data(states[i]),
                                 (Py_ssize_t)storage_state_size(states[i]));
        }
        storage_state_release(states[i]);
        if (item) {
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        } else {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* Records or tids by one wait: so many that the wait hardly counts, and so few that their array is
 * on the stack and large records do not fill the memory. */
#define BATCH 256

/* _records(start_oid, tid or None): the next records by oid, at most BATCH of them. */
static PyObject *instance_records(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *names)
{
    static const signature_t signature = { "_records", 2, 2, { "start", "tid" } };
    PyObject *arguments[2];
    instance_t *self = (instance_t *)object;
    storage_state_t *states[BATCH];
    apr_size_t count = 0;
    storage_oid_t start;
    storage_tid_t tid;
    apr_status_t rv;

    if (!storage_arguments(&signature, args, nargs, names, arguments) ||
        !storage_id_from(arguments[0], 0, &start) || !storage_id_from(arguments[1], 1, &tid) ||
        !storage_enter(self)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    rv = tid ? storage_records_of(self->conn, tid, start, BATCH, states, &count)
             : storage_records(self->conn, start, BATCH, states, &count);
    Py_END_ALLOW_THREADS
    if (rv != APR_SUCCESS) {
        storage_raise(self, rv, start);
    }
    storage_leave(self);
    return rv == APR_SUCCESS ? record_list(states, count) : NULL;
}

/* _tids(start, stop): the next tids, at most BATCH of them, both ends included. */
static PyObject *instance_tids(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names)
{
    static const signature_t signature = { "_tids", 2, 2, { "start", "stop" } };
    PyObject *arguments[2];
    instance_t *self = (instance_t *)object;
    storage_tid_t tids[BATCH], start, stop;
    apr_size_t count = 0;
    apr_status_t rv;

    if (!storage_arguments(&signature, args, nargs, names, arguments) ||
        !storage_id_from(arguments[0], 0, &start) || !storage_id_from(arguments[1], 0, &stop) ||
        !storage_enter(self)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    rv = storage_tids(self->conn, start, stop, BATCH, tids, &count);
    Py_END_ALLOW_THREADS
    if (rv != APR_SUCCESS) {
        storage_raise(self, rv, 0);
    }
    storage_leave(self);
    return rv == APR_SUCCESS ? oid_list(tids, count) : NULL;
}

typedef apr_status_t (*number_call_t)(storage_conn_t *conn, apr_uint64_t *pnumber);

static int read_number(instance_t *self, number_call_t call, apr_uint64_t *pnumber)
{
    apr_status_t rv;

    if (!storage_enter(self)) {
        return 0;
    }
    Py_BEGIN_ALLOW_THREADS
    rv = call(self->conn, pnumber);
    Py_END_ALLOW_THREADS
    if (rv != APR_SUCCESS) {
        storage_raise(self, rv, 0);
    }
    storage_leave(self);
    return rv == APR_SUCCESS;
}

static PyObject *instance_get_size(PyObject *object, PyObject *unused)
{
    apr_uint64_t bytes;

    (void)unused;
    return read_number((instance_t *)object, storage_size, &bytes)
               ? PyLong_FromUnsignedLongLong(bytes)
               : NULL;
}

static Py_ssize_t instance_length(PyObject *object)
{
    apr_uint64_t count;

    return read_number((instance_t *)object, storage_count, &count) ? (Py_ssize_t)count : -1;
}

/* ---- The type ---- */

#define FAST(function) ((PyCFunction)(void (*)(void))(function)), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef instance_methods[] = {
    { "load", FAST(instance_load), "load($self, oid, version='')\n--\n\n(record, tid)" },
    { "loadBefore", FAST(instance_load_before),
      "loadBefore($self, oid, tid)\n--\n\n(record, tid, next tid) or None" },
    { "loadSerial", FAST(instance_load_serial),
      "loadSerial($self, oid, serial)\n--\n\nExactly that revision's record." },
    { "getTid", instance_get_tid, METH_O, "getTid($self, oid, /)\n--\n\nThe current tid." },
    { "prefetch", instance_prefetch, METH_O,
      "prefetch($self, oids, /)\n--\n\nBring many objects into the cache with one wait." },
    { "poll_invalidations", instance_poll, METH_NOARGS,
      "poll_invalidations($self)\n--\n\nBegin a snapshot; the oids that changed, None: all." },
    { "sync", FAST(instance_sync), "sync($self, force=True)\n--\n\nEnd the snapshot, if forced." },
    { "afterCompletion", instance_after_completion, METH_NOARGS,
      "afterCompletion($self)\n--\n\nEnd the snapshot." },
    { "lastTransaction", instance_last_transaction, METH_NOARGS,
      "lastTransaction($self)\n--\n\nThe newest tid that can be seen." },
    { "release", instance_release, METH_NOARGS,
      "release($self)\n--\n\nGive back what this instance holds." },
    { "getSize", instance_get_size, METH_NOARGS,
      "getSize($self)\n--\n\nThe size of the database in bytes." },
    { "_records", FAST(instance_records), "_records($self, start, tid)\n--\n\nThe next records." },
    { "_tids", FAST(instance_tids), "_tids($self, start, stop)\n--\n\nThe next tids." },
    { "new_oid", storage_new_oid_method, METH_NOARGS,
      "new_oid($self)\n--\n\nAn oid that nobody else is given." },
    { "tpc_begin", FAST(storage_tpc_begin),
      "tpc_begin($self, transaction, tid=None, status=' ')\n--\n\nBegin a commit." },
    { "store", FAST(storage_store_method),
      "store($self, oid, serial, data, version, transaction)\n--\n\nKeep a state until the vote." },
    { "checkCurrentSerialInTransaction", FAST(storage_check_current),
      "checkCurrentSerialInTransaction($self, oid, serial, transaction)\n--\n\n"
      "Demand that an object is still the same at the vote." },
    { "tpc_vote", storage_tpc_vote, METH_O,
      "tpc_vote($self, transaction, /)\n--\n\nLock, compare, resolve conflicts; resolved oids." },
    { "tpc_finish", FAST(storage_tpc_finish),
      "tpc_finish($self, transaction, func=None)\n--\n\nMake it durable; the tid." },
    { "tpc_abort", storage_tpc_abort, METH_O,
      "tpc_abort($self, transaction, /)\n--\n\nGive the commit up." },
    { "tpc_transaction", storage_tpc_transaction, METH_NOARGS,
      "tpc_transaction($self)\n--\n\nThe one under way, or None." },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot instance_slots[] = {
    { Py_tp_new, instance_new },
    { Py_tp_init, instance_init },
    { Py_tp_dealloc, instance_dealloc },
    { Py_tp_traverse, instance_traverse },
    { Py_tp_clear, instance_clear },
    { Py_tp_methods, instance_methods },
    { Py_sq_length, instance_length },
    { Py_tp_doc, (void *)"One MVCC view of a Database. Base of PipelineStorage." },
    { 0, NULL },
};

PyType_Spec instance_spec = {
    .name = "mod_pipeline._storage.Instance",
    .basicsize = sizeof(instance_t),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = instance_slots,
};
