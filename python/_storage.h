/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _storage.h - what the files of the extension mod_pipeline._storage share.
 *
 * Private to python/_storage*.c, which are compiled into the extension together with storage/.
 * Everything here is called with the GIL held.
 */
#ifndef PIPELINE_PYTHON_STORAGE_H
#define PIPELINE_PYTHON_STORAGE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "python/_storage_turn.h"
#include "storage/storage.h"

/* The state of one import of the module. */
typedef struct module_state_t {
    PyTypeObject *database_type; /* owned */
    PyTypeObject *instance_type; /* owned */

    /* Owned exceptions: ZODB's, and the one of our own for what may be tried again. */
    PyObject *key_error, *read_conflict_error, *transaction_error, *read_only_error;
    PyObject *storage_error, *retry_error;

    PyObject *resolve_name; /* owned: "tryToResolveConflict" */
} module_state_t;

/* A storage_t: made by open(), shared by its instances. */
typedef struct database_t {
    PyObject_HEAD
    module_state_t *state; /* borrowed: the type holds the module */
    storage_t *storage;    /* owned; NULL once closed */
} database_t;

/* A storage_conn_t, with what makes it safe to share between Python's threads. */
typedef struct instance_t {
    PyObject_HEAD
    module_state_t *state; /* borrowed: the type holds the module */
    PyObject *database;    /* owned */
    storage_conn_t *conn;  /* owned; NULL once released */
    turn_t use;            /* taken by whoever uses conn */
    turn_t commit;         /* taken from tpc_begin to the end of that transaction */
    PyObject *transaction; /* owned: the one that tpc_begin got; NULL outside */
    PyObject *resolved;    /* owned: a list of oids whose conflicts were resolved, or NULL */
} instance_t;

extern PyModuleDef storage_module;
extern PyType_Spec database_spec, instance_spec;

/* The arguments of a method, for storage_arguments(). */
typedef struct signature_t {
    const char *function;
    Py_ssize_t least, most;
    const char *names[5];
} signature_t;

/* Sort a vectorcall's arguments into values, which holds signature->most; those not given become
 * NULL. False with a TypeError. The values are borrowed. */
int storage_arguments(const signature_t *signature, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *names, PyObject **values);

/* The methods of an instance that write, in _storage_commit.c. */
PyObject *storage_new_oid_method(PyObject *object, PyObject *unused);
PyObject *storage_tpc_begin(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *names);
PyObject *storage_store_method(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names);
PyObject *storage_check_current(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *names);
PyObject *storage_tpc_vote(PyObject *object, PyObject *transaction);
PyObject *storage_tpc_finish(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *names);
PyObject *storage_tpc_abort(PyObject *object, PyObject *transaction);
PyObject *storage_tpc_transaction(PyObject *object, PyObject *unused);

/* Raise what belongs to a status that the library has just answered on this instance, with its
 * message; returns NULL. oid: for STORAGE_MISSING. The instance has been entered. */
PyObject *storage_raise(instance_t *self, apr_status_t rv, storage_oid_t oid);

/* The same with the status's own sentence, for what the extension itself refuses: the instance's
 * message may be that of an older failure, or in another thread's hands. Needs no entering. */
PyObject *storage_raise_status(const module_state_t *state, apr_status_t rv);

/* True, with an exception set, if waiting for the turn would never end: whoever had it in the
 * parent is not there to give it up in a child. */
int storage_refuse_wait(instance_t *self, const turn_t *turn);

/* Begin and end the use of an instance, waiting without the GIL for another thread's to end.
 * Entering fails, with an exception set, if the instance is released. */
int storage_enter(instance_t *self);
void storage_leave(instance_t *self);

/* Give up the transaction that tpc_begin got, and let the next one begin. */
void storage_end_transaction(instance_t *self);

/* Eight big-endian bytes and back. The second fails with an exception; *pid is 0 then. None stands
 * for 0 if none_allowed. */
PyObject *storage_id_bytes(apr_uint64_t id);
int storage_id_from(PyObject *bytes, int none_allowed, apr_uint64_t *pid);

/* The record of a state as bytes; releases the state. */
PyObject *storage_state_bytes(storage_state_t *state);

#endif
