/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp.h: the interpreter of a daemon process, as the stages use it.
 *
 * A daemon has one interpreter (interp_t, owned by pchild).  Each of its workers has one
 * interp_thread_t, which knows the worker's Python thread state and the request in hand. Everything
 * here runs in a worker thread between handle()'s entry and its return, and holds the GIL unless a
 * declaration says otherwise.  PyObject pointers that are returned are new references.
 *
 * Invariants:
 *  1. A thread has at most one request, from interp_thread_begin() to interp_thread_end().
 *  2. wsgi.input is one object for the whole request, over every retry; it is dead after the end.
 *  3. A Python exception is either set (a function returned APR_EGENERAL and says so) or logged,
 *     never both: who logs, clears.
 */
#ifndef PYTHON_INTERP_H
#define PYTHON_INTERP_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <apr_pools.h>
#include <httpd.h>
#include <http_config.h>

#include "mod_pipeline.h"
#include "server/config.h"
#include "server/daemon_exchange.h"

typedef struct interp_t interp_t;
typedef struct interp_thread_t interp_thread_t;

/* ---- The process ----------------------------------------------------------------------------- */

/* The interpreter that runs the calling code; borrowed, NULL in one that is not ours. With the GIL.
 */
interp_t *interp_here(void);

/* The interpreter that a thread belongs to, and its group; borrowed. With or without the GIL. */
interp_t *interp_of(const interp_thread_t *thread);
const config_group_t *interp_group(const interp_t *interp);

/* Stands for the main thread while it starts and stops, to log with; borrowed. */
interp_thread_t *interp_starter(const interp_t *interp);

/* The WSGI application of a mount, loaded at start; borrowed. NULL without an exception for others.
 */
PyObject *interp_application_for(const interp_t *interp, const config_mount_t *mount);

/*
 * Main thread, while it starts. Resolves "module:callable" or "/path/file[:callable]" (default
 * callable: `application`; dotted names are followed). A file becomes a module of a name that is
 * its own. NULL with an exception set: import failed, SystemExit, nothing of that name, or not
 * callable. Also for stages written in Python.
 */
PyObject *interp_target_load(interp_t *interp, const char *target);

/* ---- The worker's GIL and request ------------------------------------------------------------ */

/* Without the GIL -> with it, and back. They do not nest. */
void interp_gil_take(interp_thread_t *thread);
void interp_gil_release(interp_thread_t *thread);

/* Gives the request to the thread, and takes it away: what is left of the lines written to
 * wsgi.errors is logged, wsgi.input ends. begin needs no GIL; end does. */
void interp_thread_begin(interp_thread_t *thread, request_rec *r, daemon_exchange_t *x);
void interp_thread_end(interp_thread_t *thread);

/* The id that the log, the error page and mod_pipeline.request_id show; borrowed from the request,
 * never NULL. With or without the GIL. */
const char *interp_thread_label(const interp_thread_t *thread);

/* ---- Environ and input ----------------------------------------------------------------------- */

/*
 * The WSGI environ of the thread's request: a new dict each time, around the same wsgi.input.
 * NULL with an exception set: out of memory.
 */
PyObject *interp_environ_build(interp_thread_t *thread);

/* wsgi.input of the thread's request, made on first use; borrowed. NULL with an exception set. */
PyObject *interp_thread_input(interp_thread_t *thread);

/* Back to the first byte of the body, for a retry. What was read is still there. */
void interp_input_rewind(interp_thread_t *thread);

/* ---- Response -------------------------------------------------------------------------------- */

/*
 * Calls application(environ, start_response). Nothing has been sent when it returns, unless the
 * application used write(). *response: what interp_wsgi_send() sends; NULL on failure.
 * APR_SUCCESS; APR_EGENERAL: the application raised, the exception is set.
 */
apr_status_t interp_wsgi_call(interp_thread_t *thread, PyObject *application, PyObject *environ,
                              PyObject **response);

/*
 * The same from an answer at hand, as though an application had given it: status ("200 OK"),
 * headers (a list of pairs of str), body (an iterable of bytes; a list of one item is the fast
 * way). APR_EGENERAL: refused as start_response or a body's item would be, the exception is set.
 * Only the items of an iterator are not looked at: they do not exist yet.
 */
apr_status_t interp_wsgi_answer(interp_thread_t *thread, PyObject *status, PyObject *headers,
                                PyObject *body, PyObject **response);

/*
 * Whether such an answer can be sent, its head's size included, without giving it; nothing may have
 * been given before. APR_EGENERAL: it cannot, the exception is set.
 */
apr_status_t interp_wsgi_check(interp_thread_t *thread, PyObject *status, PyObject *headers,
                               PyObject *body);

/*
 * Sends the body, ends the exchange, calls close() of the iterable (once, whatever happens).
 * APR_SUCCESS: sent whole, or nobody waits for it any more.
 * APR_EGENERAL: failed before anything left; the exception is set, the exchange is as it was at
 * begin: the caller may try again, or call interp_wsgi_fail(). APR_INCOMPLETE: failed after bytes
 * had left; logged, the client is shown that the response is cut.
 */
apr_status_t interp_wsgi_send(PyObject *response);

/*
 * Forgets a response of which nothing left, before a retry: close() is called, the head taken back.
 * An exception that is set stays set.
 */
void interp_wsgi_drop(PyObject *response);

/*
 * Logs the exception that is set, under PIPE0510 or the id of the rule that the application broke,
 * and ends the exchange: with a page of status 500 that shows the request's label, or by cutting
 * what has been sent in part. That the client broke off is no error: 400, and a line at level info.
 */
void interp_wsgi_fail(interp_thread_t *thread);

/* True after bytes of the thread's request have left, or it was ended: no retry, no other page.
 * With or without the GIL, between begin and end. */
int interp_thread_sent(const interp_thread_t *thread);

/* ---- Log ------------------------------------------------------------------------------------- */

/*
 * Logs the exception that is set, with its traceback in the same line, and clears it. thread may be
 * NULL. r NULL: to the main log, or to that of the server whose application is being loaded.
 * prefix: the text before the message, which starts with the id by PIPELOGNO(). Releases the GIL
 * while it writes.
 */
void interp_log_exception(interp_thread_t *thread, request_rec *r, const char *prefix);

#endif
