/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_process.c: starts and stops the interpreter of a daemon process, and its workers' part of
 * it.
 *
 * The daemon drives it through pipeline_interp_api (mod_pipeline.h). Its main thread calls start
 * and stop; each worker calls thread_start, handle for each request, and thread_stop. A worker has
 * one Python thread state, made once, so that a request costs one take and one release of the GIL.
 *
 * States: start --> RUNNING (no thread of ours holds the GIL between requests) --> stop.
 */
#include "python/interp_private.h"

#include <apr_file_info.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <stdlib.h>

#include "stages/runner.h"

APLOG_USE_MODULE(pipeline);

#define PROCESS_STRING_(x) #x
#define PROCESS_STRING(x)  PROCESS_STRING_(x)
#define PROCESS_PYTHON \
    "python" PROCESS_STRING(PY_MAJOR_VERSION) "." PROCESS_STRING(PY_MINOR_VERSION)

/* sys.argv[0], which programs show in their messages. */
#define PROCESS_ARGV0 "mod_pipeline"

/* Under this name the interpreter's own dict holds the interp_t. */
#define PROCESS_CAPSULE "mod_pipeline.interp"

/* ---- Access ---------------------------------------------------------------------------------- */

interp_t *interp_of(const interp_thread_t *thread)
{
    return thread->interp;
}

const config_group_t *interp_group(const interp_t *interp)
{
    return interp->group;
}

interp_thread_t *interp_starter(const interp_t *interp)
{
    return interp->starter;
}

/* ---- Configuration of the interpreter -------------------------------------------------------- */

/* A daemon's locale is its own: httpd's environment does not decide what an application sees. */
static int process_locale(const char *lang)
{
    const char *charset = strchr(lang, '.');

    unsetenv("LC_ALL");
    unsetenv("LC_CTYPE");
    setenv("LANG", lang, 1);
    return !charset || !strcasecmp(charset, ".UTF-8") || !strcasecmp(charset, ".UTF8");
}

static PyStatus process_preinitialise(const config_group_t *group)
{
    PyPreConfig config;

    PyPreConfig_InitIsolatedConfig(&config);
    config.configure_locale = 1;
    config.utf8_mode = process_locale(group->lang ? group->lang : "C.UTF-8");
    return Py_PreInitialize(&config);
}

static int process_exists(const char *path, apr_filetype_e type, apr_pool_t *p)
{
    apr_finfo_t info;

    return apr_stat(&info, path, APR_FINFO_TYPE, p) == APR_SUCCESS && info.filetype == type;
}

/*
 * python-home is a virtual environment or a prefix, of this interpreter's version. NULL: it is
 * good.
 */
static const char *process_home_wrong(const char *home, apr_pool_t *p)
{
    const char *library = apr_pstrcat(p, home, "/lib/" PROCESS_PYTHON, NULL);

    if (!process_exists(home, APR_DIR, p)) {
        return "no such folder, or the daemon's user may not enter it";
    }
    if (!process_exists(library, APR_DIR, p)) {
        return "it has no lib/" PROCESS_PYTHON ": not an environment of this interpreter's version";
    }
    return NULL;
}

static PyStatus process_home(PyConfig *config, const char *home, apr_pool_t *p)
{
    const char *executable = apr_pstrcat(p, home, "/bin/python3", NULL);
    PyStatus status = PyConfig_SetBytesString(config, &config->executable, executable);

    if (PyStatus_Exception(status) ||
        process_exists(apr_pstrcat(p, home, "/pyvenv.cfg", NULL), APR_REG, p)) {
        return status;
    }
    return PyConfig_SetBytesString(config, &config->home, home);
}

static PyStatus process_initialise(const config_group_t *group, apr_pool_t *p)
{
    wchar_t argv0[] = L"" PROCESS_ARGV0;
    wchar_t *argv[] = { argv0 };
    PyConfig config;
    PyStatus status = process_preinitialise(group);

    if (PyStatus_Exception(status)) {
        return status;
    }
    PyConfig_InitIsolatedConfig(&config);
    status = PyConfig_SetArgv(&config, 1, argv);
    if (!PyStatus_Exception(status)) {
        status = PyConfig_SetBytesString(&config, &config.program_name, PROCESS_PYTHON);
    }
    if (!PyStatus_Exception(status) && group->python_home) {
        status = process_home(&config, group->python_home, p);
    }
    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }
    PyConfig_Clear(&config);
    return status;
}

/* Without python-home the program is looked for in PATH, where another Python may come first. */
static int process_executable(const interp_t *interp)
{
    PyObject *prefix = PySys_GetObject("base_exec_prefix");
    PyObject *path;
    int failed;

    if (interp->group->python_home || !prefix) {
        return 0;
    }
    path = PyUnicode_FromFormat("%U/bin/" PROCESS_PYTHON, prefix);
    failed =
        !path || PySys_SetObject("executable", path) || PySys_SetObject("_base_executable", path);
    Py_XDECREF(path);
    return failed;
}

/* ---- What the interpreter needs of its own --------------------------------------------------- */

