/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_exchange.c: a worker's end of one request.  Worker threads, each with its own exchange;
 * daemon_exchange.h has the states.
 *
 *   1. out holds the frame that is gathered: its header's room, then, before SENT, the response's
 *      head, then body bytes.  It is sent when it is full, when the caller wants it out, or at the
 *      end.
 *   2. Nothing here blocks in send: while the channel is full the worker takes in what comes, so
 *      that a child which sends body can go on to receive.
 *   3. The child sends at most WIRE_BODY_WINDOW bytes ahead of what was read and told to it, so
 *      `body` never overflows; a child that sends more is treated as gone.
 *   4. In a process that an application has forked the request counts as cancelled: nothing is sent
 *      or received there, and the scoreboard is left alone.
 */
#include "server/daemon_private.h"

#include <poll.h>
#include <string.h>

#define LOOK \
    1000 /* ms between two looks whether a request that cannot be sent to is still wanted */

const wire_head_t *daemon_exchange_head(const daemon_exchange_t *x)
{
    return &x->head;
}

const config_mount_t *daemon_exchange_mount(const daemon_exchange_t *x)
{
    return x->mount;
}

int daemon_exchange_sent(const daemon_exchange_t *x)
{
    return x->state >= EXCHANGE_SENT;
}

int daemon_exchange_cancelled(const daemon_exchange_t *x)
{
    return x->cancelled || atomic_load(&x->instance->channels[x->channel].req) != x->req ||
           daemon_fork_crossed(x->daemon);
}

void daemon_exchange_begin(daemon_exchange_t *x, apr_byte_t flags, const char *rest, apr_size_t len)
{
    x->body_next = x->body;
    x->body_len = 0;
    x->body_taken = 0;
    x->body_on_demand = flags & WIRE_ON_DEMAND;
    x->body_state = flags & WIRE_FINAL ? EXCHANGE_BODY_ENDED : EXCHANGE_BODY_OPEN;
    if (len > 0 && len <= WIRE_BODY_WINDOW) {
        memcpy(x->body, rest, len);
        x->body_len = len;
    }
}

/* Moves what is not read yet out of the way of the next frame. */
static void body_settle(daemon_exchange_t *x)
{
    if (x->body_len > 0 && x->body_next != x->body) {
        memmove(x->body, x->body_next, x->body_len);
    }
    x->body_next = x->body;
}

/* Alone, a frame's bytes stay where they were received; behind others, they are put there. */
static void body_add(daemon_exchange_t *x, const char *data, apr_size_t len)
{
    if (len > WIRE_BODY_WINDOW - x->body_len) {
        x->cancelled = 1;
        return;
    }
    if (x->body_len == 0) {
        x->body_next = data;
    } else {
        memcpy(x->body + x->body_len, data, len);
    }
    x->body_len += len;
}

static void frame_take(daemon_exchange_t *x, apr_size_t size)
{
    wire_header_t header;

    if (wire_header_decode(x->in, size, &header) != APR_SUCCESS || header.req != x->req) {
        return;
    }
    switch (header.type) {
    case WIRE_BODY:
        body_add(x, x->in + WIRE_HEADER_SIZE, size - WIRE_HEADER_SIZE);
        if (header.flags & WIRE_FINAL) {
            x->body_state = EXCHANGE_BODY_ENDED;
        }
        break;
    case WIRE_BODY_END:
        x->body_state = header.flags & WIRE_ABORTED ? EXCHANGE_BODY_CUT : EXCHANGE_BODY_ENDED;
        break;
    case WIRE_CANCEL:
        x->cancelled = 1;
        break;
    default:
        break;
    }
}

/* What a receive came to, for who waits. */
static apr_status_t received(daemon_exchange_t *x, apr_status_t rv)
{
    if (daemon_exchange_cancelled(x)) {
        x->cancelled = 1;
        return APR_ECONNABORTED;
    }
    return APR_STATUS_IS_EAGAIN(rv) || APR_STATUS_IS_EINTR(rv) ? APR_SUCCESS : rv;
}

