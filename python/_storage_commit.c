/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _storage_commit.c - the methods of Instance that write: the two phases of a commit, and new oids.
 *
 * Called by ZODB's Connection and by whoever copies databases. Invariants:
 *
 *   1. transaction is set exactly while the turn `commit` is taken; it is whom tpc_begin got.
 *   2. The turn `use` is taken for each call only, so that other threads can read between the
 *      phases; tpc_finish keeps it through its callback, so that none can before that has run.
 *
 * The GIL is given up around vote, finish, abort and everything else that waits. Conflicts are
 * resolved by Python, with the database's commit lock held and the GIL taken.
 */
#include "python/_storage.h"

/* Whether this is the transaction under way. Without one, a read-only storage says why. */
static int check_transaction(instance_t *self, PyObject *transaction)
{
    storage_t *storage = self->database ? ((database_t *)self->database)->storage : NULL;

    if (transaction == self->transaction) {
        return 1;
    }
    storage_raise_status(self->state, storage && storage_is_read_only(storage) ? STORAGE_READ_ONLY
                                                                               : STORAGE_PHASE);
    return 0;
}

PyObject *storage_new_oid_method(PyObject *object, PyObject *unused)
{
    instance_t *self = (instance_t *)object;
    storage_oid_t oid;
    PyObject *result;
    apr_status_t rv;

    (void)unused;
    if (!storage_enter(self)) {
        return NULL;
    }
    rv = storage_new_oid_cached(self->conn, &oid);
    if (rv == STORAGE_WOULD_WAIT) {
        Py_BEGIN_ALLOW_THREADS
        rv = storage_new_oid(self->conn, &oid);
        Py_END_ALLOW_THREADS
    }
    result = rv == APR_SUCCESS ? storage_id_bytes(oid) : storage_raise(self, rv, 0);
    storage_leave(self);
    return result;
}

/* ---- Begin ---- */

static int begin(instance_t *self, storage_tid_t tid)
{
    apr_status_t rv;

    if (!storage_enter(self)) {
        return 0;
    }
    rv = storage_begin(self->conn, tid);
    if (rv != APR_SUCCESS) {
        storage_raise(self, rv, 0);
    }
    storage_leave(self);
    return rv == APR_SUCCESS;
}

/* tpc_begin(transaction, tid=None, status=' ') waits while another transaction is under way on
 * this instance. In the thread that began that one it would wait for ever, so it raises. */
PyObject *storage_tpc_begin(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *names)
{
    static const signature_t signature = { "tpc_begin", 1, 3, { "transaction", "tid", "status" } };
    PyObject *arguments[3];
    instance_t *self = (instance_t *)object;
    storage_tid_t tid = 0;

    if (!storage_arguments(&signature, args, nargs, names, arguments) ||
        (arguments[1] && !storage_id_from(arguments[1], 1, &tid))) {
        return NULL;
    }
    if (arguments[0] == self->transaction || turn_mine(&self->commit)) {
        PyErr_SetString(self->state->transaction_error,
                        "tpc_begin while this thread's transaction is under way");
        return NULL;
    }
    if (storage_refuse_wait(self, &self->commit)) {
        return NULL;
    }
    turn_take(&self->commit);
    if (!begin(self, tid)) {
        turn_give(&self->commit);
        return NULL;
    }
    self->transaction = Py_NewRef(arguments[0]);
    Py_RETURN_NONE;
}

/* ---- Store ---- */

static PyObject *store(instance_t *self, storage_oid_t oid, storage_tid_t serial,
                       const Py_buffer *data)
{
    PyObject *result;
    apr_status_t rv;

    if (!storage_enter(self)) {
        return NULL;
    }
    rv = storage_store(self->conn, oid, serial, data->buf, (apr_size_t)data->len);
    result = rv == APR_SUCCESS ? Py_NewRef(Py_None) : storage_raise(self, rv, oid);
    storage_leave(self);
    return result;
}

