/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child_request.c: one request from the handler to its end, in a child's thread.
 *
 * The thread takes a channel, sends the ticket, and then sleeps in poll() until the worker, or the
 * client, has something for it.  For a small answer that is send, poll and recv, and no more.
 */
#include "server/child.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include <apr_portable.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mod_core.h>

#include "server/child_call.h"

APLOG_USE_MODULE(pipeline);

#define STREAM_POLL \
    10 /* ms between two looks at the body of an HTTP/2 stream, which has no socket */
#define LOST_TICKET 200 /* ms after which a ticket is sent again if a daemon died meanwhile */
#define ANSWER_LOOK \
    1000 /* ms between two looks whether the worker that took the ticket is still at it */
#define OLDER_LOOK \
    20 /* ms after which a ticket with an older instance may have to move to the new one */
#define CALL_MOVES \
    (APR_OS_START_USERERR + 100) /* another instance serves now: take the ticket there */
#define LOOK_MOST   60000000     /* us; a look once a minute costs nothing */
#define RETRY_AFTER "5"          /* s; what a 503 asks the client to wait */

/* What a connection remembers: the channel it used last, whose memory is warm. */
typedef struct child_connection_t {
    apr_uint32_t hint;
} child_connection_t;

int child_connection(conn_rec *c, void *csd)
{
    child_connection_t *memory = apr_palloc(c->pool, sizeof(*memory));

    (void)csd;
    memory->hint = (apr_uint32_t)c->id;
    ap_set_module_config(c->conn_config, &pipeline_module, memory);
    return DECLINED;
}

static child_connection_t *connection_memory(const request_rec *r)
{
    return ap_get_module_config(r->connection->conn_config, &pipeline_module);
}

static int unavailable(request_rec *r, const scoreboard_instance_t *instance)
{
    if (instance != NULL) {
        atomic_fetch_add_explicit(&instance->board->refused, 1, memory_order_relaxed);
    }
    apr_table_setn(r->err_headers_out, "Retry-After", RETRY_AFTER);
    return HTTP_SERVICE_UNAVAILABLE;
}

static int client_descriptor(const request_rec *r)
{
    apr_socket_t *socket;
    apr_os_sock_t fd;

    if (r->connection->master != NULL) {
        return -1;
    }
    socket = ap_get_conn_socket(r->connection);
    return socket != NULL && apr_os_sock_get(&fd, socket) == APR_SUCCESS ? fd : -1;
}

static void call_init(child_call_t *call, request_rec *r, char *arena)
{
    memset(call, 0, sizeof(*call));
    call->r = r;
    call->mount = ap_get_module_config(r->request_config, &pipeline_module);
    call->timeout = call->mount->group->request_timeout;
    call->client_fd = client_descriptor(r);
    call->arena = arena;
    call->answer = apr_brigade_create(r->pool, r->connection->bucket_alloc);
}

/* The request is whole, as far as it has to be: from now on it waits for a worker. */
static void call_begin(child_call_t *call)
{
    call->instance = child_place_choose(call->mount);
    call->started = scoreboard_clock();
    call->queue_deadline = call->started + call->mount->group->queue_timeout;
}

/* us between two looks after a ticket that nobody has taken. */
static apr_int64_t ticket_look(const child_call_t *call)
{
    return (child_place_is_older(call) ? OLDER_LOOK : LOST_TICKET) * 1000;
}

/* ms that poll() may sleep. */
static int wait_limit(child_call_t *call, apr_int64_t last)
{
    apr_int64_t now = scoreboard_clock();
    apr_int64_t left = call->queue_deadline - now;

    if (call->claimed) {
        left = call->timeout > 0 ? last + call->timeout - now : APR_INT64_MAX;
        left = left < ANSWER_LOOK * 1000 ? left : ANSWER_LOOK * 1000;
    } else if (left > ticket_look(call)) {
        left = ticket_look(call);
    }
    if (call->client_fd < 0 && left > STREAM_POLL * 1000) {
        left = call->out == CHILD_OUT_BODY ? STREAM_POLL * 1000 : LOST_TICKET * 1000;
    }
    if (left > LOOK_MOST) {
        left = LOOK_MOST;
    }
    return left <= 0 ? 0 : (int)((left + 999) / 1000);
}

