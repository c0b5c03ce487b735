/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child_call.h: one request as the child's thread sees it; shared by child_*.c only.
 *
 * A call lives on the stack of child_handle().  States of its two directions:
 *
 *   out (request):   HEAD (pieces of a long head left) -> BODY (open) -> CLOSED
 *   in (response):   WAITING -> STREAMING (the head has passed) -> COMPLETE | CUT
 */
#ifndef SERVER_CHILD_CALL_H
#define SERVER_CHILD_CALL_H

#include <httpd.h>
#include <util_filter.h>

#include "server/config.h"
#include "server/scoreboard_channel.h"
#include "server/wire_frame.h"

/* Frames are received one behind the other into this much, and passed on together. */
#define CHILD_ARENA (2u * WIRE_FRAME_MAX)

typedef enum { CHILD_OUT_HEAD, CHILD_OUT_BODY, CHILD_OUT_CLOSED } child_out_e;
typedef enum { CHILD_IN_WAITING, CHILD_IN_STREAMING, CHILD_IN_COMPLETE, CHILD_IN_CUT } child_in_e;

typedef struct child_call_t {
    request_rec *r;
    const config_mount_t *mount;
    scoreboard_instance_t *instance;
    scoreboard_lease_t lease;
    apr_int64_t started;         /* us, CLOCK_MONOTONIC */
    apr_int64_t queue_deadline;  /* to be claimed until then */
    apr_interval_time_t timeout; /* us without a frame from a worker that has claimed it; 0 none */
    int claimed;
    int withdrawn;       /* no worker has taken the ticket, and none will */
    int inlined;         /* the ticket has body in it */
    apr_uint32_t deaths; /* of daemons, when the ticket was sent */
    int client_fd;       /* -1: not to be polled (HTTP/2: a stream has none of its own) */

    child_out_e out;
    int has_body;
    char *ticket; /* kept when it cannot be built again: it carries body, or a part of the head */
    apr_size_t ticket_len;
    const char *rest; /* HEAD: what is left of the head */
    apr_size_t rest_len;
    apr_int64_t credit;       /* body bytes that may be sent now */
    apr_int64_t body_sent;    /* bytes that went over the channel */
    apr_bucket_brigade *body; /* read from the client, not sent yet; NULL before the first read */
    int body_starved;         /* the client has sent nothing more yet */
    int window_opened;        /* by the frame that was taken last */
    int channel_full;         /* the last frame did not fit; wait for room */
    int body_status;          /* HTTP status of a body that could not be read, else 0 */

    child_in_e in;
    apr_bucket_brigade *answer; /* built from frames, to be passed on */
    char *arena;                /* CHILD_ARENA bytes */
    apr_size_t arena_used;
    int failed; /* CUT: the worker itself has given up */
    int passed; /* something went to the client: no other status can be sent */
    int client_gone;
} child_call_t;

/* child_head.c: fills a wire head from the request; texts are borrowed from the request's pool. */
void child_head_build(const child_call_t *call, wire_head_t *head);

/*
 * child_place.c: the instance that serves a mount now; NULL: none, and none is about to.  A request
 * that waits looks again from time to time, and moves if it must.
 */
scoreboard_instance_t *child_place_choose(const config_mount_t *mount);

/* True when nobody serves the instance's queue, and its loading has failed. */
int child_place_failed(const scoreboard_instance_t *instance);

/* True when the call waits at an older instance: its body is held back until a worker asks for it.
 */
int child_place_is_older(const child_call_t *call);

/* child_send.c: the ticket with the head and, when it is at hand, the body.  OK or an HTTP status.
 */
int child_ticket_send(child_call_t *call);

/* The same ticket again, after it may have been lost.  OK or an HTTP status. */
int child_ticket_resend(child_call_t *call);

/* The ticket for the channel that the call has moved to.  OK or an HTTP status. */
int child_ticket_move(child_call_t *call);

/* Sends what can be sent now without blocking; APR_SUCCESS, or the error that ends the call. */
apr_status_t child_pump(child_call_t *call);

/* Tells the worker that nobody waits any more. */
void child_cancel(const child_call_t *call);

/*
 * child_body.c: the request's body, read from the client without ever blocking.
 * fill: reads until `most` bytes are at hand, the body is complete, or the client has no more now.
 * pieces: describes up to `most` of those bytes, without copying; *final: the body ends with them.
 * sent: forgets that many bytes.
 */
#define CHILD_BODY_PIECES 64
#define CHILD_BODY_SMALL  16384 /* bytes: most forms; they travel with the ticket */
apr_status_t child_body_fill(child_call_t *call, apr_size_t most);

/*
 * Waits for the whole of a small body, before a channel and a worker are taken, so that a slow
 * client holds neither.  OK at once for any other body; or the HTTP status of a body that cannot be
 * read.
 */
int child_body_gather(child_call_t *call);

apr_status_t child_body_pieces(child_call_t *call, apr_size_t most, struct iovec *pieces,
                               int *count, apr_size_t *bytes, int *final);
void child_body_sent(child_call_t *call, apr_size_t bytes);

/* child_response.c: takes one frame in; frames of other requests are dropped. */
apr_status_t child_response_frame(child_call_t *call, const char *frame, apr_size_t size,
                                  int passed);

/* Passes on what has been gathered; flush: it must be on its way when this returns. */
apr_status_t child_response_pass(child_call_t *call, int flush);

/* Ends a response that has begun in such a way that the client sees that it is cut. */
int child_response_cut(child_call_t *call);

#endif
