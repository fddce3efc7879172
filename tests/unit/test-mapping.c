/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mappings: what is found by content, what is asked, and that a saved one is the same when it is loaded. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/util.h"
#include "migrate/mapping.h"
#include "migrate/record.h"
#include "tests/unit/fake-source.h"

struct seen {
    size_t n;
    struct record list[40];
    char rest[40][256];
    uint64_t rows;
};

static int keep(void *arg, const struct record *r)
{
    struct seen *s = arg;
    if (s->n < ARRAY_SIZE(s->list)) {
        s->list[s->n] = *r;
        (void)snprintf(s->rest[s->n], sizeof(s->rest[s->n]), "%s", r->rest);
        s->list[s->n].rest = s->rest[s->n];
    }
    s->n++;
    return 0;
}

static void read_with(struct source *s, const struct mapping *m, struct seen *seen)
{
    struct err err = {""};
    seen->n = 0;
    int r = records_read(s, m, keep, seen, &seen->rows, &err);
    if (r < 0)
        fail_msg("%d: %s", r, err.msg);
    assert_int_equal(seen->rows, seen->n);
}

static struct mapping *detect(struct source *s, int expected)
{
    struct err err = {""};
    struct mapping *m = NULL;
    int r = mapping_detect(s, &m, &err);
    if (r != expected)
        fail_msg("%d: %s", r, err.msg);
    assert_true((r == 0) == !*err.msg);
    assert_non_null(m);
    return m;
}

static struct mapping *load(struct source *s, const char *text, int expected, char *ret_sentence)
{
    char path[] = "/tmp/test-mapping-XXXXXX";
    struct err err = {""};
    struct mapping *m = NULL;
    _cleanup_close_ int fd = mkstemp(path);
    assert_int_equal(pwrite_full(fd, text, strlen(text), 0), 0);
    int r = mapping_load(path, s, &m, &err);
    (void)unlink(path); /* only to be tidy */
    if (r != expected)
        fail_msg("%d: %s", r, err.msg);
    if (ret_sentence)
        strcpy(ret_sentence, err.msg);
    return m;
}

static char *saved(const struct mapping *m)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    assert_int_equal(mapping_save(m, f), 0);
    assert_int_equal(fclose(f), 0);
    return text;
}

/* The lines that are no comments. */
static void strip_comments(char *text)
{
    char *to = text;
    for (char *line = text; *line;) {
        size_t n = strcspn(line, "\n") + 1;
        if (*line != ';' && *line != '\n') {
            memmove(to, line, n);
            to += n;
        }
        line += n;
    }
    *to = 0;
}

static void same_when_loaded(struct source *s, const struct mapping *m)
{
    _cleanup_free_ char *first = saved(m);
    _cleanup_(mapping_destroyp) struct mapping *again = load(s, first, 0, NULL);
    _cleanup_free_ char *second = saved(again);
    strip_comments(first);
    strip_comments(second);
    assert_string_equal(first, second);
}

/* --- tables of a site ------------------------------------------------------------------------------------------------ */

static const char *const link_clients[][FAKE_COLUMNS] = {
    {"1", "WS-01", "70-85-C2-B8-50-AB", "10.0.5.10", "1", "1", "1", "x"},
    {"2", "WS-02", "74-D4-35-ED-21-7C", "10.0.5.11", "2", "2", "0", ""},
    {"3", "WS-03", "18-C0-4D-E8-1E-C1", "10.0.5.12", "9", "1", "1", ""},
    {"4", "WS-04", "A8-A1-59-0D-46-21", "10.0.5.13", NULL, "7", "1", ""},
    {"5", "WS-05", "B4-2E-99-21-D1-8C", "bad", "2", "2", "1", ""},
    {"6", "WS-06", "B4-2E-99-21-D1-8D", "10.0.5.15", "1", "2", "1", ""},
    {"7", "WS-07", "B4-2E-99-21-D1-8E", "10.0.5.16", "1", "2", "1", ""},
};
static const char *const link_disks[][FAKE_COLUMNS] = {{"1", "sys10", "D:\\Disks\\sys10.vhdx"},
                                                       {"2", "sys 11", "D:\\Disks\\sys11.vhdx"},
                                                       {"3", "data", "H:\\Disks\\data.img"}};
