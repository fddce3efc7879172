/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Live map: states, runs, leaves, what another process finds, and every kind of damage. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/blk.h"
#include "core/livemap.h"
#include "core/util.h"
#include "tests/unit/stack-check.h"

#define LEAF_BYTES (LEAF_BLOCKS * BLOCK_BYTES)
#define DISK       (3 * LEAF_BYTES + 5 * BLOCK_BYTES + 512) /* four leaves, the last one covers six blocks */

struct rig {
    int fd; /* the file, of our own */
    struct livemap *map;
};

static struct map_stamp stamp_of(uint64_t size)
{
    return (struct map_stamp){.overlay_id = {9, 8, 7}, .base_identity = "xxh3:base", .size_bytes = size};
}

static struct livemap *make(int fd, uint64_t size)
{
    struct map_stamp stamp = stamp_of(size);
    struct livemap *m = NULL;
    struct err err;
    assert_int_equal(livemap_create(dup(fd), &stamp, &m, &err), 0);
    return m;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    r->fd = memfd_create("map", MFD_CLOEXEC);
    r->map = make(r->fd, DISK);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    livemap_close(r->map);
    (void)close(r->fd);
    free(r);
    return 0;
}

/* Open the file as another process would; the rig's own mapping stays. */
static int open_again(const struct rig *r, struct livemap **ret)
{
    struct err err = {""};
    int fd = dup(r->fd), code = livemap_open(fd, false, ret, &err);
    if (code < 0) {
        (void)close(fd);
        assert_true(err.msg[0]);
    }
    return code;
}

static void set(struct livemap *m, uint64_t blk, uint64_t n, enum block_state s)
{
    assert_int_equal(livemap_prepare(m, blk, n, s), 0);
    if (s == BLOCK_PRESENT)
        livemap_set_present(m, blk, n);
    else
        livemap_set_zero(m, blk, n);
}

static void assert_run(const struct livemap *m, uint64_t blk, uint64_t max, enum block_state want, uint64_t len)
{
    enum block_state s;
    assert_int_equal(livemap_run(m, blk, max, &s), len);
    assert_int_equal(s, want);
}

/* --- states and runs --------------------------------------------------------------------------------------------- */

static void test_livemap_begins_absent(void **state)
{
    struct rig *r = *state;
    assert_run(r->map, 0, UINT64_MAX, BLOCK_ABSENT, 3 * LEAF_BLOCKS + 6);
    assert_int_equal(livemap_dir_count(r->map), 4);
    assert_string_equal(livemap_stamp(r->map)->base_identity, "xxh3:base");
}

static void test_livemap_goes_through_all_states(void **state)
{
    struct rig *r = *state;
    set(r->map, 7, 1, BLOCK_PRESENT);
    assert_run(r->map, 7, 9, BLOCK_PRESENT, 1);
    set(r->map, 7, 1, BLOCK_ZERO);
    assert_run(r->map, 7, 9, BLOCK_ZERO, 1);
    set(r->map, 7, 1, BLOCK_PRESENT);
    assert_run(r->map, 7, 9, BLOCK_PRESENT, 1);
    set(r->map, 8, 1, BLOCK_ZERO); /* straight from absent */
    assert_run(r->map, 8, 9, BLOCK_ZERO, 1);
    set(r->map, 8, 1, BLOCK_PRESENT);
    assert_run(r->map, 7, 9, BLOCK_PRESENT, 2);
    assert_run(r->map, 0, 9, BLOCK_ABSENT, 7);
}

