/* SPDX-License-Identifier: Apache-2.0 */
/*
 * open_root.c: the stage `open_root`: a connection of the storage's database, and the folder that
 * the site's root stands for.  A worker thread, with the GIL.
 *
 * A storage that does not open is answered with 503, a folder that is missing with 404, and each is
 * logged once, until it has been found again: an operator reads one line, not one for each request.
 */
#include "stages/runner_private.h"

#include <apr_strings.h>
#include <http_log.h>

APLOG_USE_MODULE(pipeline);

/* True the first time that the mount is found in trouble. */
static int open_root_is_new(const stage_run_t *run)
{
    PyObject *troubled = runner_python(run)->publish->troubled;
    PyObject *id = PyLong_FromUnsignedLongLong(run->mount->id);
    int known = id != NULL ? PySet_Contains(troubled, id) : -1;

    if (known == 0) {
        PySet_Add(troubled, id);
    }
    PyErr_Clear();
    Py_XDECREF(id);
    return known == 0;
}

static void open_root_recovered(const stage_run_t *run)
{
    PyObject *troubled = runner_python(run)->publish->troubled;
    PyObject *id;

    if (PySet_GET_SIZE(troubled) == 0) {
        return;
    }
    id = PyLong_FromUnsignedLongLong(run->mount->id);
    if (id != NULL) {
        PySet_Discard(troubled, id);
    }
    PyErr_Clear();
    Py_XDECREF(id);
}

/* With its traceback the first time, then the request's id alone. */
static void open_root_log(stage_run_t *run, const char *label)
{
    const config_storage_t *storage = run->mount->storage;

    if (open_root_is_new(run)) {
        publish_log(runner_python(run), run->work->thread, run->r,
                    apr_psprintf(run->r->pool,
                                 PIPELOGNO(0611) "PipelineStorage %s (%s:%d) cannot be used",
                                 storage->name, storage->place.file, storage->place.line));
        return;
    }
    Py_BEGIN_ALLOW_THREADS
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, run->r,
                  "%s %s [%s]: PipelineStorage %s still cannot be used", run->r->method,
                  run->r->uri, label, storage->name);
    Py_END_ALLOW_THREADS
}

/* The exception that is set is the storage's. Each request tries to open it again. */
static apr_status_t open_root_unavailable(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    const char *label = interp_thread_label(run->work->thread);

    publish_raise(py);
    if (py->retryable) {
        return STAGE_RAISED;
    }
    open_root_log(run, label);
    publish_forget(py);
    run->error_id = label;
    apr_table_setn(run->r->err_headers_out, "Retry-After", RUNNER_RETRY_AFTER);
    return run->api->answer(run, HTTP_SERVICE_UNAVAILABLE, NULL,
                            apr_pstrcat(run->r->pool,
                                        "The storage of this site is not available. "
                                        "The log knows this request as ",
                                        label, ".\n", NULL));
}

static apr_status_t open_root_missing(stage_run_t *run)
{
    const config_mount_t *mount = run->mount;

    PyErr_Clear();
    if (open_root_is_new(run)) {
        Py_BEGIN_ALLOW_THREADS
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, run->r,
                      PIPELOGNO(0610) "%s (%s:%d): the storage %s has no folder %s; "
                                      "the site answers 404 until it has",
                      mount->place.directive, mount->place.file, mount->place.line,
                      mount->storage->name, mount->folder);
        Py_END_ALLOW_THREADS
    }
    return run->api->answer(run, HTTP_NOT_FOUND, NULL, "There is no such site.\n");
}

static apr_status_t open_root_connect(publish_run_t *py, const config_mount_t *mount)
{
    PyObject *database =
        PyObject_CallMethod(py->publish->databases, "get", "s", mount->storage->uri);

    if (database != NULL) {
        py->connection = PyObject_CallMethod(database, "open", NULL);
    }
    if (py->connection != NULL) {
        py->root = PyObject_CallMethod(py->connection, "root", NULL);
    }
    Py_XDECREF(database);
    return py->root != NULL ? APR_SUCCESS : APR_EGENERAL;
}

/* Down the names of a path, by items. NULL with an exception set: KeyError where there is none. */
static PyObject *open_root_walk(PyObject *start, const char *path, apr_pool_t *p)
{
    PyObject *at = Py_NewRef(start);
    char *last = NULL, *name;

    for (name = apr_strtok(apr_pstrdup(p, path), "/", &last); name != NULL && at != NULL;
         name = apr_strtok(NULL, "/", &last)) {
        PyObject *key = PyUnicode_FromString(name);

        Py_SETREF(at, key != NULL ? PyObject_GetItem(at, key) : NULL);
        Py_XDECREF(key);
    }
    return at;
}

static apr_status_t open_root_folder(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    PyObject *folder = open_root_walk(py->root, run->mount->folder, run->r->pool);
    PyObject *done;

    Py_XSETREF(py->root, folder);
    if (folder == NULL && PyErr_ExceptionMatches(PyExc_KeyError) &&
        !PyErr_ExceptionMatches(py->publish->pos_error)) {
        return open_root_missing(run);
    }
    if (folder == NULL) {
        return open_root_unavailable(run);
    }
    open_root_recovered(run);
    done = PyObject_CallMethod(py->request, "begin_traversal", "O", folder);
    Py_XDECREF(done);
    return done != NULL ? APR_SUCCESS : publish_raise(py);
}

static void open_root_close(stage_run_t *run)
{
    publish_run_t *py = runner_python(run);
    PyObject *closed;

    Py_CLEAR(py->target);
    Py_CLEAR(py->root);
    if (py->connection == NULL) {
        return;
    }
    closed = PyObject_CallMethod(py->connection, "close", NULL);
    if (closed == NULL) {
        interp_log_exception(
            run->work->thread, run->r,
            PIPELOGNO(0612) "a connection of the database could not be given back");
    }
    Py_XDECREF(closed);
    Py_CLEAR(py->connection);
}

static apr_status_t open_root_enter(stage_run_t *run)
{
    apr_status_t rv;

    if (open_root_connect(runner_python(run), run->mount) != APR_SUCCESS) {
        rv = open_root_unavailable(run);
    } else {
        rv = open_root_folder(run);
    }
    if (rv != APR_SUCCESS && rv != STAGE_DONE) {
        open_root_close(run);
    }
    return rv;
}

static apr_status_t open_root_exit(stage_run_t *run)
{
    open_root_close(run);
    return APR_SUCCESS;
}

static apr_status_t open_root_error(stage_run_t *run, apr_status_t reason)
{
    open_root_close(run);
    return reason;
}

const stage_actions_t stage_open_root = { "open_root", open_root_enter, open_root_exit,
                                          open_root_error };
