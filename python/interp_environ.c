/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_environ.c: the WSGI environ, made straight from the request's head on the wire.
 *
 * Each mount has a dict of what never changes, which is copied; the rest is set by keys that were
 * made and hashed once. Header and variable names become keys through two tables that learn new
 * names, up to a bound, since clients choose them. A key remembers the last value it was given:
 * browsers and proxies send the same ones again and again, and comparing is cheaper than making.
 * Texts are latin-1, as PEP 3333 wants. Worker threads, with the GIL, which guards the tables;
 * nothing here releases it.
 */
#include "python/interp_private.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>

/* A power of two; the table stops learning at half of it, so that a probe stays short. */
#define ENVIRON_TABLE_SIZE 1024
#define ENVIRON_TABLE_FULL (ENVIRON_TABLE_SIZE / 2)

/* A name over this is not learnt, and a value over it not remembered: long ones differ each time.
 */
#define ENVIRON_SHORT 128

/* Kept apart: what secrets travel in is not remembered between requests. */
#define ENVIRON_FORGET   0x1u
#define ENVIRON_DROP     0x2u  /* never passed on */
#define ENVIRON_COOKIE   0x4u  /* several are joined by "; " */
#define ENVIRON_LENGTH   0x8u  /* Content-Length: the checked number is passed on */
#define ENVIRON_PASSWORD 0x10u /* only for an application that does its own authentication */

typedef struct environ_key_t {
    PyObject *name;  /* owned, interned */
    PyObject *value; /* owned; the last one given, or NULL */
} environ_key_t;

typedef struct environ_entry_t {
    char
        *text; /* owned (PyMem_Raw): the name on the wire, in lower case for a header; NULL: free */
    apr_uint32_t len;
    apr_uint32_t hash;
    unsigned flags;
    environ_key_t key;
} environ_entry_t;

typedef struct environ_table_t {
    unsigned used;
    environ_entry_t entries[ENVIRON_TABLE_SIZE];
} environ_table_t;

/* The keys that are set anew for each request. */
typedef enum {
    KEY_METHOD,
    KEY_PATH_INFO,
    KEY_QUERY_STRING,
    KEY_REQUEST_URI,
    KEY_PROTOCOL,
    KEY_SCHEME,
    KEY_URL_SCHEME,
    KEY_SERVER_NAME,
    KEY_SERVER_PORT,
    KEY_SERVER_ADDR,
    KEY_REMOTE_ADDR,
    KEY_REMOTE_PORT,
    KEY_INPUT,
    KEY_REQUEST_ID,
    KEY_REQUEST_START,
    KEY_ALWAYS, /* those before are in every environ */
    KEY_REMOTE_USER = KEY_ALWAYS,
    KEY_AUTH_TYPE,
    KEY_CONTENT_LENGTH,
    KEY_HTTPS,
    KEY_COUNT
} environ_key_e;

static const char *const environ_key_names[KEY_COUNT] = {
    [KEY_METHOD] = "REQUEST_METHOD",
    [KEY_PATH_INFO] = "PATH_INFO",
    [KEY_QUERY_STRING] = "QUERY_STRING",
    [KEY_REQUEST_URI] = "REQUEST_URI",
    [KEY_PROTOCOL] = "SERVER_PROTOCOL",
    [KEY_SCHEME] = "REQUEST_SCHEME",
    [KEY_URL_SCHEME] = "wsgi.url_scheme",
    [KEY_SERVER_NAME] = "SERVER_NAME",
    [KEY_SERVER_PORT] = "SERVER_PORT",
    [KEY_SERVER_ADDR] = "SERVER_ADDR",
    [KEY_REMOTE_ADDR] = "REMOTE_ADDR",
    [KEY_REMOTE_PORT] = "REMOTE_PORT",
    [KEY_INPUT] = "wsgi.input",
    [KEY_REQUEST_ID] = "mod_pipeline.request_id",
    [KEY_REQUEST_START] = "mod_pipeline.request_start",
    [KEY_REMOTE_USER] = "REMOTE_USER",
    [KEY_AUTH_TYPE] = "AUTH_TYPE",
    [KEY_CONTENT_LENGTH] = "CONTENT_LENGTH",
    [KEY_HTTPS] = "HTTPS",
};

