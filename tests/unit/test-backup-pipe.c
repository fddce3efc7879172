/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pipe of a backup: results in order, each chunk read once, whatever mixture goes in; failures of one stream and of none. */
#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backup/pipe.h"
#include "backup/repo.h"
#include "core/util.h"
#include "tests/unit/stack-check.h"

#define CHUNK (64U << 10)
#define COUNT 600U

struct rig {
    char path[64];
    struct repo *repo;
    struct store *store;
    struct pipe *pipe;
    struct err err;
    uint64_t next; /* chunk that done() has to get next */
    uint64_t fail_at;
    _Atomic unsigned reads[COUNT];
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct repo_params params = {.chunk_bytes = CHUNK, .has_no_reserve = true};
    strcpy(r->path, "/tmp/test-pipe-XXXXXX");
    assert_non_null(mkdtemp(r->path));
    if (repo_init(r->path, &params, &r->err) < 0 || repo_open(r->path, REPO_WRITE, 0, "test", &r->repo, &r->err) < 0 ||
        store_open(r->repo, 0, &r->store, &r->err) < 0 || pipe_create(r->store, 4, CHUNK, &r->pipe, &r->err) < 0)
        fail_msg("%s", r->err.msg);
    r->fail_at = UINT64_MAX;
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    char command[128];
    pipe_destroy(r->pipe);
    store_close(r->store);
    repo_close(r->repo);
    (void)snprintf(command, sizeof(command), "rm -rf %s", r->path);
    assert_int_equal(system(command), 0);
    free(r);
    return 0;
}

/* Each chunk says which one it is. */
static void content(uint64_t n, char *buf)
{
    for (size_t i = 0; i < CHUNK; i += 64) {
        memset(buf + i, (int)(n * 7 + i / 64), 64);
        memcpy(buf + i, &n, sizeof(n));
    }
}

static int read_chunk(void *arg, void *buf, size_t len, uint64_t off, struct err *err)
{
    struct rig *r = arg;
    uint64_t n = off / CHUNK;
    atomic_fetch_add(&r->reads[n], 1);
    if (n == r->fail_at)
        return err_set(err, -EREMOTEIO, "chunk %llu cannot be read", (unsigned long long)n);
    content(n, buf);
    if (n % 13 == 0)
        usleep(300); /* so that others overtake it */
    CHECK(len == CHUNK, "a wrong length");
    return 0;
}

static int done(void *arg, const struct pipe_item *i, struct err *err)
{
    struct rig *r = arg;
    CHECK(i->n == r->next, "chunk %llu came out instead of %llu", (unsigned long long)i->n,
          (unsigned long long)r->next);
    r->next += i->count;
    if (i->kind != PIPE_READ)
        return 0;
    char want[CHUNK];
    content(i->n, want);
    CHECK(memcmp(i->buf, want, CHUNK) == 0, "chunk %llu has the bytes of another one", (unsigned long long)i->n);
    unsigned char sha256[32];
    CHECK(sha256_buf(want, CHUNK, sha256) == 0 && memcmp(sha256, i->ref.sha256, 32) == 0, "wrong reference");
    return 0;
}

static int push_range(struct rig *r, const struct pipe_stream *s, uint64_t from, uint64_t to, struct rng *rng)
{
    int e = 0;
    for (uint64_t n = from; n < to && e == 0;) {
        struct pipe_item item = {.n = n, .count = 1, .off = n * CHUNK, .len = CHUNK, .kind = PIPE_READ};
        uint64_t what = rng_below(rng, 4), run = 1 + rng_below(rng, 5);
        if (what > 0) { /* much that needs no work, and is out again before a thread wakes */
            item.kind = what == 1 ? PIPE_KNOWN : what == 2 ? PIPE_INHERIT : PIPE_ZERO;
            item.count = what == 1 ? 1 : MIN(run, to - n);
        }
        e = pipe_push(r->pipe, s, &item, &r->err);
        n += item.count;
    }
    return e;
}

static void test_mixture_comes_out_in_order_and_each_chunk_is_read_once(void **state)
{
    struct rig *r = *state;
    struct rng rng = {check_seed()};
    const struct pipe_stream s = {.read = read_chunk, .done = done, .arg = r};
    for (unsigned round = 0; round < 20 * check_stress(); round++) {
        r->next = 0;
        memset(r->reads, 0, sizeof(r->reads));
        assert_int_equal(push_range(r, &s, 0, COUNT, &rng), 0);
        assert_int_equal(pipe_drain(r->pipe, &r->err), 0);
        assert_int_equal(r->next, COUNT);
        for (unsigned i = 0; i < COUNT; i++)
            assert_true(atomic_load(&r->reads[i]) <= 1);
    }
}

