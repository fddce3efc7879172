/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Direct reads while everything happens at once.
 *
 * Writers own their blocks. Each 4 KiB block holds a number that only grows; a zeroed one holds none. A reader knows what was answered before he
 * asked, and what may have been begun when he was done: he must find something in between.
 */
#include "tests/unit/direct-fixture.h"

/* In any thread. */
static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args); /* what else */
    va_end(args);
    (void)fputc('\n', stderr);
    abort();
}

#define WRITERS    3
#define OWN_BLOCKS 64ULL
#define ROUNDS     (IS_SANITIZED ? 4000 : 8000)

struct crowd {
    struct rig *r;
    _Atomic uint64_t begun[WRITERS * OWN_BLOCKS], done[WRITERS * OWN_BLOCKS];
    _Atomic int zeroed[WRITERS * OWN_BLOCKS]; /* ever */
    _Atomic unsigned left;
    _Atomic bool must_stop;
    _Atomic uint64_t answered, from_data;
};

struct writer {
    struct crowd *crowd;
    unsigned n;
};

static void write_number(struct view *v, uint64_t blk, uint64_t number, unsigned how)
{
    uint64_t words[BLOCK_BYTES / 8];
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        words[i] = number;
    uint64_t off = blk << BLOCK_SHIFT;
    if (how % 4 != 0) {
        if (blk_write(v->blk, words, sizeof(words), off) < 0)
            die("write");
        return;
    }
    if (blk_write(v->blk, words, 1024, off) < 0)
        die("write"); /* parts of a block */
    if (blk_write(v->blk, words, sizeof(words) - 1024, off + 1024) < 0)
        die("write");
}

static void *write_on(void *arg)
{
    struct writer *w = arg;
    struct crowd *c = w->crowd;
    unsigned seed = w->n;
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        uint64_t mine = (uint64_t)rand_r(&seed) % OWN_BLOCKS, blk = w->n * OWN_BLOCKS + mine;
        if (rand_r(&seed) % 16 == 0) {
            atomic_store(&c->zeroed[blk], 1);
            if (blk_zero(c->r->view->blk, blk << BLOCK_SHIFT, BLOCK_BYTES) < 0)
                die("write");
            continue;
        }
        atomic_store(&c->begun[blk], i);
        write_number(c->r->view, blk, i, (unsigned)rand_r(&seed));
        atomic_store(&c->done[blk], i);
    }
    atomic_fetch_sub(&c->left, 1);
    return NULL;
}

/* The block as the base has it: no number that a writer uses. */
static bool is_like_base(const struct rig *r, uint64_t blk, const uint64_t *words, size_t i)
{
    return memcmp((const char *)&words[i], r->noise + (blk << BLOCK_SHIFT) + i * 8, 8) == 0;
}

static void check_block(struct crowd *c, uint64_t blk, const uint64_t *words, uint64_t done)
{
    uint64_t begun = atomic_load(&c->begun[blk]);
    bool may_be_zero = atomic_load(&c->zeroed[blk]);
    for (size_t i = 0; i < BLOCK_BYTES / 8; i++) {
        if (words[i] == 0 && may_be_zero)
            continue;
        if (done == 0 && is_like_base(c->r, blk, words, i))
            continue;
        if (words[i] < done || words[i] > begun)
            die("block %llu word %zu: %llu, where %llu was answered and %llu begun", (unsigned long long)blk, i,
                (unsigned long long)words[i], (unsigned long long)done, (unsigned long long)begun);
    }
}

static void *read_on(void *arg)
{
    struct crowd *c = arg;
    struct store s = open_store(c->r);
    unsigned seed = 99;
    while (!atomic_load(&c->must_stop)) {
        uint64_t words[4][BLOCK_BYTES / 8], done[4];
        uint64_t blk = (uint64_t)rand_r(&seed) % (WRITERS * OWN_BLOCKS - 4);
        bool has_data;
        for (int i = 0; i < 4; i++)
            done[i] = atomic_load(&c->done[blk + (uint64_t)i]);
        if (store_read(&s, words, sizeof(words), blk << BLOCK_SHIFT, &has_data) < 0)
            continue;
        atomic_fetch_add(&c->answered, 1);
        atomic_fetch_add(&c->from_data, has_data);
        for (int i = 0; i < 4; i++)
            check_block(c, blk + (uint64_t)i, words[i], done[i]);
    }
    store_close(&s);
    return NULL;
}

static void run_crowd(struct rig *r, enum overlay_mode mode, void (*meanwhile)(struct crowd *c))
{
    struct crowd c = {.r = r, .left = WRITERS};
    struct writer w[WRITERS];
    pthread_t writers[WRITERS], readers[2];
    attach(r, mode);
    record_no_more(r->view);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_on, &c), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){&c, i};
        assert_int_equal(pthread_create(&writers[i], NULL, write_on, &w[i]), 0);
    }
    meanwhile(&c);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(writers[i], NULL), 0);
    atomic_store(&c.must_stop, true);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    assert_true(c.answered > 0 && c.from_data > 0);
    await(r->view, 0);
}

static void wait_for_answers(struct crowd *c, uint64_t n)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    while (atomic_load(&c->from_data) < n && atomic_load(&c->left) > 0)
        (void)nanosleep(&pause, NULL);
}

static void do_nothing(struct crowd *c)
{
}

static void get_ram(struct crowd *c)
{
    wait_for_answers(c, 200);
    ram_pool_set_limits(c->r->pool, 256 * KiB, 0); /* so little that it spills all the time */
}

static void change_mode(struct crowd *c)
{
    struct err err;
    ram_pool_set_limits(c->r->pool, 256 * KiB, 0);
    wait_for_answers(c, 200);
    for (int i = 0; atomic_load(&c->left) > 0 && i < 50; i++) {
        if (overlay_set_kept(c->r->view->overlay, i % 2, &err) < 0)
            fail_msg("%s", err.msg);
        if (i % 2) /* a flush would not find what is in memory */
            assert_int_equal(overlay_ram_bytes(c->r->view->overlay), 0);
    }
}

static void test_direct_reads_are_right_while_all_write_kept(void **state)
{
    run_crowd(*state, OVERLAY_KEPT, do_nothing);
}

static void test_direct_reads_are_right_while_all_write_volatile(void **state)
{
    run_crowd(*state, OVERLAY_VOLATILE, do_nothing);
}

static void test_direct_reads_are_right_when_writes_begin_to_go_to_ram(void **state)
{
    run_crowd(*state, OVERLAY_VOLATILE, get_ram);
}

static void test_direct_reads_are_right_while_the_mode_changes(void **state)
{
    run_crowd(*state, OVERLAY_KEPT, change_mode);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_direct_reads_are_right_while_all_write_kept),
        TEST(test_direct_reads_are_right_while_all_write_volatile),
        TEST(test_direct_reads_are_right_when_writes_begin_to_go_to_ram),
        TEST(test_direct_reads_are_right_while_the_mode_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