/* Sleeps until there is something to do.  Returns what poll() returns. */
static int call_wait(child_call_t *call, apr_int64_t last, int *channel_ready, int *client_ready)
{
    struct pollfd watched[2] = { { .fd = call->lease.fd, .events = POLLIN },
                                 { .fd = call->client_fd } };
    int n;

    watched[0].events = (short)(POLLIN | (call->channel_full ? POLLOUT : 0));
    watched[1].events = (short)(POLLRDHUP | (call->body_starved ? POLLIN : 0));
    n = poll(watched, call->client_fd >= 0 ? 2 : 1, wait_limit(call, last));
    *channel_ready = n > 0 && watched[0].revents & POLLIN;
    *client_ready = n > 0 && call->client_fd >= 0 ? watched[1].revents : 0;
    return n;
}

/* Takes in every frame that is there, as far as the arena has room.  Behind a window there is
 * rarely one, since the worker has only begun to wait for body. */
static apr_status_t frames_take(child_call_t *call)
{
    apr_status_t rv = APR_SUCCESS;

    call->window_opened = 0;
    while (rv == APR_SUCCESS && call->in < CHILD_IN_COMPLETE && !call->window_opened &&
           call->arena_used + WIRE_FRAME_MAX <= CHILD_ARENA) {
        char *frame = call->arena + call->arena_used;
        apr_size_t got;
        int passed;

        rv = scoreboard_channel_recv(call->lease.fd, frame, WIRE_FRAME_MAX, 0, &got, &passed);
        if (rv == APR_SUCCESS) {
            rv = child_response_frame(call, frame, got, passed);
            call->arena_used += (got + 15) & ~(apr_size_t)15;
        }
    }
    return APR_STATUS_IS_EAGAIN(rv) || APR_STATUS_IS_EINTR(rv) ? APR_SUCCESS : rv;
}

/* A bare head waits for what follows: filters see a file together with the end of its response, and
 * an application that fails right behind its head still gets an error page. */
static apr_status_t response_forward(child_call_t *call)
{
    apr_status_t rv = frames_take(call);

    if (rv == APR_SUCCESS && call->in != CHILD_IN_CUT &&
        (call->in == CHILD_IN_COMPLETE || !APR_BRIGADE_EMPTY(call->answer))) {
        rv = child_response_pass(call, 1);
    }
    call->arena_used = 0;
    return rv;
}

static int ticket_claimed(child_call_t *call)
{
    if (!call->claimed && !call->withdrawn) {
        call->claimed =
            scoreboard_channel_claimed(call->instance, call->lease.index, call->lease.req);
    }
    return call->claimed;
}

/* Takes the ticket back, for rv; unless a worker has just taken it, which goes on then. */
static apr_status_t ticket_withdraw(child_call_t *call, apr_status_t rv)
{
    call->withdrawn = scoreboard_channel_withdraw(&call->lease);
    return call->withdrawn ? rv : APR_SUCCESS;
}

/*
 * A worker may have died between taking the ticket and claiming it.  Once a daemon has died, a
 * ticket that nobody has claimed is sent again; if it was not lost, the second one is dropped
 * unread.
 */
static apr_status_t ticket_watch(child_call_t *call, apr_int64_t *last)
{
    scoreboard_instance_t *instance = call->instance;
    const scoreboard_instance_t *place;

    if (ticket_claimed(call)) {
        *last = scoreboard_clock();
        return APR_SUCCESS;
    }
    place = child_place_choose(call->mount);
    if (scoreboard_clock() >= call->queue_deadline || place == NULL) {
        return ticket_withdraw(call, APR_TIMEUP);
    }
    if (place != instance && call->body_sent == 0) {
        return ticket_withdraw(call, CALL_MOVES);
    }
    if (call->deaths != atomic_load(&instance->board->deaths)) {
        return child_ticket_resend(call) == OK ? APR_SUCCESS : APR_EGENERAL;
    }
    return APR_SUCCESS;
}

/* A worker that lets go has sent its last frame before; one that died has its claim taken away, and
 * the word about it is lost if the channel was full. */
static apr_status_t worker_watch(const child_call_t *call)
{
    struct pollfd channel = { .fd = call->lease.fd, .events = POLLIN };

    if (scoreboard_channel_served(call->instance, call->lease.index, call->lease.req)) {
        return APR_SUCCESS;
    }
    return poll(&channel, 1, 0) == 0 ? APR_EOF : APR_SUCCESS;
}