/* module.name, or NULL with an exception. */
static PyObject *process_import(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    PyObject *found = imported ? PyObject_GetAttrString(imported, name) : NULL;

    Py_XDECREF(imported);
    return found;
}

static int process_types(interp_t *interp)
{
    return !(interp->input_type = interp_input_type()) ||
           !(interp->response_type = interp_response_type()) ||
           !(interp->file_type = interp_file_type()) ||
           !(interp->stream_type = interp_stream_type());
}

/* threading is imported here so that it takes this thread for the main one. */
static int process_imports(interp_t *interp)
{
    PyObject *threading = PyImport_ImportModule("threading");

    Py_XDECREF(threading);
    return !threading ||
           !(interp->format_exception = process_import("traceback", "format_exception")) ||
           !(interp->file_io = process_import("io", "FileIO")) ||
           !(interp->buffered_reader = process_import("io", "BufferedReader")) ||
           !(interp->buffered_random = process_import("io", "BufferedRandom")) ||
           !(interp->targets = PyDict_New());
}

/* Code that has no thread at hand finds the interpreter's struct in the interpreter. */
static int process_publish(interp_t *interp)
{
    PyObject *shared = PyInterpreterState_GetDict(PyInterpreterState_Get());
    PyObject *capsule = PyCapsule_New(interp, PROCESS_CAPSULE, NULL);
    int failed = !shared || !capsule || PyDict_SetItemString(shared, PROCESS_CAPSULE, capsule);

    Py_XDECREF(capsule);
    return failed;
}

interp_t *interp_here(void)
{
    PyObject *shared = PyInterpreterState_GetDict(PyInterpreterState_Get());
    PyObject *capsule = shared ? PyDict_GetItemString(shared, PROCESS_CAPSULE) : NULL;

    return capsule ? PyCapsule_GetPointer(capsule, PROCESS_CAPSULE) : NULL;
}

static apr_status_t process_prepare(interp_t *interp)
{
    if (process_publish(interp) || process_types(interp) || process_imports(interp) ||
        process_executable(interp) || interp_log_redirect(interp) != APR_SUCCESS ||
        interp_environ_start(interp) != APR_SUCCESS || interp_load_path(interp) != APR_SUCCESS) {
        interp_log_exception(interp->starter, NULL,
                             PIPELOGNO(0502) "the interpreter could not be prepared");
        return APR_EINIT;
    }
    return APR_SUCCESS;
}

static interp_thread_t *process_thread(interp_t *interp, int index, PyThreadState *state,
                                       apr_pool_t *p)
{
    interp_thread_t *thread = apr_pcalloc(p, sizeof(*thread));

    thread->interp = interp;
    thread->index = index;
    thread->state = state;
    pthread_mutex_init(&thread->lock, NULL);
    PyThread_tss_set(&interp->current, thread);
    return thread;
}

/* Starts Python itself. Returns with the GIL. */
static apr_status_t process_python(interp_t *interp)
{
    const config_group_t *group = interp->group;
    const char *wrong =
        group->python_home ? process_home_wrong(group->python_home, interp->pool) : NULL;
    PyStatus status;

    if (wrong) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, interp->server,
                     PIPELOGNO(0501) "group %s: python-home %s: %s", group->name,
                     group->python_home, wrong);
        return APR_EINIT;
    }
    status = process_initialise(group, interp->pool);
    if (PyStatus_Exception(status)) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, interp->server,
                     PIPELOGNO(0500) "group %s: Python %s did not start: %s", group->name,
                     PY_VERSION, status.err_msg ? status.err_msg : "it asked to exit");
        return APR_EINIT;
    }
    return APR_SUCCESS;
}

/* Applications that cannot be loaded are no reason not to serve the others. */
static apr_status_t process_load(interp_t *interp)
{
    apr_status_t loaded = interp_load_mounts(interp);
    apr_status_t rv = loaded;

    if (loaded == APR_SUCCESS || loaded == APR_INCOMPLETE) {
        rv = runner_start(interp, &interp->runner, interp->pool);
    }
    return rv == APR_SUCCESS ? loaded : rv;
}

static apr_status_t process_start(const config_group_t *group, void **result, apr_pool_t *pchild)
{
    interp_t *interp = apr_pcalloc(pchild, sizeof(*interp));
    apr_status_t rv;

    *result = interp;
    interp->group = group;
    interp->pool = pchild;
    interp->server = ap_server_conf;
    interp->mounts = apr_hash_make(pchild);
    if (PyThread_tss_create(&interp->current)) {
        return APR_EINIT;
    }
    rv = process_python(interp);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    interp->starter = process_thread(interp, -1, PyThreadState_Get(), pchild);
    rv = process_prepare(interp);
    if (rv == APR_SUCCESS) {
        rv = process_load(interp);
    }
    interp->main_state = PyEval_SaveThread();
    return rv;
}

/* ---- Workers --------------------------------------------------------------------------------- */

static apr_status_t process_thread_start(void *object, int index, void **thread, apr_pool_t *p)
{
    interp_t *interp = object;
    PyThreadState *state = PyThreadState_New(interp->main_state->interp);

    *thread = NULL;
    if (!state) {
        return APR_ENOMEM;
    }
    *thread = process_thread(interp, index, state, p);
    return APR_SUCCESS;
}

