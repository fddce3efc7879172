/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FUSE operations: names and attributes; the data path is in ops-io.c.
 *
 * tgtd runs open, fstat and close in its only main thread, so lookup of a disk, getattr, open, flush and release never wait for I/O.
 * Size and times of a view never change; growing, cutting and removing are refused.
 */
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#include "fusefs/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include "core/log.h"
#include "core/util.h"
#include "fusefs/ops-io.h"

#define ENTRY_SECONDS 1.0
#define ATTR_SECONDS  3600.0

static struct fs *fs_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static void reply_err(fuse_req_t req, int r)
{
    (void)fuse_reply_err(req, -r); /* a request that was given up needs no answer */
}

/* --- attributes -------------------------------------------------------------------------------------------------- */

static void fill_stat(const struct fs *fs, const struct node_info *n, struct stat *st)
{
    *st = (struct stat){.st_ino = n->ino, .st_nlink = 1, .st_blksize = 4096};
    st->st_atim.tv_sec = st->st_mtim.tv_sec = st->st_ctim.tv_sec = fs->start_s;
    st->st_size = (off_t)n->size;
    st->st_blocks = (blkcnt_t)(n->size / 512);
    switch (n->kind) {
    case NODE_DIR:
        st->st_mode = S_IFDIR | 0755;
        st->st_nlink = 2;
        break;
    case NODE_FILE:
        st->st_mode = S_IFREG | (n->is_read_only ? 0400 : 0600);
        break;
    case NODE_LINK:
        st->st_mode = S_IFLNK | 0777;
        break;
    }
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    const struct fs *fs = fs_of(req);
    struct node_info n;
    int r = tree_lookup(fs->tree, parent, name, &n);
    if (r < 0)
        return reply_err(req, r);
    struct fuse_entry_param e = {.ino = n.id, .attr_timeout = ATTR_SECONDS, .entry_timeout = ENTRY_SECONDS};
    fill_stat(fs, &n, &e.attr);
    if (fuse_reply_entry(req, &e) < 0)
        tree_forget(fs->tree, n.id, 1); /* the kernel never saw it */
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    tree_forget(fs_of(req)->tree, ino, count);
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        tree_forget(fs_of(req)->tree, forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

static void reply_attr(fuse_req_t req, fuse_ino_t ino)
{
    const struct fs *fs = fs_of(req);
    struct node_info n;
    struct stat st;
    int r = tree_info(fs->tree, ino, &n);
    if (r < 0)
        return reply_err(req, r);
    fill_stat(fs, &n, &st);
    (void)fuse_reply_attr(req, &st, ATTR_SECONDS);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    reply_attr(req, ino);
}

/* Setting the size that a disk has is fine; all else is refused. */
static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    struct node_info n;
    int r = tree_info(fs_of(req)->tree, ino, &n);
    if (r < 0)
        return reply_err(req, r);
    bool same_size = (to_set & FUSE_SET_ATTR_SIZE) && (uint64_t)attr->st_size == n.size;
    int other = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
                FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;
    if (!same_size || (to_set & other & ~(FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)))
        return reply_err(req, -EPERM);
    reply_attr(req, ino);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    char target[32];
    int r = tree_readlink(fs_of(req)->tree, ino, target, sizeof(target));
    if (r < 0)
        return reply_err(req, r);
    (void)fuse_reply_readlink(req, target);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st;
    if (fstatvfs(fs_of(req)->statfs_fd, &st) < 0)
        return reply_err(req, -errno);
    st.f_namemax = NAME_LEN;
    (void)fuse_reply_statfs(req, &st);
}

/* --- folders ----------------------------------------------------------------------------------------------------- */

struct listing {
    struct tree_entry *entries;
    size_t count;
};

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct listing *l = calloc(1, sizeof(*l));
    int r = l ? tree_list(fs_of(req)->tree, ino, &l->entries, &l->count) : -ENOMEM;
    if (r < 0) {
        free(l);
        return reply_err(req, r);
    }
    fi->fh = (uintptr_t)l;
    if (fuse_reply_open(req, fi) < 0) {
        free(l->entries);
        free(l);
    }
}

static size_t add_dirent(fuse_req_t req, const struct listing *l, size_t i, char *buf, size_t room)
{
    struct stat st = {.st_mode = S_IFDIR};
    if (i < 2)
        return fuse_add_direntry(req, buf, room, i == 0 ? "." : "..", &st, (off_t)i + 1);
    const struct tree_entry *e = &l->entries[i - 2];
    fill_stat(fs_of(req), &e->info, &st);
    if (st.st_ino == 0)
        st.st_ino = 0xffffffff; /* a partition gets its number when it is looked up */
    return fuse_add_direntry(req, buf, room, e->name, &st, (off_t)i + 1);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    const struct listing *l = (struct listing *)(uintptr_t)fi->fh;
    _cleanup_free_ char *buf = malloc(size);
    if (!buf)
        return reply_err(req, -ENOMEM);
    size_t used = 0;
    for (size_t i = off < 0 ? 0 : (size_t)off; i < l->count + 2; i++) {
        size_t n = add_dirent(req, l, i, buf + used, size - used);
        if (n > size - used)
            break;
        used += n;
    }
    (void)fuse_reply_buf(req, buf, used);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct listing *l = (struct listing *)(uintptr_t)fi->fh;
    free(l->entries);
    free(l);
    reply_err(req, 0);
}

