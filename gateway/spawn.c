/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Children by posix_spawn(): cheap, and safe in a process with threads.
 *
 * A daemon that a child leaves behind may inherit its pipes, so output ends when the child has ended, not at end of file: pidfd and
 * pipes are polled together, and what is in the pipes when the pidfd becomes readable is all that counts.
 */
#include "gateway/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "core/clock.h"
#include "core/exe.h"
#include "core/util.h"

#ifndef DISKGATE_SBINDIR
#define DISKGATE_SBINDIR "/usr/sbin"
#endif

extern char **environ;

void spawn_output_finish(struct spawn_output *o)
{
    free(o->out);
    o->out = NULL;
}

/* True if @entry sets a variable that one of @env sets as well. */
static bool env_is_replaced(const char *entry, const char *const *env)
{
    size_t len = strcspn(entry, "=") + 1;
    for (; *env; env++)
        if (strncmp(entry, *env, len) == 0)
            return true;
    return false;
}

/* Our environment with @env added, in a fresh array whose strings are borrowed. */
static char **env_merge(const char *const *env)
{
    static const char *const none[] = {NULL};
    if (!env)
        env = none;
    size_t n_old = 0, n_new = 0, n = 0;
    while (environ && environ[n_old])
        n_old++;
    while (env[n_new])
        n_new++;
    char **ret = calloc(n_old + n_new + 1, sizeof(*ret));
    if (!ret)
        return NULL;
    for (size_t i = 0; i < n_old; i++)
        if (!env_is_replaced(environ[i], env))
            ret[n++] = environ[i];
    for (size_t i = 0; i < n_new; i++)
        ret[n++] = (char *)(uintptr_t)env[i]; /* posix_spawn() does not write to it */
    return ret;
}

/* Start the child with @out and @errfd as its stdout and stderr. */
static int start(const struct spawn *s, int out, int errfd, bool is_daemon, pid_t *ret_pid, struct err *err)
{
    _cleanup_free_ char **env = env_merge(s->env);
    if (!env)
        return err_sys(err, -ENOMEM, "cannot start '%s'", s->argv[0]);
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    (void)posix_spawn_file_actions_init(&fa); /* these two cannot fail in glibc */
    (void)posix_spawnattr_init(&attr);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (is_daemon ? POSIX_SPAWN_SETSID : 0);
    int r = posix_spawnattr_setflags(&attr, flags);
    r = r ? r : posix_spawnattr_setsigmask(&attr, &none);
    r = r ? r : posix_spawnattr_setsigdefault(&attr, &all);
    r = r ? r : posix_spawn_file_actions_addfchdir_np(&fa, s->dirfd);
    r = r ? r : posix_spawn_file_actions_addopen(&fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    r = r ? r : posix_spawn_file_actions_adddup2(&fa, out, STDOUT_FILENO);
    r = r ? r : posix_spawn_file_actions_adddup2(&fa, errfd, STDERR_FILENO);
    r = r ? r : posix_spawn_file_actions_addclosefrom_np(&fa, STDERR_FILENO + 1);
    r = r ? r : posix_spawnp(ret_pid, s->argv[0], &fa, &attr, (char *const *)(uintptr_t)s->argv, env);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    if (r == ENOENT)
        return err_set(err, -ENOENT, "the program '%s' is not installed or not in PATH", s->argv[0]);
    return r ? err_sys(err, -r, "cannot start '%s'", s->argv[0]) : 0;
}

struct sink {
    int fd;
    char *data; /* zero-terminated once anything was read */
    size_t len, room;
    bool is_full; /* more came than SPAWN_OUTPUT_MAX */
};

static void sink_finish(struct sink *s)
{
    closep(&s->fd);
    free(s->data);
}

/* Take what the pipe holds now. False at its end. */
static bool sink_drain(struct sink *s)
{
    for (;;) {
        if (s->len + 1 >= s->room) {
            size_t room = s->room ? s->room * 2 : 4096;
            char *more = room > SPAWN_OUTPUT_MAX ? NULL : realloc(s->data, room);
            s->is_full = !more;
            if (!more)
                return false;
            s->data = more;
            s->room = room;
        }
        ssize_t n = read(s->fd, s->data + s->len, s->room - s->len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        s->data[s->len + (n > 0 ? (size_t)n : 0)] = 0;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        s->len += (size_t)n;
    }
}

/* Collect output until the child has ended. */
static int collect(int pidfd, struct sink *out, struct sink *errs, int timeout_ms)
{
    struct pollfd p[3] = {{pidfd, POLLIN, 0}, {out->fd, POLLIN, 0}, {errs->fd, POLLIN, 0}};
    int64_t end = clock_ms() + timeout_ms;
    for (;;) {
        int64_t left = end - clock_ms();
        int n = left > 0 ? poll(p, 3, (int)left) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ETIMEDOUT;
        bool is_over = p[0].revents;
        if (p[1].fd >= 0 && (p[1].revents || is_over) && !sink_drain(out))
            p[1].fd = -1;
        if (p[2].fd >= 0 && (p[2].revents || is_over) && !sink_drain(errs))
            p[2].fd = -1;
        if (out->is_full || errs->is_full)
            return -EFBIG;
        if (is_over)
            return 0;
    }
}

/* Kill the child and reap it if it dies soon; one that waits for a dead disk in the kernel is left behind. */
static void kill_child(int pidfd)
{
    (void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0); /* it is our child, so it exists until it is reaped */
    struct pollfd p = {pidfd, POLLIN, 0};
    siginfo_t info;
    if (poll(&p, 1, 1000) == 1)
        (void)waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED); /* nobody asks how it ended */
}

static void last_line(const struct sink *s, char *ret, size_t max)
{
    const char *end = s->data ? s->data + s->len : NULL;
    while (end && end > s->data && (end[-1] == '\n' || end[-1] == ' '))
        end--;
    const char *begin = end;
    while (begin && begin > s->data && begin[-1] != '\n')
        begin--;
    size_t n = MIN((size_t)(end - begin), max - 1);
    for (size_t i = 0; i < n; i++)
        ret[i] = (unsigned char)begin[i] < ' ' || begin[i] == 127 ? '?' : begin[i];
    ret[n] = 0;
}

int spawn_run(const struct spawn *s, int timeout_ms, struct spawn_output *ret, struct err *err)
{
    _cleanup_(sink_finish) struct sink out = {.fd = -1}, errs = {.fd = -1};
    _cleanup_close_ int out_w = -1, err_w = -1, pidfd = -1;
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot start '%s'", s->argv[0]);
    out.fd = p[0], out_w = p[1];
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot start '%s'", s->argv[0]);
    errs.fd = p[0], err_w = p[1];
    (void)fcntl(out.fd, F_SETFL, O_NONBLOCK); /* fresh pipes of ours */
    (void)fcntl(errs.fd, F_SETFL, O_NONBLOCK);
    pid_t pid;
    int r = start(s, out_w, err_w, false, &pid, err);
    if (r < 0)
        return r;
    pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        r = -errno;
        (void)kill(pid, SIGKILL); /* our own child, not yet reaped */
        (void)waitpid(pid, NULL, 0);
        return err_sys(err, r, "cannot watch '%s'", s->argv[0]);
    }
    r = collect(pidfd, &out, &errs, timeout_ms);
    if (r < 0) {
        kill_child(pidfd);
        if (r == -ETIMEDOUT)
            return err_set(err, r, "'%s' did not end within %d s", s->argv[0], timeout_ms / 1000);
        return err_sys(err, r, "cannot read the output of '%s'", s->argv[0]);
    }
    siginfo_t info = {0};
    if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0)
        return err_sys(err, -errno, "cannot wait for '%s'", s->argv[0]);
    ret->status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    last_line(&errs, ret->error, sizeof(ret->error));
    ret->out = out.data ? take_ptr(out.data) : strdup("");
    return ret->out ? 0 : err_sys(err, -ENOMEM, "cannot read the output of '%s'", s->argv[0]);
}

