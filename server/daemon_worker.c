/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_worker.c: a worker thread: takes a ticket, claims its channel, has it answered.
 *
 * Between two requests the worker sleeps in recv() on the group's queue, where the kernel gives
 * each ticket to one of those that sleep, in order.  A trivial request costs it two system calls:
 * that one, and the send of its answer.
 */
#include "server/daemon_private.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_strings.h>
#include <http_config.h>
#include <http_log.h>

APLOG_USE_MODULE(pipeline);

static apr_uint32_t worker_number(const daemon_worker_t *w)
{
    return w->daemon->plan.slot * w->daemon->plan.instance->board->threads + (apr_uint32_t)w->index;
}

/* The next piece of a long head; frames of other requests are dropped. */
static apr_status_t head_piece_recv(const daemon_exchange_t *x, apr_size_t *got, int *more)
{
    for (;;) {
        wire_header_t header;
        apr_status_t rv = scoreboard_channel_recv(x->fd, x->in, WIRE_FRAME_MAX, 1, got, NULL);

        if (daemon_exchange_cancelled(x)) {
            return APR_ECONNABORTED;
        }
        if (APR_STATUS_IS_EAGAIN(rv) || APR_STATUS_IS_EINTR(rv)) {
            continue;
        }
        if (rv == APR_SUCCESS) {
            rv = wire_header_decode(x->in, *got, &header);
        }
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (header.req == x->req && header.type == WIRE_HEAD) {
            *got -= WIRE_HEADER_SIZE;
            *more = header.flags & WIRE_MORE;
            return APR_SUCCESS;
        }
    }
}

static apr_status_t head_gather(daemon_worker_t *w, const char **bytes, apr_size_t *size)
{
    char *all = apr_palloc(w->request_pool, WIRE_HEAD_MAX);
    apr_size_t have = *size;
    int more = 1;

    memcpy(all, *bytes, have);
    while (more) {
        apr_size_t got;
        apr_status_t rv = head_piece_recv(&w->exchange, &got, &more);

        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (got > WIRE_HEAD_MAX - have) {
            return APR_EINVAL;
        }
        memcpy(all + have, w->exchange.in + WIRE_HEADER_SIZE, got);
        have += got;
    }
    *bytes = all;
    *size = have;
    return APR_SUCCESS;
}

static apr_status_t head_decode(daemon_worker_t *w, const char *bytes, apr_size_t size,
                                apr_size_t *used)
{
    wire_head_t *head = &w->exchange.head;
    apr_status_t rv = wire_head_decode(bytes, size, w->fields, DAEMON_FIELDS, head, used);

    if (rv == APR_ENOSPC && *used <= WIRE_FIELDS_MAX) {
        apr_uint32_t room = (apr_uint32_t)*used;
        wire_field_t *fields = apr_palloc(w->request_pool, room * sizeof(*fields));

        rv = wire_head_decode(bytes, size, fields, room, head, used);
    }
    return rv;
}

/* Reads the head, and what came with it, into the exchange. */
static apr_status_t ticket_read(daemon_worker_t *w, const wire_header_t *header, apr_size_t size)
{
    daemon_exchange_t *x = &w->exchange;
    const char *bytes = w->ticket + WIRE_HEADER_SIZE;
    apr_size_t used = 0;
    apr_status_t rv = APR_SUCCESS;

    size -= WIRE_HEADER_SIZE;
    if (header->flags & WIRE_MORE) {
        rv = head_gather(w, &bytes, &size);
    }
    if (rv == APR_SUCCESS) {
        rv = head_decode(w, bytes, size, &used);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    daemon_exchange_begin(x, header->flags, bytes + used, size - used);
    x->mount = config_mount_by_id(w->daemon->plan.group, x->head.mount);
    return x->mount != NULL ? APR_SUCCESS : APR_ENOENT;
}

/* The channel is ours: answers the request. */
static void ticket_answer(daemon_worker_t *w, const wire_header_t *header, apr_size_t size)
{
    daemon_exchange_t *x = &w->exchange;
    apr_status_t rv = ticket_read(w, header, size);

    if (rv == APR_SUCCESS) {
        request_rec *r = daemon_request_make(w, x);

        ap_set_module_config(r->request_config, &pipeline_module, x);
        w->daemon->api->handle(w->thread_state, r, x);
        if (daemon_fork_crossed(w->daemon)) {
            _exit(0); /* the application forked, and its child came back here */
        }
    } else if (rv != APR_ECONNABORTED) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, w->daemon->plan.server,
                     PIPELOGNO(0333) "process group %s: a ticket that cannot be answered",
                     w->daemon->plan.group->name);
    }
    if (x->state != EXCHANGE_DONE) {
        (void)daemon_exchange_finish(x, 0);
    }
}

static void row_begin(daemon_worker_t *w, apr_int64_t now)
{
    atomic_store_explicit(&w->row->req, w->exchange.req, memory_order_relaxed);
    atomic_store_explicit(&w->row->since, now, memory_order_relaxed);
    atomic_store_explicit(&w->row->busy, w->exchange.channel + 1, memory_order_release);
}

static void row_end(daemon_worker_t *w, apr_int64_t began)
{
    apr_int64_t now = scoreboard_clock();
    int bad = w->exchange.status == 0 || w->exchange.status >= 500;

    atomic_fetch_add_explicit(&w->row->requests, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->row->errors, (apr_uint64_t)bad, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->row->busy_us, (apr_uint64_t)(now - began), memory_order_relaxed);
    atomic_store_explicit(&w->row->since, now, memory_order_relaxed);
    atomic_store_explicit(&w->row->busy, 0, memory_order_release);
}