static const char *const link_groups[][FAKE_COLUMNS] = {{"1", "Default"}, {"2", "VIP room"}};
static const struct fake_table linked_site[] = {
    {"tblClient",
     {"ClientID:int", "HostName:text", "HWAddr:text", "IPAddr:text", "DiskID:int", "GroupID:int", "Active:bool",
      "Notes:memo", NULL},
     link_clients,
     7,
     NULL},
    {"tblDisk", {"DiskID:int", "DiskName:text", "DiskFile:text", NULL}, link_disks, 3, NULL},
    {"tblGroups", {"ID:int", "GroupName:text", NULL}, link_groups, 2, NULL},
};

static void check_linked(const struct seen *seen)
{
    const struct record *r = seen->list;
    assert_int_equal(seen->n, 7);
    assert_string_equal(r[0].mac, "70:85:c2:b8:50:ab");
    assert_string_equal(r[0].source_id, "1");
    assert_string_equal(r[0].comment, "x");
    assert_string_equal(r[0].group, "Default");
    assert_string_equal(r[1].group, "VIP-room");
    assert_string_equal(r[1].raw_group, "VIP room");
    assert_non_null(strstr(r[1].rest, "\"GroupID\":\"VIP room\""));
    assert_null(strstr(r[0].rest, "GroupID"));
    assert_true(r[1].is_disabled && !r[0].is_disabled);
    assert_int_equal(r[0].image_count, 1);
    assert_string_equal(r[0].images[0].path, "D:/Disks/sys10.vhdx");
    assert_string_equal(r[1].images[0].label, "sys-11");
    assert_int_equal(r[2].images[0].kind, PATH_BROKEN); /* 9 is not in the table of images */
    assert_string_equal(r[2].images[0].raw, "9");
    assert_non_null(strstr(r[2].doubt, "Image '9'"));
    assert_int_equal(r[3].image_count, 0);
    assert_non_null(strstr(r[3].doubt, "Group '7'"));
    assert_string_equal(r[4].ip, "");
    assert_non_null(strstr(r[4].doubt, "IP address 'bad'"));
}

static void test_mapping_follows_ids_into_other_tables(void **state)
{
    _cleanup_(source_closep) struct source *s = fake_source(linked_site, 3);
    _cleanup_(mapping_destroyp) struct mapping *m = detect(s, 0);
    static struct seen seen;
    read_with(s, m, &seen);
    check_linked(&seen);
    same_when_loaded(s, m);
}

static void test_mapping_written_by_hand_does_the_same(void **state)
{
    static struct seen seen;
    _cleanup_(source_closep) struct source *s = fake_source(linked_site, 3);
    _cleanup_(mapping_destroyp) struct mapping *m = load(
        s,
        "\xef\xbb\xbf[clients]\r\ntable = TBLCLIENT ; case does not matter\r\nkey = ClientID\r\nmac=HWAddr\r\nname = "
        "HostName\r\nip = \"IPAddr\"\r\n"
        "image = DiskID -> tblDisk.DiskID : DiskFile label DiskName\r\ngroup = GroupID -> tblGroups.ID : GroupName\r\n"
        "enabled = Active\r\ncomment = Notes\r\n[paths]\r\nD:\\Images\\ = /srv/images/\r\n[policy]\r\nduplicate_mac = "
        "first\r\n",
        0, NULL);
    size_t n;
    read_with(s, m, &seen);
    check_linked(&seen);
    assert_string_equal(mapping_paths(m, &n)->from, "D:\\Images\\");
    assert_int_equal(n, 1);
    assert_int_equal(mapping_policy(m)->duplicate_mac, DUPLICATE_FIRST);
    same_when_loaded(s, m);
}

