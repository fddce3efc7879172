/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of versions and frozen overlays as streams; see source.h. */
#include "backup/source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include "core/root.h"
#include "core/util.h"

#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x00000080 /* Linux 6.14 */
#endif

#define RECENT_NS 2000000000LL /* longer than the clock of any file system's times takes for a tick */

/* --- versions ---------------------------------------------------------------------------------------------------- */

static int64_t ns_of(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A file that was changed within the last tick of its clock could be changed once more without another time. */
static void note_identity(struct version_file *v, const struct stat *st)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail with this clock */
    v->mtime_ns = ns_of(st->st_mtim);
    v->ctime_ns = ns_of(st->st_ctim);
    int64_t newest = MAX(v->mtime_ns, v->ctime_ns);
    if (!S_ISREG(st->st_mode) || newest > ns_of(now) - RECENT_NS)
        return;
    (void)snprintf(v->identity, sizeof(v->identity), "%s bytes=%llu mtime=%lld ctime=%lld dev=%llu inode=%llu",
                   v->row.identity, (unsigned long long)st->st_size, (long long)v->mtime_ns, (long long)v->ctime_ns,
                   (unsigned long long)st->st_dev, (unsigned long long)st->st_ino); /* fits: 79 + 130 */
}

static int resolve(const char *root, const char *path, char *ret, struct err *err)
{
    if (path[0] != '/')
        return root_path(root, path, ret, err);
    (void)snprintf(ret, PATH_MAX, "%s", path); /* as long as the column */
    return 0;
}

static int open_and_verify(struct version_file *v, struct err *err)
{
    struct stat st;
    _cleanup_close_ int fd = open(v->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_LARGEFILE);
    if (fd < 0)
        return err_sys(err, -errno, "cannot open image '%s' version %u, '%s'", v->row.image, v->row.number, v->path);
    if (fstat(fd, &st) < 0)
        return err_sys(err, -errno, "cannot read '%s'", v->path);
    struct image_record record = {.path = v->path,
                                  .format = v->row.format,
                                  .identity = v->row.identity,
                                  .full_hash = v->row.full_hash,
                                  .file_bytes = v->row.file_bytes,
                                  .mtime_ns = v->row.mtime_ns};
    int r = image_verify(fd, &record, &v->info, err);
    if (r < 0)
        return err_prefix(err, r, "image '%s' version %u", v->row.image, v->row.number);
    if (v->info.size_bytes != v->row.size_bytes)
        return err_set(err, -ESTALE,
                       "image '%s' version %u has another size than was recorded; see 'diskgate image check %s'",
                       v->row.image, v->row.number, v->row.image);
    note_identity(v, &st);
    v->fd = take_fd(&fd);
    return 0;
}

int version_file_open(const char *root, const struct version_row *row, struct version_file *ret, struct err *err)
{
    enum image_format format;
    *ret = (struct version_file){.row = *row, .fd = -1};
    int r = image_format_parse(row->format, &format, err);
    if (r < 0)
        return err_set(err, -EOPNOTSUPP, "image '%s' version %u has the format '%s', which this program cannot back up",
                       row->image, row->number, row->format);
    r = resolve(root, row->path, ret->path, err);
    return r < 0 ? r : open_and_verify(ret, err);
}

void version_file_close(struct version_file *v)
{
    closep(&v->fd);
    v->fd = -1;
}

bool version_file_has_changed(const struct version_file *v)
{
    struct stat st;
    return fstat(v->fd, &st) < 0 || ns_of(st.st_mtim) != v->mtime_ns || ns_of(st.st_ctim) != v->ctime_ns ||
           (S_ISREG(st.st_mode) && (uint64_t)st.st_size != v->info.file_bytes);
}

/* --- streams ----------------------------------------------------------------------------------------------------- */

