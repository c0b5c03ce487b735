/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_private.h: what the sources of the interpreter module share among themselves.
 *
 * Process state hangs from interp_t, a worker's from interp_thread_t; Python objects made here
 * carry a pointer to one of the two, which is taken from them when the request or the process ends.
 */
#ifndef PYTHON_INTERP_PRIVATE_H
#define PYTHON_INTERP_PRIVATE_H

#include "python/interp.h"

#include <apr_hash.h>
#include <pthread.h>
#include <pythread.h>

struct runner_t;

/* The files to which a program's text goes; each worker keeps one unfinished line of each. */
typedef enum {
    INTERP_STREAM_ERRORS, /* wsgi.errors */
    INTERP_STREAM_STDERR,
    INTERP_STREAM_STDOUT,
    INTERP_STREAM_COUNT
} interp_stream_e;

/* Which rule of PEP 3333 the application broke; chooses the id of the log line. */
typedef enum {
    INTERP_FAULT_NONE, /* none: it raised an exception of its own */
    INTERP_FAULT_HEAD, /* start_response() refused what it was given */
    INTERP_FAULT_BODY  /* no start_response(), or a body that is not made of bytes */
} interp_fault_e;

typedef struct interp_environ_t interp_environ_t; /* interp_environ.c */
typedef struct interp_input_t interp_input_t;     /* interp_input.c */

/* A line that has not been ended yet; data is owned (PyMem_Raw). */
typedef struct interp_line_t {
    char *data;
    apr_size_t len;
    apr_size_t room;
} interp_line_t;

struct interp_t {
    const config_group_t *group; /* borrowed */
    apr_pool_t *pool;            /* borrowed: pchild, which owns this struct */
    server_rec *server;          /* borrowed: whose log takes lines that belong to no request */
    PyThreadState *main_state;   /* the thread that called start(), NULL before and after */
    interp_thread_t *starter;    /* stands for the main thread while it loads */
    Py_tss_t current;            /* the calling thread's interp_thread_t */
    struct runner_t *runner;     /* owned by pchild: the stages */
    apr_hash_t *mounts;          /* config_mount_t pointer -> interp_mount_t; fixed after start */
    interp_environ_t *environ;   /* keys and header names */
    PyTypeObject *input_type;    /* owned, as are the objects below */
    PyTypeObject *response_type;
    PyTypeObject *file_type;
    PyTypeObject *stream_type;
    PyObject *streams[INTERP_STREAM_COUNT];
    PyObject *format_exception; /* traceback.format_exception */
    PyObject *targets;          /* dict: target text -> loaded object */
    PyObject *file_io;          /* io.FileIO, io.BufferedReader, io.BufferedRandom: real files */
    PyObject *buffered_reader;
    PyObject *buffered_random;
};

typedef struct interp_mount_t {
    const config_mount_t *mount;
    PyObject *application; /* owned; NULL for a mount that is not WSGI */
    PyObject *environ;     /* owned: the part of the environ that never changes */
} interp_mount_t;

struct interp_thread_t {
    interp_t *interp;      /* borrowed */
    int index;             /* of the worker; -1 the main thread */
    PyThreadState *state;  /* owned; the thread's own */
    pthread_mutex_t lock;  /* guards `x` against threads that the application started */
    request_rec *r;        /* borrowed, NULL between requests */
    daemon_exchange_t *x;  /* borrowed, NULL between requests */
    interp_input_t *input; /* owned, NULL until asked for */

    interp_fault_e fault; /* of the exception that is set */
    apr_size_t gathered;  /* bytes given to the exchange for this response */
    int gone;             /* the client broke off, or nobody waits any more */
    int ended;            /* daemon_exchange_finish() was called */
    interp_line_t lines[INTERP_STREAM_COUNT];
};

/* start_response, and what has become of the response it began. */
typedef struct interp_response_t {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    interp_thread_t *thread; /* borrowed; NULL once the request is over */
    PyObject *body;          /* owned: what the application returned; NULL before and after */
    wire_response_t head;    /* its texts are in r->pool */
    apr_int64_t sent;        /* body bytes handed to the exchange */
    int started;             /* start_response() was accepted */
    int given;               /* the head is with the exchange */
    int bodiless;            /* HEAD, 204, 304: no byte of a body goes out */
    int excess;              /* more than Content-Length was logged */
} interp_response_t;

