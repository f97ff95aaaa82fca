/* Functions of libfuse's, interposed: what stock pyfuse3 needs and does not do.
 *
 * The module is loaded with RTLD_GLOBAL before pyfuse3, so that the dynamic linker binds pyfuse3's calls to the
 * functions below; each does its part and calls libfuse's own. smbfuse/fuse/native.py loads it and says why.
 *
 * What may live here: what has to happen between libfuse and pyfuse3. Policy (which signal ends which operation) may
 * not, that is smbfuse/fuse/interrupts.py; nor what a request means, that is smbfuse/fuse/extra.py. All state is
 * guarded by the GIL.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define FUSE_USE_VERSION 31
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

struct libfuse_version; /* of libfuse 3.17 and later */
typedef int receive_buf_fn(struct fuse_session *, struct fuse_buf *);
typedef void process_buf_fn(struct fuse_session *, const struct fuse_buf *);
typedef int custom_io_fn(struct fuse_session *, const struct fuse_custom_io *, int);
typedef struct fuse_session *new_fn(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t, void *);
typedef struct fuse_session *new_versioned_fn(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
                                              const struct libfuse_version *, void *);

static receive_buf_fn *libfuse_receive_buf;
static process_buf_fn *libfuse_process_buf;
static custom_io_fn *libfuse_custom_io; /* NULL before libfuse 3.14 */
static new_fn *libfuse_new;
static new_versioned_fn *libfuse_new_versioned; /* NULL before libfuse 3.17 */

static uint64_t current_unique;     /* of the request handed to pyfuse3 last; 0: could not be read */
static uint32_t current_pid;        /* thread that waits for it; 0: none, or in another pid namespace */
static uint64_t current_lock_owner; /* whose locks it acts under or ends; 0: the kernel does not say */
static uint32_t current_times_now;  /* FATTR_ATIME_NOW, FATTR_MTIME_NOW: times to be set to now, whenever that is */
static int current_writes_pages; /* whether it writes pages that were changed in a map */
static int current_kills_privileges; /* whether it takes the set-user-id and set-group-id bits from its file, too */
static PyObject *interrupt_callback; /* called with the unique of the interrupted request; NULL: nobody asked */
static int peek_pipe[2] = {-1, -1};

/* A request as the kernel sends it, as far as we look. */
struct request_head {
    struct fuse_in_header in;
    union {
        struct fuse_init_in init;
        struct fuse_open_in open;
        struct fuse_create_in create;
        struct fuse_interrupt_in interrupt;
        struct fuse_setattr_in setattr;
        struct fuse_read_in read;
        struct fuse_write_in write;
        struct fuse_flush_in flush;
        struct fuse_release_in release;
    }; /* which one, in.opcode says */
};

#define FIELD(member) offsetof(struct request_head, member)

/* Where requests name the owner of locks, and the flag that says whether they do (none: they always do). */
static const struct {
    uint32_t opcode;
    size_t owner;
    size_t flags;
    uint32_t valid;
} owner_fields[] = {
    {FUSE_SETATTR, FIELD(setattr.lock_owner), FIELD(setattr.valid), FATTR_LOCKOWNER},
    {FUSE_READ, FIELD(read.lock_owner), FIELD(read.read_flags), FUSE_READ_LOCKOWNER},
    {FUSE_WRITE, FIELD(write.lock_owner), FIELD(write.write_flags), FUSE_WRITE_LOCKOWNER},
    {FUSE_FLUSH, FIELD(flush.lock_owner), 0, 0},
    {FUSE_RELEASE, FIELD(release.lock_owner), FIELD(release.release_flags), FUSE_RELEASE_FLOCK_UNLOCK},
};

