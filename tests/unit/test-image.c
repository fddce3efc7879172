/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image files: what they are is told by their content; a changed one is not taken for the recorded one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/hash.h"
#include "core/image.h"
#include "core/util.h"
#include "core/vhd.h"

/* --- a folder and files in it -------------------------------------------------------------------------------------- */

struct place {
    char dir[64], path[128];
    int fd; /* of the file at path, -1 = none */
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    p->fd = -1;
    strcpy(p->dir, "/tmp/dg-test-image.XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    closep(&p->fd);
    if (p->path[0])
        (void)unlink(p->path);
    int r = rmdir(p->dir);
    free(p);
    return r;
}

/* A fresh, empty file @name, open for reading and writing; the one before it goes. */
static void make(struct place *p, const char *name)
{
    closep(&p->fd);
    if (p->path[0])
        (void)unlink(p->path);
    (void)snprintf(p->path, sizeof(p->path), "%s/%s", p->dir, name);
    p->fd = open(p->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(p->fd >= 0);
}

static void put(struct place *p, const void *buf, size_t len, uint64_t off)
{
    assert_int_equal(pwrite_full(p->fd, buf, len, off), 0);
}

static void grow(struct place *p, uint64_t size)
{
    assert_int_equal(ftruncate(p->fd, (off_t)size), 0);
}

static void make_footer(unsigned char *buf, enum vhd_type type, uint64_t disk_bytes)
{
    struct vhd_footer f = {
        .type = type,
        .original_bytes = disk_bytes,
        .current_bytes = disk_bytes,
        .header_off = type == VHD_FIXED ? UINT64_MAX : 512,
        .features = 2,
        .version = 0x10000,
        .creator = "test",
        .creator_system = "Wi2k",
    };
    vhd_footer_encode(&f, buf);
}

static void make_vhd(struct place *p, const char *name, uint64_t held_bytes, uint64_t footer_bytes)
{
    unsigned char footer[VHD_FOOTER_BYTES];
    make(p, name);
    put(p, "boot", 4, 0);
    make_footer(footer, VHD_FIXED, footer_bytes);
    put(p, footer, sizeof(footer), held_bytes);
}

static int probe(struct place *p, struct image_info *info, struct err *err)
{
    memset(info, 0xee, sizeof(*info));
    err->msg[0] = 0;
    return image_probe(p->fd, p->path, info, err);
}

static bool run_tool(const char *command)
{
    int r = system(command); /* NOLINT: fixed commands on our own temp files */
    return WIFEXITED(r) && WEXITSTATUS(r) == 0;
}

/* --- probe --------------------------------------------------------------------------------------------------------- */

static void test_image_plain_file_is_raw(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    make(p, "disk.img");
    grow(p, 3 * MiB);
    assert_int_equal(probe(p, &info, &err), 0);
    assert_int_equal(info.format, IMAGE_RAW);
    assert_int_equal(info.size_bytes, 3 * MiB);
    assert_int_equal(info.data_bytes, 3 * MiB);
    assert_int_equal(info.file_bytes, 3 * MiB);
    assert_true(info.mtime_ns > 0);
    assert_string_equal(info.note, "");
}

static void test_image_odd_size_is_padded_and_noted(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    const uint64_t sizes[] = {1, 511, 513, 1000, 4097};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        make(p, "odd.img");
        grow(p, sizes[i]);
        assert_int_equal(probe(p, &info, &err), 0);
        assert_int_equal(info.data_bytes, sizes[i]);
        assert_int_equal(info.size_bytes, round_up(sizes[i], 512));
        assert_non_null(strstr(info.note, "padded with zeros"));
    }
}

static void test_image_fixed_vhd_is_known_whatever_its_name(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    make_vhd(p, "disk.img", 2 * MiB, 2 * MiB);
    assert_int_equal(probe(p, &info, &err), 0);
    assert_int_equal(info.format, IMAGE_VHD);
    assert_int_equal(info.size_bytes, 2 * MiB);
    assert_int_equal(info.file_bytes, 2 * MiB + 512);
    assert_string_equal(info.note, "");
}

static void test_image_fixed_vhd_wins_over_first_sector(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    make_vhd(p, "disk.vhd", 2 * MiB, 2 * MiB);
    put(p, "LUKS\xba\xbe\0\1", 8, 0);
    assert_int_equal(probe(p, &info, &err), 0);
    assert_int_equal(info.format, IMAGE_VHD);
}

static void test_image_old_vhd_footer_of_511_bytes(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    make_vhd(p, "old.vhd", 2 * MiB, 2 * MiB);
    grow(p, 2 * MiB + 511);
    assert_int_equal(probe(p, &info, &err), 0);
    assert_int_equal(info.format, IMAGE_VHD);
    assert_int_equal(info.data_bytes, 2 * MiB);
}

static void test_image_vhd_that_is_cut_short_is_refused(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    make_vhd(p, "cut.vhd", 1 * MiB, 2 * MiB);
    assert_int_equal(probe(p, &info, &err), -EBADMSG);
    assert_non_null(strstr(err.msg, "2097152"));
    assert_non_null(strstr(err.msg, "1048576"));
}

static void test_image_vhd_with_slack_uses_current_size(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    make_vhd(p, "slack.vhd", 2 * MiB, 1 * MiB);
    assert_int_equal(probe(p, &info, &err), 0);
    assert_int_equal(info.size_bytes, 1 * MiB);
    assert_true(info.note[0] != 0);
}

static void test_image_damaged_vhd_footer_is_refused(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    make_vhd(p, "bad.vhd", 2 * MiB, 2 * MiB);
    put(p, "x", 1, 2 * MiB + 70);
    assert_int_equal(probe(p, &info, &err), -EBADMSG);
    assert_non_null(strstr(err.msg, "check sum"));
    assert_non_null(strstr(err.msg, "head -c 2097152"));
}

static void test_image_named_vhd_without_footer_is_raw_and_noted(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    make(p, "plain.VHD");
    grow(p, MiB);
    assert_int_equal(probe(p, &info, &err), 0);
    assert_int_equal(info.format, IMAGE_RAW);
    assert_non_null(strstr(info.note, "no VHD footer"));
}

static void test_image_dynamic_and_differencing_vhd_are_refused(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    unsigned char footer[VHD_FOOTER_BYTES];
    for (int is_head = 0; is_head < 2; is_head++) {
        make(p, "dynamic.vhd");
        grow(p, MiB);
        make_footer(footer, VHD_DYNAMIC, 20 * MiB);
        put(p, footer, sizeof(footer), is_head ? 0 : MiB - 512);
        assert_int_equal(probe(p, &info, &err), -EOPNOTSUPP);
        assert_non_null(strstr(err.msg, "dynamic VHD"));
        assert_non_null(strstr(err.msg, "qemu-img convert -O raw"));
        make_footer(footer, VHD_DIFFERENCING, 20 * MiB);
        put(p, footer, sizeof(footer), is_head ? 0 : MiB - 512);
        assert_int_equal(probe(p, &info, &err), -EOPNOTSUPP);
        assert_non_null(strstr(err.msg, "differencing VHD"));
    }
}

#define BYTES(text) (text), sizeof(text) - 1

struct magic {
    const char *bytes;
    size_t len, off;
    const char *word; /* in the sentence; NULL = accepted as raw */
};

static void check_magics(struct place *p, const struct magic *rows, size_t n, bool has_signature)
{
    struct image_info info;
    struct err err;
    for (size_t i = 0; i < n; i++) {
        make(p, "some.img");
        grow(p, MiB);
        put(p, rows[i].bytes, rows[i].len, rows[i].off);
        if (has_signature)
            put(p, "\x55\xaa", 2, 510);
        int r = probe(p, &info, &err);
        if (!rows[i].word) {
            assert_int_equal(r, 0);
            continue;
        }
        assert_int_equal(r, -EOPNOTSUPP);
        assert_non_null(strstr(err.msg, rows[i].word));
        assert_non_null(strstr(err.msg, p->path));
    }
}

static void test_image_foreign_formats_are_named(void **state)
{
    static const struct magic rows[] = {
        {BYTES("QFI\xfb\0\0\0\3"), 0, "qcow2"},
        {BYTES("QED\0\0\0\1\0"), 0, "qed"},
        {BYTES("vhdxfile"), 0, "VHDX"},
        {BYTES("KDMV\1\0\0\0"), 0, "VMDK"},
        {BYTES("COWD\1\0\0\0"), 0, "VMDK"},
        {BYTES("# Disk DescriptorFile\n"), 0, "VMDK"},
        {BYTES("\x7f\x10\xda\xbe\1\0\1\0"), 0x40, "VDI"},
        {BYTES("WithoutFreeSpace"), 0, "Parallels"},
        {BYTES("LUKS\xba\xbe\0\2"), 0, "LUKS"},
        {BYTES("\x1f\x8b\x08\x08"), 0, "gzip"},
        {BYTES("\xfd"
               "7zXZ\0\0\4"),
         0, "xz"},
        {BYTES("\x28\xb5\x2f\xfd\x24"), 0, "zstd"},
        {BYTES("BZh9\x31\x41\x59\x26\x53\x59"), 0, "bzip2"},
        {BYTES("PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0"), 0, "zip"},
        {BYTES("7z\xbc\xaf\x27\x1c"), 0, "7z"},
        {BYTES("Rar!\x1a\x07\1\0"), 0, "rar"},
        {BYTES("ustar\0"
               "00"),
         257, "tar"},
        {BYTES("MSWIM\0\0\0"), 0, "WIM"},
    };
    check_magics(*state, rows, ARRAY_SIZE(rows), false);
}

static void test_image_disk_that_begins_by_accident_like_an_archive_is_raw(void **state)
{
    static const struct magic signed_rows[] = {
        {BYTES("\x1f\x8b\x08\x08"), 0, NULL},
        {BYTES("PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0"), 0, NULL},
        {BYTES("QFI\xfb\0\0\0\3"), 0, NULL},
    };
    static const struct magic short_rows[] = {
        {BYTES("\x1f\x8b\x07\x00"), 0, NULL}, {BYTES("\x1f\x8b\x08\xe0"), 0, NULL},
        {BYTES("PK\x03\x05"), 0, NULL},       {BYTES("PK\x03\x04\xff\xff"), 0, NULL},
        {BYTES("BZh9boot"), 0, NULL},         {BYTES("QFI\xfb\xff\xff\xff\xff"), 0, NULL},
        {BYTES("conectix"), 0, NULL},
    };
    check_magics(*state, signed_rows, ARRAY_SIZE(signed_rows), true);
    check_magics(*state, short_rows, ARRAY_SIZE(short_rows), false);
}

static void test_image_empty_file_folder_and_fifo_are_refused(void **state)
{
    struct place *p = *state;
    struct image_info info;
    struct err err;
    make(p, "empty.img");
    assert_int_equal(probe(p, &info, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "is empty"));
    _cleanup_close_ int dir = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(image_probe(dir, p->dir, &info, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "folder"));
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(image_probe(ends[0], "pipe", &info, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "FIFO"));
    closep(&ends[0]);
    closep(&ends[1]);
    _cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(image_probe(null, "/dev/null", &info, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "character device"));
}

/* Real files of the tool that administrators use. */
static void test_image_agrees_with_qemu_img(void **state)
{
    static const struct {
        const char *format, *options, *word; /* word = NULL: accepted as vhd */
    } rows[] = {
        {"vpc", "-o subformat=fixed", NULL},
        {"vpc", "-o subformat=fixed,force_size=on", NULL},
        {"vpc", "-o subformat=dynamic", "dynamic VHD"},
        {"vhdx", "", "VHDX"},
        {"vmdk", "", "VMDK"},
        {"vmdk", "-o subformat=monolithicFlat", "VMDK"},
        {"vdi", "", "VDI"},
        {"qcow2", "", "qcow2"},
        {"qed", "", "qed"},
        {"parallels", "", "Parallels"},
    };
    struct place *p = *state;
    struct image_info info;
    struct err err;
    if (!run_tool("qemu-img --version >/dev/null 2>&1")) {
        print_message("qemu-img is not installed (qemu-utils)\n");
        skip();
    }
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char command[512];
        make(p, "made.img");
        (void)snprintf(command, sizeof(command), "qemu-img create -q -f %s %s %s 5M >/dev/null", rows[i].format,
                       rows[i].options, p->path);
        assert_true(run_tool(command));
        closep(&p->fd);
        p->fd = open(p->path, O_RDWR | O_CLOEXEC);
        int r = probe(p, &info, &err);
        if (rows[i].word) {
            assert_int_equal(r, -EOPNOTSUPP);
            assert_non_null(strstr(err.msg, rows[i].word));
            continue;
        }
        assert_int_equal(r, 0);
        assert_int_equal(info.format, IMAGE_VHD);
        assert_int_equal(info.size_bytes + 512, info.file_bytes);
        assert_true(info.size_bytes >= 5 * MiB);
    }
    (void)snprintf(p->path, sizeof(p->path), "%s/made-flat.img", p->dir);
    (void)unlink(p->path);
    (void)snprintf(p->path, sizeof(p->path), "%s/made.img", p->dir);
}

