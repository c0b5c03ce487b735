/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_wsgi.c: calls a WSGI application, and sends what it returns (PEP 3333).
 *
 * A worker thread runs all of it, with the GIL, between interp_thread_begin() and
 * interp_thread_end(). What is at hand (a list or tuple of bytes) goes out in as few frames as it
 * fits; what is yielded goes out before the next item is asked for. Whatever happens, the
 * iterable's close() is called once and the exchange is ended once: whole, or visibly cut.
 */
#include "python/interp_private.h"

#include <apr_strings.h>
#include <http_log.h>

APLOG_USE_MODULE(pipeline);

/* ---- Calling --------------------------------------------------------------------------------- */

/* The response can be used no more, whoever still holds it. */
static void wsgi_release(interp_response_t *response)
{
    response->thread = NULL;
    Py_DECREF(response);
}

/* A response that failed before anything left leaves the exchange as it was. */
static void wsgi_take_back(interp_response_t *response)
{
    if (response->given && !interp_thread_sent(response->thread)) {
        daemon_exchange_reset(response->thread->x);
        response->thread->gathered = 0;
    }
}

apr_status_t interp_wsgi_call(interp_thread_t *thread, PyObject *application, PyObject *env,
                              PyObject **response)
{
    interp_response_t *made = (interp_response_t *)interp_response_new(thread);
    PyObject *args[3] = { NULL, env, (PyObject *)made };

    *response = NULL;
    if (!made) {
        return APR_EGENERAL;
    }
    thread->fault = INTERP_FAULT_NONE;
    made->body =
        PyObject_Vectorcall(application, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (!made->body) {
        wsgi_take_back(made);
        wsgi_release(made);
        return APR_EGENERAL;
    }
    thread->fault = INTERP_FAULT_NONE; /* refused, but the application went on */
    *response = (PyObject *)made;
    return APR_SUCCESS;
}

/* ---- Answers at hand ------------------------------------------------------------------------- */

/* A str or bytes can be iterated, but never yields bytes. */
static apr_status_t wsgi_check_iterable(interp_thread_t *thread, PyObject *body)
{
    if (!PyUnicode_Check(body) && !PyBytes_Check(body) &&
        (Py_TYPE(body)->tp_iter || PySequence_Check(body))) {
        return APR_SUCCESS;
    }
    PyErr_Format(PyExc_TypeError, "the application returned %.100s, not an iterable of bytes",
                 Py_TYPE(body)->tp_name);
    thread->fault = INTERP_FAULT_BODY;
    return APR_EGENERAL;
}

static apr_status_t wsgi_refuse_short(interp_response_t *response, apr_int64_t total)
{
    PyErr_Format(PyExc_ValueError, "the body has %lld bytes, Content-Length says %lld",
                 (long long)total, (long long)response->head.content_length);
    response->thread->fault = INTERP_FAULT_BODY;
    return APR_EGENERAL;
}

static apr_status_t wsgi_check_items(interp_response_t *response, PyObject *body)
{
    PyObject *items = PyObject_GetIter(body);
    PyObject *item;
    apr_int64_t total = 0;
    apr_status_t rv = items ? APR_SUCCESS : APR_EGENERAL;

    while (rv == APR_SUCCESS && (item = PyIter_Next(items))) {
        rv = interp_response_check(response, item);
        total += rv == APR_SUCCESS ? PyBytes_GET_SIZE(item) : 0;
        Py_DECREF(item);
    }
    Py_XDECREF(items);
    if (rv != APR_SUCCESS || PyErr_Occurred()) {
        return APR_EGENERAL;
    }
    if (!response->bodiless && total < response->head.content_length) {
        return wsgi_refuse_short(response, total);
    }
    return APR_SUCCESS;
}

/* What has its items already is looked through; what makes them when it is asked cannot be. */
static apr_status_t wsgi_check_body(interp_response_t *response, PyObject *body)
{
    apr_status_t rv = wsgi_check_iterable(response->thread, body);

    if (rv == APR_SUCCESS &&
        (PyList_Check(body) || PyTuple_Check(body) || PyDict_Check(body) || PyAnySet_Check(body) ||
         PyByteArray_Check(body) || PyMemoryView_Check(body))) {
        rv = wsgi_check_items(response, body);
    }
    return rv;
}

/* A response that has passed the checks, and does not hold its body yet; else NULL. */
static interp_response_t *wsgi_checked(interp_thread_t *thread, PyObject *status, PyObject *headers,
                                       PyObject *body)
{
    interp_response_t *made = (interp_response_t *)interp_response_new(thread);

    if (!made) {
        return NULL;
    }
    thread->fault = INTERP_FAULT_NONE;
    if (interp_response_start(made, status, headers) != APR_SUCCESS ||
        wsgi_check_body(made, body) != APR_SUCCESS) {
        wsgi_release(made);
        return NULL;
    }
    return made;
}

apr_status_t interp_wsgi_answer(interp_thread_t *thread, PyObject *status, PyObject *headers,
                                PyObject *body, PyObject **response)
{
    interp_response_t *made = wsgi_checked(thread, status, headers, body);

    *response = (PyObject *)made;
    if (!made) {
        return APR_EGENERAL;
    }
    made->body = Py_NewRef(body);
    return APR_SUCCESS;
}

apr_status_t interp_wsgi_check(interp_thread_t *thread, PyObject *status, PyObject *headers,
                               PyObject *body)
{
    interp_response_t *made = wsgi_checked(thread, status, headers, body);
    apr_status_t rv;

    if (!made) {
        return APR_EGENERAL;
    }
    rv = interp_response_head(made);
    wsgi_take_back(made);
    wsgi_release(made);
    return rv == APR_EGENERAL ? rv : APR_SUCCESS; /* that nobody waits any more is no fault */
}

/* ---- Sending --------------------------------------------------------------------------------- */

/* All the items are at hand, so their length is known. Without one (an item that is not bytes) the
 * items are taken one by one, up to the wrong one. */
static apr_int64_t wsgi_total(PyObject *const *items, Py_ssize_t count)
{
    apr_int64_t total = 0;
    Py_ssize_t i;

    for (i = 0; i < count; i++) {
        if (!PyBytes_Check(items[i])) {
            return -1;
        }
        total += PyBytes_GET_SIZE(items[i]);
    }
    return total;
}

/* An empty body on HEAD says nothing about what GET would send. */
static void wsgi_set_length(interp_response_t *response, apr_int64_t total)
{
    const int head_only = response->thread->r->header_only;

    if (response->head.content_length < 0 && !response->given && total >= 0 &&
        (!response->bodiless || (head_only && total > 0 && response->head.status != 204 &&
                                 response->head.status != 304))) {
        response->head.content_length = total;
    }
}

static apr_status_t wsgi_send_sequence(interp_response_t *response)
{
    PyObject *const *items = PySequence_Fast_ITEMS(response->body);
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(response->body);
    apr_status_t rv = APR_SUCCESS;
    PyObject *item;
    Py_ssize_t i;

    wsgi_set_length(response, wsgi_total(items, count));
    for (i = 0; i < PySequence_Fast_GET_SIZE(response->body) && rv == APR_SUCCESS; i++) {
        /* The GIL is released inside, and a list may be changed meanwhile. */
        item = Py_NewRef(PySequence_Fast_GET_ITEM(response->body, i));
        rv = interp_response_item(response, item, 1);
        Py_DECREF(item);
    }
    return rv;
}

static apr_status_t wsgi_send_iterable(interp_response_t *response)
{
    apr_status_t rv = wsgi_check_iterable(response->thread, response->body);
    PyObject *items;
    PyObject *item;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    items = PyObject_GetIter(response->body);
    if (!items) {
        return APR_EGENERAL;
    }
    while (rv == APR_SUCCESS && (item = PyIter_Next(items))) {
        rv = interp_response_item(response, item, 0);
        Py_DECREF(item);
    }
    Py_DECREF(items);
    return rv == APR_SUCCESS && PyErr_Occurred() ? APR_EGENERAL : rv;
}

/* A regular file goes out by its descriptor, up to Content-Length or its end. */
static apr_status_t wsgi_send_file(interp_response_t *response, int fd, apr_int64_t offset,
                                   apr_int64_t length)
{
    apr_status_t rv;

    wsgi_set_length(response, length);
    if (response->head.content_length >= 0 &&
        length > response->head.content_length - response->sent) {
        length = response->head.content_length - response->sent;
    }
    rv = interp_response_head(response);
    if (rv != APR_SUCCESS || response->bodiless || length <= 0) {
        return rv;
    }
    response->sent += length;
    return interp_exchange_file(response->thread, fd, offset, length,
                                response->sent == response->head.content_length);
}

static apr_status_t wsgi_send_body(interp_response_t *response)
{
    interp_t *interp = response->thread->interp;
    apr_int64_t offset;
    apr_int64_t length;
    int fd;

    if (PyList_CheckExact(response->body) || PyTuple_CheckExact(response->body)) {
        return wsgi_send_sequence(response);
    }
    if (Py_IS_TYPE(response->body, interp->file_type) &&
        interp_file_real(interp, response->body, &fd, &offset, &length)) {
        return wsgi_send_file(response, fd, offset, length);
    }
    return wsgi_send_iterable(response);
}

/* ---- Ending ---------------------------------------------------------------------------------- */

static apr_status_t wsgi_cut(interp_thread_t *thread)
{
    interp_exchange_finish(thread, 0);
    return APR_INCOMPLETE;
}

/* Fewer bytes than Content-Length: another page while nothing has left, else a cut. */
static apr_status_t wsgi_short(interp_response_t *response)
{
    interp_thread_t *thread = response->thread;
    request_rec *r = thread->r;

    if (!interp_thread_sent(thread)) {
        return wsgi_refuse_short(response, response->sent);
    }
    Py_BEGIN_ALLOW_THREADS
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                  PIPELOGNO(0515) "%s %s: the body ended after %" APR_INT64_T_FMT
                                  " of %" APR_INT64_T_FMT " bytes; the response is cut",
                  r->method, r->uri, response->sent, response->head.content_length);
    Py_END_ALLOW_THREADS
    return wsgi_cut(thread);
}

