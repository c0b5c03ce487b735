/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mod_pipeline.h: what the module shares with the interpreter module, which a daemon opens after
 * its fork, and with httpd modules of other people.
 *
 * mod_pipeline.so never links libpython.  A daemon process opens mod_pipeline_pythonX.Y.so with
 * RTLD_GLOBAL, looks up PIPELINE_INTERP_SYMBOL, and drives the interpreter through that table
 * alone.
 */
#ifndef MOD_PIPELINE_H
#define MOD_PIPELINE_H

#include <apr_pools.h>
#include <httpd.h>
#include <http_config.h>

#define PIPELINE_VERSION "0.1.0"

/* Both shared objects carry this number; a daemon refuses an interpreter module of another one. */
#define PIPELINE_ABI 1u

#if defined(__GNUC__)
#define PIPELINE_EXPORT __attribute__((visibility("default")))
#else
#define PIPELINE_EXPORT
#endif

extern PIPELINE_EXPORT module AP_MODULE_DECLARE_DATA pipeline_module;

/* Stands in the place of APLOGNO: every warning or error has an id, documented in docs/messages.md.
 */
#define PIPELOGNO(n) "PIPE" #n ": "

struct config_group_t;
struct daemon_exchange_t;

/*
 * The interpreter of one daemon process, as mod_pipeline.so sees it.  The functions return
 * APR_SUCCESS or the reason; whatever they refuse they have logged, with its id and traceback.
 */
typedef struct pipeline_interp_api_t {
    unsigned abi; /* PIPELINE_ABI of the build */

    /*
     * Main thread, once, after the privilege drop.  Initialises the interpreter, registers the
     * stages' actions, loads every application of the group.  Returns without the GIL.  pchild owns
     * *interp. Statuses: APR_SUCCESS; APR_INCOMPLETE when some applications cannot be loaded, whose
     * requests are then answered with 503; APR_EGENERAL when none can be, or what all of them need
     * cannot; APR_EINIT when the interpreter itself cannot start.  May also never return, or end
     * the process: the manager copes.
     */
    apr_status_t (*start)(const struct config_group_t *group, void **interp, apr_pool_t *pchild);

    /* Worker thread, once each, before its first request; without the GIL before and after. */
    apr_status_t (*thread_start)(void *interp, int index, void **thread, apr_pool_t *p);

    /*
     * Worker thread: one request, entered and left without the GIL.  r->request_config of
     * pipeline_module is the exchange.  When it returns, the response has been finished or aborted.
     */
    void (*handle)(void *thread, request_rec *r, struct daemon_exchange_t *x);

    /* Worker thread, after its last request. */
    void (*thread_stop)(void *thread);

    /* Main thread, after every worker has ended: atexit handlers and finalisation.  May hang; the
     * caller has set a bound before it calls. */
    void (*stop)(void *interp);
} pipeline_interp_api_t;

#define PIPELINE_INTERP_SYMBOL "pipeline_interp_api"

#endif