static void test_mapping_file_names_what_is_wrong(void **state)
{
    static const struct {
        const char *text, *sentence;
    } rows[] = {
        {"[clients]\ntable = nope\n", "there is no table 'nope'; there are: tblClient, tblDisk, tblGroups"},
        {"[clients]\ntable = tblDisk\nmac = x\n", "no column 'x'; it has: DiskID, DiskName, DiskFile"},
        {"[clients]\ntable = tblClient\nname = HostName\n", "which column is the MAC"},
        {"[clients]\nmac = x\n", "line 2: write table = ... above mac"},
        {"[clients]\ntable = tblClient\nmac = HWAddr\nmac = HWAddr\n", "line 4: mac is given twice"},
        {"[clients]\ntable = tblClient\nmacs = HWAddr\n", "there is no 'macs' here"},
        {"[client]\ntable = tblClient\n", "there is no section [client]"},
        {"[clients]\ntable = tblClient\nmac = HWAddr\nimage = DiskID -> tblDisk.DiskID\n", "':' and the column"},
        {"[clients]\ntable = tblClient\nmac = HWAddr, HostName\n", "six with a byte each"},
        {"[clients]\ntable = tblClient\nmac = \"HWAddr\n", "does not end"},
        {"[clients]\ntable = tblClient\nmac = HWAddr x\n", "'x' is not understood"},
        {"[source]\ncharset = GBKx\". : p\n", "line 2: there is no character set 'GBKx\". : p'"},
        {"[paths]\n[site] = /srv/x] ; remark\n", "line 2: a rule is written OLD = NEW"},
        {"[policy]\ndisabled = maybe\n", "import-disabled, skip"},
        {"", "names no table"},
        {"hello\n", "no section"},
        {"\xff\xfe", "no UTF-8"},
    };
    _cleanup_(source_closep) struct source *s = fake_source(linked_site, 3);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char sentence[sizeof(((struct err *)0)->msg)];
        assert_null(load(s, rows[i].text, -EINVAL, sentence));
        if (!strstr(sentence, rows[i].sentence))
            fail_msg("'%s' says: %s", rows[i].text, sentence);
    }
}

/* --- joins, several images -------------------------------------------------------------------------------------------- */

static const char *const join_stations[][FAKE_COLUMNS] = {{"1", "G01", "00:E0:4C:7A:81:2C"},
                                                          {"2", "G02", "E0:D5:5E:11:DD:1B"},
                                                          {"3", "G03", "D4:5D:64:DB:E2:FA"},
                                                          {"4", "G04", "F4:6D:04:EE:FC:47"}};
static const char *const join_pairs[][FAKE_COLUMNS] = {{"1", "2", "4", "2"}, {"2", "2", "1", "1"},
                                                       {"3", "1", "1", "1"}, {"4", "3", "3", "2"},
                                                       {"5", "3", "1", "1"}, {"6", "4", "1", "1"}};
static const char *const join_images[][FAKE_COLUMNS] = {{"1", "Win10 Cafe", "D:\\Images\\win10.img"},
                                                        {"3", "Win11 Test", "E:\\x\\win11.vhdx"},
                                                        {"4", "Games", "F:\\Games\\gamedisk.img"}};
static const struct fake_table joined_site[] = {
    {"Stations", {"No:int", "PC:text", "MacAddress:text", NULL}, join_stations, 4, NULL},
    {"StationImages", {"ID:int", "StationNo:int", "ImageID:int", "BootOrder:int", NULL}, join_pairs, 6, NULL},
    {"Images", {"ID:int", "ImageName:text", "ImagePath:text", NULL}, join_images, 3, NULL},
};

static void test_mapping_finds_a_table_between(void **state)
{
    static struct seen seen;
    _cleanup_(source_closep) struct source *s = fake_source(joined_site, 3);
    _cleanup_(mapping_destroyp) struct mapping *m = detect(s, 0);
    read_with(s, m, &seen);
    const struct record *r = &seen.list[1];
    assert_int_equal(r->image_count, 2);
    assert_string_equal(r->images[0].path, "D:/Images/win10.img"); /* by the order column, not by row */
    assert_string_equal(r->images[1].path, "F:/Games/gamedisk.img");
    assert_true(!r->images[0].is_data && r->images[1].is_data);
    assert_false(seen.list[2].images[1].is_data);
    assert_string_equal(r->images[1].label, "Games");
    same_when_loaded(s, m);
}

static const char *const split_rows[][FAKE_COLUMNS] = {
    {"A1", "001b21aabb01", "D:\\a.img;F:\\Games\\g.img", "E:\\data.vhd"},
    {"A2", "001b21aabb02", "D:\\a.img", NULL},
    {"A3", "001b21aabb03", "D:\\a.img;D:\\b;c.img;F:\\x.img", "E:\\data.vhd"},
    {"A4", "001b21aabb04", " D:\\a.img ; D:\\b.img ", "E:\\data.vhd"},
};
static const struct fake_table split_site[] = {
    {"Computers", {"PC:text", "MAC:text", "Disks:text", "GameDisk:text", NULL}, split_rows, 4, NULL}};