static void test_livemap_runs_go_over_leaf_borders(void **state)
{
    struct rig *r = *state;
    set(r->map, LEAF_BLOCKS - 3, LEAF_BLOCKS + 6, BLOCK_PRESENT);
    assert_run(r->map, 0, UINT64_MAX, BLOCK_ABSENT, LEAF_BLOCKS - 3);
    assert_run(r->map, LEAF_BLOCKS - 3, UINT64_MAX, BLOCK_PRESENT, LEAF_BLOCKS + 6);
    assert_run(r->map, LEAF_BLOCKS - 3, 100, BLOCK_PRESENT, 100);
    assert_run(r->map, LEAF_BLOCKS - 1, 1, BLOCK_PRESENT, 1);
    assert_run(r->map, 2 * LEAF_BLOCKS + 3, UINT64_MAX, BLOCK_ABSENT, LEAF_BLOCKS + 3);
}

static void test_livemap_runs_equal_an_array(void **state)
{
    struct rig *r = *state;
    struct rng rng = {check_seed()};
    const uint64_t from = LEAF_BLOCKS - 300, n = 600;
    enum block_state model[600] = {0}, s;
    for (unsigned i = 0; i < 3000 * check_stress(); i++) {
        uint64_t at = rng_below(&rng, n), len = 1 + rng_below(&rng, MIN(n - at, 100)), same = 0;
        enum block_state to = rng_below(&rng, 2) ? BLOCK_PRESENT : BLOCK_ZERO;
        set(r->map, from + at, len, to);
        for (uint64_t k = at; k < at + len; k++)
            model[k] = to;
        at = rng_below(&rng, n);
        while (at + same < n && model[at + same] == model[at])
            same++;
        CHECK(livemap_run(r->map, from + at, n - at, &s) == same && s == model[at], "run at %llu",
              (unsigned long long)at);
    }
}

static void test_livemap_whole_leaves_of_zeros_need_no_leaf(void **state)
{
    struct rig *r = *state;
    struct stat before, after;
    assert_int_equal(fstat(r->fd, &before), 0);
    set(r->map, 0, 3 * LEAF_BLOCKS + 6, BLOCK_ZERO);
    assert_int_equal(fstat(r->fd, &after), 0);
    assert_int_equal(before.st_blocks, after.st_blocks);
    assert_run(r->map, 0, UINT64_MAX, BLOCK_ZERO, 3 * LEAF_BLOCKS + 6);
}

static void test_livemap_write_into_all_leaf_clears_one_bit(void **state)
{
    struct rig *r = *state;
    set(r->map, LEAF_BLOCKS, LEAF_BLOCKS, BLOCK_ZERO);
    set(r->map, LEAF_BLOCKS + 5, 1, BLOCK_PRESENT);
    assert_run(r->map, LEAF_BLOCKS, UINT64_MAX, BLOCK_ZERO, 5);
    assert_run(r->map, LEAF_BLOCKS + 5, UINT64_MAX, BLOCK_PRESENT, 1);
    assert_run(r->map, LEAF_BLOCKS + 6, UINT64_MAX, BLOCK_ZERO, LEAF_BLOCKS - 6);
}

static void test_livemap_counts_changes_over_reopen(void **state)
{
    struct rig *r = *state;
    struct livemap *again;
    uint64_t before = livemap_changes(r->map);
    set(r->map, 1, 1, BLOCK_PRESENT);
    uint64_t after = livemap_changes(r->map);
    assert_true(after > before);
    assert_int_equal(open_again(r, &again), 0);
    assert_int_equal(livemap_changes(again), after);
    livemap_close(again);
}

static void test_livemap_is_found_as_it_was_left(void **state)
{
    struct rig *r = *state;
    struct livemap *again;
    set(r->map, LEAF_BLOCKS - 1, 2, BLOCK_PRESENT);
    set(r->map, 2 * LEAF_BLOCKS, LEAF_BLOCKS, BLOCK_ZERO);
    livemap_close(r->map);
    r->map = NULL;
    assert_int_equal(open_again(r, &again), 0);
    assert_run(again, LEAF_BLOCKS - 1, UINT64_MAX, BLOCK_PRESENT, 2);
    assert_run(again, 2 * LEAF_BLOCKS, UINT64_MAX, BLOCK_ZERO, LEAF_BLOCKS);
    assert_run(again, 0, UINT64_MAX, BLOCK_ABSENT, LEAF_BLOCKS - 1);
    assert_memory_equal(livemap_stamp(again)->overlay_id, "\x09\x08\x07", 3);
    livemap_close(again);
}