/* Where requests say that privileges go with them. */
static const struct {
    uint32_t opcode;
    size_t flags;
    uint32_t kills;
} kill_fields[] = {
    {FUSE_SETATTR, FIELD(setattr.valid), FATTR_KILL_SUIDGID},
    {FUSE_WRITE, FIELD(write.write_flags), FUSE_WRITE_KILL_SUIDGID},
    {FUSE_OPEN, FIELD(open.open_flags), FUSE_OPEN_KILL_SUIDGID},
    {FUSE_CREATE, FIELD(create.open_flags), FUSE_OPEN_KILL_SUIDGID},
};
#undef FIELD

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
    PyObject *callback = Py_XNewRef(interrupt_callback); /* it may replace itself */
    PyObject *result = callback ? PyObject_CallFunction(callback, "K", (unsigned long long)unique) : NULL;

    if (callback && !result)
        PyErr_WriteUnraisable(callback); /* libfuse's caller can do nothing with an exception */
    Py_XDECREF(result);
    Py_XDECREF(callback);
}

/* What a head that is too short for the field, and zeroes behind that, is read as: 0. */
static uint64_t lock_owner(const struct request_head *head)
{
    const char *bytes = (const char *)head;
    uint64_t owner;
    uint32_t flags;

    for (size_t i = 0; i < COUNT(owner_fields); i++) {
        if (owner_fields[i].opcode != head->in.opcode)
            continue;
        memcpy(&owner, bytes + owner_fields[i].owner, sizeof owner);
        memcpy(&flags, bytes + owner_fields[i].flags, sizeof flags);
        return (flags & owner_fields[i].valid) == owner_fields[i].valid ? owner : 0;
    }
    return 0;
}

/* pyfuse3 puts the time of this machine in the place of these flags; what "now" is may be for another to say. */
static uint32_t times_now(const struct request_head *head)
{
    return head->in.opcode == FUSE_SETATTR ? head->setattr.valid & (FATTR_ATIME_NOW | FATTR_MTIME_NOW) : 0;
}

static int kills_privileges(const struct request_head *head)
{
    uint32_t flags;

    for (size_t i = 0; i < COUNT(kill_fields); i++) {
        if (kill_fields[i].opcode != head->in.opcode)
            continue;
        memcpy(&flags, (const char *)head + kill_fields[i].flags, sizeof flags);
        return (flags & kill_fields[i].kills) != 0;
    }
    return 0;
}

static int writes_pages(const struct request_head *head)
{
    return head->in.opcode == FUSE_WRITE && (head->write.write_flags & FUSE_WRITE_CACHE) != 0;
}

/* The kernel asks for the xattr security.capability before every write, for it might have to go; unless the file system
 * says that it sees to that itself (FUSE_HANDLE_KILLPRIV_V2), for which libfuse 3.14 has no word. So the answer to
 * FUSE_INIT is written by us, with that bit in it. */

static uint64_t init_unique; /* of the FUSE_INIT that is not answered yet; 0: none */

static ssize_t write_reply(int fd, struct iovec *iov, int count, void *userdata)
{
    const struct fuse_out_header *header = iov[0].iov_base;
    struct fuse_init_out *init = count > 1 ? iov[1].iov_base : NULL;

    if (init_unique && iov[0].iov_len == sizeof *header && header->unique == init_unique) {
        init_unique = 0;
        if (!header->error && init && iov[1].iov_len >= offsetof(struct fuse_init_out, flags) + sizeof init->flags)
            init->flags |= FUSE_HANDLE_KILLPRIV_V2;
    }
    return writev(fd, iov, count);
}

static ssize_t read_request(int fd, void *buf, size_t size, void *userdata)
{
    return read(fd, buf, size);
}

static ssize_t splice_either_way(int fdin, off_t *offin, int fdout, off_t *offout, size_t size, unsigned flags,
                                 void *userdata)
{
    return splice(fdin, offin, fdout, offout, size, flags);
}

static const struct fuse_custom_io our_io = {
    .writev = write_reply,
    .read = read_request,
    .splice_receive = splice_either_way,
    .splice_send = splice_either_way,
};

static void see_to_privileges(struct fuse_session *se, const struct request_head *head)
{
    if (head->init.flags & FUSE_HANDLE_KILLPRIV_V2 && libfuse_custom_io
        && libfuse_custom_io(se, &our_io, fuse_session_fd(se)) == 0)
        init_unique = head->in.unique;
}