/* --- extended attributes ----------------------------------------------------------------------------------------- */

enum attr {
    ATTR_IMAGE,
    ATTR_VERSION,
    ATTR_MODE,
    ATTR_OVERLAY_BYTES,
    ATTR_CLIENT,
    ATTR_SLOT,
    ATTR_OVERLAY_ID,
    ATTR_COUNT
};

static const char *const attr_names[ATTR_COUNT] = {
    "user.diskgate.image",  "user.diskgate.version", "user.diskgate.mode",       "user.diskgate.overlay_bytes",
    "user.diskgate.client", "user.diskgate.slot",    "user.diskgate.overlay_id",
};

/* Value of @a into @ret; -ENODATA where the view has none. */
static int attr_value(const struct fs *fs, const struct view *v, enum attr a, char *ret, size_t room)
{
    if (v->whole)
        v = v->whole;
    struct view_row row = {0};
    bool is_client = v->kind == VIEW_CLIENT;
    if (is_client)
        tree_row(fs->tree, v, &row);
    if (!is_client && a >= ATTR_MODE)
        return -ENODATA;
    switch (a) {
    case ATTR_IMAGE:
        return snprintf(ret, room, "%s", is_client ? row.image : v->base->row.image);
    case ATTR_VERSION:
        return snprintf(ret, room, "%u", v->base->row.number);
    case ATTR_MODE:
        return snprintf(ret, room, "%s", overlay_mode_name(row.mode));
    case ATTR_OVERLAY_BYTES:
        return snprintf(ret, room, "%llu", v->overlay ? (unsigned long long)overlay_bytes(v->overlay) : 0ULL);
    case ATTR_CLIENT:
        return snprintf(ret, room, "%s", row.client);
    case ATTR_SLOT:
        return snprintf(ret, room, "%u", row.slot);
    case ATTR_OVERLAY_ID:
        return snprintf(ret, room, "%s", row.overlay_id);
    case ATTR_COUNT:
        break;
    }
    return -ENODATA;
}

static void reply_xattr(fuse_req_t req, const char *buf, size_t len, size_t room)
{
    if (room == 0)
        (void)fuse_reply_xattr(req, len);
    else if (room < len)
        reply_err(req, -ERANGE);
    else
        (void)fuse_reply_buf(req, buf, len);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    const struct fs *fs = fs_of(req);
    _cleanup_(view_unrefp) struct view *v = tree_view(fs->tree, ino);
    char value[PATH_MAX];
    int n = -ENODATA;
    for (int a = 0; v && a < ATTR_COUNT; a++)
        if (strcmp(name, attr_names[a]) == 0)
            n = attr_value(fs, v, (enum attr)a, value, sizeof(value));
    if (n < 0)
        return reply_err(req, n);
    reply_xattr(req, value, (size_t)n, size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    const struct fs *fs = fs_of(req);
    _cleanup_(view_unrefp) struct view *v = tree_view(fs->tree, ino);
    char list[512], value[PATH_MAX];
    size_t len = 0;
    for (int a = 0; v && a < ATTR_COUNT; a++) {
        if (attr_value(fs, v, (enum attr)a, value, sizeof(value)) < 0)
            continue;
        size_t n = strlen(attr_names[a]) + 1;
        memcpy(list + len, attr_names[a], n);
        len += n;
    }
    reply_xattr(req, list, len, size);
}

/* --- what a disk's folder does not do ---------------------------------------------------------------------------- */

static void op_refuse_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                               int flags)
{
    reply_err(req, -EPERM);
}

static void op_refuse_name(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    reply_err(req, -EPERM);
}

static void op_refuse_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    reply_err(req, -EPERM);
}

static void op_refuse_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
    reply_err(req, -EPERM);
}

static void op_refuse_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                             struct fuse_file_info *fi)
{
    reply_err(req, -EPERM);
}

static void op_refuse_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    reply_err(req, -EPERM);
}

static void op_refuse_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to, const char *new_name,
                             unsigned flags)
{
    reply_err(req, -EPERM);
}

static void op_refuse_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    reply_err(req, -EPERM);
}

/* --- start ------------------------------------------------------------------------------------------------------- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    conn->max_background = 1024;
    conn->congestion_threshold = 768;
    conn->want &=
        ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_AUTO_INVAL_DATA |
                    FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_READDIRPLUS);
    conn->want |= conn->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS);
    log_debug("session", "FUSE %u.%u, requests of up to %u bytes", conn->proto_major, conn->proto_minor,
              conn->max_write);
}

const struct fuse_lowlevel_ops fs_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .statfs = op_statfs,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .releasedir = op_releasedir,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .setxattr = op_refuse_setxattr,
    .removexattr = op_refuse_name,
    .unlink = op_refuse_name,
    .rmdir = op_refuse_name,
    .mkdir = op_refuse_mkdir,
    .mknod = op_refuse_mknod,
    .create = op_refuse_create,
    .symlink = op_refuse_symlink,
    .rename = op_refuse_rename,
    .link = op_refuse_link,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .flush = op_flush,
    .fsync = op_fsync,
    .fallocate = op_fallocate,
    .lseek = op_lseek,
    .release = op_release,
};
