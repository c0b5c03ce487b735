/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_response.c: start_response(), the write() it returns, and the rules for what may go out.
 *
 * One object per call of an application; a worker thread uses it, with the GIL. What
 * start_response() is given is checked whole and copied into the request's pool, so that nothing
 * which Python owns is pointed to later, and nothing that is malformed is ever passed on.
 *
 * States:  NEW --start_response--> STARTED --first body byte, or the end--> GIVEN --finish--> ENDED
 * STARTED and GIVEN go back to STARTED by start_response() with exc_info while nothing has left.
 */
#include "python/interp_private.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_log.h>
#include <structmember.h>

APLOG_USE_MODULE(pipeline);

/* 18 digits always fit 63 bits; no body is that long. */
#define RESPONSE_LENGTH_DIGITS 18

static apr_status_t response_refuse(interp_response_t *response, interp_fault_e fault)
{
    response->thread->fault = fault;
    return APR_EGENERAL;
}

/* ---- Checking what start_response() is given ------------------------------------------------- */

/* The characters of a latin-1 str, borrowed from it. APR_EGENERAL: exception set. */
static apr_status_t response_text(PyObject *object, const char *what, wire_text_t *text)
{
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be str, not %.100s", what, Py_TYPE(object)->tp_name);
        return APR_EGENERAL;
    }
    if (PyUnicode_READY(object)) {
        return APR_EGENERAL;
    }
    if (PyUnicode_KIND(object) != PyUnicode_1BYTE_KIND) {
        PyErr_Format(PyExc_ValueError, "%s has characters that are not in latin-1: %R", what,
                     object);
        return APR_EGENERAL;
    }
    if (PyUnicode_GET_LENGTH(object) > WIRE_FRAME_MAX) {
        PyErr_Format(PyExc_ValueError, "%s is longer than %u bytes", what, WIRE_FRAME_MAX);
        return APR_EGENERAL;
    }
    text->data = (const char *)PyUnicode_1BYTE_DATA(object);
    text->len = (apr_uint32_t)PyUnicode_GET_LENGTH(object);
    return APR_SUCCESS;
}

/* No control character but the tab, which HTTP allows inside a value. */
static int response_printable(const wire_text_t *text)
{
    apr_uint32_t i;
    unsigned char c;

    for (i = 0; i < text->len; i++) {
        c = (unsigned char)text->data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return 0;
        }
    }
    return 1;
}

/* A field's name is a token of RFC 9110, 5.6.2. */
static int response_token(const wire_text_t *text)
{
    apr_uint32_t i;
    unsigned char c;

    for (i = 0; i < text->len; i++) {
        c = (unsigned char)text->data[i];
        if (!apr_isalnum(c) && c != '-' && (c >= 0x80 || !c || !strchr("!#$%&'*+.^_`|~", c))) {
            return 0;
        }
    }
    return text->len > 0;
}

/* The names that concern one connection only, as wsgiref has them, and RFC 9110's "trailer". */
static int response_hop_by_hop(const wire_text_t *name)
{
    static const struct {
        apr_uint32_t len;
        const char *name;
    } names[] = {
        { 10, "connection" },
        { 10, "keep-alive" },
        { 2, "te" },
        { 18, "proxy-authenticate" },
        { 19, "proxy-authorization" },
        { 7, "trailer" },
        { 17, "transfer-encoding" },
        { 8, "trailers" },
        { 7, "upgrade" },
    };
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].len == name->len && !strncasecmp(names[i].name, name->data, name->len)) {
            return 1;
        }
    }
    return 0;
}

/* "404 Not Found": three digits and a space; 1xx is not a response's own status. */
static apr_status_t response_status(PyObject *object, wire_response_t *head)
{
    wire_text_t text;

    if (response_text(object, "status", &text) != APR_SUCCESS) {
        return APR_EGENERAL;
    }
    if (text.len < 4 || !apr_isdigit(text.data[0]) || !apr_isdigit(text.data[1]) ||
        !apr_isdigit(text.data[2]) || text.data[3] != ' ' || text.data[0] < '2') {
        PyErr_Format(PyExc_ValueError,
                     "status must be three digits from 200 on, a space and a reason: %R", object);
        return APR_EGENERAL;
    }
    head->status = (apr_uint16_t)((text.data[0] - '0') * 100 + (text.data[1] - '0') * 10 +
                                  (text.data[2] - '0'));
    head->reason.data = text.data + 4;
    head->reason.len = text.len - 4;
    if (!response_printable(&head->reason)) {
        PyErr_Format(PyExc_ValueError, "status has a control character: %R", object);
        return APR_EGENERAL;
    }
    return APR_SUCCESS;
}

