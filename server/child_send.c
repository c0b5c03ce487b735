/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child_send.c: the request's way out: the ticket into the group's queue, then, over the channel,
 * what is left of a long head and the body, as far as the worker has given credit.  Child threads.
 */
#include "server/child_call.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include <http_core.h>
#include <http_log.h>

APLOG_USE_MODULE(pipeline);

#define PIECES_MAX (CHILD_BODY_PIECES + 2) /* frame header, head, body */

static void header_write(const child_call_t *call, wire_type_e type, apr_byte_t flags, char *out)
{
    wire_header_t header = { .type = (apr_byte_t)type,
                             .flags = flags,
                             .channel = (apr_uint16_t)call->lease.index,
                             .req = call->lease.req };

    wire_header_encode(&header, out);
}

/* The queue is full when requests come faster than tickets are taken; wait for room, within limits.
 */
static apr_status_t queue_send(child_call_t *call, const struct iovec *pieces, int count)
{
    scoreboard_instance_t *instance = call->instance;

    for (;;) {
        struct pollfd room = { .fd = instance->queue_send, .events = POLLOUT };
        apr_status_t rv = scoreboard_channel_send(instance->queue_send, pieces, count, -1);

        if (rv != APR_EAGAIN) {
            return rv;
        }
        if (scoreboard_clock() >= call->queue_deadline || child_place_failed(instance)) {
            return APR_TIMEUP;
        }
        (void)poll(&room, 1, 50); /* ms; short, since the group may fail to load meanwhile */
    }
}

/* Whether the body waits until a worker asks for it: the client does, or the ticket may have to
 * move. */
static int is_on_demand(const child_call_t *call)
{
    return call->r->expecting_100 || child_place_is_older(call);
}

/* Adds what is at hand of the body to a ticket with `room` bytes left; sets the flags. */
static apr_status_t ticket_body(child_call_t *call, const wire_head_t *head, apr_size_t room,
                                struct iovec *pieces, int *count, apr_size_t *bytes,
                                apr_byte_t *flags)
{
    apr_size_t most = room < CHILD_BODY_SMALL ? room : CHILD_BODY_SMALL;
    apr_status_t rv;
    int final = 0;

    *count = 0;
    *bytes = 0;
    if (head->content_length == 0) {
        *flags |= WIRE_FINAL;
        return APR_SUCCESS;
    }
    *flags |= WIRE_HAS_BODY;
    if (is_on_demand(call)) {
        *flags |= WIRE_ON_DEMAND;
        return APR_SUCCESS;
    }
    rv = child_body_fill(call, most);
    if (rv == APR_SUCCESS) {
        rv = child_body_pieces(call, most, pieces, count, bytes, &final);
    }
    if (final) {
        *flags |= WIRE_FINAL;
    }
    return rv;
}

static int ticket_failed(child_call_t *call, apr_status_t rv)
{
    if (call->body_status != 0) {
        return call->body_status;
    }
    if (call->client_gone) {
        return HTTP_BAD_REQUEST;
    }
    if (rv == APR_TIMEUP) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, call->r,
                      PIPELOGNO(0208) "the queue of process group %s is full",
                      call->instance->name);
        return HTTP_SERVICE_UNAVAILABLE;
    }
    ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, call->r,
                  PIPELOGNO(0203) "cannot send a ticket to process group %s", call->instance->name);
    return HTTP_INTERNAL_SERVER_ERROR;
}

/* Keeps a ticket that cannot be built again, since it may have to be sent again. */
static void ticket_keep(child_call_t *call, const struct iovec *pieces, int count)
{
    int i;

    call->ticket_len = 0;
    for (i = 0; i < count; i++) {
        call->ticket_len += pieces[i].iov_len;
    }
    call->ticket = apr_palloc(call->r->pool, call->ticket_len);
    call->ticket_len = 0;
    for (i = 0; i < count; i++) {
        memcpy(call->ticket + call->ticket_len, pieces[i].iov_base, pieces[i].iov_len);
        call->ticket_len += pieces[i].iov_len;
    }
}

int child_ticket_resend(child_call_t *call)
{
    struct iovec piece = { call->ticket, call->ticket_len };

    if (call->ticket == NULL) {
        return child_ticket_send(call);
    }
    call->deaths = atomic_load(&call->instance->board->deaths);
    return queue_send(call, &piece, 1) == APR_SUCCESS ? OK : HTTP_SERVICE_UNAVAILABLE;
}

int child_ticket_move(child_call_t *call)
{
    wire_header_t header;

    if (!call->inlined) {
        return child_ticket_send(call);
    }
    if (wire_header_decode(call->ticket, call->ticket_len, &header) != APR_SUCCESS) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    header_write(call, WIRE_TICKET, header.flags, call->ticket);
    return child_ticket_resend(call);
}

/* A head that does not fit into one frame: the ticket has its first piece, the channel the rest. */
static apr_status_t ticket_long(child_call_t *call, const char *bytes, apr_size_t size,
                                apr_byte_t flags)
{
    apr_size_t first = WIRE_FRAME_MAX - WIRE_HEADER_SIZE;
    char header[WIRE_HEADER_SIZE];
    struct iovec pieces[2] = { { header, sizeof(header) }, { (void *)bytes, first } };

    header_write(call, WIRE_TICKET, flags | WIRE_MORE, header);
    call->out = CHILD_OUT_HEAD;
    call->rest = bytes + first;
    call->rest_len = size - first;
    ticket_keep(call, pieces, 2);
    return queue_send(call, pieces, 2);
}

