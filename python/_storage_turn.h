/* SPDX-License-Identifier: Apache-2.0 */
/*
 * _storage_turn.h - a turn: at most one of Python's threads has it, and may take it again.
 *
 * Who has the turn is written and read with the GIL held, so taking a free turn costs no atomic
 * operation. Waiting for it happens without the GIL, and no lock is held while the GIL is taken.
 */
#ifndef PIPELINE_STORAGE_TURN_H
#define PIPELINE_STORAGE_TURN_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>

typedef struct turn_t {
    unsigned long owner;  /* the thread that has it; meaningless at depth 0. GIL */
    unsigned int depth;   /* how often that thread took it. GIL */
    unsigned int waiters; /* GIL */
    unsigned long passes; /* how often it was given up before waiters. mutex */
    pthread_mutex_t mutex;
    pthread_cond_t passed;
} turn_t;

/* A free turn, out of zeroed memory; and its end, when nobody has it or waits for it. */
void turn_init(turn_t *turn);
void turn_destroy(turn_t *turn);

/* Whether the calling thread has it. */
int turn_mine(const turn_t *turn);

/* Take it, waiting without the GIL while another thread has it. */
void turn_take(turn_t *turn);

/* Give it up once; any thread may do so. */
void turn_give(turn_t *turn);

#endif
