/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Map file: what goes in comes out, whatever is damaged is refused, and the file that docs/map-file-format.md describes is read. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "core/blk.h"
#include "core/mapfile.h"
#include "core/util.h"
#include "tests/unit/stack-check.h"

#define LEAF_BYTES (LEAF_BLOCKS * BLOCK_BYTES)
#define DISK       (3 * LEAF_BYTES + 512)

struct rig {
    char path[64];
    int dirfd;
    struct livemap *map;
};

static struct livemap *new_map(uint64_t size)
{
    struct map_stamp stamp = {.base_identity = "base-identity", .size_bytes = size};
    struct livemap *m = NULL;
    struct err err;
    for (unsigned char i = 0; i < 16; i++)
        stamp.overlay_id[i] = i * 0x11;
    assert_int_equal(livemap_create(memfd_create("map", MFD_CLOEXEC), &stamp, &m, &err), 0);
    return m;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    strcpy(r->path, "/tmp/test-mapfile-XXXXXX");
    assert_non_null(mkdtemp(r->path));
    r->dirfd = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->map = new_map(DISK);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    livemap_close(r->map);
    (void)unlinkat(r->dirfd, "0.map", 0); /* some tests made none */
    (void)close(r->dirfd);
    assert_int_equal(rmdir(r->path), 0); /* no temporary file stayed */
    free(r);
    return 0;
}

static void set(struct livemap *m, uint64_t blk, uint64_t n, enum block_state s)
{
    assert_int_equal(livemap_prepare(m, blk, n, s), 0);
    if (s == BLOCK_PRESENT)
        livemap_set_present(m, blk, n);
    else
        livemap_set_zero(m, blk, n);
}

static void save(struct rig *r, uint64_t sequence)
{
    _cleanup_free_ void *buf = NULL;
    size_t len;
    assert_int_equal(mapfile_encode(r->map, sequence, &buf, &len), 0);
    assert_int_equal(mapfile_write(r->dirfd, "0.map", buf, len), 0);
}

static int load(struct rig *r, struct livemap *into, struct mapfile_info *info)
{
    struct err err = {""};
    int code = mapfile_load(r->dirfd, "0.map", into, info, &err);
    if (code < 0)
        assert_non_null(strstr(err.msg, "'0.map'"));
    return code;
}

static int load_fresh(struct rig *r, uint64_t size)
{
    struct mapfile_info info;
    struct livemap *m = new_map(size);
    int code = load(r, m, &info);
    livemap_close(m);
    return code;
}

static void assert_same(const struct livemap *a, const struct livemap *b, uint64_t nblk)
{
    for (uint64_t blk = 0; blk < nblk;) {
        enum block_state s, t;
        uint64_t n = livemap_run(a, blk, UINT64_MAX, &s), k = livemap_run(b, blk, UINT64_MAX, &t);
        assert_int_equal(s, t);
        assert_int_equal(n, k);
        blk += n;
    }
}

static void test_mapfile_brings_back_random_maps(void **state)
{
    struct rig *r = *state;
    struct rng rng = {check_seed()};
    struct mapfile_info info;
    const uint64_t nblk = 3 * LEAF_BLOCKS + 1;
    for (unsigned i = 0; i < 20 * check_stress(); i++) {
        for (int k = 0; k < 20; k++) {
            uint64_t at = rng_below(&rng, nblk), n = 1 + rng_below(&rng, MIN(nblk - at, k ? 300 : nblk));
            set(r->map, at, n, rng_below(&rng, 2) ? BLOCK_PRESENT : BLOCK_ZERO);
        }
        save(r, i + 5);
        struct livemap *m = new_map(DISK);
        assert_int_equal(load(r, m, &info), 0);
        assert_int_equal(info.sequence, i + 5);
        assert_string_equal(info.stamp.base_identity, "base-identity");
        assert_memory_equal(info.stamp.overlay_id, livemap_stamp(r->map)->overlay_id, 16);
        assert_same(r->map, m, nblk);
        livemap_close(m);
    }
}

