/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libfuse's high-level API over mount.h; see mount-fuse.h. */
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#include "backup/mount-fuse.h"

#include <errno.h>
#include <fuse.h>
#include <string.h>

#include "core/util.h"

#define KEEP_S 3600 /* how long the kernel trusts names and sizes */

struct mount_session {
    struct fuse *fuse;
    bool is_mounted;
};

static struct mount *mount_of(void)
{
    return fuse_get_context()->private_data;
}

static const struct mount_node *node_of(const struct fuse_file_info *fi)
{
    return (const struct mount_node *)(uintptr_t)fi->fh; /* as op_open() stored it */
}

static void fill_stat(const struct mount_node *n, struct stat *ret)
{
    struct mount_info i;
    mount_stat(n, &i);
    *ret = (struct stat){.st_ino = i.ino, .st_nlink = 1, .st_uid = geteuid(), .st_gid = getegid()};
    ret->st_mode = i.kind == MOUNT_DIR ? S_IFDIR | 0500 : i.kind == MOUNT_LINK ? S_IFLNK | 0777 : S_IFREG | 0400;
    ret->st_size = i.kind == MOUNT_LINK ? (off_t)strlen(i.target) : (off_t)i.size_bytes;
    ret->st_blocks = (blkcnt_t)((i.size_bytes + 511) / 512);
    ret->st_blksize = 4096;
    ret->st_atim.tv_sec = ret->st_mtim.tv_sec = ret->st_ctim.tv_sec = i.time_s;
}

static int op_getattr(const char *path, struct stat *ret, struct fuse_file_info *fi)
{
    const struct mount_node *n = fi ? node_of(fi) : mount_find(mount_of(), path);
    if (!n)
        return -ENOENT;
    fill_stat(n, ret);
    return 0;
}

static int op_readlink(const char *path, char *buf, size_t room)
{
    struct mount_info i;
    const struct mount_node *n = mount_find(mount_of(), path);
    if (!n)
        return -ENOENT;
    mount_stat(n, &i);
    if (i.kind != MOUNT_LINK)
        return -EINVAL;
    (void)snprintf(buf, room, "%s", i.target); /* cut, as readlink(2) does */
    return 0;
}

static int op_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off, struct fuse_file_info *fi,
                      enum fuse_readdir_flags flags)
{
    struct mount *m = mount_of();
    const struct mount_node *dir = mount_find(m, path), *n;
    const char *name;
    struct stat st;
    if (!dir)
        return -ENOENT;
    (void)fill(buf, ".", NULL, 0, 0); /* all fit: no offsets are given */
    (void)fill(buf, "..", NULL, 0, 0);
    for (size_t i = 0; (n = mount_entry(m, dir, i, &name)); i++) {
        fill_stat(n, &st);
        (void)fill(buf, name, &st, 0, 0);
    }
    return 0;
}

static int op_open(const char *path, struct fuse_file_info *fi)
{
    const struct mount_node *n = mount_find(mount_of(), path);
    if (!n)
        return -ENOENT;
    if ((fi->flags & O_ACCMODE) != O_RDONLY)
        return -EROFS;
    int r = mount_open(n);
    fi->fh = (uint64_t)(uintptr_t)n;
    fi->keep_cache = 1;
    return r;
}

static int op_release(const char *path, struct fuse_file_info *fi)
{
    mount_close(node_of(fi));
    return 0;
}

static int op_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
    return (int)mount_read(node_of(fi), buf, len, (uint64_t)off);
}

static off_t op_lseek(const char *path, off_t off, int whence, struct fuse_file_info *fi)
{
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    return mount_seek(node_of(fi), (uint64_t)off, whence == SEEK_DATA);
}

static void *op_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
    cfg->use_ino = 1;
    cfg->kernel_cache = 1;
    cfg->entry_timeout = cfg->attr_timeout = KEEP_S;
    cfg->negative_timeout = 0;
    conn->max_background = 64;
    struct mount *m = mount_of();
    (void)mount_start(m); /* without memory every read fails, and says so */
    return m;
}

static const struct fuse_operations ops = {
    .getattr = op_getattr,
    .readlink = op_readlink,
    .readdir = op_readdir,
    .open = op_open,
    .release = op_release,
    .read = op_read,
    .lseek = op_lseek,
    .init = op_init,
};

static int add_args(struct fuse_args *args, const char *repo)
{
    char options[PATH_MAX + 128], escaped[PATH_MAX];
    size_t n = 0;
    for (const char *p = repo; *p && n + 2 < sizeof(escaped); p++) { /* a comma would end the option */
        if (*p == ',' || *p == '\\')
            escaped[n++] = '\\';
        escaped[n++] = *p;
    }
    escaped[n] = 0;
    (void)snprintf(options, sizeof(options),
                   "ro,fsname=%s,subtype=diskgate-backup,default_permissions,nosuid,nodev,noexec%s", escaped,
                   geteuid() == 0 ? ",allow_other" : "");
    return fuse_opt_add_arg(args, "diskgate-backup") < 0 || fuse_opt_add_arg(args, "-o") < 0 ||
                   fuse_opt_add_arg(args, options) < 0
               ? -ENOMEM
               : 0;
}

int mount_session_open(struct mount *m, const char *repo, const char *dir, struct mount_session **ret, struct err *err)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct mount_session *s = calloc(1, sizeof(*s));
    int r = s && add_args(&args, repo) == 0 ? 0 : err_sys(err, -ENOMEM, "cannot mount '%s'", dir);
    if (r == 0 && !(s->fuse = fuse_new(&args, &ops, sizeof(ops), m)))
        r = err_set(err, -EINVAL, "cannot make a FUSE session");
    errno = 0;
    if (r == 0 && fuse_mount(s->fuse, dir) < 0)
        r = err_sys(err, errno ? -errno : -EIO, "cannot mount '%s' (is it a folder, is /dev/fuse there?)", dir);
    fuse_opt_free_args(&args);
    if (r < 0) {
        mount_session_close(s);
        return r;
    }
    s->is_mounted = true;
    *ret = s;
    return 0;
}

int mount_session_run(struct mount_session *s)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    if (!config || fuse_set_signal_handlers(fuse_get_session(s->fuse)) < 0)
        return -ENOMEM;
    fuse_loop_cfg_set_clone_fd(config, 0);
    fuse_loop_cfg_set_max_threads(config, 10);
    int r = fuse_loop_mt(s->fuse, config);
    fuse_remove_signal_handlers(fuse_get_session(s->fuse));
    fuse_loop_cfg_destroy(config);
    return r > 0 ? 0 : r; /* positive: the number of a signal that ended it */
}

void mount_session_close(struct mount_session *s)
{
    if (!s)
        return;
    if (s->is_mounted)
        fuse_unmount(s->fuse);
    if (s->fuse)
        fuse_destroy(s->fuse);
    free(s);
}

void mount_session_leave(struct mount_session *s)
{
    s->is_mounted = false;
    mount_session_close(s);
}
