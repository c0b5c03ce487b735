/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _storage_turn.c - a turn that Python's threads take one after the other.
 *
 * Called by the instance type, with the GIL held. Invariants:
 *
 *   1. owner, depth and waiters change only with the GIL held.
 *   2. A waiter reads passes under the mutex before it gives the GIL up, and who gives the turn up
 *      while there are waiters raises it under the mutex: no wake-up is lost.
 *   3. The mutex is never held while the GIL is taken: a waiter leaves it first.
 */
#include "python/_storage_turn.h"

void turn_init(turn_t *turn)
{
    pthread_mutex_init(&turn->mutex, NULL);
    pthread_cond_init(&turn->passed, NULL);
}

void turn_destroy(turn_t *turn)
{
    pthread_cond_destroy(&turn->passed);
    pthread_mutex_destroy(&turn->mutex);
}

int turn_mine(const turn_t *turn)
{
    return turn->depth > 0 && turn->owner == PyThread_get_thread_ident();
}

static void wait_for_pass(turn_t *turn)
{
    unsigned long passes;

    turn->waiters++;
    pthread_mutex_lock(&turn->mutex);
    passes = turn->passes;
    pthread_mutex_unlock(&turn->mutex);
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&turn->mutex);
    while (turn->passes == passes) {
        pthread_cond_wait(&turn->passed, &turn->mutex);
    }
    pthread_mutex_unlock(&turn->mutex);
    Py_END_ALLOW_THREADS
    turn->waiters--;
}

void turn_take(turn_t *turn)
{
    while (turn->depth > 0 && !turn_mine(turn)) {
        wait_for_pass(turn);
    }
    turn->owner = PyThread_get_thread_ident();
    turn->depth++;
}

void turn_give(turn_t *turn)
{
    turn->depth--;
    if (turn->depth == 0 && turn->waiters > 0) {
        pthread_mutex_lock(&turn->mutex);
        turn->passes++;
        pthread_cond_broadcast(&turn->passed);
        pthread_mutex_unlock(&turn->mutex);
    }
}