static apr_status_t response_length(const wire_text_t *value, wire_response_t *head)
{
    apr_int64_t length = 0;
    apr_uint32_t i;

    for (i = 0; i < value->len && i < RESPONSE_LENGTH_DIGITS && apr_isdigit(value->data[i]); i++) {
        length = length * 10 + (value->data[i] - '0');
    }
    if (!value->len || i != value->len) {
        PyErr_Format(PyExc_ValueError, "Content-Length is not a number of bytes: %.100s",
                     value->data);
        return APR_EGENERAL;
    }
    if (head->content_length >= 0 && head->content_length != length) {
        PyErr_SetString(PyExc_ValueError, "two values of Content-Length");
        return APR_EGENERAL;
    }
    head->content_length = length;
    return APR_SUCCESS;
}

/* One (name, value), checked; Content-Length goes to its own place, the others to the next field.
 */
static apr_status_t response_field(PyObject *pair, wire_response_t *head)
{
    wire_field_t *field = &head->fields[head->field_count];

    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
        PyErr_Format(PyExc_TypeError, "a header must be a tuple of name and value, not %R", pair);
        return APR_EGENERAL;
    }
    if (response_text(PyTuple_GET_ITEM(pair, 0), "a header's name", &field->name) != APR_SUCCESS ||
        response_text(PyTuple_GET_ITEM(pair, 1), "a header's value", &field->value) !=
            APR_SUCCESS) {
        return APR_EGENERAL;
    }
    if (!response_token(&field->name)) {
        PyErr_Format(PyExc_ValueError,
                     "a header's name has characters that HTTP does not allow: %R",
                     PyTuple_GET_ITEM(pair, 0));
        return APR_EGENERAL;
    }
    if (!response_printable(&field->value)) {
        PyErr_Format(PyExc_ValueError, "header %U has a control character in its value: %R",
                     PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
        return APR_EGENERAL;
    }
    if (response_hop_by_hop(&field->name)) {
        PyErr_Format(PyExc_ValueError, "header %U is between the server and its client",
                     PyTuple_GET_ITEM(pair, 0));
        return APR_EGENERAL;
    }
    if (field->name.len == 14 && !strncasecmp(field->name.data, "Content-Length", 14)) {
        return response_length(&field->value, head);
    }
    head->field_count++;
    return APR_SUCCESS;
}

static void response_copy_text(wire_text_t *text, char **to)
{
    memcpy(*to, text->data, text->len);
    (*to)[text->len] = '\0';
    text->data = *to;
    *to += text->len + 1;
}

/* Makes the head's texts the request's own. */
static void response_copy(wire_response_t *head, apr_pool_t *p)
{
    apr_size_t size = head->reason.len + 1;
    apr_uint32_t i;
    char *to;

    for (i = 0; i < head->field_count; i++) {
        size += head->fields[i].name.len + head->fields[i].value.len + 2;
    }
    to = apr_palloc(p, size);
    response_copy_text(&head->reason, &to);
    for (i = 0; i < head->field_count; i++) {
        response_copy_text(&head->fields[i].name, &to);
        response_copy_text(&head->fields[i].value, &to);
    }
}

apr_status_t interp_response_start(interp_response_t *response, PyObject *status, PyObject *headers)
{
    request_rec *r = response->thread->r;
    wire_response_t head = { .content_length = -1 };
    Py_ssize_t i;

    if (!PyList_Check(headers)) {
        PyErr_Format(PyExc_TypeError, "headers must be a list, not %.100s",
                     Py_TYPE(headers)->tp_name);
        return response_refuse(response, INTERP_FAULT_HEAD);
    }
    if (PyList_GET_SIZE(headers) > WIRE_RESPONSE_FIELDS_MAX) {
        PyErr_Format(PyExc_ValueError, "more than %d headers", WIRE_RESPONSE_FIELDS_MAX);
        return response_refuse(response, INTERP_FAULT_HEAD);
    }
    if (response_status(status, &head) != APR_SUCCESS) {
        return response_refuse(response, INTERP_FAULT_HEAD);
    }
    head.fields =
        apr_palloc(r->pool, sizeof(wire_field_t) * ((apr_size_t)PyList_GET_SIZE(headers) + 1));
    for (i = 0; i < PyList_GET_SIZE(headers); i++) {
        if (response_field(PyList_GET_ITEM(headers, i), &head) != APR_SUCCESS) {
            return response_refuse(response, INTERP_FAULT_HEAD);
        }
    }
    response_copy(&head, r->pool);
    response->head = head;
    response->started = 1;
    response->bodiless = r->header_only || head.status == 204 || head.status == 304;
    if (head.status == 204) {
        response->head.content_length = -1; /* RFC 9110, 8.6: never with 204 */
    }
    return APR_SUCCESS;
}