static void test_livemap_leaves_copy_into_another_map(void **state)
{
    struct rig *r = *state;
    uint64_t bits[LEAF_WORDS];
    int fd = memfd_create("other", MFD_CLOEXEC);
    struct livemap *other = make(fd, DISK);
    set(r->map, 100, 1000, BLOCK_PRESENT);
    set(r->map, 200, 5, BLOCK_ZERO);
    for (uint64_t dir = 0; dir < 4; dir++)
        for (int plane = 0; plane < 2; plane++)
            if (livemap_leaf_get(r->map, dir, plane, bits))
                assert_int_equal(livemap_leaf_put(other, dir, plane, bits), 0);
    assert_run(other, 100, UINT64_MAX, BLOCK_PRESENT, 100);
    assert_run(other, 200, UINT64_MAX, BLOCK_ZERO, 5);
    assert_run(other, 205, UINT64_MAX, BLOCK_PRESENT, 895);
    livemap_close(other);
    (void)close(fd);
}

/* --- threads ----------------------------------------------------------------------------------------------------- */

#define RACES 400

struct race {
    struct livemap *map;
    _Atomic unsigned at, done;
};

/* Block 0 of each leaf is absent and block 1 was zeroed: while it is written, a run of absent blocks never takes it in. */
static void *watch(void *arg)
{
    struct race *race = arg;
    enum block_state s;
    for (unsigned at = 0; at < RACES; at++) {
        atomic_store(&race->at, at);
        do
            CHECK(livemap_run(race->map, at * LEAF_BLOCKS, 8, &s) == 1 && s == BLOCK_ABSENT,
                  "a written block is absent");
        while (atomic_load(&race->done) <= at);
    }
    return NULL;
}

static void test_livemap_reader_sees_zero_or_present_and_never_absent(void **state)
{
    int fd = memfd_create("race", MFD_CLOEXEC);
    struct race race = {.map = make(fd, RACES * LEAF_BYTES)};
    pthread_t t;
    for (unsigned i = 0; i < RACES; i++)
        set(race.map, i * LEAF_BLOCKS + 1, 20, BLOCK_ZERO);
    assert_int_equal(pthread_create(&t, NULL, watch, &race), 0);
    for (unsigned i = 0; i < RACES; i++) {
        while (atomic_load(&race.at) < i)
            ;
        set(race.map, i * LEAF_BLOCKS + 1, 1, BLOCK_PRESENT);
        atomic_store(&race.done, i + 1);
    }
    assert_int_equal(pthread_join(t, NULL), 0);
    livemap_close(race.map);
    (void)close(fd);
}

/* --- other boots, damage ----------------------------------------------------------------------------------------- */

static void flip(int fd, uint64_t off, unsigned char mask)
{
    unsigned char c;
    assert_int_equal(pread_full(fd, &c, 1, off), 0);
    c ^= mask;
    assert_int_equal(pwrite_full(fd, &c, 1, off), 0);
}

static void test_livemap_of_another_boot_is_stale(void **state)
{
    struct rig *r = *state;
    struct livemap *again;
    for (uint64_t i = 16; i < 32; i++) {
        flip(r->fd, i, 1);
        assert_int_equal(open_again(r, &again), -ESTALE);
        flip(r->fd, i, 1);
    }
    flip(r->fd, 16, 1);
    flip(r->fd, 8, 1); /* a former version, too: its boot is what counts */
    assert_int_equal(open_again(r, &again), -ESTALE);
}

static void put(int fd, uint64_t off, uint64_t value, size_t len)
{
    assert_int_equal(pwrite_full(fd, &value, len, off), 0);
}

