/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files and devices that are written to; see restore-target.h. */
#include "backup/restore-target.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "core/util.h"

#define ZERO_BYTES 65536U

/* --- names ------------------------------------------------------------------------------------------------------- */

static int add_ending(const char *path, const char *ending, char *ret, struct err *err)
{
    int n = snprintf(ret, PATH_MAX, "%s%s", path, ending);
    return n >= 0 && n < PATH_MAX ? 0 : err_set(err, -ENAMETOOLONG, "the path '%.200s...' is too long", path);
}

static int sync_folder_of(const char *path)
{
    char copy[PATH_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", path); /* as long as ours */
    _cleanup_close_ int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Never into the repository. */
static int check_place(const char *path, const char *avoid, struct err *err)
{
    char copy[PATH_MAX], real[PATH_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", path); /* as long as ours */
    if (!realpath(dirname(copy), real))
        return err_sys(err, -errno, "cannot restore to '%s'", path);
    size_t len = avoid ? strlen(avoid) : 0;
    if (len > 0 && strncmp(real, avoid, len) == 0 && (real[len] == 0 || real[len] == '/'))
        return err_set(err, -EINVAL, "'%s' lies inside of the repository; choose another place", path);
    return 0;
}

/* --- what is there ----------------------------------------------------------------------------------------------- */

/* Does anybody else have the file open? A lease is given for files that nobody else has. Where the file system knows no leases, nobody can tell. */
static bool is_in_use(int fd)
{
    if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
        return errno == EAGAIN;
    (void)fcntl(fd, F_SETLEASE, F_UNLCK); /* closing would do it as well */
    return false;
}

static int check_file(const struct target_params *p, struct target *t, const struct stat *st, struct err *err)
{
    char changed[32], made[32];
    bool is_ours = access(t->mark, F_OK) == 0; /* we were interrupted in it */
    if (is_in_use(t->fd))
        return err_set(err, -ETXTBSY,
                       "'%s' is in use (a running root reads from it, for example); stop that first, or restore to "
                       "another file",
                       t->path);
    if (p->is_forced || is_ours)
        return 0;
    time_text(changed, sizeof(changed), st->st_mtim.tv_sec);
    time_text(made, sizeof(made), p->set_time_s);
    if (st->st_mtim.tv_sec > p->set_time_s)
        return err_set(err, -EEXIST,
                       "'%s' was changed at %s and is newer than the set, which was made at %s; say --force to "
                       "overwrite it",
                       t->path, changed, made);
    if ((uint64_t)st->st_size != t->file_bytes)
        return err_set(err, -EEXIST,
                       "'%s' has %llu bytes and the disk %llu: it is something else; say --force to overwrite it",
                       t->path, (unsigned long long)st->st_size, (unsigned long long)t->file_bytes);
    return 0;
}

static int open_device(const struct target_params *p, struct target *t, struct err *err)
{
    uint64_t bytes = 0;
    if (!p->is_forced)
        return err_set(err, -EEXIST, "'%s' is a block device: all that is on it would be lost; say --force to do it",
                       t->path);
    t->fd = open(t->path, O_RDWR | O_EXCL | O_CLOEXEC);
    if (t->fd < 0)
        return errno == EBUSY ? err_set(err, -ETXTBSY, "'%s' is in use; unmount it first", t->path)
                              : err_sys(err, -errno, "cannot open '%s'", t->path);
    t->is_device = true;
    if (ioctl(t->fd, BLKGETSIZE64, &bytes) < 0)
        return err_sys(err, -errno, "cannot tell the size of '%s'", t->path);
    if (bytes < p->size_bytes)
        return err_set(err, -ENOSPC, "'%s' has %llu bytes and the disk needs %llu", t->path, (unsigned long long)bytes,
                       (unsigned long long)p->size_bytes);
    return 0;
}

static int open_in_place(const struct target_params *p, struct target *t, const struct stat *st, struct err *err)
{
    int r = add_ending(t->path, ".restoring", t->mark, err);
    if (r < 0)
        return r;
    t->fd = open(t->path, O_RDWR | O_CLOEXEC | O_LARGEFILE);
    if (t->fd < 0)
        return err_sys(err, -errno, "cannot write to '%s'", t->path);
    r = check_file(p, t, st, err);
    if (r < 0)
        return r;
    _cleanup_close_ int mark = open(t->mark, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (mark < 0 || fsync(mark) < 0 || (r = sync_folder_of(t->mark)) < 0)
        return err_sys(err, r < 0 ? r : -errno, "cannot make '%s'", t->mark);
    if ((uint64_t)st->st_size != p->size_bytes && ftruncate(t->fd, (off_t)p->size_bytes) < 0)
        return err_sys(err, -errno, "cannot make '%s' %llu bytes long", t->path, (unsigned long long)p->size_bytes);
    return 0;
}

static int check_room(const struct target_params *p, const struct target *t, struct err *err)
{
    struct statvfs fs;
    if (fstatvfs(t->fd, &fs) < 0 || fs.f_frsize == 0)
        return 0; /* a write will tell */
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (geteuid() == 0)
        room = (uint64_t)fs.f_bfree * fs.f_frsize;
    if (room >= p->data_bytes)
        return 0;
    return err_set(err, -ENOSPC, "'%s' needs %llu MiB, and there are %llu MiB free", t->path,
                   (unsigned long long)(p->data_bytes / MiB + 1), (unsigned long long)(room / MiB));
}

static int open_partial(const struct target_params *p, struct target *t, struct err *err)
{
    struct stat st;
    int r = add_ending(t->path, ".partial", t->temp, err);
    if (r < 0)
        return r;
    t->fd = open(t->temp, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_LARGEFILE, 0600);
    if (t->fd < 0 || fstat(t->fd, &st) < 0)
        return err_sys(err, -errno, "cannot write to '%s'", t->temp);
    if (!S_ISREG(st.st_mode) || is_in_use(t->fd))
        return err_set(err, -ETXTBSY, "'%s' is in use: another restore writes to it, or it is no file", t->temp);
    t->is_fresh = st.st_size == 0;
    if (t->is_fresh && (r = check_room(p, t, err)) < 0) {
        (void)unlink(t->temp); /* empty, and ours */
        return r;
    }
    if (ftruncate(t->fd, (off_t)p->size_bytes) == 0)
        return 0;
    r = errno == EFBIG
            ? err_set(err, -ENOSPC, "the file system of '%s' allows no file of %llu bytes", t->path,
                      (unsigned long long)p->size_bytes)
            : err_sys(err, -errno, "cannot make '%s' %llu bytes long", t->temp, (unsigned long long)p->size_bytes);
    if (t->is_fresh)
        (void)unlink(t->temp); /* likewise */
    return r;
}

int target_open(const struct target_params *p, struct target *ret, struct err *err)
{
    struct stat st;
    *ret = (struct target){
        .fd = -1, .size_bytes = p->size_bytes, .file_bytes = p->file_bytes ? p->file_bytes : p->size_bytes};
    int r = add_ending(p->dest, "", ret->path, err);
    bool is_there = r == 0 && stat(ret->path, &st) == 0;
    if (is_there && S_ISDIR(st.st_mode)) {
        if (!p->file)
            return err_set(err, -EISDIR, "'%s' is a folder", p->dest);
        int n = snprintf(ret->path, PATH_MAX, "%s/%s", p->dest, p->file);
        if (n < 0 || n >= PATH_MAX)
            return err_set(err, -ENAMETOOLONG, "the path '%.200s...' is too long", p->dest);
        is_there = stat(ret->path, &st) == 0;
    }
    if (r == 0)
        r = check_place(ret->path, p->avoid, err);
    if (r < 0)
        return r;
    if (is_there && S_ISBLK(st.st_mode))
        r = open_device(p, ret, err);
    else if (is_there && S_ISREG(st.st_mode))
        r = open_in_place(p, ret, &st, err);
    else if (is_there)
        r = err_set(err, -EINVAL, "'%s' is neither a file nor a block device", ret->path);
    else
        r = open_partial(p, ret, err);
    if (r < 0)
        target_close(ret);
    return r;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static int write_zeros(const struct target *t, uint64_t off, uint64_t len)
{
    static const char zeros[ZERO_BYTES];
    int r = 0;
    for (uint64_t n; r == 0 && len > 0; off += n, len -= n) {
        n = MIN(len, (uint64_t)sizeof(zeros));
        r = pwrite_full(t->fd, zeros, (size_t)n, off);
    }
    return r;
}

int target_zero(struct target *t, uint64_t off, uint64_t len)
{
    uint64_t range[2] = {off, len};
    if (t->is_device && off % SECTOR_BYTES == 0 && len % SECTOR_BYTES == 0 && ioctl(t->fd, BLKZEROOUT, range) == 0)
        return 0;
    if (!t->is_device && fallocate(t->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) == 0)
        return 0;
    return write_zeros(t, off, len); /* neither is known everywhere */
}

bool target_is_hole(const struct target *t, uint64_t off, uint64_t len)
{
    if (t->is_device)
        return false;
    off_t data = lseek(t->fd, (off_t)off, SEEK_DATA);
    return data < 0 ? errno == ENXIO : (uint64_t)data >= off + len;
}

int target_sync(struct target *t, struct err *err)
{
    return fsync(t->fd) < 0 ? err_sys(err, -errno, "cannot write to '%s'", t->path) : 0;
}

/* The kernel shall see the partitions that are there now; a disk without a table, or a loop device without partitions, has none. */
static void look_at_partitions(const struct target *t)
{
    if (t->is_device)
        (void)ioctl(t->fd, BLKRRPART); /* else at the next start */
}

int target_commit(struct target *t, struct err *err)
{
    struct stat st;
    if (!t->is_device && fstat(t->fd, &st) == 0 && (uint64_t)st.st_size > t->file_bytes && /* else its times stay */
        ftruncate(t->fd, (off_t)t->file_bytes) < 0)
        return err_sys(err, -errno, "cannot make '%s' %llu bytes long", t->path, (unsigned long long)t->file_bytes);
    int r = target_sync(t, err);
    if (r < 0)
        return r;
    look_at_partitions(t);
    if (t->temp[0]) {
        if (lstat(t->path, &st) == 0) /* somebody else was faster */
            return err_set(err, -EEXIST, "'%s' is there by now; what was restored is in '%s'", t->path, t->temp);
        if (rename(t->temp, t->path) < 0)
            return err_sys(err, -errno, "cannot rename '%s' to '%s'", t->temp, t->path);
    }
    if (t->mark[0] && unlink(t->mark) < 0)
        return err_sys(err, -errno, "cannot delete '%s'", t->mark);
    r = t->is_device ? 0 : sync_folder_of(t->path);
    return r < 0 ? err_sys(err, r, "cannot make '%s' durable", t->path) : 0;
}

void target_close(struct target *t)
{
    closep(&t->fd);
    t->fd = -1;
}