static void note_request(struct fuse_session *se, const struct fuse_buf *buf)
{
    struct request_head head = {0};
    size_t size = read_head(buf, &head);

    if (size < sizeof head.in)
        head.in = (struct fuse_in_header){0};
    current_unique = head.in.unique;
    current_pid = head.in.pid;
    current_lock_owner = lock_owner(&head);
    current_times_now = times_now(&head);
    current_kills_privileges = kills_privileges(&head);
    current_writes_pages = writes_pages(&head);
    if (head.in.opcode == FUSE_INIT) { /* the first request of every session */
        set_nonblocking(fuse_session_fd(se));
        see_to_privileges(se, &head);
    } else if (head.in.opcode == FUSE_INTERRUPT && size >= sizeof head.in + sizeof head.interrupt)
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

/* Requests that pyfuse3 does not know. A callback hands the numbers of one to Python, together with a token, and the
 * request is pending under this token until one of the reply functions takes it out; so there are never two replies.
 * What is still pending when the session ends is freed then: nobody waits for it any more, and where a reply would be
 * written to may be another file by now. */

static PyObject *request_callback; /* called as callback(name, token, numbers); NULL: nobody answers */
static PyObject *pending;          /* dict: token to the address of the request */
static uint64_t last_token;

/* Takes a request out of the table. NULL: it is not there; or an exception is set. */
static fuse_req_t take_pending(PyObject *token)
{
    PyObject *address = PyDict_GetItemWithError(pending, token);
    fuse_req_t req = address ? PyLong_AsVoidPtr(address) : NULL;

    return req && PyDict_DelItem(pending, token) == 0 ? req : NULL;
}

/* Enters a request into the table. Returns its token, or NULL and an exception is set. */
static PyObject *add_pending(fuse_req_t req)
{
    PyObject *token = PyLong_FromUnsignedLongLong(++last_token);
    PyObject *address = PyLong_FromVoidPtr(req);

    if (token && (!address || PyDict_SetItem(pending, token, address) < 0))
        Py_CLEAR(token);
    Py_XDECREF(address);
    return token;
}

/* Calls Python. Returns -1 and sets an exception if that failed. */
static int submit(const char *name, PyObject *token, PyObject *numbers)
{
    PyObject *callback = Py_NewRef(request_callback); /* it may replace itself */
    PyObject *result = PyObject_CallFunction(callback, "sOO", name, token, numbers);

    Py_DECREF(callback);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* Hands a request to Python with its numbers, which `format` (of Py_BuildValue, a tuple) describes; answers it itself
 * where that cannot be done. */
static void hand_over(fuse_req_t req, const char *name, const char *format, ...)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *token = NULL, *numbers = NULL;
    va_list list;

    va_start(list, format);
    if (!request_callback) {
        fuse_reply_err(req, ENOTCONN); /* the mount is about to end */
    } else if (!(token = add_pending(req))) {
        PyErr_WriteUnraisable(request_callback);
        fuse_reply_err(req, ENOMEM);
    } else if (!(numbers = Py_VaBuildValue(format, list)) || submit(name, token, numbers) < 0) {
        PyErr_WriteUnraisable(request_callback); /* libfuse's caller can do nothing with an exception */
        req = take_pending(token);
        if (req)
            fuse_reply_err(req, EIO);
    }
    va_end(list);
    Py_XDECREF(numbers);
    Py_XDECREF(token);
    PyGILState_Release(gil);
}

typedef unsigned long long u64; /* "K" of Py_BuildValue; "L" is long long, "i" is int */
typedef long long i64;

/* The kernel counts to the last byte, and so do we; libfuse turns that into a length, where 0 is "to the end". */
static i64 last_byte(const struct flock *lock)
{
    return lock->l_len ? lock->l_start + lock->l_len - 1 : INT64_MAX;
}

static void on_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
    hand_over(req, "getlk", "(KKKiLLi)", (u64)ino, (u64)fi->fh, (u64)fi->lock_owner, (int)lock->l_type,
              (i64)lock->l_start, last_byte(lock), (int)lock->l_pid);
}

static void on_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int sleep)
{
    hand_over(req, "setlk", "(KKKiLLii)", (u64)ino, (u64)fi->fh, (u64)fi->lock_owner, (int)lock->l_type,
              (i64)lock->l_start, last_byte(lock), (int)lock->l_pid, sleep);
}

