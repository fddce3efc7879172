/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image files: a changed one is not taken for the recorded one. */
#include "tests/unit/image-fixture.h"

#include "core/hash.h"

/* --- identity and hash --------------------------------------------------------------------------------------------- */

static void fill(struct place *p, uint64_t size)
{
    _cleanup_free_ unsigned char *buf = malloc(size);
    assert_non_null(buf);
    uint32_t x = 1;
    for (uint64_t i = 0; i < size; i++) {
        x = x * 1664525 + 1013904223;
        buf[i] = (unsigned char)(x >> 24);
    }
    put(p, buf, size, 0);
}

static void identity_of(struct place *p, char *ret)
{
    struct image_info info;
    struct err err;
    assert_int_equal(probe(p, &info, &err), 0);
    assert_int_equal(image_identity(p->fd, &info, ret, &err), 0);
}

static void test_image_identity_of_small_file_covers_every_byte(void **state)
{
    struct place *p = *state;
    char a[IDENTITY_LEN + 1], b[IDENTITY_LEN + 1];
    const uint64_t sizes[] = {1, 700, 64 * KiB, 1152 * KiB};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        make(p, "a.img");
        fill(p, sizes[i]);
        identity_of(p, a);
        assert_int_equal(strncmp(a, "xxh3s1:", 7), 0);
        put(p, "\xee", 1, sizes[i] / 2);
        identity_of(p, b);
        assert_string_not_equal(a, b);
    }
}

static void test_image_identity_sees_edges_and_samples_of_a_large_file(void **state)
{
    struct place *p = *state;
    char a[IDENTITY_LEN + 1], b[IDENTITY_LEN + 1];
    const uint64_t size = 1152 * KiB + 1, step = 4096;
    const uint64_t places[] = {0, 64 * KiB - 1, 64 * KiB, 64 * KiB + 255 * step + 4095, size - 1, size - 64 * KiB};
    make(p, "large.img");
    fill(p, size);
    identity_of(p, a);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        unsigned char old, changed;
        assert_int_equal(pread_full(p->fd, &old, 1, places[i]), 0);
        changed = old ^ 1;
        put(p, &changed, 1, places[i]);
        identity_of(p, b);
        assert_string_not_equal(a, b);
        put(p, &old, 1, places[i]);
    }
    identity_of(p, b);
    assert_string_equal(a, b);
}

static void test_image_identity_is_the_same_in_raw_and_vhd(void **state)
{
    struct place *p = *state;
    char a[IDENTITY_LEN + 1], b[IDENTITY_LEN + 1];
    unsigned char footer[VHD_FOOTER_BYTES];
    make(p, "a.img");
    fill(p, 3 * MiB);
    identity_of(p, a);
    make_footer(footer, VHD_FIXED, 3 * MiB);
    put(p, footer, sizeof(footer), 3 * MiB);
    identity_of(p, b);
    assert_string_equal(a, b);
}

static int count_calls(void *arg, uint64_t done, uint64_t total)
{
    unsigned *n = arg;
    assert_true(done <= total);
    (*n)++;
    return 0;
}

static int give_up(void *arg, uint64_t done, uint64_t total)
{
    return -ECANCELED;
}

/* Holes at the beginning, in the middle and at the end hash as the zeros that they read as. */
static void test_image_full_hash_of_holes_is_that_of_zeros(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    char hex[HASH_LEN + 1], expected[HASH_LEN + 1];
    const uint64_t size = 40 * MiB + 777;
    unsigned calls = 0;
    _cleanup_free_ unsigned char *buf = calloc(1, size);
    assert_non_null(buf);
    memset(buf + 5 * MiB + 3, 'x', 100000);
    memset(buf + 21 * MiB, 'y', 5 * MiB + 1);
    make(p, "holes.img");
    grow(p, size);
    put(p, buf + 5 * MiB + 3, 100000, 5 * MiB + 3);
    put(p, buf + 21 * MiB, 5 * MiB + 1, 21 * MiB);
    hash_buf(buf, size, expected);
    assert_int_equal(probe(p, &info, &err), 0);
    assert_int_equal(image_full_hash(p->fd, &info, hex, count_calls, &calls, &err), 0);
    assert_string_equal(hex, expected);
    assert_true(calls >= 2);
    assert_int_equal(image_full_hash(p->fd, &info, hex, give_up, NULL, &err), -ECANCELED);
}

static void test_image_full_hash_of_changed_file_fails(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    char hex[HASH_LEN + 1];
    make(p, "a.img");
    fill(p, MiB);
    assert_int_equal(probe(p, &info, &err), 0);
    grow(p, 2 * MiB);
    assert_int_equal(image_full_hash(p->fd, &info, hex, NULL, NULL, &err), -ESTALE);
    grow(p, MiB - 1);
    assert_int_equal(image_full_hash(p->fd, &info, hex, NULL, NULL, &err), -ESTALE);
}

