/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names, MAC addresses, ids and sizes: every spelling that is accepted, and a sentence for what is not. */
#include "core/names.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/util.h"

static void test_names_accept_the_allowed_characters(void **state)
{
    static const char *const good[] = {"a", "PC1", "0", "win11-23H2_x64.gold", "9-lives"};
    char longest[NAME_LEN + 1];
    memset(longest, 'x', NAME_LEN);
    longest[NAME_LEN] = 0;
    assert_int_equal(name_check(longest, "image name", NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_int_equal(name_check(good[i], "image name", NULL), 0);
}

static void test_names_refuse_what_is_no_file_name(void **state)
{
    static const char *const bad[] = {"",    ".",   "..",  "-x",       "_x",     "a/b",
                                      "a b", "a@1", "a\n", "\xc3\xa4", "../etc", "x:y"};
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(name_check(bad[i], "client name", &err), -EINVAL);
        assert_ptr_equal(strstr(err.msg, "client name"), err.msg);
    }
    char too_long[NAME_LEN + 2];
    memset(too_long, 'x', NAME_LEN + 1);
    too_long[NAME_LEN + 1] = 0;
    assert_int_equal(name_check(too_long, "client name", &err), -EINVAL);
    assert_non_null(strstr(err.msg, "longer than 63"));
}

static void test_names_quote_without_control_characters(void **state)
{
    struct err err;
    assert_int_equal(name_check("a\033[2Jb", "group name", &err), -EINVAL);
    assert_string_equal(err.msg, "group name 'a?[2Jb' holds a character other than A-Z a-z 0-9 . _ -");
}

static void test_mac_accepts_all_usual_spellings(void **state)
{
    static const struct {
        const char *text, *mac;
    } rows[] = {
        {"52:54:00:12:34:56", "52:54:00:12:34:56"},
        {"52-54-00-12-34-56", "52:54:00:12:34:56"},
        {"5254.0012.3456", "52:54:00:12:34:56"},
        {"525400123456", "52:54:00:12:34:56"},
        {"525400-123456", "52:54:00:12:34:56"},
        {"52 54 00 12 34 56", "52:54:00:12:34:56"},
        {"AA:BB:CC:DD:EE:FF", "aa:bb:cc:dd:ee:ff"},
        {"Aa-bB-Cc-dD-Ee-fF", "aa:bb:cc:dd:ee:ff"},
        {"AABB.CCDD.EEFF", "aa:bb:cc:dd:ee:ff"},
        {"AABBCCDDEEFF", "aa:bb:cc:dd:ee:ff"},
        {"0:1b:2:3:4:5", "00:1b:02:03:04:05"},
        {"0-1B-2-3-4-5", "00:1b:02:03:04:05"},
        {"  52:54:00:12:34:56\t\r\n", "52:54:00:12:34:56"},
        {"0:0:0:0:0:1", "00:00:00:00:00:01"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char mac[MAC_LEN + 1] = "";
        struct err err = {""};
        assert_int_equal(mac_parse(rows[i].text, mac, &err), 0);
        assert_string_equal(mac, rows[i].mac);
    }
}

static void test_mac_refuses_what_is_none(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "hello",
        "52:54:00:12:34",
        "52:54:00:12:34:56:78",
        "52:54:00:12:34:5g",
        "52:54:00:12:34:567",
        "52:54-00:12:34:56",
        "52::54:00:12:34",
        ":52:54:00:12:34",
        "52:54:00:12:34:",
        "5254001234567",
        "52540012345",
        "5254.0012.345",
        "5254.0012.34567",
        "10.0.0.1",
        "52:54:00:12:34:56 x",
        "0x525400123456",
        "52:54:00:12:34:56:52:54:00:12:34:56:52:54:00:12:34:56",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char mac[MAC_LEN + 1] = "untouched";
        struct err err = {""};
        assert_int_equal(mac_parse(bad[i], mac, &err), -EINVAL);
        assert_non_null(strstr(err.msg, "is no MAC address; write it as 52:54:00:12:34:56"));
        assert_string_equal(mac, "untouched");
    }
}

static void test_mac_refuses_addresses_of_no_card(void **state)
{
    char mac[MAC_LEN + 1];
    struct err err;
    assert_int_equal(mac_parse("0:0:0:0:0:0", mac, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "all zero"));
    assert_int_equal(mac_parse("ff-ff-ff-ff-ff-ff", mac, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "broadcast"));
    assert_int_equal(mac_parse("01:00:5e:00:00:01", mac, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "multicast"));
}

static void test_uuid_is_of_version_4_and_survives_decoding(void **state)
{
    char text[UUID_LEN + 1], again[UUID_LEN + 1], other[UUID_LEN + 1];
    unsigned char id[16];
    assert_int_equal(uuid_new(text), 0);
    assert_int_equal(uuid_new(other), 0);
    assert_string_not_equal(text, other);
    assert_int_equal(strlen(text), UUID_LEN);
    assert_int_equal(text[14], '4');
    assert_non_null(strchr("89ab", text[19]));
    assert_int_equal(uuid_decode(text, id), 0);
    uuid_encode(id, again);
    assert_string_equal(text, again);
}

static void test_uuid_decode_refuses_other_text(void **state)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "00000000-0000-0000-0000-00000000000",
                                      "00000000-0000-0000-0000-0000000000000",
                                      "00000000+0000-0000-0000-000000000000",
                                      "0000000g-0000-0000-0000-000000000000",
                                      "000000000000-0000-0000-0000-00000000"};
    unsigned char id[16];
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(uuid_decode(bad[i], id), -EINVAL);
    assert_int_equal(uuid_decode("00112233-4455-6677-8899-AABBCCDDEEFF", id), 0);
    assert_int_equal(id[15], 0xff);
}

