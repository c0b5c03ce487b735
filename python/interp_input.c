/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_input.c: wsgi.input, a file over the request's body that can be read, read again, sought.
 *
 * What was read is kept until the request ends, since a retry or an application may go back: as the
 * bytes that one read() of everything has got; else in memory, up to INPUT_MEMORY bytes; beyond
 * that in a temporary file without a name.  Any thread of the application, with the GIL, which is
 * released around the channel and the file.
 *
 * Invariants:
 *  1. `total` bytes of the body have come from the channel; bytes [0, total) can be read again.
 *  2. The window holds bytes [base, base + have) of the body. fd < 0: base is 0, have is total.
 *  3. fd >= 0: the file holds [0, total).  whole: the window is its bytes, and the body has ended.
 *  4. `busy` while a method runs, since the GIL is released inside: a second thread is refused.
 *  5. thread is NULL once the request is over; then nothing is readable, and nothing is held.
 *
 * States: COMING (ended 0) --the channel says so--> WHOLE (APR_EOF) or BROKEN (another status).
 * A broken body raises at the place where it broke each time it is read there: an end by b"" would
 * say that it was whole.
 */
#include "python/interp_private.h"

#include <apr_file_io.h>
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* The window's first size for a body of unknown length: a read from the channel brings a frame. */
#define INPUT_WINDOW WIRE_FRAME_MAX

/* Most bytes of the window. Writing a megabyte to a file of ext4 took 600 us, four times as long as
 * all the rest of reading it; most forms and documents are smaller. */
#define INPUT_MEMORY (1024 * 1024)

/* read() without a size starts with so much and doubles it: a length that the client only claims
 * reserves no memory. */
#define INPUT_FIRST_READ (1024 * 1024)

struct interp_input_t {
    PyObject_HEAD
    interp_thread_t *thread; /* borrowed; NULL once the request is over */
    apr_int64_t length;      /* Content-Length, -1 unknown */
    PyObject *whole;         /* owned: the body as one read() got it, or NULL */
    char *window;            /* owned (PyMem_Raw), or of `whole`; NULL until needed */
    apr_size_t room;
    apr_size_t have;
    apr_int64_t base;
    apr_int64_t total;
    apr_int64_t pos;
    int fd; /* owned; -1: nothing was spilled */
    int busy;
    apr_status_t ended;
};

/* ---- Filling the window ---------------------------------------------------------------------- */

static int input_raise(apr_status_t rv)
{
    if (rv == APR_ECONNABORTED) {
        PyErr_SetString(PyExc_ConnectionAbortedError, "nobody waits for this request any more");
    } else {
        PyErr_SetString(PyExc_ConnectionResetError,
                        "the client broke off in the middle of the request's body");
    }
    return -1;
}

static int input_write(int fd, const char *data, apr_size_t len, apr_int64_t offset)
{
    ssize_t written = 0;

    Py_BEGIN_ALLOW_THREADS
    while (len && (written = pwrite(fd, data, len, offset)) > 0) {
        data += written;
        len -= (apr_size_t)written;
        offset += written;
    }
    Py_END_ALLOW_THREADS
    if (len) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

/* A file without a name in the process's temporary folder, which is found by trying; -1 and errno.
 * Without the GIL. */
static int input_temporary(apr_pool_t *p)
{
    const char *folder = NULL;
    char *name;
    int fd;

    if (apr_temp_dir_get(&folder, p) != APR_SUCCESS) {
        errno = ENOENT;
        return -1;
    }
    name = apr_pstrcat(p, folder, "/pipeline-body-XXXXXX", NULL);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0) {
        unlink(name);
    }
    return fd;
}

/* A file for what the window has no room for. The request's pool is its worker's: this may be
 * another thread of the application. */
