/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An overlay whose process is killed at any moment: all that was acknowledged is there. */
#include "tests/unit/overlay-fixture.h"

#include <stdatomic.h>
#include <sys/mman.h>

#define KILL_SPAN (64 * KiB) /* the leaf border and the end of the disk are in it */
#define KILL_OFF  (DISK - KILL_SPAN)

struct step {
    uint64_t off;
    size_t len;
    int byte; /* -1 = zero the range */
    bool is_flush;
};

static struct step next_step(struct rng *rng)
{
    struct step s = {.len = 1 + rng_below(rng, 3 * BLOCK_BYTES)};
    s.off = KILL_OFF + rng_below(rng, KILL_SPAN - s.len);
    s.byte = rng_below(rng, 3) ? (int)rng_below(rng, 256) : -1;
    s.is_flush = rng_below(rng, 50) == 0;
    return s;
}

static void carry_out(struct overlay *o, const struct step *s)
{
    char buf[3 * BLOCK_BYTES];
    memset(buf, s->byte, s->len);
    int r = s->byte < 0 ? blk_zero(overlay_blk(o), s->off, s->len) : blk_write(overlay_blk(o), buf, s->len, s->off);
    CHECK(r == 0 && (!s->is_flush || blk_flush(overlay_blk(o)) == 0), "a step failed");
}

static void apply(unsigned char *model, const struct step *s)
{
    memset(model + (s->off - KILL_OFF), s->byte < 0 ? 0 : s->byte, s->len);
}

/* Write on and on until killed; *done counts what was acknowledged. */
static void write_for_ever(struct rig *r, enum mode mode, struct rng rng, _Atomic uint64_t *done)
{
    struct overlay *o = open_ok(r, X, mode);
    for (;;) {
        struct step s = next_step(&rng);
        carry_out(o, &s);
        atomic_fetch_add(done, 1);
    }
}

/* Every acknowledged step is there; of the one under way, any byte may be. */
static void check_acknowledged(struct rig *r, enum mode mode, unsigned char *model, struct rng *rng, uint64_t done)
{
    static unsigned char now[KILL_SPAN], after[KILL_SPAN];
    for (uint64_t i = 0; i < done; i++) {
        struct step s = next_step(rng);
        apply(model, &s);
    }
    struct step under_way = next_step(rng);
    memcpy(after, model, KILL_SPAN);
    apply(after, &under_way);
    struct overlay *o = open_ok(r, X, mode);
    assert_int_equal(blk_read(overlay_blk(o), now, KILL_SPAN, KILL_OFF), 0);
    for (uint64_t i = 0; i < KILL_SPAN; i++)
        CHECK(now[i] == model[i] || now[i] == after[i], "after %llu acknowledged steps byte %llu is %02x, not %02x",
              (unsigned long long)done, (unsigned long long)i, now[i], model[i]);
    memcpy(model, now, KILL_SPAN);
    close_ok(r, o);
}

static void kill_rounds(struct rig *r, enum mode mode, unsigned rounds)
{
    static unsigned char model[KILL_SPAN];
    struct rng rng = {check_seed() + mode};
    _Atomic uint64_t *done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(done != MAP_FAILED);
    assert_int_equal(blk_read(r->base, model, KILL_SPAN, KILL_OFF), 0);
    for (unsigned i = 0; i < rounds; i++) {
        struct rng mine = {rng_next(&rng)};
        atomic_store(done, 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            write_for_ever(r, mode, mine, done);
        (void)usleep((useconds_t)rng_below(&rng, 20000)); /* any moment will do, also while it is opened */
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        check_acknowledged(r, mode, model, &mine, atomic_load(done));
    }
    (void)munmap((void *)done, 4096);
}

static void test_overlay_volatile_loses_nothing_acknowledged_to_sigkill(void **state)
{
    kill_rounds(*state, VOLATILE, 60 * check_stress());
}

static void test_overlay_kept_loses_nothing_acknowledged_to_sigkill(void **state)
{
    kill_rounds(*state, KEPT, 60 * check_stress());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_overlay_volatile_loses_nothing_acknowledged_to_sigkill),
        TEST(test_overlay_kept_loses_nothing_acknowledged_to_sigkill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
