/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The socket for stores, its thread and its list of views; see direct.h.
 *
 * A connection has its board as long as it lives, in the list of a view as long as that lives, too. `boards` of a connection is changed under the lock
 * by whichever ends first.
 */
#include "fusefs/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/ctl-line.h"
#include "core/direct.h"
#include "core/lock.h"
#include "core/log.h"
#include "core/util.h"
#include "fusefs/boards.h"

#define BACKLOG  256
#define PAUSE_MS 100 /* after a failed accept, when file descriptors are short */

struct conn {
    struct conn *next, **prev; /* the thread's list, protected by direct.lock */
    int fd;
    struct board *board;   /* NULL until it has asked */
    struct boards *boards; /* protected by direct.lock: NULL when the view is gone */
};

struct entry {
    struct entry *next;
    unsigned char id[16];
    struct view *view;
};

struct direct {
    struct lock lock; /* protects the two lists */
    struct entry *views;
    struct conn *conns;
    int fd, stop_fd, epoll_fd;
    uid_t uid;
    bool is_running;
    pthread_t thread;
};

/* --- views ------------------------------------------------------------------------------------------------------- */

void direct_add(struct direct *d, struct view *v)
{
    struct entry *e = d && v->boards && v->overlay ? calloc(1, sizeof(*e)) : NULL;
    if (!e)
        return;
    memcpy(e->id, livemap_stamp(overlay_map(v->overlay))->overlay_id, sizeof(e->id));
    e->view = v;
    LOCK_SCOPE(&d->lock);
    e->next = d->views;
    d->views = e;
}

void direct_forget(struct direct *d, struct view *v)
{
    if (!d || !v->boards)
        return;
    LOCK_SCOPE(&d->lock);
    struct entry **p = &d->views;
    while (*p && (*p)->view != v)
        p = &(*p)->next;
    if (*p) {
        struct entry *e = *p;
        *p = e->next;
        free(e);
    }
    boards_end(v->boards);
    for (struct conn *c = d->conns; c; c = c->next)
        if (c->boards == v->boards)
            c->boards = NULL;
}

static struct view *find_locked(const struct direct *d, const unsigned char id[16])
{
    const struct entry *e = d->views;
    while (e && memcmp(e->id, id, sizeof(e->id)) != 0)
        e = e->next;
    return e ? e->view : NULL;
}

/* --- an ask ------------------------------------------------------------------------------------------------------ */

struct parcel {
    struct direct_answer answer;
    int fds[DIRECT_FDS]; /* -1 = none */
};

static void parcel_finish(struct parcel *p)
{
    for (size_t i = 0; i < ARRAY_SIZE(p->fds); i++)
        closep(&p->fds[i]);
}

/* A descriptor of its own that cannot write. Opens what is open, so no disk is asked. */
static int read_only(int fd)
{
    char path[40];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int ret = open(path, O_RDONLY | O_CLOEXEC);
    return ret < 0 ? -errno : ret;
}