static void test_mapping_several_images_in_one_text_and_data_columns(void **state)
{
    static struct seen seen;
    _cleanup_(source_closep) struct source *s = fake_source(split_site, 1);
    _cleanup_(mapping_destroyp) struct mapping *m = detect(s, 0);
    read_with(s, m, &seen);
    assert_int_equal(seen.list[0].image_count, 3);
    assert_true(seen.list[0].images[1].is_data && seen.list[0].images[2].is_data && !seen.list[0].images[0].is_data);
    assert_int_equal(seen.list[1].image_count, 1);
    assert_string_equal(seen.list[3].images[1].path, "D:/b.img");
    assert_int_equal(seen.list[2].image_count, 2); /* "c.img" is no path behind "D:\b": the text stays whole */
    same_when_loaded(s, m);
}

/* --- odd MACs ---------------------------------------------------------------------------------------------------------- */

static const char *const odd_rows[][FAKE_COLUMNS] = {
    {"0011220000ff", "one", "0", "17", "34", "0", "0", "255", "00", "1b", "21", "a", "B", "ff"},
    {"4c00e0000000", "two", "76", "0", "224", "0", "0", "0", "00", "1b", "21", "zz", "B", "ff"},
    {"0011223344ff", "three", "256", "0", "224", "0", "0", "0", NULL, NULL, NULL, NULL, NULL, NULL},
    {"001122334455", "four", "0", "17", "34", "51", "68", "85", "00", "1b", "21", "aa", "BB", "cc"},
};
static const struct fake_table odd_site[] = {
    {"T",
     {"Blob:binary", "Machine:text", "a:int", "b:int", "c:int", "d:int", "e:int", "f:int", "h1:text", "h2:text",
      "h3:text", "h4:text", "h5:text", "h6:text", NULL},
     odd_rows,
     4,
     NULL}};

static void test_mapping_mac_in_binary_and_in_six_columns(void **state)
{
    static struct seen seen;
    _cleanup_(source_closep) struct source *s = fake_source(odd_site, 1);
    _cleanup_(mapping_destroyp) struct mapping *found = detect(s, 0); /* a binary column whose name says nothing */
    read_with(s, found, &seen);
    assert_string_equal(seen.list[0].mac, "00:11:22:00:00:ff");
    assert_string_equal(seen.list[1].mac, "4c:00:e0:00:00:00");
    _cleanup_(mapping_destroyp) struct mapping *ints = load(s, "[clients]\ntable=T\nmac = a,b,c,d,e,f\n", 0, NULL);
    read_with(s, ints, &seen);
    assert_string_equal(seen.list[0].mac, "00:11:22:00:00:ff");
    assert_int_equal(seen.list[2].mac_status, MAC_BAD_FORM);
    same_when_loaded(s, ints);
    _cleanup_(mapping_destroyp) struct mapping *hex = load(s, "[clients]\ntable=T\nmac = h1,h2,h3,h4,h5,h6\n", 0, NULL);
    read_with(s, hex, &seen);
    assert_string_equal(seen.list[0].mac, "00:1b:21:0a:0b:ff");
    assert_int_equal(seen.list[1].mac_status, MAC_BAD_FORM);
    assert_string_equal(seen.list[1].mac, "");
    assert_int_equal(seen.list[2].mac_status, MAC_EMPTY);
}

/* --- questions --------------------------------------------------------------------------------------------------------- */

static const char *const twin_rows[][FAKE_COLUMNS] = {{"P1", "001b21aabb01", "001b21aabbf1"},
                                                      {"P2", "001b21aabb02", "001b21aabbf2"},
                                                      {"P3", "001b21aabb03", "001b21aabbf3"}};
static const struct fake_table twin_columns[] = {
    {"Clients", {"Name:text", "Mac1:text", "Mac2:text", NULL}, twin_rows, 3, NULL}};
static const struct fake_table twin_tables[] = {{"Clients", {"Name:text", "Mac:text", NULL}, twin_rows, 3, NULL},
                                                {"Computers", {"Name:text", "Mac:text", NULL}, twin_rows, 3, NULL},
                                                {"Clients_old", {"Name:text", "Mac:text", NULL}, twin_rows, 3, NULL}};

