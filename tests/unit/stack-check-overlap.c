/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The checker with threads that write over each other's sectors.
 *
 * Each 8 bytes of a written sector are a stamp: number of the operation << 32 | number of the sector + 1. A zeroed sector holds 0,
 * an untouched one the stamp of operation 0. Each operation takes a tick of one clock when it begins and when it ends.
 *
 * (1) At the end every sector holds, in all its words, the stamp of an operation that covers it, and no other that covers it began
 *     after that one had ended.
 * (2) A reader finds each word with its own sector's number, from an operation that had begun, and from none that was surely
 *     overwritten before the reader began: if an operation that covers the sector ended before the read began, the stamp's
 *     operation did not end before that one began.
 *
 * For (2) each sector keeps, of the operations that ended: the latest begin; and of its zeroes: the latest end and how many are under way.
 */
#include "tests/unit/stack-check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "core/util.h"

#define SPAN        (32 * KiB)
#define IO_SECTORS  24
#define WORDS       (SECTOR_BYTES / 8)
#define THREADS_MAX 16

struct op {
    _Atomic uint64_t begin, end; /* ticks, 0 = not yet */
    uint64_t sector, count;
    bool is_zero;
};

struct sector {
    _Atomic uint64_t last_begin, zero_end;
    _Atomic unsigned zeroes;
};

struct overlap {
    struct check_stack *s;
    struct windows win;
    uint64_t data_bytes;
    unsigned ops; /* for each thread */
    _Atomic uint64_t clock;
    _Atomic uint64_t op_count;
    struct op *op; /* by number, 1.. */
    struct sector *sectors[CHECK_WINDOWS];
};

struct worker {
    struct overlap *c;
    struct rng rng;
    pthread_t thread;
};

static uint64_t tick(struct overlap *c)
{
    return atomic_fetch_add(&c->clock, 1) + 1;
}

static void raise_to(_Atomic uint64_t *v, uint64_t to)
{
    uint64_t now = atomic_load(v);
    while (now < to && !atomic_compare_exchange_weak(v, &now, to))
        ;
}

/* A run of sectors within one window. */
static struct sector *choose(struct worker *w, uint64_t *ret_first, uint64_t *ret_count)
{
    unsigned n = (unsigned)rng_below(&w->rng, w->c->win.n);
    const struct window *win = &w->c->win.w[n];
    uint64_t have = win->len / SECTOR_BYTES;
    uint64_t count = 1 + rng_below(&w->rng, MIN(have, IO_SECTORS));
    uint64_t at = rng_below(&w->rng, have - count + 1);
    *ret_first = win->off / SECTOR_BYTES + at;
    *ret_count = count;
    return w->c->sectors[n] + at;
}

/* --- writers ----------------------------------------------------------------------------------------------------- */

static int carry_out(struct overlap *c, const struct op *op, uint64_t number)
{
    uint64_t words[IO_SECTORS * WORDS];
    uint64_t off = op->sector * SECTOR_BYTES, len = op->count * SECTOR_BYTES;
    if (op->is_zero)
        return blk_zero(c->s->blk, off, len);
    for (uint64_t i = 0; i < op->count * WORDS; i++)
        words[i] = number << 32 | (op->sector + i / WORDS + 1);
    return blk_write(c->s->blk, words, (size_t)len, off);
}

static void change(struct worker *w)
{
    struct overlap *c = w->c;
    uint64_t number = atomic_fetch_add(&c->op_count, 1) + 1;
    struct op *op = &c->op[number];
    struct sector *s = choose(w, &op->sector, &op->count);
    op->is_zero = rng_below(&w->rng, 3) == 0;
    for (uint64_t i = 0; op->is_zero && i < op->count; i++)
        atomic_fetch_add(&s[i].zeroes, 1);
    atomic_store(&op->begin, tick(c));
    int r = carry_out(c, op, number);
    CHECK(r == 0, "operation %llu failed: %s", (unsigned long long)number, strerror(-r));
    atomic_store(&op->end, tick(c));
    for (uint64_t i = 0; i < op->count; i++) {
        raise_to(&s[i].last_begin, atomic_load(&op->begin));
        if (!op->is_zero)
            continue;
        raise_to(&s[i].zero_end, atomic_load(&op->end));
        atomic_fetch_sub(&s[i].zeroes, 1); /* after its end is known, so that nobody misses both */
    }
}

/* --- readers ----------------------------------------------------------------------------------------------------- */

/* True if an operation that ended at @end (0 = under way) may still be seen when one that began at @begin is over. */
static bool may_be_seen(uint64_t end, uint64_t begin)
{
    return end == 0 || end >= begin;
}

static void check_word(struct overlap *c, uint64_t word, uint64_t off, struct sector *s, uint64_t over)
{
    uint64_t sector = off / SECTOR_BYTES, number = word >> 32;
    if (over == 0 && word == check_base_word(c->win.size, c->data_bytes, off))
        return;
    if (word == 0) {
        bool is_fine = atomic_load(&s->zeroes) > 0;
        CHECK(is_fine || atomic_load(&s->zero_end) > 0, "sector %llu reads as zero and was not zeroed",
              (unsigned long long)sector);
        CHECK(is_fine || may_be_seen(atomic_load(&s->zero_end), over), "sector %llu reads as zero, written over since",
              (unsigned long long)sector);
        return;
    }
    CHECK((word & 0xffffffffU) == sector + 1, "sector %llu holds bytes of sector %llu (operation %llu)",
          (unsigned long long)sector, (unsigned long long)(word & 0xffffffffU) - 1, (unsigned long long)number);
    CHECK(number > 0, "sector %llu holds what lies below, written over since", (unsigned long long)sector);
    CHECK(number <= atomic_load(&c->op_count) && atomic_load(&c->op[number].begin),
          "sector %llu holds an operation that has not begun", (unsigned long long)sector);
    CHECK(may_be_seen(atomic_load(&c->op[number].end), over), "sector %llu holds operation %llu, written over since",
          (unsigned long long)sector, (unsigned long long)number);
}

