/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Data path: open, read, write, flush, fsync, fallocate, lseek on views.
 *
 * A client's view is opened with
 *   DIRECT_IO               its bytes are not cached a second time; the page cache of the base serves all clients
 *   PARALLEL_DIRECT_WRITES  writers of one disk run side by side; the layers lock ranges
 *   NOFLUSH                 close() of a descriptor sends nothing, so a busy server cannot hold up tgtd's main thread
 * The library of Debian 12 has no field for the last two, so the answer to open is made by hand.
 * Read-only views of versions never change and may be cached by the kernel.
 *
 * A reply is never short: tgt takes a short count for a broken disk.
 */
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#include "fusefs/ops-io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/util.h"
#include "fusefs/crew.h"
#include "fusefs/hold.h"
#include "fusefs/ops.h"

#ifndef FOPEN_NOFLUSH
#define FOPEN_NOFLUSH (1 << 5)
#endif
#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

static struct view *view_of(const struct fuse_file_info *fi)
{
    return (struct view *)(uintptr_t)fi->fh;
}

static void reply_err(fuse_req_t req, int r)
{
    (void)fuse_reply_err(req, -r); /* a request that was given up needs no answer */
}

/* --- open and close ---------------------------------------------------------------------------------------------- */

static int check_open(const struct view *v, int flags)
{
    if (view_is_revoked(v))
        return -ESTALE;
    if ((flags & O_ACCMODE) != O_RDONLY && v->is_read_only)
        return -EROFS;
    return flags & O_TRUNC ? -EPERM : 0;
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const struct fs *fs = fuse_req_userdata(req);
    struct view *v = tree_view(fs->tree, ino);
    int r = v ? check_open(v, fi->flags) : -EISDIR;
    if (r < 0) {
        view_unref(v);
        return reply_err(req, r);
    }
    const struct view *whole = v->whole ? v->whole : v;
    struct fuse_open_out out = {.fh = (uintptr_t)v, .open_flags = FOPEN_NOFLUSH};
    if (whole->kind == VIEW_CLIENT)
        out.open_flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
    else
        out.open_flags |= FOPEN_KEEP_CACHE;
    atomic_fetch_add(&v->count.opens, 1);
    view_begin(v);
    if (fuse_reply_buf(req, (const char *)&out, sizeof(out)) < 0)
        view_unref(v); /* nobody will release it */
}

void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    reply_err(req, 0); /* nothing is buffered; durability is fsync's business */
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct view *v = view_of(fi);
    reply_err(req, 0); /* first: the close of the last handle may take a while */
    view_unref(v);
}

/* --- read and write ---------------------------------------------------------------------------------------------- */

static void free_buffer(void *p)
{
    free(p);
}

static pthread_key_t buffer_key;

static void make_buffer_key(void)
{
    (void)pthread_key_create(&buffer_key,
                             free_buffer); /* without a key every read has its buffer refused, and says so */
}

/* One buffer for each thread, as large as the largest request. */
static char *thread_buffer(size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_buffer_key); /* cannot fail with this initializer */
    char *buf = size <= MiB ? pthread_getspecific(buffer_key) : NULL;
    if (buf || size > MiB)
        return buf;
    void *p = NULL;
    if (posix_memalign(&p, 4096, MiB) != 0)
        return NULL;
    if (pthread_setspecific(buffer_key, p) == 0)
        return p;
    free(p);
    return NULL;
}

/* What is in memory is served by the few threads that wait for requests; one that has to go to a disk lets another take its place. */
static int read_view(struct view *v, char *buf, size_t size, uint64_t off)
{
    int r = blk_read_now(v->blk, buf, size, off);
    if (r != -EAGAIN)
        return r;
    crew_will_wait();
    int64_t start = clock_us();
    r = blk_read(v->blk, buf, size, off);
    view_count_wait(v, (uint64_t)(clock_us() - start));
    return r;
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct view *v = view_of(fi);
    if (view_is_revoked(v))
        return reply_err(req, -ESTALE);
    if (off < 0 || (uint64_t)off >= v->blk->size) {
        (void)fuse_reply_buf(req, NULL, 0); /* the end of the file */
        return;
    }
    size = (size_t)MIN(size, v->blk->size - (uint64_t)off);
    char *buf = thread_buffer(size);
    int r = buf ? read_view(v, buf, size, (uint64_t)off) : -ENOMEM;
    if (r < 0) {
        view_note_error(v, "read", (uint64_t)off, size, r);
        return reply_err(req, r == -EINVAL ? -EIO : r);
    }
    view_count_read(v, (uint64_t)off, size);
    (void)fuse_reply_buf(req, buf, size);
}

