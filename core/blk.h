/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Block layers: a disk is a stack of them, and one question is asked of the stack: where are these bytes now?
 *
 *     view -> [overlay] -> [version n] -> ... -> [base]
 *
 * A layer that holds a block answers for it; for the rest it asks the layer below. Reading, SEEK_DATA/SEEK_HOLE, partition views,
 * the diff of two versions, flattening and commit use the same map. Writes, zeroes and flushes go to the top layer only.
 *
 * The functions below check ranges and loop; the layers behind them may assume: the range lies within the disk, len > 0.
 *
 * (1) A read sees every write and zero that returned before it began. Of one that runs at the same time it sees old or new bytes.
 * (2) After a write or zero returned 0, its bytes survive the death of the process.
 * (3) After blk_flush() returned 0, they survive what the layer promises for a flush.
 * (4) A failed write leaves each of its bytes old or new, and no byte outside of its range changed.
 *
 * Threads: any number at once on one layer, for all but blk_destroy().
 */
#ifndef DISKGATE_CORE_BLK_H
#define DISKGATE_CORE_BLK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLOCK_BYTES 4096ULL
#define BLOCK_SHIFT 12

struct filemap;

struct extent {
    enum { EXT_ZERO, EXT_FILE } kind;
    int fd;         /* EXT_FILE: borrowed, valid as long as the layer lives */
    uint64_t pos;   /* EXT_FILE: offset in that file */
    size_t len;     /* bytes, > 0 */
    bool is_memory; /* EXT_FILE: the file lies in RAM, reading it never waits for a disk */
    /* EXT_FILE: a mapping of that file (core/filemap.h), borrowed as fd is, never together with moves. NULL = none. */
    struct filemap *map;
    /* EXT_FILE of a layer that moves data: what was read counts only if extent_is_current() is true afterwards. NULL = it never moves. */
    const _Atomic uint64_t *moves;
    uint64_t moves_seen;
};

/* False when the bytes may have moved since the extent was told: then the map is to be asked again. Call it after reading. */
static inline bool extent_is_current(const struct extent *e)
{
    if (!e->moves)
        return true;
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load(e->moves) == e->moves_seen;
}

struct blk;

struct blk_ops {
    /* Describe [off, off+len) with at most @max extents. Returns their count, >= 1; together they cover a prefix of the range
     * (the whole of it unless @max ran out). -EIO, -ESTALE. */
    int (*map)(struct blk *b, uint64_t off, size_t len, struct extent *ext, size_t max);
    /* NULL in read-only layers. */
    int (*write)(struct blk *b, const void *buf, size_t len, uint64_t off);
    /* From now on the range reads as zero; its storage may be given back. @len may be the whole disk. NULL in read-only layers. */
    int (*zero)(struct blk *b, uint64_t off, uint64_t len);
    /* NULL = nothing to do. */
    int (*flush)(struct blk *b);
    void (*destroy)(struct blk *b);
};

/* What every layer begins with. The only struct of core that is not opaque, because layers are written in other files. */
struct blk {
    const struct blk_ops *ops;
    uint64_t size; /* bytes, a multiple of 512; never changes */
};

/* Count >= 1, extents cover a prefix of the range; -EINVAL outside of the disk or len 0. */
int blk_map(struct blk *b, uint64_t off, size_t len, struct extent *ext, size_t max);

/* 0; -EINVAL when the range leaves the disk; -EIO, -ESTALE. On failure @buf holds nothing useful. len 0 is allowed. */
int blk_read(struct blk *b, void *buf, size_t len, uint64_t off);

/* As blk_read(), but -EAGAIN instead of waiting for a disk. */
int blk_read_now(struct blk *b, void *buf, size_t len, uint64_t off);

/* Bytes for a reply: what lies in memory anyway is not copied. */
#define GATHER_MAX 64 /* pieces */
struct gather {
    struct iovec iov[1 + GATHER_MAX]; /* the first is the caller's, for a header */
    int count;                        /* of those behind the first */
    struct filemap *map;              /* of which some of them are part; NULL = of none */
};

/* As blk_read_now(), but @ret tells where the bytes are: in a mapping (core/filemap.h), or in @buf, which has room for @len bytes. They are
 * for a writev() at once: a pointer into a mapping does not hold bytes that change later. */
int blk_gather(struct blk *b, struct gather *ret, void *buf, size_t len, uint64_t off);

/* 0; -ENOSPC when the range leaves the disk or storage is full; -EROFS; -EIO, -ESTALE. */
int blk_write(struct blk *b, const void *buf, size_t len, uint64_t off);

/* As blk_write(). */
int blk_zero(struct blk *b, uint64_t off, uint64_t len);

/* 0; -EIO or what the device said: then what was written since the last flush that returned 0 may be lost. */
int blk_flush(struct blk *b);

/* Offset of the first data (@want_data) or hole at or after @off, as lseek(2) SEEK_DATA and SEEK_HOLE on a file of the disk's size:
 * adjacent pieces are merged, the end of the disk counts as a hole. A hole behind data begins at a sector: initiators count in sectors,
 * and one that is told of 0 mapped ones (GET LBA STATUS) may give up. Offset, or -ENXIO (no data behind @off, or @off at or beyond the
 * end); errors of map. */
int64_t blk_seek(struct blk *b, uint64_t off, bool want_data);

/* NULL is allowed. Nobody may use the layer any more. Does not destroy what lies below. */
void blk_destroy(struct blk *b);

static inline void blk_destroyp(struct blk **b)
{
    blk_destroy(*b);
}

#endif