static void test_secret_has_16_clear_letters(void **state)
{
    char a[17], b[17];
    assert_int_equal(secret_new(a), 0);
    assert_int_equal(secret_new(b), 0);
    assert_int_equal(strlen(a), 16);
    assert_null(strpbrk(a, "ilo0O1I"));
    assert_string_not_equal(a, b);
}

static void test_size_takes_units_and_fractions(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {
        {"0", 0},
        {"512", 512},
        {"512B", 512},
        {"64k", 64 * KiB},
        {"64K", 64 * KiB},
        {"64KiB", 64 * KiB},
        {"64kB", 64 * KiB},
        {"64 M", 64 * MiB},
        {"1.5G", 1536 * MiB},
        {"1.5GiB", 1536 * MiB},
        {"4T", 4 * TiB},
        {"0.5k", 512},
        {"9223372036854775807", INT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t bytes = 1;
        assert_int_equal(size_parse(rows[i].text, &bytes, NULL), 0);
        assert_int_equal(bytes, rows[i].bytes);
    }
}

static void test_size_refuses_what_is_none(void **state)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "-1",
                                      "1.5",
                                      "1.",
                                      ".5G",
                                      "1x",
                                      "1kk",
                                      "1iB",
                                      "1 2",
                                      "12Q",
                                      "0x10",
                                      "1e3",
                                      "9223372036854775808",
                                      "8388608T",
                                      "99999999999999999999",
                                      "1.0000000001G"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t bytes;
        struct err err = {""};
        assert_int_equal(size_parse(bad[i], &bytes, &err), -EINVAL);
        assert_non_null(strstr(err.msg, "size"));
    }
}

static void test_size_text_is_short(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {{0, "0 B"},         {512, "512 B"},     {1023, "1023 B"},      {1024, "1 KiB"}, {1536 * MiB, "1.5 GiB"},
                {4 * TiB, "4 TiB"}, {MiB - 1, "1 MiB"}, {UINT64_MAX, "16 EiB"}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[32];
        size_text(rows[i].bytes, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void test_image_ref_splits_name_and_version(void **state)
{
    char name[NAME_LEN + 1];
    uint32_t version = 9;
    assert_int_equal(image_ref_parse("win11", name, &version, NULL), 0);
    assert_string_equal(name, "win11");
    assert_int_equal(version, 0);
    assert_int_equal(image_ref_parse("win11@4294967295", name, &version, NULL), 0);
    assert_int_equal(version, UINT32_MAX);
    static const char *const bad[] = {"",
                                      "@1",
                                      "win11@",
                                      "win11@0",
                                      "win11@x",
                                      "win11@-1",
                                      "win11@4294967296",
                                      "win11@1@2",
                                      "win 11@1",
                                      "win11@1 ",
                                      "win11@99999999999999999999999"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct err err = {""};
        assert_int_equal(image_ref_parse(bad[i], name, &version, &err), -EINVAL);
        assert_true(err.msg[0]);
    }
}

static void test_names_compare_as_people_count(void **state)
{
    assert_true(name_compare("PC2", "PC10") < 0);
    assert_true(name_compare("pc10", "PC2") > 0);
    assert_int_equal(name_compare("pc1", "PC1"), 0);
    assert_true(name_compare("pc", "pc1") < 0);
    assert_true(name_compare("pc1a", "pc1b") < 0);
    assert_true(name_compare("a2b10", "a2b9") > 0);
    assert_true(name_compare("pc01", "pc1") != 0);
    assert_int_equal(name_compare("pc01", "pc1") < 0, name_compare("pc1", "pc01") > 0);
    assert_true(name_compare("pc01", "pc2") < 0);
    assert_true(name_compare("99999999999999999999998", "99999999999999999999999") < 0);
    assert_int_equal(name_compare("", ""), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_accept_the_allowed_characters),
        cmocka_unit_test(test_names_refuse_what_is_no_file_name),
        cmocka_unit_test(test_names_quote_without_control_characters),
        cmocka_unit_test(test_mac_accepts_all_usual_spellings),
        cmocka_unit_test(test_mac_refuses_what_is_none),
        cmocka_unit_test(test_mac_refuses_addresses_of_no_card),
        cmocka_unit_test(test_uuid_is_of_version_4_and_survives_decoding),
        cmocka_unit_test(test_uuid_decode_refuses_other_text),
        cmocka_unit_test(test_secret_has_16_clear_letters),
        cmocka_unit_test(test_size_takes_units_and_fractions),
        cmocka_unit_test(test_size_refuses_what_is_none),
        cmocka_unit_test(test_size_text_is_short),
        cmocka_unit_test(test_image_ref_splits_name_and_version),
        cmocka_unit_test(test_names_compare_as_people_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
