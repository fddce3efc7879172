/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running `diskgate`; see child.h. It is looked for beside this program, then where DISKGATE_PROGRAM says (which `diskgate migrate` sets),
 * then in PATH. */
#include "migrate/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "core/exe.h"
#include "core/util.h"

#define ARGS_MAX   160
#define OUTPUT_MAX ((size_t)64 << 20)

struct reading {
    int fd;
    char *buf;
    size_t len, room, max;
};

/* Take what is there; false at the end. What passes the limit is dropped. */
static bool take(struct reading *r)
{
    if (r->len + 4096 > r->room) {
        size_t room = r->room ? r->room * 2 : 8192;
        char *more = realloc(r->buf, room + 1);
        if (!more)
            return false;
        r->buf = more;
        r->room = room;
    }
    ssize_t n = read(r->fd, r->buf + r->len, 4096);
    if (n < 0)
        return errno == EINTR;
    if (r->len + (size_t)n < r->max)
        r->len += (size_t)n;
    r->buf[r->len] = 0;
    return n > 0;
}

/* Lines "done total"; what is none is passed over. */
struct watching {
    int fd; /* -1 = nobody watches */
    child_progress_fn fn;
    void *arg;
    char line[64];
    size_t len;
};

static void take_line(struct watching *w)
{
    unsigned long long done, total;
    w->line[w->len] = 0;
    w->len = 0;
    if (sscanf(w->line, "%20llu %20llu", &done, &total) == 2 && done <= total)
        w->fn(w->arg, done, total);
}

static bool watch(struct watching *w)
{
    char buf[4096];
    ssize_t n = read(w->fd, buf, sizeof(buf));
    if (n < 0)
        return errno == EINTR;
    for (ssize_t i = 0; i < n; i++)
        if (buf[i] == '\n')
            take_line(w);
        else if (w->len + 1 < sizeof(w->line))
            w->line[w->len++] = buf[i];
    return n > 0;
}

static void follow(struct reading *out, struct reading *errs, struct watching *w)
{
    struct pollfd p[3] = {{out->fd, POLLIN, 0}, {errs->fd, POLLIN, 0}, {w->fd, POLLIN, 0}};
    while (p[0].fd >= 0 || p[1].fd >= 0 || p[2].fd >= 0) {
        if (poll(p, 3, -1) < 0) {
            if (errno != EINTR)
                return;
            continue;
        }
        if (p[0].revents && !take(out))
            p[0].fd = -1;
        if (p[1].revents && !take(errs))
            p[1].fd = -1;
        if (p[2].revents && !watch(w))
            p[2].fd = -1;
    }
}

/* The last line that is not empty, without the program's name. */
static const char *last_line(struct reading *r)
{
    if (!r->buf)
        return "";
    while (r->len > 0 && (r->buf[r->len - 1] == '\n' || r->buf[r->len - 1] == ' '))
        r->buf[--r->len] = 0;
    char *line = strrchr(r->buf, '\n');
    line = line ? line + 1 : r->buf;
    return strncmp(line, "diskgate: ", 10) == 0 ? line + 10 : line;
}

static void find_program(char ret[PATH_MAX])
{
    if (exe_beside("diskgate", ret))
        return;
    const char *named = getenv("DISKGATE_PROGRAM");
    (void)snprintf(ret, PATH_MAX, "%s", named && *named == '/' ? named : "diskgate");
}

/* In the child, between fork() and exec(): only system calls. */
static void become(const char *program, char *const *argv, int out, int errs, int progress, pid_t parent)
{
    if (progress >= 0 && fcntl(progress, F_SETFD, 0) < 0)
        _exit(126);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent || dup2(out, 1) < 0 || dup2(errs, 2) < 0)
        _exit(126);
    (void)execvp(program, argv); /* returns only on failure */
    _exit(127);
}

static int judge(int status, struct reading *out, struct reading *errs, json_t **ret, struct err *err)
{
    json_error_t where;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return err_set(err, -ENOENT, "this needs the program diskgate, which is not installed beside diskgate-migrate");
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 126)
        return err_set(err, -EIO, "diskgate was ended by signal %d: try again",
                       WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3)
        return err_set(err, -EIO, "%.900s", last_line(errs));
    *ret = json_loads(out->buf ? out->buf : "", 0, &where);
    return *ret ? 0 : err_set(err, -EIO, "diskgate printed something else than JSON (%s)", where.text);
}

int child_diskgate(const char *root, const char *const *args, json_t **ret, struct err *err)
{
    return child_diskgate_progress(root, args, NULL, NULL, ret, err);
}

int child_diskgate_progress(const char *root, const char *const *args, child_progress_fn fn, void *arg, json_t **ret,
                            struct err *err)
{
    char program[PATH_MAX], option[32];
    const char *argv[ARGS_MAX] = {"diskgate", "--root", root, "--json"};
    size_t n = 4;
    int o[2], e[2], w[2] = {-1, -1}, status = 0;
    pid_t parent = getpid();
    for (; *args && n + 2 < ARGS_MAX; args++)
        argv[n++] = *args;
    find_program(program);
    if (pipe2(o, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot run diskgate");
    _cleanup_close_ int out_r = o[0], out_w = o[1];
    if (pipe2(e, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot run diskgate");
    _cleanup_close_ int err_r = e[0], err_w = e[1];
    if (fn && pipe2(w, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot run diskgate");
    _cleanup_close_ int watch_r = w[0], watch_w = w[1];
    if (fn) {
        (void)snprintf(option, sizeof(option), "--progress=%d", watch_w);
        argv[n++] = option;
    }
    pid_t pid = fork();
    if (pid < 0)
        return err_sys(err, -errno, "cannot run diskgate");
    if (pid == 0)
        become(program, (char *const *)argv, out_w, err_w, watch_w, parent);
    closep(&out_w), out_w = -1;
    closep(&err_w), err_w = -1;
    closep(&watch_w), watch_w = -1;
    struct reading out = {.fd = out_r, .max = OUTPUT_MAX}, errs = {.fd = err_r, .max = 65536};
    struct watching watching = {.fd = watch_r, .fn = fn, .arg = arg};
    follow(&out, &errs, &watching);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    int r = judge(status, &out, &errs, ret, err);
    free(out.buf);
    free(errs.buf);
    return r;
}
