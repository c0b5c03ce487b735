/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_exchange.c: the worker's exchange, as code inside Python may use it.
 *
 * An exchange belongs to its worker, but an application may hand wsgi.input or write() to a thread
 * of its own. So each use takes the worker's lock, and looks whether the request is still there.
 * The lock is taken without the GIL and given back before the GIL is asked for; only a call that
 * cannot wait (a head, small pieces that are gathered) tries the lock with the GIL held.
 */
#include "python/interp_private.h"

#include <http_log.h>

APLOG_USE_MODULE(pipeline);

/* So many bytes of one response fit a frame beside its head, so that gathering them sends nothing
 * and cannot wait. A quarter of a frame: copying it takes some microseconds. */
#define EXCHANGE_GATHERED (WIRE_FRAME_MAX / 4)

apr_status_t interp_exchange_read(interp_thread_t *thread, char *buffer, apr_size_t len,
                                  apr_size_t *got)
{
    apr_status_t rv = APR_ECONNABORTED;

    *got = 0;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&thread->lock);
    if (thread->x && !thread->ended) {
        rv = daemon_exchange_read(thread->x, buffer, len, got);
        thread->gone |= rv != APR_SUCCESS && rv != APR_EOF;
    }
    pthread_mutex_unlock(&thread->lock);
    Py_END_ALLOW_THREADS
    return rv;
}

/* With the lock held. */
static apr_status_t exchange_head(interp_thread_t *thread, const wire_response_t *head)
{
    if (!thread->x || thread->ended) {
        return APR_ECONNABORTED;
    }
    return daemon_exchange_head_set(thread->x, head);
}

apr_status_t interp_exchange_head(interp_thread_t *thread, const wire_response_t *head)
{
    apr_status_t rv;

    if (!pthread_mutex_trylock(&thread->lock)) {
        rv = exchange_head(thread, head);
        pthread_mutex_unlock(&thread->lock);
        return rv;
    }
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&thread->lock);
    rv = exchange_head(thread, head);
    pthread_mutex_unlock(&thread->lock);
    Py_END_ALLOW_THREADS
    return rv;
}

/* With the lock held. */
static apr_status_t exchange_send(interp_thread_t *thread, const char *data, apr_size_t len,
                                  interp_send_e how)
{
    apr_status_t rv;

    if (!thread->x || thread->ended) {
        return APR_ECONNABORTED;
    }
    rv = daemon_exchange_write(thread->x, data, len, how != INTERP_SEND_NOW);
    if (rv == APR_SUCCESS && how == INTERP_SEND_LAST) {
        thread->ended = 1;
        rv = daemon_exchange_finish(thread->x, 1);
    }
    thread->gone |= rv == APR_ECONNABORTED;
    return rv;
}

apr_status_t interp_exchange_send(interp_thread_t *thread, const char *data, apr_size_t len,
                                  interp_send_e how)
{
    apr_status_t rv;

    thread->gathered += len;
    if (how == INTERP_SEND_MORE && thread->gathered <= EXCHANGE_GATHERED &&
        !pthread_mutex_trylock(&thread->lock)) {
        rv = exchange_send(thread, data, len, how);
        pthread_mutex_unlock(&thread->lock);
        return rv;
    }
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&thread->lock);
    rv = exchange_send(thread, data, len, how);
    pthread_mutex_unlock(&thread->lock);
    Py_END_ALLOW_THREADS
    return rv;
}

apr_status_t interp_exchange_file(interp_thread_t *thread, int fd, apr_int64_t offset,
                                  apr_int64_t length, int last)
{
    apr_status_t rv = APR_ECONNABORTED;

    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&thread->lock);
    if (thread->x && !thread->ended) {
        rv = daemon_exchange_file(thread->x, fd, offset, length, last);
        thread->ended = last && rv == APR_SUCCESS;
    }
    pthread_mutex_unlock(&thread->lock);
    Py_END_ALLOW_THREADS
    return rv;
}

apr_status_t interp_exchange_finish(interp_thread_t *thread, int complete)
{
    apr_status_t rv = APR_SUCCESS;

    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&thread->lock);
    if (thread->x && !thread->ended) {
        thread->ended = 1;
        rv = daemon_exchange_finish(thread->x, complete);
    }
    pthread_mutex_unlock(&thread->lock);
    Py_END_ALLOW_THREADS
    return rv;
}