static void on_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int operation)
{
    hand_over(req, "flock", "(KKKi)", (u64)ino, (u64)fi->fh, (u64)fi->lock_owner, operation);
}

static void on_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
                               fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t length,
                               int flags)
{
    hand_over(req, "copy_file_range", "(KKLKKLKi)", (u64)ino_in, (u64)fi_in->fh, (i64)off_in, (u64)ino_out,
              (u64)fi_out->fh, (i64)off_out, (u64)length, flags);
}

static void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
    hand_over(req, "lseek", "(KKLi)", (u64)ino, (u64)fi->fh, (i64)offset, whence);
}

static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t size, struct fuse_file_info *fi)
{
    hand_over(req, "fallocate", "(KKiLL)", (u64)ino, (u64)fi->fh, mode, (i64)offset, (i64)size);
}

typedef void any_fn(void);

static const struct {
    const char *name;
    size_t slot; /* in fuse_lowlevel_ops */
    any_fn *callback;
    unsigned needs; /* the capability without which the kernel keeps it to itself */
} extra_ops[] = {
#define EXTRA(name, needs) {#name, offsetof(struct fuse_lowlevel_ops, name), (any_fn *)on_##name, needs}
    EXTRA(getlk, FUSE_CAP_POSIX_LOCKS), EXTRA(setlk, FUSE_CAP_POSIX_LOCKS), EXTRA(flock, FUSE_CAP_FLOCK_LOCKS),
    EXTRA(copy_file_range, 0), EXTRA(lseek, 0), EXTRA(fallocate, 0),
#undef EXTRA
};

/* What the next session is to be like, and what became of it. */
static struct {
    uint32_t ops; /* bits: indexes into extra_ops */
    int max_background; /* here and below, 0: the kernel's own */
    int congestion_threshold;
} wanted;

static struct {
    int known; /* whether the kernel has greeted it */
    uint32_t ops;
    unsigned flags; /* FUSE_CAP_* */
} granted;

/* What pyfuse3 itself has in the places that we take. */
static void (*pyfuse3_init)(void *, struct fuse_conn_info *);
static void (*pyfuse3_destroy)(void *);

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
    if (wanted.max_background > 0)
        conn->max_background = (unsigned)wanted.max_background;
    if (wanted.congestion_threshold > 0)
        conn->congestion_threshold = (unsigned)wanted.congestion_threshold;
    granted.known = 1;
    granted.flags = conn->want; /* libfuse wants the capabilities for locks if there are callbacks for them */
    if (pyfuse3_init)
        pyfuse3_init(userdata, conn);
}

static void on_destroy(void *userdata)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *token, *address;
    Py_ssize_t place = 0;

    while (PyDict_Next(pending, &place, &token, &address))
        fuse_reply_none(PyLong_AsVoidPtr(address));
    PyDict_Clear(pending);
    PyGILState_Release(gil);
    if (pyfuse3_destroy)
        pyfuse3_destroy(userdata);
}

static void fill_in(struct fuse_lowlevel_ops *ops)
{
    granted.known = granted.ops = 0;
    for (size_t i = 0; i < COUNT(extra_ops); i++) {
        any_fn **slot = (any_fn **)((char *)ops + extra_ops[i].slot);

        if (*slot || !(wanted.ops & 1u << i))
            continue; /* a later pyfuse3 may know it */
        *slot = extra_ops[i].callback;
        granted.ops |= 1u << i;
    }
    pyfuse3_init = ops->init;
    pyfuse3_destroy = ops->destroy;
    ops->init = on_init;
    ops->destroy = on_destroy;
}

/* A copy of pyfuse3's callbacks with ours beside them, to be freed; NULL: no memory. The structure only grows at its
 * end, and pyfuse3 may have been built with another libfuse than we were. */
static struct fuse_lowlevel_ops *supplement(const struct fuse_lowlevel_ops *theirs, size_t *size)
{
    size_t room = *size > sizeof *theirs ? *size : sizeof *theirs;
    struct fuse_lowlevel_ops *ops = calloc(1, room);