void interp_gil_take(interp_thread_t *thread)
{
    PyEval_RestoreThread(thread->state);
}

void interp_gil_release(interp_thread_t *thread)
{
    thread->state = PyEval_SaveThread();
}

void interp_thread_begin(interp_thread_t *thread, request_rec *r, daemon_exchange_t *x)
{
    thread->r = r;
    thread->x = x;
    thread->fault = INTERP_FAULT_NONE;
    thread->gathered = 0;
    thread->gone = 0;
    thread->ended = 0;
}

/* The exchange may be in use by a thread of the application, which then sees that it is gone. */
static void process_forget_exchange(interp_thread_t *thread)
{
    if (pthread_mutex_trylock(&thread->lock)) {
        Py_BEGIN_ALLOW_THREADS
        pthread_mutex_lock(&thread->lock);
        Py_END_ALLOW_THREADS
    }
    thread->x = NULL;
    pthread_mutex_unlock(&thread->lock);
}

void interp_thread_end(interp_thread_t *thread)
{
    interp_log_flush(thread);
    process_forget_exchange(thread);
    if (thread->input) {
        interp_input_end(thread->input);
        Py_CLEAR(thread->input);
    }
    thread->r = NULL;
}

int interp_thread_sent(const interp_thread_t *thread)
{
    return thread->ended || daemon_exchange_sent(thread->x);
}

/* The daemon gives each request one: that under which httpd has logged, or its own. */
const char *interp_thread_label(const interp_thread_t *thread)
{
    return thread->r->log_id ? thread->r->log_id : "-";
}

static void process_handle(void *object, request_rec *r, daemon_exchange_t *x)
{
    interp_thread_t *thread = object;

    interp_thread_begin(thread, r, x);
    runner_run(thread->interp->runner, thread, r, x);
    if (thread->r) { /* answered before the stage `interp`, which ends it while it has the GIL */
        interp_gil_take(thread);
        interp_thread_end(thread);
        interp_gil_release(thread);
    }
}

static void process_lines_free(interp_thread_t *thread)
{
    int i;

    for (i = 0; i < INTERP_STREAM_COUNT; i++) {
        PyMem_RawFree(thread->lines[i].data);
        memset(&thread->lines[i], 0, sizeof(thread->lines[i]));
    }
}

static void process_thread_stop(void *object)
{
    interp_thread_t *thread = object;

    PyEval_RestoreThread(thread->state);
    PyThreadState_Clear(thread->state);
    PyThread_tss_set(&thread->interp->current, NULL);
    process_lines_free(thread);
    PyThreadState_DeleteCurrent();
    thread->state = NULL;
}

/* ---- Stop ------------------------------------------------------------------------------------ */

static void process_drop_mounts(interp_t *interp)
{
    apr_hash_index_t *i;
    interp_mount_t *mount;
    void *value;

    for (i = apr_hash_first(interp->pool, interp->mounts); i; i = apr_hash_next(i)) {
        apr_hash_this(i, NULL, NULL, &value);
        mount = value;
        Py_CLEAR(mount->application);
        Py_CLEAR(mount->environ);
    }
}

static void process_drop_objects(interp_t *interp)
{
    int i;

    process_drop_mounts(interp);
    interp_environ_stop(interp);
    for (i = 0; i < INTERP_STREAM_COUNT; i++) {
        Py_CLEAR(interp->streams[i]); /* sys.stderr and sys.stdout keep theirs */
    }
    Py_CLEAR(interp->targets);
    Py_CLEAR(interp->format_exception);
    Py_CLEAR(interp->file_io);
    Py_CLEAR(interp->buffered_reader);
    Py_CLEAR(interp->buffered_random);
    Py_CLEAR(interp->input_type);
    Py_CLEAR(interp->response_type);
    Py_CLEAR(interp->file_type);
    Py_CLEAR(interp->stream_type);
}

/* Py_FinalizeEx() joins the threads that are left and runs the atexit handlers. */
static void process_stop(void *object)
{
    interp_t *interp = object;
    int failed;

    if (!interp->main_state) {
        return;
    }
    PyEval_RestoreThread(interp->main_state);
    interp_log_flush(interp->starter);
    if (interp->runner) {
        runner_stop(interp->runner);
    }
    process_drop_objects(interp);
    failed = Py_FinalizeEx();
    interp->main_state = NULL;
    process_lines_free(interp->starter);
    if (failed) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, interp->server,
                     PIPELOGNO(0530) "group %s: the interpreter did not end cleanly",
                     interp->group->name);
    }
    PyThread_tss_delete(&interp->current);
}

extern const pipeline_interp_api_t pipeline_interp_api;

PIPELINE_EXPORT const pipeline_interp_api_t pipeline_interp_api = {
    .abi = PIPELINE_ABI,
    .start = process_start,
    .thread_start = process_thread_start,
    .handle = process_handle,
    .thread_stop = process_thread_stop,
    .stop = process_stop,
};
