/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking at /proc and ending processes through pidfds.
 *
 * To signal safely: open the pidfd, then look who the pid is, then signal through the pidfd. Whoever was looked at is then the one that
 * is signalled.
 */
#include "gateway/proc.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "core/clock.h"
#include "core/util.h"

void proc_sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    (void)nanosleep(&t, NULL); /* a signal makes the pause shorter, no more */
}

int proc_open(pid_t pid)
{
    return pid > 0 ? pidfd_open(pid, 0) : -1;
}

bool proc_is_alive(int pidfd)
{
    struct pollfd p = {pidfd, POLLIN, 0};
    return pidfd >= 0 && poll(&p, 1, 0) == 0;
}

/* A child of ours stays as a zombie until it is reaped; of another's child this does nothing. */
static void reap(int pidfd)
{
    siginfo_t info;
    (void)waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG); /* ECHILD: not ours */
}

bool proc_end(int pidfd, int sig, int timeout_ms)
{
    if (pidfd < 0)
        return true;
    if (sig)
        (void)pidfd_send_signal(pidfd, sig, NULL, 0); /* ESRCH: gone already */
    struct pollfd p = {pidfd, POLLIN, 0};
    int64_t end = clock_ms() + timeout_ms;
    for (;;) {
        int64_t left = end - clock_ms();
        int n = poll(&p, 1, (int)MAX(left, 0));
        if (n > 0)
            reap(pidfd);
        if (n >= 0 || errno != EINTR)
            return n > 0;
    }
}

/* True with the last part of the executable's path, without " (deleted)". *ret_is_dead: there is none, as of a zombie. */
static bool program_name(pid_t pid, char ret[NAME_MAX + 1], bool *ret_is_dead)
{
    char path[64], link[PATH_MAX];
    (void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid); /* fits */
    ssize_t n = readlink(path, link, sizeof(link) - 1);
    *ret_is_dead = n < 0 && errno == ENOENT;
    if (n <= 0)
        return false;
    link[n] = 0;
    char *gone = strstr(link, " (deleted)");
    if (gone)
        *gone = 0;
    const char *base = strrchr(link, '/');
    return snprintf(ret, NAME_MAX + 1, "%s", base ? base + 1 : link) <= NAME_MAX;
}

bool proc_is(pid_t pid, const char *name)
{
    char text[NAME_MAX + 1], path[64];
    bool is_dead;
    if (program_name(pid, text, &is_dead))
        return strcmp(text, name) == 0;
    if (is_dead)
        return false;
    /* Another user's process: the kernel's name for it will do. */
    _cleanup_free_ char *comm = NULL;
    (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid); /* fits */
    if (file_read(AT_FDCWD, path, 64, &comm, NULL) < 0)
        return false;
    comm[strcspn(comm, "\n")] = 0;
    return strncmp(comm, name, 15) == 0 && strlen(comm) == MIN(strlen(name), (size_t)15);
}

size_t proc_args(pid_t pid, char *ret, size_t max)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid); /* fits */
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, ret, max - 1);
    ret[MAX(n, 0)] = 0;
    return n > 0 ? (size_t)n : 0;
}

const char *proc_arg(const char *args, size_t len, size_t n)
{
    const char *p = args, *end = args + len;
    for (; n > 0 && p < end; n--)
        p += strlen(p) + 1;
    return p < end ? p : NULL;
}

bool proc_works_in(pid_t pid, int dirfd)
{
    char path[64];
    struct stat a, b;
    (void)snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid); /* fits */
    return stat(path, &a) == 0 && fstat(dirfd, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

pid_t proc_find(const char *name, bool (*f)(pid_t pid, void *arg), void *arg)
{
    _cleanup_closedir_ DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        pid_t pid = isdigit((unsigned char)e->d_name[0]) ? (pid_t)strtol(e->d_name, NULL, 10) : 0;
        if (pid > 0 && proc_is(pid, name) && f(pid, arg))
            return pid;
    }
    return 0;
}

pid_t proc_pid_file(int dirfd, const char *name)
{
    _cleanup_free_ char *text = NULL;
    if (file_read(dirfd, name, 64, &text, NULL) < 0)
        return 0;
    long pid = strtol(text, NULL, 10);
    return pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}
