/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mount table, probe child, abort of a FUSE connection.
 *
 * The probe's child is forked, not executed, and so does system calls only: statfs() reaches the server (a stat may come from the
 * kernel's memory), then one stat() for each name, then one write of all answers into a pipe for as many as fit at a time.
 */
#include "gateway/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "core/clock.h"
#include "core/util.h"
#include "gateway/proc.h"

/* "\040" and the like of mountinfo, in place. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
            *to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = 0;
}

int mount_count(const char *path, unsigned *ret_minor)
{
    _cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
    _cleanup_free_ char *line = NULL;
    size_t room = 0;
    int n = 0;
    /* 36 35 98:0 /root /mount/point options ... */
    while (f && getline(&line, &room, f) > 0) {
        unsigned minor;
        int at = 0;
        if (sscanf(line, "%*d %*d %*u:%u %*s %n", &minor, &at) != 1 || at == 0)
            continue;
        line[at + (int)strcspn(line + at, " \n")] = 0;
        unescape(line + at);
        if (strcmp(line + at, path) != 0)
            continue;
        n++;
        *ret_minor = minor;
    }
    return n;
}

struct answer {
    int error; /* 0 or an errno */
    struct file_id id;
};

static void ask(const char *path, const char *const *names, size_t n, int fd)
{
    struct answer a = {0};
    struct statfs fs;
    struct stat inside, outside;
    _cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fstatfs(dir, &fs) < 0 || fstat(dir, &inside) < 0 || fstatat(dir, "..", &outside, 0) < 0)
        a.error = errno;
    else if (fs.f_type != FUSE_SUPER_MAGIC || inside.st_dev == outside.st_dev)
        a.error = ENOENT;
    if (write_full(fd, &a, sizeof(a)) < 0 || a.error)
        return;
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        a = (struct answer){0};
        if (fstatat(dir, names[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
            a.error = errno;
        else
            a.id = (struct file_id){st.st_dev, st.st_ino};
        if (write_full(fd, &a, sizeof(a)) < 0)
            return;
    }
}

/* Read one answer before @end. */
static int read_answer(int fd, int64_t end, struct answer *ret)
{
    size_t got = 0;
    while (got < sizeof(*ret)) {
        struct pollfd p = {fd, POLLIN, 0};
        int64_t left = end - clock_ms();
        int n = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (n == 0)
            return -ETIMEDOUT;
        ssize_t len = n > 0 ? read(fd, (char *)ret + got, sizeof(*ret) - got) : -1;
        if (len < 0 && errno == EINTR)
            continue;
        if (len <= 0)
            return len < 0 ? -errno : -EIO;
        got += (size_t)len;
    }
    return 0;
}

static int read_answers(int fd, size_t n, int timeout_ms, struct file_id *ret)
{
    int64_t end = clock_ms() + timeout_ms;
    struct answer a;
    int r = read_answer(fd, end, &a);
    if (r == 0)
        r = -a.error;
    for (size_t i = 0; i < n && r == 0; i++) {
        r = read_answer(fd, end, &a);
        if (r == 0 && (a.error == ENOTCONN || a.error == ECONNABORTED))
            r = -ENOTCONN;
        ret[i] = a.error ? (struct file_id){0, 0} : a.id;
    }
    return r;
}

/* The child is waited for only as long as it takes one that is not stuck. */
static void end_child(pid_t pid)
{
    (void)kill(pid, SIGKILL); /* our child, not yet reaped */
    for (int i = 0; i < 20 && waitpid(pid, NULL, WNOHANG) == 0; i++)
        proc_sleep_ms(5);
}

int mount_probe(const char *path, const char *const *names, size_t n, int timeout_ms, struct file_id *ret,
                struct err *err)
{
    int p[2];
    unsigned minor;
    if (mount_count(path, &minor) == 0)
        return err_set(err, -ENOENT, "nothing is mounted at '%s'", path);
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot look at the mount '%s'", path);
    _cleanup_close_ int in = p[0], out = p[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_sys(err, -errno, "cannot look at the mount '%s'", path);
    if (pid == 0) {
        ask(path, names, n, out);
        _exit(0);
    }
    closep(&out);
    out = -1;
    int r = read_answers(in, n, timeout_ms, ret);
    end_child(pid);
    switch (r) {
    case 0:
        return 0;
    case -ENOENT:
        return err_set(err, r, "the mount at '%s' is not one of diskgate-fs", path);
    case -ENOTCONN:
    case -ECONNABORTED:
        return err_set(err, -ENOTCONN, "the mount at '%s' is dead: its diskgate-fs is gone", path);
    case -ETIMEDOUT:
        return err_set(err, r, "the mount at '%s' does not answer within %d s", path, timeout_ms / 1000);
    default:
        return err_sys(err, r, "cannot look at the mount '%s'", path);
    }
}

static bool write_abort(const char *folder, unsigned minor)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%u/abort", folder, minor); /* fits */
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, "1", 1) == 1;
}

/* Where the control file system is not mounted (a minimal system), it is mounted on a folder of ours for the moment. */
static void abort_connection(unsigned minor)
{
    if (write_abort("/sys/fs/fuse/connections", minor))
        return;
    char folder[] = "/tmp/diskgate-fusectl-XXXXXX";
    if (!mkdtemp(folder))
        return;
    if (mount("fusectl", folder, "fusectl", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0) {
        (void)write_abort(folder, minor); /* what is stuck then stays so; the caller says it */
        (void)umount2(folder, MNT_DETACH);
    }
    (void)rmdir(folder);
}

int mount_remove(const char *path, bool abort, struct err *err)
{
    unsigned minor;
    int n = 0;
    while (mount_count(path, &minor) > 0 && n < 64) {
        if (abort)
            abort_connection(minor);
        if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
            return err_sys(err, -errno, "cannot unmount '%s'", path);
        n++;
    }
    return n;
}
