/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scoreboard_channel.h: the transport: a request takes a channel, frames go over it, it is given
 * back.
 *
 * A channel is one pair of SEQPACKET sockets with a row in the scoreboard.  At any time at most one
 * child thread (the owner) and at most one worker (the claim) use it.  Invariants:
 *
 *   1. Only the owner advances req; a frame of another req is dropped by whoever receives it.
 *   2. A worker answers a ticket only after it has claimed the channel for that ticket's req, so a
 *      ticket that was sent twice is answered once, and one that was withdrawn is not answered.
 *   3. A channel is acquired only when no worker reads from it any more: its claim is empty or
 *      marked FINISHING.  So no late worker can steal a frame of the next request.
 *   4. Neither side ever blocks in send: it polls for both directions, so that both may stream.
 */
#ifndef SERVER_SCOREBOARD_CHANNEL_H
#define SERVER_SCOREBOARD_CHANNEL_H

#include <sys/uio.h>

#include "server/scoreboard.h"

/* A child's hold on a channel, for one request. */
typedef struct scoreboard_lease_t {
    scoreboard_instance_t *instance; /* borrowed */
    apr_uint32_t index;
    apr_uint32_t req;
    int fd; /* the child's end */
} scoreboard_lease_t;

/*
 * Takes a free channel, looking at `hint` first, and advances its req.  Waits until `deadline`
 * (CLOCK_MONOTONIC, us) when all are in use.  Child threads.  APR_SUCCESS or APR_TIMEUP.
 */
apr_status_t scoreboard_channel_acquire(scoreboard_instance_t *instance, apr_uint32_t hint,
                                        apr_int64_t deadline, scoreboard_lease_t *lease);

/* Gives it back; frames of that req that are still on their way are dropped by the next user. */
void scoreboard_channel_release(const scoreboard_lease_t *lease);

/*
 * Sends one frame made of `count` pieces, with the descriptor `passed` unless it is -1.  Never
 * blocks. APR_SUCCESS, APR_EAGAIN (the peer's buffer is full), or the socket's error.
 */
apr_status_t scoreboard_channel_send(int fd, const struct iovec *pieces, int count, int passed);

/*
 * Receives one frame.  block 0: APR_EAGAIN when there is none.  *passed: a descriptor that came
 * with it, which the caller then owns, else -1; passed NULL: the caller's peer never sends one.
 * APR_SUCCESS; APR_EAGAIN; APR_EINTR; APR_EOF; APR_EINVAL (cut: larger than size); or the error.
 */
apr_status_t scoreboard_channel_recv(int fd, char *buffer, apr_size_t size, int block,
                                     apr_size_t *got, int *passed);

/* True when a worker has taken the ticket of that req. */
int scoreboard_channel_claimed(const scoreboard_instance_t *instance, apr_uint32_t index,
                               apr_uint32_t req);

/*
 * Owner: takes back a ticket.  True when no worker has taken it, and from now on none can; false
 * when one has, or had.
 */
int scoreboard_channel_withdraw(const scoreboard_lease_t *lease);

/* True while a worker is at that req: it has taken the ticket, has not let go, and lives. */
int scoreboard_channel_served(const scoreboard_instance_t *instance, apr_uint32_t index,
                              apr_uint32_t req);

/*
 * Worker: takes the ticket of that req.  APR_SUCCESS; APR_EEXIST: it was answered, or is being
 * answered; APR_ECONNABORTED: nobody waits for it any more.
 */
apr_status_t scoreboard_channel_claim(scoreboard_instance_t *instance, apr_uint32_t index,
                                      apr_uint32_t req, apr_uint32_t worker);

/* Worker: will read no more of this request; call before the last frame is sent. */
void scoreboard_channel_finishing(scoreboard_instance_t *instance, apr_uint32_t index,
                                  apr_uint32_t req, apr_uint32_t worker);

/* Worker: has sent the last frame. */
void scoreboard_channel_unclaim(scoreboard_instance_t *instance, apr_uint32_t index,
                                apr_uint32_t req, apr_uint32_t worker);

/*
 * The id of a request to which httpd has given none: the same in the child and in the daemon, so
 * that an error page of the one names a log line of the other.  In pool; children and workers.
 */
const char *scoreboard_request_id(apr_pool_t *pool, apr_time_t request_time, apr_uint32_t index,
                                  apr_uint32_t req);

/* Frees the channels of dead owners, and the slots of managers that died.  Managers, every 100 ms.
 */
void scoreboard_sweep(scoreboard_instance_t *instance);

/*
 * Tells the children that wait for workers first..first+count-1 that these are gone.  The manager
 * of that process, after it was reaped.
 */
void scoreboard_abort_workers(scoreboard_instance_t *instance, apr_uint32_t first,
                              apr_uint32_t count);

/* Tells the children whose ticket nobody has taken that nobody will.  Managers, when loading
 * failed. */
void scoreboard_abort_waiting(scoreboard_instance_t *instance);

#endif
