/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_load.c: finds WSGI applications, and the folders in which to look for them.
 *
 * Called by the main thread of a daemon while it starts, with the GIL; interp_target_load() also by
 * the stages. What fails to load is logged once, with its traceback, under PIPE0503, in the log of
 * the virtual host that asked for it.
 */
#include "python/interp_private.h"

#include <apr_strings.h>
#include <http_log.h>

APLOG_USE_MODULE(pipeline);

/* What a target without ":name" means, as mod_wsgi has it. */
#define LOAD_CALLABLE "application"

/* ---- python-path ----------------------------------------------------------------------------- */

/* Moves the entries of sys.path that were not in it before to its front, in their order. */
static int load_path_to_front(PyObject *path, PyObject *before)
{
    PyObject *front = PyList_New(0);
    PyObject *rest = PyList_New(0);
    PyObject *item;
    Py_ssize_t i;
    int known;
    int failed = !front || !rest;

    for (i = 0; !failed && i < PyList_GET_SIZE(path); i++) {
        item = PyList_GET_ITEM(path, i);
        known = PySequence_Contains(before, item);
        failed = known < 0 || PyList_Append(known ? rest : front, item);
    }
    failed = failed || PyList_SetSlice(front, PY_SSIZE_T_MAX, PY_SSIZE_T_MAX, rest) ||
             PyList_SetSlice(path, 0, PY_SSIZE_T_MAX, front);
    Py_XDECREF(front);
    Py_XDECREF(rest);
    return failed ? -1 : 0;
}

/* As the site module adds a folder of packages: with its .pth files. */
static int load_path_add(PyObject *site, const char *folder)
{
    PyObject *name = PyUnicode_DecodeFSDefault(folder);
    PyObject *added = name ? PyObject_CallMethod(site, "addsitedir", "O", name) : NULL;

    Py_XDECREF(name);
    Py_XDECREF(added);
    return added ? 0 : -1;
}

/* A folder that sys.path has already moves too: taken out first, it counts as new. */
static int load_path_remove(PyObject *path, const char *folder)
{
    PyObject *name = PyUnicode_DecodeFSDefault(folder);
    Py_ssize_t at = name ? PySequence_Index(path, name) : -1;
    int failed = !name || (at >= 0 && PySequence_DelItem(path, at));

    Py_XDECREF(name);
    if (!failed) {
        PyErr_Clear(); /* not in it */
    }
    return failed;
}

apr_status_t interp_load_path(interp_t *interp)
{
    PyObject *path = PySys_GetObject("path");
    PyObject *site = NULL;
    PyObject *before = NULL;
    char *folders;
    char *folder;
    char *last = NULL;
    int failed = 1;

    if (!interp->group->python_path) {
        return APR_SUCCESS;
    }
    site = PyImport_ImportModule("site");
    if (!site || !path || !PyList_Check(path)) {
        goto cleanup;
    }
    folders = apr_pstrdup(interp->pool, interp->group->python_path);
    failed = 0;
    for (folder = apr_strtok(folders, ":", &last); folder && !failed;
         folder = apr_strtok(NULL, ":", &last)) {
        failed = load_path_remove(path, folder);
    }
    before = PyList_GetSlice(path, 0, PY_SSIZE_T_MAX);
    folders = apr_pstrdup(interp->pool, interp->group->python_path);
    for (folder = apr_strtok(folders, ":", &last); folder && !failed && before;
         folder = apr_strtok(NULL, ":", &last)) {
        failed = load_path_add(site, folder);
    }
    failed = failed || !before || load_path_to_front(path, before);

cleanup:
    Py_XDECREF(before);
    Py_XDECREF(site);
    return failed ? APR_EGENERAL : APR_SUCCESS;
}

/* ---- Targets --------------------------------------------------------------------------------- */

/* A name for the module of a file that no other file has: FNV-1a of its path, 64 bits. */
static const char *load_file_module(const char *path, apr_pool_t *p)
{
    apr_uint64_t hash = APR_UINT64_C(14695981039346656037);

    for (; *path; path++) {
        hash = (hash ^ (unsigned char)*path) * APR_UINT64_C(1099511628211);
    }
    return apr_psprintf(p, "_mod_pipeline_%016" APR_UINT64_T_HEX_FMT, hash);
}

/* compile(source, path, "exec"), which heeds the file's coding line. */
static PyObject *load_compile(PyObject *source, PyObject *path)
{
    PyObject *builtins = PyEval_GetBuiltins();
    PyObject *compile = builtins ? PyDict_GetItemString(builtins, "compile") : NULL;

    if (!compile) {
        PyErr_SetString(PyExc_RuntimeError, "compile() is not among the builtins");
        return NULL;
    }
    return PyObject_CallFunction(compile, "OOsii", source, path, "exec", 0, 1);
}

static PyObject *load_source(PyObject *path)
{
    PyObject *io = PyImport_ImportModule("io");
    PyObject *file = io ? PyObject_CallMethod(io, "open", "Os", path, "rb") : NULL;
    PyObject *source = file ? PyObject_CallMethod(file, "read", NULL) : NULL;
    PyObject *closed;

    if (source) {
        closed = PyObject_CallMethod(file, "close", NULL);
        if (!closed) {
            Py_CLEAR(source);
        }
        Py_XDECREF(closed);
    }
    Py_XDECREF(file);
    Py_XDECREF(io);
    return source;
}