/* Nothing has come for a while. */
static apr_status_t answer_watch(child_call_t *call, apr_int64_t last)
{
    if (call->timeout <= 0 || scoreboard_clock() - last < call->timeout) {
        return worker_watch(call);
    }
    if (call->body_starved) { /* it is the client that owes us something */
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, call->r,
                      PIPELOGNO(0210) "the client stopped sending its request's body");
        call->body_status = HTTP_REQUEST_TIME_OUT;
    }
    return APR_TIMEUP;
}

/* One turn: send what can be sent, sleep, take what has come. */
static apr_status_t call_turn(child_call_t *call, apr_int64_t *last)
{
    int channel_ready;
    int client_ready;
    int n;
    apr_int64_t sent = call->body_sent;
    apr_status_t rv = child_pump(call);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (call->body_sent != sent) { /* a worker that is sent a body by and by is not silent */
        *last = scoreboard_clock();
    }
    n = call_wait(call, *last, &channel_ready, &client_ready);
    if (channel_ready) {
        if (ticket_claimed(call)) { /* else they are frames of a request before */
            *last = scoreboard_clock();
        }
        return response_forward(call);
    }
    if (client_ready & (POLLRDHUP | POLLHUP | POLLERR) || call->r->connection->aborted) {
        call->client_gone = !(client_ready & POLLIN);
        return call->client_gone ? APR_ECONNABORTED : APR_SUCCESS;
    }
    if (n == 0) {
        rv = call->claimed ? answer_watch(call, *last) : ticket_watch(call, last);
    }
    return rv;
}

static apr_status_t call_run(child_call_t *call)
{
    apr_int64_t last = call->started;
    apr_status_t rv = APR_SUCCESS;

    while (rv == APR_SUCCESS && call->in < CHILD_IN_COMPLETE) {
        rv = call_turn(call, &last);
    }
    return rv;
}

/* A head that came, and has not been passed on, gives way to an error page. */
static void response_forget(child_call_t *call)
{
    apr_brigade_cleanup(call->answer);
    apr_table_clear(call->r->headers_out);
    call->r->status = HTTP_OK;
    call->r->status_line = NULL;
}

/* The application failed behind its head, of which nothing has been passed on; its worker has
 * logged why, under the id that the page shows. */
static int application_failed(child_call_t *call)
{
    request_rec *r = call->r;
    const char *id = r->log_id;

    if (id == NULL) {
        id = scoreboard_request_id(r->pool, r->request_time, call->lease.index, call->lease.req);
    }
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                  PIPELOGNO(0209) "the application failed in mid-response, of which nothing was "
                                  "passed on (%s)",
                  id);
    apr_table_setn(r->notes, "verbose-error-to", "*"); /* httpd's word for: anybody may read it */
    apr_table_setn(r->notes, "error-notes",
                   apr_pstrcat(r->pool, "<p>The application failed. The log has the reason under ",
                               ap_escape_html(r->pool, id), ".</p>", NULL));
    return HTTP_INTERNAL_SERVER_ERROR;
}

/* The status of a call that ended before a response began. */
static int call_failed(child_call_t *call, apr_status_t rv)
{
    request_rec *r = call->r;

    if (call->body_status != 0) {
        return call->body_status;
    }
    if (!ticket_claimed(call)) {
        if (child_place_choose(call->mount) == NULL) {
            call->instance = NULL; /* while it waited the loading failed */
            return HTTP_SERVICE_UNAVAILABLE;
        }
        ap_log_rerror(
            APLOG_MARK, APLOG_ERR, 0, r,
            PIPELOGNO(0201) "no worker of process group %s took the request within %" APR_TIME_T_FMT
                            " ms",
            call->instance->name, (scoreboard_clock() - call->started) / 1000);
        return HTTP_SERVICE_UNAVAILABLE;
    }
    atomic_fetch_add_explicit(&call->instance->board->aborted, 1, memory_order_relaxed);
    response_forget(call);
    if (APR_STATUS_IS_TIMEUP(rv)) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      PIPELOGNO(0205) "process group %s did not answer within request-timeout",
                      call->instance->name);
        return HTTP_GATEWAY_TIME_OUT;
    }
    if (call->failed) {
        return application_failed(call);
    }
    ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, r,
                  PIPELOGNO(0202) "a worker of process group %s ended before it answered",
                  call->instance->name);
    return HTTP_BAD_GATEWAY;
}