/* ---- Sending --------------------------------------------------------------------------------- */

apr_status_t interp_response_head(interp_response_t *response)
{
    apr_status_t rv;

    if (!response->started) {
        PyErr_SetString(PyExc_AssertionError,
                        "the application did not call start_response() first");
        return response_refuse(response, INTERP_FAULT_BODY);
    }
    if (response->given) {
        return APR_SUCCESS;
    }
    rv = interp_exchange_head(response->thread, &response->head);
    if (rv == APR_ECONNABORTED) {
        return rv;
    }
    if (rv != APR_SUCCESS) {
        PyErr_SetString(PyExc_ValueError, "the response's headers are longer than a frame");
        return response_refuse(response, INTERP_FAULT_HEAD);
    }
    response->given = 1;
    return APR_SUCCESS;
}

/* Bytes beyond Content-Length are not sent; the first time that is an error in the log. */
static apr_size_t response_within(interp_response_t *response, apr_size_t len)
{
    const apr_int64_t rest = response->head.content_length - response->sent;
    request_rec *r = response->thread->r;

    if (response->head.content_length < 0 || (apr_int64_t)len <= rest) {
        return len;
    }
    if (!response->excess) {
        response->excess = 1;
        Py_BEGIN_ALLOW_THREADS
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      PIPELOGNO(0514) "%s %s: the body is longer than its Content-Length of "
                                      "%" APR_INT64_T_FMT "; the rest is not sent",
                      r->method, r->uri, response->head.content_length);
        Py_END_ALLOW_THREADS
    }
    return (apr_size_t)rest;
}

/* With the last byte of Content-Length the response ends, in the same frame. */
static apr_status_t response_bytes(interp_response_t *response, const char *data, apr_size_t len,
                                   int more)
{
    interp_send_e how = more ? INTERP_SEND_MORE : INTERP_SEND_NOW;

    response->sent += (apr_int64_t)len;
    if (response->sent == response->head.content_length) {
        how = INTERP_SEND_LAST;
    }
    return interp_exchange_send(response->thread, data, len, how);
}

apr_status_t interp_response_check(interp_response_t *response, PyObject *item)
{
    if (PyBytes_Check(item)) {
        return APR_SUCCESS;
    }
    PyErr_Format(PyExc_TypeError, "the body must be made of bytes, not %.100s",
                 Py_TYPE(item)->tp_name);
    return response_refuse(response, INTERP_FAULT_BODY);
}

apr_status_t interp_response_item(interp_response_t *response, PyObject *item, int more)
{
    apr_size_t len;
    apr_status_t rv = interp_response_check(response, item);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    len = (apr_size_t)PyBytes_GET_SIZE(item);
    if (!len) {
        return APR_SUCCESS;
    }
    rv = interp_response_head(response);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (response->bodiless) {
        return APR_EOF;
    }
    len = response_within(response, len);
    if (!len) {
        return APR_EOF;
    }
    return response_bytes(response, PyBytes_AS_STRING(item), len, more);
}

/* ---- start_response() and write() ------------------------------------------------------------ */

static PyObject *response_write(PyObject *self, PyObject *data)
{
    interp_response_t *response = (interp_response_t *)self;
    apr_status_t rv;

    if (!response->thread) {
        PyErr_SetString(PyExc_ValueError, "write() of a request that is over");
        return NULL;
    }
    rv = interp_response_item(response, data, 0);
    if (rv == APR_EGENERAL) {
        return NULL;
    }
    if (rv != APR_SUCCESS && rv != APR_EOF) {
        PyErr_SetString(PyExc_ConnectionAbortedError, "nobody waits for this response any more");
        return NULL;
    }
    Py_RETURN_NONE;
}