static void test_hash_streams_as_one_call(void **state)
{
    unsigned char buf[100000] = {0};
    char a[HASH_HEX_LEN + 1], b[HASH_HEX_LEN + 1];
    memset(buf + 70000, 7, 1000);
    _cleanup_(hash_destroyp) struct hash *h = hash_create();
    assert_non_null(h);
    hash_update_zeros(h, 70000);
    hash_update(h, buf + 70000, 1000);
    hash_update(h, NULL, 0);
    hash_update_zeros(h, 29000);
    hash_hex(h, a);
    hash_buf(buf, sizeof(buf), b);
    assert_string_equal(a, b);
    hash_buf("", 0, a);
    assert_string_equal(a, "99aa06d3014798d86001c324468d497f"); /* Source: xxh128sum of an empty file */
}

/* --- verification -------------------------------------------------------------------------------------------------- */

struct recorded {
    struct image_record rec;
    char identity[IDENTITY_LEN + 1], full_hash[HASH_LEN + 1];
};

static void record(struct place *p, bool with_hash, struct recorded *ret)
{
    struct image_info info;
    struct err err;
    assert_int_equal(probe(p, &info, &err), 0);
    assert_int_equal(image_identity(p->fd, &info, ret->identity, &err), 0);
    ret->full_hash[0] = 0;
    if (with_hash)
        assert_int_equal(image_full_hash(p->fd, &info, ret->full_hash, NULL, NULL, &err), 0);
    ret->rec = (struct image_record){
        .path = p->path,
        .format = image_format_name(info.format),
        .identity = ret->identity,
        .full_hash = ret->full_hash,
        .file_bytes = info.file_bytes,
        .mtime_ns = info.mtime_ns,
    };
}

static void set_mtime(struct place *p, int64_t unix_s)
{
    const struct timespec t[2] = {{.tv_sec = unix_s}, {.tv_sec = unix_s}};
    assert_int_equal(futimens(p->fd, t), 0);
}

static void check_stale(struct place *p, struct recorded *r, const char *word)
{
    struct image_info info;
    struct err err = {""};
    assert_int_equal(image_verify(p->fd, &r->rec, &info, &err), -ESTALE);
    assert_non_null(strstr(err.msg, word));
    assert_non_null(strstr(err.msg, p->path));
    assert_non_null(strstr(err.msg, "diskgate image check"));
    assert_non_null(strstr(err.msg, "diskgate image repair"));
}

static void test_image_verify_accepts_the_recorded_file(void **state)
{
    struct place *p = *state;
    struct recorded r;
    struct image_info info;
    struct err err;
    make(p, "a.img");
    fill(p, 2 * MiB);
    record(p, false, &r);
    assert_int_equal(image_verify(p->fd, &r.rec, &info, &err), 0);
    assert_int_equal(info.size_bytes, 2 * MiB);
}

static void test_image_verify_tells_size_content_and_time(void **state)
{
    struct place *p = *state;
    struct recorded r;
    make(p, "a.img");
    fill(p, 2 * MiB);
    set_mtime(p, 1000000000);
    record(p, false, &r);
    set_mtime(p, 1100000000);
    check_stale(p, &r, "2004-11-09T");
    check_stale(p, &r, "2001-09-09T");
    put(p, "zz", 2, 0);
    set_mtime(p, 1000000000);
    check_stale(p, &r, "content");
    grow(p, 3 * MiB);
    check_stale(p, &r, "from 2097152 to 3145728");
    grow(p, 0);
    struct image_info info;
    assert_int_equal(image_verify(p->fd, &r.rec, &info, NULL), -EINVAL);
}

static void test_image_verify_lets_full_hash_decide(void **state)
{
    struct place *p = *state;
    struct recorded r;
    struct image_info info;
    struct err err;
    make(p, "a.img");
    fill(p, 4 * MiB);
    set_mtime(p, 1000000000);
    record(p, true, &r);
    set_mtime(p, 1100000000);
    assert_int_equal(image_verify(p->fd, &r.rec, &info, &err), 0);
    assert_true(info.mtime_ns != r.rec.mtime_ns);
    put(p, "zz", 2, 64 * KiB + 4096 + 100); /* between two samples */
    check_stale(p, &r, "no longer what was recorded");
}

static void test_image_verify_tells_format(void **state)
{
    struct place *p = *state;
    struct recorded r;
    unsigned char footer[VHD_FOOTER_BYTES];
    make(p, "a.img");
    fill(p, 2 * MiB);
    record(p, false, &r);
    make_footer(footer, VHD_FIXED, 2 * MiB - 512);
    put(p, footer, sizeof(footer), 2 * MiB - 512);
    check_stale(p, &r, "from raw to vhd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_image_identity_of_small_file_covers_every_byte),
        T(test_image_identity_sees_edges_and_samples_of_a_large_file),
        T(test_image_identity_is_the_same_in_raw_and_vhd),
        T(test_image_full_hash_of_holes_is_that_of_zeros),
        T(test_image_full_hash_of_changed_file_fails),
        T(test_hash_streams_as_one_call),
        T(test_image_verify_accepts_the_recorded_file),
        T(test_image_verify_tells_size_content_and_time),
        T(test_image_verify_lets_full_hash_decide),
        T(test_image_verify_tells_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