static void test_image_formats_have_names(void **state)
{
    enum image_format f;
    struct err err;
    assert_int_equal(image_format_parse("VHD", &f, &err), 0);
    assert_int_equal(f, IMAGE_VHD);
    assert_int_equal(image_format_parse("qcow2", &f, &err), -EINVAL);
    assert_string_equal(image_format_name(IMAGE_RAW), "raw");
}

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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_image_plain_file_is_raw),
        T(test_image_odd_size_is_padded_and_noted),
        T(test_image_fixed_vhd_is_known_whatever_its_name),
        T(test_image_fixed_vhd_wins_over_first_sector),
        T(test_image_old_vhd_footer_of_511_bytes),
        T(test_image_vhd_that_is_cut_short_is_refused),
        T(test_image_vhd_with_slack_uses_current_size),
        T(test_image_damaged_vhd_footer_is_refused),
        T(test_image_named_vhd_without_footer_is_raw_and_noted),
        T(test_image_dynamic_and_differencing_vhd_are_refused),
        T(test_image_foreign_formats_are_named),
        T(test_image_disk_that_begins_by_accident_like_an_archive_is_raw),
        T(test_image_empty_file_folder_and_fifo_are_refused),
        T(test_image_agrees_with_qemu_img),
        T(test_image_formats_have_names),
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
