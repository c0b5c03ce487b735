/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_log.c: exceptions, and what programs print, in httpd's error log.
 *
 * wsgi.errors, sys.stderr and sys.stdout are objects of one type. What is written to them is cut
 * into lines; each line goes to the log of the request that the writing thread has in hand, or to
 * that of the server whose application is loaded, or to the main one. A worker keeps its own
 * unfinished line of each stream; all other threads share the one in the object. Used from any
 * thread, with the GIL, which is released around each write to the log.
 */
#include "python/interp_private.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

APLOG_USE_MODULE(pipeline);

/* A line that is never ended is logged in pieces: httpd cuts a message at MAX_STRING_LEN (8,192).
 */
#define LOG_LINE_MAX 7000

/* Of a traceback that is longer, its beginning is left out: the end says what happened. With the
 * title, the prefix and the request's line, both stay below MAX_STRING_LEN. */
#define LOG_TRACEBACK_MAX 6000
#define LOG_TITLE_MAX     1000

typedef struct interp_stream_t {
    PyObject_HEAD
    interp_t *interp; /* borrowed: lives longer */
    interp_stream_e stream;
    interp_line_t line; /* of the threads that are not workers */
} interp_stream_t;

/* ---- Lines ----------------------------------------------------------------------------------- */

static void log_line_request(interp_stream_e stream, request_rec *r, const char *text)
{
    switch (stream) {
    case INTERP_STREAM_ERRORS:
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, PIPELOGNO(0520) "%s", text);
        break;
    case INTERP_STREAM_STDERR:
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, PIPELOGNO(0521) "%s", text);
        break;
    default:
        ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, r, "%s", text);
    }
}

static void log_line_server(interp_stream_e stream, server_rec *s, const char *text)
{
    switch (stream) {
    case INTERP_STREAM_ERRORS:
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, PIPELOGNO(0520) "%s", text);
        break;
    case INTERP_STREAM_STDERR:
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, PIPELOGNO(0521) "%s", text);
        break;
    default:
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s, "%s", text);
    }
}

/* What stands behind a NUL would be hidden from the log's reader. */
static void log_line_show_nul(interp_line_t *line)
{
    char *nul = line->data;

    line->data[line->len] = '\0';
    while ((nul = memchr(nul, '\0', line->len - (apr_size_t)(nul - line->data)))) {
        *nul = '?';
    }
}

/* Logs what the line holds and empties it; the text is the caller's while the GIL is away. */
static void log_line(interp_t *interp, interp_stream_e stream, interp_line_t *line)
{
    interp_thread_t *thread = PyThread_tss_get(&interp->current);
    request_rec *r = thread ? thread->r : NULL;
    char *text = line->data;

    if (!line->len) {
        return;
    }
    log_line_show_nul(line);
    line->data = NULL;
    line->len = 0;
    line->room = 0;
    Py_BEGIN_ALLOW_THREADS
    if (r) {
        log_line_request(stream, r, text);
    } else {
        log_line_server(stream, interp->server, text);
    }
    Py_END_ALLOW_THREADS
    PyMem_RawFree(text);
}

/* Room for `more` bytes and a NUL. */
static int log_line_reserve(interp_line_t *line, apr_size_t more)
{
    apr_size_t room = line->len + more + 1;
    char *data;

    if (room <= line->room) {
        return 0;
    }
    room = room < 256 ? 256 : room;
    data = PyMem_RawRealloc(line->data, room);
    if (!data) {
        PyErr_NoMemory();
        return -1;
    }
    line->data = data;
    line->room = room;
    return 0;
}

/* Adds text, logging each line as it ends. */
static int log_text(interp_t *interp, interp_stream_e stream, interp_line_t *line, const char *text,
                    apr_size_t len)
{
    const char *newline;
    apr_size_t n;

    while (len) {
        newline = memchr(text, '\n', len);
        n = newline ? (apr_size_t)(newline - text) : len;
        if (n > LOG_LINE_MAX - line->len) {
            n = LOG_LINE_MAX - line->len;
            newline = NULL;
        }
        if (log_line_reserve(line, n)) {
            return -1;
        }
        memcpy(line->data + line->len, text, n);
        line->len += n;
        if (newline || line->len == LOG_LINE_MAX) {
            log_line(interp, stream, line);
        }
        n += newline ? 1 : 0;
        text += n;
        len -= n;
    }
    return 0;
}