    if (!ops)
        return NULL;
    if (theirs)
        memcpy(ops, theirs, *size);
    *size = room;
    if (ops->init != on_init) /* else libfuse came from one of the functions below to the other */
        fill_in(ops);
    return ops;
}

/* libfuse's fuse_session_new, with more callbacks. Newer headers hide its name behind a macro, hence the label. */
new_fn supplemented_new __asm__("fuse_session_new");
struct fuse_session *supplemented_new(struct fuse_args *args, const struct fuse_lowlevel_ops *theirs, size_t size,
                                      void *userdata)
{
    struct fuse_lowlevel_ops *ops = supplement(theirs, &size);
    struct fuse_session *session = ops && libfuse_new ? libfuse_new(args, ops, size, userdata) : NULL;

    free(ops); /* libfuse has its own copy */
    return session;
}

/* The same as programs call it that were built with libfuse 3.17 or later. */
new_versioned_fn supplemented_versioned __asm__("fuse_session_new_versioned");
struct fuse_session *supplemented_versioned(struct fuse_args *args, const struct fuse_lowlevel_ops *theirs, size_t size,
                                            const struct libfuse_version *version, void *userdata)
{
    struct fuse_lowlevel_ops *ops = supplement(theirs, &size);
    new_versioned_fn *new = libfuse_new_versioned;
    struct fuse_session *session = ops && new ? new(args, ops, size, version, userdata) : NULL;

    free(ops);
    return session;
}

/* The index of an operation in extra_ops; -1 and an exception is set if there is none of that name. */
static int op_index(PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);

    for (size_t i = 0; text && i < COUNT(extra_ops); i++)
        if (strcmp(text, extra_ops[i].name) == 0)
            return (int)i;
    return text ? (PyErr_Format(PyExc_ValueError, "no such operation: %s", text), -1) : -1;
}

static PyObject *configure_session(PyObject *module, PyObject *args)
{
    PyObject *names;
    int max_background, congestion_threshold;
    uint32_t ops = 0;

    if (!PyArg_ParseTuple(args, "O!ii", &PyTuple_Type, &names, &max_background, &congestion_threshold))
        return NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        int index = op_index(PyTuple_GET_ITEM(names, i));

        if (index < 0)
            return NULL;
        ops |= 1u << index;
    }
    wanted.ops = ops;
    wanted.max_background = max_background;
    wanted.congestion_threshold = congestion_threshold;
    Py_RETURN_NONE;
}