static void test_mapfile_of_an_empty_map_is_the_header_alone(void **state)
{
    struct rig *r = *state;
    struct mapfile_info info;
    struct err err;
    void *buf;
    size_t len;
    assert_int_equal(mapfile_encode(r->map, 1, &buf, &len), 0);
    assert_int_equal(len, 4096);
    free(buf);
    save(r, 1);
    assert_int_equal(mapfile_info(r->dirfd, "0.map", &info, &err), 0);
    assert_int_equal(info.leaves, 0);
    assert_int_equal(info.stamp.size_bytes, DISK);
    assert_int_equal(load_fresh(r, DISK), 0);
}

static void test_mapfile_that_is_not_there_is_told(void **state)
{
    struct rig *r = *state;
    struct mapfile_info info;
    struct err err;
    assert_int_equal(mapfile_info(r->dirfd, "0.map", &info, &err), -ENOENT);
    assert_int_equal(load_fresh(r, DISK), -ENOENT);
}

static void test_mapfile_of_another_disk_size_is_refused(void **state)
{
    struct rig *r = *state;
    save(r, 1);
    assert_int_equal(load_fresh(r, DISK + 512), -EBADMSG);
}

static void replace(struct rig *r, const void *buf, size_t len)
{
    int fd = openat(r->dirfd, "0.map", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write_full(fd, buf, len), 0);
    (void)close(fd);
}

static void test_mapfile_with_any_flipped_byte_is_refused(void **state)
{
    struct rig *r = *state;
    struct mapfile_info info;
    unsigned char *buf;
    size_t len;
    set(r->map, 3, 5, BLOCK_PRESENT);
    assert_int_equal(mapfile_encode(r->map, 1, (void **)&buf, &len), 0);
    replace(r, buf, len);
    int fd = openat(r->dirfd, "0.map", O_RDWR | O_CLOEXEC);
    struct livemap *into = new_map(DISK);
    for (size_t i = 0; i < len; i++) {
        buf[i] ^= 0x40;
        assert_int_equal(pwrite_full(fd, buf + i, 1, i), 0);
        int code = load(r, into, &info);
        CHECK(code == -EBADMSG || code == -EOPNOTSUPP, "flipped byte %zu: %d", i, code);
        buf[i] ^= 0x40;
        assert_int_equal(pwrite_full(fd, buf + i, 1, i), 0);
    }
    assert_int_equal(load(r, into, &info), 0);
    livemap_close(into);
    (void)close(fd);
    free(buf);
}

static void test_mapfile_cut_at_any_length_is_refused(void **state)
{
    struct rig *r = *state;
    struct mapfile_info info;
    set(r->map, 3, 5, BLOCK_PRESENT);
    set(r->map, LEAF_BLOCKS, 5, BLOCK_ZERO);
    save(r, 1);
    int fd = openat(r->dirfd, "0.map", O_RDWR | O_CLOEXEC);
    struct livemap *into = new_map(DISK);
    for (off_t len = 4096 + 2 * 4112 - 1; len >= 0; len--) {
        assert_int_equal(ftruncate(fd, len), 0);
        CHECK(load(r, into, &info) == -EBADMSG, "cut to %lld", (long long)len);
    }
    livemap_close(into);
    (void)close(fd);
}

static void test_mapfile_with_bytes_behind_is_refused(void **state)
{
    struct rig *r = *state;
    _cleanup_free_ unsigned char *buf = NULL;
    size_t len;
    assert_int_equal(mapfile_encode(r->map, 1, (void **)&buf, &len), 0);
    unsigned char *more = calloc(1, len + 4112);
    memcpy(more, buf, len);
    replace(r, more, len + 1);
    assert_int_equal(load_fresh(r, DISK), -EBADMSG);
    replace(r, more, len + 4112);
    assert_int_equal(load_fresh(r, DISK), -EBADMSG);
    free(more);
}

/* --- encoding while others write --------------------------------------------------------------------------------- */

struct race {
    struct livemap *map;
    _Atomic bool stop;
};

