/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files below the top of a repository: put, renamed, removed, each with the syncs that make it last.
 *
 * (1) A name never becomes visible before the content behind it is durable.
 * (2) A function returns 0 only when a power cut cannot undo what it did.
 */
#include "backup/repo-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util.h"

int repo_sync_dir(struct repo *r, const char *name, struct err *err)
{
    _cleanup_close_ int fd = openat(r->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_sys(err, -errno, "cannot make folder '%s/%s' durable", r->path, name);
    return 0;
}

/* The folder of "a/b/c" is "a/b", of "c" it is ".". @ret: PATH_MAX bytes. */
static void folder_of(const char *name, char *ret)
{
    const char *slash = strrchr(name, '/');
    (void)snprintf(ret, PATH_MAX, "%.*s", slash ? (int)(slash - name) : 1,
                   slash ? name : "."); /* our own short names */
}

int repo_rename(struct repo *r, const char *from, const char *to, struct err *err)
{
    char a[PATH_MAX], b[PATH_MAX];
    if (renameat(r->dirfd, from, r->dirfd, to) < 0)
        return err_sys(err, -errno, "cannot rename '%s/%s' to '%s'", r->path, from, to);
    folder_of(from, a);
    folder_of(to, b);
    int e = repo_sync_dir(r, b, err);
    return e < 0 || strcmp(a, b) == 0 ? e : repo_sync_dir(r, a, err);
}

int repo_make_dir(struct repo *r, const char *name, struct err *err)
{
    char parent[PATH_MAX];
    if (mkdirat(r->dirfd, name, 0700) < 0)
        return errno == EEXIST ? 0 : err_sys(err, -errno, "cannot make '%s/%s'", r->path, name);
    folder_of(name, parent);
    return repo_sync_dir(r, parent, err);
}

static int write_temp(struct repo *r, const char *temp, const void *buf, size_t len)
{
    _cleanup_close_ int fd = openat(r->dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int e = write_full(fd, buf, len);
    return e < 0 ? e : fsync(fd) < 0 ? -errno : 0;
}

int repo_file_put(struct repo *r, const char *name, const void *buf, size_t len, struct err *err)
{
    char temp[PATH_MAX], folder[PATH_MAX];
    const char *slash = strrchr(name, '/');
    (void)snprintf(temp, sizeof(temp), "tmp/%s.new", slash ? slash + 1 : name);
    int e = write_temp(r, temp, buf, len);
    if (e == 0 && renameat(r->dirfd, temp, r->dirfd, name) < 0)
        e = -errno;
    if (e < 0) {
        (void)unlinkat(r->dirfd, temp, 0); /* the failure that is reported came before */
        return err_sys(err, e, "cannot write '%s/%s'", r->path, name);
    }
    folder_of(name, folder);
    return repo_sync_dir(r, folder, err);
}

/* --- remove ------------------------------------------------------------------------------------------------------ */

static int remove_at(int dirfd, const char *name, unsigned depth);

static int remove_below(int fd, unsigned depth)
{
    _cleanup_closedir_ DIR *d = fdopendir(fd);
    int e = 0;
    if (!d) {
        e = -errno;
        (void)close(fd); /* it was read only */
        return e;
    }
    errno = 0;
    for (const struct dirent *n; e == 0 && (n = readdir(d)); errno = 0)
        if (strcmp(n->d_name, ".") != 0 && strcmp(n->d_name, "..") != 0)
            e = remove_at(dirfd(d), n->d_name, depth);
    return e ? e : -errno;
}

/* Links are removed, not followed. */
static int remove_at(int dirfd, const char *name, unsigned depth)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if ((errno != EISDIR && errno != EPERM) || depth == 0)
        return -errno;
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    int e = remove_below(fd, depth - 1);
    return e < 0 ? e : unlinkat(dirfd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

#define DEPTH_MAX 8 /* our own folders are three deep */

int repo_remove(struct repo *r, const char *name, struct err *err)
{
    int e = remove_at(r->dirfd, name, DEPTH_MAX);
    return e < 0 ? err_sys(err, e, "cannot delete '%s/%s'", r->path, name) : 0;
}