static void look(struct worker *w)
{
    uint64_t words[IO_SECTORS * WORDS], over[IO_SECTORS], first, count;
    struct sector *s = choose(w, &first, &count);
    for (uint64_t i = 0; i < count; i++)
        over[i] = atomic_load(&s[i].last_begin);
    int r = blk_read(w->c->s->blk, words, (size_t)(count * SECTOR_BYTES), first * SECTOR_BYTES);
    CHECK(r == 0, "read failed: %s", strerror(-r));
    for (uint64_t i = 0; i < count * WORDS; i++)
        check_word(w->c, words[i], first * SECTOR_BYTES + i * 8, &s[i / WORDS], over[i / WORDS]);
}

static void *run_writer(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < w->c->ops; i++) {
        change(w);
        if (rng_below(&w->rng, 200) == 0)
            CHECK(blk_flush(w->c->s->blk) == 0, "flush failed");
    }
    return NULL;
}

static void *run_reader(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < w->c->ops; i++)
        look(w);
    return NULL;
}

/* --- the end ----------------------------------------------------------------------------------------------------- */

/* Did an operation that covers @sector begin after tick @end? */
static bool is_overwritten(const struct overlap *c, uint64_t sector, uint64_t end)
{
    for (uint64_t n = 1; n <= c->op_count; n++)
        if (c->op[n].sector <= sector && sector - c->op[n].sector < c->op[n].count && c->op[n].begin > end)
            return true;
    return false;
}

static bool a_zero_may_be_last(const struct overlap *c, uint64_t sector)
{
    uint64_t last = 0;
    for (uint64_t n = 1; n <= c->op_count; n++)
        if (c->op[n].is_zero && c->op[n].sector <= sector && sector - c->op[n].sector < c->op[n].count)
            last = MAX(last, c->op[n].end);
    return last && !is_overwritten(c, sector, last);
}

static void check_last(const struct overlap *c, uint64_t sector, const uint64_t *words)
{
    uint64_t off = sector * SECTOR_BYTES, number = words[0] >> 32;
    bool is_base = true;
    for (uint64_t i = 0; i < WORDS; i++)
        is_base = is_base && words[i] == check_base_word(c->win.size, c->data_bytes, off + i * 8);
    if (is_base && !is_overwritten(c, sector, 0))
        return;
    for (uint64_t i = 1; i < WORDS; i++)
        CHECK(words[i] == words[0], "sector %llu is a mix of two operations", (unsigned long long)sector);
    if (words[0] == 0) {
        CHECK(a_zero_may_be_last(c, sector), "sector %llu ends as zero", (unsigned long long)sector);
        return;
    }
    CHECK(number > 0 && number <= c->op_count && (words[0] & 0xffffffffU) == sector + 1,
          "sector %llu ends with foreign bytes", (unsigned long long)sector);
    const struct op *op = &c->op[number];
    CHECK(!op->is_zero && op->sector <= sector && sector - op->sector < op->count,
          "sector %llu ends with an operation elsewhere", (unsigned long long)sector);
    CHECK(!is_overwritten(c, sector, op->end), "sector %llu ends with operation %llu, written over since",
          (unsigned long long)sector, (unsigned long long)number);
}

static void check_end(const struct overlap *c)
{
    for (unsigned i = 0; i < c->win.n; i++) {
        const struct window *w = &c->win.w[i];
        uint64_t *words = malloc(w->len);
        CHECK(words && blk_read(c->s->blk, words, w->len, w->off) == 0, "the last read failed");
        for (uint64_t k = 0; k < w->len / SECTOR_BYTES; k++)
            check_last(c, w->off / SECTOR_BYTES + k, words + k * WORDS);
        free(words);
    }
}

static void run_all(struct overlap *c, unsigned threads, struct rng *rng)
{
    struct worker workers[THREADS_MAX];
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (struct worker){.c = c, .rng = {rng_next(rng)}};
        bool is_reader = i % 3 == 2;
        CHECK(pthread_create(&workers[i].thread, NULL, is_reader ? run_reader : run_writer, &workers[i]) == 0,
              "no thread");
    }
    for (unsigned i = 0; i < threads; i++)
        (void)pthread_join(workers[i].thread, NULL); /* ours, and joined once */
}

void check_overlap(struct check_stack *s, uint64_t data_bytes, unsigned threads, unsigned ops)
{
    struct rng rng = {check_seed() + 2};
    struct overlap *c = calloc(1, sizeof(*c));
    CHECK(c && threads <= THREADS_MAX, "out of memory");
    c->s = s;
    c->win = check_windows(s->blk->size, SPAN, &rng);
    c->data_bytes = data_bytes;
    c->ops = ops * check_stress();
    c->op = calloc((size_t)threads * c->ops + 1, sizeof(*c->op));
    CHECK(c->op, "out of memory");
    for (unsigned i = 0; i < c->win.n; i++) {
        c->sectors[i] = calloc(c->win.w[i].len / SECTOR_BYTES, sizeof(struct sector));
        CHECK(c->sectors[i], "out of memory");
    }
    run_all(c, threads, &rng);
    check_end(c);
    for (int is_crash = 0; s->reopen && is_crash < 2; is_crash++) {
        s->blk = s->reopen(s->arg, is_crash);
        CHECK(s->blk, "the stack cannot be opened again");
        check_end(c);
    }
    for (unsigned i = 0; i < c->win.n; i++)
        free(c->sectors[i]);
    free(c->op);
    free(c);
}
