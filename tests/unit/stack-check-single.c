/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The checker with one thread: every answer of the stack is compared with an array in memory.
 *
 * Where the stack may fail, the bytes of a failed write are looked up: each is old or new, and what it is now it must stay.
 */
#include "tests/unit/stack-check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "core/livemap.h"
#include "core/util.h"

#define LEAF_BYTES (LEAF_BLOCKS * BLOCK_BYTES)
#define MAX_IO     (96 * KiB)
#define SPAN       (192 * KiB)

struct single {
    struct check_stack *s;
    struct rng rng;
    struct windows win;
    uint64_t size;
    unsigned char *model;
    unsigned char buf[MAX_IO], other[MAX_IO];
};

static uint64_t first_difference(const unsigned char *a, const unsigned char *b, size_t len)
{
    size_t i = 0;
    while (i < len && a[i] == b[i])
        i++;
    return i;
}

/* One way or the other; the second one where nothing has to wait. */
static int read_somehow(struct single *c, uint64_t off, size_t len)
{
    struct gather g;
    if (rng_below(&c->rng, 2) || blk_gather(c->s->blk, &g, c->other, len, off) < 0)
        return blk_read(c->s->blk, c->buf, len, off);
    size_t at = 0;
    for (int i = 1; i <= g.count; at += g.iov[i++].iov_len)
        memcpy(c->buf + at, g.iov[i].iov_base, g.iov[i].iov_len);
    CHECK(at == len, "%zu bytes gathered of %zu", at, len);
    return 0;
}

static void verify(struct single *c, uint64_t off, size_t len)
{
    int r = read_somehow(c, off, len);
    if (r < 0 && c->s->may_fail)
        return;
    CHECK(r == 0, "read of %zu bytes at %llu: %s", len, (unsigned long long)off, strerror(-r));
    if (memcmp(c->buf, c->model + off, len) == 0)
        return;
    uint64_t i = first_difference(c->buf, c->model + off, len);
    check_failed(__FILE__, __LINE__, "read of %zu bytes at %llu: byte %llu is %02x and not %02x", len,
                 (unsigned long long)off, (unsigned long long)(off + i), c->buf[i], c->model[off + i]);
}

static void verify_windows(struct single *c)
{
    for (unsigned i = 0; i < c->win.n; i++)
        for (uint64_t at = 0; at < c->win.w[i].len; at += MAX_IO)
            verify(c, c->win.w[i].off + at, (size_t)MIN(MAX_IO, c->win.w[i].len - at));
}

/* A write of c->other, or of zeros, failed: see what became of it. */
static void look_up(struct single *c, uint64_t off, size_t len, bool is_zero_op)
{
    int r = -EIO;
    for (int tries = 0; r < 0 && tries < 100; tries++)
        r = blk_read(c->s->blk, c->buf, len, off);
    CHECK(r == 0, "what a failed write left cannot be read");
    for (size_t i = 0; i < len; i++) {
        unsigned char want = is_zero_op ? 0 : c->other[i];
        CHECK(c->buf[i] == c->model[off + i] || c->buf[i] == want,
              "a failed write left a foreign byte %02x at %llu: neither %02x nor %02x", c->buf[i],
              (unsigned long long)(off + i), c->model[off + i], want);
    }
    memcpy(c->model + off, c->buf, len);
}

static void do_write(struct single *c)
{
    uint64_t off;
    size_t len;
    check_range(&c->win, &c->rng, MAX_IO, &off, &len);
    for (size_t i = 0; i < len; i++)
        c->other[i] = (unsigned char)rng_next(&c->rng);
    int r = blk_write(c->s->blk, c->other, len, off);
    if (r == 0) {
        memcpy(c->model + off, c->other, len);
        return;
    }
    CHECK(c->s->may_fail, "write of %zu bytes at %llu: %s", len, (unsigned long long)off, strerror(-r));
    look_up(c, off, len, false);
}

