/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runner.h: walks a request through the stages of its type.
 *
 * A daemon has one runner_t, owned by pchild and read-only once runner_start() has returned.  Each
 * request has one stage_run_t on its worker's stack (see stage.h).  Callers: the interpreter
 * module's start and handle.
 */
#ifndef STAGES_RUNNER_H
#define STAGES_RUNNER_H

#include "python/interp.h"
#include "stages/stage.h"

typedef struct runner_t runner_t;

/*
 * Main thread, once, with the GIL, after the interpreter has started: registers the actions as
 * httpd hooks in the checked order, computes each server's arrays, loads the group's ZCML and the
 * stages written in Python, and opens its storages.  pchild owns *runner.
 *
 * APR_SUCCESS; APR_INCOMPLETE: some sites cannot be loaded, and answer 503; APR_EGENERAL: none can
 * be.  What failed has been logged, with the traceback.  A storage that does not open is logged,
 * but no failure: its sites answer 503 until it does, others go on.
 */
apr_status_t runner_start(interp_t *interp, runner_t **runner, apr_pool_t *pchild);

/*
 * Worker thread, between interp_thread_begin() and interp_thread_end(), without the GIL before and
 * after.  When it returns, the exchange is finished.
 */
void runner_run(const runner_t *runner, interp_thread_t *thread, request_rec *r,
                daemon_exchange_t *x);

/* Main thread, with the GIL, before finalisation: closes the storages, drops every reference. */
void runner_stop(runner_t *runner);

#endif
