/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image files: what they are is told by their content. */
#include "tests/unit/image-fixture.h"

#include <sys/wait.h>

static bool run_tool(const char *command)
{
    int r = system(command); /* NOLINT: fixed commands on our own temp files */
    return WIFEXITED(r) && WEXITSTATUS(r) == 0;
}

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
