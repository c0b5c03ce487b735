/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h: the whole pipeline on one page.
 *
 * One line a stage, in the order in which they are entered when nothing is configured; exit and
 * error run in reverse.  `after` and `before` name the neighbours that the stage cannot do without,
 * and the comment above it says why.  The order is not taken from the lines: order.c sorts by the
 * constraints, together with the stages of PipelineStage and of C modules, and the unit test holds
 * both together.
 *
 * Types: B browser, H http, X xmlrpc, W wsgi (a mounted WSGI application).
 * Read by order.c in the httpd parent, which knows the constraints, and by the runner in a daemon,
 * which knows the actions (stage_NAME).  No Python, no state.
 */
#ifndef STAGES_TABLE_H
#define STAGES_TABLE_H

#include "server/config.h"

#define TABLE_B   CONFIG_TYPE_BROWSER
#define TABLE_H   CONFIG_TYPE_HTTP
#define TABLE_X   CONFIG_TYPE_XMLRPC
#define TABLE_W   CONFIG_TYPE_WSGI
#define TABLE_BHX (TABLE_B | TABLE_H | TABLE_X)
#define TABLE_BX  (TABLE_B | TABLE_X)
#define TABLE_ALL CONFIG_TYPE_ALL

/* X(name, types, after, before) */
#define STAGE_TABLE(X)                                                                          \
    /* Its clock covers everything, a refused host name too. */                                 \
    X(log, TABLE_ALL, "", "vhost")                                                              \
    /* The mapping of the host's root is the same for every attempt. */                         \
    X(vhost, TABLE_ALL, "log", "classify,retry")                                                \
    /* It chooses the array of stages, so those before it are common to every type. */          \
    X(classify, TABLE_ALL, "vhost", "retry")                                                    \
    /* It resets the environment, not the request; the failed attempt must be aborted first. */ \
    X(retry, TABLE_ALL, "classify", "interp,create_request,transaction")                        \
    /* A back-off must not sleep with the GIL; whatever is behind this stage may use Python. */ \
    X(interp, TABLE_ALL, "retry", "create_request,handle_error")                                \
    /* Error views and the leased connection belong to a request. */                            \
    X(create_request, TABLE_BHX, "retry,interp", "open_root,handle_error")                      \
    /* Error views need the open database; traversal consumes the root. */                      \
    X(open_root, TABLE_BHX, "create_request", "handle_error,traverse")                          \
    /* An error in commit gets a page too, after the abort; errors in a form get a page. */     \
    X(handle_error, TABLE_ALL, "interp,open_root", "transaction,inputs")                        \
    /* What parsing, traversal and the view did is committed or aborted as one. */              \
    X(transaction, TABLE_BHX, "retry,handle_error", "inputs,traverse")                          \
    /* A form's action is traversed. */                                                         \
    X(inputs, TABLE_BX, "handle_error", "traverse")                                             \
    /* It finds what is called. */                                                              \
    X(traverse, TABLE_BHX, "open_root,inputs", "call")                                          \
    /* The innermost stage: a result exists from here on. */                                    \
    X(call, TABLE_ALL, "traverse,interp,handle_error", "")

#endif
