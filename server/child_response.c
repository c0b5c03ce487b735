/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child_response.c: frames from a worker, as httpd's response.  Child threads.
 *
 * Invariants:
 *   1. Once the head has passed, the response ends COMPLETE by an END or a FINAL frame alone; any
 *      other end is shown to the client as a cut response.
 *   2. Transient buckets point into the call's arena, so the arena is reused only after a pass.
 *   3. A descriptor that came with a frame is closed here, or owned by the request's pool.
 */
#include "server/child_call.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_portable.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>

APLOG_USE_MODULE(pipeline);

static apr_status_t content_length_set(request_rec *r, apr_int64_t length)
{
    if (length >= 0) {
        ap_set_content_length(r, length);
    }
    return APR_SUCCESS;
}

static void field_add(request_rec *r, const wire_field_t *field)
{
    if (!ap_cstr_casecmp(field->name.data, "Content-Type")) {
        ap_set_content_type(r, field->value.data);
    } else if (ap_cstr_casecmp(field->name.data, "Content-Length")) {
        apr_table_addn(r->headers_out, field->name.data, field->value.data);
    }
}

/* httpd's own line for a status is left to httpd; another one, or that of a status it does not
 * know, is made here. */
static const char *status_line(request_rec *r, const wire_response_t *head)
{
    const char *usual = ap_get_status_line(head->status);

    if (atoi(usual) == head->status &&
        (head->reason.len == 0 || strcmp(usual + 4, head->reason.data) == 0)) {
        return NULL;
    }
    return apr_psprintf(r->pool, "%03d %s", head->status, head->reason.data);
}

/* Decodes a response head into the request; *used: bytes of it, after which body bytes stand. */
static apr_status_t head_take(child_call_t *call, const char *bytes, apr_size_t size,
                              apr_size_t *used)
{
    request_rec *r = call->r;
    wire_field_t fields[WIRE_RESPONSE_FIELDS_MAX];
    wire_response_t head;
    const char *copy;
    apr_uint32_t i;
    apr_status_t rv =
        wire_response_decode(bytes, size, fields, WIRE_RESPONSE_FIELDS_MAX, &head, used);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    copy = apr_pmemdup(r->pool, bytes, *used); /* the headers live as long as the request */
    rv = wire_response_decode(copy, *used, fields, WIRE_RESPONSE_FIELDS_MAX, &head, used);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    r->status = head.status;
    r->status_line = status_line(r, &head);
    for (i = 0; i < head.field_count; i++) {
        field_add(r, &head.fields[i]);
    }
    return content_length_set(r, head.content_length);
}

static void data_add(child_call_t *call, const char *data, apr_size_t size)
{
    apr_bucket *bucket;

    if (size > 0) {
        bucket = apr_bucket_transient_create(data, size, call->answer->bucket_alloc);
        APR_BRIGADE_INSERT_TAIL(call->answer, bucket);
    }
}

/*
 * A part of a file: a descriptor of the request's pool, since HTTP/2 may hold the bucket for longer
 * than this call and would leak a bare one.
 */
static apr_status_t file_add(child_call_t *call, const wire_file_t *file, int passed)
{
    apr_pool_t *pool = call->r->pool;
    apr_file_t *bare = NULL;
    apr_file_t *owned = NULL;
    apr_status_t rv =
        apr_os_file_put(&bare, &passed, APR_FOPEN_READ | APR_FOPEN_SENDFILE_ENABLED, pool);

    if (rv == APR_SUCCESS) {
        rv = apr_file_dup(&owned, bare, pool);
    }
    if (rv == APR_SUCCESS && file->length > 0) {
        (void)apr_brigade_insert_file(call->answer, owned, file->offset, file->length, pool);
    }
    return rv;
}

static apr_status_t response_begin(child_call_t *call, const char *bytes, apr_size_t size)
{
    apr_size_t used = 0;
    apr_status_t rv = APR_EINVAL;

    if (call->in == CHILD_IN_WAITING) {
        rv = head_take(call, bytes, size, &used);
    }
    if (rv == APR_SUCCESS) {
        call->in = CHILD_IN_STREAMING;
        data_add(call, bytes + used, size - used);
    }
    return rv;
}

static apr_status_t file_take(child_call_t *call, const char *bytes, apr_size_t size, int passed)
{
    wire_file_t file;
    apr_status_t rv = wire_file_decode(bytes, size, &file);

    if (rv != APR_SUCCESS || passed < 0 || call->in != CHILD_IN_STREAMING) {
        return APR_EINVAL;
    }
    return file_add(call, &file, passed);
}

static void end_take(child_call_t *call, apr_byte_t flags)
{
    if (flags & WIRE_ABORTED || call->in != CHILD_IN_STREAMING) {
        call->failed = (flags & WIRE_FINAL) != 0;
        call->in = CHILD_IN_CUT;
    } else {
        call->in = CHILD_IN_COMPLETE;
    }
}

