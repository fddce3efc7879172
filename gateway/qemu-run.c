/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One run of qemu-img; see qemu-run.h. */
#include "gateway/qemu-run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core/clock.h"
#include "core/util.h"
#include "gateway/copy.h"
#include "gateway/proc.h"

#define POLL_MS 200

/* --- the program ------------------------------------------------------------------------------------------------- */

static int find_program(char *ret, size_t size, struct err *err)
{
    static const char *const folders[] = {"/usr/bin", "/usr/local/bin", "/bin"};
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        (void)snprintf(ret, size, "%s/qemu-img", folders[i]);
        if (access(ret, X_OK) == 0)
            return 0;
    }
    return err_set(err, -ENOENT,
                   "this needs the program qemu-img, which is not installed: run 'apt install qemu-utils'");
}

/* In the child, between fork() and exec(): only system calls. */
static void run_child(const struct qemu_job *j, const char *program, int out_w, int err_w)
{
    sigset_t none;
    int in = j->in < 0 ? -1 : fcntl(j->in, F_DUPFD, 16), out = j->out < 0 ? -1 : fcntl(j->out, F_DUPFD, 16);
    int null = open("/dev/null", O_RDONLY);
    int so = fcntl(out_w, F_DUPFD, 16), se = fcntl(err_w, F_DUPFD, 16);
    if (null < 0 || so < 0 || se < 0 || dup2(null, 0) < 0 || dup2(so, 1) < 0 || dup2(se, 2) < 0)
        _exit(126);
    if ((j->dirfd >= 0 ? fchdir(j->dirfd) : chdir("/")) < 0)
        _exit(126);
    if ((in >= 0 && dup2(in, QEMU_SOURCE_FD) < 0) || (out >= 0 && dup2(out, QEMU_TARGET_FD) < 0))
        _exit(126);
    (void)syscall(SYS_close_range,
                  out >= 0  ? QEMU_TARGET_FD + 1
                  : in >= 0 ? QEMU_SOURCE_FD + 1
                            : 3,
                  ~0U, 0); /* they end with us */
    (void)sigemptyset(&none);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || (j->jail && jail_enter(j->jail) < 0))
        _exit(125);
    (void)execv(program, j->argv); /* returns only on failure */
    _exit(127);
}

/* --- its output -------------------------------------------------------------------------------------------------- */

struct stream {
    int fd;
    char *buf;
    size_t len, max;
};

/* Take what is there. False at the end. What does not fit is dropped. */
static bool stream_take(struct stream *s)
{
    char piece[4096];
    ssize_t n = read(s->fd, piece, sizeof(piece));
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    size_t take = MIN((size_t)n, s->max - s->len);
    memcpy(s->buf + s->len, piece, take);
    s->len += take;
    s->buf[s->len] = 0;
    return n > 0;
}

/* The last "(12.34/100%)" of the text. */
static void show_progress(const struct qemu_job *j, struct stream *s)
{
    char *at = strrchr(s->buf, '(');
    double percent;
    if (at && strchr(at, ')') && sscanf(at, "(%lf/100%%)", &percent) == 1 && percent >= 0 && percent <= 100)
        progress_update(j->progress, (uint64_t)((double)j->total * percent / 100), j->total);
    size_t keep = at && !strchr(at, ')') ? s->len - (size_t)(at - s->buf) : 0;
    memmove(s->buf, at ? at : s->buf, keep);
    s->len = keep;
    s->buf[keep] = 0;
}

/* Until both streams end. -EINTR, -ETIMEDOUT: the child is still there. */
static int follow(const struct qemu_job *j, struct stream *out, struct stream *errs)
{
    int64_t start = clock_ms();
    struct pollfd p[2] = {{out->fd, POLLIN, 0}, {errs->fd, POLLIN, 0}};
    while (p[0].fd >= 0 || p[1].fd >= 0) {
        if (interrupts_came())
            return -EINTR;
        if (j->timeout_ms && clock_ms() - start > j->timeout_ms)
            return -ETIMEDOUT;
        if (poll(p, 2, POLL_MS) <= 0)
            continue;
        if (p[0].revents && !stream_take(out))
            p[0].fd = -1;
        if (p[1].revents && !stream_take(errs))
            p[1].fd = -1;
        if (j->progress)
            show_progress(j, out);
    }
    return 0;
}

