/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the modes of the checker share: numbers, windows, the lowest layer; see stack-check.h. */
#include "tests/unit/stack-check.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "core/base.h"
#include "core/livemap.h"
#include "core/util.h"

#define LEAF_BYTES (LEAF_BLOCKS * BLOCK_BYTES)
#define BASE_SPAN  (64 * KiB) /* bytes of data on each side of the places that matter; the windows are wider */

uint64_t check_seed(void)
{
    static _Atomic uint64_t seed;
    uint64_t s = atomic_load(&seed);
    if (s)
        return s;
    const char *text = getenv("DISKGATE_SEED");
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t); /* any number will do */
    uint64_t fresh = text ? strtoull(text, NULL, 0) : (uint64_t)t.tv_nsec * 1000003 + (uint64_t)t.tv_sec;
    fresh = fresh ? fresh : 1;
    return atomic_compare_exchange_strong(&seed, &s, fresh) ? fresh : s;
}

unsigned check_stress(void)
{
    const char *text = getenv("DISKGATE_STRESS");
    unsigned n = text ? (unsigned)strtoul(text, NULL, 10) : 1;
    return n ? n : 1;
}

void check_failed(const char *file, int line, const char *fmt, ...)
{
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    (void)fprintf(stderr, "%s:%d: %s (repeat with DISKGATE_SEED=0x%llx)\n", file, line, what,
                  (unsigned long long)check_seed());
    abort();
}

uint64_t rng_next(struct rng *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15ULL; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    return rng_next(r) % n;
}

/* --- windows ----------------------------------------------------------------------------------------------------- */

static void add_window(struct windows *w, uint64_t middle, uint64_t span)
{
    uint64_t off = round_down(middle > span / 2 ? middle - span / 2 : 0, SECTOR_BYTES);
    uint64_t end = MIN(off + span, w->size);
    unsigned i = w->n;
    for (unsigned k = 0; k < w->n; k++)
        if (off < w->w[k].off + w->w[k].len && w->w[k].off < end)
            return;
    if (off >= end || w->n == CHECK_WINDOWS)
        return;
    for (; i > 0 && w->w[i - 1].off > off; i--)
        w->w[i] = w->w[i - 1];
    w->w[i] = (struct window){.off = off, .len = end - off};
    w->n++;
}

struct windows check_windows(uint64_t size, uint64_t span, struct rng *r)
{
    struct windows w = {.size = size};
    span = MIN(span, size);
    add_window(&w, 0, span);
    add_window(&w, size - span / 2, span);
    for (uint64_t border = LEAF_BYTES; border < size && w.n < 6; border += LEAF_BYTES)
        add_window(&w, border, span);
    for (int i = 0; i < 4; i++)
        add_window(&w, rng_below(r, size), span);
    return w;
}

static uint64_t random_len(struct rng *r, uint64_t max)
{
    switch (rng_below(r, 5)) {
    case 0:
        return 1 + rng_below(r, 16);
    case 1:
        return SECTOR_BYTES * (1 + rng_below(r, 16));
    case 2:
        return BLOCK_BYTES * (1 + rng_below(r, 8));
    default:
        return 1 + rng_below(r, max);
    }
}

void check_range(const struct windows *w, struct rng *r, uint64_t max, uint64_t *ret_off, size_t *ret_len)
{
    const struct window *win = &w->w[rng_below(r, w->n)];
    uint64_t len = random_len(r, max);
    len = MIN(len, win->len);
    uint64_t room = win->len - len, at = rng_below(r, room + 1);
    switch (rng_below(r, 6)) {
    case 0:
        at = room; /* up to the end of the window, in the last one that of the disk */
        break;
    case 1:
        at = round_down(win->off + at, SECTOR_BYTES) - win->off;
        break;
    case 2:
        at = round_up(win->off + at, BLOCK_BYTES) - win->off;
        break;
    default:
        break;
    }
    *ret_off = win->off + (at <= room ? at : room);
    *ret_len = (size_t)len;
}

/* --- the lowest layer -------------------------------------------------------------------------------------------- */

static bool has_data(uint64_t size, uint64_t off)
{
    uint64_t in_leaf = off % LEAF_BYTES;
    return in_leaf < BASE_SPAN || LEAF_BYTES - in_leaf <= BASE_SPAN || size - off <= BASE_SPAN;
}

uint64_t check_base_word(uint64_t size, uint64_t data_bytes, uint64_t off)
{
    uint64_t word = has_data(size, off) && off < data_bytes ? off / SECTOR_BYTES + 1 : 0;
    uint64_t left = off < data_bytes ? data_bytes - off : 0;
    return left >= 8 || left == 0 ? word : word & ((1ULL << (left * 8)) - 1); /* little-endian, as this machine */
}

static void fill_base(int fd, uint64_t size, uint64_t data_bytes)
{
    uint64_t words[BLOCK_BYTES / 8];
    for (uint64_t off = 0; off < data_bytes; off += BLOCK_BYTES) {
        if (!has_data(size, off) && !has_data(size, MIN(off + BLOCK_BYTES - 8, size - 8)))
            continue;
        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
            words[i] = off + i * 8 < size ? check_base_word(size, data_bytes, off + i * 8) : 0;
        CHECK(pwrite_full(fd, words, (size_t)MIN(BLOCK_BYTES, data_bytes - off), off) == 0, "cannot fill the base");
    }
}

struct blk *check_base_create(uint64_t size, uint64_t data_bytes)
{
    const char *folder =
        getenv("DISKGATE_TEST_TMP"); /* a disk's file can be mapped (core/filemap.h), one in memory cannot */
    int fd = open(folder ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        fd = memfd_create("base", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)data_bytes) == 0, "cannot make a base of %llu bytes",
          (unsigned long long)data_bytes);
    fill_base(fd, size, data_bytes);
    struct blk *b = base_create(fd, data_bytes, size);
    CHECK(b, "out of memory");
    return b;
}
