/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_publish.c: finds the Python objects that the publishing stages call, and keeps exceptions
 * for them.  Everything holds the GIL; start, load and stop run in the daemon's main thread, the
 * rest in worker threads.
 */
#include "python/interp_publish.h"

#include <apr_strings.h>
#include <http_log.h>

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "python/interp_private.h"

APLOG_USE_MODULE(pipeline);

/* ---- What is looked up once ----------------------------------------------------------------- */

typedef struct publish_name_t {
    const char *module;
    const char *name; /* NULL: the module itself */
    apr_size_t field; /* in publish_t */
} publish_name_t;

#define PUBLISH_FIELD(field) offsetof(publish_t, field)

static const publish_name_t publish_names[] = {
    { "mod_pipeline.publish", NULL, PUBLISH_FIELD(module) },
    { "mod_pipeline.request", "Request", PUBLISH_FIELD(request_type) },
    { "transaction", "manager", PUBLISH_FIELD(manager) },
    { "transaction.interfaces", "TransientError", PUBLISH_FIELD(transient) },
    { "ZODB.POSException", "POSError", PUBLISH_FIELD(pos_error) },
    { "zope.publisher.interfaces", "NotFound", PUBLISH_FIELD(not_found) },
    { "zope.publisher.interfaces", "BadRequest", PUBLISH_FIELD(bad_request) },
    { "zope.location.interfaces", "LocationError", PUBLISH_FIELD(location_error) },
    { "zope.publisher.interfaces", "IPublishTraverse", PUBLISH_FIELD(publish_traverse) },
    { "zope.publisher.interfaces.browser", "IBrowserPublisher", PUBLISH_FIELD(browser_publisher) },
    { "zope.component", "queryMultiAdapter", PUBLISH_FIELD(multi_adapter) },
    { "zope.publisher.defaultview", "queryDefaultViewName", PUBLISH_FIELD(default_view_name) },
    { "zope.traversing.namespace", "nsParse", PUBLISH_FIELD(parse_name) },
    { "zope.traversing.namespace", "namespaceLookup", PUBLISH_FIELD(namespace_lookup) },
};
#define PUBLISH_NAME_COUNT (sizeof publish_names / sizeof *publish_names)

static PyObject **publish_field(publish_t *publish, const publish_name_t *name)
{
    return (PyObject **)(void *)((char *)publish + name->field);
}

static apr_status_t publish_find(publish_t *publish, const publish_name_t *name)
{
    PyObject *module = PyImport_ImportModule(name->module);
    PyObject **field = publish_field(publish, name);

    if (module == NULL) {
        return APR_EGENERAL;
    }
    if (name->name == NULL) {
        *field = module;
        return APR_SUCCESS;
    }
    *field = PyObject_GetAttrString(module, name->name);
    Py_DECREF(module);
    return *field != NULL ? APR_SUCCESS : APR_EGENERAL;
}

/* ---- Start and stop ------------------------------------------------------------------------- */

static int publish_has_text(const apr_array_header_t *texts, const char *text)
{
    int i;

    for (i = 0; i < texts->nelts; ++i) {
        if (strcmp(APR_ARRAY_IDX(texts, i, const char *), text) == 0) {
            return 1;
        }
    }
    return 0;
}

int publish_is_broken(const publish_t *publish, const config_server_t *host)
{
    int i;

    for (i = 0; i < publish->broken->nelts; ++i) {
        if (publish_has_text(host->zcml, APR_ARRAY_IDX(publish->broken, i, const char *))) {
            return 1;
        }
    }
    return 0;
}

/* "a.example (site.conf:3), b.example (site.conf:9)": who needs the file to publish a folder. */
static const char *publish_hosts(const config_group_t *group, const char *file, apr_pool_t *p)
{
    const server_rec *last = NULL;
    const char *hosts = "";
    int i;

    for (i = 0; i < group->mounts->nelts; ++i) {
        const config_mount_t *mount = APR_ARRAY_IDX(group->mounts, i, const config_mount_t *);
        const server_rec *s = mount->server;

        if (mount->kind != CONFIG_MOUNT_ROOT || s == last ||
            !publish_has_text(mount->config->zcml, file)) {
            continue;
        }
        hosts = apr_psprintf(p, "%s%s%s (%s:%d)", hosts, last != NULL ? ", " : "",
                             s->server_hostname != NULL ? s->server_hostname : "*",
                             mount->place.file, mount->place.line);
        last = s;
    }
    return last != NULL ? hosts : "no host";
}

