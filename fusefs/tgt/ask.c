/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One packet there, one back. tgtd's event loop does it: everything has an end, and nothing is believed. */
#include "fusefs/tgt/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "core/clock.h"
#include "core/util.h"

void ask_reply_finish(struct ask_reply *r)
{
    for (size_t i = 0; i < DIRECT_FDS; i++) {
        closep(&r->fds[i]);
        r->fds[i] = -1;
    }
}

/* --- the question ------------------------------------------------------------------------------------------------ */

static int connect_to(const char *path, int *ret, struct err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(a.sun_path))
        return err_set(err, -ENAMETOOLONG, "the socket's path '%s' is too long", path);
    strcpy(a.sun_path, path);
    _cleanup_close_ int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return err_sys(err, -errno, "cannot make a socket");
    if (connect(sock, (const struct sockaddr *)&a, sizeof(a)) < 0)
        return err_sys(err, errno == EAGAIN ? -ETIMEDOUT : -errno, "cannot reach diskgate-fs at '%s'", path);
    *ret = take_fd(&sock);
    return 0;
}

static int send_question(int sock, const unsigned char id[16], struct err *err)
{
    struct direct_ask q = {.magic = DIRECT_MAGIC, .version = DIRECT_VERSION};
    memcpy(q.overlay_id, id, sizeof(q.overlay_id));
    if (send(sock, &q, sizeof(q), MSG_NOSIGNAL) != (ssize_t)sizeof(q))
        return err_sys(err, errno == EAGAIN ? -ETIMEDOUT : -errno, "cannot ask diskgate-fs");
    return 0;
}

int ask_send(const char *path, const unsigned char id[16], int *ret_sock, struct err *err)
{
    _cleanup_close_ int sock = -1;
    int r = connect_to(path, &sock, err);
    r = r ?: send_question(sock, id, err);
    if (r == 0)
        *ret_sock = take_fd(&sock);
    return r;
}

/* --- the answer -------------------------------------------------------------------------------------------------- */

static int wait_for(int sock, int timeout_ms, struct err *err)
{
    struct pollfd p = {.fd = sock, .events = POLLIN};
    int64_t end_ms = clock_ms() + timeout_ms;
    for (;;) {
        int64_t left_ms = end_ms - clock_ms();
        int n = poll(&p, 1, (int)MAX(left_ms, 0));
        if (n > 0)
            return 0;
        if (n == 0)
            return err_set(err, -ETIMEDOUT, "diskgate-fs does not answer within %d ms", timeout_ms);
        if (errno != EINTR)
            return err_sys(err, -errno, "cannot wait for diskgate-fs");
    }
}

/* Take the descriptors that came, all of them; false unless they are as many as there should be. */
static bool take_fds(struct msghdr *m, struct ask_reply *ret)
{
    size_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            int fd;
            memcpy(&fd, (const char *)c + at, sizeof(fd));
            if (count < DIRECT_FDS)
                ret->fds[count++] = fd;
            else
                closep(&fd);
        }
    }
    return count == DIRECT_FDS && !(m->msg_flags & (MSG_CTRUNC | MSG_TRUNC));
}

static int receive(int sock, struct ask_reply *ret, struct err *err)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(DIRECT_FDS * sizeof(int))];
    } control;
    struct direct_answer a;
    struct iovec iov = {&a, sizeof(a)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
    if (n < 0)
        return err_sys(err, -errno, "cannot receive diskgate-fs' answer");
    bool has_fds = take_fds(&m, ret);
    if (n == 0)
        return err_set(err, -ECONNRESET, "diskgate-fs hung up");
    if (n != (ssize_t)sizeof(a) || a.magic != DIRECT_MAGIC || a.version != DIRECT_VERSION)
        return err_set(err, -EBADMSG, "diskgate-fs answers in another language: it is of another version");
    if (a.error != 0)
        return err_sys(err, a.error < 0 && a.error > -4096 ? a.error : -EBADMSG, "diskgate-fs does not allow it");
    if (!has_fds)
        return err_set(err, -EBADMSG, "diskgate-fs' descriptors did not arrive; there may be too many open files");
    ret->generation = a.generation;
    ret->size_bytes = a.size_bytes;
    ret->base_bytes = a.base_bytes;
    return 0;
}

static bool is_file(int fd, int mode, uint64_t bytes)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) == mode && !(flags & (O_DIRECT | O_PATH)) && fstat(fd, &st) == 0 &&
           S_ISREG(st.st_mode) && (uint64_t)st.st_size >= bytes;
}

/* The lowest free number is taken, so a number tells how many are open. tgtd needs the rest for its clients. */
static bool is_scarce(int fd)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd >= limit.rlim_cur / 2;
}

static int check(const struct ask_reply *r, struct err *err)
{
    for (size_t i = 0; i < DIRECT_FDS; i++)
        if (is_scarce(r->fds[i]))
            return err_set(err, -EMFILE,
                           "tgtd has opened half of the files that it may; raise its limit (LimitNOFILE)");
    int seals = fcntl(r->fds[DIRECT_FD_BOARD], F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || !is_file(r->fds[DIRECT_FD_BOARD], O_RDWR, DIRECT_BOARD_BYTES))
        return err_set(err, -EBADMSG, "diskgate-fs sent a board that is none");
    if (!is_file(r->fds[DIRECT_FD_MAP], O_RDONLY, 1) || !is_file(r->fds[DIRECT_FD_DATA], O_RDONLY, 0) ||
        !is_file(r->fds[DIRECT_FD_BASE], O_RDONLY, r->base_bytes))
        return err_set(err, -EBADMSG, "diskgate-fs sent descriptors of the wrong kind");
    return 0;
}

int ask_receive(int sock, int timeout_ms, struct ask_reply *ret, struct err *err)
{
    _cleanup_(ask_reply_finish) struct ask_reply reply = ASK_REPLY_NONE;
    int r = wait_for(sock, timeout_ms, err);
    r = r ?: receive(sock, &reply, err);
    r = r ?: check(&reply, err);
    if (r < 0)
        return r;
    *ret = reply;
    reply = (struct ask_reply)ASK_REPLY_NONE;
    return 0;
}