/* Takes in one frame; block 0: only if there is one. */
static apr_status_t exchange_receive(daemon_exchange_t *x, int block)
{
    apr_size_t got;
    apr_status_t rv;

    if (daemon_fork_crossed(x->daemon)) {
        return APR_ECONNABORTED;
    }
    body_settle(x);
    rv = scoreboard_channel_recv(x->fd, x->in, WIRE_FRAME_MAX, block, &got, NULL);
    if (rv == APR_SUCCESS) {
        frame_take(x, got);
    }
    return received(x, rv);
}

/* Sends a frame of our own, taking in what comes as long as there is no room. */
static apr_status_t exchange_send(daemon_exchange_t *x, const struct iovec *pieces, int count,
                                  int passed)
{
    for (;;) {
        struct pollfd watched = { .fd = x->fd, .events = POLLIN | POLLOUT };
        apr_status_t rv;

        if (daemon_exchange_cancelled(x)) {
            x->cancelled = 1;
            return APR_ECONNABORTED;
        }
        rv = scoreboard_channel_send(x->fd, pieces, count, passed);
        if (rv != APR_EAGAIN) {
            return rv;
        }
        if (poll(&watched, 1, LOOK) > 0 && watched.revents & POLLIN) {
            rv = exchange_receive(x, 0);
            if (rv != APR_SUCCESS) {
                return rv;
            }
        }
    }
}

static void header_write(const daemon_exchange_t *x, wire_type_e type, apr_byte_t flags, char *out)
{
    wire_header_t header = {
        .type = (apr_byte_t)type, .flags = flags, .channel = (apr_uint16_t)x->channel, .req = x->req
    };

    wire_header_encode(&header, out);
}

/* Sends what is gathered, and `len` bytes behind it. */
static apr_status_t out_send(daemon_exchange_t *x, const char *data, apr_size_t len,
                             apr_byte_t flags)
{
    struct iovec pieces[2] = { { x->out, x->out_len }, { (void *)data, len } };
    wire_type_e type = x->state == EXCHANGE_HEAD ? WIRE_RESPONSE : WIRE_DATA;
    apr_status_t rv;

    header_write(x, type, flags, x->out);
    rv = exchange_send(x, pieces, len > 0 ? 2 : 1, -1);
    x->out_len = WIRE_HEADER_SIZE;
    if (x->state == EXCHANGE_HEAD) {
        x->state = EXCHANGE_SENT;
    }
    return rv;
}

static int out_pending(const daemon_exchange_t *x)
{
    return x->state == EXCHANGE_HEAD || x->out_len > WIRE_HEADER_SIZE;
}

apr_status_t daemon_exchange_head_set(daemon_exchange_t *x, const wire_response_t *head)
{
    apr_size_t written = 0;
    apr_status_t rv;

    if (x->state != EXCHANGE_OPEN) {
        return APR_EINVAL;
    }
    rv = wire_response_encode(head, x->out + WIRE_HEADER_SIZE, WIRE_FRAME_MAX - WIRE_HEADER_SIZE,
                              &written);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    x->out_len = WIRE_HEADER_SIZE + written;
    x->status = head->status;
    x->state = EXCHANGE_HEAD;
    return APR_SUCCESS;
}

apr_status_t daemon_exchange_reset(daemon_exchange_t *x)
{
    if (x->state >= EXCHANGE_SENT) {
        return APR_EINVAL;
    }
    x->state = EXCHANGE_OPEN;
    x->status = 0;
    x->out_len = WIRE_HEADER_SIZE;
    return APR_SUCCESS;
}

apr_status_t daemon_exchange_write(daemon_exchange_t *x, const char *data, apr_size_t len, int more)
{
    if (x->state == EXCHANGE_OPEN || x->state == EXCHANGE_DONE) {
        return APR_EINVAL;
    }
    while (len > WIRE_FRAME_MAX - x->out_len) {
        apr_size_t part = WIRE_FRAME_MAX - x->out_len;
        apr_status_t rv = out_send(x, data, part, 0);

        if (rv != APR_SUCCESS) {
            return rv;
        }
        data += part;
        len -= part;
    }
    if (!more) {
        return len > 0 || out_pending(x) ? out_send(x, data, len, 0) : APR_SUCCESS;
    }
    memcpy(x->out + x->out_len, data, len);
    x->out_len += len;
    return APR_SUCCESS;
}

apr_status_t daemon_exchange_flush(daemon_exchange_t *x)
{
    return daemon_exchange_write(x, "", 0, 0);
}

