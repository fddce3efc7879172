/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Range lock: who overlaps waits, who does not runs, first come first served. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/rangelock.h"
#include "core/util.h"
#include "tests/unit/stack-check.h"

#define CELLS 64

struct shared {
    struct range_lock lock;
    _Atomic unsigned turn;
    uint64_t seed;
    unsigned rounds;
    unsigned long cells[CELLS]; /* each protected by its part of the range */
};

struct waiter {
    struct shared *s;
    uint64_t first, end;
    unsigned turn;
    _Atomic bool has_it;
    pthread_t thread;
};

static void *take_once(void *arg)
{
    struct waiter *w = arg;
    struct range r;
    range_take(&w->s->lock, &r, w->first, w->end);
    w->turn = atomic_fetch_add(&w->s->turn, 1);
    atomic_store(&w->has_it, true);
    range_release(&w->s->lock, &r);
    return NULL;
}

/* Start a thread that takes the range, and wait until it stands in the queue as number @place. */
static void start(struct shared *s, struct waiter *w, uint64_t first, uint64_t end, unsigned place)
{
    w->s = s;
    w->first = first;
    w->end = end;
    assert_int_equal(pthread_create(&w->thread, NULL, take_once, w), 0);
    for (unsigned n = 0; n < place;) {
        n = 0;
        LOCK_SCOPE(&s->lock.lock);
        for (const struct range *e = s->lock.head; e; e = e->next)
            n++;
    }
}

static void test_rangelock_lets_disjoint_ranges_run(void **state)
{
    struct shared s = {0};
    struct range a, b, c;
    range_lock_init(&s.lock);
    range_take(&s.lock, &a, 0, 10); /* nobody waits, or this test would not end */
    range_take(&s.lock, &b, 10, 20);
    range_take(&s.lock, &c, UINT64_MAX - 1, UINT64_MAX);
    range_release(&s.lock, &a);
    range_take(&s.lock, &a, 5, 10);
    range_release(&s.lock, &c);
    range_release(&s.lock, &b);
    range_release(&s.lock, &a);
    range_lock_finish(&s.lock);
}

static void test_rangelock_makes_overlapping_ranges_wait(void **state)
{
    struct shared s = {0};
    struct waiter w = {0};
    struct range a;
    range_lock_init(&s.lock);
    range_take(&s.lock, &a, 5, 10);
    start(&s, &w, 9, 12, 2);
    (void)usleep(1000); /* time for a mistake */
    assert_false(atomic_load(&w.has_it));
    range_release(&s.lock, &a);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_true(atomic_load(&w.has_it));
    range_lock_finish(&s.lock);
}

static void test_rangelock_gives_a_large_range_its_turn(void **state)
{
    struct shared s = {0};
    struct waiter all = {0}, late = {0};
    struct range a;
    range_lock_init(&s.lock);
    range_take(&s.lock, &a, 0, 1);
    start(&s, &all, 0, 1000, 2);
    start(&s, &late, 500, 501, 3); /* free by itself, but the large one came first */
    (void)usleep(1000);
    assert_false(atomic_load(&late.has_it));
    range_release(&s.lock, &a);
    assert_int_equal(pthread_join(all.thread, NULL), 0);
    assert_int_equal(pthread_join(late.thread, NULL), 0);
    assert_int_equal(all.turn, 0);
    assert_int_equal(late.turn, 1);
    range_lock_finish(&s.lock);
}

static void *add_ones(void *arg)
{
    struct shared *s = arg;
    struct rng rng = {s->seed + atomic_fetch_add(&s->turn, 1)};
    for (unsigned i = 0; i < s->rounds; i++) {
        uint64_t first = rng_below(&rng, CELLS), end = first + 1 + rng_below(&rng, CELLS - first);
        struct range r;
        range_take(&s->lock, &r, first, end);
        for (uint64_t k = first; k < end; k++)
            s->cells[k]++;
        range_release(&s->lock, &r);
    }
    return NULL;
}

static void test_rangelock_loses_no_update(void **state)
{
    enum { THREADS = 4 };
    struct shared s = {.seed = check_seed(), .rounds = 2000 * check_stress()};
    unsigned long want[CELLS] = {0};
    pthread_t t[THREADS];
    range_lock_init(&s.lock);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, add_ones, &s), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        struct rng rng = {s.seed + i};
        for (unsigned k = 0; k < s.rounds; k++) {
            uint64_t first = rng_below(&rng, CELLS), end = first + 1 + rng_below(&rng, CELLS - first);
            for (uint64_t n = first; n < end; n++)
                want[n]++;
        }
    }
    assert_memory_equal(s.cells, want, sizeof(want));
    range_lock_finish(&s.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rangelock_lets_disjoint_ranges_run),
        cmocka_unit_test(test_rangelock_makes_overlapping_ranges_wait),
        cmocka_unit_test(test_rangelock_gives_a_large_range_its_turn),
        cmocka_unit_test(test_rangelock_loses_no_update),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
