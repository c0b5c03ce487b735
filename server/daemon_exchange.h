/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_exchange.h: a worker's end of one request, which the interpreter module reads the request
 * from and answers to.
 *
 * Owned by the worker thread that took the ticket, for the length of one request; no other thread
 * may touch it.  Every function here may block on the channel: callers that hold the GIL release it
 * first. None of them needs Python.
 *
 * States:
 *   OPEN --head_set--> HEAD --first data, flush--> SENT --finish--> DONE
 *   any --finish, cancel--> DONE
 *
 * In HEAD the response's head is held back, and can still be replaced (start_response with
 * exc_info, a retried transaction): daemon_exchange_reset() goes back to OPEN.  Once SENT, nothing
 * can be taken back, and a failure is shown to the client as a visibly incomplete response.
 */
#ifndef SERVER_DAEMON_EXCHANGE_H
#define SERVER_DAEMON_EXCHANGE_H

#include <apr_pools.h>

#include "mod_pipeline.h"
#include "server/config.h"
#include "server/wire_frame.h"

typedef struct daemon_exchange_t daemon_exchange_t;

/* The request's head; borrowed, valid until finish. */
PIPELINE_EXPORT const wire_head_t *daemon_exchange_head(const daemon_exchange_t *x);

/* The mount point that the request is for: which application, under which prefix. */
PIPELINE_EXPORT const config_mount_t *daemon_exchange_mount(const daemon_exchange_t *x);

/*
 * Reads at most len bytes of the request's body; blocks until there is at least one.
 * APR_SUCCESS with *got > 0; APR_EOF: the body was complete, *got = 0; APR_INCOMPLETE: the client
 * broke off or sent a malformed body; APR_ECONNABORTED: nobody waits for the request any more.
 */
PIPELINE_EXPORT apr_status_t daemon_exchange_read(daemon_exchange_t *x, char *buffer,
                                                  apr_size_t len, apr_size_t *got);

/*
 * Holds the response's head back until there is something to send with it.  The texts are copied.
 * content_length -1: not known.  APR_EINVAL: already sent; APR_ENOSPC: over a frame's size.
 */
PIPELINE_EXPORT apr_status_t daemon_exchange_head_set(daemon_exchange_t *x,
                                                      const wire_response_t *head);

/*
 * Sends body bytes (the head first, in the same frame).  Small pieces are gathered into one frame
 * only when more is 1; with more 0 everything is on its way when it returns. APR_ECONNABORTED:
 * nobody waits any more; APR_EINVAL: no head was set.
 */
PIPELINE_EXPORT apr_status_t daemon_exchange_write(daemon_exchange_t *x, const char *data,
                                                   apr_size_t len, int more);

/* Sends what is held back now. */
PIPELINE_EXPORT apr_status_t daemon_exchange_flush(daemon_exchange_t *x);

/*
 * Sends a part of a file by its descriptor, which stays the caller's.  last: the response ends with
 * it, as by finish(); the child then has the whole response at once, and can answer a Range.
 */
PIPELINE_EXPORT apr_status_t daemon_exchange_file(daemon_exchange_t *x, int fd, apr_int64_t offset,
                                                  apr_int64_t length, int last);

/* Ends the response; complete 0: the client is shown that it is cut.  Called once; later calls
 * return APR_SUCCESS and do nothing. */
PIPELINE_EXPORT apr_status_t daemon_exchange_finish(daemon_exchange_t *x, int complete);

/* True once bytes have left, after which nothing can be taken back. */
PIPELINE_EXPORT int daemon_exchange_sent(const daemon_exchange_t *x);

/* True once nobody waits for the request any more; costs one read of shared memory. */
PIPELINE_EXPORT int daemon_exchange_cancelled(const daemon_exchange_t *x);

/* Forgets a head that is held back.  APR_EINVAL: it has been sent. */
PIPELINE_EXPORT apr_status_t daemon_exchange_reset(daemon_exchange_t *x);

#endif
