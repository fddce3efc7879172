/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FUSE_READ and FUSE_WRITE by hand; see quick.h. The layout of requests is that of <linux/fuse.h>, protocol 7.9 and later.
 *
 * A writev() whose source cannot be read (the image was cut off after we looked) ends the request with EIO: the kernel answers so by itself,
 * and there is nothing left for us to say.
 *
 * A reply from a mapping that waited for a disk shows in this thread's count of major faults. That is asked for only when the reply
 * took long, because asking is a system call.
 */
#include "fusefs/quick.h"

#include <errno.h>
#include <linux/fuse.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>

#include "core/clock.h"
#include "core/filemap.h"
#include "core/util.h"
#include "fusefs/view.h"

#define LONG_NS 1000000

/* --- answers ----------------------------------------------------------------------------------------------------- */

/* @iov[0] is for the header. 0 or a negative errno: of one that was given up, which needs no answer, or -EFAULT. */
static int answer(int fd, uint64_t unique, struct iovec *iov, int count, size_t len)
{
    struct fuse_out_header head = {.len = (uint32_t)(sizeof(head) + len), .unique = unique};
    iov[0] = (struct iovec){.iov_base = &head, .iov_len = sizeof(head)};
    return writev(fd, iov, 1 + count) < 0 ? -errno : 0;
}

static bool has_waited_for_disk(void)
{
    static _Thread_local long seen;
    struct rusage u;
    if (getrusage(RUSAGE_THREAD, &u) < 0 || u.ru_majflt == seen)
        return false;
    seen = u.ru_majflt;
    return true;
}

static void answer_mapped(int fd, uint64_t unique, struct view *v, struct gather *g, size_t len, uint64_t off)
{
    int64_t start = clock_ns();
    int r = answer(fd, unique, g->iov, g->count, len);
    if (r == -EFAULT || (clock_ns() - start > LONG_NS && has_waited_for_disk()))
        filemap_forget(g->map);
    if (r == -EFAULT)
        view_note_error(v, "read", off, len, -EIO);
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

static bool serve_read(int fd, uint64_t unique, const struct fuse_read_in *in, void *buf)
{
    struct view *v = (struct view *)(uintptr_t)in->fh;
    struct gather g;
    if (view_is_revoked(v) || in->offset >= v->blk->size)
        return false;
    size_t len = (size_t)MIN(in->size, v->blk->size - in->offset);
    if (len == 0 || len > QUICK_BUF_BYTES || blk_gather(v->blk, &g, buf, len, in->offset) < 0)
        return false;
    view_count_read(v, in->offset, len);
    if (g.map)
        answer_mapped(fd, unique, v, &g, len, in->offset);
    else
        (void)answer(fd, unique, g.iov, g.count, len); /* see there */
    return true;
}

static bool serve_write(int fd, uint64_t unique, const struct fuse_write_in *in, const void *data)
{
    struct view *v = (struct view *)(uintptr_t)in->fh;
    struct fuse_write_out out = {.size = in->size};
    struct iovec iov[2] = {[1] = {.iov_base = &out, .iov_len = sizeof(out)}};
    if (view_is_revoked(v) || !range_ok(in->offset, in->size, v->blk->size) ||
        blk_write(v->blk, data, in->size, in->offset) < 0)
        return false;
    view_count_write(v, in->size);
    (void)answer(fd, unique, iov, 1, sizeof(out)); /* see there */
    return true;
}

bool quick_serve(int fd, const void *in, size_t len, void *buf)
{
    const struct fuse_in_header *head = in;
    const void *arg = head + 1;
    size_t arg_len = len - sizeof(*head);
    if (head->opcode == FUSE_READ && arg_len >= sizeof(struct fuse_read_in))
        return serve_read(fd, head->unique, arg, buf);
    const struct fuse_write_in *w = arg;
    if (head->opcode == FUSE_WRITE && arg_len >= sizeof(*w) && arg_len - sizeof(*w) >= w->size)
        return serve_write(fd, head->unique, w, w + 1);
    return false;
}