static void test_mapping_asks_where_two_fit(void **state)
{
    struct err err = {""};
    struct mapping *m = NULL;
    _cleanup_(source_closep) struct source *columns = fake_source(twin_columns, 1);
    assert_int_equal(mapping_detect(columns, &m, &err), -EAMBIG);
    assert_non_null(strstr(err.msg, "mac = Mac1 or Mac2"));
    _cleanup_free_ char *text = saved(m);
    assert_non_null(strstr(text, "; question: mac = Mac1 or Mac2"));
    const char *question = strstr(text, "\nmac = ?");
    char sentence[sizeof(err.msg)];
    assert_non_null(question);
    int before = (int)(question - text);
    assert_null(load(columns, text, -EINVAL, sentence)); /* given back as it was */
    assert_non_null(strstr(sentence, "mac is still a question"));
    _cleanup_free_ char *answered = NULL;
    assert_true(asprintf(&answered, "%.*s\nmac = Mac2%s", before, text, text + before + strlen("\nmac = ?")) > 0);
    struct mapping *again = load(columns, answered, 0, NULL);
    same_when_loaded(columns, again);
    mapping_destroy(again);
    mapping_destroy(m);
    _cleanup_(source_closep) struct source *tables = fake_source(twin_tables, 3);
    assert_int_equal(mapping_detect(tables, &m, &err), -EAMBIG);
    assert_non_null(strstr(err.msg, "'Clients'"));
    assert_non_null(strstr(err.msg, "'Computers'"));
    mapping_destroy(m);
    _cleanup_(source_closep) struct source *old =
        fake_source(twin_tables + 1, 2); /* Computers and Clients_old: clear */
    m = detect(old, 0);
    _cleanup_free_ char *rejected = mapping_rejected_json(m);
    assert_non_null(strstr(rejected, "Clients_old"));
    mapping_destroy(m);
}

static void test_mapping_refuses_and_gives_a_start(void **state)
{
    _cleanup_(source_closep) struct source *s = fake_source(linked_site + 1, 2);
    _cleanup_(mapping_destroyp) struct mapping *m = detect(s, -ENODATA);
    _cleanup_free_ char *text = saved(m);
    assert_non_null(strstr(text, "tblDisk: DiskID, DiskName, DiskFile"));
    assert_non_null(strstr(text, "; mac   = ?"));
}

/* --- names that could do harm, and sizes ------------------------------------------------------------------------------- */

static const char *const evil_rows[][FAKE_COLUMNS] = {{"001b21aabb01", "P1", "\x1b[31m", "x"},
                                                      {"001b21aabb02", "P2", "\xe2\x80\xae", "y"}};
static const struct fake_table evil_site[] = {
    {"A\"; DROP TABLE x --",
     {"m a.c,\n\"\\;\xe2\x80\xaeq:text", "order:text", "a -> b.c : d:text", "Колонка:text", NULL},
     evil_rows,
     2,
     NULL}};

static void test_mapping_survives_any_name(void **state)
{
    static struct seen seen;
    _cleanup_(source_closep) struct source *s = fake_source(evil_site, 1);
    struct mapping *found = NULL;
    struct err err = {""};
    int r = mapping_detect(s, &found, &err);
    assert_true(r == 0 || r == -EAMBIG || r == -ENODATA);
    _cleanup_(mapping_destroyp) struct mapping *m = found;
    _cleanup_free_ char *text = saved(m);
    assert_null(strstr(text, "\x1b"));
    assert_null(strstr(text, "\xe2\x80\xae"));
    same_when_loaded(s, m);
    _cleanup_(mapping_destroyp) struct mapping *again = load(s, text, 0, NULL);
    read_with(s, again, &seen);
    assert_string_equal(seen.list[0].mac, "00:1b:21:aa:bb:01");
}

static char *many_value(size_t row, size_t column, char *buf)
{
    (void)snprintf(buf, 256, column == 0 ? "00:1b:21:%02zx:%02zx:%02zx" : "PC%05zu-%zu-%zu",
                   column ? row : row >> 16 & 255, row >> 8 & 255, row & 255);
    return buf;
}
static const struct fake_table many_site[] = {{"Clients", {"MAC:text", "Name:text", NULL}, NULL, 60000, many_value}};

static int count(void *arg, const struct record *r)
{
    uint64_t *n = arg;
    assert_int_equal(r->row, *n);
    assert_int_equal(r->mac_status, MAC_GOOD);
    (*n)++;
    return 0;
}

