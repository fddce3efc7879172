/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The root folder: its paths and its lock files.
 *
 * A lock is an flock() on ROOT/run/NAME; the file holds the pid of the process that took it, as text, for the sentence that
 * another one gets. (1) The file that is locked is the file that carries the name: who finds it replaced after the wait
 * begins again. (2) root_locked() cannot ask without a short shared lock of its own; root_lock() waits for those who only
 * ask, however little time it was given: a shared lock that it gets as well tells that nobody has the lock.
 */
#include "core/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "core/clock.h"
#include "core/util.h"

#define POLL_MS  10
#define HELD_MS  30    /* a holder that is just ending */
#define PROBE_MS 10000 /* longer than root_locked() holds its shared lock where it has to wait for a processor */

/* --- paths ------------------------------------------------------------------------------------------------------- */

/* "@dir/@name" into @ret (PATH_MAX bytes); neither has to end or begin in a particular way. */
static int join(const char *dir, const char *name, char *ret, struct err *err)
{
    const char *slash = *dir && dir[strlen(dir) - 1] == '/' ? "" : "/";
    if (snprintf(ret, PATH_MAX, "%s%s%s", dir, slash, name) >= PATH_MAX)
        return err_set(err, -ENAMETOOLONG, "path '%.80s.../%.80s' is longer than %d bytes", dir, name, PATH_MAX - 1);
    return 0;
}

/* Append the parts of @rest to the resolved folder @path without asking the disk: none of them exists. */
static int append_parts(char *path, char *rest, struct err *err)
{
    char *save = NULL;
    for (char *part = strtok_r(rest, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        if (strcmp(part, ".") == 0)
            continue;
        if (strcmp(part, "..") == 0) {
            char *slash = strrchr(path, '/');
            slash[slash == path ? 1 : 0] = 0;
            continue;
        }
        char longer[PATH_MAX];
        int r = join(path, part, longer, err);
        if (r < 0)
            return r;
        strcpy(path, longer);
    }
    return 0;
}

/* Resolve the longest part of the absolute path @full that exists, then append the rest. */
static int resolve(const char *full, char *ret, struct err *err)
{
    char head[PATH_MAX], rest[PATH_MAX] = "", found[PATH_MAX];
    strcpy(head, full);
    while (!realpath(head, found)) {
        if (errno == ENAMETOOLONG)
            return err_set(err, -ENAMETOOLONG, "the root's path '%.80s...' is too long", full);
        if (errno != ENOENT)
            return err_set(err, -EINVAL, "cannot use '%.500s' as the root: %m", full);
        char *slash = strrchr(head, '/');
        strcpy(rest, full + (slash - head));
        slash[slash == head ? 1 : 0] = 0;
    }
    int r = append_parts(found, rest, err);
    if (r == 0)
        strcpy(ret, found);
    return r;
}

int root_resolve(const char *option, char *ret, struct err *err)
{
    const char *env = getenv("DISKGATE_ROOT");
    const char *name = option ? option : env && *env ? env : ROOT_DEFAULT;
    if (!*name)
        return err_set(err, -EINVAL, "the root is empty; name a folder with --root DIR");
    char cwd[PATH_MAX] = "", full[PATH_MAX], path[PATH_MAX];
    if (*name != '/' && !getcwd(cwd, sizeof(cwd)))
        return err_sys(err, -errno, "cannot tell the working folder; name the root with its full path");
    int r = *name == '/' ? join("", name + strspn(name, "/"), full, err) : join(cwd, name, full, err);
    if (r == 0)
        r = resolve(full, path, err);
    if (r < 0)
        return r;
    struct stat st;
    if (strcmp(path, "/") == 0)
        return err_set(err, -EINVAL, "'/' cannot be the root of an installation; name a folder with --root DIR");
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
        return err_set(err, -EINVAL, "'%.500s' is not a folder; name the root's folder with --root DIR", path);
    strcpy(ret, path);
    return 0;
}

int root_path(const char *root, const char *name, char *ret, struct err *err)
{
    return join(root, name, ret, err);
}

int root_find_catalog(const char *root, char *ret, struct err *err)
{
    int r = root_path(root, "catalog.db", ret, err);
    if (r < 0 || access(ret, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR))
        return r;
    return err_set(
        err, -ENOENT,
        "there is no Diskgate root at '%s': make one with 'diskgate --root %s init', or name another with --root", root,
        root);
}

static int check_owner(const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_sys(err, -errno, "cannot look at '%.500s'", path);
    if (st.st_uid == 0 && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return 0;
    return err_set(err, -EPERM,
                   "'%.300s' can be changed by other users, so root must not run what is in it: first 'chown root:root "
                   "%.300s' and 'chmod go-w %.300s'",
                   path, path, path);
}

int root_check_trusted(const char *root, struct err *err)
{
    const char *const names[] = {"catalog.db", "run"};
    char path[PATH_MAX];
    int r = geteuid() == 0 ? check_owner(root, err) : 0;
    for (size_t i = 0; r == 0 && geteuid() == 0 && i < ARRAY_SIZE(names); i++) {
        r = root_path(root, names[i], path, err);
        r = r ? r : check_owner(path, err);
    }
    return r;
}

int root_open_dir(const char *root, const char *name, struct err *err)
{
    char path[PATH_MAX];
    int r = root_path(root, name, path, err);
    if (r < 0)
        return r;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, -errno, "cannot open folder '%.500s'", path);
    return fd;
}

/* --- locks ------------------------------------------------------------------------------------------------------- */

/* The pid that the lock file holds, 0 where it holds none. */
static int lock_pid(int fd)
{
    char text[16] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    return pid > 0 && pid <= INT_MAX ? (int)pid : 0;
}

/* True if whoever is in the way of an exclusive lock has a shared one: it only asks. */
static bool is_only_asked_for(int fd)
{
    return flock(fd, LOCK_SH | LOCK_NB) == 0 && flock(fd, LOCK_UN) == 0;
}

/* Lock @fd within the time. 0; -EBUSY without a sentence; a negative errno of flock. */
static int lock_wait(int fd, int timeout_ms)
{
    int64_t begin = clock_ms();
    for (;;) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        int limit_ms = MAX(timeout_ms, is_only_asked_for(fd) ? PROBE_MS : HELD_MS);
        if (timeout_ms >= 0 && clock_ms() - begin >= limit_ms)
            return -EBUSY;
        const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
        (void)nanosleep(&pause, NULL); /* a signal makes the pause shorter, no more */
    }
}

