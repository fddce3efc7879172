/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mount and end of ROOT/run/ram; see memory.h. */
#include "fusefs/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "core/log.h"
#include "core/root.h"
#include "core/util.h"
#include "fusefs/own.h"

#define FOLDER "run/ram"

/* Is it the top of a tmpfs of its own, and not just a folder of the root's file system, which may be a tmpfs too? */
static bool is_mounted(const struct options *o, int fd)
{
    struct stat inside, outside;
    struct statfs fs;
    _cleanup_close_ int run = root_open_dir(o->root, "run", NULL);
    return run >= 0 && fstat(fd, &inside) == 0 && fstat(run, &outside) == 0 && inside.st_dev != outside.st_dev &&
           fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

static int open_folder(const struct options *o)
{
    struct err err;
    int fd = root_open_dir(o->root, FOLDER, &err);
    if (fd < 0 && fd != -ENOENT)
        log_warn("%s, ignoring", err.msg);
    return fd;
}

/* @fd is the bare folder, so that nobody can put another place under its name. */
static int mount_memory(int fd)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return mount("diskgate", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700,size=90%") < 0 ? -errno : 0;
}

static int make_and_mount(const struct options *o)
{
    _cleanup_close_ int run = root_open_dir(o->root, "run", NULL);
    if (run < 0 || (mkdirat(run, "ram", 0700) < 0 && errno != EEXIST)) {
        log_warn("cannot make '%s/%s': no RAM write cache, ignoring", o->root, FOLDER);
        return -1;
    }
    _cleanup_close_ int bare = open_folder(o);
    if (bare < 0 || is_mounted(o, bare))
        return take_fd(&bare);
    int r = mount_memory(bare);
    if (r < 0) {
        log_warn("cannot mount a tmpfs at '%s/%s': %s; there is no RAM write cache, what clients write goes to disk",
                 o->root, FOLDER, strerror(-r));
        return -1;
    }
    return open_folder(o);
}

int memory_open(const struct options *o)
{
    if (!o->is_read_only) {
        _cleanup_close_ int fd = make_and_mount(o);
        struct err err;
        if (fd >= 0 && own_folder(fd, o, 0, &err) < 0)
            log_warn("%s, ignoring", err.msg);
        return fd >= 0 && is_mounted(o, fd) ? take_fd(&fd) : -1;
    }
    _cleanup_close_ int fd = open_folder(o);
    return fd >= 0 && is_mounted(o, fd) ? take_fd(&fd) : -1;
}

static bool is_empty(int fd)
{
    DIR *d = fdopendir(dup(fd));
    if (!d)
        return false;
    const struct dirent *e;
    rewinddir(d);
    do
        e = readdir(d);
    while (e && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0));
    (void)closedir(d); /* it was read only */
    return !e;
}

void memory_end(const struct options *o, int fd)
{
    char path[PATH_MAX];
    if (fd < 0 || o->is_read_only || root_path(o->root, FOLDER, path, NULL) < 0)
        return;
    if (!is_empty(fd))
        log_warn("'%s' still holds what clients have written; the next diskgate-fs goes on with it", path);
    else if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
        log_error("cannot unmount '%s': %s", path, strerror(errno));
}