/* The body is at its end: is the response whole? */
static apr_status_t wsgi_complete(interp_response_t *response)
{
    interp_thread_t *thread = response->thread;
    apr_status_t rv;

    if (thread->ended) {
        return APR_SUCCESS;
    }
    wsgi_set_length(response, response->sent);
    rv = interp_response_head(response);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!response->bodiless && response->sent < response->head.content_length) {
        return wsgi_short(response);
    }
    return interp_exchange_finish(thread, 1);
}

/* Calls close() of what the application returned, once. Keeps an exception that is set. */
static void wsgi_close(interp_response_t *response)
{
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    PyObject *close;
    PyObject *result;

    if (!response->body || PyList_CheckExact(response->body) ||
        PyTuple_CheckExact(response->body)) {
        return;
    }
    PyErr_Fetch(&type, &value, &traceback);
    close = PyObject_GetAttrString(response->body, "close");
    if (close) {
        result = PyObject_CallNoArgs(close);
        Py_DECREF(close);
        if (!result) {
            interp_log_exception(response->thread, response->thread->r,
                                 PIPELOGNO(0516) "close() of the response's body raised");
        }
        Py_XDECREF(result);
    }
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
}

/* The application was told that the client broke off, and let that pass: logged, and cleared. */
static int wsgi_client_gone(interp_thread_t *thread)
{
    request_rec *r = thread->r;

    if (!thread->gone || !PyErr_ExceptionMatches(PyExc_ConnectionError)) {
        return 0;
    }
    PyErr_Clear();
    Py_BEGIN_ALLOW_THREADS
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "%s %s: the client broke off", r->method, r->uri);
    Py_END_ALLOW_THREADS
    return 1;
}