static PyObject *passed_operations(PyObject *module, PyObject *unused)
{
    PyObject *names = PyList_New(0);

    for (size_t i = 0; names && granted.known && i < COUNT(extra_ops); i++) {
        PyObject *name;

        if (!(granted.ops & 1u << i) || extra_ops[i].needs & ~granted.flags)
            continue;
        name = PyUnicode_FromString(extra_ops[i].name);
        if (!name || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

/* What reply functions return: whether the request was pending, or NULL if an exception is set. */
static PyObject *was_pending(fuse_req_t req)
{
    return !req && PyErr_Occurred() ? NULL : PyBool_FromLong(req != NULL);
}

/* Arguments of a reply that is one number from 0 to `most`. Returns the request, or NULL as take_pending does. */
static fuse_req_t take_with_number(PyObject *args, i64 most, i64 *number)
{
    PyObject *token;

    if (!PyArg_ParseTuple(args, "O!L", &PyLong_Type, &token, number))
        return NULL;
    if (*number >= 0 && *number <= most)
        return take_pending(token);
    PyErr_SetString(PyExc_ValueError, "the kernel does not take such a number");
    return NULL;
}

static PyObject *reply_err(PyObject *module, PyObject *args)
{
    i64 error;
    fuse_req_t req = take_with_number(args, 511, &error); /* of others the kernel tells its caller nothing */

    if (req)
        fuse_reply_err(req, (int)error);
    return was_pending(req);
}

static PyObject *reply_lock(PyObject *module, PyObject *args)
{
    PyObject *token;
    int type, pid;
    i64 start, end;
    fuse_req_t req;

    if (!PyArg_ParseTuple(args, "O!iLLi:reply_lock", &PyLong_Type, &token, &type, &start, &end, &pid))
        return NULL;
    if ((type != F_RDLCK && type != F_WRLCK && type != F_UNLCK) || start < 0 || end < start) {
        PyErr_SetString(PyExc_ValueError, "no such lock");
        return NULL;
    }
    req = take_pending(token);
    if (req) {
        i64 length = end == INT64_MAX ? 0 : end - start + 1;
        fuse_reply_lock(req, &(struct flock){.l_type = (short)type, .l_start = start, .l_len = length, .l_pid = pid});
    }
    return was_pending(req);
}

static PyObject *reply_write(PyObject *module, PyObject *args)
{
    i64 count;
    fuse_req_t req = take_with_number(args, UINT32_MAX, &count);

    if (req)
        fuse_reply_write(req, (size_t)count);
    return was_pending(req);
}

static PyObject *reply_lseek(PyObject *module, PyObject *args)
{
    i64 offset;
    fuse_req_t req = take_with_number(args, INT64_MAX, &offset);

    if (req)
        fuse_reply_lseek(req, offset);
    return was_pending(req);
}

#define GETTER(name, value)                                   \
    static PyObject *name(PyObject *module, PyObject *unused) \
    {                                                         \
        return PyLong_FromUnsignedLongLong((u64)(value));     \
    }
GETTER(get_current_unique, current_unique)
GETTER(get_current_pid, current_pid)
GETTER(get_current_lock_owner, current_lock_owner)
GETTER(get_current_times_now, current_times_now)
GETTER(get_current_kills_privileges, current_kills_privileges)
GETTER(get_current_writes_pages, current_writes_pages)
GETTER(pending_requests, PyDict_GET_SIZE(pending))

static PyObject *set_callback(PyObject **place, PyObject *callback, const char *what)
{
    if (callback != Py_None && !PyCallable_Check(callback))
        return PyErr_Format(PyExc_TypeError, "the %s callback must be callable or None", what);
    Py_XSETREF(*place, callback == Py_None ? NULL : Py_NewRef(callback));
    Py_RETURN_NONE;
}

static PyObject *set_interrupt_callback(PyObject *module, PyObject *callback)
{
    return set_callback(&interrupt_callback, callback, "interrupt");
}

static PyObject *set_request_callback(PyObject *module, PyObject *callback)
{
    return set_callback(&request_callback, callback, "request");
}

static PyMethodDef methods[] = {
    {"current_unique", get_current_unique, METH_NOARGS, NULL},
    {"current_pid", get_current_pid, METH_NOARGS, NULL},
    {"current_lock_owner", get_current_lock_owner, METH_NOARGS, NULL},
    {"current_times_now", get_current_times_now, METH_NOARGS, NULL},
    {"current_kills_privileges", get_current_kills_privileges, METH_NOARGS, NULL},
    {"current_writes_pages", get_current_writes_pages, METH_NOARGS, NULL},
    {"set_interrupt_callback", set_interrupt_callback, METH_O, NULL},
    {"set_request_callback", set_request_callback, METH_O, NULL},
    {"configure_session", configure_session, METH_VARARGS, NULL},
    {"passed_operations", passed_operations, METH_NOARGS, NULL},
    {"pending_requests", pending_requests, METH_NOARGS, NULL},
    {"reply_err", reply_err, METH_VARARGS, NULL},
    {"reply_lock", reply_lock, METH_VARARGS, NULL},
    {"reply_write", reply_write, METH_VARARGS, NULL},
    {"reply_lseek", reply_lseek, METH_VARARGS, NULL},
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
    libfuse_custom_io = (custom_io_fn *)dlsym(RTLD_NEXT, "fuse_session_custom_io");
    libfuse_new = (new_fn *)dlsym(RTLD_NEXT, "fuse_session_new");
    libfuse_new_versioned = (new_versioned_fn *)dlsym(RTLD_NEXT, "fuse_session_new_versioned");
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
    if (interpose() < 0 || !(pending = PyDict_New()))
        return NULL;
    return PyModule_Create(&definition);
}
