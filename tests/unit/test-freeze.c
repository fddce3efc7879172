/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Freezes: what a reader sees while writers go on, what voids one, and that no writer ever fails for it. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/cow.h"
#include "core/frozen.h"
#include "core/util.h"
#include "tests/unit/stack-check.h"

#define DISK     (6 * MiB + 3 * BLOCK_BYTES + 512)
#define BLOCKS   ((DISK + BLOCK_BYTES - 1) / BLOCK_BYTES)
#define ID       "11111111-2222-4333-8444-555555555555"
#define OVERLAYS 2

struct rig {
    char path[64];
    int live_fd, frozen_fd, holder_fd;
    struct overlay_place place[OVERLAYS];
    struct map_stamp stamp[OVERLAYS];
    struct overlay *o[OVERLAYS];
    struct freeze *f[OVERLAYS];
    struct freeze_set set;
    struct blk *base;
    struct err err;
};

static int make_dir(const struct rig *r, const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", r->path, name);
    assert_int_equal(mkdir(path, 0700), 0);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    strcpy(r->path, "/tmp/test-freeze-XXXXXX");
    assert_non_null(mkdtemp(r->path));
    r->live_fd = make_dir(r, "live");
    r->frozen_fd = make_dir(r, "frozen");
    r->holder_fd = -1;
    r->base = check_base_create(DISK, DISK - 512);
    for (unsigned i = 0; i < OVERLAYS; i++) {
        char name[16], found[UUID_LEN + 1];
        (void)snprintf(name, sizeof(name), "pc%u", i);
        r->place[i] = (struct overlay_place){.dir_fd = make_dir(r, name), .live_fd = r->live_fd};
        r->stamp[i] = (struct map_stamp){
            .overlay_id = {(unsigned char)(i + 1), 2, 3}, .base_identity = "base", .size_bytes = DISK};
        if (overlay_open(&r->place[i], &r->stamp[i], true, false, r->base, &r->o[i], found, &r->err) != 0)
            fail_msg("%s", r->err.msg);
    }
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    char command[128];
    for (unsigned i = 0; i < OVERLAYS; i++) {
        assert_int_equal(overlay_close(r->o[i], &r->err), 0);
        (void)close(r->place[i].dir_fd);
    }
    blk_destroy(r->base);
    closep(&r->holder_fd);
    (void)close(r->live_fd);
    (void)close(r->frozen_fd);
    (void)snprintf(command, sizeof(command), "rm -rf %s", r->path);
    assert_int_equal(system(command), 0);
    free(r);
    return 0;
}

static void freeze(struct rig *r)
{
    struct range gate[OVERLAYS];
    r->set = (struct freeze_set){.dir_fd = r->frozen_fd, .id = ID};
    r->holder_fd = frozen_hold(r->frozen_fd, ID, &r->err);
    assert_true(r->holder_fd >= 0);
    for (unsigned i = 0; i < OVERLAYS; i++)
        assert_int_equal(freeze_create(&r->set, overlay_map(r->o[i]), overlay_data_fd(r->o[i]), &r->f[i], &r->err), 0);
    for (unsigned i = 0; i < OVERLAYS; i++)
        cow_gate_close(overlay_blk(r->o[i]), &gate[i]);
    for (unsigned i = 0; i < OVERLAYS; i++)
        cow_freeze(overlay_blk(r->o[i]), r->f[i]);
    for (unsigned i = 0; i < OVERLAYS; i++)
        cow_gate_open(overlay_blk(r->o[i]), &gate[i]);
    for (unsigned i = 0; i < OVERLAYS; i++)
        (void)freeze_complete(r->f[i]); /* broken ones are a case of their own */
}

static void thaw(struct rig *r)
{
    freeze_break(&r->set, -ECANCELED);
    for (unsigned i = 0; i < OVERLAYS; i++) {
        cow_thaw(overlay_blk(r->o[i]), r->f[i]);
        freeze_destroy(r->f[i]);
    }
    closep(&r->holder_fd);
}

static struct frozen *look(struct rig *r, unsigned i)
{
    struct frozen *z = NULL;
    if (frozen_open(r->frozen_fd, ID, r->holder_fd, r->place[i].dir_fd, 0, &r->stamp[i], &z, &r->err) != 0)
        fail_msg("%s", r->err.msg);
    return z;
}

/* All of the disk as the freeze has it; 0 or -ESTALE. */
static int read_all(struct rig *r, const struct frozen *z, char *ret)
{
    for (uint64_t blk = 0, n = 0; blk < BLOCKS; blk += n) {
        enum block_state s;
        n = frozen_run(z, blk, BLOCKS - blk, &s);
        uint64_t off = blk * BLOCK_BYTES, len = MIN(n * BLOCK_BYTES, DISK - off);
        int e = 0;
        if (s == BLOCK_PRESENT)
            e = frozen_read(z, ret + off, (size_t)len, off);
        else if (s == BLOCK_ABSENT)
            e = blk_read(r->base, ret + off, (size_t)len, off);
        else
            memset(ret + off, 0, (size_t)len);
        if (e < 0)
            return e;
    }
    return frozen_check(r->holder_fd);
}

