/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's side of a control socket.
 *
 *   open  -> bound and listening, nobody is answered yet
 *   start -> one thread: accept, check the peer, read a line, call the handler, answer, hang up
 *   stop  -> the eventfd ends every wait of that thread at once; a handler that runs is waited for
 *   close -> the socket file goes, if it is still ours
 *
 * (1) Whatever a peer sends, the answer is an error line or nothing; a peer can keep the thread for PEER_MS at most, besides the
 *     time that the handler takes.
 * (2) The socket file is created with mode 0600 (fchmod before bind: the process-wide umask is left alone).
 * (3) A socket file at which somebody listens is never replaced.
 */
#include "core/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/ctl-line.h"
#include "core/log.h"
#include "core/util.h"

#define PEER_MS  10000
#define PAUSE_MS 100 /* after a failed accept, when file descriptors are short */
#define BACKLOG  64

struct ctl_server {
    int dirfd, fd, stop_fd;
    ino_t ino; /* of the socket file that we made */
    char name[108];
    ctl_handler *handler;
    void *arg;
    bool is_running;
    pthread_t thread;
};

/* --- one request -------------------------------------------------------------------------------------------------- */

static bool is_allowed(int fd, struct ucred *ret)
{
    socklen_t len = sizeof(*ret);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret, &len) < 0)
        return false;
    return ret->uid == 0 || ret->uid == geteuid();
}

