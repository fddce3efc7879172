/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Life of diskgated, as seen by `up`, `down` and `status`.
 *
 * Whether it serves is asked over HTTP as a PC would ask: GET /status must come back with this root's tag, so that neither another program
 * nor another root on the same port is taken for it.
 */
#include "gateway/daemon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/proc.h"
#include "gateway/report.h"
#include "gateway/spawn.h"
#include "gateway/units.h"

#define PROGRAM      "diskgated"
#define LOCK_NAME    "diskgated.lock"
#define LOG_NAME     "diskgated.log"
#define START_MS     15000
#define ANSWER_MS    3000
#define FOLLOW_MS    2500
#define DEFAULT_PORT 8080 /* of boot.port */
#define END_MS       6000
#define KILL_MS      5000

/* --- is it there ------------------------------------------------------------------------------------------------- */

static bool is_ours(pid_t pid, void *arg)
{
    const struct site *s = arg;
    char args[2 * PATH_MAX];
    size_t len = proc_args(pid, args, sizeof(args));
    const char *a, *b;
    for (size_t i = 1; (a = proc_arg(args, len, i)) && (b = proc_arg(args, len, i + 1)); i++)
        if (strcmp(a, "--root") == 0 && strcmp(b, s->root) == 0)
            return true;
    return false;
}

bool daemon_runs(const struct site *s, int *ret_pid)
{
    *ret_pid = 0;
    if (s->run_fd < 0 || !root_locked(s->root, LOCK_NAME, ret_pid))
        return false;
    if (*ret_pid == 0 || !proc_is(*ret_pid, PROGRAM))
        *ret_pid = proc_find(PROGRAM, is_ours, (void *)(uintptr_t)s);
    return true;
}

/* --- does it answer ---------------------------------------------------------------------------------------------- */

union address {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int connect_to(const char *text, unsigned port, int timeout_ms)
{
    union address a = {0};
    socklen_t len = sizeof(a.v4), size = sizeof(int);
    bool is_v6 = strchr(text, ':');
    a.sa.sa_family = is_v6 ? AF_INET6 : AF_INET;
    if (is_v6)
        a.v6.sin6_port = htons((uint16_t)port), len = sizeof(a.v6);
    else
        a.v4.sin_port = htons((uint16_t)port);
    if (inet_pton(a.sa.sa_family, text, is_v6 ? (void *)&a.v6.sin6_addr : &a.v4.sin_addr) != 1)
        return -EINVAL;
    _cleanup_close_ int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, &a.sa, len) < 0 && errno != EINPROGRESS)
        return -errno;
    struct pollfd p = {fd, POLLOUT, 0};
    int n = poll(&p, 1, timeout_ms), code = 0;
    if (n <= 0)
        return n < 0 ? -errno : -ETIMEDOUT;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) < 0 || code)
        return code ? -code : -errno;
    return take_fd(&fd);
}

/* All that comes, up to @max - 1 bytes, until the other side closes. */
static int receive(int fd, char *ret, size_t max, int64_t end_ms)
{
    size_t n = 0;
    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        int64_t left = end_ms - clock_ms();
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (ready <= 0)
            return ready < 0 ? -errno : -ETIMEDOUT;
        ssize_t got = recv(fd, ret + n, max - 1 - n, 0);
        if (got < 0)
            return -errno;
        n += (size_t)got;
        ret[n] = 0;
        if (got == 0 || n == max - 1)
            return 0;
    }
}

/* 0 when a diskgated with @tag answers; -EADDRINUSE when somebody else does. */
static int ask(const char *address, unsigned port, const char *tag, int timeout_ms)
{
    static const char request[] = "GET /status HTTP/1.1\r\nHost: diskgate\r\nConnection: close\r\n\r\n";
    char answer[2048], want[32];
    int64_t end_ms = clock_ms() + timeout_ms;
    _cleanup_close_ int fd = connect_to(address, port, timeout_ms);
    if (fd < 0)
        return fd;
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        return -errno;
    int r = receive(fd, answer, sizeof(answer), end_ms);
    (void)snprintf(want, sizeof(want), "\"%s\"", tag); /* fits */
    return r < 0 ? r : strstr(answer, "\"diskgated\"") && strstr(answer, want) ? 0 : -EADDRINUSE;
}

static int read_boot(struct catalog *c, bool *ret_is_on, unsigned *ret_port, struct err *err)
{
    char value[SETTING_LEN + 1];
    uint64_t port = 0;
    int r = setting_get(c, "boot.http", value, err);
    *ret_is_on = strcmp(value, "off") != 0;
    r = r ? r : setting_get_u64(c, "boot.port", &port, err);
    *ret_port = (unsigned)port;
    return r;
}

bool daemon_port_is_spare(const char *address, unsigned port)
{
    return port == DEFAULT_PORT && (strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0);
}