int spawn_daemon(const struct spawn *s, const char *log, pid_t *ret_pid, struct err *err)
{
    _cleanup_close_ int fd = openat(s->dirfd, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return err_sys(err, -errno, "cannot open the log file '%s' of '%s'", log, s->argv[0]);
    return start(s, fd, fd, true, ret_pid, err);
}

void spawn_find(const char *env, const char *const *beside, const char *name, char *ret)
{
    const char *named = getenv(env);
    if (named && *named) {
        (void)snprintf(ret, PATH_MAX, "%s", named);
        return;
    }
    for (; *beside; beside++)
        if (exe_beside(*beside, ret))
            return;
    (void)snprintf(ret, PATH_MAX, "%s/%s", DISKGATE_SBINDIR, name);
    if (access(ret, X_OK) != 0)
        (void)snprintf(ret, PATH_MAX, "%s", name); /* PATH decides */
}

void spawn_log_tail(int dirfd, const char *log, size_t from, char *ret, size_t max)
{
    ret[0] = 0;
    _cleanup_close_ int fd = openat(dirfd, log, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    size_t size = (size_t)st.st_size, want = size > from ? MIN(size - from, max / 2) : 0;
    _cleanup_free_ char *buf = malloc(want + 1);
    if (!buf || want == 0 || pread_full(fd, buf, want, size - want) < 0)
        return;
    size_t n = 0;
    while (want > 0 && buf[want - 1] == '\n')
        want--;
    for (size_t i = 0; i < want && n + 4 < max; i++) {
        if (buf[i] == '\n') {
            memcpy(ret + n, " | ", 3);
            n += 3;
        } else {
            ret[n++] = (unsigned char)buf[i] < ' ' ? '?' : buf[i];
        }
    }
    ret[n] = 0;
}