static void test_failure_ends_a_stream_and_the_next_one_begins(void **state)
{
    struct rig *r = *state;
    struct rng rng = {check_seed()};
    const struct pipe_stream s = {.read = read_chunk, .done = done, .arg = r};
    for (unsigned round = 0; round < 10; round++) {
        r->next = 0;
        r->fail_at = 100;
        assert_int_equal(push_range(r, &s, 0, 100, &rng), 0);
        struct pipe_item bad = {.n = 100, .count = 1, .off = 100 * CHUNK, .len = CHUNK};
        int e = pipe_push(r->pipe, &s, &bad, &r->err);
        if (e == 0)
            e = push_range(r, &s, 101, COUNT, &rng);
        if (e == 0)
            e = pipe_drain(r->pipe, &r->err);
        assert_int_equal(e, -EREMOTEIO);
        assert_non_null(strstr(r->err.msg, "chunk 100"));
        assert_true(r->next <= 100);
        pipe_reset(r->pipe);
        r->fail_at = UINT64_MAX;
        r->next = 0;
        assert_int_equal(push_range(r, &s, 0, COUNT, &rng), 0);
        assert_int_equal(pipe_drain(r->pipe, &r->err), 0);
    }
}

/* --- side by side ------------------------------------------------------------------------------------------------ */

struct meeting {
    struct rig *rig;
    sem_t begun;
    _Atomic unsigned waited_in_vain;
};

/* Comes back when another chunk is read as well. */
static int read_together(void *arg, void *buf, size_t len, uint64_t off, struct err *err)
{
    struct meeting *m = arg;
    struct timespec until;
    bool is_first = off == 0;
    (void)err;
    memset(buf, 1 + is_first, len);
    if (!is_first)
        return sem_post(&m->begun);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20; /* a failure, not a measurement */
    if (sem_timedwait(&m->begun, &until) < 0)
        atomic_fetch_add(&m->waited_in_vain, 1);
    return 0;
}

static int done_together(void *arg, const struct pipe_item *i, struct err *err)
{
    struct meeting *m = arg;
    (void)err;
    CHECK(i->n == m->rig->next, "out of order");
    m->rig->next += i->count;
    return 0;
}

/* What need not be read lies between them, and must not hold the others up; of three, one thread takes two at most. */
static void test_chunks_far_apart_are_read_side_by_side(void **state)
{
    struct meeting m = {.rig = *state};
    const struct pipe_stream s = {.read = read_together, .done = done_together, .arg = &m};
    assert_int_equal(sem_init(&m.begun, 0, 0), 0);
    for (uint64_t n = 0; n <= 300; n++) {
        struct pipe_item item = {.n = n, .count = 1, .off = n * CHUNK, .len = CHUNK, .kind = PIPE_ZERO};
        if (n % 150 == 0)
            item.kind = PIPE_READ;
        assert_int_equal(pipe_push(m.rig->pipe, &s, &item, &m.rig->err), 0);
    }
    assert_int_equal(pipe_drain(m.rig->pipe, &m.rig->err), 0);
    assert_int_equal(m.rig->next, 301);
    assert_int_equal(atomic_load(&m.waited_in_vain), 0);
    sem_destroy(&m.begun);
}

/* --- equal names, other bytes ------------------------------------------------------------------------------------ */

/* Two chunks with one name: by the recipe of docs/backup-format.md, and with the short hash as good as any two. */
static void make_twins(char *a, char *b)
{
    static const unsigned char secret[16] = {0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe,
                                             0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c};
    size_t at = 32 * 1024; /* the beginning of a block of 1024 bytes, where the secret begins anew */
    uint32_t high;
    content(1, a);
    memcpy(a + at, secret, 4);
    memcpy(a + at + 64, secret + 8, 4);
    memcpy(b, a, CHUNK);
    memcpy(&high, b + at + 4, 4);
    high += 0x12345;
    memcpy(b + at + 4, &high, 4);
    memcpy(&high, b + at + 68, 4);
    high -= 0x12345;
    memcpy(b + at + 68, &high, 4);
}

