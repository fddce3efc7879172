/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single values of foreign tables: what is taken, in which spelling, and what is refused. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/util.h"
#include "migrate/hints.h"
#include "migrate/normalise.h"
#include "migrate/record.h"
#include "migrate/text.h"

static void test_normalise_mac_forms(void **state)
{
    static const struct {
        const char *text;
        enum mac_status status;
        const char *mac;
    } rows[] = {
        {"1C1B0D6564F9", MAC_GOOD, "1c:1b:0d:65:64:f9"},
        {" 00-1B-21-AA-BB-CD ", MAC_GOOD, "00:1b:21:aa:bb:cd"},
        {"0:11:2:aa:b:c", MAC_GOOD, "00:11:02:aa:0b:0c"},
        {"0C9D.92CD.45FF", MAC_GOOD, "0c:9d:92:cd:45:ff"},
        {"0x001B21AABBCC", MAC_GOOD, "00:1b:21:aa:bb:cc"},
        {"{001B21AABBCE}", MAC_GOOD, "00:1b:21:aa:bb:ce"},
        {"\"00:1b:21:aa:bb:cc\"", MAC_GOOD, "00:1b:21:aa:bb:cc"},
        {"001B21-AABBD0", MAC_GOOD, "00:1b:21:aa:bb:d0"},
        {"00 1b 21 aa bb cc", MAC_GOOD, "00:1b:21:aa:bb:cc"},
        {"００：１Ｂ：２１：ＡＡ：ＢＢ：ＣＣ", MAC_GOOD, "00:1b:21:aa:bb:cc"},
        {"02:00:00:00:00:01", MAC_LOCAL, "02:00:00:00:00:01"},
        {"", MAC_EMPTY, ""},
        {" \t\xe3\x80\x80", MAC_EMPTY, ""},
        {"00-11-22-AA-BB", MAC_BAD_FORM, ""},
        {"00-11-22-AA-BB-CC-DD", MAC_BAD_FORM, ""},
        {"GG-11-22-AA-BB-CC", MAC_BAD_FORM, ""},
        {"00-1B:21-AA:BB-D1", MAC_BAD_FORM, ""},
        {"00１Ｂ21ＡＡ-BBCF", MAC_BAD_FORM, ""},
        {"1.1.1.1.1.1", MAC_BAD_FORM, ""},
        {"001B21AABBC", MAC_BAD_FORM, ""},
        {"001B21AABBCCD", MAC_BAD_FORM, ""},
        {"000000000000000000000000001b", MAC_BAD_FORM, ""},
        {"00:1b:21:aa:bb:", MAC_BAD_FORM, ""},
        {":00:1b:21:aa:bb", MAC_BAD_FORM, ""},
        {"192.168.1.10", MAC_BAD_FORM, ""},
        {"000000000000", MAC_ZERO, ""},
        {"FF:FF:FF:FF:FF:FF", MAC_BROADCAST, ""},
        {"01:00:5E:00:00:FB", MAC_MULTICAST, ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char mac[MAC_LEN + 1];
        enum mac_status s = mac_from_text(rows[i].text, strlen(rows[i].text), mac);
        if (s != rows[i].status || strcmp(mac, rows[i].mac) != 0)
            fail_msg("'%s': status %d, mac '%s'", rows[i].text, s, mac);
    }
}

static void test_normalise_binary_mac_with_zero_bytes(void **state)
{
    char mac[MAC_LEN + 1];
    struct cell c = {.kind = CELL_BYTES, .text = "\x00\x11\x22\x00\x00\x01", .len = 6};
    assert_int_equal(mac_from_cell(&c, mac), MAC_GOOD);
    assert_string_equal(mac, "00:11:22:00:00:01");
    c.len = 5;
    assert_int_equal(mac_from_cell(&c, mac), MAC_BAD_FORM);
    assert_string_equal(mac, "");
}

static void test_normalise_addresses(void **state)
{
    char ip[46], dns[96] = "";
    assert_true(ip_from_text(" 192.168.001.010 ", 17, ip));
    assert_string_equal(ip, "192.168.1.10");
    assert_true(ip_from_text("FE80::1", 7, ip));
    assert_string_equal(ip, "fe80::1");
    static const char *const bad[] = {"192.168.1.300", "not an ip", "192.168.01.1", "1.2.3", "0.0.0.0", "::", "",
                                      "1.2.3.4.5",     "010.1.1.1"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(ip_from_text(bad[i], strlen(bad[i]), ip));
        assert_string_equal(ip, "");
    }
    assert_true(ip_is_none("0.0.0.0", 7) && ip_is_none(" Auto ", 6) && !ip_is_none("x", 1));
    assert_true(mask_from_text("255.255.255.0", 13, ip) && strcmp(ip, "255.255.255.0") == 0);
    assert_true(mask_from_text("/22", 3, ip) && strcmp(ip, "255.255.252.0") == 0);
    assert_true(mask_from_text("32", 2, ip) && strcmp(ip, "255.255.255.255") == 0);
    assert_false(mask_from_text("255.0.255.0", 11, ip));
    assert_false(mask_from_text("0.0.0.0", 7, ip));
    assert_false(mask_from_text("33", 2, ip));
    assert_true(dns_add(dns, "8.8.8.8, 1.1.1.1;8.8.8.8", 24));
    assert_string_equal(dns, "8.8.8.8,1.1.1.1");
    assert_false(dns_add(dns, "8.8.8.8 oops", 12));
}

static void test_normalise_yes_and_no(void **state)
{
    static const struct {
        const char *text;
        int is_yes; /* -1 = neither */
    } rows[] = {{"yes", 1}, {"TRUE", 1}, {"-1", 1},    {"是", 1},    {"Да", 1},     {"sim", 1},
                {"ya", 1},  {"có", 1},   {"启用", 1},  {"no", 0},    {"0", 0},      {"否", 0},
                {"нет", 0}, {"não", 0},  {"tidak", 0}, {"không", 0}, {"maybe", -1}, {"2", -1}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        bool is_yes = false;
        struct cell c = {.kind = CELL_TEXT, .text = rows[i].text, .len = strlen(rows[i].text)};
        bool is_known = bool_from_cell(&c, &is_yes);
        if (is_known != (rows[i].is_yes >= 0) || (is_known && is_yes != (rows[i].is_yes == 1)))
            fail_msg("'%s' is known %d, yes %d", rows[i].text, is_known, is_yes);
    }
}

static void test_normalise_paths(void **state)
{
    static const struct {
        const char *text;
        enum path_kind kind;
        const char *path;
    } rows[] = {
        {"D:\\Images\\win10.img", PATH_ABSOLUTE, "D:/Images/win10.img"},
        {"d:\\images\\WIN10.IMG", PATH_ABSOLUTE, "D:/images/WIN10.IMG"},
        {"D:\\\\Images\\\\win10.img", PATH_ABSOLUTE, "D:/Images/win10.img"},
        {"\"D:\\Images\\win10.img\"", PATH_ABSOLUTE, "D:/Images/win10.img"},
        {" D:\\Images\\win10.img ", PATH_ABSOLUTE, "D:/Images/win10.img"},
        {"\\\\?\\D:\\Images\\win10.img", PATH_ABSOLUTE, "D:/Images/win10.img"},
        {"\\\\?\\UNC\\NAS01\\share\\win10.img", PATH_UNC, "//NAS01/share/win10.img"},
        {"//NAS01/ccboot/images/x.vhdx", PATH_UNC, "//NAS01/ccboot/images/x.vhdx"},
        {"\\NAS01\\ccboot\\x.img", PATH_ROOTED, "/NAS01/ccboot/x.img"},
        {"D:win10.img", PATH_DRIVE_RELATIVE, "D:win10.img"},
        {"win10.img", PATH_RELATIVE, "win10.img"},
        {"Images\\.\\win10.img", PATH_RELATIVE, "Images/win10.img"},
        {"/srv/images//x.img", PATH_POSIX, "/srv/images/x.img"},
        {"D:\\Images\\..\\..\\SAM", PATH_DOTS, "D:/Images/../../SAM"},
        {"..\\x.img", PATH_DOTS, "../x.img"},
        {"\\\\NAS01", PATH_BROKEN, ""},
        {"\\\\NAS01\\ccboot", PATH_BROKEN, ""},
        {"\\\\\\\\NAS01\\\\ccboot\\\\x.vhdx", PATH_BROKEN, ""},
        {"\\\\.\\PhysicalDrive0", PATH_BROKEN, ""},
        {"\\\\?\\UNC\\", PATH_BROKEN, ""},
        {"D:\\Images\\", PATH_BROKEN, ""},
        {"D:", PATH_BROKEN, ""},
        {"http://x/y.img", PATH_BROKEN, ""},
        {"a\nb.img", PATH_BROKEN, ""},
        {"", PATH_BROKEN, ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char path[RECORD_RAW_MAX + 1];
        enum path_kind kind = path_from_text(rows[i].text, strlen(rows[i].text), path);
        if (kind != rows[i].kind || strcmp(path, rows[i].path) != 0)
            fail_msg("'%s': kind %d, path '%s'", rows[i].text, kind, path);
    }
    assert_int_equal(path_ending("D:\\x.VHDX", 9), 1);
    assert_int_equal(path_ending("D:\\x.vhd.001", 12), 1);
    assert_int_equal(path_ending("win10.001", 9), 1);
    assert_int_equal(path_ending("192.168.1.100", 13), 0);
    assert_int_equal(path_ending("12.345", 6), 0);
    assert_int_equal(path_ending("D:\\10.001", 9), 1);
    assert_int_equal(path_ending("D:\\x.log", 8), -1);
    assert_int_equal(path_ending("D:\\x.dir\\y", 10), 0);
}

static void test_normalise_names(void **state)
{
    char name[NAME_LEN + 1], long_name[200];
    static const struct {
        const char *raw, *name;
    } rows[] = {{"PC001", "PC001"},
                {" vip room ", "vip-room"},
                {"Gamer😀PC", "Gamer-PC"},
                {"ＰＣ０１", "PC01"},
                {"网吧001号机", "001"},
                {"a/../b", "a-..-b"},
                {"-x-", "x"},
                {"前台", ""}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(name_from_raw(rows[i].raw, name), *rows[i].name != 0);
        assert_string_equal(name, rows[i].name);
        assert_true(!*name || name_check(name, "name", NULL) == 0);
    }
    memset(long_name, 'x', sizeof(long_name));
    long_name[199] = 0;
    assert_true(name_from_raw(long_name, name));
    assert_int_equal(strlen(name), NAME_LEN);
}

static void test_groups_stay_different(void **state)
{
    static const char *const raw[] = {"Зал 1", "Бар 1", "贵宾区", "大厅", "Salão", "Salao", "---", "+++", "1", "VIP"};
    char names[ARRAY_SIZE(raw)][NAME_LEN + 1], other[NAME_LEN + 1], long_name[400] = "";
    for (size_t i = 0; i < ARRAY_SIZE(raw); i++) {
        group_from_raw(raw[i], names[i]);
        assert_int_equal(name_check(names[i], "group", NULL), 0);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(names[i], names[k]);
    }
    assert_string_equal(names[9], "VIP");
    assert_string_equal(names[0],
                        "1-7dcce5"); /* another name would move clients from group to group at the next import */
    group_from_raw("ЗАЛ 1", other);
    assert_string_equal(other, names[0]);
    group_from_raw("ＶＩＰ", other);
    assert_string_equal(other, "VIP");
    for (int i = 0; i < 80; i++)
        strcat(long_name, "x漢");
    group_from_raw(long_name, other);
    assert_int_equal(name_check(other, "group", NULL), 0);
}

static void test_text_for_terminals_holds_no_control(void **state)
{
    char shown[200], small[12];
    text_shown("a\x1b[31m\n\xe2\x80\xae\xe2\x80\x8e"
               "b\xc2\x85\x7f漢",
               shown, sizeof(shown));
    assert_string_equal(shown, "a\\x1b[31m\\n\\u{202e}\\u{200e}b\\u{85}\\x7f漢");
    text_shown("漢字漢字漢字", small, sizeof(small));
    assert_string_equal(small, "漢字...");
    assert_true(text_same("ＭＡＣ", "mac") && !text_same("mac", "mab"));
}

static void test_text_json_is_json_however_full(void **state)
{
    for (size_t size = 24; size < 200; size++) {
        char buf[200];
        struct text_out o;
        text_json_begin(&o, buf, size);
        for (int i = 0; i < 5; i++) {
            char key[16];
            (void)snprintf(key, sizeof(key), "k\"%d", i);
            text_json_member(&o, key, "v\x01漢\\", 6, 100);
        }
        text_json_end(&o);
        json_t *j = json_loads(buf, JSON_REJECT_DUPLICATES, NULL);
        if (!j || strlen(buf) >= size)
            fail_msg("size %zu: %s", size, buf);
        json_decref(j);
    }
}

static void test_text_json_says_what_it_cut(void **state)
{
    char value[64];
    memset(value, 'v', sizeof(value));
    for (size_t size = 24; size < 120; size++) {
        _cleanup_free_ char *buf = malloc(size); /* so that a sanitizer sees one byte too many */
        struct text_out o;
        text_json_begin(&o, buf, size);
        bool is_whole = text_json_member(&o, "k", value, sizeof(value), 30);
        text_json_end(&o);
        json_t *json = json_loads(buf, JSON_REJECT_DUPLICATES, NULL);
        const char *text = json_string_value(json_object_get(json, "k"));
        assert_non_null(json);
        assert_false(is_whole);
        assert_true(text ? strlen(text) == 33 && strcmp(text + 30, "...") == 0 : json_object_get(json, "...") != NULL);
        json_decref(json);
    }
}

/* Long steps over plain text: a character that needs an escape may stand anywhere. */
static void test_text_json_says_what_it_was_given(void **state)
{
    static const char specials[] = "\"\\\x01\x1f\x20\x7f\n/";
    for (size_t k = 0; k + 1 < sizeof(specials); k++)
        for (size_t len = 1; len <= 26; len++)
            for (size_t at = 0; at < len; at++) {
                char text[32] = "abcdefghijklmnopqrstuvwxyz", buf[128];
                struct text_out o;
                text[at] = specials[k];
                text[len] = 0;
                text_json_begin(&o, buf, sizeof(buf));
                text_json_member(&o, "key", text, len, 100);
                text_json_end(&o);
                assert_int_equal(o.len, strlen(buf));
                json_t *j = json_loads(buf, JSON_REJECT_DUPLICATES, NULL);
                assert_string_equal(json_string_value(json_object_get(j, "key")), text);
                json_decref(j);
            }
}

/* A key that was made before gives the same member. */
static void test_text_json_key_is_the_same_as_the_name(void **state)
{
    static const char *const names[] = {
        "", "a", "Cache MB", "a\"b\\c\x01\x7f", "机器名", "0123456789012345678901234567890123456789"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        size_t len;
        _cleanup_free_ char *key = text_json_key(names[i], &len);
        assert_int_equal(len, strlen(key));
        for (size_t size = 24; size < 256; size++) {
            _cleanup_free_ char *a = malloc(size), *b = malloc(size); /* so that a sanitizer sees one byte too many */
            struct text_out x, y;
            text_json_begin(&x, a, size);
            text_json_begin(&y, b, size);
            bool is_whole = true;
            for (int k = 0; k < 3; k++) {
                (void)text_json_member(&x, names[i], "value", 5, 100);
                is_whole = text_json_member_of(&y, key, len, "value", 5, 100) && is_whole;
            }
            text_json_end(&x);
            text_json_end(&y);
            if (is_whole && !x.is_full)
                assert_string_equal(a, b);
            assert_int_equal(is_whole, !y.is_full);
            json_t *j = json_loads(b, 0, NULL);
            assert_non_null(j);
            json_decref(j);
            if (size > 3 * len + 64)
                assert_true(is_whole);
        }
    }
}

/* What is written plainly is taken without inet_pton(): for each text the two must say the same. */
static void test_normalise_addresses_as_the_system_does(void **state)
{
    static const char alphabet[] = "0125.9a: ";
    static const char *const edges[] = {"255.255.255.255", "256.1.1.1",  "1.1.1.256",  "1.1.1.1.",     ".1.1.1.1",
                                        "1.1.1",           "1.1.1.1.1",  "01.1.1.1",   "1.1.1.01",     "1.1.1.00",
                                        "0.0.0.1",         "1.0.0.0",    "1..1.1",     "1.1.1.1000",   "1.1.1.1a",
                                        "a1.1.1.1",        "0.0.0.00",   "1.1.1.+1",   "100.200.30.4", "192.168.1.1",
                                        "9.9.9.",          "1111.1.1.1", "10.20.30.40"};
    char ip[46], text[20];
    struct in_addr a;
    for (size_t i = 0; i < ARRAY_SIZE(edges); i++) {
        bool is_one = inet_pton(AF_INET, edges[i], &a) == 1 && a.s_addr != INADDR_ANY;
        assert_int_equal(ip_from_text(edges[i], strlen(edges[i]), ip), is_one);
        assert_string_equal(ip, is_one ? edges[i] : "");
    }
    srandom(1);
    for (int i = 0; i < 200000; i++) {
        size_t n = 0;
        for (int part = 0; part < 4; part++) {
            for (long digits = 1 + random() % 3; digits > 0; digits--)
                text[n++] = alphabet[random() % 16 ? random() % 4 : random() % 8];
            text[n++] = '.';
        }
        text[n -= random() % 32 > 0] = 0; /* a dot at the end is rare */
        bool is_one = inet_pton(AF_INET, text, &a) == 1 && a.s_addr != INADDR_ANY;
        bool is_padded = n == 15 && (text[0] == '0' || text[4] == '0' || text[8] == '0' || text[12] == '0');
        if (!is_padded && !strchr(text, ':'))
            assert_int_equal(ip_from_text(text, n, ip), is_one);
    }
}

/* One word of each language; and what must not match. */
static void test_hints_know_their_words(void **state)
{
    static const struct {
        enum hint hint;
        const char *name;
    } yes[] = {{HINT_MAC, "MACAddr"},       {HINT_MAC, "网卡地址"},
               {HINT_MAC, "網卡"},          {HINT_MAC, "Физический_Адрес"},
               {HINT_MAC, "alamat_mac"},    {HINT_MAC, "EndereçoMAC"},
               {HINT_MAC, "dirección mac"}, {HINT_MAC, "ĐịaChỉMAC"},
               {HINT_NAME, "ComputerName"}, {HINT_NAME, "機器名"},
               {HINT_NAME, "Имя"},          {HINT_NAME, "NamaKomputer"},
               {HINT_NAME, "Máy"},          {HINT_NAME, "nombre_equipo"},
               {HINT_IP, "IP地址"},         {HINT_IP, "Địa chỉ IP"},
               {HINT_IMAGE, "BootImage"},   {HINT_IMAGE, "镜像文件"},
               {HINT_IMAGE, "映像檔"},      {HINT_IMAGE, "образ"},
               {HINT_DISABLED, "禁用"},     {HINT_ENABLED, "Включён"},
               {HINT_ENABLED, "IsActive"},  {HINT_OLD, "Clients_bak"},
               {HINT_OLD, "备份客户机"},    {HINT_GROUP, "Группа"},
               {HINT_COMMENT, "Ghi chú"},   {HINT_NETMASK, "子网掩码"},
               {HINT_GATEWAY, "Шлюз"},      {HINT_DNS, "首选DNS"},
               {HINT_DATA, "GameDisk"},     {HINT_DATA, "游戏盘"}};
    static const struct {
        enum hint hint;
        const char *name;
    } no[] = {{HINT_MAC, "ServerMAC"}, {HINT_MAC, "SwitchMac"},    {HINT_NAME, "ImageName"},
              {HINT_IP, "MacAddress"}, {HINT_IP, "ServerIP"},      {HINT_IMAGE, "WriteBackDisk"},
              {HINT_MAC, "machine"},   {HINT_ENABLED, "Disabled"}, {HINT_GROUP, "Workgroup"}};
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
        if (hint_of(yes[i].hint, yes[i].name) < 0.1 || hint_of(yes[i].hint, yes[i].name) > HINT_MAX)
            fail_msg("'%s' is no hint at %d", yes[i].name, yes[i].hint);
    for (size_t i = 0; i < ARRAY_SIZE(no); i++)
        if (hint_of(no[i].hint, no[i].name) > 0)
            fail_msg("'%s' is a hint at %d: %f", no[i].name, no[i].hint, hint_of(no[i].hint, no[i].name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normalise_mac_forms),
        cmocka_unit_test(test_normalise_binary_mac_with_zero_bytes),
        cmocka_unit_test(test_normalise_addresses),
        cmocka_unit_test(test_normalise_addresses_as_the_system_does),
        cmocka_unit_test(test_normalise_yes_and_no),
        cmocka_unit_test(test_normalise_paths),
        cmocka_unit_test(test_normalise_names),
        cmocka_unit_test(test_text_for_terminals_holds_no_control),
        cmocka_unit_test(test_text_json_is_json_however_full),
        cmocka_unit_test(test_text_json_says_what_it_cut),
        cmocka_unit_test(test_groups_stay_different),
        cmocka_unit_test(test_text_json_says_what_it_was_given),
        cmocka_unit_test(test_text_json_key_is_the_same_as_the_name),
        cmocka_unit_test(test_hints_know_their_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
