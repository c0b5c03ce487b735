/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child_place.c: which instance of its group serves a request.  Child threads; they only read the
 * scoreboard.
 *
 * A group has an older instance beside its own after a graceful with another configuration.  It
 * serves as long as no daemon of the new one does, so that nobody waits for an import, and for good
 * if the new one cannot load, or its queue and channels could not be made.
 */
#include "server/child_call.h"

int child_place_failed(const scoreboard_instance_t *instance)
{
    const scoreboard_t *board = instance->board;

    return atomic_load(&board->live) == 0 &&
           atomic_load(&board->failed) >= instance->last_generation;
}

scoreboard_instance_t *child_place_choose(const config_mount_t *mount)
{
    scoreboard_instance_t *own = mount->group->instance;
    scoreboard_instance_t *older;

    if (own != NULL && atomic_load(&own->board->live) > 0) {
        return own;
    }
    older = own != NULL ? own->fallback : mount->group->older;
    if (older != NULL && atomic_load(&older->board->live) > 0 &&
        scoreboard_has_mount(older, mount->id)) {
        return older;
    }
    return own == NULL || child_place_failed(own) ? NULL : own;
}

int child_place_is_older(const child_call_t *call)
{
    return call->instance != call->mount->group->instance;
}
