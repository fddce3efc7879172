/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FUSE session on libfuse's low-level API; see session.h.
 *
 * Requests of up to 1 MiB, 1024 in the background: the kernel's default of 12 is for the whole mount and would let one client's
 * queue hold up all others.
 *
 * Every thread has a descriptor of its own, cloned from the mount's: the kernel keeps what was read by one descriptor apart from the others'.
 * They are opened while we are root, because the user that serves may not be allowed to open /dev/fuse. The library knows the mount's own
 * descriptor only. So the threads read by themselves (fusefs/crew.h says which of them), hand the request to the library, and its
 * answer comes back to us (send_reply()) to leave by the right descriptor. What need not wait never gets as far (fusefs/quick.h).
 *
 *
 *   from the thread that read the request    by that thread's own
 *   from another one (fusefs/hold.c)         by whichever knows the request: all others say ENOENT
 *   a notification, that is no answer        by the mount's own
 */
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#include "fusefs/session.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/uio.h>

#include "core/log.h"
#include "core/util.h"
#include "fusefs/crew.h"
#include "fusefs/quick.h"

#define REQUEST_BYTES (MiB + 4096) /* the largest one with its headers; what the library tells the kernel */
#define WRITE_HEADERS (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define HOT_MAX       8

struct channel {
    int fd;       /* of /dev/fuse; channel 0 has the mount's own */
    char *memory; /* the next two lie in it */
    char *buf;    /* of REQUEST_BYTES */
    char *out;    /* of QUICK_BUF_BYTES */
    size_t len;   /* bytes of the request in buf */
};

struct session {
    struct fuse_session *se;
    struct channel *channels;
    unsigned n_channels;
};

/* The descriptor that this thread reads requests from; -1 in all threads but those of the crew. */
static _Thread_local int own_fd = -1;

static int add_args(struct fuse_args *args, const struct session_options *o)
{
    char options[PATH_MAX + 128], escaped[PATH_MAX];
    size_t n = 0;
    for (const char *p = o->root; *p && n + 2 < sizeof(escaped); p++) { /* a comma would end the option */
        if (*p == ',' || *p == '\\')
            escaped[n++] = '\\';
        escaped[n++] = *p;
    }
    escaped[n] = 0;
    (void)snprintf(options, sizeof(options),
                   "fsname=%s,subtype=diskgate,default_permissions,nosuid,nodev,noexec,noatime%s%s", escaped,
                   o->is_read_only ? ",ro" : "", o->allow_other ? ",allow_other" : "");
    if (fuse_opt_add_arg(args, "diskgate-fs") < 0 || fuse_opt_add_arg(args, "-o") < 0 ||
        fuse_opt_add_arg(args, options) < 0)
        return -ENOMEM;
    return 0;
}

/* --- answers ----------------------------------------------------------------------------------------------------- */

static ssize_t send_by(int fd, const struct iovec *iov, int count)
{
    ssize_t n = writev(fd, iov, count);
    return n < 0 ? -errno : n;
}

/* The library sends all through here; its @fd is the mount's own. Sets errno as writev() does. */
static ssize_t send_reply(int fd, struct iovec *iov, int count, void *userdata)
{
    const struct session *s = ((const struct fs *)userdata)->session;
    const struct fuse_out_header *head = iov[0].iov_base;
    bool is_answer = head->unique != 0;
    ssize_t n = send_by(is_answer && own_fd >= 0 ? own_fd : fd, iov, count);
    for (unsigned i = 0; n == -ENOENT && is_answer && i < s->n_channels; i++)
        n = send_by(s->channels[i].fd, iov, count);
    if (n < 0)
        errno = (int)-n;
    return n < 0 ? -1 : n;
}

/* The library wants one; our threads read by themselves. */
static ssize_t read_request(int fd, void *buf, size_t len, void *userdata)
{
    return read(fd, buf, len);
}

/* --- open -------------------------------------------------------------------------------------------------------- */

/* Another descriptor of the same mount. */
static int clone_fd(int fd)
{
    _cleanup_close_ int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    uint32_t source = (uint32_t)fd;
    if (clone < 0 || ioctl(clone, FUSE_DEV_IOC_CLONE, &source) < 0)
        return -errno;
    return take_fd(&clone);
}

/* The bytes of a write begin with a page: the kernel copies page by page. */
static int make_buffers(struct channel *c)
{
    const size_t page = 4096, room = page + round_up(REQUEST_BYTES, page);
    c->memory = aligned_alloc(page, room + QUICK_BUF_BYTES);
    if (!c->memory)
        return -ENOMEM;
    c->buf = c->memory + page - WRITE_HEADERS;
    c->out = c->memory + room;
    return 0;
}