static void scribble(struct blk *b, struct rng *rng, unsigned ops)
{
    static char buf[256 << 10];
    for (unsigned i = 0; i < ops; i++) {
        uint64_t off = rng_below(rng, DISK), len = 1 + rng_below(rng, MIN(sizeof(buf), DISK - off));
        if (rng_below(rng, 2)) {
            off = round_down(off, BLOCK_BYTES);
            len = MIN(round_up(len, BLOCK_BYTES), DISK - off);
        }
        len = MIN(len, sizeof(buf));
        memset(buf, (int)rng_next(rng), (size_t)len);
        if (rng_below(rng, 4) == 0)
            assert_int_equal(blk_zero(b, off, len), 0);
        else
            assert_int_equal(blk_write(b, buf, (size_t)len, off), 0);
    }
}

/* --- one thread --------------------------------------------------------------------------------------------------- */

static void test_frozen_disk_stays_while_its_client_writes(void **state)
{
    struct rig *r = *state;
    struct rng rng = {check_seed()};
    _cleanup_free_ char *then = malloc(DISK), *now = malloc(DISK);
    for (unsigned round = 0; round < 12 * check_stress(); round++) {
        struct blk *b = overlay_blk(r->o[0]);
        scribble(b, &rng, 10);
        assert_int_equal(blk_read(b, then, DISK, 0), 0);
        freeze(r);
        struct frozen *z = look(r, 0);
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(read_all(r, z, now), 0);
            assert_memory_equal(then, now, DISK);
            scribble(b, &rng, 8);
        }
        assert_int_equal(blk_zero(b, 0, DISK), 0);
        scribble(b, &rng, 4);
        assert_int_equal(read_all(r, z, now), 0);
        assert_memory_equal(then, now, DISK);
        frozen_close(z);
        thaw(r);
    }
}

/* The random checker's model must hold with a freeze that begins and ends under it. */
static void test_client_sees_nothing_of_a_freeze(void **state)
{
    struct rig *r = *state;
    struct check_stack s = {.blk = overlay_blk(r->o[0])};
    freeze(r);
    check_single(&s, DISK - 512, 1, 400);
    thaw(r);
}