/* The last line that says something, fit for a terminal. */
static void last_line(const struct stream *s, char *ret, size_t max)
{
    const char *end = s->buf + s->len;
    while (end > s->buf && (end[-1] == '\n' || end[-1] == ' '))
        end--;
    const char *begin = end;
    while (begin > s->buf && begin[-1] != '\n')
        begin--;
    size_t n = MIN((size_t)(end - begin), max - 1);
    for (size_t i = 0; i < n; i++)
        ret[i] = (unsigned char)begin[i] < ' ' || begin[i] == 127 ? '?' : begin[i];
    ret[n] = 0;
}

static int supervise(const struct qemu_job *j, pid_t pid, int out_fd, int err_fd, struct qemu_result *ret,
                     struct err *err)
{
    _cleanup_free_ char *out_buf = malloc(QEMU_OUTPUT_MAX + 1), *err_buf = malloc(4096 + 1);
    struct stream out = {out_fd, out_buf, 0, QEMU_OUTPUT_MAX}, errs = {err_fd, err_buf, 0, 4096};
    int r = -ENOMEM;
    if (out_buf && err_buf) {
        out_buf[0] = err_buf[0] = 0;
        r = follow(j, &out, &errs);
    }
    if (r < 0)
        (void)kill(pid, SIGKILL); /* our child, not yet reaped */
    while (waitpid(pid, &ret->status, 0) < 0 && errno == EINTR)
        ;
    if (r == -EINTR || interrupts_came())
        return err_set(err, -EINTR, "interrupted, nothing was made");
    if (r == -ETIMEDOUT)
        return err_set(err, r, "qemu-img did not end within %d s", (int)(j->timeout_ms / 1000));
    if (r < 0)
        return err_sys(err, r, "cannot run qemu-img");
    last_line(&errs, ret->error, sizeof(ret->error));
    ret->out = take_ptr(out_buf);
    return 0;
}

int qemu_run(const struct qemu_job *j, struct qemu_result *ret, struct err *err)
{
    char program[64];
    int o[2] = {-1, -1}, e[2] = {-1, -1};
    int r = find_program(program, sizeof(program), err);
    if (r < 0)
        return r;
    if (pipe2(o, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot run qemu-img");
    _cleanup_close_ int out_fd = o[0], out_w = o[1];
    if (pipe2(e, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot run qemu-img");
    _cleanup_close_ int err_fd = e[0], err_w = e[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_sys(err, -errno, "cannot run qemu-img");
    if (pid == 0)
        run_child(j, program, out_w, err_w);
    closep(&out_w), out_w = -1;
    closep(&err_w), err_w = -1;
    return supervise(j, pid, out_fd, err_fd, ret, err);
}

/* Without the names that only we and qemu-img know the file by. */
static const char *plain_error(const char *text)
{
    static const char *const prefixes[] = {"Could not open 'driver=", "Could not open '/dev/fd/"};
    if (strncmp(text, "qemu-img: ", 10) == 0)
        text += 10;
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        const char *rest = strncmp(text, prefixes[i], strlen(prefixes[i])) == 0 ? strstr(text, "': ") : NULL;
        if (rest)
            text = rest + 3;
    }
    return text;
}

int qemu_judge(const struct qemu_result *res, const char *deed, const char *path, struct err *err)
{
    if (WIFEXITED(res->status) && WEXITSTATUS(res->status) == 0)
        return 0;
    if (WIFSIGNALED(res->status))
        return err_set(err, -EIO, "cannot %s '%s': qemu-img was ended by signal %d%s", deed, path,
                       WTERMSIG(res->status), WTERMSIG(res->status) == SIGXFSZ ? " (it wrote too much)" : "");
    if (WEXITSTATUS(res->status) == 125)
        return err_set(err, -EPERM, "cannot %s '%s': qemu-img cannot be run without privileges here", deed, path);
    const char *text = plain_error(res->error);
    return err_set(err, -EIO, "cannot %s '%s': %s", deed, path, *text ? text : "qemu-img failed and does not say why");
}