/* Headers that are not simply HTTP_NAME, or not remembered. */
static const struct {
    const char *header;
    const char *name; /* NULL: HTTP_NAME */
    unsigned flags;
} environ_special[] = {
    { "content-type", "CONTENT_TYPE", 0 },
    { "content-length", "CONTENT_LENGTH", ENVIRON_LENGTH },
    { "proxy", NULL, ENVIRON_DROP }, /* HTTP_PROXY is a setting of HTTP clients: CVE-2016-5385 */
    { "cookie", NULL, ENVIRON_COOKIE | ENVIRON_FORGET },
    { "authorization", NULL, ENVIRON_FORGET | ENVIRON_PASSWORD },
    { "proxy-authorization", NULL, ENVIRON_DROP },
    { "x-csrf-token", NULL, ENVIRON_FORGET },
};

struct interp_environ_t {
    environ_key_t keys[KEY_COUNT];
    PyObject *on; /* owned: "on" */
    environ_table_t headers;
    environ_table_t vars;
};

/* ---- Names ----------------------------------------------------------------------------------- */

/* FNV-1a; folded to lower case, as header names are. */
static apr_uint32_t environ_hash(const wire_text_t *text, int fold)
{
    apr_uint32_t hash = 2166136261u;
    apr_uint32_t i;
    unsigned char c;

    for (i = 0; i < text->len; i++) {
        c = (unsigned char)text->data[i];
        if (fold && c >= 'A' && c <= 'Z') {
            c |= 0x20;
        }
        hash = (hash ^ c) * 16777619u;
    }
    return hash;
}

/* The entry of that name, or the free one in which it belongs. */
static environ_entry_t *environ_find(environ_table_t *table, const wire_text_t *text,
                                     apr_uint32_t hash, int fold)
{
    apr_uint32_t i = hash & (ENVIRON_TABLE_SIZE - 1);
    environ_entry_t *entry;

    for (;; i = (i + 1) & (ENVIRON_TABLE_SIZE - 1)) {
        entry = &table->entries[i];
        if (!entry->text) {
            return entry;
        }
        if (entry->hash == hash && entry->len == text->len &&
            !(fold ? strncasecmp(entry->text, text->data, text->len)
                   : memcmp(entry->text, text->data, text->len))) {
            return entry;
        }
    }
}

/*
 * HTTP_NAME for a header. NULL without an exception: the name has characters that have no place in
 * a variable; an underscore among them, with which a client could pose as another header.
 */
static PyObject *environ_header_name(const wire_text_t *text)
{
    PyObject *name = PyUnicode_New((Py_ssize_t)text->len + 5, 127);
    Py_UCS1 *to = name ? PyUnicode_1BYTE_DATA(name) : NULL;
    apr_uint32_t i;
    unsigned char c;

    if (!name) {
        return NULL;
    }
    memcpy(to, "HTTP_", 5);
    for (i = 0; i < text->len; i++) {
        c = (unsigned char)text->data[i];
        if (c >= 0x80 || (!apr_isalnum(c) && c != '-')) {
            Py_DECREF(name);
            return NULL;
        }
        to[5 + i] = c == '-' ? '_' : (Py_UCS1)apr_toupper(c);
    }
    return name;
}