/* Pages that are given up read as zero again, at no cost. */
static void clear_model(struct single *c, uint64_t off, uint64_t len)
{
    uint64_t first = round_up(off, 4096), end = round_down(off + len, 4096);
    if (first >= end) {
        memset(c->model + off, 0, len);
        return;
    }
    memset(c->model + off, 0, first - off);
    memset(c->model + end, 0, off + len - end);
    CHECK(madvise(c->model + first, end - first, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
}

static void do_zero(struct single *c)
{
    uint64_t off;
    size_t len;
    check_range(&c->win, &c->rng, MAX_IO, &off, &len);
    int r = blk_zero(c->s->blk, off, len);
    if (r == 0) {
        clear_model(c, off, len);
        return;
    }
    CHECK(c->s->may_fail, "zero of %zu bytes at %llu: %s", len, (unsigned long long)off, strerror(-r));
    look_up(c, off, len, true);
}

/* A leaf, the rest of the disk, or all of it. */
static void do_zero_much(struct single *c)
{
    uint64_t off = rng_below(&c->rng, (c->size + LEAF_BYTES - 1) / LEAF_BYTES) * LEAF_BYTES;
    uint64_t len = MIN(LEAF_BYTES, c->size - off);
    if (c->s->may_fail)
        return;
    if (rng_below(&c->rng, 4) == 0)
        len = c->size - off;
    if (rng_below(&c->rng, 3) == 0) { /* not at the border */
        uint64_t cut = rng_below(&c->rng, MIN(len, 3 * BLOCK_BYTES));
        off += cut;
        len -= cut;
    }
    int r = blk_zero(c->s->blk, off, len);
    CHECK(r == 0, "zero of %llu bytes at %llu: %s", (unsigned long long)len, (unsigned long long)off, strerror(-r));
    clear_model(c, off, len);
}

/* Outside of the windows nothing is ever written. */
static bool model_is_zero(const struct single *c, uint64_t off, uint64_t len)
{
    for (unsigned i = 0; i < c->win.n; i++) {
        uint64_t first = MAX(off, c->win.w[i].off), end = MIN(off + len, c->win.w[i].off + c->win.w[i].len);
        if (first < end && !is_zero(c->model + first, end - first))
            return false;
    }
    return true;
}

static void check_extent(struct single *c, const struct extent *e, uint64_t off)
{
    CHECK(e->len > 0, "an extent without bytes at %llu", (unsigned long long)off);
    if (e->kind == EXT_ZERO) {
        CHECK(model_is_zero(c, off, e->len), "a hole of %zu bytes at %llu where there is data", e->len,
              (unsigned long long)off);
        return;
    }
    size_t len = MIN(e->len, MAX_IO);
    bool is_same = pread_full(e->fd, c->buf, len, e->pos) == 0 && memcmp(c->buf, c->model + off, len) == 0;
    CHECK(is_same || !extent_is_current(e), "the extent at %llu leads to other bytes", (unsigned long long)off);
}

static void do_map(struct single *c)
{
    struct extent ext[8];
    uint64_t off, at = 0;
    size_t len, max = 1 + rng_below(&c->rng, ARRAY_SIZE(ext));
    check_range(&c->win, &c->rng, MAX_IO, &off, &len);
    if (rng_below(&c->rng, 8) == 0)
        len = c->size - off;
    int n = blk_map(c->s->blk, off, len, ext, max);
    if (n < 0 && c->s->may_fail)
        return;
    CHECK(n >= 1 && (size_t)n <= max, "map of %zu bytes at %llu: %d", len, (unsigned long long)off, n);
    for (int i = 0; i < n; i++) {
        check_extent(c, &ext[i], off + at);
        at += ext[i].len;
    }
    CHECK(at == len || (at < len && (size_t)n == max), "%d extents cover %llu of %zu bytes at %llu", n,
          (unsigned long long)at, len, (unsigned long long)off);
}

static void do_seek(struct single *c)
{
    struct extent e;
    uint64_t off;
    size_t len;
    check_range(&c->win, &c->rng, MAX_IO, &off, &len);
    int64_t data = blk_seek(c->s->blk, off, true), hole = blk_seek(c->s->blk, off, false);
    if (c->s->may_fail && (data == -EIO || hole == -EIO))
        return;
    CHECK(data == -ENXIO || data >= (int64_t)off, "seek to data from %llu: %lld", (unsigned long long)off,
          (long long)data);
    CHECK(hole >= (int64_t)off && (uint64_t)hole <= c->size, "seek to a hole from %llu: %lld", (unsigned long long)off,
          (long long)hole);
    uint64_t end = data < 0 ? c->size : (uint64_t)data;
    CHECK(model_is_zero(c, off, end - off), "seek to data from %llu passed over some", (unsigned long long)off);
    CHECK((end == off) != (hole == (int64_t)off), "%llu is both data and hole, or neither", (unsigned long long)off);
    if (!c->s->may_fail && (uint64_t)hole < c->size)
        CHECK(blk_map(c->s->blk, (uint64_t)hole, 1, &e, 1) == 1 && e.kind == EXT_ZERO, "no hole at %lld",
              (long long)hole);
}

static void do_one(struct single *c)
{
    uint64_t off;
    size_t len;
    switch (rng_below(&c->rng, 16)) {
    case 0 ... 5:
        do_write(c);
        return;
    case 6 ... 7:
        do_zero(c);
        return;
    case 8:
        if (rng_below(&c->rng, 16) == 0)
            do_zero_much(c);
        return;
    case 9:
        do_seek(c);
        return;
    case 10 ... 11:
        do_map(c);
        return;
    case 12:
        CHECK(blk_flush(c->s->blk) == 0 || c->s->may_fail, "flush failed");
        return;
    default:
        check_range(&c->win, &c->rng, MAX_IO, &off, &len);
        verify(c, off, len);
    }
}

static void fill_model(struct single *c, uint64_t data_bytes)
{
    for (unsigned i = 0; i < c->win.n; i++)
        for (uint64_t off = c->win.w[i].off; off < c->win.w[i].off + c->win.w[i].len; off += 8) {
            uint64_t word = check_base_word(c->size, data_bytes, off);
            memcpy(c->model + off, &word, sizeof(word));
        }
}

static void reopen(struct single *c)
{
    if (!c->s->reopen)
        return;
    bool is_crash = rng_below(&c->rng, 2);
    c->s->blk = c->s->reopen(c->s->arg, is_crash);
    CHECK(c->s->blk && c->s->blk->size == c->size, "the stack cannot be opened again after a %s",
          is_crash ? "crash" : "clean end");
}

void check_single(struct check_stack *s, uint64_t data_bytes, unsigned rounds, unsigned ops)
{
    struct single *c = calloc(1, sizeof(*c));
    CHECK(c, "out of memory");
    c->s = s;
    c->rng.state = check_seed();
    c->size = s->blk->size;
    c->win = check_windows(c->size, SPAN, &c->rng);
    c->model = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(c->model != MAP_FAILED, "cannot map the model");
    fill_model(c, data_bytes);
    verify_windows(c);
    for (unsigned i = 0; i < rounds * check_stress(); i++) {
        for (unsigned k = 0; k < ops; k++)
            do_one(c);
        verify_windows(c);
        reopen(c);
        verify_windows(c);
    }
    (void)munmap(c->model, c->size); /* ours alone */
    free(c);
}