/* The base is open for reading only, by someone who may open it: the worker could not. */
static int take_base(const struct base *b)
{
    struct stat st;
    if (fstat(b->fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || (fcntl(b->fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
        return -EOPNOTSUPP;
    int ret = fcntl(b->fd, F_DUPFD_CLOEXEC, 3);
    return ret < 0 ? -errno : ret;
}

static int take_files(const struct view *v, struct parcel *p)
{
    const struct livemap *map = overlay_map(v->overlay);
    p->fds[DIRECT_FD_BASE] = take_base(v->base);
    p->fds[DIRECT_FD_MAP] = read_only(livemap_fd(map));
    p->fds[DIRECT_FD_DATA] = read_only(overlay_data_fd(v->overlay));
    for (size_t i = 0; i < ARRAY_SIZE(p->fds); i++)
        if (p->fds[i] < 0)
            return p->fds[i];
    overlay_begin(v->overlay);
    p->answer.generation = livemap_generation(map);
    p->answer.size_bytes = v->blk->size;
    p->answer.base_bytes = v->base->data_bytes;
    return 0;
}

/* What the store of connection @c needs for overlay @id; the connection's board is on the view's list then. */
static int prepare(struct direct *d, struct conn *c, const unsigned char id[16], struct parcel *p)
{
    struct board *board = board_create(&p->fds[DIRECT_FD_BOARD]);
    if (!board)
        return -ENOMEM;
    LOCK_SCOPE(&d->lock);
    struct view *v = find_locked(d, id);
    int r = v ? take_files(v, p) : -ENOENT;
    if (r == 0)
        r = boards_add(v->boards, board);
    if (r < 0) {
        board_destroy(board);
        return r;
    }
    c->board = board;
    c->boards = v->boards;
    return 0;
}

/* 0, or a negative errno: then nobody has got anything. */
static int send_parcel(int fd, const struct parcel *p)
{
    union {
        char bytes[CMSG_SPACE(sizeof(p->fds))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {.iov_base = (void *)&p->answer, .iov_len = sizeof(p->answer)}; /* is only read */
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (p->answer.error == 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *head = CMSG_FIRSTHDR(&m);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(p->fds));
        memcpy(CMSG_DATA(head), p->fds, sizeof(p->fds));
    }
    return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* 0, or a negative errno: then the connection is of no more use. */
static int answer(struct direct *d, struct conn *c, const struct direct_ask *ask, size_t len)
{
    _cleanup_(parcel_finish) struct parcel p = {.answer = {.magic = DIRECT_MAGIC, .version = DIRECT_VERSION}};
    for (size_t i = 0; i < ARRAY_SIZE(p.fds); i++)
        p.fds[i] = -1;
    int r = -EPROTO;
    if (len == sizeof(*ask) && ask->magic == DIRECT_MAGIC)
        r = ask->version == DIRECT_VERSION ? prepare(d, c, ask->overlay_id, &p) : -EOPNOTSUPP;
    if (r < 0)
        p.answer = (struct direct_answer){.magic = DIRECT_MAGIC, .version = DIRECT_VERSION, .error = r};
    int sent = send_parcel(c->fd, &p);
    return r < 0 ? r : sent;
}

/* --- connections ------------------------------------------------------------------------------------------------- */

static void conn_close(struct direct *d, struct conn *c)
{
    {
        LOCK_SCOPE(&d->lock);
        if (c->boards)
            boards_remove(c->boards, c->board);
        if (c->next)
            c->next->prev = c->prev;
        *c->prev = c->next;
    }
    board_destroy(c->board);
    (void)close(c->fd); /* which takes it out of the epoll set, too */
    free(c);
}

/* What a store has to say after its ask is that it is gone. */
static void conn_serve(struct direct *d, struct conn *c)
{
    struct direct_ask ask;
    ssize_t n = recv(c->fd, &ask, sizeof(ask), MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || c->board || answer(d, c, &ask, (size_t)n) < 0)
        conn_close(d, c);
}

static bool is_allowed(const struct direct *d, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == d->uid;
}

static void conn_open(struct direct *d, int fd)
{
    struct conn *c = is_allowed(d, fd) ? calloc(1, sizeof(*c)) : NULL;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (!c || epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0) {
        free(c);
        (void)close(fd); /* the store does without us */
        return;
    }
    c->fd = fd;
    LOCK_SCOPE(&d->lock);
    c->next = d->conns;
    c->prev = &d->conns;
    if (c->next)
        c->next->prev = &c->next;
    d->conns = c;
}

static void accept_one(struct direct *d)
{
    int fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        conn_open(d, fd);
    else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        (void)ctl_wait(d->stop_fd, POLLIN, -1, clock_ms() + PAUSE_MS); /* EMFILE, ENOMEM: do not spin */
}

static void *run(void *arg)
{
    struct direct *d = arg;
    for (;;) {
        struct epoll_event e;
        int n = epoll_wait(d->epoll_fd, &e, 1, -1);
        if (n > 0 && e.data.ptr == &d->stop_fd)
            return NULL;
        if (n > 0 && e.data.ptr == d)
            accept_one(d);
        else if (n > 0)
            conn_serve(d, e.data.ptr);
    }
}

/* --- life -------------------------------------------------------------------------------------------------------- */

/* Whoever opened this root before us is dead: ROOT/run/fs.lock is ours. */
static int listen_at(struct direct *d, int run_fd)
{
    struct sockaddr_un address;
    int r = ctl_address(run_fd, DIRECT_SOCKET, &address);
    if (r < 0)
        return r;
    d->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (d->fd < 0 || (unlinkat(run_fd, DIRECT_SOCKET, 0) < 0 && errno != ENOENT) || fchmod(d->fd, 0600) < 0 ||
        bind(d->fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(d->fd, BACKLOG) < 0)
        return -errno;
    return 0;
}

static int watch(struct direct *d, int fd, void *what)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = what};
    return epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static int open_all(struct direct *d, int run_fd)
{
    d->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (d->stop_fd < 0 || d->epoll_fd < 0)
        return -errno;
    int r = listen_at(d, run_fd);
    if (r == 0)
        r = watch(d, d->stop_fd, &d->stop_fd);
    return r < 0 ? r : watch(d, d->fd, d);
}

int direct_open(int run_fd, struct direct **ret, struct err *err)
{
    struct direct *d = calloc(1, sizeof(*d));
    if (!d)
        return err_sys(err, -ENOMEM, "cannot listen at '%s'", DIRECT_SOCKET);
    lock_init(&d->lock, LOCK_DIRECT);
    d->fd = d->stop_fd = d->epoll_fd = -1;
    d->uid = geteuid();
    int r = open_all(d, run_fd);
    if (r < 0) {
        direct_close(d);
        return err_sys(err, r, "cannot listen at '%s'", DIRECT_SOCKET);
    }
    *ret = d;
    return 0;
}

int direct_start(struct direct *d)
{
    sigset_t all, old;
    (void)sigfillset(&all); /* signals are for the main thread */
    int r = pthread_sigmask(SIG_SETMASK, &all, &old);
    if (r != 0)
        return -r;
    r = pthread_create(&d->thread, NULL, run, d);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL); /* cannot fail where the first one did not */
    d->is_running = r == 0;
    return -r;
}

void direct_stop(struct direct *d)
{
    if (!d || !d->is_running)
        return;
    (void)eventfd_write(d->stop_fd, 1);  /* fails only when it is readable already */
    (void)pthread_join(d->thread, NULL); /* cannot fail for a thread of ours */
    d->is_running = false;
}

void direct_close(struct direct *d)
{
    if (!d)
        return;
    direct_stop(d);
    while (d->conns)
        conn_close(d, d->conns);
    closep(&d->fd);
    closep(&d->stop_fd);
    closep(&d->epoll_fd);
    lock_finish(&d->lock);
    free(d);
}