static int open_channels(struct session *s, unsigned count)
{
    s->channels = calloc(count, sizeof(*s->channels));
    if (!s->channels)
        return -ENOMEM;
    for (; s->n_channels < count; s->n_channels++) {
        struct channel *c = &s->channels[s->n_channels];
        int own = fuse_session_fd(s->se), fd = s->n_channels == 0 ? own : clone_fd(own);
        if (fd < 0 && s->n_channels == 1)
            log_warn("cannot clone the descriptor of the mount: %s; all threads share one, ignoring", strerror(-fd));
        *c = (struct channel){.fd = fd < 0 ? own : fd};
        if (make_buffers(c) < 0) {
            if (c->fd != own)
                closep(&c->fd);
            return -ENOMEM;
        }
    }
    return 0;
}

static int start_session(struct session *s, const struct session_options *o, struct fs *fs, struct fuse_args *args,
                         struct err *err)
{
    static const struct fuse_custom_io io = {.writev = send_reply, .read = read_request};
    s->se = fuse_session_new(args, &fs_ops, sizeof(fs_ops), fs);
    if (!s->se)
        return err_set(err, -EINVAL, "cannot make a FUSE session");
    errno = 0;
    if (fuse_session_mount(s->se, o->mountpoint) < 0)
        return err_sys(err, errno ? -errno : -EIO, "cannot mount '%s' (is /dev/fuse there, and are you root?)",
                       o->mountpoint);
    int r = open_channels(s, o->threads);
    r = r ? r : fuse_session_custom_io(s->se, &io, fuse_session_fd(s->se));
    return r < 0 ? err_sys(err, r, "cannot serve '%s'", o->mountpoint) : 0;
}

int session_open(const struct session_options *o, struct fs *fs, struct session **ret, struct err *err)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct session *s = calloc(1, sizeof(*s));
    int r = s && add_args(&args, o) == 0 ? 0 : err_sys(err, -ENOMEM, "cannot mount '%s'", o->mountpoint);
    if (r == 0)
        r = start_session(s, o, fs, &args, err);
    fuse_opt_free_args(&args);
    if (r < 0) {
        session_close(s);
        return r;
    }
    fs->session = *ret = s;
    return 0;
}

int session_fd(const struct session *s)
{
    return fuse_session_fd(s->se);
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

/* For crew.h: > 0 a request is in the thread's buffer, 0 none, negative the end. */
static int next_request(void *arg, unsigned thread)
{
    struct session *s = arg;
    struct channel *c = &s->channels[thread];
    own_fd = c->fd;
    if (fuse_session_exited(s->se))
        return -ENODEV;
    ssize_t n = read(c->fd, c->buf, REQUEST_BYTES);
    if (n < 0) /* ENOENT: the request was taken back before it was read */
        return errno == ENOENT || errno == EINTR || errno == EAGAIN ? 0 : -errno;
    c->len = (size_t)n;
    return n < (ssize_t)sizeof(struct fuse_in_header) ? -ENODEV : 1; /* the kernel sends whole ones */
}

/* Requests that nobody waits for any more are finished all the same, so we take no notice of that. The library would look for them
 * among its own, and keep what it does not find. */
static void serve_request(void *arg, unsigned thread)
{
    struct session *s = arg;
    const struct channel *c = &s->channels[thread];
    const struct fuse_in_header *head = (const void *)c->buf;
    if (head->opcode == FUSE_INTERRUPT || quick_serve(c->fd, c->buf, c->len, c->out))
        return;
    struct fuse_buf buf = {.mem = c->buf, .size = c->len};
    fuse_session_process_buf(s->se, &buf);
}

static bool is_over(void *arg)
{
    const struct session *s = arg;
    return fuse_session_exited(s->se);
}

/* Threads that wait at once: one for each processor that we may use. */
static unsigned hot_threads(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 2; /* fails with thousands of processors */
    return (unsigned)MAX(2, MIN(n, HOT_MAX));
}

int session_run(struct session *s)
{
    struct crew_job job = {.next = next_request, .serve = serve_request, .arg = s};
    struct crew *crew;
    if (fuse_set_signal_handlers(s->se) < 0)
        return -EINVAL;
    int r = crew_start(&job, hot_threads(), s->n_channels, &crew);
    if (r == 0) {
        r = crew_watch(crew, is_over);
        crew_stop(crew);
    }
    fuse_remove_signal_handlers(s->se);
    return r;
}

void session_exit(struct session *s)
{
    fuse_session_exit(s->se);
}

void session_forget_name(struct session *s, uint64_t parent, const char *name)
{
    int r = fuse_lowlevel_notify_inval_entry(s->se, parent, name, strlen(name));
    if (r < 0 && r != -ENOENT) /* the kernel does not know the name: fine */
        log_debug("session", "cannot make the kernel forget '%s': %s", name, strerror(-r));
}

void session_close(struct session *s)
{
    if (!s)
        return;
    int own = s->se ? fuse_session_fd(s->se) : -1; /* the library closes it */
    for (unsigned i = 0; i < s->n_channels; i++) {
        if (s->channels[i].fd != own)
            closep(&s->channels[i].fd);
        free(s->channels[i].memory);
    }
    free(s->channels);
    if (s->se)
        fuse_session_destroy(s->se);
    free(s);
}