static void test_livemap_refuses_damage(void **state)
{
    static const struct {
        const char *what;
        uint64_t off, value;
        size_t len;
        int code;
    } cases[] = {
        {"magic", 0, 0, 8, -EBADMSG},
        {"version", 8, 2, 4, -EOPNOTSUPP},
        {"feature", 12, 1, 4, -EOPNOTSUPP},
        {"size 0", 128, 0, 8, -EBADMSG},
        {"size of no sectors", 128, DISK + 1, 8, -EBADMSG},
        {"size of another file", 128, DISK + LEAF_BYTES, 8, -EBADMSG},
        {"size without end", 128, UINT64_MAX - 511, 8, -EBADMSG},
        {"leaf offset", 136, 4096, 8, -EBADMSG},
        {"not complete", 144, 0, 4, -EBADMSG},
        {"leaf count below a leaf", 148, 1, 4, -EBADMSG},
        {"leaf that was never made", 4096 + 8, 3, 4, -EBADMSG},
        {"leaf behind the file", 4096 + 8, 0x7fffffff, 4, -EBADMSG},
        {"present leaf ALL", 4096 + 8, 0xffffffff, 4, -EBADMSG},
        {"leaf named twice", 4096 + 8, 1, 4, -EBADMSG},
        {"leaf named by both planes", 4096 + 4, 1, 4, -EBADMSG},
    };
    struct rig *r = *state;
    struct livemap *again;
    set(r->map, 0, 1, BLOCK_PRESENT);               /* leaf 1 */
    set(r->map, 2 * LEAF_BLOCKS, 1, BLOCK_PRESENT); /* leaf 2 */
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t old = 0;
        assert_int_equal(pread_full(r->fd, &old, cases[i].len, cases[i].off), 0);
        put(r->fd, cases[i].off, cases[i].value, cases[i].len);
        int code = open_again(r, &again);
        CHECK(code == cases[i].code, "%s: %d", cases[i].what, code);
        put(r->fd, cases[i].off, old, cases[i].len);
    }
    for (int i = 0; i < 80; i++)
        put(r->fd, 48 + (uint64_t)i, 'x', 1); /* an identity without end */
    assert_int_equal(open_again(r, &again), -EBADMSG);
}

static void test_livemap_refuses_wrong_length(void **state)
{
    struct rig *r = *state;
    struct livemap *again;
    struct stat st;
    assert_int_equal(fstat(r->fd, &st), 0);
    livemap_close(r->map);
    r->map = NULL;
    assert_int_equal(ftruncate(r->fd, st.st_size + 4096), 0);
    assert_int_equal(open_again(r, &again), -EBADMSG);
    static const off_t cuts[] = {1, 4096, 8192, 100, 20};
    for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
        assert_int_equal(ftruncate(r->fd, i < 2 ? st.st_size - cuts[i] : cuts[i]), 0);
        assert_int_equal(open_again(r, &again), -EBADMSG);
    }
    assert_int_equal(ftruncate(r->fd, 0), 0);
    assert_int_equal(open_again(r, &again), -EBADMSG);
}

static void test_livemap_survives_any_flipped_byte(void **state)
{
    struct rig *r = *state;
    struct livemap *again;
    enum block_state s;
    set(r->map, 0, 1, BLOCK_PRESENT);
    set(r->map, LEAF_BLOCKS, LEAF_BLOCKS, BLOCK_ZERO);
    for (uint64_t off = 0; off < 4096 + 32; off += off == 200 ? 4096 - 200 : 1) {
        flip(r->fd, off, 0x81);
        if (open_again(r, &again) == 0) {
            for (uint64_t blk = 0; blk < 3 * LEAF_BLOCKS + 6;)
                blk += livemap_run(again, blk, UINT64_MAX, &s);
            livemap_close(again);
        }
        flip(r->fd, off, 0x81);
        put(r->fd, 148, 1, 4); /* an opening may have set the count right */
    }
}

