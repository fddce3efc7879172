/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VHD footer: what we encode we decode, and each field that cannot be is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "core/util.h"
#include "core/vhd.h"

static struct vhd_footer sample(void)
{
    return (struct vhd_footer){
        .type = VHD_FIXED,
        .original_bytes = 20 * MiB,
        .current_bytes = 20 * MiB,
        .header_off = UINT64_MAX,
        .features = 2,
        .version = 0x10000,
        .timestamp_s = 12345,
        .creator_version = 0x50003,
        .creator = "qem2",
        .creator_system = "Wi2k",
        .cylinders = 602,
        .heads = 4,
        .sectors = 17,
        .id = {1, 2, 3},
    };
}

static void test_vhd_decodes_what_it_encodes(void **state)
{
    struct vhd_footer in = sample(), out;
    unsigned char buf[VHD_FOOTER_BYTES];
    struct err err;
    vhd_footer_encode(&in, buf);
    assert_true(vhd_has_cookie(buf, sizeof(buf)));
    assert_int_equal(vhd_footer_decode(buf, sizeof(buf), &out, &err), 0);
    assert_int_equal(out.type, in.type);
    assert_int_equal(out.current_bytes, in.current_bytes);
    assert_int_equal(out.original_bytes, in.original_bytes);
    assert_true(out.header_off == in.header_off);
    assert_int_equal(out.timestamp_s, in.timestamp_s);
    assert_int_equal(out.cylinders, in.cylinders);
    assert_int_equal(out.heads, in.heads);
    assert_int_equal(out.sectors, in.sectors);
    assert_string_equal(out.creator, "qem2");
    assert_string_equal(out.creator_system, "Wi2k");
    assert_memory_equal(out.id, in.id, sizeof(in.id));
    assert_false(out.is_saved_state);
}

static void test_vhd_accepts_old_511_byte_footer(void **state)
{
    struct vhd_footer in = sample(), out;
    unsigned char buf[VHD_FOOTER_BYTES];
    vhd_footer_encode(&in, buf);
    assert_int_equal(vhd_footer_decode(buf, VHD_FOOTER_BYTES_OLD, &out, NULL), 0);
    assert_int_equal(out.current_bytes, 20 * MiB);
}

/* All single-bit errors are found, whatever the bit is. */
static void test_vhd_refuses_any_flipped_bit(void **state)
{
    struct vhd_footer in = sample(), out;
    unsigned char buf[VHD_FOOTER_BYTES];
    vhd_footer_encode(&in, buf);
    for (size_t bit = 0; bit < sizeof(buf) * 8; bit++) {
        buf[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_int_equal(vhd_footer_decode(buf, sizeof(buf), &out, NULL), -EBADMSG);
        buf[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

static int decode_changed(const struct vhd_footer *f, struct err *err)
{
    struct vhd_footer out;
    unsigned char buf[VHD_FOOTER_BYTES];
    vhd_footer_encode(f, buf);
    return vhd_footer_decode(buf, sizeof(buf), &out, err);
}

static void test_vhd_refuses_fields_that_cannot_be(void **state)
{
    struct err err;
    struct vhd_footer f = sample();
    f.current_bytes = 1000;
    assert_int_equal(decode_changed(&f, &err), -EBADMSG);
    assert_non_null(strstr(err.msg, "offset 48"));
    f = sample();
    f.current_bytes = 0;
    assert_int_equal(decode_changed(&f, &err), -EBADMSG);
    f = sample();
    f.current_bytes = UINT64_MAX - 511;
    assert_int_equal(decode_changed(&f, &err), -EBADMSG);
    f = sample();
    f.version = 0x20000;
    assert_int_equal(decode_changed(&f, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.msg, "offset 12"));
    f = sample();
    f.features = 0x80000002;
    assert_int_equal(decode_changed(&f, &err), -EOPNOTSUPP);
    f = sample();
    f.type = (enum vhd_type)5;
    assert_int_equal(decode_changed(&f, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.msg, "offset 60"));
}

static void test_vhd_refuses_other_lengths_and_cookies(void **state)
{
    struct vhd_footer in = sample(), out;
    unsigned char buf[VHD_FOOTER_BYTES];
    vhd_footer_encode(&in, buf);
    assert_int_equal(vhd_footer_decode(buf, 7, &out, NULL), -EBADMSG);
    assert_int_equal(vhd_footer_decode(buf, 510, &out, NULL), -EBADMSG);
    assert_false(vhd_has_cookie(buf, 7));
    memcpy(buf, "conectiX", 8);
    assert_false(vhd_has_cookie(buf, sizeof(buf)));
    assert_int_equal(vhd_footer_decode(buf, sizeof(buf), &out, NULL), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vhd_decodes_what_it_encodes),
        cmocka_unit_test(test_vhd_accepts_old_511_byte_footer),
        cmocka_unit_test(test_vhd_refuses_any_flipped_bit),
        cmocka_unit_test(test_vhd_refuses_fields_that_cannot_be),
        cmocka_unit_test(test_vhd_refuses_other_lengths_and_cookies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