struct twin {
    const char *bytes;
    struct chunk_ref ref;
    enum store_result result;
    bool is_mended;
};

static int read_twin(void *arg, void *buf, size_t len, uint64_t off, struct err *err)
{
    const struct twin *t = arg;
    (void)off;
    (void)err;
    memcpy(buf, t->bytes, len);
    return 0;
}

static int twin_done(void *arg, const struct pipe_item *i, struct err *err)
{
    struct twin *t = arg;
    (void)err;
    t->ref = i->ref;
    t->result = i->result;
    t->is_mended = i->is_mended;
    return 0;
}

/* @t at chunk 5 of a disk whose parent set has @parent there. */
static void push_twin(struct rig *r, struct twin *t, const struct chunk_ref *parent, bool is_paranoid)
{
    const struct pipe_stream s = {.read = read_twin, .done = twin_done, .arg = t, .is_paranoid = is_paranoid};
    struct pipe_item item = {.n = 5, .count = 1, .off = 5 * CHUNK, .len = CHUNK, .has_hint = parent != NULL};
    if (parent)
        item.hint = *parent;
    if (pipe_push(r->pipe, &s, &item, &r->err) < 0 || pipe_drain(r->pipe, &r->err) < 0)
        fail_msg("%s", r->err.msg);
}

static void expect_bytes(struct rig *r, const struct twin *t)
{
    char out[CHUNK];
    struct store_worker *w = store_worker_create(r->store);
    if (store_get(w, &t->ref.name, out, NULL, &r->err) < 0)
        fail_msg("%s", r->err.msg);
    store_worker_destroy(w);
    assert_memory_equal(out, t->bytes, CHUNK);
}

static void test_same_name_at_the_same_place_of_the_parent_is_no_proof(void **state)
{
    struct rig *r = *state;
    char a[CHUNK], b[CHUNK];
    make_twins(a, b);
    for (unsigned paranoid = 0; paranoid < 2; paranoid++) {
        struct twin first = {.bytes = a}, second = {.bytes = b}, again = {.bytes = a};
        push_twin(r, &first, NULL, paranoid);
        push_twin(r, &second, &first.ref, paranoid);
        push_twin(r, &again, &first.ref, paranoid);
        assert_memory_equal(first.ref.name.xxh, second.ref.name.xxh, 16);
        assert_int_equal(second.result, paranoid ? STORE_KNOWN : STORE_COLLISION);
        assert_int_equal(again.result, STORE_KNOWN);
        expect_bytes(r, &first);
        expect_bytes(r, &second);
        expect_bytes(r, &again);
    }
}

/* Turns a byte in the middle of every chunk of every pack. */
static void damage_packs(const struct rig *r)
{
    char command[512];
    (void)snprintf(command, sizeof(command),
                   "for p in %s/packs/*/*.tar.zst; do awk 'NF == 5 { print $3 + int($4 / 2) }' ${p%%.tar.zst}.toc | "
                   "while read -r at; do printf '\\125\\252\\125' | dd of=$p bs=1 seek=$at conv=notrunc status=none; "
                   "done; done",
                   r->path);
    assert_int_equal(system(command), 0);
}

static void test_comparing_bytes_stores_damaged_chunk_again(void **state)
{
    struct rig *r = *state;
    char a[CHUNK];
    content(3, a);
    struct twin first = {.bytes = a}, trusting = {.bytes = a}, second = {.bytes = a};
    push_twin(r, &first, NULL, true);
    assert_int_equal(first.result, STORE_NEW);
    assert_int_equal(store_flush(r->store, &r->err), 0);
    damage_packs(r);
    push_twin(r, &trusting, &first.ref, false);
    assert_int_equal(trusting.result, STORE_KNOWN); /* it does not look */
    push_twin(r, &second, &first.ref, true);
    assert_int_equal(second.result, STORE_NEW);
    assert_true(second.is_mended);
    assert_true(chunk_name_equal(&first.ref.name, &second.ref.name)); /* so older sets are whole again */
    expect_bytes(r, &second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mixture_comes_out_in_order_and_each_chunk_is_read_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failure_ends_a_stream_and_the_next_one_begins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chunks_far_apart_are_read_side_by_side, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_name_at_the_same_place_of_the_parent_is_no_proof, setup, teardown),
        cmocka_unit_test_setup_teardown(test_comparing_bytes_stores_damaged_chunk_again, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