void source_of_version(struct source *s, const struct version_file *file)
{
    *s = (struct source){.size_bytes = file->info.size_bytes, .file = file};
    (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* a hint */
}

void source_of_overlay(struct source *s, const struct still *still, const struct still_overlay *overlay,
                       const struct version_file *below)
{
    *s = (struct source){.size_bytes = overlay->row->size_bytes, .file = below, .overlay = overlay, .still = still};
}

static int unreadable(int r, const char *path, uint64_t off, struct err *err)
{
    (void)err_sys(err, r, "cannot read '%s' at byte %llu", path, (unsigned long long)off);
    return -EREMOTEIO;
}

/* Holes of the file, and what lies behind its end. A file system that knows no holes says that all is data. */
static int look_at_file(const struct source *s, uint64_t off, uint64_t max, enum source_run *ret, uint64_t *ret_len,
                        struct err *err)
{
    uint64_t data_end = s->file->info.data_bytes;
    *ret = SOURCE_ZERO;
    *ret_len = max;
    if (off >= data_end)
        return 0;
    off_t data = lseek(s->file->fd, (off_t)off, SEEK_DATA);
    if (data < 0 && errno == ENXIO)
        return 0;
    if (data < 0 && errno != EINVAL && errno != EOPNOTSUPP)
        return unreadable(-errno, s->file->path, off, err);
    if (data > (off_t)off) {
        *ret_len = MIN(max, (uint64_t)data - off);
        return 0;
    }
    off_t hole = data < 0 ? -1 : lseek(s->file->fd, (off_t)off, SEEK_HOLE);
    *ret = SOURCE_DATA;
    *ret_len = hole > (off_t)off ? MIN(max, (uint64_t)hole - off) : max;
    return 0;
}

static uint64_t blocks_of(uint64_t len)
{
    return (len + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
}

int source_look(const struct source *s, uint64_t off, uint64_t max, enum source_run *ret, uint64_t *ret_len,
                struct err *err)
{
    static const enum source_run run_of[] = {
        [BLOCK_ABSENT] = SOURCE_INHERIT, [BLOCK_PRESENT] = SOURCE_DATA, [BLOCK_ZERO] = SOURCE_ZERO};
    enum block_state state = BLOCK_ABSENT;
    if (!s->overlay)
        return look_at_file(s, off, max, ret, ret_len, err);
    uint64_t blk = off >> BLOCK_SHIFT, n = blocks_of(off + max) - blk;
    if (s->overlay->frozen)
        n = frozen_run(s->overlay->frozen, blk, n, &state);
    *ret = run_of[state];
    *ret_len = MIN(max, ((blk + n) << BLOCK_SHIFT) - off);
    return 0;
}

/* --- bytes ------------------------------------------------------------------------------------------------------- */

/* Pages that this brings in go again; those that were there stay. */
static ssize_t read_uncached(int fd, void *buf, size_t len, uint64_t off)
{
    struct iovec v = {.iov_base = buf, .iov_len = len};
    ssize_t n = preadv2(fd, &v, 1, (off_t)off, RWF_DONTCACHE);
    if (n < 0 && (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS))
        n = pread(fd, buf, len, (off_t)off);
    return n;
}

static int read_file(const struct version_file *v, char *buf, size_t len, uint64_t off, struct err *err)
{
    uint64_t data_end = v->info.data_bytes;
    size_t data = off < data_end ? (size_t)MIN(len, data_end - off) : 0;
    memset(buf + data, 0, len - data);
    while (data > 0) {
        ssize_t n = read_uncached(v->fd, buf, data, off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_sys(err, n < 0 ? -errno : -EIO, "cannot read '%s' at byte %llu", v->path,
                           (unsigned long long)off);
        buf += n;
        off += (uint64_t)n;
        data -= (size_t)n;
    }
    return 0;
}

static int overlay_failed(const struct source *s, int r, uint64_t off, struct err *err)
{
    const struct view_row *row = s->overlay->row;
    if (r == -ESTALE && still_check(s->still, err) < 0)
        return r;
    char path[OVERLAY_DIR_LEN + 32];
    (void)snprintf(path, sizeof(path), "overlays/%s/%u.data", row->overlay_dir, row->slot); /* fits */
    return unreadable(r, path, off, err);
}

static int read_piece(const struct source *s, enum source_run run, char *buf, size_t len, uint64_t off, struct err *err)
{
    int r = 0;
    switch (run) {
    case SOURCE_DATA:
        r = frozen_read(s->overlay->frozen, buf, len, off);
        return r < 0 ? overlay_failed(s, r, off, err) : 0;
    case SOURCE_INHERIT:
        return read_file(s->file, buf, len, off, err);
    case SOURCE_ZERO:
        memset(buf, 0, len);
    }
    return 0;
}

int source_read(const struct source *s, void *buf, size_t len, uint64_t off, struct err *err)
{
    if (!s->overlay)
        return read_file(s->file, buf, len, off, err);
    char *p = buf;
    while (len > 0) {
        enum source_run run;
        uint64_t n;
        int r = source_look(s, off, len, &run, &n, err);
        if (r == 0)
            r = read_piece(s, run, p, (size_t)n, off, err);
        if (r < 0)
            return r;
        p += n;
        off += n;
        len -= (size_t)n;
    }
    return still_check(s->still, err);
}

uint64_t source_estimate(const struct source *s)
{
    struct stat st;
    uint64_t bytes = 0;
    if (!s->overlay)
        return fstat(s->file->fd, &st) == 0 && S_ISREG(st.st_mode) ? MIN((uint64_t)st.st_blocks * 512, s->size_bytes)
                                                                   : s->size_bytes;
    uint64_t end = blocks_of(s->size_bytes);
    for (uint64_t blk = 0, n = 0; s->overlay->frozen && blk < end; blk += n) {
        enum block_state state;
        n = frozen_run(s->overlay->frozen, blk, end - blk, &state);
        bytes += state == BLOCK_PRESENT ? n << BLOCK_SHIFT : 0;
    }
    return bytes;
}