apr_status_t daemon_exchange_file(daemon_exchange_t *x, int fd, apr_int64_t offset,
                                  apr_int64_t length, int last)
{
    wire_file_t file = { .offset = offset, .length = length };
    char bytes[WIRE_HEADER_SIZE + WIRE_FILE_SIZE];
    struct iovec piece = { bytes, sizeof(bytes) };
    apr_status_t rv = daemon_exchange_flush(x);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    header_write(x, WIRE_FILE, last ? WIRE_FINAL : 0, bytes);
    wire_file_encode(&file, bytes + WIRE_HEADER_SIZE);
    if (last && !daemon_fork_crossed(x->daemon)) {
        scoreboard_channel_finishing(x->instance, x->channel, x->req, x->worker);
    }
    rv = exchange_send(x, &piece, 1, fd);
    if (last) {
        x->state = EXCHANGE_DONE;
    }
    return rv;
}

static apr_status_t end_send(daemon_exchange_t *x, apr_byte_t flags)
{
    char bytes[WIRE_HEADER_SIZE];
    struct iovec piece = { bytes, sizeof(bytes) };

    header_write(x, WIRE_END, flags, bytes);
    return exchange_send(x, &piece, 1, -1);
}

apr_status_t daemon_exchange_finish(daemon_exchange_t *x, int complete)
{
    apr_status_t rv = APR_SUCCESS;

    if (x->state == EXCHANGE_DONE) {
        return APR_SUCCESS;
    }
    if (daemon_fork_crossed(x->daemon)) {
        x->state = EXCHANGE_DONE;
        return APR_ECONNABORTED;
    }
    if (!complete) {
        if (x->state == EXCHANGE_SENT && out_pending(x)) {
            rv = out_send(x, NULL, 0, 0);
        }
        x->status = 0;
    }
    if (rv == APR_SUCCESS) {
        scoreboard_channel_finishing(x->instance, x->channel, x->req, x->worker);
        if (complete && x->state != EXCHANGE_OPEN && out_pending(x)) {
            rv = out_send(x, NULL, 0, WIRE_FINAL);
        } else {
            rv = end_send(x, complete && x->state == EXCHANGE_SENT ? 0 : WIRE_ABORTED | WIRE_FINAL);
        }
    }
    x->state = EXCHANGE_DONE;
    return rv;
}

/* Lets the child send so many bytes more. */
static apr_status_t window_send(daemon_exchange_t *x, apr_size_t credit)
{
    char bytes[WIRE_HEADER_SIZE + WIRE_WINDOW_SIZE];
    struct iovec piece = { bytes, sizeof(bytes) };

    header_write(x, WIRE_WINDOW, 0, bytes);
    wire_window_encode((apr_uint32_t)credit, bytes + WIRE_HEADER_SIZE);
    return exchange_send(x, &piece, 1, -1);
}

/* Tells the child how much was read, once that is half of what it may send ahead. */
static apr_status_t window_open(daemon_exchange_t *x)
{
    apr_size_t taken = x->body_taken;

    if (x->body_state != EXCHANGE_BODY_OPEN || taken < WIRE_BODY_WINDOW / 2) {
        return APR_SUCCESS;
    }
    x->body_taken = 0;
    return window_send(x, taken);
}

/* Waits for body bytes, or the body's end. */
static apr_status_t body_wait(daemon_exchange_t *x)
{
    apr_status_t rv = APR_SUCCESS;

    if (x->body_on_demand) {
        x->body_on_demand = 0;
        rv = window_send(x, WIRE_BODY_WINDOW);
    }
    return rv == APR_SUCCESS ? exchange_receive(x, 1) : rv;
}

apr_status_t daemon_exchange_read(daemon_exchange_t *x, char *buffer, apr_size_t len,
                                  apr_size_t *got)
{
    *got = 0;
    while (x->body_len == 0) {
        apr_status_t rv;

        if (x->body_state != EXCHANGE_BODY_OPEN) {
            return x->body_state == EXCHANGE_BODY_ENDED ? APR_EOF : APR_INCOMPLETE;
        }
        rv = body_wait(x);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    *got = len < x->body_len ? len : x->body_len;
    memcpy(buffer, x->body_next, *got);
    x->body_next += *got;
    x->body_len -= *got;
    x->body_taken += *got;
    return window_open(x);
}
