/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The checker with threads that share every block and no byte: thread t owns the sectors whose number is t modulo the threads.
 *
 * A layer that loses an update, or that puts back what it read before another wrote, is caught: each owner knows its bytes exactly.
 */
#include "tests/unit/stack-check.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"

#define SPAN        (64 * KiB)
#define READ_MAX    (16 * KiB)
#define THREADS_MAX 16

struct shared {
    struct check_stack *s;
    struct windows win;
    unsigned threads, ops;
    unsigned char *model[CHECK_WINDOWS]; /* each byte belongs to the owner of its sector */
};

struct owner {
    struct shared *c;
    unsigned no;
    struct rng rng;
    pthread_t thread;
};

static bool is_mine(const struct owner *o, uint64_t off)
{
    return off / SECTOR_BYTES % o->c->threads == o->no;
}

static void check_mine(const struct owner *o, const struct window *w, const unsigned char *model, uint64_t off,
                       const unsigned char *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        CHECK(!is_mine(o, off + i) || buf[i] == model[off + i - w->off], "thread %u: byte %llu is %02x and not %02x",
              o->no, (unsigned long long)(off + i), buf[i], model[off + i - w->off]);
}

/* Part of an own sector: write or zero. */
static void change(struct owner *o, const struct window *w, unsigned char *model)
{
    unsigned char buf[SECTOR_BYTES];
    uint64_t first = w->off / SECTOR_BYTES, count = w->len / SECTOR_BYTES;
    uint64_t sector = first + rng_below(&o->rng, count);
    while (sector % o->c->threads != o->no)
        sector = first + rng_below(&o->rng, count);
    size_t at = rng_below(&o->rng, 2) ? 0 : rng_below(&o->rng, SECTOR_BYTES);
    size_t len = at ? 1 + rng_below(&o->rng, SECTOR_BYTES - at) : SECTOR_BYTES;
    uint64_t off = sector * SECTOR_BYTES + at;
    bool is_zero_op = rng_below(&o->rng, 3) == 0;
    memset(buf, is_zero_op ? 0 : (int)rng_below(&o->rng, 256), len);
    int r = is_zero_op ? blk_zero(o->c->s->blk, off, len) : blk_write(o->c->s->blk, buf, len, off);
    CHECK(r == 0, "thread %u: %s of %zu bytes at %llu: %s", o->no, is_zero_op ? "zero" : "write", len,
          (unsigned long long)off, strerror(-r));
    memcpy(model + (off - w->off), buf, len);
}

static void look(struct owner *o, const struct window *w, const unsigned char *model)
{
    unsigned char buf[READ_MAX];
    size_t len = 1 + rng_below(&o->rng, MIN(w->len, READ_MAX));
    uint64_t off = w->off + rng_below(&o->rng, w->len - len + 1);
    int r = blk_read(o->c->s->blk, buf, len, off);
    CHECK(r == 0, "thread %u: read: %s", o->no, strerror(-r));
    check_mine(o, w, model, off, buf, len);
}

static void *run(void *arg)
{
    struct owner *o = arg;
    for (unsigned i = 0; i < o->c->ops; i++) {
        unsigned n = (unsigned)rng_below(&o->rng, o->c->win.n);
        if (rng_below(&o->rng, 3) == 0)
            look(o, &o->c->win.w[n], o->c->model[n]);
        else
            change(o, &o->c->win.w[n], o->c->model[n]);
        if (rng_below(&o->rng, 100) == 0)
            CHECK(blk_flush(o->c->s->blk) == 0, "flush failed");
    }
    return NULL;
}

static void make_model(struct shared *c, uint64_t data_bytes)
{
    for (unsigned i = 0; i < c->win.n; i++) {
        const struct window *w = &c->win.w[i];
        c->model[i] = malloc(w->len);
        CHECK(c->model[i], "out of memory");
        for (uint64_t at = 0; at < w->len; at += 8) {
            uint64_t word = check_base_word(c->win.size, data_bytes, w->off + at);
            memcpy(c->model[i] + at, &word, sizeof(word));
        }
    }
}

static void verify_all(struct shared *c)
{
    for (unsigned i = 0; i < c->win.n; i++) {
        const struct window *w = &c->win.w[i];
        unsigned char *buf = malloc(w->len);
        CHECK(buf && blk_read(c->s->blk, buf, w->len, w->off) == 0, "the last read failed");
        for (uint64_t k = 0; k < w->len; k++)
            CHECK(buf[k] == c->model[i][k], "at the end byte %llu is %02x and not %02x",
                  (unsigned long long)(w->off + k), buf[k], c->model[i][k]);
        free(buf);
    }
}

void check_shared(struct check_stack *s, uint64_t data_bytes, unsigned threads, unsigned ops)
{
    struct rng rng = {check_seed() + 1};
    struct shared c = {.s = s, .threads = threads, .ops = ops * check_stress()};
    struct owner owners[THREADS_MAX];
    c.win = check_windows(s->blk->size, SPAN, &rng);
    for (unsigned i = 0; i < c.win.n; i++)
        CHECK(c.win.w[i].len / SECTOR_BYTES >= threads && threads <= THREADS_MAX, "the disk is too small");
    make_model(&c, data_bytes);
    for (unsigned i = 0; i < threads; i++) {
        owners[i] = (struct owner){.c = &c, .no = i, .rng = {rng_next(&rng)}};
        CHECK(pthread_create(&owners[i].thread, NULL, run, &owners[i]) == 0, "no thread");
    }
    for (unsigned i = 0; i < threads; i++)
        (void)pthread_join(owners[i].thread, NULL); /* ours, and joined once */
    verify_all(&c);
    for (int is_crash = 0; s->reopen && is_crash < 2; is_crash++) {
        s->blk = s->reopen(s->arg, is_crash);
        CHECK(s->blk, "the stack cannot be opened again");
        verify_all(&c);
    }
    for (unsigned i = 0; i < c.win.n; i++)
        free(c.model[i]);
}
