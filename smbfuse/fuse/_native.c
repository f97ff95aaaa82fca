/* Two functions of libfuse's, interposed: what stock pyfuse3 needs and does not do.
 *
 * The module is loaded with RTLD_GLOBAL before pyfuse3, so that the dynamic linker binds pyfuse3's calls to the
 * functions below; each does its part and calls libfuse's own. smbfuse/fuse/native.py loads it and says why.
 *
 * What may live here: what has to happen between libfuse and pyfuse3. Policy (which signal ends which operation) may
 * not; that is smbfuse/fuse/interrupts.py. All state is guarded by the GIL.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define FUSE_USE_VERSION 31
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

typedef int receive_buf_fn(struct fuse_session *, struct fuse_buf *);
typedef void process_buf_fn(struct fuse_session *, const struct fuse_buf *);

static receive_buf_fn *libfuse_receive_buf;
static process_buf_fn *libfuse_process_buf;

static uint64_t current_unique;    /* of the request handed to pyfuse3 last; 0: could not be read */
static uint32_t current_pid;       /* thread that waits for it; 0: none, or in another pid namespace */
static PyObject *interrupt_callback; /* called with the unique of the interrupted request; NULL: nobody asked */
static int peek_pipe[2] = {-1, -1};

/* A request as the kernel sends it, as far as we look. */
struct request_head {
    struct fuse_in_header in;
    struct fuse_interrupt_in interrupt; /* when in.opcode is FUSE_INTERRUPT */
};

/* Copies up to `size` bytes from the head of the pipe `fd` without taking them out. Returns how many, or -1. */
static ssize_t peek(int fd, void *mem, size_t size)
{
    if (peek_pipe[0] < 0 && pipe2(peek_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return -1;
    if (tee(fd, peek_pipe[1], size, SPLICE_F_NONBLOCK) <= 0)
        return -1;
    return read(peek_pipe[0], mem, size);
}

/* Fills in what `buf` holds of a head and returns its length. Requests that libfuse spliced (large writes) are still
 * in a pipe, and libfuse will want to read all of them. */
static size_t read_head(const struct fuse_buf *buf, struct request_head *head)
{
    size_t size = buf->size < sizeof *head ? buf->size : sizeof *head;
    ssize_t got;

    if (buf->flags & FUSE_BUF_IS_FD)
        got = peek(buf->fd, head, size);
    else if (buf->mem)
        got = (memcpy(head, buf->mem, size), (ssize_t)size);
    else
        got = -1;
    return got < 0 ? 0 : (size_t)got;
}

/* The device is read when epoll says so, but the request may be gone by then (its caller was killed); a blocking read
 * would then hold the GIL, and with it the whole event loop, until the next request. */
static void set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0)
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void call_back(uint64_t unique)
{
    PyObject *callback = interrupt_callback;
    PyObject *result;

    if (!callback)
        return;
    Py_INCREF(callback); /* it may replace itself */
    result = PyObject_CallFunction(callback, "K", (unsigned long long)unique);
    if (result)
        Py_DECREF(result);
    else
        PyErr_WriteUnraisable(callback); /* libfuse's caller can do nothing with an exception */
    Py_DECREF(callback);
}

static void note_request(struct fuse_session *se, const struct fuse_buf *buf)
{
    struct request_head head;
    size_t size = read_head(buf, &head);

    if (size < sizeof head.in) {
        current_unique = 0;
        current_pid = 0;
        return;
    }
    current_unique = head.in.unique;
    current_pid = head.in.pid;
    if (head.in.opcode == FUSE_INIT) /* the first request of every session */
        set_nonblocking(fuse_session_fd(se));
    else if (head.in.opcode == FUSE_INTERRUPT && size == sizeof head)
        call_back(head.interrupt.unique);
}

/* libfuse's fuse_session_receive_buf, but "nothing to read" becomes "interrupted": pyfuse3 takes that as "again" and
 * everything else as the end of the mount. */
int fuse_session_receive_buf(struct fuse_session *se, struct fuse_buf *buf)
{
    int result = libfuse_receive_buf(se, buf);

    return result == -EAGAIN ? -EINTR : result;
}

/* libfuse's fuse_session_process_buf, after a look at the request. Called with or without the GIL. */
void fuse_session_process_buf(struct fuse_session *se, const struct fuse_buf *buf)
{
    PyGILState_STATE gil = PyGILState_Ensure();

    note_request(se, buf);
    PyGILState_Release(gil);
    libfuse_process_buf(se, buf);
}

static PyObject *get_current_unique(PyObject *module, PyObject *unused)
{
    return PyLong_FromUnsignedLongLong(current_unique);
}

static PyObject *get_current_pid(PyObject *module, PyObject *unused)
{
    return PyLong_FromUnsignedLong(current_pid);
}

static PyObject *set_interrupt_callback(PyObject *module, PyObject *callback)
{
    if (callback != Py_None && !PyCallable_Check(callback)) {
        PyErr_SetString(PyExc_TypeError, "the interrupt callback must be callable or None");
        return NULL;
    }
    Py_XSETREF(interrupt_callback, callback == Py_None ? NULL : Py_NewRef(callback));
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"current_unique", get_current_unique, METH_NOARGS, NULL},
    {"current_pid", get_current_pid, METH_NOARGS, NULL},
    {"set_interrupt_callback", set_interrupt_callback, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "smbfuse.fuse._native",
    .m_size = -1, /* the linker knows one of us per process, whatever the number of interpreters */
    .m_methods = methods,
};

/* Finds libfuse's functions behind ours. Sets ImportError and returns -1 unless everybody else will find ours. */
static int interpose(void)
{
    void *program = dlopen(NULL, RTLD_NOW); /* RTLD_DEFAULT would search our own scope, too, and always find us */
    void *seen_receive_buf = program ? dlsym(program, "fuse_session_receive_buf") : NULL;
    void *seen_process_buf = program ? dlsym(program, "fuse_session_process_buf") : NULL;

    libfuse_receive_buf = (receive_buf_fn *)dlsym(RTLD_NEXT, "fuse_session_receive_buf");
    libfuse_process_buf = (process_buf_fn *)dlsym(RTLD_NEXT, "fuse_session_process_buf");
    if (!libfuse_receive_buf || !libfuse_process_buf)
        PyErr_SetString(PyExc_ImportError, "libfuse3 lacks the functions that are to be mended");
    else if (!seen_receive_buf || seen_receive_buf == (void *)libfuse_receive_buf
             || !seen_process_buf || seen_process_buf == (void *)libfuse_process_buf)
        PyErr_SetString(PyExc_ImportError, "loaded without RTLD_GLOBAL, or behind libfuse3");
    else
        return 0;
    return -1;
}

PyMODINIT_FUNC PyInit__native(void)
{
    return interpose() < 0 ? NULL : PyModule_Create(&definition);
}
