/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.h: what a stage is, what it is handed, and how a C module adds one.
 *
 * A stage has a name and up to three actions.  Entering runs in the order that order.c has checked;
 * exit and error unwind in reverse, as pool cleanups do.  Actions run in a daemon's worker thread; the
 * stages after `interp` hold the GIL, those before it do not.  Everything that an httpd module needs
 * for a stage of its own is in this header: it links to nothing, so the order of LoadModule is free.
 */
#ifndef STAGES_STAGE_H
#define STAGES_STAGE_H

#include <apr_hooks.h>
#include <apr_optional_hooks.h>
#include <httpd.h>

#include "mod_pipeline.h"
#include "server/config.h"
#include "server/daemon_exchange.h"

#define PIPELINE_DECLARE(type) PIPELINE_EXPORT type

typedef struct stage_run_t stage_run_t;

/* What enter returns besides APR_SUCCESS and errors. */
#define STAGE_DONE \
    (APR_OS_START_USERERR + 1) /* answered: skip the stages behind, then exit normally */
#define STAGE_RETRY \
    (APR_OS_START_USERERR + 2) /* error: unwind to the retry stage, and enter again */

/*
 * The actions of a stage; each may be NULL.  enter: APR_SUCCESS, STAGE_DONE, or an error, for which the
 * stage has cleaned up itself: neither its exit nor its error is called.  exit: an error sends the
 * stages before it through their error actions.  error: returns the reason, or another one, to go on
 * unwinding by error; APR_SUCCESS once it is handled, after which the stages before it exit.
 */
typedef struct stage_actions_t {
    const char *name;
    apr_status_t (*enter)(stage_run_t *run);
    apr_status_t (*exit)(stage_run_t *run);
    apr_status_t (*error)(stage_run_t *run, apr_status_t reason);
} stage_actions_t;

/*
 * A stage that a C module adds to every virtual host.  Must outlive the configuration (static).
 * after, before: comma-separated names; "?name" may be absent; "" none.
 */
typedef struct stage_added_t {
    const char *name;
    const char *after;
    const char *before;
    unsigned types;     /* CONFIG_TYPE_* bits */
    const char *origin; /* for listings: the module's name */
    const stage_actions_t *actions;
} stage_added_t;

/* What the optional hook hands out: adds one stage to the list. */
typedef void stage_add_t(void *list, const stage_added_t *stage);

/*
 * The optional hook by which a C module adds its stages:
 *     APR_OPTIONAL_HOOK(pipeline, add_stages, my_add_stages, NULL, NULL, APR_HOOK_MIDDLE);
 * It runs in the httpd parent whenever a configuration is checked.  Return OK.
 */
APR_DECLARE_EXTERNAL_HOOK(pipeline, PIPELINE, int, add_stages, (stage_add_t * add, void *list))

/*
 * The hook behind which the actions are registered, in a daemon, after its fork, in the checked order
 * and each under its stage's name (pipeline_hook_get_stage() lists them).
 */
APR_DECLARE_EXTERNAL_HOOK(pipeline, PIPELINE, const stage_actions_t *, stage, (void))

#endif
