/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random checker that fits any stack of layers (struct blk *), in three modes:
 *
 *   check_single()    one thread; every answer is compared with an array in memory; closes, crashes and opens the stack in between
 *   check_shared()    threads own sectors in turn, so all share every block and no byte: content is known exactly
 *   check_overlap()   threads write over each other; stamps in every sector tell which operation it came from
 *
 * Places are drawn from a few windows: the beginning, both sides of each leaf border (128 MiB), the end, some at random. So a disk
 * may be as large as it likes.
 *
 * A stack must begin as check_base_word() says: let its lowest layer be check_base_create(), and everything above be empty.
 *
 * Every run is made from one number. It is printed when a check fails, and DISKGATE_SEED=NUMBER repeats it (threads permitting);
 * DISKGATE_STRESS=N makes each run N times as long. A failed check prints one line and aborts the program.
 *
 * Threads: one call at a time per stack.
 */
#ifndef DISKGATE_TESTS_STACK_CHECK_H
#define DISKGATE_TESTS_STACK_CHECK_H

#include "core/blk.h"

struct check_stack {
    struct blk *blk;
    /* Open the stack again: after a clean end, or as after the death of the process, when nothing was closed. Returns the new layer;
     * NULL when it fails. NULL = never. */
    struct blk *(*reopen)(void *arg, bool is_crash);
    void *arg;
    bool may_fail; /* an error of write, zero and read is no failure: of what was written, each byte is old or new */
};

/* The lowest layer of a stack under test: @size bytes, of which @data_bytes are in a file and the rest is padding. */
struct blk *check_base_create(uint64_t size, uint64_t data_bytes);

/* The 8 bytes at @off (a multiple of 8) of that layer. */
uint64_t check_base_word(uint64_t size, uint64_t data_bytes, uint64_t off);

/* @data_bytes: what check_base_create() was given. */
void check_single(struct check_stack *s, uint64_t data_bytes, unsigned rounds, unsigned ops);
void check_shared(struct check_stack *s, uint64_t data_bytes, unsigned threads, unsigned ops);
void check_overlap(struct check_stack *s, uint64_t data_bytes, unsigned threads, unsigned ops);

/* --- for tests with a model of their own ------------------------------------------------------------------------- */

struct rng {
    uint64_t state;
};

uint64_t check_seed(void);   /* DISKGATE_SEED, else from the clock; the same for all calls in a process */
unsigned check_stress(void); /* DISKGATE_STRESS, else 1 */
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* 0 .. n - 1 */

/* Print one line with the seed and abort unless @ok. */
#define CHECK(ok, ...)                                                                                                 \
    do {                                                                                                               \
        if (!(ok))                                                                                                     \
            check_failed(__FILE__, __LINE__, __VA_ARGS__);                                                             \
    } while (0)
void check_failed(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4), noreturn));

/* --- between the files of the checker ---------------------------------------------------------------------------- */

#define CHECK_WINDOWS 12

struct window {
    uint64_t off, len;
};

struct windows {
    uint64_t size;
    unsigned n;
    struct window w[CHECK_WINDOWS]; /* rising, disjoint, whole sectors */
};

/* Windows of at most @span bytes. */
struct windows check_windows(uint64_t size, uint64_t span, struct rng *r);

/* A random range within one window, any alignment, often at its end, at block borders or at whole sectors. */
void check_range(const struct windows *w, struct rng *r, uint64_t max, uint64_t *ret_off, size_t *ret_len);

#endif
