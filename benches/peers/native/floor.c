/* The least a C program takes for the same work: a dict whose lookup is awaited without a coroutine,
 * and bare system calls. No limit, no TTL, no policy, no checksum: a floor, not a library. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef Py_TPFLAGS_HAVE_AM_SEND /* private in the headers, public in what it does */
#define Py_TPFLAGS_HAVE_AM_SEND (1UL << 21)
#endif

/* An awaitable that is complete when it is made. */
typedef struct {
    PyObject_HEAD
    PyObject *value;
} Ready;

static PyObject *ready_self(PyObject *self) { return Py_NewRef(self); }

static PySendResult ready_send(PyObject *self, PyObject *sent, PyObject **result) {
    (void)sent;
    *result = ((Ready *)self)->value;
    ((Ready *)self)->value = NULL;
    return PYGEN_RETURN;
}

/* From CPython 3.12 on `await` comes here instead. */
static PyObject *ready_next(PyObject *self) {
    PyObject *value = ((Ready *)self)->value;
    ((Ready *)self)->value = NULL;
    if (value != NULL) {
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
        Py_DECREF(value);
        if (stop != NULL) {
            PyErr_SetObject(PyExc_StopIteration, stop);
            Py_DECREF(stop);
        }
    }
    return NULL;
}

static void ready_dealloc(PyObject *self) {
    Py_XDECREF(((Ready *)self)->value);
    PyObject_Free(self);
}

static PyAsyncMethods ready_async = {.am_await = ready_self, .am_send = ready_send};
static PyTypeObject ReadyType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "floor.Ready",
    .tp_basicsize = sizeof(Ready),
    .tp_dealloc = ready_dealloc,
    .tp_as_async = &ready_async,
    .tp_iter = ready_self,
    .tp_iternext = ready_next,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_AM_SEND,
};

/* The last one is used again as soon as nobody else has it. */
static Ready *spare;

static PyObject *ready(PyObject *value) {
    if (spare == NULL || Py_REFCNT(spare) != 1 || spare->value != NULL) {
        Ready *made = PyObject_New(Ready, &ReadyType);
        if (made == NULL) return NULL;
        made->value = NULL;
        Py_XDECREF(spare);
        spare = made;
    }
    spare->value = Py_NewRef(value);
    return Py_NewRef((PyObject *)spare);
}

typedef struct {
    PyObject_HEAD
    PyObject *dict;
} Table;

static PyObject *table_get(PyObject *self, PyObject *key) {
    PyObject *value = PyDict_GetItemWithError(((Table *)self)->dict, key);
    if (value == NULL) {
        if (PyErr_Occurred()) return NULL;
        value = Py_None;
    }
    return ready(value);
}

static PyObject *table_set(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    if (count < 2) return PyErr_Format(PyExc_TypeError, "set(key, value)");
    if (PyDict_SetItem(((Table *)self)->dict, args[0], args[1]) < 0) return NULL;
    return ready(Py_None);
}

static PyObject *table_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    (void)args, (void)named;
    Table *self = (Table *)type->tp_alloc(type, 0);
    if (self != NULL && (self->dict = PyDict_New()) == NULL) Py_CLEAR(self);
    return (PyObject *)self;
}

static void table_dealloc(PyObject *self) {
    Py_XDECREF(((Table *)self)->dict);
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef table_methods[] = {
    {"get", table_get, METH_O, "An awaitable of the value, or of None."},
    {"set", (PyCFunction)(void (*)(void))table_set, METH_FASTCALL, "An awaitable of None."},
    {NULL, NULL, 0, NULL},
};
static PyTypeObject TableType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "floor.Table",
    .tp_basicsize = sizeof(Table),
    .tp_new = table_new,
    .tp_dealloc = table_dealloc,
    .tp_methods = table_methods,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

/* open, fstat, read, close. The interpreter lock is kept: giving it up would cost more. */
static PyObject *read_file(PyObject *module, PyObject *path) {
    (void)module;
    const char *name = PyUnicode_AsUTF8(path);
    if (name == NULL) return NULL;
    int file = open(name, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (file < 0) return PyErr_SetFromErrnoWithFilename(PyExc_OSError, name);
    PyObject *data = NULL;
    if (fstat(file, &about) == 0 && (data = PyBytes_FromStringAndSize(NULL, about.st_size))) {
        char *at = PyBytes_AS_STRING(data);
        Py_ssize_t left = about.st_size, got;
        while (left > 0 && (got = read(file, at, left)) > 0) at += got, left -= got;
        if (left > 0) Py_CLEAR(data);
    }
    if (data == NULL && !PyErr_Occurred()) PyErr_SetFromErrnoWithFilename(PyExc_OSError, name);
    close(file);
    return data;
}

/* A new file, write, perhaps fdatasync, close, rename over the name. */
static PyObject *write_file(PyObject *module, PyObject *args) {
    (void)module;
    const char *draft, *name;
    Py_buffer data;
    int flush = 0;
    if (!PyArg_ParseTuple(args, "ssy*|p", &draft, &name, &data, &flush)) return NULL;
    int failed = 1, file = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file >= 0) {
        const char *at = data.buf;
        Py_ssize_t left = data.len, put = 0;
        Py_BEGIN_ALLOW_THREADS
        while (left > 0 && (put = write(file, at, left)) > 0) at += put, left -= put;
        failed = left > 0 || (flush && fdatasync(file) < 0);
        failed |= close(file) < 0 || rename(draft, name) < 0;
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    if (failed) return PyErr_SetFromErrnoWithFilename(PyExc_OSError, name);
    Py_RETURN_NONE;
}

/* How long, in seconds, reading a whole file into fresh memory of huge pages takes. */
static PyObject *read_huge(PyObject *module, PyObject *path) {
    (void)module;
    const char *name = PyUnicode_AsUTF8(path);
    if (name == NULL) return NULL;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    int file = open(name, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (file < 0 || fstat(file, &about) < 0)
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, name);
    size_t size = about.st_size, room = size + (4 << 20), left = size;
    char *memory =
        mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) {
        char *at = (char *)(((size_t)memory + (2 << 20) - 1) & ~((size_t)(2 << 20) - 1));
        madvise(at, size, MADV_HUGEPAGE);
        ssize_t got;
        while (left > 0 && (got = read(file, at, left)) > 0) at += got, left -= got;
        clock_gettime(CLOCK_MONOTONIC, &end);
        munmap(memory, room);
    }
    close(file);
    if (left > 0) return PyErr_SetFromErrnoWithFilename(PyExc_OSError, name);
    return PyFloat_FromDouble((end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) / 1e9);
}

static PyMethodDef methods[] = {
    {"read_file", read_file, METH_O, "The bytes of a file."},
    {"write_file", write_file, METH_VARARGS, "Writes draft, renames it: (draft, name, data, flush)."},
    {"read_huge", read_huge, METH_O, "Seconds to read a file into huge pages."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "floor", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_floor(void) {
    if (PyType_Ready(&ReadyType) < 0 || PyType_Ready(&TableType) < 0) return NULL;
    PyObject *made = PyModule_Create(&module);
    if (made != NULL && PyModule_AddObjectRef(made, "Table", (PyObject *)&TableType) < 0)
        Py_CLEAR(made);
    return made;
}