/* Invariant (1): true if @path still names the open file. */
static bool is_still(int fd, const char *path)
{
    struct stat open_st, named_st;
    return fstat(fd, &open_st) == 0 && stat(path, &named_st) == 0 && open_st.st_dev == named_st.st_dev &&
           open_st.st_ino == named_st.st_ino;
}

static int lock_fail(int fd, int code, const char *path, struct err *err)
{
    if (code != -EBUSY)
        return err_sys(err, code, "cannot lock '%.500s'", path);
    int pid = lock_pid(fd);
    if (pid > 0)
        return err_set(err, code, "'%.500s' is held by process %d; wait until it is done", path, pid);
    return err_set(err, code, "'%.500s' is held by another process; wait until it is done", path);
}

/* The pid is there for sentences only: a failure to write it does not make the lock worse. */
static void write_pid(int fd)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) == 0)
        (void)pwrite_full(fd, text, (size_t)len, 0);
}

int root_lock(const char *root, const char *name, int timeout_ms, struct err *err)
{
    char path[PATH_MAX], run_name[NAME_MAX + 1];
    if (snprintf(run_name, sizeof(run_name), "run/%s", name) >= (int)sizeof(run_name))
        return err_set(err, -ENAMETOOLONG, "the lock's name '%.80s...' is too long", name);
    int r = root_path(root, run_name, path, err);
    if (r < 0)
        return r;
    for (;;) {
        /* Not readable by others: who can open it can lock it. On a file system that went read-only the lock works without the pid. */
        _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 && errno == EROFS && (fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) < 0)
            errno = EROFS;
        if (fd < 0)
            return err_sys(err, -errno, "cannot open lock file '%.500s'", path);
        r = lock_wait(fd, timeout_ms);
        if (r < 0)
            return lock_fail(fd, r, path, err);
        if (!is_still(fd, path))
            continue;
        write_pid(fd);
        return take_fd(&fd);
    }
}

bool root_locked(const char *root, const char *name, int *ret_pid)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/run/%s", root, name) >= (int)sizeof(path))
        return false;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return false;
    *ret_pid = lock_pid(fd);
    return true;
}