static void test_records_are_as_many_as_rows(void **state)
{
    _cleanup_(source_closep) struct source *s = fake_source(many_site, 1);
    _cleanup_(mapping_destroyp) struct mapping *m = detect(s, 0);
    uint64_t n = 0, rows = 0;
    assert_int_equal(records_read(s, m, count, &n, &rows, NULL), 0);
    assert_int_equal(n, 60000);
    assert_int_equal(rows, 60000);
}

static const char *const polar_rows[][FAKE_COLUMNS] = {{"001b21aabb01", "P1", "1", "5", "broken"},
                                                       {"001b21aabb02", "P2", "0", NULL, NULL}};
static const struct fake_table polar_site[] = {
    {"客户机", {"MAC:text", "机器名:text", "禁用:bool", "Extra:int", "Damaged:bad", NULL}, polar_rows, 2, NULL}};

/* What repeats is remembered from row to row, but no row may say anything else because of those before it. */
static const char *const repeating_rows[][FAKE_COLUMNS] = {
    {"001b21aa0001", "255.255.255.0", "10.0.0.1", "8.8.8.8", "1.1.1.1", "1"},
    {"001b21aa0002", "255.255.255.0", "10.0.0.1", "8.8.8.8", "1.1.1.1", "1"},
    {"001b21aa0003", "255.255.255.0", "10.0.0.1", "8.8.8.8", NULL, "2"},
    {"001b21aa0004", "wrong", "wrong", "wrong", "1.1.1.1", "3"},
    {"001b21aa0005", "wrong", "wrong", "wrong", "1.1.1.1", "3"},
    {"001b21aa0006", "24", "fe80::1", "9.9.9.9", "1.1.1.1", "9"},
    {"001b21aa0007", "24", "fe80::1", "9.9.9.9", "1.1.1.1", "9"},
    {"001b21aa0008", "255.255.255.0", "0.0.0.0", "8.8.8.8,9.9.9.9", "1.1.1.1", "2"},
    {"001b21aa0009", "0.0.0.0", "0.0.0.0", "8.8.8.8,9.9.9.9", "1.1.1.1", "10"},
    {"001b21aa000a", NULL, " ", "none", "1.1.1.1", "10"},
    {"001b21aa000b", " 255.255.255.0", "10.0.0.1 ", "1.1.1.1", "1.1.1.1", NULL},
    {"001b21aa000c", "255.255.255.0", "10.0.0.1", "1.1.1.1", "1.1.1.1", "1"},
    {"001b21aa000d", "wrong", "10.0.0.1", "1.1.1.1", "8.8.8.8", "1"},
    {"001b21aa000e", "255.255.255.0", "10.0.0.1", "8.8.8.8", "1.1.1.1", "1"},
};
static const char *const repeating_groups[][FAKE_COLUMNS] = {
    {"1", "Hall"}, {"2", "Bar"}, {"3", "Зал"}, {"10", "Bar 2"}};

#define REPEATING_SITE(rows, n)                                                                                        \
    {                                                                                                                  \
        {"C", {"MAC:text", "Mask:text", "Gw:text", "D1:text", "D2:text", "Grp:int", NULL}, rows, n, NULL},             \
        {                                                                                                              \
            "G", {"ID:int", "Name:text", NULL}, repeating_groups, ARRAY_SIZE(repeating_groups), NULL                   \
        }                                                                                                              \
    }
#define REPEATING_MAPPING                                                                                              \
    "[clients]\ntable = C\nmac = MAC\nnetmask = Mask\ngateway = Gw\ndns = D1\ndns = D2\n"                              \
    "group = Grp -> G.ID : Name\n"

