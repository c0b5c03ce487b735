/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scoreboard_channel.c: taking, using and giving back channels.  scoreboard_channel.h has the
 * invariants. Runs in child threads (acquire, release), worker threads (claim …); both send and
 * receive.
 */
#include "server/scoreboard_channel.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static apr_uint64_t claim_word(apr_uint32_t req, apr_uint32_t low)
{
    return (apr_uint64_t)req << 32 | low;
}

static int claim_reads(apr_uint64_t claim)
{
    return scoreboard_claim_worker(claim) != 0 && !(claim & SCOREBOARD_CLAIM_FINISHING);
}

static int channel_take(scoreboard_instance_t *instance, apr_uint32_t index,
                        scoreboard_lease_t *lease)
{
    scoreboard_channel_t *channel = &instance->channels[index];
    apr_uint64_t nobody = 0;

    if (atomic_load_explicit(&channel->owner, memory_order_relaxed) != 0 ||
        claim_reads(atomic_load(&channel->claim))) {
        return 0;
    }
    if (!atomic_compare_exchange_strong(&channel->owner, &nobody, (apr_uint64_t)instance->self)) {
        return 0;
    }
    lease->instance = instance;
    lease->index = index;
    lease->fd = instance->child_end[index];
    lease->req = atomic_fetch_add(&channel->req, 1) + 1;
    if (claim_reads(atomic_load(&channel->claim))) { /* a late worker came in between */
        scoreboard_channel_release(lease);
        return 0;
    }
    return 1;
}

static int channel_scan(scoreboard_instance_t *instance, apr_uint32_t hint,
                        scoreboard_lease_t *lease)
{
    apr_uint32_t count = instance->board->channel_count;
    apr_uint32_t i;

    for (i = 0; i < count; i++) {
        if (channel_take(instance, (hint + i) % count, lease)) {
            return 1;
        }
    }
    return 0;
}

static void futex_wait(_Atomic apr_uint32_t *word, apr_uint32_t seen, apr_int64_t us)
{
    struct timespec timeout = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

    (void)syscall(SYS_futex, word, FUTEX_WAIT, seen, &timeout, NULL, 0);
}

static void futex_wake_one(_Atomic apr_uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

apr_status_t scoreboard_channel_acquire(scoreboard_instance_t *instance, apr_uint32_t hint,
                                        apr_int64_t deadline, scoreboard_lease_t *lease)
{
    scoreboard_t *board = instance->board;

    if (channel_scan(instance, hint, lease)) {
        return APR_SUCCESS;
    }
    for (;;) {
        apr_uint32_t seen = atomic_load(&board->freed);
        apr_int64_t left = deadline - scoreboard_clock();

        atomic_fetch_add(&board->waiters, 1);
        if (channel_scan(instance, hint, lease)) {
            return APR_SUCCESS;
        }
        if (left <= 0) {
            return APR_TIMEUP;
        }
        futex_wait(&board->freed, seen, left < SCOREBOARD_WAIT ? left : SCOREBOARD_WAIT);
    }
}

static void channel_freed(scoreboard_instance_t *instance)
{
    scoreboard_t *board = instance->board;

    if (atomic_load(&board->waiters) != 0) {
        atomic_fetch_add(&board->freed, 1);
        futex_wake_one(&board->freed);
    }
}

void scoreboard_channel_release(const scoreboard_lease_t *lease)
{
    scoreboard_channel_t *channel = &lease->instance->channels[lease->index];

    atomic_fetch_add(&channel->req, 1); /* whatever is still on its way is nobody's now */
    atomic_store(&channel->owner, 0);
    channel_freed(lease->instance);
}

apr_status_t scoreboard_channel_send(int fd, const struct iovec *pieces, int count, int passed)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message;

    memset(&message, 0, sizeof(message));
    message.msg_iov = (struct iovec *)pieces; /* sendmsg does not write to it */
    message.msg_iovlen = (size_t)count;
    if (passed >= 0) {
        struct cmsghdr *header;

        memset(&control, 0, sizeof(control));
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &passed, sizeof(int));
    }
    for (;;) {
        if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            return APR_SUCCESS;
        }
        if (errno != EINTR) {
            return errno == EWOULDBLOCK || errno == ENOBUFS ? APR_EAGAIN : errno;
        }
    }
}

/* Takes over the first descriptor that came with a message; the frame format has one at most. */
static int descriptor_received(struct msghdr *message)
{
    struct cmsghdr *header;
    int found = -1;

    for (header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && found < 0) {
            memcpy(&found, CMSG_DATA(header), sizeof(int));
        }
    }
    return found;
}