static void *write_over_zeros(void *arg)
{
    struct race *race = arg;
    for (uint64_t i = 0; !atomic_load(&race->stop); i++) {
        uint64_t blk = i * 7 % 64 * 512;
        (void)livemap_prepare(race->map, blk, 512, BLOCK_PRESENT); /* its leaves are there */
        livemap_set_present(race->map, blk, 512);
        livemap_set_zero(race->map, blk, 512);
    }
    return NULL;
}

static void test_mapfile_has_written_blocks_as_they_were_or_are(void **state)
{
    struct race race = {.map = new_map(LEAF_BYTES)};
    pthread_t t;
    uint64_t present[LEAF_WORDS], zero[LEAF_WORDS];
    set(race.map, 0, LEAF_BLOCKS, BLOCK_ZERO); /* from now on each block is zero or present and nothing else */
    assert_int_equal(livemap_prepare(race.map, 0, 1, BLOCK_PRESENT), 0);
    assert_int_equal(pthread_create(&t, NULL, write_over_zeros, &race), 0);
    for (unsigned i = 0; i < 2000 * check_stress(); i++) {
        unsigned char *buf;
        size_t len;
        memset(present, 0, sizeof(present));
        memset(zero, 0, sizeof(zero));
        assert_int_equal(mapfile_encode(race.map, 1, (void **)&buf, &len), 0);
        for (size_t at = 4096; at < len; at += 4112)
            memcpy(buf[at + 8] ? zero : present, buf + at + 16, 4096);
        for (size_t k = 0; k < LEAF_WORDS; k++)
            CHECK((present[k] | zero[k]) == ~0ULL, "a block that was written over zeros is absent in the map file");
        free(buf);
    }
    atomic_store(&race.stop, true);
    assert_int_equal(pthread_join(t, NULL), 0);
    livemap_close(race.map);
}

/* --- the golden file --------------------------------------------------------------------------------------------- */

/* A disk of 3 leaves and a sector: blocks 1-3 present, block 2 zero after that, leaf 1 all zeros, last block present. */
static void golden_content(struct livemap *m)
{
    set(m, 1, 3, BLOCK_PRESENT);
    set(m, 2, 1, BLOCK_ZERO);
    set(m, LEAF_BLOCKS, LEAF_BLOCKS, BLOCK_ZERO);
    set(m, 3 * LEAF_BLOCKS, 1, BLOCK_PRESENT);
}

static void test_mapfile_golden_file_is_read_as_the_page_says(void **state)
{
    struct rig *r = *state;
    struct livemap *into = new_map(DISK);
    struct mapfile_info info;
    struct err err;
    _cleanup_free_ char *golden = NULL;
    size_t len;
    const char *dir = getenv("DISKGATE_TEST_DATA");
    int fd = open(dir ? dir : "tests/data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(file_read(fd, "mapfile-v1.map", 1 << 20, &golden, &len), 0);
    assert_int_equal(len, 4096 + 4 * 4112);
    assert_int_equal(mapfile_load(fd, "mapfile-v1.map", into, &info, &err), 0);
    assert_int_equal(info.sequence, 0x0102030405060708);
    assert_int_equal(info.leaves, 4);
    golden_content(r->map);
    assert_same(r->map, into, 3 * LEAF_BLOCKS + 1);

    _cleanup_free_ unsigned char *buf = NULL;
    size_t n;
    assert_int_equal(mapfile_encode(r->map, info.sequence, (void **)&buf, &n), 0);
    assert_int_equal(n, len);
    assert_memory_equal(buf, golden, len);
    livemap_close(into);
    (void)close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_mapfile_brings_back_random_maps),
        TEST(test_mapfile_of_an_empty_map_is_the_header_alone),
        TEST(test_mapfile_that_is_not_there_is_told),
        TEST(test_mapfile_of_another_disk_size_is_refused),
        TEST(test_mapfile_with_any_flipped_byte_is_refused),
        TEST(test_mapfile_cut_at_any_length_is_refused),
        TEST(test_mapfile_with_bytes_behind_is_refused),
        cmocka_unit_test(test_mapfile_has_written_blocks_as_they_were_or_are),
        TEST(test_mapfile_golden_file_is_read_as_the_page_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