static int input_spill(interp_input_t *in)
{
    apr_pool_t *p;
    int failure = ENOMEM;

    Py_BEGIN_ALLOW_THREADS
    if (apr_pool_create(&p, NULL) == APR_SUCCESS) {
        apr_pool_tag(p, "interp_input_spill");
        in->fd = input_temporary(p);
        failure = errno;
        apr_pool_destroy(p);
    }
    Py_END_ALLOW_THREADS
    if (in->fd < 0) {
        errno = failure;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return input_write(in->fd, in->window, in->have, 0);
}

/* Gives the window its first room, or twice as much. A length that is known needs no second step.
 */
static int input_widen(interp_input_t *in)
{
    apr_size_t room = in->room ? in->room * 2 : INPUT_WINDOW;
    char *window;

    if (!in->room && in->length > 0) {
        room = in->length < INPUT_MEMORY ? (apr_size_t)in->length : INPUT_MEMORY;
    }
    room = room < INPUT_MEMORY ? room : INPUT_MEMORY;
    window = PyMem_RawRealloc(in->window, room);
    if (!window) {
        PyErr_NoMemory();
        return -1;
    }
    in->window = window;
    in->room = room;
    return 0;
}

/* Makes room in the window for bytes that follow `total`. */
static int input_room(interp_input_t *in)
{
    int failed = 0;

    if (in->fd < 0 && in->have == in->room) {
        failed = in->room < INPUT_MEMORY ? input_widen(in) : input_spill(in);
    }
    if (!failed && in->fd >= 0) {
        in->base = in->total;
        in->have = 0;
    }
    return failed;
}

/* 1: more of the body may come, 0: it is whole, -1: it broke, an exception is set. */
static int input_coming(interp_input_t *in)
{
    if (in->ended == APR_SUCCESS && in->length >= 0 && in->total >= in->length) {
        in->ended = APR_EOF;
    }
    if (in->ended != APR_SUCCESS) {
        return in->ended == APR_EOF ? 0 : input_raise(in->ended);
    }
    return 1;
}

/* Bytes from the channel, at least one. Returns as input_coming() does. */
static int input_receive(interp_input_t *in, char *to, apr_size_t room, apr_size_t *got)
{
    apr_status_t rv = interp_exchange_read(in->thread, to, room, got);

    if (rv != APR_SUCCESS) {
        in->ended = rv;
        return rv == APR_EOF ? 0 : input_raise(rv);
    }
    return 1;
}

/* Adds the next piece to the window. Returns as input_coming() does. */
static int input_pull(interp_input_t *in)
{
    apr_size_t got;
    int coming = input_coming(in);

    if (coming > 0) {
        coming = input_room(in) ? -1 : 1;
    }
    if (coming > 0) {
        coming = input_receive(in, in->window + in->have, in->room - in->have, &got);
    }
    if (coming <= 0) {
        return coming;
    }
    if (in->fd >= 0 && input_write(in->fd, in->window, got, in->total)) {
        in->ended = APR_EGENERAL;
        return -1;
    }
    in->have += got;
    in->total += (apr_int64_t)got;
    return 1;
}

/* Brings bytes that were spilled back into the window. */
static int input_reload(interp_input_t *in)
{
    ssize_t got;

    Py_BEGIN_ALLOW_THREADS
    got = pread(in->fd, in->window, in->room, in->pos);
    Py_END_ALLOW_THREADS
    if (got <= 0) {
        in->have = 0;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    in->base = in->pos;
    in->have = (apr_size_t)got;
    return 1;
}

/* Sees to it that the byte at `pos` is in the window. 1: it is, 0: pos is at the end or past it. */
static int input_fill(interp_input_t *in)
{
    int more;

    while (in->pos >= in->total) {
        more = input_pull(in);
        if (more <= 0) {
            return more;
        }
    }
    if (in->pos >= in->base && in->pos < in->base + (apr_int64_t)in->have) {
        return 1;
    }
    return input_reload(in);
}

/* ---- Taking bytes ---------------------------------------------------------------------------- */

/* How many of the bytes in the window to take, at most `limit`; *line: up to and with a newline. */
static apr_size_t input_available(const interp_input_t *in, apr_size_t limit, int *line)
{
    const char *from = in->window + (in->pos - in->base);
    apr_size_t n = in->have - (apr_size_t)(in->pos - in->base);
    const char *newline;

    if (n > limit) {
        n = limit;
    }
    newline = *line ? memchr(from, '\n', n) : NULL;
    if (newline) {
        *line = 0;
        n = (apr_size_t)(newline - from) + 1;
    }
    return n;
}

/* Makes `bytes` hold `more` bytes behind the `used` ones; at least doubles when it must grow. */
static int input_grow(PyObject **bytes, apr_size_t used, apr_size_t more, apr_size_t limit)
{
    apr_size_t room = *bytes ? (apr_size_t)PyBytes_GET_SIZE(*bytes) : 0;

    if (used + more <= room) {
        return 0;
    }
    room = room * 2 > used + more ? room * 2 : used + more;
    if (room > limit) {
        room = limit;
    }
    if (!*bytes) {
        *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room);
        return *bytes ? 0 : -1;
    }
    return _PyBytes_Resize(bytes, (Py_ssize_t)room);
}

/* Bytes that read() without a size can expect, beyond those in the window. */
static apr_size_t input_expected(const interp_input_t *in, apr_size_t n, apr_size_t limit)
{
    apr_int64_t rest = in->length >= 0 ? in->length - in->pos : (apr_int64_t)n;

    if (rest > INPUT_FIRST_READ) {
        rest = INPUT_FIRST_READ;
    }
    if (rest > (apr_int64_t)limit) {
        rest = (apr_int64_t)limit;
    }
    return rest > (apr_int64_t)n ? (apr_size_t)rest : n;
}

/* At most `limit` bytes (-1: all), with line 1 no more than one line. On failure pos stays. */
static PyObject *input_take(interp_input_t *in, Py_ssize_t limit, int line)
{
    const apr_size_t most = limit < 0 ? (apr_size_t)PY_SSIZE_T_MAX : (apr_size_t)limit;
    const apr_int64_t start = in->pos;
    PyObject *bytes = NULL;
    int lookout = line;
    apr_size_t used = 0;
    apr_size_t n;
    int filled = 1;

    while (used < most && (!line || lookout) && (filled = input_fill(in)) > 0) {
        n = input_available(in, most - used, &lookout);
        if (input_grow(&bytes, used, used || line ? n : input_expected(in, n, most), most)) {
            filled = -1;
            break;
        }
        memcpy(PyBytes_AS_STRING(bytes) + used, in->window + (in->pos - in->base), n);
        used += n;
        in->pos += (apr_int64_t)n;
    }
    if (filled < 0) {
        in->pos = start;
        Py_XDECREF(bytes);
        return NULL;
    }
    if (!bytes) {
        return PyBytes_FromStringAndSize(NULL, 0);
    }
    if ((apr_size_t)PyBytes_GET_SIZE(bytes) != used) {
        _PyBytes_Resize(&bytes, (Py_ssize_t)used);
    }
    return bytes;
}

/* True when a read wants everything, and nothing has come before. */
static int input_wants_whole(const interp_input_t *in, Py_ssize_t limit)
{
    return in->total == 0 && in->pos == 0 && !in->window && in->ended == APR_SUCCESS &&
           (limit < 0 || (in->length >= 0 && limit >= in->length));
}

/* The window becomes what was read, which nothing will change. */
static int input_keep_whole(interp_input_t *in, apr_size_t used)
{
    if (in->whole && (apr_size_t)PyBytes_GET_SIZE(in->whole) != used &&
        _PyBytes_Resize(&in->whole, (Py_ssize_t)used)) {
        in->ended = APR_EGENERAL;
        return -1;
    }
    in->window = in->whole ? PyBytes_AS_STRING(in->whole) : NULL;
    in->room = used;
    in->have = used;
    in->total = (apr_int64_t)used;
    return 0;
}

/* The whole body by one read: the bytes that the caller gets are also what is kept. */
static PyObject *input_take_whole(interp_input_t *in)
{
    const apr_size_t most = (apr_size_t)PY_SSIZE_T_MAX;
    apr_size_t used = 0;
    apr_size_t got = 0;
    int coming = 1;

    while (coming > 0 && (in->length < 0 || (apr_int64_t)used < in->length)) {
        if (input_grow(&in->whole, used, used ? 1 : input_expected(in, INPUT_WINDOW, most), most)) {
            in->ended = APR_EGENERAL;
            return NULL;
        }
        coming = input_receive(in, PyBytes_AS_STRING(in->whole) + used,
                               (apr_size_t)PyBytes_GET_SIZE(in->whole) - used, &got);
        used += coming > 0 ? got : 0;
    }
    if (input_keep_whole(in, used) || coming < 0) {
        return NULL;
    }
    in->pos = in->total;
    return in->whole ? Py_NewRef(in->whole) : PyBytes_FromStringAndSize(NULL, 0);
}

/* ---- Methods --------------------------------------------------------------------------------- */

static int input_enter(interp_input_t *in)
{
    if (!in->thread) {
        PyErr_SetString(PyExc_ValueError, "wsgi.input of a request that is over");
        return -1;
    }
    if (in->busy) {
        PyErr_SetString(PyExc_RuntimeError, "wsgi.input is being read by another thread");
        return -1;
    }
    in->busy = 1;
    return 0;
}

static void input_free(interp_input_t *in)
{
    if (in->whole) {
        in->window = NULL; /* it was the bytes' own */
    }
    Py_CLEAR(in->whole);
    PyMem_RawFree(in->window);
    in->window = NULL;
    if (in->fd >= 0) {
        close(in->fd);
        in->fd = -1;
    }
}

static void input_leave(interp_input_t *in)
{
    in->busy = 0;
    if (!in->thread) {
        input_free(in);
    }
}

/* The one optional argument of the reading methods: None or a negative number means no limit. */
static int input_limit(PyObject *const *args, Py_ssize_t nargs, Py_ssize_t *limit)
{
    *limit = -1;
    if (nargs > 1) {
        PyErr_SetString(PyExc_TypeError, "at most one argument is expected");
        return -1;
    }
    if (nargs == 1 && args[0] != Py_None) {
        *limit = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
        if (*limit == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    return 0;
}

static PyObject *input_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs, int line)
{
    interp_input_t *in = (interp_input_t *)self;
    PyObject *bytes;
    Py_ssize_t limit;

    if (input_limit(args, nargs, &limit) || input_enter(in)) {
        return NULL;
    }
    bytes =
        !line && input_wants_whole(in, limit) ? input_take_whole(in) : input_take(in, limit, line);
    input_leave(in);
    return bytes;
}

static PyObject *input_read(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return input_get(self, args, nargs, 0);
}

static PyObject *input_readline(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return input_get(self, args, nargs, 1);
}

static PyObject *input_next(PyObject *self)
{
    PyObject *line = input_get(self, NULL, 0, 1);

    if (line && PyBytes_GET_SIZE(line) == 0) {
        Py_CLEAR(line);
    }
    return line;
}

/* As io.IOBase has it: stops after the line with which `hint` bytes are reached. */
static PyObject *input_readlines(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *lines = NULL;
    PyObject *line = NULL;
    Py_ssize_t hint;
    Py_ssize_t size = 0;

    if (input_limit(args, nargs, &hint)) {
        return NULL;
    }
    lines = PyList_New(0);
    while (lines && (hint <= 0 || size < hint) && (line = input_next(self))) {
        size += PyBytes_GET_SIZE(line);
        if (PyList_Append(lines, line)) {
            break;
        }
        Py_CLEAR(line);
    }
    Py_XDECREF(line);
    if (PyErr_Occurred()) {
        Py_CLEAR(lines);
    }
    return lines;
}

static PyObject *input_readinto(PyObject *self, PyObject *argument)
{
    interp_input_t *in = (interp_input_t *)self;
    PyObject *bytes = NULL;
    PyObject *count = NULL;
    Py_buffer buffer;

    if (PyObject_GetBuffer(argument, &buffer, PyBUF_WRITABLE)) {
        return NULL;
    }
    if (!input_enter(in)) {
        bytes = input_take(in, buffer.len, 0);
        input_leave(in);
    }
    if (bytes) {
        memcpy(buffer.buf, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
        count = PyLong_FromSsize_t(PyBytes_GET_SIZE(bytes));
    }
    Py_XDECREF(bytes);
    PyBuffer_Release(&buffer);
    return count;
}

/* What seek() counts from; reads the rest of the body when that is its end. -1: exception. */
static apr_int64_t input_origin(interp_input_t *in, int whence)
{
    int more;

    if (whence == SEEK_SET) {
        return 0;
    }
    if (whence == SEEK_CUR) {
        return in->pos;
    }
    if (whence != SEEK_END) {
        PyErr_Format(PyExc_ValueError, "invalid whence (%d, should be 0, 1 or 2)", whence);
        return -1;
    }
    while ((more = input_pull(in)) > 0) {
    }
    return more < 0 ? -1 : in->total;
}

static PyObject *input_seek(PyObject *self, PyObject *args)
{
    interp_input_t *in = (interp_input_t *)self;
    PyObject *result = NULL;
    apr_int64_t origin;
    long long offset;
    int whence = SEEK_SET;

    if (!PyArg_ParseTuple(args, "L|i:seek", &offset, &whence) || input_enter(in)) {
        return NULL;
    }
    origin = input_origin(in, whence);
    if (origin >= 0 && (offset < -origin || offset > APR_INT64_MAX - origin)) {
        PyErr_Format(PyExc_ValueError, "seek to a position out of range: %lld", offset);
    } else if (origin >= 0) {
        in->pos = origin + offset;
        result = PyLong_FromLongLong(in->pos);
    }
    input_leave(in);
    return result;
}

static PyObject *input_tell(PyObject *self, PyObject *unused)
{
    interp_input_t *in = (interp_input_t *)self;
    PyObject *result;

    (void)unused;
    if (input_enter(in)) {
        return NULL;
    }
    result = PyLong_FromLongLong(in->pos);
    input_leave(in);
    return result;
}

static PyObject *input_true(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_TRUE;
}

static PyObject *input_false(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_FALSE;
}

static PyObject *input_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(!((interp_input_t *)self)->thread);
}

/* ---- Type ------------------------------------------------------------------------------------ */

static void input_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    input_free((interp_input_t *)self);
    PyObject_Free(self);
    Py_DECREF(type);
}

PyTypeObject *interp_input_type(void)
{
    static PyMethodDef methods[] = {
        { "read", (PyCFunction)(void (*)(void))input_read, METH_FASTCALL,
          "read(size=-1): that many bytes of the body, fewer only at its end." },
        { "readline", (PyCFunction)(void (*)(void))input_readline, METH_FASTCALL,
          "readline(size=-1): the next line with its newline." },
        { "readlines", (PyCFunction)(void (*)(void))input_readlines, METH_FASTCALL,
          "readlines(hint=-1): the lines that are left, or those with which hint is reached." },
        { "readinto", input_readinto, METH_O, "readinto(buffer): how many bytes were put there." },
        { "seek", input_seek, METH_VARARGS, "seek(offset, whence=0): the new position." },
        { "tell", input_tell, METH_NOARGS, "tell(): the position in the body." },
        { "readable", input_true, METH_NOARGS, "readable(): True." },
        { "seekable", input_true, METH_NOARGS, "seekable(): True." },
        { "writable", input_false, METH_NOARGS, "writable(): False." },
        { NULL, NULL, 0, NULL },
    };
    static PyGetSetDef getset[] = {
        { "closed", input_closed, NULL, "True once the request is over.", NULL },
        { NULL, NULL, NULL, NULL, NULL },
    };
    static PyType_Slot slots[] = {
        { Py_tp_dealloc, input_dealloc }, { Py_tp_iter, PyObject_SelfIter },
        { Py_tp_iternext, input_next },   { Py_tp_methods, methods },
        { Py_tp_getset, getset },         { 0, NULL },
    };
    static PyType_Spec spec = {
        .name = "mod_pipeline.Input",
        .basicsize = sizeof(interp_input_t),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };

    return (PyTypeObject *)PyType_FromSpec(&spec);
}

PyObject *interp_input_new(interp_thread_t *thread)
{
    interp_input_t *in = PyObject_New(interp_input_t, thread->interp->input_type);

    if (!in) {
        return NULL;
    }
    in->thread = thread;
    in->length = daemon_exchange_head(thread->x)->content_length;
    in->whole = NULL;
    in->window = NULL;
    in->room = 0;
    in->have = 0;
    in->base = 0;
    in->total = 0;
    in->pos = 0;
    in->fd = -1;
    in->busy = 0;
    in->ended = APR_SUCCESS;
    return (PyObject *)in;
}

void interp_input_end(interp_input_t *in)
{
    in->thread = NULL;
    if (!in->busy) {
        input_free(in);
    }
}

PyObject *interp_thread_input(interp_thread_t *thread)
{
    if (!thread->input) {
        thread->input = (interp_input_t *)interp_input_new(thread);
    }
    return (PyObject *)thread->input;
}

void interp_input_rewind(interp_thread_t *thread)
{
    if (thread->input) {
        thread->input->pos = 0;
    }
}