/* error: the exception for which the file could not be loaded. */
static void publish_refuse_file(publish_t *publish, const config_group_t *group, const char *file,
                                PyObject *error, apr_pool_t *pchild)
{
    APR_ARRAY_PUSH(publish->broken, const char *) = file;
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(error)), Py_NewRef(error),
                  PyException_GetTraceback(error));
    interp_log_exception(interp_starter(publish->interp), NULL,
                         apr_psprintf(pchild,
                                      PIPELOGNO(0600) "PipelineZCML %s cannot be loaded; 503 for "
                                                      "the folders of %s",
                                      file, publish_hosts(group, file, pchild)));
}

static apr_status_t publish_configure(publish_t *publish, const config_group_t *group,
                                      apr_pool_t *pchild)
{
    PyObject *files = PyList_New(0), *outcomes = NULL;
    int i;

    for (i = 0; files != NULL && i < group->zcml->nelts; ++i) {
        PyObject *file = PyUnicode_DecodeFSDefault(APR_ARRAY_IDX(group->zcml, i, const char *));

        if (file == NULL || PyList_Append(files, file) != 0) {
            Py_CLEAR(files);
        }
        Py_XDECREF(file);
    }
    if (files != NULL) {
        outcomes = publish_call(publish, "configure", "(O)", files);
    }
    for (i = 0; outcomes != NULL && i < group->zcml->nelts; ++i) {
        PyObject *outcome = PyList_GET_ITEM(outcomes, i);

        if (outcome != Py_None) {
            publish_refuse_file(publish, group, APR_ARRAY_IDX(group->zcml, i, const char *),
                                outcome, pchild);
        }
    }
    Py_XDECREF(files);
    Py_XDECREF(outcomes);
    return outcomes != NULL ? APR_SUCCESS : APR_EGENERAL;
}

/* A storage that does not open now may do so later: its sites say 503 meanwhile, others go on. */
static void publish_open_storages(publish_t *publish, const config_group_t *group, apr_pool_t *p)
{
    int i;

    for (i = 0; i < group->mounts->nelts; ++i) {
        const config_mount_t *mount = APR_ARRAY_IDX(group->mounts, i, const config_mount_t *);
        PyObject *database;

        if (mount->kind != CONFIG_MOUNT_ROOT) {
            continue;
        }
        database = PyObject_CallMethod(publish->databases, "get", "s", mount->storage->uri);
        if (database == NULL) {
            interp_log_exception(interp_starter(publish->interp), NULL,
                                 apr_psprintf(p,
                                              PIPELOGNO(0601) "PipelineStorage %s (%s:%d) does not "
                                                              "open; its sites answer 503 until it "
                                                              "does",
                                              mount->storage->name, mount->storage->place.file,
                                              mount->storage->place.line));
        }
        Py_XDECREF(database);
    }
}

apr_status_t publish_start(interp_t *interp, publish_t **publish, apr_pool_t *pchild)
{
    const config_group_t *group = interp_group(interp);
    publish_t *made = apr_pcalloc(pchild, sizeof *made);
    apr_status_t rv = APR_SUCCESS;
    apr_size_t i;

    *publish = made;
    made->interp = interp;
    made->broken = apr_array_make(pchild, 1, sizeof(const char *));
    for (i = 0; i < PUBLISH_NAME_COUNT && rv == APR_SUCCESS; ++i) {
        rv = publish_find(made, &publish_names[i]);
    }
    if (rv == APR_SUCCESS) {
        rv = publish_configure(made, group, pchild);
    }
    if (rv == APR_SUCCESS) {
        made->databases = publish_call(made, "Databases", "(i)", group->threads);
        made->troubled = PySet_New(NULL);
        rv = made->databases != NULL && made->troubled != NULL ? APR_SUCCESS : APR_EGENERAL;
    }
    if (rv == APR_SUCCESS) {
        publish_open_storages(made, group, pchild);
    }
    return rv;
}

