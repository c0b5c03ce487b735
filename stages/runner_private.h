/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runner_private.h: what the runner and the built-in stages share.
 *
 * Worker threads; a runner_work_t belongs to one request, and is part of its worker's stack.
 */
#ifndef STAGES_RUNNER_PRIVATE_H
#define STAGES_RUNNER_PRIVATE_H

#include "python/interp_publish.h"
#include "stages/order.h"
#include "stages/runner.h"
#include "stages/table.h"

/* One stage of a server, with what is needed to run it. */
typedef struct runner_stage_t {
    const order_stage_t *order;
    const stage_actions_t *actions;
    const publish_callable_t *callable; /* a stage written in Python; else NULL */
} runner_stage_t;

/* The stages of one server and one request type. */
typedef struct runner_chain_t {
    int count;
    runner_stage_t *stages;
} runner_chain_t;

/* What the runner keeps of one virtual host. */
typedef struct runner_server_t {
    runner_chain_t chains[CONFIG_TYPE_COUNT];
    int broken; /* a stage of it could not be loaded: its requests get 503 */
    int closed; /* its ZCML could not be: so do those for its published folders */
    int places; /* one more than the last place of a stage, over all types */
} runner_server_t;

typedef struct runner_answer_t {
    int status; /* 0: none */
    const char *content_type;
    const char *body;
    apr_size_t len;
} runner_answer_t;

typedef struct runner_work_t {
    const runner_t *runner;
    interp_thread_t *thread;
    const runner_server_t *server;
    const runner_stage_t *stage; /* whose action runs */
    void **states;               /* one for each place */
    runner_answer_t answer;
    int ended; /* the request was taken from the interpreter's thread, response and all */
    apr_time_t start;
    apr_time_t *times;    /* us spent in each stage's own actions; NULL: nobody wants to know */
    const char *failed;   /* name of the stage that failed last */
    const char *conflict; /* the exception for which another attempt is made; r->pool */
    const char *outcome;  /* of the transaction, for the log; NULL: there was none */
    publish_run_t python;
} runner_work_t;

/* Seconds, for clients: as the children have it (server/child_request.c). */
#define RUNNER_RETRY_AFTER "5"

/* The built-in stages' actions, one file each. */
#define RUNNER_DECLARE(name, types, after, before) extern const stage_actions_t stage_##name;
STAGE_TABLE(RUNNER_DECLARE)
#undef RUNNER_DECLARE

/* Of every stage that is written in Python (python_stage.c). */
extern const stage_actions_t stage_python;

/*
 * What stages do for each other, in a worker thread with the GIL.  APR_SUCCESS, or STAGE_RAISED
 * with the exception kept.
 */

/* Whether the response, as it is now, can be sent (create_request.c). */
apr_status_t create_request_check(stage_run_t *run);

/* Begins a transaction (transaction.c); what an older one left is aborted. */
apr_status_t transaction_begin(stage_run_t *run);

/*
 * Annotates it, and commits, or aborts if it is doomed or vetoed.  Aborted too when it fails, and
 * when the response cannot be sent.
 */
apr_status_t transaction_end(stage_run_t *run);

/* Aborts it; logs if even that fails.  Keeps a kept exception. */
void transaction_abort(stage_run_t *run);

/*
 * Calls a view or function with what the request has for its parameters (marshal.c).
 * A new reference, or NULL with an exception set: BadRequest for a parameter that is missing.
 */
PyObject *marshal_call(const publish_t *publish, PyObject *target, PyObject *request);

/* The same, and makes what it returns the response's result. 0, or -1 with an exception set. */
int marshal_page(const publish_t *publish, PyObject *target, PyObject *request);

static inline publish_run_t *runner_python(const stage_run_t *run)
{
    return &run->work->python;
}

#endif