static void test_records_do_not_depend_on_other_rows(void **state)
{
    static struct seen all, one;
    char sentence[600];
    struct fake_table site[] = REPEATING_SITE(repeating_rows, ARRAY_SIZE(repeating_rows));
    _cleanup_(source_closep) struct source *s = fake_source(site, 2);
    _cleanup_(mapping_destroyp) struct mapping *m = load(s, REPEATING_MAPPING, 0, sentence);
    read_with(s, m, &all);
    assert_int_equal(all.n, ARRAY_SIZE(repeating_rows));
    for (size_t i = 0; i < ARRAY_SIZE(repeating_rows); i++) {
        struct fake_table alone[] = REPEATING_SITE(repeating_rows + i, 1);
        _cleanup_(source_closep) struct source *source = fake_source(alone, 2);
        _cleanup_(mapping_destroyp) struct mapping *mapping = load(source, REPEATING_MAPPING, 0, sentence);
        const struct record *a = &all.list[i], *b = &one.list[0];
        read_with(source, mapping, &one);
        assert_string_equal(a->mac, b->mac);
        assert_string_equal(a->netmask, b->netmask);
        assert_string_equal(a->gateway, b->gateway);
        assert_string_equal(a->dns, b->dns);
        assert_string_equal(a->raw_group, b->raw_group);
        assert_string_equal(a->group, b->group);
        assert_string_equal(a->rest, b->rest);
        assert_string_equal(a->doubt, b->doubt);
    }
    assert_string_equal(all.list[1].dns, "8.8.8.8,1.1.1.1");
    assert_string_equal(all.list[1].group, "Hall");
    assert_true(*all.list[4].doubt && *all.list[6].doubt && strstr(all.list[5].rest, "fe80::1"));
}

static void test_records_disabled_rest_and_doubt(void **state)
{
    static struct seen seen;
    _cleanup_(source_closep) struct source *s = fake_source(polar_site, 1);
    _cleanup_(mapping_destroyp) struct mapping *m = detect(s, 0);
    read_with(s, m, &seen);
    assert_true(seen.list[0].is_disabled && !seen.list[1].is_disabled);
    assert_string_equal(seen.list[0].rest, "{\"Extra\":\"5\",\"Damaged\":\"broken\"}");
    assert_non_null(strstr(seen.list[0].doubt, "'Damaged' cannot be read"));
    assert_string_equal(seen.list[1].rest, "{}");
    assert_string_equal(seen.list[1].doubt, "");
}

/* --- site --------------------------------------------------------------------------------------------------------------- */

static const char *const option_rows[][FAKE_COLUMNS] = {{"1", "1", "Subnet Mask", "255.255.255.0"},
                                                        {"2", "3", "Router", "192.168.1.1"},
                                                        {"3", "6", "DNS", "8.8.8.8,1.1.1.1"},
                                                        {"4", "66", "Boot Server", "192.168.1.2"},
                                                        {"5", "3", "Router", "10.0.0.1"}};
static const struct fake_table option_site[] = {
    {"Clients", {"Name:text", "Mac:text", NULL}, twin_rows, 3, NULL},
    {"DHCPOptions", {"ID:int", "OptionCode:int", "OptionName:text", "OptionValue:text", NULL}, option_rows, 5, NULL}};

static void test_site_takes_dhcp_options_and_keeps_the_rest(void **state)
{
    struct site_record site;
    _cleanup_(source_closep) struct source *s = fake_source(option_site, 2);
    _cleanup_(mapping_destroyp) struct mapping *m = detect(s, 0);
    assert_int_equal(site_record_read(s, m, &site, NULL), 0);
    assert_string_equal(site.netmask, "255.255.255.0");
    assert_string_equal(site.gateway, "192.168.1.1");
    assert_string_equal(site.dns, "8.8.8.8,1.1.1.1");
    assert_non_null(strstr(site.rest, "192.168.1.2"));
    assert_non_null(strstr(site.rest, "10.0.0.1"));
    same_when_loaded(s, m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mapping_follows_ids_into_other_tables),
        cmocka_unit_test(test_mapping_written_by_hand_does_the_same),
        cmocka_unit_test(test_mapping_file_names_what_is_wrong),
        cmocka_unit_test(test_mapping_finds_a_table_between),
        cmocka_unit_test(test_mapping_several_images_in_one_text_and_data_columns),
        cmocka_unit_test(test_mapping_mac_in_binary_and_in_six_columns),
        cmocka_unit_test(test_mapping_asks_where_two_fit),
        cmocka_unit_test(test_mapping_refuses_and_gives_a_start),
        cmocka_unit_test(test_mapping_survives_any_name),
        cmocka_unit_test(test_records_are_as_many_as_rows),
        cmocka_unit_test(test_records_disabled_rest_and_doubt),
        cmocka_unit_test(test_records_do_not_depend_on_other_rows),
        cmocka_unit_test(test_site_takes_dhcp_options_and_keeps_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