static apr_status_t ticket_short(child_call_t *call, const wire_head_t *head, const char *bytes,
                                 apr_size_t size)
{
    char header[WIRE_HEADER_SIZE];
    struct iovec pieces[PIECES_MAX] = { { header, sizeof(header) }, { (void *)bytes, size } };
    apr_byte_t flags = 0;
    apr_size_t taken;
    int count;
    apr_status_t rv = ticket_body(call, head, WIRE_FRAME_MAX - WIRE_HEADER_SIZE - size, pieces + 2,
                                  &count, &taken, &flags);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    header_write(call, WIRE_TICKET, flags, header);
    if (call->has_body) {
        ticket_keep(call, pieces, 2 + count);
    }
    rv = queue_send(call, pieces, 2 + count);
    call->out = flags & WIRE_FINAL ? CHILD_OUT_CLOSED : CHILD_OUT_BODY;
    call->credit = flags & WIRE_ON_DEMAND ? 0 : WIRE_BODY_WINDOW - (apr_int64_t)taken;
    call->inlined = taken > 0;
    if (call->inlined) {
        child_body_sent(call, taken);
    }
    return rv;
}

static apr_byte_t body_flags(const child_call_t *call)
{
    if (!call->has_body) {
        return WIRE_FINAL;
    }
    return is_on_demand(call) ? WIRE_HAS_BODY | WIRE_ON_DEMAND : WIRE_HAS_BODY;
}

int child_ticket_send(child_call_t *call)
{
    char small[8192]; /* most heads; a longer one is encoded in the request's pool */
    char *bytes = small;
    wire_head_t head;
    apr_size_t size;
    apr_status_t rv;

    child_head_build(call, &head);
    size = wire_head_size(&head);
    if (size > WIRE_HEAD_MAX) {
        return HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE;
    }
    if (size > sizeof(small)) {
        bytes = apr_palloc(call->r->pool, size);
    }
    rv = wire_head_encode(&head, bytes, size, &size);
    if (rv != APR_SUCCESS) {
        return HTTP_BAD_REQUEST;
    }
    call->has_body = head.content_length != 0;
    call->deaths = atomic_load(&call->instance->board->deaths);
    if (size > WIRE_FRAME_MAX - WIRE_HEADER_SIZE) {
        call->credit = is_on_demand(call) ? 0 : WIRE_BODY_WINDOW;
        rv = ticket_long(call, bytes, size, body_flags(call));
    } else {
        rv = ticket_short(call, &head, bytes, size);
    }
    return rv == APR_SUCCESS ? OK : ticket_failed(call, rv);
}

static apr_status_t head_piece_send(child_call_t *call)
{
    apr_size_t most = WIRE_FRAME_MAX - WIRE_HEADER_SIZE;
    apr_size_t size = call->rest_len < most ? call->rest_len : most;
    char header[WIRE_HEADER_SIZE];
    struct iovec pieces[2] = { { header, sizeof(header) }, { (void *)call->rest, size } };
    apr_status_t rv;

    header_write(call, WIRE_HEAD, size < call->rest_len ? WIRE_MORE : 0, header);
    rv = scoreboard_channel_send(call->lease.fd, pieces, 2, -1);
    if (rv != APR_SUCCESS) {
        call->channel_full = rv == APR_EAGAIN;
        return rv;
    }
    call->rest += size;
    call->rest_len -= size;
    if (call->rest_len == 0) {
        call->out = call->has_body ? CHILD_OUT_BODY : CHILD_OUT_CLOSED;
    }
    return APR_SUCCESS;
}

static apr_status_t body_piece_send(child_call_t *call)
{
    apr_size_t most = WIRE_FRAME_MAX - WIRE_HEADER_SIZE;
    char header[WIRE_HEADER_SIZE];
    struct iovec pieces[PIECES_MAX] = { { header, sizeof(header) } };
    apr_size_t bytes;
    apr_status_t rv;
    int count;
    int final;

    most =
        (apr_int64_t)most < call->credit ? most : (apr_size_t)(call->credit > 0 ? call->credit : 0);
    if (most == 0) {
        return APR_EAGAIN; /* the worker will say when it wants more */
    }
    rv = child_body_fill(call, most);
    if (rv == APR_SUCCESS) {
        rv = child_body_pieces(call, most, pieces + 1, &count, &bytes, &final);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (bytes == 0 && !final) {
        return APR_EAGAIN;
    }
    header_write(call, WIRE_BODY, final ? WIRE_FINAL : 0, header);
    rv = scoreboard_channel_send(call->lease.fd, pieces, 1 + count, -1);
    if (rv != APR_SUCCESS) {
        call->channel_full = rv == APR_EAGAIN;
        return rv;
    }
    call->credit -= (apr_int64_t)bytes;
    call->body_sent += (apr_int64_t)bytes;
    child_body_sent(call, bytes);
    if (final) {
        call->out = CHILD_OUT_CLOSED;
    }
    return APR_SUCCESS;
}

apr_status_t child_pump(child_call_t *call)
{
    apr_status_t rv = APR_SUCCESS;

    call->channel_full = 0;
    call->body_starved = 0;
    while (rv == APR_SUCCESS && call->out != CHILD_OUT_CLOSED) {
        rv = call->out == CHILD_OUT_HEAD ? head_piece_send(call) : body_piece_send(call);
    }
    return rv == APR_EAGAIN ? APR_SUCCESS : rv;
}

void child_cancel(const child_call_t *call)
{
    char header[WIRE_HEADER_SIZE];
    struct iovec piece = { header, sizeof(header) };

    header_write(call, WIRE_CANCEL, 0, header);
    (void)scoreboard_channel_send(call->lease.fd, &piece, 1,
                                  -1); /* req says so too, if this does not fit */
}