void interp_log_flush(interp_thread_t *thread)
{
    int i;

    for (i = 0; i < INTERP_STREAM_COUNT; i++) {
        if (thread->lines[i].len) {
            log_line(thread->interp, (interp_stream_e)i, &thread->lines[i]);
        }
    }
}

/* ---- The stream type ------------------------------------------------------------------------- */

static interp_line_t *stream_line(interp_stream_t *self)
{
    interp_thread_t *thread = PyThread_tss_get(&self->interp->current);

    return thread ? &thread->lines[self->stream] : &self->line;
}

static PyObject *stream_write(PyObject *object, PyObject *text)
{
    interp_stream_t *self = (interp_stream_t *)object;
    PyObject *bytes;
    int failed;

    if (!PyUnicode_Check(text)) {
        return PyErr_Format(PyExc_TypeError, "write() takes str, not %.100s",
                            Py_TYPE(text)->tp_name);
    }
    bytes = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
    if (!bytes) {
        return NULL;
    }
    failed = log_text(self->interp, self->stream, stream_line(self), PyBytes_AS_STRING(bytes),
                      (apr_size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return failed ? NULL : PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text));
}

static PyObject *stream_writelines(PyObject *self, PyObject *lines)
{
    PyObject *items = PyObject_GetIter(lines);
    PyObject *item;
    PyObject *written = NULL;

    if (!items) {
        return NULL;
    }
    while ((item = PyIter_Next(items))) {
        written = stream_write(self, item);
        Py_DECREF(item);
        if (!written) {
            break;
        }
        Py_DECREF(written);
    }
    Py_DECREF(items);
    if (PyErr_Occurred()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *stream_flush(PyObject *object, PyObject *unused)
{
    interp_stream_t *self = (interp_stream_t *)object;

    (void)unused;
    log_line(self->interp, self->stream, stream_line(self));
    Py_RETURN_NONE;
}

static PyObject *stream_false(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_FALSE;
}

static PyObject *stream_true(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_TRUE;
}

static PyObject *stream_text(PyObject *self, void *text)
{
    (void)self;
    return PyUnicode_FromString(text);
}

static PyObject *stream_closed(PyObject *self, void *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_FALSE;
}

static void stream_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyMem_RawFree(((interp_stream_t *)object)->line.data);
    PyObject_Free(object);
    Py_DECREF(type);
}

PyTypeObject *interp_stream_type(void)
{
    static char encoding[] = "utf-8";
    static char errors[] = "backslashreplace";
    static char name[] = "<httpd error log>";
    static PyMethodDef methods[] = {
        { "write", stream_write, METH_O, "write(text): each line that ends is logged." },
        { "writelines", stream_writelines, METH_O, "writelines(lines): write() of each." },
        { "flush", stream_flush, METH_NOARGS, "flush(): logs a line that has not ended." },
        { "isatty", stream_false, METH_NOARGS, "isatty(): False." },
        { "readable", stream_false, METH_NOARGS, "readable(): False." },
        { "writable", stream_true, METH_NOARGS, "writable(): True." },
        { NULL, NULL, 0, NULL },
    };
    static PyGetSetDef getset[] = {
        { "encoding", stream_text, NULL, NULL, encoding },
        { "errors", stream_text, NULL, NULL, errors },
        { "name", stream_text, NULL, NULL, name },
        { "closed", stream_closed, NULL, NULL, NULL },
        { NULL, NULL, NULL, NULL, NULL },
    };
    static PyType_Slot slots[] = {
        { Py_tp_dealloc, stream_dealloc },
        { Py_tp_methods, methods },
        { Py_tp_getset, getset },
        { 0, NULL },
    };
    static PyType_Spec spec = {
        .name = "mod_pipeline.Log",
        .basicsize = sizeof(interp_stream_t),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };

    return (PyTypeObject *)PyType_FromSpec(&spec);
}

PyObject *interp_stream_new(interp_t *interp, interp_stream_e stream)
{
    interp_stream_t *self = PyObject_New(interp_stream_t, interp->stream_type);

    if (!self) {
        return NULL;
    }
    self->interp = interp;
    self->stream = stream;
    memset(&self->line, 0, sizeof(self->line));
    return (PyObject *)self;
}

/* Everything that a program prints goes to the log, from here on. */
apr_status_t interp_log_redirect(interp_t *interp)
{
    int i;

    for (i = 0; i < INTERP_STREAM_COUNT; i++) {
        interp->streams[i] = interp_stream_new(interp, (interp_stream_e)i);
        if (!interp->streams[i]) {
            return APR_EGENERAL;
        }
    }
    if (PySys_SetObject("stderr", interp->streams[INTERP_STREAM_STDERR]) ||
        PySys_SetObject("stdout", interp->streams[INTERP_STREAM_STDOUT])) {
        return APR_EGENERAL;
    }
    return APR_SUCCESS;
}

/* ---- Exceptions ------------------------------------------------------------------------------ */

/* "ValueError: what" as a new str, never an exception. */
static PyObject *log_exception_title(PyObject *value)
{
    PyObject *text = PyObject_Str(value);
    PyObject *title;

    if (!text) {
        PyErr_Clear();
        text = PyUnicode_FromString("(its text raised another exception)");
    }
    title = text ? PyUnicode_FromFormat("%s: %U", Py_TYPE(value)->tp_name, text) : NULL;
    Py_XDECREF(text);
    PyErr_Clear();
    return title;
}

/* The traceback with its causes, as Python prints it, in one str; NULL when that cannot be had. */
static PyObject *log_exception_traceback(const interp_t *interp, PyObject *value)
{
    PyObject *lines = NULL;
    PyObject *empty = NULL;
    PyObject *text = NULL;

    if (interp->format_exception) {
        lines = PyObject_CallOneArg(interp->format_exception, value);
    }
    if (lines) {
        empty = PyUnicode_FromString("");
    }
    if (empty) {
        text = PyUnicode_Join(empty, lines);
    }
    Py_XDECREF(empty);
    Py_XDECREF(lines);
    PyErr_Clear();
    return text;
}

/* As UTF-8 in a pool; surrogates and the like become escapes. */
static const char *log_utf8(PyObject *text, apr_pool_t *p)
{
    PyObject *bytes = text ? PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace") : NULL;
    const char *copy = "";

    if (bytes) {
        copy = apr_pstrmemdup(p, PyBytes_AS_STRING(bytes), (apr_size_t)PyBytes_GET_SIZE(bytes));
    }
    Py_XDECREF(bytes);
    PyErr_Clear();
    return copy;
}

static void log_exception_texts(const interp_t *interp, apr_pool_t *p, const char **title,
                                const char **traceback)
{
    PyObject *type;
    PyObject *value;
    PyObject *frames;
    PyObject *text;
    apr_size_t len;

    PyErr_Fetch(&type, &value, &frames);
    PyErr_NormalizeException(&type, &value, &frames);
    if (value && frames) {
        PyException_SetTraceback(value, frames);
    }
    text = value ? log_exception_title(value) : NULL;
    *title = apr_pstrndup(p, log_utf8(text, p), LOG_TITLE_MAX);
    Py_XDECREF(text);
    text = value ? log_exception_traceback(interp, value) : NULL;
    *traceback = log_utf8(text, p);
    Py_XDECREF(text);
    len = strlen(*traceback);
    if (len > LOG_TRACEBACK_MAX) {
        *traceback += len - LOG_TRACEBACK_MAX;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(frames);
}

void interp_log_exception(interp_thread_t *thread, request_rec *r, const char *prefix)
{
    interp_t *interp = thread ? thread->interp : interp_here();
    apr_pool_t *p = NULL;
    const char *title;
    const char *traceback;

    apr_pool_create(&p, r ? r->pool : interp->pool);
    apr_pool_tag(p, "interp_log_exception");
    log_exception_texts(interp, p, &title, &traceback);
    Py_BEGIN_ALLOW_THREADS
    if (r) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "%s: %s %s [%s]: %s\n%s", prefix, r->method,
                      r->uri, r->log_id ? r->log_id : "-", title, traceback);
    } else {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, interp->server, "%s: %s\n%s", prefix, title,
                     traceback);
    }
    Py_END_ALLOW_THREADS
    apr_pool_destroy(p);
}