/* With exc_info the application replaces what it has begun, or learns that it is too late. */
static apr_status_t response_replace(interp_response_t *response, PyObject *exc_info)
{
    PyObject *const *parts = NULL;

    if (!PyTuple_Check(exc_info) || PyTuple_GET_SIZE(exc_info) != 3) {
        PyErr_Format(PyExc_TypeError, "exc_info must be a tuple of three, not %R", exc_info);
        return APR_EGENERAL;
    }
    if (!interp_thread_sent(response->thread)) {
        if (response->given) {
            daemon_exchange_reset(response->thread->x);
        }
        response->given = 0;
        response->started = 0;
        return APR_SUCCESS;
    }
    parts = &PyTuple_GET_ITEM(exc_info, 0);
    if (!PyExceptionInstance_Check(parts[1])) {
        PyErr_SetString(PyExc_TypeError, "exc_info does not hold an exception");
        return APR_EGENERAL;
    }
    PyErr_Restore(Py_NewRef(PyExceptionInstance_Class(parts[1])), Py_NewRef(parts[1]),
                  PyTraceBack_Check(parts[2]) ? Py_NewRef(parts[2]) : NULL);
    return APR_EGENERAL;
}

/* The arguments (status, headers, exc_info=None); *exc_info NULL when it was not given. */
static int response_arguments(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                              PyObject **exc_info)
{
    const Py_ssize_t named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;

    *exc_info = NULL;
    if (nargs < 2 || nargs + named > 3 ||
        (named && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "exc_info"))) {
        PyErr_SetString(PyExc_TypeError,
                        "start_response(status, headers, exc_info=None): wrong arguments");
        return -1;
    }
    if (nargs + named == 3 && args[2] != Py_None) {
        *exc_info = args[2];
    }
    return 0;
}

static PyObject *response_call(PyObject *self, PyObject *const *args, size_t nargsf,
                               PyObject *kwnames)
{
    static PyMethodDef write_method = { "write", response_write, METH_O,
                                        "write(data): sends bytes of the body at once." };
    interp_response_t *response = (interp_response_t *)self;
    PyObject *exc_info;

    if (response_arguments(args, PyVectorcall_NARGS(nargsf), kwnames, &exc_info)) {
        return NULL;
    }
    if (!response->thread) {
        PyErr_SetString(PyExc_ValueError, "start_response() of a request that is over");
        return NULL;
    }
    if (exc_info && response_replace(response, exc_info) != APR_SUCCESS) {
        return NULL;
    }
    if (response->started) {
        PyErr_SetString(PyExc_AssertionError,
                        "start_response() was called before; again only with exc_info");
        response_refuse(response, INTERP_FAULT_HEAD);
        return NULL;
    }
    if (interp_response_start(response, args[0], args[1]) != APR_SUCCESS) {
        return NULL;
    }
    return PyCFunction_New(&write_method, self);
}

/* ---- Type ------------------------------------------------------------------------------------ */

static void response_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_XDECREF(((interp_response_t *)self)->body);
    PyObject_Free(self);
    Py_DECREF(type);
}

PyTypeObject *interp_response_type(void)
{
    static PyMemberDef members[] = {
        { "__vectorcalloffset__", T_PYSSIZET, offsetof(interp_response_t, vectorcall), READONLY,
          NULL },
        { NULL, 0, 0, 0, NULL },
    };
    static PyType_Slot slots[] = {
        { Py_tp_dealloc, response_dealloc },
        { Py_tp_call, PyVectorcall_Call },
        { Py_tp_members, members },
        { 0, NULL },
    };
    static PyType_Spec spec = {
        .name = "mod_pipeline.StartResponse",
        .basicsize = sizeof(interp_response_t),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE |
                 Py_TPFLAGS_HAVE_VECTORCALL,
        .slots = slots,
    };

    return (PyTypeObject *)PyType_FromSpec(&spec);
}

PyObject *interp_response_new(interp_thread_t *thread)
{
    interp_response_t *response = PyObject_New(interp_response_t, thread->interp->response_type);

    if (!response) {
        return NULL;
    }
    memset((char *)response + sizeof(PyObject), 0, sizeof(*response) - sizeof(PyObject));
    response->vectorcall = response_call;
    response->thread = thread;
    response->head.content_length = -1;
    response->bodiless = thread->r->header_only;
    return (PyObject *)response;
}