/* store(oid, serial, data, version, transaction) */
PyObject *storage_store_method(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names)
{
    static const signature_t signature = {
        "store", 5, 5, { "oid", "serial", "data", "version", "transaction" }
    };
    PyObject *arguments[5];
    instance_t *self = (instance_t *)object;
    storage_oid_t oid;
    storage_tid_t serial;
    PyObject *result;
    Py_buffer data;

    if (!storage_arguments(&signature, args, nargs, names, arguments) ||
        !check_transaction(self, arguments[4]) || !storage_id_from(arguments[0], 0, &oid) ||
        !storage_id_from(arguments[1], 1, &serial) ||
        PyObject_GetBuffer(arguments[2], &data, PyBUF_SIMPLE) != 0) {
        return NULL;
    }
    result = store(self, oid, serial, &data);
    PyBuffer_Release(&data);
    return result;
}

/* checkCurrentSerialInTransaction(oid, serial, transaction) */
PyObject *storage_check_current(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names)
{
    static const signature_t signature = {
        "checkCurrentSerialInTransaction", 3, 3, { "oid", "serial", "transaction" }
    };
    PyObject *arguments[3];
    instance_t *self = (instance_t *)object;
    storage_oid_t oid;
    storage_tid_t serial;
    PyObject *result;
    apr_status_t rv;

    if (!storage_arguments(&signature, args, nargs, names, arguments) ||
        !check_transaction(self, arguments[2]) || !storage_id_from(arguments[0], 0, &oid) ||
        !storage_id_from(arguments[1], 1, &serial) || !storage_enter(self)) {
        return NULL;
    }
    rv = storage_read_current(self->conn, oid, serial);
    result = rv == APR_SUCCESS ? Py_NewRef(Py_None) : storage_raise(self, rv, oid);
    storage_leave(self);
    return result;
}

/* ---- Vote ---- */

/* Ask tryToResolveConflict for a record that unites both changes; NULL if it raises ConflictError
 * or anything else. */
static PyObject *resolve(instance_t *self, const storage_conflict_t *conflict)
{
    PyObject *args[6] = { (PyObject *)self, NULL, NULL, NULL, NULL, NULL };
    PyObject *record = NULL;
    int i, complete = 1;

    args[1] = storage_id_bytes(conflict->oid);
    args[2] = storage_id_bytes(conflict->committed_tid);
    args[3] = storage_id_bytes(conflict->serial);
    args[4] = PyBytes_FromStringAndSize(conflict->data, (Py_ssize_t)conflict->size);
    args[5] = PyBytes_FromStringAndSize(storage_state_data(conflict->committed),
                                        (Py_ssize_t)storage_state_size(conflict->committed));
    for (i = 1; i < 6; i++) {
        complete = complete && args[i];
    }
    if (complete) {
        record = PyObject_VectorcallMethod(self->state->resolve_name, args, 6, NULL);
    }
    for (i = 1; i < 6; i++) {
        Py_XDECREF(args[i]);
    }
    return record;
}

static int replace(instance_t *self, storage_oid_t oid, PyObject *record)
{
    PyObject *oid_bytes = NULL;
    apr_status_t rv;
    int ok = 0;

    if (!PyBytes_Check(record)) {
        PyErr_Format(PyExc_TypeError, "a resolved record must be bytes, not %.100s",
                     Py_TYPE(record)->tp_name);
        return 0;
    }
    rv = storage_replace(self->conn, oid, PyBytes_AS_STRING(record),
                         (apr_size_t)PyBytes_GET_SIZE(record));
    if (rv != APR_SUCCESS) {
        storage_raise(self, rv, oid);
        return 0;
    }
    oid_bytes = storage_id_bytes(oid);
    if (oid_bytes && !self->resolved) {
        self->resolved = PyList_New(0);
    }
    ok = oid_bytes && self->resolved && PyList_Append(self->resolved, oid_bytes) == 0;
    Py_XDECREF(oid_bytes);
    return ok;
}

