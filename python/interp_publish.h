/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_publish.h: the Python objects behind the publishing stages.
 *
 * A daemon that publishes a folder of a storage has one publish_t, owned by pchild, made once in
 * the main thread and read-only from then on, but for the set of troubled mounts.  A request has
 * one publish_run_t, which its worker's stack owns.  Every function here holds the GIL.
 *
 * Invariants of publish_run_t:
 *  1. While stages run, no Python exception is set: a stage that meets one calls publish_raise(),
 *     which keeps it in `raised`, and returns STAGE_RAISED.
 *  2. Every object is owned, and NULL before the stage that makes it has entered and after it has
 *     left.
 */
#ifndef PYTHON_INTERP_PUBLISH_H
#define PYTHON_INTERP_PUBLISH_H

#include "python/interp.h"
#include "stages/stage.h"

/* A stage written in Python. */
typedef struct publish_callable_t {
    PyObject *callable; /* owned */
    PyObject *params;   /* owned: dict, the key=value pairs of the directive */
    int generator;      /* yields once: enter before it, exit behind it */
    int ready;          /* it was loaded whole */
} publish_callable_t;

/* Names by which Python code is called or asked; all owned. publish_names says where from. */
typedef struct publish_t {
    interp_t *interp;            /* borrowed */
    PyObject *module;            /* mod_pipeline.publish */
    PyObject *request_type;      /* mod_pipeline.request.Request */
    PyObject *databases;         /* publish.Databases */
    PyObject *manager;           /* transaction.manager: one transaction a thread */
    PyObject *transient;         /* transaction.interfaces.TransientError */
    PyObject *pos_error;         /* ZODB.POSException.POSError */
    PyObject *not_found;         /* zope.publisher.interfaces.NotFound */
    PyObject *bad_request;       /* zope.publisher.interfaces.BadRequest */
    PyObject *location_error;    /* zope.location.interfaces.LocationError */
    PyObject *publish_traverse;  /* IPublishTraverse */
    PyObject *browser_publisher; /* IBrowserPublisher */
    PyObject *multi_adapter;     /* zope.component.queryMultiAdapter */
    PyObject *default_view_name; /* zope.publisher.defaultview.queryDefaultViewName */
    PyObject *parse_name;        /* zope.traversing.namespace.nsParse */
    PyObject *namespace_lookup;  /* zope.traversing.namespace.namespaceLookup */
    PyObject *troubled; /* set of mount ids whose folder or storage is known to be missing */
    apr_array_header_t *broken; /* const char *: files of PipelineZCML that could not be loaded */
} publish_t;

typedef struct publish_run_t {
    const publish_t *publish; /* borrowed; NULL in a daemon that publishes nothing */
    PyObject *environ;
    PyObject *request;
    PyObject *connection;
    PyObject *root;     /* the folder of the mount */
    PyObject *target;   /* what traversal has found, to be called */
    PyObject *response; /* ready to be sent: interp_wsgi_send() */
    PyObject *raised;   /* the exception that is on its way through the error actions */
    int retryable;      /* the exception says that another attempt may succeed */
} publish_run_t;

/*
 * Loads the modules, the group's ZCML, and opens its storages.  Main thread, once.  A file of ZCML
 * that cannot be loaded is logged, and is no failure of the others: see `broken`.
 * *publish: owned by pchild (the objects until publish_stop()).  APR_EGENERAL: the exception is
 * set.
 */
apr_status_t publish_start(interp_t *interp, publish_t **publish, apr_pool_t *pchild);

/* True: one of the files that the host has named, or inherited, could not be loaded. */
int publish_is_broken(const publish_t *publish, const config_server_t *host);

/* Main thread: closes the databases and drops every object. */
void publish_stop(publish_t *publish);

/* Loads a stage written in Python. APR_EGENERAL: the exception is set. *callable: owned by pchild.
 */
apr_status_t publish_callable_load(interp_t *interp, const config_stage_t *stage,
                                   publish_callable_t **callable, apr_pool_t *pchild);

/* Main thread: drops its objects, also those of one that did not load. */
void publish_callable_drop(publish_callable_t *callable);

/* Keeps the exception that is set, in place of an older one; returns STAGE_RAISED. */
apr_status_t publish_raise(publish_run_t *py);

/* Sets the kept exception again, for a caller that wants it set. */
void publish_restore(publish_run_t *py);

/* Forgets the kept exception. */
void publish_forget(publish_run_t *py);

/* Logs the kept exception with its traceback, and goes on keeping it. prefix: as
 * interp_log_exception. */
void publish_log(publish_run_t *py, interp_thread_t *thread, request_rec *r, const char *prefix);

/* True: the kept exception says that the client broke off, and it has; nobody wants a page. */
int publish_client_gone(const publish_run_t *py, const interp_thread_t *thread);

/* Forgets the response that was ready, if any. */
void publish_drop(publish_run_t *py);

/*
 * Calls a function of the module mod_pipeline.publish, arguments by a format of Py_BuildValue that
 * makes a tuple.  A new reference, or NULL with an exception set.
 */
PyObject *publish_call(const publish_t *publish, const char *function, const char *format, ...);

#endif
