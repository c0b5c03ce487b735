/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_file.c: wsgi.file_wrapper.
 *
 * An application wraps a file-like object; if it returns the wrapper itself and the object is a
 * real file of the io module, the file goes out by its descriptor. Everything else is read in
 * blocks. Only the io module's own types count as real files: a subclass may read something else
 * than what its descriptor holds, as gzip.GzipFile does.
 */
#include "python/interp_private.h"

#include <structmember.h>
#include <sys/stat.h>

/* As wsgiref has it: what read() is asked for when the application names no size. */
#define FILE_BLOCK 8192

typedef struct interp_file_t {
    PyObject_HEAD
    PyObject *file; /* owned */
    Py_ssize_t block;
} interp_file_t;

/* ---- The file behind a wrapper --------------------------------------------------------------- */

/* tempfile's files keep the io object in `file`; that is followed once. New reference or NULL. */
static PyObject *file_unwrap(const interp_t *interp, PyObject *file)
{
    PyObject *type = (PyObject *)Py_TYPE(file);
    PyObject *inner;

    if (type == interp->file_io || type == interp->buffered_reader ||
        type == interp->buffered_random) {
        return Py_NewRef(file);
    }
    if (strcmp(Py_TYPE(file)->tp_name, "_TemporaryFileWrapper")) {
        return NULL;
    }
    inner = PyObject_GetAttrString(file, "file");
    type = inner ? (PyObject *)Py_TYPE(inner) : NULL;
    if (type != interp->file_io && type != interp->buffered_reader &&
        type != interp->buffered_random) {
        Py_CLEAR(inner);
    }
    return inner;
}

/* A buffered file is only as real as what it buffers. */
static int file_raw_is_real(const interp_t *interp, PyObject *file)
{
    PyObject *raw;
    int real;

    if ((PyObject *)Py_TYPE(file) == interp->file_io) {
        return 1;
    }
    raw = PyObject_GetAttrString(file, "raw");
    real = raw && (PyObject *)Py_TYPE(raw) == interp->file_io;
    Py_XDECREF(raw);
    return real;
}

/* Calls a method without arguments that returns a number; -1 and an exception when it cannot. */
static long long file_number(PyObject *file, const char *method)
{
    PyObject *result = PyObject_CallMethod(file, method, NULL);
    long long number = result ? PyLong_AsLongLong(result) : -1;

    Py_XDECREF(result);
    return number;
}

static int file_measure(PyObject *file, int *fd, apr_int64_t *offset, apr_int64_t *length)
{
    PyObject *flushed = PyObject_CallMethod(file, "flush", NULL);
    struct stat info;
    long long descriptor;

    if (!flushed) {
        return 0;
    }
    Py_DECREF(flushed);
    descriptor = file_number(file, "fileno");
    *offset = descriptor >= 0 ? file_number(file, "tell") : -1;
    if (*offset < 0 || fstat((int)descriptor, &info) || !S_ISREG(info.st_mode)) {
        return 0;
    }
    *fd = (int)descriptor;
    *length = info.st_size > *offset ? info.st_size - *offset : 0;
    return 1;
}

int interp_file_real(const interp_t *interp, PyObject *wrapper, int *fd, apr_int64_t *offset,
                     apr_int64_t *length)
{
    PyObject *file = file_unwrap(interp, ((interp_file_t *)wrapper)->file);
    int real = file && file_raw_is_real(interp, file) && file_measure(file, fd, offset, length);

    Py_XDECREF(file);
    PyErr_Clear();
    return real;
}

/* ---- Type ------------------------------------------------------------------------------------ */

static PyObject *file_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char filelike_name[] = "filelike";
    static char block_name[] = "blksize";
    static char *names[] = { filelike_name, block_name, NULL };
    interp_file_t *self = NULL;
    PyObject *file;
    Py_ssize_t block = FILE_BLOCK;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|n:file_wrapper", names, &file, &block)) {
        return NULL;
    }
    self = (interp_file_t *)type->tp_alloc(type, 0);
    if (self) {
        self->file = Py_NewRef(file);
        self->block = block;
    }
    return (PyObject *)self;
}

static int file_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((interp_file_t *)self)->file);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int file_clear(PyObject *self)
{
    Py_CLEAR(((interp_file_t *)self)->file);
    return 0;
}

static void file_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    file_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The next block; an empty one of whatever type is the end. */
static PyObject *file_next(PyObject *self)
{
    interp_file_t *wrapper = (interp_file_t *)self;
    PyObject *data = PyObject_CallMethod(wrapper->file, "read", "n", wrapper->block);
    int filled = data ? PyObject_IsTrue(data) : 0;

    if (filled <= 0) {
        Py_CLEAR(data);
    }
    return data;
}

/* A file-like object need not have close(). */
static PyObject *file_close(PyObject *self, PyObject *unused)
{
    PyObject *close = PyObject_GetAttrString(((interp_file_t *)self)->file, "close");
    PyObject *result;

    (void)unused;
    if (!close) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return NULL;
        }
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    result = PyObject_CallNoArgs(close);
    Py_DECREF(close);
    return result;
}

PyTypeObject *interp_file_type(void)
{
    static PyMethodDef methods[] = {
        { "close", file_close, METH_NOARGS, "close(): closes the file, if it can be." },
        { NULL, NULL, 0, NULL },
    };
    static PyMemberDef members[] = {
        { "filelike", T_OBJECT, offsetof(interp_file_t, file), READONLY, "What is wrapped." },
        { "blksize", T_PYSSIZET, offsetof(interp_file_t, block), READONLY, "Bytes in one read." },
        { NULL, 0, 0, 0, NULL },
    };
    static PyType_Slot slots[] = {
        { Py_tp_new, file_new },
        { Py_tp_traverse, file_traverse },
        { Py_tp_clear, file_clear },
        { Py_tp_dealloc, file_dealloc },
        { Py_tp_iter, PyObject_SelfIter },
        { Py_tp_iternext, file_next },
        { Py_tp_methods, methods },
        { Py_tp_members, members },
        { 0, NULL },
    };
    static PyType_Spec spec = {
        .name = "mod_pipeline.FileWrapper",
        .basicsize = sizeof(interp_file_t),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };

    return (PyTypeObject *)PyType_FromSpec(&spec);
}