static uint64_t data_bytes(struct rig *r)
{
    struct stat st;
    assert_int_equal(fstat(overlay_data_fd(r->o[0]), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void test_discarded_storage_comes_back_with_the_thaw(void **state)
{
    struct rig *r = *state;
    static char buf[4 << 20];
    memset(buf, 7, sizeof(buf));
    assert_int_equal(blk_write(overlay_blk(r->o[0]), buf, sizeof(buf), 0), 0);
    freeze(r);
    assert_int_equal(blk_zero(overlay_blk(r->o[0]), 0, DISK), 0);
    assert_true(freeze_side_bytes(r->f[0]) == 0); /* a discard copies nothing */
    assert_true(data_bytes(r) >= sizeof(buf));
    thaw(r);
    assert_true(data_bytes(r) < MiB);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

#define WRITERS     3
#define WRITER_BLKS 200U

struct writer {
    struct rig *r;
    unsigned number;
    _Atomic bool *stop;
    pthread_t thread;
};

/* Each writer has blocks of its own and stamps the same count into both disks, one after the other. */
static void *stamp(void *arg)
{
    struct writer *w = arg;
    uint64_t block[BLOCK_BYTES / 8];
    for (uint64_t count = 1; !atomic_load(w->stop); count++) {
        uint64_t blk = w->number * WRITER_BLKS + count % WRITER_BLKS;
        for (size_t i = 0; i < ARRAY_SIZE(block); i++)
            block[i] = count;
        for (unsigned i = 0; i < OVERLAYS; i++)
            CHECK(blk_write(overlay_blk(w->r->o[i]), block, sizeof(block), blk * BLOCK_BYTES) == 0, "write failed");
    }
    return NULL;
}

/* The greatest stamp of a writer's blocks; all of a block is one write. */
static uint64_t newest(const char *disk, unsigned writer)
{
    uint64_t max = 0, word[BLOCK_BYTES / 8];
    for (uint64_t b = 0; b < WRITER_BLKS; b++) {
        memcpy(word, disk + (writer * WRITER_BLKS + b) * BLOCK_BYTES, sizeof(word));
        for (size_t i = 1; i < ARRAY_SIZE(word); i++)
            assert_true(word[i] == word[0]);
        max = MAX(max, word[0]);
    }
    return max;
}

static void check_instant(char *disk[OVERLAYS])
{
    for (unsigned w = 0; w < WRITERS; w++) {
        uint64_t first = newest(disk[0], w), second = newest(disk[1], w);
        if (first != second && first != second + 1)
            fail_msg("writer %u had written %llu and %llu: no such moment", w, (unsigned long long)first,
                     (unsigned long long)second);
        for (uint64_t b = 0; b < WRITER_BLKS; b++) { /* and the blocks are those of that very count */
            uint64_t word, at = (w * WRITER_BLKS + b) * BLOCK_BYTES;
            memcpy(&word, disk[0] + at, sizeof(word));
            uint64_t want = first >= b ? first - (first - b) % WRITER_BLKS : 0;
            assert_int_equal(word, want);
        }
    }
}

static void test_all_disks_are_of_one_instant(void **state)
{
    struct rig *r = *state;
    _Atomic bool stop = false;
    struct writer w[WRITERS];
    char *disk[OVERLAYS], *again = malloc(DISK);
    assert_int_equal(blk_zero(overlay_blk(r->o[0]), 0, DISK), 0);
    assert_int_equal(blk_zero(overlay_blk(r->o[1]), 0, DISK), 0);
    for (unsigned i = 0; i < OVERLAYS; i++)
        disk[i] = malloc(DISK);
    for (unsigned i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){.r = r, .number = i, .stop = &stop};
        assert_int_equal(pthread_create(&w[i].thread, NULL, stamp, &w[i]), 0);
    }
    for (unsigned round = 0; round < 25 * check_stress(); round++) {
        freeze(r);
        struct frozen *z[OVERLAYS];
        for (unsigned i = 0; i < OVERLAYS; i++) {
            z[i] = look(r, i);
            assert_int_equal(read_all(r, z[i], disk[i]), 0);
        }
        check_instant(disk);
        for (unsigned i = 0; i < OVERLAYS; i++) {
            assert_int_equal(read_all(r, z[i], again), 0);
            assert_memory_equal(again, disk[i], DISK);
            frozen_close(z[i]);
        }
        thaw(r);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < WRITERS; i++)
        (void)pthread_join(w[i].thread, NULL);
    for (unsigned i = 0; i < OVERLAYS; i++)
        free(disk[i]);
    free(again);
}

/* --- void --------------------------------------------------------------------------------------------------------- */

static void test_a_start_of_diskgate_fs_voids_what_is_frozen(void **state)
{
    struct rig *r = *state;
    _cleanup_free_ char *disk = malloc(DISK);
    freeze(r);
    struct frozen *z = look(r, 0);
    assert_int_equal(read_all(r, z, disk), 0);
    assert_int_equal(freeze_sweep(r->frozen_fd), 0);
    assert_int_equal(read_all(r, z, disk), -ESTALE);
    frozen_close(z);
    thaw(r);
}

/* No room for old bytes: the client goes on, the reader is told. */
static void test_a_full_disk_costs_the_freeze_and_not_the_write(void **state)
{
    struct rig *r = *state;
    char path[128];
    static char buf[2 << 20], back[2 << 20];
    (void)snprintf(path, sizeof(path), "%s/frozen", r->path);
    if (mount("tmpfs", path, "tmpfs", 0, "size=512k") < 0)
        skip();
    (void)close(r->frozen_fd);
    r->frozen_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    memset(buf, 1, sizeof(buf));
    assert_int_equal(blk_write(overlay_blk(r->o[0]), buf, sizeof(buf), 0), 0);
    freeze(r);
    struct frozen *z = look(r, 0);
    memset(buf, 2, sizeof(buf));
    int written = blk_write(overlay_blk(r->o[0]), buf, sizeof(buf), 0);
    _cleanup_free_ char *disk = malloc(DISK);
    int seen = read_all(r, z, disk);
    int why = atomic_load(&r->set.broken);
    frozen_close(z);
    thaw(r);
    (void)close(r->frozen_fd);
    assert_int_equal(umount2(path, MNT_DETACH), 0);
    r->frozen_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(written, 0);
    assert_int_equal(seen, -ESTALE);
    assert_int_equal(why, -ENOSPC);
    assert_int_equal(blk_read(overlay_blk(r->o[0]), back, sizeof(back), 0), 0);
    assert_memory_equal(buf, back, sizeof(buf));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_frozen_disk_stays_while_its_client_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_sees_nothing_of_a_freeze, setup, teardown),
        cmocka_unit_test_setup_teardown(test_discarded_storage_comes_back_with_the_thaw, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_disks_are_of_one_instant, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_start_of_diskgate_fs_voids_what_is_frozen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk_costs_the_freeze_and_not_the_write, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
