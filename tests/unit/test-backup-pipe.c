/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pipe of a backup: results in order, each chunk read once, whatever mixture goes in; failures of one stream and of none. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
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
    CHECK(chunk_sha256(want, CHUNK, sha256) == 0 && memcmp(sha256, i->ref.sha256, 32) == 0, "wrong reference");
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

/* What the parent has at this place is not asked for in the store, unless somebody trusts nobody. */
static void test_hint_is_taken_where_it_fits(void **state)
{
    struct rig *r = *state;
    char buf[CHUNK];
    for (unsigned paranoid = 0; paranoid < 2; paranoid++) {
        const struct pipe_stream s = {.read = read_chunk, .done = done, .arg = r, .is_paranoid = paranoid};
        r->next = 5;
        content(5, buf);
        struct pipe_item item = {.n = 5, .count = 1, .off = 5 * CHUNK, .len = CHUNK, .has_hint = true};
        item.hint.len = CHUNK;
        chunk_hash(buf, CHUNK, item.hint.name.xxh);
        assert_int_equal(chunk_sha256(buf, CHUNK, item.hint.sha256), 0);
        assert_int_equal(pipe_push(r->pipe, &s, &item, &r->err), 0);
        assert_int_equal(pipe_drain(r->pipe, &r->err), 0);
        struct store_counts counts;
        store_counts(r->store, &counts);
        bool is_trusted = !paranoid && strcmp(chunk_hash_name, "xxh3-128") == 0;
        assert_int_equal(counts.fresh, is_trusted ? 0 : 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mixture_comes_out_in_order_and_each_chunk_is_read_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failure_ends_a_stream_and_the_next_one_begins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hint_is_taken_where_it_fits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