/* The exception that is set came too late for another page. */
static apr_status_t wsgi_fail_late(interp_thread_t *thread)
{
    if (wsgi_client_gone(thread)) {
        return wsgi_cut(thread);
    }
    if (thread->ended) {
        interp_log_exception(thread, thread->r,
                             PIPELOGNO(0516) "raised after the response had been sent whole");
        return APR_SUCCESS;
    }
    if (thread->fault == INTERP_FAULT_NONE) {
        interp_log_exception(thread, thread->r,
                             PIPELOGNO(0511) "raised in mid-response, which is cut");
    } else {
        interp_log_exception(thread, thread->r,
                             PIPELOGNO(0513) "broke a rule of WSGI in mid-response, which is cut");
    }
    return wsgi_cut(thread);
}

/* The exchange took no more. That nobody waits for the response is no error. */
static apr_status_t wsgi_unsent(interp_thread_t *thread, apr_status_t reason)
{
    request_rec *r = thread->r;

    if (reason == APR_ECONNABORTED) {
        interp_exchange_finish(thread, 0);
        return APR_SUCCESS;
    }
    Py_BEGIN_ALLOW_THREADS
    ap_log_rerror(APLOG_MARK, APLOG_ERR, reason, r,
                  PIPELOGNO(0517) "%s %s: the response could not be sent, it is cut", r->method,
                  r->uri);
    Py_END_ALLOW_THREADS
    return wsgi_cut(thread);
}