/* Fills a free entry; takes over `name`. */
static int environ_learn(environ_table_t *table, environ_entry_t *entry, const wire_text_t *text,
                         apr_uint32_t hash, PyObject *name)
{
    entry->text = PyMem_RawMalloc(text->len + 1);
    if (!entry->text) {
        Py_DECREF(name);
        PyErr_NoMemory();
        return -1;
    }
    memcpy(entry->text, text->data, text->len);
    entry->text[text->len] = '\0';
    entry->len = text->len;
    entry->hash = hash;
    PyUnicode_InternInPlace(&name);
    entry->key.name = name;
    table->used++;
    return 0;
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* The text as str: the last one given if it is the same. `last` NULL: not remembered. */
static PyObject *environ_value(PyObject **last, const wire_text_t *text)
{
    PyObject *value = last ? *last : NULL;

    if (value && (apr_uint32_t)PyUnicode_GET_LENGTH(value) == text->len &&
        !memcmp(PyUnicode_1BYTE_DATA(value), text->data, text->len)) {
        return Py_NewRef(value);
    }
    value = PyUnicode_DecodeLatin1(text->data, (Py_ssize_t)text->len, NULL);
    if (value && last && text->len <= ENVIRON_SHORT) {
        Py_XSETREF(*last, Py_NewRef(value));
    }
    return value;
}

/* env[key] = value; takes over `value`, which may be NULL after an exception. */
static int environ_put(PyObject *env, PyObject *key, PyObject *value)
{
    int failed = value ? PyDict_SetItem(env, key, value) : -1;

    Py_XDECREF(value);
    return failed;
}

static int environ_text(PyObject *env, environ_key_t *key, const wire_text_t *text)
{
    return environ_put(env, key->name, environ_value(&key->value, text));
}

static int environ_secret(PyObject *env, environ_key_t *key, const wire_text_t *text)
{
    return environ_put(env, key->name, environ_value(NULL, text));
}

/* For each request's ports, which printf's machinery would take longer to write than to send. */
static int environ_number(PyObject *env, environ_key_t *key, apr_uint64_t number)
{
    char digits[20]; /* of 64 bits */
    char *first = digits + sizeof(digits);
    wire_text_t text;

    do {
        *--first = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    text.data = first;
    text.len = (apr_uint32_t)(digits + sizeof(digits) - first);
    return environ_text(env, key, &text);
}

/* ---- Headers and variables ------------------------------------------------------------------- */

/* Adds a header; one that is there already is joined to it. Takes over `value`. */
static int environ_add(PyObject *env, PyObject *name, PyObject *value, const char *separator)
{
    const Py_ssize_t before = PyDict_GET_SIZE(env);
    PyObject *present = value ? PyDict_SetDefault(env, name, value) : NULL;
    int failed = present ? 0 : -1;

    if (present && PyDict_GET_SIZE(env) == before) {
        failed = environ_put(env, name, PyUnicode_FromFormat("%U%s%U", present, separator, value));
    }
    Py_XDECREF(value);
    return failed;
}

/* A name that the table has no room for. */
static int environ_strange_header(PyObject *env, const wire_field_t *field)
{
    PyObject *name = environ_header_name(&field->name);
    int failed;

    if (!name) {
        return PyErr_Occurred() ? -1 : 0;
    }
    failed = environ_add(env, name, environ_value(NULL, &field->value), ",");
    Py_DECREF(name);
    return failed;
}

static int environ_known_header(PyObject *env, environ_entry_t *entry, const wire_head_t *head,
                                const wire_text_t *value)
{
    if (entry->flags & (ENVIRON_DROP | ENVIRON_LENGTH)) {
        return 0;
    }
    if ((entry->flags & ENVIRON_PASSWORD) && head->text[WIRE_TEXT_AUTH_TYPE].len) {
        return 0; /* httpd has checked it; the application is told the name only */
    }
    return environ_add(
        env, entry->key.name,
        environ_value(entry->flags & ENVIRON_FORGET ? NULL : &entry->key.value, value),
        entry->flags & ENVIRON_COOKIE ? "; " : ",");
}

static int environ_header(interp_environ_t *names, PyObject *env, const wire_head_t *head,
                          const wire_field_t *field)
{
    environ_table_t *table = &names->headers;
    const apr_uint32_t hash = environ_hash(&field->name, 1);
    environ_entry_t *entry = environ_find(table, &field->name, hash, 1);
    PyObject *name;

    if (!entry->text) {
        if (table->used >= ENVIRON_TABLE_FULL || field->name.len > ENVIRON_SHORT) {
            return environ_strange_header(env, field);
        }
        name = environ_header_name(&field->name);
        if (!name) {
            return PyErr_Occurred() ? -1 : 0;
        }
        if (environ_learn(table, entry, &field->name, hash, name)) {
            return -1;
        }
    }
    return environ_known_header(env, entry, head, &field->value);
}

/* A variable of the server's configuration wins over a header, but not over what WSGI defines. */
static int environ_var(interp_environ_t *names, PyObject *env, const wire_field_t *field)
{
    environ_table_t *table = &names->vars;
    const apr_uint32_t hash = environ_hash(&field->name, 0);
    environ_entry_t *entry;
    PyObject *name;
    int failed;

    if (field->name.len > 5 && !memcmp(field->name.data, "wsgi.", 5)) {
        return 0;
    }
    entry = environ_find(table, &field->name, hash, 0);
    if (entry->text) {
        return environ_text(env, &entry->key, &field->value);
    }
    name = environ_value(NULL, &field->name);
    if (!name) {
        return -1;
    }
    if (table->used < ENVIRON_TABLE_FULL && field->name.len <= ENVIRON_SHORT) {
        return environ_learn(table, entry, &field->name, hash, name) ||
               environ_text(env, &entry->key, &field->value);
    }
    failed = environ_put(env, name, environ_value(NULL, &field->value));
    Py_DECREF(name);
    return failed;
}

/* ---- One request ----------------------------------------------------------------------------- */

static int environ_request_line(environ_key_t *keys, PyObject *env, const wire_head_t *head,
                                const config_mount_t *mount)
{
    wire_text_t path = head->text[WIRE_TEXT_URI];

    if (path.len >= mount->prefix_len) {
        path.data += mount->prefix_len;
        path.len -= (apr_uint32_t)mount->prefix_len;
    }
    return environ_text(env, &keys[KEY_METHOD], &head->text[WIRE_TEXT_METHOD]) ||
           environ_text(env, &keys[KEY_PATH_INFO], &path) ||
           environ_secret(env, &keys[KEY_QUERY_STRING], &head->text[WIRE_TEXT_ARGS]) ||
           environ_secret(env, &keys[KEY_REQUEST_URI], &head->text[WIRE_TEXT_UNPARSED_URI]) ||
           environ_text(env, &keys[KEY_PROTOCOL], &head->text[WIRE_TEXT_PROTOCOL]);
}

static int environ_connection(environ_key_t *keys, PyObject *env, const wire_head_t *head)
{
    return environ_text(env, &keys[KEY_SCHEME], &head->text[WIRE_TEXT_SCHEME]) ||
           environ_text(env, &keys[KEY_URL_SCHEME], &head->text[WIRE_TEXT_SCHEME]) ||
           environ_text(env, &keys[KEY_SERVER_NAME], &head->text[WIRE_TEXT_SERVER_NAME]) ||
           environ_number(env, &keys[KEY_SERVER_PORT], head->server_port) ||
           environ_text(env, &keys[KEY_SERVER_ADDR], &head->text[WIRE_TEXT_LOCAL_ADDR]) ||
           environ_text(env, &keys[KEY_REMOTE_ADDR], &head->text[WIRE_TEXT_REMOTE_ADDR]) ||
           environ_number(env, &keys[KEY_REMOTE_PORT], head->remote_port);
}

/* What is there only when it says something. */
static int environ_optional(interp_environ_t *names, PyObject *env, const wire_head_t *head)
{
    environ_key_t *keys = names->keys;

    if (head->text[WIRE_TEXT_REMOTE_USER].len &&
        environ_text(env, &keys[KEY_REMOTE_USER], &head->text[WIRE_TEXT_REMOTE_USER])) {
        return -1;
    }
    if (head->text[WIRE_TEXT_AUTH_TYPE].len &&
        environ_text(env, &keys[KEY_AUTH_TYPE], &head->text[WIRE_TEXT_AUTH_TYPE])) {
        return -1;
    }
    if (head->content_length > 0 &&
        environ_number(env, &keys[KEY_CONTENT_LENGTH], (apr_uint64_t)head->content_length)) {
        return -1;
    }
    if (!strcmp(head->text[WIRE_TEXT_SCHEME].data, "https") &&
        PyDict_SetItem(env, keys[KEY_HTTPS].name, names->on)) {
        return -1;
    }
    return 0;
}

static int environ_objects(interp_thread_t *thread, environ_key_t *keys, PyObject *env,
                           const wire_head_t *head)
{
    const char *label = interp_thread_label(thread);
    PyObject *input = interp_thread_input(thread);

    return environ_put(env, keys[KEY_INPUT].name, Py_XNewRef(input)) ||
           environ_put(env, keys[KEY_REQUEST_ID].name,
                       PyUnicode_DecodeLatin1(label, (Py_ssize_t)strlen(label), NULL)) ||
           environ_put(env, keys[KEY_REQUEST_START].name, PyLong_FromLongLong(head->request_time));
}

static int environ_fields(interp_environ_t *names, PyObject *env, const wire_head_t *head)
{
    apr_uint32_t i;

    for (i = 0; i < head->field_count; i++) {
        if (environ_header(names, env, head, &head->fields[i])) {
            return -1;
        }
    }
    for (i = 0; i < head->var_count; i++) {
        if (environ_var(names, env, &head->vars[i])) {
            return -1;
        }
    }
    return 0;
}

PyObject *interp_environ_build(interp_thread_t *thread)
{
    interp_environ_t *names = thread->interp->environ;
    const wire_head_t *head = daemon_exchange_head(thread->x);
    const config_mount_t *mount = daemon_exchange_mount(thread->x);
    PyObject *env = PyDict_Copy(interp_mount_get(thread->interp, mount)->environ);

    if (env && (environ_request_line(names->keys, env, head, mount) ||
                environ_connection(names->keys, env, head) ||
                environ_objects(thread, names->keys, env, head) ||
                environ_optional(names, env, head) || environ_fields(names, env, head))) {
        Py_CLEAR(env);
    }
    return env;
}

/* ---- Start ----------------------------------------------------------------------------------- */

static int environ_learn_special(interp_environ_t *names)
{
    environ_entry_t *entry;
    PyObject *name;
    wire_text_t text;
    apr_uint32_t hash;
    apr_size_t i;

    for (i = 0; i < sizeof(environ_special) / sizeof(environ_special[0]); i++) {
        text.data = environ_special[i].header;
        text.len = (apr_uint32_t)strlen(text.data);
        name = environ_special[i].name ? PyUnicode_FromString(environ_special[i].name)
                                       : environ_header_name(&text);
        hash = environ_hash(&text, 1);
        entry = environ_find(&names->headers, &text, hash, 1);
        if (!name || environ_learn(&names->headers, entry, &text, hash, name)) {
            return -1;
        }
        entry->flags = environ_special[i].flags;
    }
    return 0;
}

apr_status_t interp_environ_start(interp_t *interp)
{
    interp_environ_t *names = apr_pcalloc(interp->pool, sizeof(*names));
    int i;

    interp->environ = names;
    names->on = PyUnicode_InternFromString("on");
    for (i = 0; i < KEY_COUNT; i++) {
        names->keys[i].name = PyUnicode_InternFromString(environ_key_names[i]);
        if (!names->keys[i].name) {
            return APR_EGENERAL;
        }
    }
    return names->on && !environ_learn_special(names) ? APR_SUCCESS : APR_EGENERAL;
}

static void environ_table_clear(environ_table_t *table)
{
    int i;

    for (i = 0; i < ENVIRON_TABLE_SIZE; i++) {
        PyMem_RawFree(table->entries[i].text);
        table->entries[i].text = NULL;
        Py_CLEAR(table->entries[i].key.name);
        Py_CLEAR(table->entries[i].key.value);
    }
}

void interp_environ_stop(interp_t *interp)
{
    interp_environ_t *names = interp->environ;
    int i;

    if (!names) {
        return;
    }
    for (i = 0; i < KEY_COUNT; i++) {
        Py_CLEAR(names->keys[i].name);
        Py_CLEAR(names->keys[i].value);
    }
    Py_CLEAR(names->on);
    environ_table_clear(&names->headers);
    environ_table_clear(&names->vars);
}

/* ---- What never changes ---------------------------------------------------------------------- */

static int template_text(PyObject *env, const char *key, const char *text)
{
    PyObject *name = PyUnicode_InternFromString(key);
    int failed = -1;

    if (name) {
        text = text ? text : "";
        failed =
            environ_put(env, name, PyUnicode_DecodeLatin1(text, (Py_ssize_t)strlen(text), NULL));
    }
    Py_XDECREF(name);
    return failed;
}

/* Takes over `value`. */
static int template_object(PyObject *env, const char *key, PyObject *value)
{
    PyObject *name = PyUnicode_InternFromString(key);
    int failed = -1;

    if (name) {
        failed = environ_put(env, name, value);
    } else {
        Py_XDECREF(value);
    }
    Py_XDECREF(name);
    return failed;
}

static int template_wsgi(const interp_t *interp, PyObject *env)
{
    return template_object(env, "wsgi.version", Py_BuildValue("(ii)", 1, 0)) ||
           template_object(env, "wsgi.errors", Py_NewRef(interp->streams[INTERP_STREAM_ERRORS])) ||
           template_object(env, "wsgi.multithread", PyBool_FromLong(interp->group->threads > 1)) ||
           template_object(env, "wsgi.multiprocess",
                           PyBool_FromLong(interp->group->processes > 1)) ||
           template_object(env, "wsgi.run_once", PyBool_FromLong(0)) ||
           template_object(env, "wsgi.input_terminated", PyBool_FromLong(1)) ||
           template_object(env, "wsgi.file_wrapper", Py_NewRef((PyObject *)interp->file_type));
}

static int template_server(const interp_t *interp, const config_mount_t *mount, PyObject *env)
{
    const core_server_config *core = ap_get_core_module_config(mount->server->module_config);

    return template_text(env, "SCRIPT_NAME", mount->prefix) ||
           template_text(env, "GATEWAY_INTERFACE", "CGI/1.1") ||
           template_text(env, "SERVER_SOFTWARE", ap_get_server_banner()) ||
           template_text(env, "SERVER_ADMIN", mount->server->server_admin) ||
           template_text(env, "DOCUMENT_ROOT", core ? core->ap_document_root : NULL) ||
           template_text(env, "mod_pipeline.version", PIPELINE_VERSION) ||
           template_text(env, "mod_pipeline.process_group", interp->group->name) ||
           (mount->kind == CONFIG_MOUNT_WSGI &&
            template_text(env, "mod_pipeline.application", mount->target));
}

/* The keys of each request are in it, so that setting them moves nothing. */
PyObject *interp_environ_template(interp_t *interp, const config_mount_t *mount)
{
    PyObject *env = PyDict_New();
    int failed = !env || template_server(interp, mount, env) || template_wsgi(interp, env);
    int i;

    for (i = 0; !failed && i < KEY_ALWAYS; i++) {
        failed = PyDict_SetItem(env, interp->environ->keys[i].name, Py_None);
    }
    if (failed) {
        Py_CLEAR(env);
    }
    return env;
}
