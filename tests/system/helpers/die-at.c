/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loaded into a program (LD_PRELOAD): it dies, as of SIGKILL, just before its n-th call that changes a file.
 *
 *   DIE_PROGRAM   name of the program; others, and copies that it makes of itself, live on
 *   DIE_AT        number of the call, from 1; 0 = none
 *   DIE_LOG       file that gets the name of each call, a line each (optional)
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pid_t victim;
static long die_at;
static int log_fd = -1;
static atomic_long calls;

__attribute__((constructor)) static void begin(void)
{
    const char *program = getenv("DIE_PROGRAM"), *at = getenv("DIE_AT"), *log = getenv("DIE_LOG");
    if (!program || !at || strcmp(program, program_invocation_short_name) != 0)
        return;
    victim = getpid();
    die_at = atol(at);
    if (log)
        log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void count(const char *name)
{
    char line[64];
    if (getpid() != victim)
        return;
    int n = snprintf(line, sizeof(line), "%s\n", name);
    if (log_fd >= 0)
        (void)!syscall(SYS_write, log_fd, line, n); /* write() is counted */
    if (atomic_fetch_add(&calls, 1) + 1 == die_at)
        (void)kill(victim, SIGKILL);
}

#define COUNTED(type, name, params, args)                                                                              \
    type name params                                                                                                   \
    {                                                                                                                  \
        static type(*next) params;                                                                                     \
        if (!next)                                                                                                     \
            next = (type(*) params)dlsym(RTLD_NEXT, #name);                                                            \
        count(#name);                                                                                                  \
        return next args;                                                                                              \
    }

COUNTED(int, mkdir, (const char *path, mode_t mode), (path, mode))
COUNTED(int, rmdir, (const char *path), (path))
COUNTED(int, unlink, (const char *path), (path))
COUNTED(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))
COUNTED(int, rename, (const char *from, const char *to), (from, to))
COUNTED(int, renameat, (int dir, const char *from, int to_dir, const char *to), (dir, from, to_dir, to))
COUNTED(int, fsync, (int fd), (fd))
COUNTED(int, fdatasync, (int fd), (fd))
COUNTED(int, ftruncate, (int fd, off_t len), (fd, len))
COUNTED(ssize_t, write, (int fd, const void *buf, size_t len), (fd, buf, len))
COUNTED(ssize_t, pwrite, (int fd, const void *buf, size_t len, off_t off), (fd, buf, len, off))