/* After maximum-requests the manager starts a successor; this process serves until that is ready.
 */
static void recycle_ask(daemon_t *d)
{
    int limit = d->plan.group->maximum_requests;
    char message = DAEMON_RECYCLE;

    if (atomic_fetch_add(&d->served, 1) + 1 == (apr_uint32_t)limit && limit > 0 &&
        !atomic_exchange(&d->recycled, 1)) {
        (void)send(d->plan.control, &message, 1, MSG_NOSIGNAL);
    }
}

static void ticket_serve(daemon_worker_t *w, apr_size_t size)
{
    scoreboard_instance_t *instance = w->daemon->plan.instance;
    daemon_exchange_t *x = &w->exchange;
    wire_header_t header;
    apr_int64_t began;

    if (wire_header_decode(w->ticket, size, &header) != APR_SUCCESS || header.type != WIRE_TICKET ||
        header.channel >= instance->board->channel_count) {
        return;
    }
    if (scoreboard_channel_claim(instance, header.channel, header.req, worker_number(w)) !=
        APR_SUCCESS) {
        return;
    }
    began = scoreboard_clock();
    x->daemon = w->daemon;
    x->instance = instance;
    x->channel = header.channel;
    x->req = header.req;
    x->worker = worker_number(w);
    x->fd = instance->daemon_end[header.channel];
    x->state = EXCHANGE_OPEN;
    x->status = 0;
    x->cancelled = 0;
    x->out_len = WIRE_HEADER_SIZE;
    row_begin(w, began);
    ticket_answer(w, &header, size);
    scoreboard_channel_unclaim(instance, x->channel, x->req, x->worker);
    row_end(w, began);
    apr_pool_clear(w->request_pool);
    recycle_ask(w->daemon);
}

static apr_status_t worker_prepare(daemon_worker_t *w)
{
    apr_allocator_t *allocator;
    apr_status_t rv = apr_allocator_create(&allocator);

    if (rv == APR_SUCCESS) {
        rv = apr_pool_create_ex(&w->pool, NULL, NULL, allocator);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_allocator_owner_set(allocator, w->pool);
    apr_pool_tag(w->pool, "pipeline-worker");
    apr_pool_create(&w->request_pool, w->pool);
    apr_pool_tag(w->request_pool, "pipeline-request");
    w->fields = apr_palloc(w->pool, DAEMON_FIELDS * sizeof(*w->fields));
    w->ticket = apr_palloc(w->pool, WIRE_FRAME_MAX);
    w->exchange.in = apr_palloc(w->pool, WIRE_FRAME_MAX);
    w->exchange.out = apr_palloc(w->pool, WIRE_FRAME_MAX);
    w->exchange.body = apr_palloc(w->pool, WIRE_BODY_WINDOW);
    daemon_connection_make(w);
    return w->daemon->api->thread_start(w->daemon->interp, w->index, &w->thread_state, w->pool);
}

/* Without its queue a worker is of no use, and would only look busy: the manager starts another. */
static void queue_lost(const daemon_worker_t *w, apr_status_t rv)
{
    ap_log_error(APLOG_MARK, APLOG_CRIT, rv, w->daemon->plan.server,
                 PIPELOGNO(0334) "process group %s: the queue cannot be read; has an application "
                                 "closed descriptors that are not its own?",
                 w->daemon->plan.group->name);
    _exit(DAEMON_EXIT_QUEUE);
}

static void tickets_take(daemon_worker_t *w)
{
    int queue = w->daemon->plan.instance->queue_recv;

    while (!atomic_load(&w->daemon->draining)) {
        apr_size_t got;
        apr_status_t rv = scoreboard_channel_recv(queue, w->ticket, WIRE_FRAME_MAX, 1, &got, NULL);

        if (rv == APR_SUCCESS) {
            ticket_serve(w, got);
        } else if (!APR_STATUS_IS_EINTR(rv) && !APR_STATUS_IS_EAGAIN(rv)) {
            queue_lost(w, rv);
        }
    }
}

static void *worker_run(void *data)
{
    daemon_worker_t *w = data;
    apr_status_t rv = worker_prepare(w);

    if (rv != APR_SUCCESS) {
        daemon_worker_failed(w->daemon, w->index, rv);
    }
    tickets_take(w);
    w->daemon->api->thread_stop(w->thread_state);
    atomic_store(&w->left, 1);
    return NULL;
}

/* A daemon short of a worker would look as though it served. */
void daemon_worker_failed(const daemon_t *daemon, int index, apr_status_t rv)
{
    ap_log_error(APLOG_MARK, APLOG_CRIT, rv, daemon->plan.server,
                 PIPELOGNO(0332) "process group %s: cannot start worker thread %d",
                 daemon->plan.group->name, index);
    _exit(DAEMON_EXIT_LOAD);
}

apr_status_t daemon_worker_start(daemon_t *daemon, int index, daemon_worker_t *worker)
{
    worker->daemon = daemon;
    worker->index = index;
    worker->row = &daemon->plan.instance->workers[worker_number(worker)];
    return pthread_create(&worker->thread, NULL, worker_run, worker);
}

void daemon_worker_wake(const daemon_worker_t *worker)
{
    (void)pthread_kill(worker->thread, DAEMON_WAKE);
}