static apr_status_t window_take(child_call_t *call, const char *bytes, apr_size_t size)
{
    apr_uint32_t credit;
    apr_status_t rv = wire_window_decode(bytes, size, &credit);

    if (rv == APR_SUCCESS) {
        call->credit += credit;
        call->window_opened = 1;
    }
    return rv;
}

static apr_status_t frame_take(child_call_t *call, const wire_header_t *header, const char *bytes,
                               apr_size_t size, int passed)
{
    apr_status_t rv = APR_SUCCESS;

    switch (header->type) {
    case WIRE_RESPONSE:
        rv = response_begin(call, bytes, size);
        break;
    case WIRE_DATA:
        rv = call->in == CHILD_IN_STREAMING ? APR_SUCCESS : APR_EINVAL;
        data_add(call, bytes, rv == APR_SUCCESS ? size : 0);
        break;
    case WIRE_FILE:
        rv = file_take(call, bytes, size, passed);
        break;
    case WIRE_WINDOW:
        return window_take(call, bytes, size);
    case WIRE_END:
        end_take(call, header->flags);
        return APR_SUCCESS;
    default:
        rv = APR_EINVAL;
    }
    if (rv == APR_SUCCESS && header->flags & WIRE_FINAL) {
        end_take(call, 0);
    }
    return rv;
}

apr_status_t child_response_frame(child_call_t *call, const char *frame, apr_size_t size,
                                  int passed)
{
    wire_header_t header;
    apr_status_t rv = wire_header_decode(frame, size, &header);

    if (rv == APR_SUCCESS && header.req == call->lease.req) {
        rv = frame_take(call, &header, frame + WIRE_HEADER_SIZE, size - WIRE_HEADER_SIZE, passed);
    }
    if (passed >= 0) {
        (void)close(passed);
    }
    if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, call->r,
                      PIPELOGNO(0204) "process group %s sent a frame that makes no sense (type %d)",
                      call->instance->name, size > 0 ? frame[0] : 0);
        call->in = CHILD_IN_CUT;
    }
    return rv;
}

/*
 * httpd reads the rest of a request's body before it writes out the end of a response; a client
 * that waits for the response before it sends more would wait for ever.
 */
static void connection_flush(child_call_t *call)
{
    conn_rec *c = call->r->connection;

    APR_BRIGADE_INSERT_TAIL(call->answer, apr_bucket_flush_create(c->bucket_alloc));
    (void)ap_pass_brigade(c->output_filters, call->answer);
    apr_brigade_cleanup(call->answer);
}

apr_status_t child_response_pass(child_call_t *call, int flush)
{
    request_rec *r = call->r;
    apr_bucket_alloc_t *alloc = r->connection->bucket_alloc;
    apr_status_t rv;

    if (call->in == CHILD_IN_COMPLETE) {
        APR_BRIGADE_INSERT_TAIL(call->answer, apr_bucket_eos_create(alloc));
    } else if (flush) {
        APR_BRIGADE_INSERT_TAIL(call->answer, apr_bucket_flush_create(alloc));
    }
    call->passed = 1;
    rv = ap_pass_brigade(r->output_filters, call->answer);
    apr_brigade_cleanup(call->answer);
    if (rv != APR_SUCCESS || r->connection->aborted) {
        call->client_gone = 1;
        return rv != APR_SUCCESS ? rv : APR_ECONNABORTED;
    }
    if (call->in == CHILD_IN_COMPLETE && call->out != CHILD_OUT_CLOSED) {
        connection_flush(call);
    }
    return APR_SUCCESS;
}

/* HTTP/1.0 without a length: the end of the connection is the end of the body, so it must be a
 * reset. */
static void connection_reset(request_rec *r)
{
    apr_socket_t *socket = ap_get_conn_socket(r->connection);
    struct linger linger = { .l_onoff = 1, .l_linger = 0 };
    apr_os_sock_t fd;

    if (socket != NULL && apr_os_sock_get(&fd, socket) == APR_SUCCESS) {
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    r->connection->aborted = 1;
}

int child_response_cut(child_call_t *call)
{
    request_rec *r = call->r;
    apr_bucket_alloc_t *alloc = r->connection->bucket_alloc;

    r->connection->keepalive = AP_CONN_CLOSE;
    APR_BRIGADE_INSERT_TAIL(call->answer,
                            ap_bucket_error_create(HTTP_BAD_GATEWAY, NULL, r->pool, alloc));
    APR_BRIGADE_INSERT_TAIL(call->answer, apr_bucket_eos_create(alloc));
    (void)ap_pass_brigade(r->output_filters, call->answer);
    apr_brigade_cleanup(call->answer);
    if (r->proto_num < HTTP_VERSION(1, 1) && r->connection->master == NULL) {
        connection_reset(r);
    }
    return DONE;
}