/* A change that did not work: a full disk holds it, all else is answered. */
static void failed(fuse_req_t req, struct view *v, enum held_kind kind, const void *buf, uint64_t len, uint64_t off,
                   int r)
{
    static const char *const what[] = {[HELD_WRITE] = "write", [HELD_ZERO] = "zero", [HELD_FLUSH] = "flush"};
    const struct fs *fs = fuse_req_userdata(req);
    bool is_full = r == -ENOSPC || r == -EDQUOT;
    if (is_full && fs->hold && hold_request(fs->hold, req, v, kind, buf, len, off, r))
        return;
    view_note_error(v, what[kind], off, 0, r);
    reply_err(req, r);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct view *v = view_of(fi);
    if (view_is_revoked(v))
        return reply_err(req, -ESTALE);
    if (off < 0 || !range_ok((uint64_t)off, size, v->blk->size))
        return reply_err(req, -ENOSPC); /* the end of the disk */
    int r = blk_write(v->blk, buf, size, (uint64_t)off);
    if (r < 0)
        return failed(req, v, HELD_WRITE, buf, size, (uint64_t)off, r);
    view_count_write(v, size);
    (void)fuse_reply_write(req, size);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct view *v = view_of(fi);
    if (view_is_revoked(v))
        return reply_err(req, -ESTALE);
    atomic_fetch_add_explicit(&v->count.flushes, 1, memory_order_relaxed);
    crew_will_wait();
    int r = blk_flush(v->blk);
    if (r < 0)
        return failed(req, v, HELD_FLUSH, NULL, 0, 0, r);
    reply_err(req, 0);
}

/* --- space ------------------------------------------------------------------------------------------------------- */

/* Zero what of the range lies on the disk; a hole beyond the end is nothing. */
static void zero_range(fuse_req_t req, struct view *v, uint64_t off, uint64_t len)
{
    uint64_t size = v->blk->size;
    if (off >= size)
        return reply_err(req, 0);
    len = MIN(len, size - off);
    int r = blk_zero(v->blk, off, len);
    if (r < 0)
        return failed(req, v, HELD_ZERO, NULL, len, off, r);
    reply_err(req, 0);
}

static void do_fallocate(fuse_req_t req, struct view *v, int mode, uint64_t off, uint64_t len)
{
    int what = mode & ~FALLOC_FL_KEEP_SIZE;
    if (v->is_read_only)
        return reply_err(req, -EROFS);
    if (what != 0 && what != FALLOC_FL_PUNCH_HOLE && what != FALLOC_FL_ZERO_RANGE)
        return reply_err(req, -EOPNOTSUPP);
    if (!range_ok(off, len, v->blk->size) && (what == 0 || !(mode & FALLOC_FL_KEEP_SIZE)))
        return reply_err(req, -ENOSPC); /* growth is refused */
    if (what == 0)
        return reply_err(req, 0); /* every block of a disk can be written: nothing to reserve */
    zero_range(req, v, off, len);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
    struct view *v = view_of(fi);
    if (view_is_revoked(v))
        return reply_err(req, -ESTALE);
    if (off < 0 || len <= 0)
        return reply_err(req, -EINVAL);
    do_fallocate(req, v, mode, (uint64_t)off, (uint64_t)len);
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    struct view *v = view_of(fi);
    if (view_is_revoked(v))
        return reply_err(req, -ESTALE);
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return reply_err(req, -EINVAL);
    int64_t r = off < 0 ? -ENXIO : blk_seek(v->blk, (uint64_t)off, whence == SEEK_DATA);
    if (r < 0)
        return reply_err(req, (int)r);
    (void)fuse_reply_lseek(req, r);
}