/* The module of a file, run once. No byte code is kept: app.wsgi would share that of app.py. */
static PyObject *load_file(const char *file, apr_pool_t *p)
{
    PyObject *name = PyUnicode_FromString(load_file_module(file, p));
    PyObject *path = PyUnicode_DecodeFSDefault(file);
    PyObject *module = name ? PyImport_GetModule(name) : NULL;
    PyObject *source = NULL;
    PyObject *code = NULL;

    if (module || !name || !path || PyErr_Occurred()) {
        goto cleanup;
    }
    source = load_source(path);
    code = source ? load_compile(source, path) : NULL;
    if (code) {
        module = PyImport_ExecCodeModuleObject(name, code, path, NULL);
    }

cleanup:
    Py_XDECREF(code);
    Py_XDECREF(source);
    Py_XDECREF(path);
    Py_XDECREF(name);
    return module;
}

/* Follows "a.b.c" from an object. */
static PyObject *load_attribute(PyObject *object, char *names)
{
    PyObject *found = Py_NewRef(object);
    char *last = NULL;
    char *name;

    for (name = apr_strtok(names, ".", &last); name && found; name = apr_strtok(NULL, ".", &last)) {
        Py_SETREF(found, PyObject_GetAttrString(found, name));
    }
    return found;
}

static PyObject *load_target(const char *target, apr_pool_t *p)
{
    char *where = apr_pstrdup(p, target);
    char *names = strrchr(where, ':');
    PyObject *module;
    PyObject *found;

    if (names) {
        *names++ = '\0';
    }
    module = *where == '/' ? load_file(where, p) : PyImport_ImportModule(where);
    if (!module) {
        return NULL;
    }
    found = load_attribute(module, names && *names ? names : apr_pstrdup(p, LOAD_CALLABLE));
    Py_DECREF(module);
    if (found && !PyCallable_Check(found)) {
        PyErr_Format(PyExc_TypeError, "%s is %.100s, which cannot be called", target,
                     Py_TYPE(found)->tp_name);
        Py_CLEAR(found);
    }
    return found;
}

PyObject *interp_target_load(interp_t *interp, const char *target)
{
    PyObject *found = PyDict_GetItemString(interp->targets, target);
    apr_pool_t *p;

    if (found) {
        return Py_NewRef(found);
    }
    apr_pool_create(&p, interp->pool);
    apr_pool_tag(p, "interp_target_load");
    found = load_target(target, p);
    if (found && PyDict_SetItemString(interp->targets, target, found)) {
        Py_CLEAR(found);
    }
    apr_pool_destroy(p);
    return found;
}

/* ---- Mounts ---------------------------------------------------------------------------------- */

const interp_mount_t *interp_mount_get(const interp_t *interp, const config_mount_t *mount)
{
    return apr_hash_get(interp->mounts, &mount, sizeof(mount));
}

PyObject *interp_application_for(const interp_t *interp, const config_mount_t *mount)
{
    const interp_mount_t *loaded = interp_mount_get(interp, mount);

    return loaded ? loaded->application : NULL;
}

static void load_log(interp_t *interp, const config_mount_t *mount)
{
    const char *prefix =
        apr_psprintf(interp->pool, PIPELOGNO(0503) "%s %s (%s:%d): cannot be loaded",
                     mount->place.directive, mount->target, mount->place.file, mount->place.line);

    interp_log_exception(interp->starter, NULL, prefix);
}

static apr_status_t load_mount(interp_t *interp, const config_mount_t *mount)
{
    interp_mount_t *loaded = apr_pcalloc(interp->pool, sizeof(*loaded));

    loaded->mount = mount;
    loaded->environ = interp_environ_template(interp, mount);
    apr_hash_set(interp->mounts, &loaded->mount, sizeof(loaded->mount), loaded);
    if (loaded->environ && mount->kind == CONFIG_MOUNT_WSGI) {
        loaded->application = interp_target_load(interp, mount->target);
    }
    if (PyErr_Occurred()) {
        load_log(interp, mount);
        return APR_EGENERAL;
    }
    return APR_SUCCESS;
}

apr_status_t interp_load_mounts(interp_t *interp)
{
    const apr_array_header_t *mounts = interp->group->mounts;
    server_rec *server = interp->server;
    const config_mount_t *mount;
    int failed = 0;
    int i;

    for (i = 0; i < mounts->nelts; i++) {
        mount = APR_ARRAY_IDX(mounts, i, const config_mount_t *);
        interp->server = mount->server;
        if (load_mount(interp, mount) != APR_SUCCESS) {
            failed++;
        }
        interp_log_flush(interp->starter);
    }
    interp->server = server;
    if (failed == 0) {
        return APR_SUCCESS;
    }
    return failed < mounts->nelts ? APR_INCOMPLETE : APR_EGENERAL;
}