apr_status_t scoreboard_channel_recv(int fd, char *buffer, apr_size_t size, int block,
                                     apr_size_t *got, int *passed)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec piece = { .iov_base = buffer, .iov_len = size };
    struct msghdr message;
    ssize_t n;

    *got = 0;
    memset(&message, 0, sizeof(message));
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    if (passed != NULL) {
        *passed = -1;
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_LEN(sizeof(int)); /* with its padding, two would fit */
    }
    n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | (block ? 0 : MSG_DONTWAIT));
    if (n < 0) {
        return errno == EWOULDBLOCK ? APR_EAGAIN : errno;
    }
    if (passed != NULL) {
        *passed = descriptor_received(&message);
    }
    *got = (apr_size_t)n;
    if (n > 0 && !(message.msg_flags & MSG_TRUNC)) {
        return APR_SUCCESS;
    }
    if (passed != NULL && *passed >= 0) {
        (void)close(*passed);
        *passed = -1;
    }
    return n == 0 ? APR_EOF : APR_EINVAL;
}

int scoreboard_channel_claimed(const scoreboard_instance_t *instance, apr_uint32_t index,
                               apr_uint32_t req)
{
    return scoreboard_claim_req(atomic_load(&instance->channels[index].claim)) == req;
}

/* The claim as it looks after an answer: whoever finds the ticket in the queue drops it.  A claim
 * of another req is that of a late worker, which reads nothing and is about to let go: by a swap
 * that fails without harm. */
int scoreboard_channel_withdraw(const scoreboard_lease_t *lease)
{
    _Atomic apr_uint64_t *claim = &lease->instance->channels[lease->index].claim;
    apr_uint64_t seen = atomic_load(claim);

    while (scoreboard_claim_req(seen) != lease->req) {
        if (atomic_compare_exchange_strong(claim, &seen, claim_word(lease->req, 0))) {
            return 1;
        }
    }
    return 0;
}

int scoreboard_channel_served(const scoreboard_instance_t *instance, apr_uint32_t index,
                              apr_uint32_t req)
{
    apr_uint64_t claim = atomic_load(&instance->channels[index].claim);

    return scoreboard_claim_req(claim) == req && scoreboard_claim_worker(claim) != 0;
}

apr_status_t scoreboard_channel_claim(scoreboard_instance_t *instance, apr_uint32_t index,
                                      apr_uint32_t req, apr_uint32_t worker)
{
    scoreboard_channel_t *channel = &instance->channels[index];
    apr_uint64_t seen = atomic_load(&channel->claim);
    apr_uint64_t mine = claim_word(req, worker + 1);

    for (;;) {
        if (atomic_load(&channel->req) != req) {
            return APR_ECONNABORTED;
        }
        if (scoreboard_claim_req(seen) == req) {
            return APR_EEXIST;
        }
        if (claim_reads(seen)) { /* a late worker is about to see that its req is over */
            sched_yield();
            seen = atomic_load(&channel->claim);
        } else if (atomic_compare_exchange_strong(&channel->claim, &seen, mine)) {
            break;
        }
    }
    if (atomic_load(&channel->req) != req) {
        scoreboard_channel_unclaim(instance, index, req, worker);
        return APR_ECONNABORTED;
    }
    return APR_SUCCESS;
}

void scoreboard_channel_finishing(scoreboard_instance_t *instance, apr_uint32_t index,
                                  apr_uint32_t req, apr_uint32_t worker)
{
    apr_uint64_t mine = claim_word(req, worker + 1);

    (void)atomic_compare_exchange_strong(&instance->channels[index].claim, &mine,
                                         mine | SCOREBOARD_CLAIM_FINISHING);
}

void scoreboard_channel_unclaim(scoreboard_instance_t *instance, apr_uint32_t index,
                                apr_uint32_t req, apr_uint32_t worker)
{
    scoreboard_channel_t *channel = &instance->channels[index];
    apr_uint64_t mine = claim_word(req, worker + 1);
    apr_uint64_t marked = mine | SCOREBOARD_CLAIM_FINISHING;

    if (!atomic_compare_exchange_strong(&channel->claim, &mine, claim_word(req, 0))) {
        (void)atomic_compare_exchange_strong(&channel->claim, &marked, claim_word(req, 0));
    }
    channel_freed(instance);
}

static char *hex_write(char *out, apr_uint64_t value)
{
    static const char digits[] = "0123456789abcdef";
    char reversed[16];
    int n = 0;

    do {
        reversed[n++] = digits[value & 15];
        value >>= 4;
    } while (value != 0);
    while (n > 0) {
        *out++ = reversed[--n];
    }
    return out;
}

const char *scoreboard_request_id(apr_pool_t *pool, apr_time_t request_time, apr_uint32_t index,
                                  apr_uint32_t req)
{
    char *id = apr_palloc(pool, 3 * 16 + 3); /* three numbers of 64 bits, two dashes, the NUL */
    char *end = hex_write(id, (apr_uint64_t)request_time);

    *end++ = '-';
    end = hex_write(end, index);
    *end++ = '-';
    *hex_write(end, req) = '\0';
    return id;
}
