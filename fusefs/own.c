/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A walk through the overlays that changes owners where they are wrong; see own.h. */
#include "fusefs/own.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util.h"

static int own_file(int dir_fd, const char *name, const struct stat *st, const struct options *o, struct err *err)
{
    if (!S_ISREG(st->st_mode) || st->st_uid == o->uid)
        return 0;
    if (fchownat(dir_fd, name, o->uid, o->gid, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
        return err_sys(err, -errno, "cannot give '%s' to user '%s'", name, o->user);
    return 0;
}

static int own_below(int dir_fd, const char *name, const struct options *o, int depth, struct err *err)
{
    _cleanup_close_ int sub = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (sub < 0)
        return errno == ENOENT ? 0 : err_sys(err, -errno, "cannot open '%s'", name);
    return own_folder(sub, o, depth, err);
}

int own_folder(int fd, const struct options *o, int depth, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, -errno, "cannot read the overlays' folder");
    if (st.st_uid != o->uid && fchown(fd, o->uid, o->gid) < 0)
        return err_sys(err, -errno, "cannot give the overlays to user '%s'", o->user);
    int dup_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *d = dup_fd < 0 ? NULL : fdopendir(dup_fd);
    if (!d)
        return err_sys(err, -errno, "cannot list the overlays' folder");
    int r = 0;
    for (const struct dirent *e; r == 0 && (e = readdir(d));) {
        if (e->d_name[0] == '.' && (e->d_name[1] == 0 || strcmp(e->d_name, "..") == 0))
            continue;
        if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            r = errno == ENOENT ? 0 : err_sys(err, -errno, "cannot read '%s'", e->d_name);
        else if (S_ISDIR(st.st_mode))
            r = depth > 0 ? own_below(fd, e->d_name, o, depth - 1, err) : 0;
        else
            r = own_file(fd, e->d_name, &st, o, err);
    }
    return r;
}