static int resolve_all(instance_t *self)
{
    const storage_conflict_t *conflicts;
    apr_size_t i, count;
    int ok = 1;

    storage_conflicts(self->conn, &conflicts, &count);
    for (i = 0; i < count && ok; i++) {
        PyObject *record = resolve(self, &conflicts[i]);

        ok = record && replace(self, conflicts[i].oid, record);
        Py_XDECREF(record);
    }
    return ok;
}

static void abort_waiting(instance_t *self)
{
    Py_BEGIN_ALLOW_THREADS
    storage_abort(self->conn);
    Py_END_ALLOW_THREADS
}

/* A failure gives up the locks at once, though the transaction stays until tpc_abort. */
static int vote(instance_t *self)
{
    apr_status_t rv = STORAGE_CONFLICT;
    int ok = 1;

    while (ok && rv == STORAGE_CONFLICT) {
        Py_BEGIN_ALLOW_THREADS
        rv = storage_vote(self->conn);
        Py_END_ALLOW_THREADS
        if (rv == STORAGE_CONFLICT) {
            ok = resolve_all(self);
        }
    }
    if (!ok) {
        abort_waiting(self);
        return 0;
    }
    if (rv != APR_SUCCESS) {
        storage_raise(self, rv, 0);
    }
    return rv == APR_SUCCESS;
}

/* tpc_vote(transaction): the oids whose conflicts were resolved, or None. */
PyObject *storage_tpc_vote(PyObject *object, PyObject *transaction)
{
    instance_t *self = (instance_t *)object;
    PyObject *result = NULL;

    if (!check_transaction(self, transaction) || !storage_enter(self)) {
        return NULL;
    }
    if (vote(self)) {
        result = Py_NewRef(self->resolved ? self->resolved : Py_None);
    }
    storage_leave(self);
    return result;
}

/* ---- Finish and abort ---- */

static PyObject *finish(instance_t *self, PyObject *callback)
{
    PyObject *tid_bytes = NULL, *ignored;
    storage_tid_t tid;
    apr_status_t rv;

    Py_BEGIN_ALLOW_THREADS
    rv = storage_finish(self->conn, &tid);
    Py_END_ALLOW_THREADS
    if (rv != APR_SUCCESS) {
        storage_raise(self, rv, 0);
        abort_waiting(self);
        return NULL;
    }
    tid_bytes = storage_id_bytes(tid);
    if (tid_bytes && callback != Py_None) {
        ignored = PyObject_CallOneArg(callback, tid_bytes);
        if (!ignored) {
            Py_CLEAR(tid_bytes);
        }
        Py_XDECREF(ignored);
    }
    return tid_bytes;
}

/* tpc_finish(transaction, f=None): the tid. */
PyObject *storage_tpc_finish(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *names)
{
    static const signature_t signature = { "tpc_finish", 1, 2, { "transaction", "func" } };
    PyObject *arguments[2];
    instance_t *self = (instance_t *)object;
    PyObject *result;

    if (!storage_arguments(&signature, args, nargs, names, arguments) ||
        !check_transaction(self, arguments[0]) || !storage_enter(self)) {
        return NULL;
    }
    result = finish(self, arguments[1] ? arguments[1] : Py_None);
    storage_end_transaction(self);
    storage_leave(self);
    return result;
}

/* tpc_abort(transaction) ignores every other transaction. */
PyObject *storage_tpc_abort(PyObject *object, PyObject *transaction)
{
    instance_t *self = (instance_t *)object;

    if (transaction != self->transaction) {
        Py_RETURN_NONE;
    }
    if (!storage_enter(self)) {
        return NULL;
    }
    abort_waiting(self);
    storage_end_transaction(self);
    storage_leave(self);
    Py_RETURN_NONE;
}

PyObject *storage_tpc_transaction(PyObject *object, PyObject *unused)
{
    instance_t *self = (instance_t *)object;

    (void)unused;
    return Py_NewRef(self->transaction ? self->transaction : Py_None);
}