/* ---- Types: each source makes its heap type; a new reference, NULL with an exception set ---- */
PyTypeObject *interp_input_type(void);
PyTypeObject *interp_response_type(void);
PyTypeObject *interp_file_type(void);
PyTypeObject *interp_stream_type(void);

/*
 * ---- interp_exchange.c: the exchange, from Python's side; any thread. All hold the GIL and
 * release it while they wait. Statuses are those of daemon_exchange.h, and no exception is set;
 * APR_ECONNABORTED also when the request is over, APR_SUCCESS then from interp_exchange_finish().
 * ----
 */
typedef enum {
    INTERP_SEND_MORE, /* may be gathered with what follows */
    INTERP_SEND_NOW,  /* is on its way when the call returns */
    INTERP_SEND_LAST  /* ends the response */
} interp_send_e;

apr_status_t interp_exchange_read(interp_thread_t *thread, char *buffer, apr_size_t len,
                                  apr_size_t *got);
apr_status_t interp_exchange_head(interp_thread_t *thread, const wire_response_t *head);
apr_status_t interp_exchange_send(interp_thread_t *thread, const char *data, apr_size_t len,
                                  interp_send_e how);
apr_status_t interp_exchange_file(interp_thread_t *thread, int fd, apr_int64_t offset,
                                  apr_int64_t length, int last);
apr_status_t interp_exchange_finish(interp_thread_t *thread, int complete);

/* ---- interp_load.c ---- */

/* Loads every application of the group; logs each that fails. APR_INCOMPLETE: some failed;
 * APR_EGENERAL: all did. */
apr_status_t interp_load_mounts(interp_t *interp);

/* Borrowed; never NULL for a mount of the interpreter's group, after interp_load_mounts(). */
const interp_mount_t *interp_mount_get(const interp_t *interp, const config_mount_t *mount);

/* Puts the folders of python-path, and what their .pth files add, before sys.path. APR_EGENERAL:
 * the exception is set. */
apr_status_t interp_load_path(interp_t *interp);

/* ---- interp_environ.c ---- */

/* Makes the keys and the tables; APR_EGENERAL: the exception is set. Stopping drops what there is,
 * also after a start that failed. */
apr_status_t interp_environ_start(interp_t *interp);
void interp_environ_stop(interp_t *interp);

/* What never changes of a mount's environ: a new dict, NULL with an exception set. */
PyObject *interp_environ_template(interp_t *interp, const config_mount_t *mount);

/* ---- interp_input.c ---- */

/* The input of the thread's request: a new reference, NULL with an exception set. Its end frees
 * what it keeps, or leaves that to the method that another thread is in. */
PyObject *interp_input_new(interp_thread_t *thread);
void interp_input_end(interp_input_t *input);

/* ---- interp_response.c ---- */

/* A start_response for the thread's request: a new reference, NULL with an exception set. */
PyObject *interp_response_new(interp_thread_t *thread);

/* Checks and copies a head. APR_EGENERAL: refused, the exception and the thread's fault are set. */
apr_status_t interp_response_start(interp_response_t *response, PyObject *status,
                                   PyObject *headers);

/* Hands the head to the exchange, once. APR_EGENERAL: refused, the exception is set. */
apr_status_t interp_response_head(interp_response_t *response);

/* Whether an item may be part of a body. APR_EGENERAL: refused, the exception is set. */
apr_status_t interp_response_check(interp_response_t *response, PyObject *item);

/*
 * Takes one item of the body; more: it may wait for what follows. APR_EOF: no more is wanted (the
 * response has ended); APR_ECONNABORTED: nobody waits; APR_EGENERAL: the exception is set.
 */
apr_status_t interp_response_item(interp_response_t *response, PyObject *item, int more);

/* ---- interp_file.c ---- */

/*
 * The regular file behind a wsgi.file_wrapper, if there is one that can be sent by its descriptor.
 * True: *fd (the file's own), *offset and *length in bytes are set. Leaves no exception.
 */
int interp_file_real(const interp_t *interp, PyObject *wrapper, int *fd, apr_int64_t *offset,
                     apr_int64_t *length);

/* ---- interp_log.c ---- */

/* A file that writes to the log: a new reference, NULL with an exception set. */
PyObject *interp_stream_new(interp_t *interp, interp_stream_e stream);

/* Makes the streams, and puts them in the place of sys.stderr and sys.stdout. APR_EGENERAL: the
 * exception is set. */
apr_status_t interp_log_redirect(interp_t *interp);

/* Logs the unfinished lines of the calling thread. */
void interp_log_flush(interp_thread_t *thread);

#endif