/* Death between the counting of a leaf and its entry in the directory, more often than there are leaves. */
static void test_livemap_leaf_that_nobody_names_is_free_again(void **state)
{
    struct rig *r = *state;
    struct livemap *again;
    uint32_t count;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pread_full(r->fd, &count, 4, 148), 0);
        put(r->fd, 148, count + 1, 4);
        assert_int_equal(open_again(r, &again), 0);
        livemap_close(again);
    }
    assert_int_equal(open_again(r, &again), 0);
    for (uint64_t dir = 0; dir < 4; dir++) {
        set(again, dir * LEAF_BLOCKS, 1, BLOCK_ZERO);
        set(again, dir * LEAF_BLOCKS, 1, BLOCK_PRESENT);
    }
    livemap_close(again);
}

static void test_livemap_read_only_opening_changes_nothing(void **state)
{
    struct rig *r = *state;
    struct livemap *m;
    struct err err;
    uint32_t count;
    put(r->fd, 148, 3, 4);
    assert_int_equal(livemap_open(dup(r->fd), true, &m, &err), 0);
    assert_run(m, 0, UINT64_MAX, BLOCK_ABSENT, 3 * LEAF_BLOCKS + 6);
    livemap_close(m);
    assert_int_equal(pread_full(r->fd, &count, 4, 148), 0);
    assert_int_equal(count, 3);
}

/* --- no room ----------------------------------------------------------------------------------------------------- */

