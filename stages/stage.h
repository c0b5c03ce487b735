/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.h: what a stage is, what it is handed, and how a C module adds one.
 *
 * A stage has a name and up to three actions.  Entering runs in the order that order.c has checked;
 * exit and error unwind in reverse, as pool cleanups do.  Actions run in a daemon's worker thread;
 * the stages after `interp` hold the GIL, those before it do not.  Everything that an httpd module
 * needs for a stage of its own is in this header: it links to nothing, so the order of LoadModule
 * is free.
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
typedef struct stage_api_t stage_api_t;

/*
 * What actions return besides APR_SUCCESS and errors.
 *
 * DONE:   from enter: answered; the stages behind are skipped, those before exit normally.
 * RETRY:  an error: unwind to the retry stage, and enter again.
 * AGAIN:  from an error action: enter again behind this stage.
 * RAISED: a Python exception, which the runner keeps.
 */
#define STAGE_DONE   (APR_OS_START_USERERR + 1)
#define STAGE_RETRY  (APR_OS_START_USERERR + 2)
#define STAGE_AGAIN  (APR_OS_START_USERERR + 3)
#define STAGE_RAISED (APR_OS_START_USERERR + 4)

/*
 * A request on its way through the stages, as an action sees it.  Owned by the worker's stack;
 * r->pool ends after it.  A stage writes only `state`, and r->headers_out for headers of its own.
 */
struct stage_run_t {
    request_rec *r;              /* borrowed */
    daemon_exchange_t *x;        /* borrowed; only for reading what was asked */
    const config_mount_t *mount; /* borrowed: what answers, and under which prefix */
    const char *path;            /* behind the mount's prefix, decoded; set by the stage vhost */
    int type;                    /* number of the request type's bit; final behind classify */
    int attempt;                 /* from 1 */
    int attempts;                /* the last one; set by the stage retry */
    int status;                  /* of the response, once it is known, else 0 */
    const char *error_id;        /* under which the log knows the failure; NULL: none */
    void *state;                 /* the running stage's own, from one of its actions to the next */
    const stage_api_t *api;
    struct runner_work_t *work; /* the runner's own, and that of the built-in stages */
};

/* What a stage may ask of the runner: a table, so that a module needs no symbol of ours. */
struct stage_api_t {
    /*
     * Answers in place of the stages behind: status, Content-Type (NULL: text/plain in UTF-8) and
     * body (copied); with the headers in r->headers_out and r->err_headers_out.  Goes out when
     * every stage has unwound; a later answer replaces it.  Returns STAGE_DONE, for enter to
     * return; an error action that answers returns APR_SUCCESS.
     */
    apr_status_t (*answer)(stage_run_t *run, int status, const char *content_type,
                           const char *body);
};

/*
 * The actions of a stage; each may be NULL.  enter: APR_SUCCESS, STAGE_DONE, or an error, for which
 * the stage has cleaned up itself: neither its exit nor its error is called.  exit: an error sends
 * the stages before it through their error actions.  error: returns the reason, or another one, to
 * go on unwinding by error; APR_SUCCESS once it is handled, after which the stages before it exit.
 */
typedef struct stage_actions_t {
    const char *name;
    apr_status_t (*enter)(stage_run_t *run);
    apr_status_t (*exit)(stage_run_t *run);
    apr_status_t (*error)(stage_run_t *run, apr_status_t reason);
} stage_actions_t;

/*
 * The hook behind which the actions are registered, in a daemon, after its fork, in the checked
 * order and each under its stage's name (pipeline_hook_get_stage() lists them).
 */
APR_DECLARE_EXTERNAL_HOOK(pipeline, PIPELINE, const stage_actions_t *, stage, (void))

/*
 * A stage that a C module adds to every virtual host.  Must outlive the configuration (static).
 * after, before: comma-separated names; "?name" may be absent; "" none.
 */
typedef struct stage_added_t {
    const char *name;
    const char *after;
    const char *before;
    unsigned types;                 /* CONFIG_TYPE_* bits */
    const char *origin;             /* for listings: the module's name */
    pipeline_HOOK_stage_t *actions; /* returns them; registered in each daemon */
} stage_added_t;

/* What the optional hook hands out: adds one stage to the list. */
typedef void stage_add_t(void *list, const stage_added_t *stage);

/*
 * The optional hook by which a C module adds its stages:
 *     APR_OPTIONAL_HOOK(pipeline, add_stages, my_add_stages, NULL, NULL, APR_HOOK_MIDDLE);
 * It runs in the httpd parent whenever a configuration is checked.  Return OK.
 */
APR_DECLARE_EXTERNAL_HOOK(pipeline, PIPELINE, int, add_stages, (stage_add_t * add, void *list))

#endif
