/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mapping and bitmap; see filemap.h.
 *
 * One bit for a block of 4 KiB, in memory that has no pages until it is touched: 32 KiB for each GiB that was read, nothing for what was
 * not. Giving these pages back is what forgets everything, at once and without a lock; bits that are set or looked at meanwhile are
 * one or the other, and either is harmless. What was known is forgotten every FORGET_S too: pages that the kernel dropped since are
 * found by a read that does not wait then, before anybody waits for them.
 */
#include "core/filemap.h"

#include <assert.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include "core/blk.h"
#include "core/clock.h"
#include "core/util.h"

#define FORGET_S  30
#define BYTES_MAX (16 * TiB) /* of address space for one file; there are 128 */

struct filemap {
    int fd;
    uint64_t bytes;
    char *data;              /* the mapping */
    _Atomic uint64_t *known; /* bit n: block n was in memory */
    size_t known_bytes;
    _Atomic int64_t known_since_s;
};

/* File systems whose reads and mappings share one page cache that nobody else can change behind it. */
static bool is_local(int fd)
{
    static const long kinds[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC};
    struct statfs st;
    struct stat file;
    if (fstatfs(fd, &st) < 0 || fstat(fd, &file) < 0 || !S_ISREG(file.st_mode))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (st.f_type == kinds[i])
            return true;
    return false;
}

static void *map_zeros(size_t len)
{
    return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

struct filemap *filemap_create(int fd, uint64_t bytes)
{
    if (bytes == 0 || bytes > BYTES_MAX || !is_local(fd))
        return NULL;
    struct filemap *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->fd = fd;
    m->bytes = bytes;
    m->known_bytes = (size_t)round_up(bytes / BLOCK_BYTES / 8 + 8, BLOCK_BYTES);
    m->known_since_s = clock_coarse_s();
    void *data = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    void *known = data == MAP_FAILED ? MAP_FAILED : map_zeros(m->known_bytes);
    if (known == MAP_FAILED) {
        if (data != MAP_FAILED)
            (void)munmap(data, bytes); /* it is ours */
        free(m);
        return NULL;
    }
    m->data = data;
    m->known = known;
    return m;
}

void filemap_destroy(struct filemap *m)
{
    if (!m)
        return;
    (void)munmap(m->data, m->bytes); /* both are ours */
    (void)munmap((void *)m->known, m->known_bytes);
    free(m);
}

/* --- what is in memory ------------------------------------------------------------------------------------------- */

/* The bits of [blk, end) that lie in the word of @blk. */
static uint64_t bits_in_word(uint64_t blk, uint64_t end)
{
    uint64_t first = blk % 64, n = MIN(end - blk, 64 - first);
    return (n == 64 ? ~0ULL : (1ULL << n) - 1) << first;
}

static bool is_known(const struct filemap *m, uint64_t blk, uint64_t end)
{
    for (; blk < end; blk = (blk / 64 + 1) * 64) {
        uint64_t bits = bits_in_word(blk, end);
        if ((atomic_load_explicit(&m->known[blk / 64], memory_order_relaxed) & bits) != bits)
            return false;
    }
    return true;
}

static bool is_whole(const struct filemap *m)
{
    struct stat st;
    return fstat(m->fd, &st) == 0 && (uint64_t)st.st_size >= m->bytes;
}

void filemap_forget(struct filemap *m)
{
    if (!m)
        return;
    atomic_store_explicit(&m->known_since_s, clock_coarse_s(), memory_order_relaxed);
    (void)madvise((void *)m->known, m->known_bytes, MADV_DONTNEED); /* cannot fail: it is ours */
}

static void forget_old(struct filemap *m)
{
    int64_t since = atomic_load_explicit(&m->known_since_s, memory_order_relaxed), now = clock_coarse_s();
    if (now - since >= FORGET_S && atomic_compare_exchange_strong(&m->known_since_s, &since, now))
        filemap_forget(m);
}

const void *filemap_at(struct filemap *m, uint64_t off, size_t len)
{
    if (!m)
        return NULL;
    assert(len > 0 && range_ok(off, len, m->bytes));
    forget_old(m);
    uint64_t end = (off + len + BLOCK_BYTES - 1) / BLOCK_BYTES;
    return is_known(m, off / BLOCK_BYTES, end) && is_whole(m) ? m->data + off : NULL;
}

void filemap_note(struct filemap *m, uint64_t off, size_t len)
{
    if (!m)
        return;
    assert(len > 0 && range_ok(off, len, m->bytes));
    uint64_t blk = off / BLOCK_BYTES, end = (off + len + BLOCK_BYTES - 1) / BLOCK_BYTES;
    for (; blk < end; blk = (blk / 64 + 1) * 64) {
        uint64_t bits = bits_in_word(blk, end);
        if ((atomic_load_explicit(&m->known[blk / 64], memory_order_relaxed) & bits) != bits)
            atomic_fetch_or_explicit(&m->known[blk / 64], bits, memory_order_relaxed);
    }
}

/* --- pins -------------------------------------------------------------------------------------------------------- */

/* Through the descriptor first: a file is read in large pieces that way, a mapping by single faults. */
static int read_in(const struct filemap *m, uint64_t off, size_t len)
{
    char buf[16 * 1024];
    for (size_t done = 0; done < len; done += sizeof(buf)) {
        int r = pread_full(m->fd, buf, MIN(sizeof(buf), len - done), off + done);
        if (r < 0)
            return r;
    }
    return 0;
}

int filemap_pin(struct filemap *m, uint64_t off, size_t len)
{
    if (!m)
        return -EOPNOTSUPP;
    if (off >= m->bytes)
        return 0;
    len = (size_t)MIN(len, m->bytes - off);
    assert(off % BLOCK_BYTES == 0);
    int r = is_whole(m) ? read_in(m, off, len) : -EIO;
    if (r < 0)
        return r;
    if (mlock(m->data + off, len) < 0)
        return -errno;
    filemap_note(m, off, len);
    return 0;
}

void filemap_unpin(struct filemap *m, uint64_t off, size_t len)
{
    if (m && off < m->bytes)
        (void)munlock(m->data + off, (size_t)MIN(len, m->bytes - off)); /* it is ours */
}