void publish_stop(publish_t *publish)
{
    PyObject *done;
    apr_size_t i;

    if (publish->databases != NULL) {
        done = PyObject_CallMethod(publish->databases, "close", NULL);
        if (done == NULL) {
            interp_log_exception(interp_starter(publish->interp), NULL,
                                 PIPELOGNO(0602) "a storage did not close");
        }
        Py_XDECREF(done);
    }
    Py_CLEAR(publish->databases);
    Py_CLEAR(publish->troubled);
    for (i = 0; i < PUBLISH_NAME_COUNT; ++i) {
        Py_CLEAR(*publish_field(publish, &publish_names[i]));
    }
}

/* ---- Stages written in Python --------------------------------------------------------------- */

static int publish_is_generator(PyObject *callable)
{
    PyObject *inspect = PyImport_ImportModule("inspect"), *answer = NULL;
    int generator = -1;

    if (inspect != NULL) {
        answer = PyObject_CallMethod(inspect, "isgeneratorfunction", "O", callable);
    }
    if (answer != NULL) {
        generator = PyObject_IsTrue(answer);
    }
    Py_XDECREF(answer);
    Py_XDECREF(inspect);
    return generator;
}

static PyObject *publish_params(const apr_table_t *params)
{
    const apr_array_header_t *pairs = apr_table_elts(params);
    PyObject *dict = PyDict_New();
    int i;

    for (i = 0; dict != NULL && i < pairs->nelts; ++i) {
        const apr_table_entry_t *pair = &APR_ARRAY_IDX(pairs, i, const apr_table_entry_t);
        PyObject *value = PyUnicode_DecodeFSDefault(pair->val);

        if (value == NULL || PyDict_SetItemString(dict, pair->key, value) != 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(value);
    }
    return dict;
}

apr_status_t publish_callable_load(interp_t *interp, const config_stage_t *stage,
                                   publish_callable_t **callable, apr_pool_t *pchild)
{
    publish_callable_t *made = apr_pcalloc(pchild, sizeof *made);

    *callable = made;
    made->callable = interp_target_load(interp, stage->target);
    if (made->callable == NULL) {
        return APR_EGENERAL;
    }
    made->generator = publish_is_generator(made->callable);
    made->params = publish_params(stage->params);
    made->ready = made->generator >= 0 && made->params != NULL;
    return made->ready ? APR_SUCCESS : APR_EGENERAL;
}

void publish_callable_drop(publish_callable_t *callable)
{
    Py_CLEAR(callable->callable);
    Py_CLEAR(callable->params);
}

/* ---- Exceptions ----------------------------------------------------------------------------- */

apr_status_t publish_raise(publish_run_t *py)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL && value != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    Py_XSETREF(py->raised, value);
    py->retryable = 0;
    if (py->publish != NULL && value != NULL) {
        py->retryable = PyObject_IsInstance(value, py->publish->transient) == 1;
        PyErr_Clear();
    }
    return STAGE_RAISED;
}

void publish_restore(publish_run_t *py)
{
    PyObject *value = py->raised;

    py->raised = NULL;
    if (value != NULL) {
        PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(value)), value,
                      PyException_GetTraceback(value));
    } else {
        PyErr_SetString(PyExc_RuntimeError, "a stage of the pipeline failed");
    }
}

void publish_forget(publish_run_t *py)
{
    Py_CLEAR(py->raised);
    py->retryable = 0;
}

void publish_log(publish_run_t *py, interp_thread_t *thread, request_rec *r, const char *prefix)
{
    PyObject *kept = Py_XNewRef(py->raised);

    publish_restore(py);
    interp_log_exception(thread, r, prefix);
    py->raised = kept;
}

int publish_client_gone(const publish_run_t *py, const interp_thread_t *thread)
{
    return py->raised != NULL && thread->gone &&
           PyErr_GivenExceptionMatches(py->raised, PyExc_ConnectionError);
}

void publish_drop(publish_run_t *py)
{
    PyObject *response = py->response;

    py->response = NULL;
    if (response != NULL) {
        interp_wsgi_drop(response);
    }
}

/* ---- Calls ---------------------------------------------------------------------------------- */

PyObject *publish_call(const publish_t *publish, const char *function, const char *format, ...)
{
    PyObject *callable = PyObject_GetAttrString(publish->module, function);
    PyObject *args = NULL, *result = NULL;
    va_list values;

    va_start(values, format);
    if (callable != NULL) {
        args = Py_VaBuildValue(format, values);
    }
    va_end(values);
    if (args != NULL) {
        result = PyObject_CallObject(callable, args);
    }
    Py_XDECREF(args);
    Py_XDECREF(callable);
    return result;
}