apr_status_t interp_wsgi_send(PyObject *object)
{
    interp_response_t *response = (interp_response_t *)object;
    interp_thread_t *thread = response->thread;
    apr_status_t rv = wsgi_send_body(response);

    if (rv == APR_SUCCESS || rv == APR_EOF) {
        rv = wsgi_complete(response);
    }
    if (rv == APR_EGENERAL && interp_thread_sent(thread)) {
        rv = wsgi_fail_late(thread);
    } else if (rv == APR_EGENERAL) {
        wsgi_take_back(response);
    } else if (rv != APR_SUCCESS && rv != APR_INCOMPLETE) {
        rv = wsgi_unsent(thread, rv);
    }
    wsgi_close(response);
    wsgi_release(response);
    return rv;
}

void interp_wsgi_drop(PyObject *object)
{
    interp_response_t *response = (interp_response_t *)object;

    wsgi_take_back(response);
    wsgi_close(response);
    wsgi_release(response);
}

/* ---- Failing --------------------------------------------------------------------------------- */

static const char *wsgi_fault_text(interp_fault_e fault)
{
    switch (fault) {
    case INTERP_FAULT_HEAD:
        return PIPELOGNO(0512) "start_response() was refused";
    case INTERP_FAULT_BODY:
        return PIPELOGNO(0513) "the application broke a rule of WSGI";
    default:
        return PIPELOGNO(0510) "the application raised";
    }
}

/* Sends a page; HEAD has its head only. */
static void wsgi_send_page(interp_thread_t *thread, apr_uint16_t status, const char *reason,
                           const char *page)
{
    const apr_size_t len = strlen(page);
    wire_field_t field = { { "Content-Type", 12 }, { "text/html; charset=utf-8", 24 } };
    wire_response_t head = { .status = status,
                             .reason = { reason, (apr_uint32_t)strlen(reason) },
                             .content_length = (apr_int64_t)len,
                             .fields = &field,
                             .field_count = 1 };
    apr_status_t rv;

    daemon_exchange_reset(thread->x);
    rv = interp_exchange_head(thread, &head);
    if (rv == APR_SUCCESS && !thread->r->header_only) {
        rv = interp_exchange_send(thread, page, len, INTERP_SEND_LAST);
    }
    interp_exchange_finish(thread, rv == APR_SUCCESS);
}

static const char *wsgi_page(apr_pool_t *p, const char *title, const char *text)
{
    return apr_psprintf(p,
                        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>%s</title></head>\n"
                        "<body>\n<h1>%s</h1>\n<p>%s</p>\n</body>\n</html>\n",
                        title, title, text);
}

static void wsgi_send_error(interp_thread_t *thread)
{
    static const char title[] = "Internal Server Error";
    apr_pool_t *p = thread->r->pool;
    const char *text = apr_psprintf(p,
                                    "The application failed to answer this request. The server's "
                                    "log has the reason, under the id <code>%s</code>.",
                                    ap_escape_html(p, interp_thread_label(thread)));

    wsgi_send_page(thread, 500, title, wsgi_page(p, title, text));
}

static void wsgi_send_bad_request(interp_thread_t *thread)
{
    static const char title[] = "Bad Request";
    static const char text[] = "The body of this request did not arrive whole.";

    wsgi_send_page(thread, 400, title, wsgi_page(thread->r->pool, title, text));
}

void interp_wsgi_fail(interp_thread_t *thread)
{
    if (interp_thread_sent(thread)) {
        wsgi_fail_late(thread);
    } else if (wsgi_client_gone(thread)) {
        wsgi_send_bad_request(thread);
    } else {
        interp_log_exception(thread, thread->r, wsgi_fault_text(thread->fault));
        wsgi_send_error(thread);
    }
}
