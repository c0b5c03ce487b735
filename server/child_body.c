/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child_body.c: the request's body from httpd's input filters to frames, in a child's thread.
 *
 * Once a worker is asked for, reads never block, so that the response streams out while the body
 * streams in; only a small body is awaited, before that.  What was read and not yet sent stays in
 * call->body, whose buckets are sent from where they lie.
 */
#include "server/child_call.h"

#include <apr_strings.h>
#include <http_protocol.h>

static int brigade_ended(const apr_bucket_brigade *body)
{
    return !APR_BRIGADE_EMPTY(body) && APR_BUCKET_IS_EOS(APR_BRIGADE_LAST(body));
}

/* The status that a failed read means for the client; the client that left gets none. */
static void read_failed(child_call_t *call, apr_status_t rv)
{
    if (APR_STATUS_IS_ECONNRESET(rv) || APR_STATUS_IS_ECONNABORTED(rv) || APR_STATUS_IS_EOF(rv) ||
        APR_STATUS_IS_EPIPE(rv) || call->r->connection->aborted) {
        call->client_gone = 1;
        return;
    }
    call->body_status = ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
}

/* A filter may lend its own buffer, as mod_ssl does, until it is asked to read again. */
static apr_status_t body_keep(child_call_t *call, apr_bucket_brigade *part)
{
    apr_bucket *bucket;
    apr_bucket *next;

    for (bucket = APR_BRIGADE_FIRST(part); bucket != APR_BRIGADE_SENTINEL(part); bucket = next) {
        apr_status_t rv = apr_bucket_setaside(bucket, call->r->pool);

        if (rv != APR_SUCCESS && rv != APR_ENOTIMPL) {
            return rv;
        }
        next = APR_BUCKET_NEXT(bucket);
    }
    APR_BRIGADE_CONCAT(call->body, part);
    return APR_SUCCESS;
}

/* One read; APR_EAGAIN: nothing there now. */
static apr_status_t body_read(child_call_t *call, apr_size_t most, apr_read_type_e block)
{
    request_rec *r = call->r;
    apr_bucket_brigade *part = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    apr_status_t rv =
        ap_get_brigade(r->input_filters, part, AP_MODE_READBYTES, block, (apr_off_t)most);

    if (rv == APR_SUCCESS && APR_BRIGADE_EMPTY(part)) {
        rv = APR_EAGAIN;
    }
    if (rv == APR_SUCCESS) {
        rv = body_keep(call, part);
    }
    apr_brigade_destroy(part);
    return rv;
}

/* httpd says "100 Continue" by itself before a blocking read only. */
static void continue_send(request_rec *r)
{
    int status = r->status;
    const char *line = r->status_line;

    r->status = HTTP_CONTINUE;
    r->status_line = NULL;
    ap_send_interim_response(r, 0);
    r->status = status;
    r->status_line = line;
}

apr_status_t child_body_fill(child_call_t *call, apr_size_t most)
{
    apr_off_t have = 0;
    apr_status_t rv = APR_SUCCESS;

    if (call->body == NULL) {
        call->body = apr_brigade_create(call->r->pool, call->r->connection->bucket_alloc);
    }
    (void)apr_brigade_length(call->body, 0, &have);
    while (rv == APR_SUCCESS && have < (apr_off_t)most && !brigade_ended(call->body)) {
        rv = body_read(call, most - (apr_size_t)have, APR_NONBLOCK_READ);
        (void)apr_brigade_length(call->body, 0, &have);
    }
    call->body_starved = APR_STATUS_IS_EAGAIN(rv);
    if (call->body_starved && have == 0 && call->r->expecting_100) {
        continue_send(call->r);
    }
    if (rv != APR_SUCCESS && !call->body_starved) {
        read_failed(call, rv);
        return rv;
    }
    return APR_SUCCESS;
}

apr_status_t child_body_pieces(child_call_t *call, apr_size_t most, struct iovec *pieces,
                               int *count, apr_size_t *bytes, int *final)
{
    apr_bucket *bucket = APR_BRIGADE_FIRST(call->body);

    *count = 0;
    *bytes = 0;
    *final = 0;
    for (; bucket != APR_BRIGADE_SENTINEL(call->body); bucket = APR_BUCKET_NEXT(bucket)) {
        const char *data;
        apr_size_t len;
        apr_status_t rv;

        if (APR_BUCKET_IS_EOS(bucket)) {
            *final = 1;
            break;
        }
        if (APR_BUCKET_IS_METADATA(bucket)) {
            continue;
        }
        if (*bytes == most || *count == CHILD_BODY_PIECES) {
            break;
        }
        rv = apr_bucket_read(bucket, &data, &len, APR_BLOCK_READ); /* in memory already */
        if (rv != APR_SUCCESS) {
            read_failed(call, rv);
            return rv;
        }
        len = len < most - *bytes ? len : most - *bytes;
        pieces[*count].iov_base = (void *)data;
        pieces[*count].iov_len = len;
        *bytes += len;
        (*count)++;
        if (len < bucket->length) {
            break;
        }
    }
    return APR_SUCCESS;
}

void child_body_sent(child_call_t *call, apr_size_t bytes)
{
    while (!APR_BRIGADE_EMPTY(call->body)) {
        apr_bucket *bucket = APR_BRIGADE_FIRST(call->body);

        if (!APR_BUCKET_IS_METADATA(bucket) && bucket->length > bytes) {
            if (bytes > 0) {
                (void)apr_bucket_split(bucket, bytes);
                apr_bucket_delete(bucket);
            }
            return;
        }
        if (APR_BUCKET_IS_EOS(bucket)) {
            return;
        }
        bytes -= APR_BUCKET_IS_METADATA(bucket) ? 0 : bucket->length;
        apr_bucket_delete(bucket);
    }
}

static int is_small(const request_rec *r)
{
    const char *length = apr_table_get(r->headers_in, "Content-Length");
    apr_int64_t bytes = length != NULL ? apr_atoi64(length) : 0;

    return bytes > 0 && bytes <= CHILD_BODY_SMALL && !r->expecting_100 &&
           apr_table_get(r->headers_in, "Transfer-Encoding") == NULL;
}

int child_body_gather(child_call_t *call)
{
    apr_status_t rv = APR_SUCCESS;

    if (!is_small(call->r)) {
        return OK;
    }
    call->body = apr_brigade_create(call->r->pool, call->r->connection->bucket_alloc);
    while (rv == APR_SUCCESS && !brigade_ended(call->body)) {
        rv = body_read(call, CHILD_BODY_SMALL, APR_BLOCK_READ);
    }
    if (rv == APR_SUCCESS) {
        return OK;
    }
    read_failed(call, rv);
    return call->client_gone ? HTTP_BAD_REQUEST : call->body_status;
}