static void use_up(int dirfd)
{
    static const char page[4096] = {1};
    int fd = openat(dirfd, "fill", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (uint64_t off = 0; pwrite(fd, page, sizeof(page), (off_t)off) > 0;)
        off += sizeof(page);
    (void)close(fd);
}

static void full_disk(int dirfd)
{
    struct map_stamp stamp = stamp_of(2048 * LEAF_BYTES); /* a directory of four pages, of which no page was touched */
    struct livemap *m;
    struct err err;
    enum block_state s;
    int fd = openat(dirfd, "map", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(livemap_create(dup(fd), &stamp, &m, &err), 0);
    set(m, 0, 1, BLOCK_PRESENT);
    use_up(dirfd);
    assert_int_equal(livemap_prepare(m, 2000 * LEAF_BLOCKS, 1, BLOCK_PRESENT), -ENOSPC);
    assert_int_equal(livemap_prepare(m, 2000 * LEAF_BLOCKS, 1, BLOCK_ZERO), -ENOSPC);
    assert_int_equal(livemap_run(m, 1, UINT64_MAX, &s), 2048 * LEAF_BLOCKS - 1); /* touches all that there is */
    set(m, 5, 1, BLOCK_PRESENT);                                                 /* in a leaf that is there */
    set(m, 1000 * LEAF_BLOCKS, LEAF_BLOCKS, BLOCK_ZERO);                         /* ALL needs none */
    assert_int_equal(unlinkat(dirfd, "fill", 0), 0);
    set(m, 2000 * LEAF_BLOCKS, 1, BLOCK_PRESENT);
    livemap_close(m);
    assert_int_equal(ftruncate(fd, 0), 0);
    use_up(dirfd);
    use_up(dirfd);
    assert_int_equal(livemap_create(fd, &stamp, &m, &err), -ENOSPC);
    (void)close(fd);
}

static void test_livemap_on_a_full_disk_is_an_error_and_no_fault(void **state)
{
    char path[] = "/tmp/test-livemap-XXXXXX";
    assert_non_null(mkdtemp(path));
    if (mount("tmpfs", path, "tmpfs", 0, "size=64k") < 0) {
        (void)rmdir(path);
        skip();
    }
    int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    full_disk(dirfd);
    (void)close(dirfd);
    assert_int_equal(umount2(path, MNT_DETACH), 0);
    assert_int_equal(rmdir(path), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* --- who uses it ------------------------------------------------------------------------------------------------- */

static void test_livemap_generation_tells_each_process_that_begins_and_the_end(void **state)
{
    struct rig *r = *state;
    struct livemap *next = NULL;
    struct err err;
    uint32_t first = livemap_generation(r->map);
    livemap_begin(r->map);
    livemap_begin(r->map);
    assert_int_equal(livemap_generation(r->map), first + 1);
    assert_int_equal(livemap_open(dup(r->fd), false, &next, &err), 0);
    assert_int_equal(livemap_generation(r->map), first + 1); /* who only opens it has not begun */
    livemap_begin(next);
    livemap_begin(next);
    assert_int_equal(livemap_generation(r->map), first + 2);
    livemap_end(next);
    assert_int_equal(livemap_generation(r->map), first + 3);
    livemap_begin(next); /* of one that has ended nothing begins */
    assert_int_equal(livemap_generation(r->map), first + 3);
    livemap_close(next);
}

/* Files in a folder of their own: @name with the bytes of @from. */
static void put_file(int dir, const char *name, int from, uint64_t change_at)
{
    static char head[8192];
    struct stat st;
    _cleanup_close_ int fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && fstat(from, &st) == 0 && ftruncate(fd, st.st_size) == 0);
    assert_int_equal(pread_full(from, head, sizeof(head), 0), 0);
    head[change_at] ^= 1;
    assert_int_equal(pwrite_full(fd, head, sizeof(head), 0), 0);
}

static unsigned char byte_of(int dir, const char *name, uint64_t at)
{
    unsigned char c;
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread_full(fd, &c, 1, at), 0);
    return c;
}

static void test_livemap_end_of_a_file_is_seen_and_other_files_stay(void **state)
{
    struct rig *r = *state;
    char path[] = "/tmp/test-livemap-XXXXXX";
    assert_non_null(mkdtemp(path));
    _cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    static const struct {
        const char *name;
        uint64_t change_at;
        int want;
    } files[] = {{"good", 4095, 0}, {"magic", 0, -EBADMSG}, {"version", 8, -EOPNOTSUPP}, {"boot", 16, -ESTALE}};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        put_file(dir, files[i].name, r->fd, files[i].change_at);
        unsigned char before = byte_of(dir, files[i].name, 164);
        assert_int_equal(livemap_end_file(dir, files[i].name), files[i].want);
        assert_int_equal(byte_of(dir, files[i].name, 164) - before, files[i].want == 0);
        assert_int_equal(unlinkat(dir, files[i].name, 0), 0);
    }
    assert_int_equal(livemap_end_file(dir, "none"), -ENOENT);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_livemap_begins_absent),
        TEST(test_livemap_goes_through_all_states),
        TEST(test_livemap_runs_go_over_leaf_borders),
        TEST(test_livemap_runs_equal_an_array),
        TEST(test_livemap_whole_leaves_of_zeros_need_no_leaf),
        TEST(test_livemap_write_into_all_leaf_clears_one_bit),
        TEST(test_livemap_counts_changes_over_reopen),
        TEST(test_livemap_is_found_as_it_was_left),
        TEST(test_livemap_leaves_copy_into_another_map),
        cmocka_unit_test(test_livemap_reader_sees_zero_or_present_and_never_absent),
        TEST(test_livemap_of_another_boot_is_stale),
        TEST(test_livemap_refuses_damage),
        TEST(test_livemap_refuses_wrong_length),
        TEST(test_livemap_survives_any_flipped_byte),
        TEST(test_livemap_leaf_that_nobody_names_is_free_again),
        TEST(test_livemap_read_only_opening_changes_nothing),
        TEST(test_livemap_generation_tells_each_process_that_begins_and_the_end),
        TEST(test_livemap_end_of_a_file_is_seen_and_other_files_stay),
        cmocka_unit_test(test_livemap_on_a_full_disk_is_an_error_and_no_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
