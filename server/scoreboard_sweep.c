/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scoreboard_sweep.c: what managers do for processes that died with something in their hands.
 * Single-threaded; two managers may sweep the same instance at once, so every step is a
 * compare-and-swap that only one of them wins.
 */
#include "server/scoreboard_channel.h"
#include "server/wire_frame.h"

/* One empty frame; when the buffer is full the peer is about to find out by itself. */
static void frame_send(int fd, wire_type_e type, apr_byte_t flags, apr_uint32_t index,
                       apr_uint32_t req)
{
    wire_header_t header = {
        .type = (apr_byte_t)type, .flags = flags, .channel = (apr_uint16_t)index, .req = req
    };
    char bytes[WIRE_HEADER_SIZE];
    struct iovec piece = { .iov_base = bytes, .iov_len = sizeof(bytes) };

    wire_header_encode(&header, bytes);
    (void)scoreboard_channel_send(fd, &piece, 1, -1);
}

static void channel_sweep(scoreboard_instance_t *instance, apr_uint32_t index)
{
    scoreboard_channel_t *channel = &instance->channels[index];
    apr_uint64_t owner = atomic_load(&channel->owner);
    apr_uint32_t req = atomic_load(&channel->req);
    apr_uint64_t self = (apr_uint64_t)instance->self;

    if (owner == 0 || !scoreboard_pid_dead((pid_t)owner)) {
        return;
    }
    if (!atomic_compare_exchange_strong(&channel->owner, &owner, self)) {
        return;
    }
    atomic_fetch_add(&channel->req, 1);
    frame_send(instance->child_end[index], WIRE_CANCEL, 0, index,
               req); /* a worker may wait for the body */
    atomic_store(&channel->owner, 0);
}

static void process_sweep(scoreboard_instance_t *instance, apr_uint32_t index)
{
    scoreboard_process_t *process = &instance->processes[index];
    apr_uint32_t owner = atomic_load(&process->owner);
    apr_uint32_t pid = atomic_load(&process->pid);

    if (owner == 0 || owner == (apr_uint32_t)instance->self || !scoreboard_pid_dead((pid_t)owner)) {
        return;
    }
    if (pid != 0 && !scoreboard_pid_dead((pid_t)pid)) {
        return; /* an orphan; it drains by itself */
    }
    if (!atomic_compare_exchange_strong(&process->owner, &owner, (apr_uint32_t)instance->self)) {
        return;
    }
    atomic_fetch_add(&instance->board->deaths, 1); /* it may have had a ticket in hand */
    scoreboard_abort_workers(instance, index * instance->board->threads, instance->board->threads);
    atomic_store(&process->state, SCOREBOARD_FREE);
    atomic_store(&process->pid, 0);
    atomic_store(&process->owner, 0);
}

void scoreboard_sweep(scoreboard_instance_t *instance)
{
    apr_uint32_t i;

    for (i = 0; i < instance->board->channel_count; i++) {
        channel_sweep(instance, i);
    }
    for (i = 0; i < instance->board->process_count; i++) {
        process_sweep(instance, i);
    }
    atomic_store(&instance->board->waiters, 0);
    (void)scoreboard_live_update(instance);
    scoreboard_sample(instance);
}

void scoreboard_abort_workers(scoreboard_instance_t *instance, apr_uint32_t first,
                              apr_uint32_t count)
{
    apr_uint32_t i;

    for (i = 0; i < instance->board->channel_count; i++) {
        scoreboard_channel_t *channel = &instance->channels[i];
        apr_uint64_t claim = atomic_load(&channel->claim);
        apr_uint32_t worker = scoreboard_claim_worker(claim);
        apr_uint32_t req = scoreboard_claim_req(claim);

        if (worker == 0 || worker - 1 < first || worker - 1 >= first + count) {
            continue;
        }
        if (atomic_compare_exchange_strong(&channel->claim, &claim, (apr_uint64_t)req << 32)) {
            frame_send(instance->daemon_end[i], WIRE_END, WIRE_ABORTED, i, req);
        }
    }
}

void scoreboard_abort_waiting(scoreboard_instance_t *instance)
{
    apr_uint32_t i;

    for (i = 0; i < instance->board->channel_count; i++) {
        apr_uint32_t req = atomic_load(&instance->channels[i].req);

        if (atomic_load(&instance->channels[i].owner) != 0 &&
            !scoreboard_channel_claimed(instance, i, req)) {
            frame_send(instance->daemon_end[i], WIRE_END, WIRE_ABORTED, i, req);
        }
    }
}