/* daemon_check(); *ret_is_left is true when a spare port was left to another program. */
static int check(const struct site *s, struct catalog *c, int timeout_ms, bool *ret_is_left, struct err *err)
{
    int pid;
    *ret_is_left = false;
    bool is_on = false;
    unsigned port = 0;
    if (!daemon_runs(s, &pid))
        return err_set(err, -ENOENT, "diskgated does not run; start it with 'diskgate up'");
    int r = read_boot(c, &is_on, &port, err);
    if (r < 0 || !is_on)
        return r;
    r = ask(s->address, port, s->tag, timeout_ms);
    *ret_is_left = r == -EADDRINUSE && daemon_port_is_spare(s->address, port);
    if (*ret_is_left)
        return 0;
    if (r == -EADDRINUSE)
        return err_set(err, r,
                       "port %u on %s, for the boot scripts, is taken by another program; choose another one with "
                       "'diskgate set boot.port N'",
                       port, s->address);
    return r < 0 ? err_sys(err, r,
                           "diskgated (pid %d) does not answer on port %u of %s; see '%.500s/run/" LOG_NAME
                           "', 'diskgate up' starts it anew",
                           pid, port, s->address, s->root)
                 : 0;
}

int daemon_check(const struct site *s, struct catalog *c, int timeout_ms, struct err *err)
{
    bool is_left;
    return check(s, c, timeout_ms, &is_left, err);
}

/* --- start and stop ---------------------------------------------------------------------------------------------- */

static int start_fail(const struct site *s, size_t log_from, struct err *err)
{
    char tail[500];
    spawn_log_tail(s->run_fd, LOG_NAME, log_from, tail, sizeof(tail));
    const char *text = strstr(tail, PROGRAM ": ");
    return err_set(err, -ECHILD, "%s",
                   text ? text + strlen(PROGRAM ": ") : "diskgated does not start and does not say why");
}

static int wait_ready(const struct site *s, struct catalog *c, int pidfd, size_t log_from, struct err *err)
{
    int64_t end = clock_ms() + START_MS;
    while (proc_is_alive(pidfd)) {
        int r = daemon_check(s, c, 1000, err);
        if (r == 0 || clock_ms() >= end)
            return r;
        proc_sleep_ms(20);
    }
    return start_fail(s, log_from, err);
}

/* It follows a change of its settings within a second. */
static int check_patiently(const struct site *s, struct catalog *c, struct err *err)
{
    int64_t end = clock_ms() + FOLLOW_MS;
    for (;;) {
        int r = daemon_check(s, c, ANSWER_MS, err);
        if (r == 0 || r == -ENOENT || clock_ms() >= end)
            return r;
        proc_sleep_ms(50);
    }
}

static int start(const struct site *s, struct catalog *c, struct err *err)
{
    static const char *const beside[] = {PROGRAM, NULL};
    char program[PATH_MAX];
    struct stat st;
    pid_t pid;
    if (units_manage(s)) {
        int r = units_start(s, "d", err);
        return r ? r : check_patiently(s, c, err);
    }
    spawn_find("DISKGATED", beside, PROGRAM, program);
    const char *const argv[] = {program, "--root", s->root, NULL};
    size_t log_from = fstatat(s->run_fd, LOG_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (size_t)st.st_size : 0;
    int r = spawn_daemon(&(struct spawn){argv, NULL, s->run_fd}, LOG_NAME, &pid, err);
    if (r < 0)
        return err_prefix(err, r, "cannot start diskgated");
    _cleanup_close_ int pidfd = proc_open(pid);
    r = wait_ready(s, c, pidfd, log_from, err);
    if (r < 0)
        (void)proc_end(pidfd, SIGKILL, KILL_MS); /* the failure that is reported came before */
    return r;
}

static int end(const struct site *s, struct err *err)
{
    int pid;
    for (int i = 0; i < 2 && daemon_runs(s, &pid); i++) {
        _cleanup_close_ int pidfd = pid > 0 ? proc_open(pid) : -1;
        if (pidfd >= 0 && proc_is(pid, PROGRAM) && !proc_end(pidfd, SIGTERM, END_MS))
            (void)proc_end(pidfd, SIGKILL, KILL_MS); /* looked at below */
    }
    if (daemon_runs(s, &pid))
        return err_set(err, -EBUSY, "'%.500s/run/" LOCK_NAME "' is held by process %d, which does not end", s->root,
                       pid);
    return 0;
}

int daemon_ensure(const struct site *s, struct catalog *c, bool *ret_started, json_t *report, struct err *err)
{
    int pid;
    *ret_started = false;
    bool was_running = daemon_runs(s, &pid);
    if (was_running && pid == getpid()) /* it looks after itself */
        return 0;
    int r = was_running ? check_patiently(s, c, err) : -ENOENT;
    if (r == 0)
        return 0;
    r = was_running ? end(s, err) : 0;
    r = r ? r : start(s, c, err);
    if (r == 0)
        report_change(report, was_running ? "diskgated started anew, it did not answer" : "diskgated started");
    bool is_left = false;
    if (r == 0 && check(s, c, ANSWER_MS, &is_left, NULL) == 0 && is_left)
        report_change(report,
                      "no boot scripts yet: port %d on %s is taken by another program; choose one with 'diskgate set "
                      "boot.port N'",
                      DEFAULT_PORT, s->address);
    *ret_started = r == 0 && !was_running;
    return r;
}

int daemon_stop(const struct site *s, json_t *report, struct err *err)
{
    int pid;
    bool was_running = daemon_runs(s, &pid);
    int r = end(s, err);
    if (r < 0)
        return r;
    (void)unlinkat(s->run_fd, LOCK_NAME, 0); /* absent is as good */
    if (was_running)
        report_change(report, "diskgated stopped");
    return 0;
}