static int call_cut(child_call_t *call, apr_status_t rv)
{
    atomic_fetch_add_explicit(&call->instance->board->aborted, 1, memory_order_relaxed);
    ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, call->r,
                  PIPELOGNO(0206) "process group %s broke off its response; the client sees it cut",
                  call->instance->name);
    return child_response_cut(call);
}

/* What httpd is told; everything but a complete response is cancelled first. */
static int call_end(child_call_t *call, apr_status_t rv)
{
    if (call->in == CHILD_IN_COMPLETE) {
        return OK;
    }
    child_cancel(call);
    if (call->client_gone) {
        atomic_fetch_add_explicit(&call->instance->board->cancelled, 1, memory_order_relaxed);
        call->r->connection->aborted = 1;
        call->r->connection->keepalive = AP_CONN_CLOSE;
        return DONE;
    }
    return call->passed ? call_cut(call, rv) : call_failed(call, rv);
}

static apr_status_t call_acquire(child_call_t *call)
{
    child_connection_t *memory = connection_memory(call->r);
    apr_uint32_t hint = memory != NULL ? memory->hint : 0;
    apr_status_t rv =
        scoreboard_channel_acquire(call->instance, hint, call->queue_deadline, &call->lease);

    if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, call->r,
                      PIPELOGNO(0207) "all channels of process group %s are in use",
                      call->instance->name);
        return rv;
    }
    if (memory != NULL) {
        memory->hint = call->lease.index;
    }
    return APR_SUCCESS;
}

/* Takes the ticket from an instance that serves no more to the one that does. */
static int call_move(child_call_t *call)
{
    child_cancel(call);
    scoreboard_channel_release(&call->lease);
    call->instance = child_place_choose(call->mount);
    call->withdrawn = 0;
    if (call->instance == NULL || call_acquire(call) != APR_SUCCESS) {
        call->lease.instance = NULL;
        return HTTP_SERVICE_UNAVAILABLE;
    }
    return child_ticket_move(call);
}

static int call_do(child_call_t *call)
{
    apr_status_t rv;
    int status;

    if (call_acquire(call) != APR_SUCCESS) {
        return HTTP_SERVICE_UNAVAILABLE;
    }
    status = child_ticket_send(call);
    while (status == OK) {
        rv = call_run(call);
        if (rv != CALL_MOVES) {
            status = call_end(call, rv);
            break;
        }
        status = call_move(call);
    }
    if (call->lease.instance != NULL) {
        scoreboard_channel_release(&call->lease);
    }
    return status;
}

static int place_missing(request_rec *r, const config_group_t *group)
{
    ap_log_rerror(
        APLOG_MARK, APLOG_ERR, 0, r,
        PIPELOGNO(0200) "process group %s could not load its applications, and there is no "
                        "older generation to serve",
        group->name);
    return unavailable(r, group->instance);
}

int child_handle(request_rec *r)
{
    char arena[CHILD_ARENA]; /* on the stack: httpd's threads have 8 MB, and only what is used is
                                touched */
    child_call_t call;
    int status;

    if (r->handler == NULL || strcmp(r->handler, CHILD_HANDLER) != 0 ||
        ap_get_module_config(r->request_config, &pipeline_module) == NULL) {
        return DECLINED;
    }
    if (r->method_number == M_TRACE) {
        return ap_send_http_trace(r); /* which heeds TraceEnable */
    }
    call_init(&call, r, arena);
    status = child_body_gather(&call);
    if (status != OK) {
        return status;
    }
    call_begin(&call);
    if (call.instance != NULL) {
        status = call_do(&call);
    }
    if (call.instance == NULL) {
        return place_missing(r, call.mount->group);
    }
    if (status == HTTP_SERVICE_UNAVAILABLE) {
        (void)unavailable(r, call.instance);
    }
    atomic_fetch_add_explicit(&call.instance->board->requests, 1, memory_order_relaxed);
    scoreboard_latency_add(call.instance->board, scoreboard_clock() - call.started);
    return status;
}