/* Sentences may quote file names, which may be anything; JSON strings are UTF-8. */
static json_t *sentence_json(const char *text)
{
    json_t *j = json_string(text);
    if (j)
        return j;
    _cleanup_free_ char *copy = strdup(text);
    for (char *p = copy; p && *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    return json_string(copy ? copy : "out of memory");
}

static json_t *error_json(int code, const char *text)
{
    return json_pack("{s:o,s:i}", "error", sentence_json(text), "errno", -code);
}

/* The answer to a request, never NULL unless memory is short. */
static json_t *answer_to(struct ctl_server *s, json_t *req)
{
    const char *cmd = json_string_value(json_object_get(req, "cmd"));
    if (!cmd)
        return error_json(-EINVAL, "the request has no \"cmd\"");
    struct err err = {""};
    _cleanup_json_ json_t *ret = NULL;
    int r = s->handler(s->arg, cmd, req, &ret, &err);
    if (r < 0 && !err.msg[0])
        (void)err_sys(&err, r, "command '%.64s' failed", cmd);
    if (r < 0)
        return error_json(r, err.msg);
    if (!ret)
        ret = json_object();
    return take_ptr(ret);
}

static json_t *recv_error(int code, const char *why)
{
    char text[JSON_ERROR_TEXT_LENGTH + 64];
    if (code == -EPROTO)
        (void)snprintf(text, sizeof(text), "malformed request: %s", why);
    else
        (void)snprintf(text, sizeof(text), "the request is longer than %u bytes", CTL_LINE_MAX);
    return error_json(code == -EPROTO ? -EINVAL : code, text);
}

static json_t *receive_and_answer(struct ctl_server *s, int fd)
{
    struct ucred peer = {0};
    char why[JSON_ERROR_TEXT_LENGTH] = "";
    _cleanup_json_ json_t *req = NULL;
    if (!is_allowed(fd, &peer)) {
        log_warn("%s: user %u may not use this socket, refused", s->name, (unsigned)peer.uid);
        return error_json(-EPERM, "only root and the daemon's own user may use this socket");
    }
    int r = ctl_recv(fd, s->stop_fd, clock_ms() + PEER_MS, &req, why);
    if (r == -EPROTO || r == -EMSGSIZE)
        return recv_error(r, why);
    if (r < 0) {
        log_debug("ctl", "%s: no request came: %s", s->name, strerrordesc_np(-r));
        return NULL;
    }
    log_debug("ctl", "%s: request of process %d", s->name, (int)peer.pid);
    return answer_to(s, req);
}

/* A request that was not read to its end would make the kernel reset the connection and lose our answer: read away what is there. */
static void drain(int fd)
{
    char buf[4096];
    (void)shutdown(fd, SHUT_WR); /* the peer may be gone */
    for (int i = 0; i < 256 && recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0; i++)
        ;
}

static void serve(struct ctl_server *s, int fd)
{
    _cleanup_json_ json_t *answer = receive_and_answer(s, fd);
    if (!answer)
        return;
    int r = ctl_send(fd, answer, s->stop_fd, clock_ms() + PEER_MS);
    if (r == -EMSGSIZE) {
        json_decref(answer);
        answer = error_json(r, "the answer is too long for a control socket");
        r = answer ? ctl_send(fd, answer, s->stop_fd, clock_ms() + PEER_MS) : -ENOMEM;
    }
    if (r < 0)
        log_debug("ctl", "%s: answer not delivered: %s", s->name, strerrordesc_np(-r));
    drain(fd);
}

static void *run(void *arg)
{
    struct ctl_server *s = arg;
    while (ctl_wait(s->fd, POLLIN, s->stop_fd, -1) == 0) {
        _cleanup_close_ int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            serve(s, fd);
        else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            (void)ctl_wait(s->stop_fd, POLLIN, -1, clock_ms() + PAUSE_MS); /* EMFILE, ENOMEM: do not spin */
    }
    return NULL;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

/* Remove the socket file of a dead process. 0 when the name is free now. */
static int clear_name(struct ctl_server *s, const struct sockaddr_un *address, struct err *err)
{
    struct stat st;
    if (fstatat(s->dirfd, s->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, -errno, "cannot examine socket '%s'", s->name);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, -EEXIST, "'%s' is in the way of the control socket; remove it", s->name);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, -errno, "cannot make a socket");
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
        return err_set(err, -EBUSY, "another process listens at '%s' already", s->name);
    if (errno != ECONNREFUSED && errno != ENOENT)
        return err_sys(err, -errno, "cannot tell whether anybody listens at '%s'", s->name);
    if (unlinkat(s->dirfd, s->name, 0) < 0 && errno != ENOENT)
        return err_sys(err, -errno, "cannot remove the dead socket '%s'", s->name);
    return 0;
}

static int listen_at(struct ctl_server *s, struct err *err)
{
    struct sockaddr_un address;
    struct stat st;
    int r = ctl_address(s->dirfd, s->name, &address);
    if (r < 0)
        return err_sys(err, r, "cannot listen at '%s'", s->name);
    r = clear_name(s, &address, err);
    if (r < 0)
        return r;
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0 || fchmod(s->fd, 0600) < 0 || bind(s->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return err_sys(err, -errno, "cannot listen at '%s'", s->name);
    if (fstatat(s->dirfd, s->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        s->ino = st.st_ino;
    if (listen(s->fd, BACKLOG) < 0)
        return err_sys(err, -errno, "cannot listen at '%s'", s->name);
    return 0;
}

static void closep_server(struct ctl_server **s)
{
    ctl_server_close(*s);
}

int ctl_server_open(int dirfd, const char *name, ctl_handler *handler, void *arg, struct ctl_server **ret,
                    struct err *err)
{
    _cleanup_(closep_server) struct ctl_server *s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(err, -ENOMEM, "no memory for a control socket");
    s->fd = s->stop_fd = -1;
    s->handler = handler;
    s->arg = arg;
    s->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
    if (s->dirfd < 0 || (s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        return err_sys(err, -errno, "cannot open control socket '%s'", name);
    if (snprintf(s->name, sizeof(s->name), "%s", name) >= (int)sizeof(s->name))
        return err_sys(err, -ENAMETOOLONG, "cannot listen at '%s'", name);
    int r = listen_at(s, err);
    if (r < 0)
        return r;
    *ret = take_ptr(s);
    return 0;
}

int ctl_server_start(struct ctl_server *s)
{
    sigset_t all, old;
    eventfd_t ignored;
    (void)eventfd_read(s->stop_fd, &ignored); /* of an earlier stop; mostly there is none */
    (void)sigfillset(&all);                   /* signals are for the main thread */
    int r = pthread_sigmask(SIG_SETMASK, &all, &old);
    if (r != 0)
        return -r;
    r = pthread_create(&s->thread, NULL, run, s);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL); /* cannot fail where the first one did not */
    s->is_running = r == 0;
    return -r;
}

void ctl_server_stop(struct ctl_server *s)
{
    if (!s || !s->is_running)
        return;
    (void)eventfd_write(s->stop_fd, 1);  /* fails only when it is already readable */
    (void)pthread_join(s->thread, NULL); /* cannot fail for a thread of ours */
    s->is_running = false;
}

void ctl_server_close(struct ctl_server *s)
{
    struct stat st;
    if (!s)
        return;
    ctl_server_stop(s);
    if (s->ino && fstatat(s->dirfd, s->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == s->ino)
        (void)unlinkat(s->dirfd, s->name, 0); /* what is left is replaced by the next start */
    closep(&s->fd);
    closep(&s->stop_fd);
    closep(&s->dirfd);
    free(s);
}
