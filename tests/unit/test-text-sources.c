/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CSV, leases and INI files as sources. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <iconv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/util.h"
#include "migrate/mapping.h"
#include "migrate/record.h"
#include "migrate/source.h"
#include "migrate/text-file.h"
#include "migrate/text.h"
#include "tests/unit/fake-source.h"

static struct source *open_bytes(enum source_kind kind, const void *bytes, size_t len, const struct source_options *o,
                                 int expected, char *ret_sentence)
{
    char path[] = "/tmp/test-sources-XXXXXX";
    struct err err = {""};
    struct source *s = NULL;
    _cleanup_close_ int fd = mkstemp(path);
    assert_int_equal(pwrite_full(fd, bytes, len, 0), 0);
    int r = source_open(kind, path, o, &s, &err);
    (void)unlink(path); /* what is read later stays open */
    if (r != expected)
        fail_msg("%d: %s", r, err.msg);
    assert_true(r == 0 || *err.msg);
    if (ret_sentence)
        strcpy(ret_sentence, err.msg);
    return s;
}

static struct source *open_text(enum source_kind kind, const char *text)
{
    return open_bytes(kind, text, strlen(text), NULL, 0, NULL);
}

/* Rows as text: cells joined by "|", rows by "/". */
struct dump {
    char text[4096];
    size_t columns;
};

static int dump_row(void *arg, uint64_t number, const struct cell *cells)
{
    struct dump *d = arg;
    for (size_t i = 0; i < d->columns; i++) {
        size_t n = strlen(d->text);
        (void)snprintf(d->text + n, sizeof(d->text) - n, "%s%s",
                       i        ? "|"
                       : number ? "/"
                                : "",
                       cells[i].kind == CELL_BAD ? "BAD" : cells[i].text);
        assert_true(cells[i].kind == CELL_NONE ? cells[i].len == 0 : strlen(cells[i].text) == cells[i].len);
    }
    return 0;
}

static const char *rows_of(struct source *s, size_t table)
{
    static struct dump d;
    struct err err = {""};
    uint64_t rows = 0;
    d = (struct dump){.columns = source_table(s, table)->column_count};
    int r = source_rows(s, table, dump_row, &d, &rows, &err);
    if (r < 0)
        fail_msg("%d: %s", r, err.msg);
    return d.text;
}

static const char *columns_of(struct source *s)
{
    static char text[1000];
    text[0] = 0;
    for (size_t i = 0; i < source_table(s, 0)->column_count; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? "|" : "",
                       source_table(s, 0)->columns[i].name);
    return text;
}

static bool has_note(const struct source *s, bool is_doubt, const char *piece)
{
    size_t n;
    const struct source_note *notes = source_notes(s, &n);
    for (size_t i = 0; i < n; i++)
        if (notes[i].is_doubt == is_doubt && strstr(notes[i].text, piece))
            return true;
    return false;
}

/* --- CSV ---------------------------------------------------------------------------------------------------------------- */

static void test_csv_any_separator_quote_and_line_end(void **state)
{
    static const struct {
        const char *text, *columns, *rows;
    } cases[] = {
        {"name,mac\na,001b21aabb01\nb,001b21aabb02\n", "name|mac", "a|001b21aabb01/b|001b21aabb02"},
        {"name;mac;note\r\n\"a;1\";001b21aabb01;\"say \"\"x\"\"\"\r\n\r\nb;001b21aabb02;\r\n", "name|mac|note",
         "a;1|001b21aabb01|say \"x\"/b|001b21aabb02|"},
        {"name\tmac\na\t001b21aabb01\nb\t001b21aabb02", "name|mac", "a|001b21aabb01/b|001b21aabb02"},
        {"name|mac\ra|001b21aabb01\r", "name|mac", "a|001b21aabb01"},
        {"a   001b21aabb01   10.0.0.1  \n bb 001b21aabb02 10.0.0.2\n", "column 1|column 2|column 3",
         "a|001b21aabb01|10.0.0.1/bb|001b21aabb02|10.0.0.2"},
        {"sep=;\nname;mac\na,b;001b21aabb01\n", "name|mac", "a,b|001b21aabb01"},
        {"\xef\xbb\xbfname,mac,mac,\n\"two\nlines\",001b21aabb01,,\n", "name|mac|mac (2)|column 4",
         "two\nlines|001b21aabb01||"},
        {"# made by hand\npc1,001b21aabb01\n# end\npc2,001b21aabb02\n", "column 1|column 2",
         "pc1|001b21aabb01/pc2|001b21aabb02"},
        {"mac\n001b21aabb01\n", "mac", "001b21aabb01"},
        {"name,mac\n", "name|mac", ""},
        {"name~mac~ip\nPC 1~00:1b:21:aa:bb:01~10.0.0.1\nPC 2~00:1b:21:aa:bb:02~10.0.0.2\n", "name|mac|ip",
         "PC 1|00:1b:21:aa:bb:01|10.0.0.1/PC 2|00:1b:21:aa:bb:02|10.0.0.2"},
        {"pc1^001b21aabb01\npc2^001b21aabb02\n", "column 1|column 2", "pc1|001b21aabb01/pc2|001b21aabb02"},
        {"pc1:001b21aabb01\npc2:001b21aabb02\n", "column 1|column 2", "pc1|001b21aabb01/pc2|001b21aabb02"},
        {"pc1\x1f"
         "001b21aabb01\n",
         "column 1|column 2", "pc1|001b21aabb01"},
        {"a, b;00:1b:21:aa:bb:01\nc, d;00:1b:21:aa:bb:02\n", "column 1|column 2",
         "a, b|00:1b:21:aa:bb:01/c, d|00:1b:21:aa:bb:02"},
        {"00:1b:21:aa:bb:01\n00:1b:21:aa:bb:02\n", "column 1", "00:1b:21:aa:bb:01/00:1b:21:aa:bb:02"},
        {"x&y\nz&t\n", "x&y", "z&t"}, /* nothing that it lays bare */
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(source_closep) struct source *s = open_text(SOURCE_CSV, cases[i].text);
        const char *rows = rows_of(s, 0);
        if (strcmp(columns_of(s), cases[i].columns) != 0 || strcmp(rows, cases[i].rows) != 0)
            fail_msg("case %zu: columns '%s' rows '%s'", i, columns_of(s), rows);
    }
}

static void test_csv_rows_that_do_not_fit_are_said(void **state)
{
    _cleanup_(source_closep) struct source *s = open_text(
        SOURCE_CSV,
        "name,mac,ip\na,001b21aabb01\nb,001b21aabb02,10.0.0.2,x\nc,001b21aabb03,10.0.0.3,\nd,001b21aabb04,10.0.0.4\n");
    assert_string_equal(rows_of(s, 0),
                        "a|001b21aabb01|/b|001b21aabb02|10.0.0.2/c|001b21aabb03|10.0.0.3/d|001b21aabb04|10.0.0.4");
    assert_true(has_note(s, false, "rows with fewer values than there are columns: 1,"));
    assert_true(has_note(s, true, "rows with more values than there are columns: 1, the first in line 3"));
}

static void test_csv_zero_bytes_open_quotes_and_long_lines(void **state)
{
    static const char zero[] = "name,mac\na\0b,001b21aabb01\nc,001b21aabb02\n";
    char sentence[sizeof(((struct err *)0)->msg)];
    _cleanup_(source_closep) struct source *s = open_bytes(SOURCE_CSV, zero, sizeof(zero) - 1, NULL, 0, NULL);
    assert_string_equal(rows_of(s, 0), "BAD|001b21aabb01/c|001b21aabb02");
    assert_true(has_note(s, true, "zero bytes, which are not used: 1, the first in line 2"));
    assert_null(open_bytes(SOURCE_CSV, "name,mac\n\"a,001b21aabb01\n", 25, NULL, -EBADMSG, sentence));
    assert_non_null(strstr(sentence, "quote that begins in line 2 is not closed"));
    size_t len = 3u << 20;
    _cleanup_free_ char *big = malloc(len);
    memset(big, 'x', len);
    assert_null(open_bytes(SOURCE_CSV, big, len, NULL, -EBADMSG, sentence));
    assert_non_null(strstr(sentence, "line 1 is longer than 1024 KiB"));
    assert_null(open_bytes(SOURCE_CSV, "", 0, NULL, -EBADMSG, sentence));
    assert_null(open_bytes(SOURCE_CSV, "\n\r\n", 3, NULL, -EBADMSG, sentence));
}

static void test_csv_with_more_blanks_than_columns_are_kept_is_measured(void **state)
{
    char text[20000] = "name;mac;note\na;001b21aabb01;";
    size_t len = strlen(text);
    for (; len < sizeof(text) - 3; len++)
        text[len] = "x "[len % 2];
    strcpy(text + len, "\n");
    _cleanup_(source_closep) struct source *s = open_text(SOURCE_CSV, text);
    assert_int_equal(source_table(s, 0)->column_count, 3);
}

static void test_csv_changed_while_it_is_open_is_not_read(void **state)
{
    char path[] = "/tmp/test-sources-XXXXXX";
    struct err err = {""};
    struct dump d = {.columns = 2};
    _cleanup_(source_closep) struct source *s = NULL;
    _cleanup_close_ int fd = mkstemp(path);
    assert_int_equal(pwrite_full(fd, "name,mac\na,001b21aabb01\n", 24, 0), 0);
    assert_int_equal(source_open(SOURCE_CSV, path, NULL, &s, &err), 0);
    assert_int_equal(pwrite_full(fd, "b,001b21aabb02\n", 15, 24), 0);
    (void)unlink(path); /* what is read stays open */
    assert_int_equal(source_rows(s, 0, dump_row, &d, NULL, &err), -EBADMSG);
    assert_non_null(strstr(err.msg, "was changed while it was read"));
}

/* --- what was read is what was hashed ------------------------------------------------------------------------------- */

#define BIG (8u << 20) /* some time for the thread */

/* A CSV file of @len bytes at @path, which is made. */
static int make_csv(char *path, size_t len)
{
    static const char row[] = "PC001,001b21aabb01\n";
    _cleanup_free_ char *text = malloc(len + sizeof(row));
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t at = 0; at < len; at += sizeof(row) - 1)
        memcpy(text + at, row, sizeof(row));
    assert_int_equal(pwrite_full(fd, text, len, 0), 0);
    return fd;
}

static void test_source_is_hashed_as_it_is_read(void **state)
{
    static const size_t lengths[] = {19, BIG};
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        char path[] = "/tmp/test-sources-XXXXXX", hex[SHA256_HEX_LEN + 1];
        unsigned char sha256[32];
        struct err err = {""};
        _cleanup_(source_closep) struct source *s = NULL;
        _cleanup_close_ int fd = make_csv(path, lengths[i]);
        assert_int_equal(sha256_file(fd, sha256, NULL), 0);
        hex_text(sha256, sizeof(sha256), hex);
        assert_int_equal(source_open(SOURCE_CSV, path, NULL, &s, &err), 0);
        assert_int_equal(source_verify(s, &err), 0);
        assert_string_equal(source_info(s)->sha256, hex);
        assert_int_equal(source_info(s)->file_bytes, lengths[i]);
        assert_int_equal(source_verify(s, &err), 0); /* says it again */
        assert_string_equal(source_info(s)->sha256, hex);
        (void)unlink(path); /* only to be tidy */
    }
}

static void check_changed(struct source *s)
{
    struct err err = {""};
    assert_int_equal(source_verify(s, &err), -EBADMSG);
    assert_non_null(strstr(err.msg, "was changed while it was read: import a copy of it"));
}

/* Longer, shorter, and the same length with the time of the change set back. */
static void test_source_that_changes_is_not_what_was_hashed(void **state)
{
    for (int way = 0; way < 3; way++) {
        char path[] = "/tmp/test-sources-XXXXXX";
        struct err err = {""};
        struct stat st;
        _cleanup_(source_closep) struct source *s = NULL;
        _cleanup_close_ int fd = make_csv(path, BIG);
        assert_int_equal(fstat(fd, &st), 0);
        (void)usleep(20000); /* times of files are as coarse as the clock's ticks */
        assert_int_equal(source_open(SOURCE_CSV, path, NULL, &s, &err), 0);
        if (way == 0)
            assert_int_equal(pwrite_full(fd, "x", 1, BIG), 0);
        else if (way == 1)
            assert_int_equal(ftruncate(fd, BIG - 19), 0);
        else
            assert_int_equal(pwrite_full(fd, "Q", 1, BIG - 19), 0);
        assert_int_equal(futimens(fd, (struct timespec[]){st.st_atim, st.st_mtim}), 0);
        check_changed(s);
        (void)unlink(path); /* only to be tidy */
    }
}

static unsigned count_entries(const char *path)
{
    unsigned n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    (void)closedir(dir); /* only read */
    return n;
}

static void test_source_that_is_closed_early_leaves_nothing(void **state)
{
    unsigned threads = count_entries("/proc/self/task"), files = count_entries("/proc/self/fd");
    for (int i = 0; i < 20; i++) {
        char path[] = "/tmp/test-sources-XXXXXX";
        struct err err = {""};
        struct source *s = NULL;
        _cleanup_close_ int fd = make_csv(path, BIG / 8);
        assert_int_equal(source_open(SOURCE_CSV, path, NULL, &s, &err), 0);
        (void)unlink(path); /* what is hashed stays open */
        source_close(s);
        for (int k = 0; k < 500 && count_entries("/proc/self/task") != threads; k++)
            (void)usleep(10000); /* one that was joined may still be on its way out */
        assert_int_equal(count_entries("/proc/self/task"), threads);
        (void)close(take_fd(&fd)); /* a temporary file */
        assert_int_equal(count_entries("/proc/self/fd"), files);
    }
}

/* Its first bytes cannot be read: that is said, and not that it is no table. */
static void test_source_that_cannot_be_read_says_why(void **state)
{
    static const enum source_kind kinds[] = {SOURCE_ACCESS, SOURCE_CSV, SOURCE_LEASES, SOURCE_INI};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct err err = {""};
        struct source *s = NULL;
        assert_int_equal(source_open(kinds[i], "/proc/self/mem", NULL, &s, &err), -EIO);
        assert_non_null(strstr(err.msg, "cannot read '/proc/"));
        assert_non_null(strstr(err.msg, strerror(EIO)));
    }
}

/* --- small tables --------------------------------------------------------------------------------------------------- */

static char *small_value(size_t row, size_t column, char *buf)
{
    if (column == 2 && row % 2)
        return NULL;
    (void)snprintf(buf, 256, column == 3 ? "00ff%02zx" : "%zu", row);
    return buf;
}

static char *long_value(size_t row, size_t column, char *buf)
{
    memset(buf, 'x', 255);
    buf[255] = 0;
    return buf;
}

static const struct fake_table kept_tables[] = {
    {"small", {"a:text", "b:int", "c:text", "d:binary", NULL}, NULL, 9, small_value},
    {"empty", {"a:text", NULL}, NULL, 0, small_value},
    {"long", {"a:text", NULL}, NULL, 1000, long_value},
    {"large", {"a:text", NULL}, NULL, 1001, small_value},
};
static unsigned reads;

static int counted_rows(struct source *s, size_t i, source_each *each, void *arg, uint64_t *ret_rows, struct err *err)
{
    reads++;
    return fake_rows(s, i, each, arg, ret_rows, err);
}

struct seen_rows {
    uint64_t hash, rows, enough;
};

static int see_row(void *arg, uint64_t number, const struct cell *cells)
{
    struct seen_rows *seen = arg;
    assert_int_equal(number, seen->rows++);
    for (size_t i = 0; i < seen->enough; i++) {
        assert_true(cells[i].kind == CELL_NONE || cells[i].kind == CELL_INT || cells[i].text[cells[i].len] == 0);
        seen->hash = seen->hash * 31 + text_hash(cells[i].text, cells[i].len) + cells[i].kind;
        seen->hash = seen->hash * 31 + (uint64_t)cells[i].integer;
    }
    return 0;
}

static int see_one_row(void *arg, uint64_t number, const struct cell *cells)
{
    return 1;
}

static void test_source_reads_small_tables_once(void **state)
{
    static const unsigned expected[] = {2, 1, 2 + 1, 2 + 1}; /* one that was not read to its end, then a whole one */
    static const struct source_reader counted = {.rows = counted_rows, .close = fake_close};
    _cleanup_(source_closep) struct source *s = fake_source(kept_tables, ARRAY_SIZE(kept_tables));
    s->reader = &counted;
    for (size_t i = 0; i < ARRAY_SIZE(kept_tables); i++) {
        struct seen_rows first = {.enough = s->tables[i].column_count}, second = first;
        uint64_t n = 7;
        reads = 0;
        assert_int_equal(source_rows(s, i, see_one_row, NULL, NULL, NULL), 0);
        assert_int_equal(source_rows(s, i, see_row, &first, &n, NULL), 0);
        assert_int_equal(n, kept_tables[i].row_count);
        assert_int_equal(source_rows(s, i, see_row, &second, &n, NULL), 0);
        assert_int_equal(n, kept_tables[i].row_count);
        assert_true(first.hash == second.hash && first.rows == n && second.rows == n);
        assert_int_equal(reads, expected[i]);
        assert_int_equal(source_rows(s, i, see_one_row, NULL, &n, NULL), 0);
        assert_int_equal(n, kept_tables[i].row_count > 0);
    }
}

/* The text in a character set; the length into *ret_len. */
static char *encode(const char *text, const char *charset, size_t *ret_len)
{
    size_t left = strlen(text), room = left * 4 + 16;
    char *buf = malloc(room), *out = buf, *in = (char *)text;
    iconv_t cd = iconv_open(charset, "UTF-8");
    assert_true(cd != (iconv_t)-1);
    assert_true(iconv(cd, &in, &left, &out, &room) != (size_t)-1);
    (void)iconv_close(cd);
    *ret_len = (size_t)(out - buf);
    return buf;
}

static void test_csv_finds_its_character_set(void **state)
{
    static const char chinese[] = "机器名,网卡地址,镜像\n网吧001号机,001b21aabb01,网吧系统\n网吧002号机,001b21aabb02,"
                                  "游戏更新\n前台收银,001b21aabb03,网吧系统\n";
    static const char taiwan[] =
        "電腦名稱,網卡,備註\n網咖一號,001b21aabb01,靠近櫃台\n網咖二號,001b21aabb02,許功蓋先生的電腦\n";
    static const char russian[] =
        "Имя;МАК;Примечание\nКомпьютер-1;001b21aabb01;у окна, левый ряд\nКасса;001b21aabb02;не выключать никогда\n";
    static const char french[] =
        "nom;mac;remarque\nPoste-1;001b21aabb01;près de la fenêtre\nPoste-2;001b21aabb02;réservé à l'élève\n";
    static const struct {
        const char *text, *charset, *said;
    } cases[] = {{chinese, "GBK", "GBK"},       {chinese, "UTF-8", "UTF-8"},   {chinese, "UTF-16LE", "UTF-16LE"},
                 {taiwan, "BIG5", "BIG5"},      {russian, "CP1251", "CP1251"}, {russian, "KOI8-R", "KOI8-R"},
                 {russian, "CP866", "CP866"},   {french, "CP1252", "CP1252"},  {french, "UTF-16BE", "UTF-16BE"},
                 {french, "UTF-16", "UTF-16LE"}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t len;
        _cleanup_free_ char *bytes = encode(cases[i].text, cases[i].charset, &len);
        _cleanup_(source_closep) struct source *plain = open_text(SOURCE_CSV, cases[i].text);
        _cleanup_(source_closep) struct source *s = open_bytes(SOURCE_CSV, bytes, len, NULL, 0, NULL);
        _cleanup_free_ char *expected = strdup(rows_of(plain, 0));
        if (strcmp(source_info(s)->charset, cases[i].said) != 0 && strcmp(cases[i].charset, "UTF-16LE") != 0)
            fail_msg("case %zu: %s", i, source_info(s)->charset);
        if (strcmp(cases[i].charset, "UTF-16LE") != 0)
            assert_string_equal(rows_of(s, 0), expected);
        struct source_options o = {.charset = strcmp(cases[i].charset, "UTF-16") == 0 ? NULL : cases[i].charset};
        _cleanup_(source_closep) struct source *told = open_bytes(SOURCE_CSV, bytes, len, &o, 0, NULL);
        assert_string_equal(rows_of(told, 0), expected);
    }
}

static void test_csv_wrong_character_set_is_said(void **state)
{
    char sentence[sizeof(((struct err *)0)->msg)];
    struct source_options o = {.charset = "UTF-8"}, nonsense = {.charset = "nope//IGNORE"};
    static const char text[] = "name,mac\n\xff\xfe\xc0,001b21aabb01\n";
    _cleanup_(source_closep) struct source *s = open_bytes(SOURCE_CSV, text, sizeof(text) - 1, &o, 0, NULL);
    assert_string_equal(rows_of(s, 0), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|001b21aabb01");
    assert_true(has_note(s, true, "3 characters are not UTF-8"));
    assert_null(open_bytes(SOURCE_CSV, text, sizeof(text) - 1, &nonsense, -EINVAL, sentence));
    assert_non_null(strstr(sentence, "there is no character set"));
}

/* --- leases -------------------------------------------------------------------------------------------------------------- */

static void check_leases(const char *text, const char *rows)
{
    _cleanup_(source_closep) struct source *s = open_text(SOURCE_LEASES, text);
    assert_string_equal(rows_of(s, 0), rows);
}

static void test_leases_of_dnsmasq(void **state)
{
    check_leases(
        "9999999999 00:1b:21:aa:bb:01 192.168.1.10 pc01 01:00\n0 06-00:1b:21:aa:bb:02 192.168.1.11 * *\n1000 "
        "00:1b:21:aa:bb:03 192.168.1.12 old *\n"
        "duid 00:01\n99 123 fe80::1 x 00:01\n",
        "00:1b:21:aa:bb:01|192.168.1.10|pc01|lease|2286-11-20T17:46:39Z|/00:1b:21:aa:bb:02|192.168.1.11||lease|never|/"
        "00:1b:21:aa:bb:03|192.168.1.12|old|expired lease|1970-01-01T00:16:40Z|");
    check_leases("dhcp-range=10.0.0.10,10.0.0.99,12h\ndhcp-host=00:1b:21:aa:bb:01,set:x,10.0.0.5,pc5,infinite # "
                 "c\ndhcp-host=id:x,10.0.0.6\n",
                 "00:1b:21:aa:bb:01|10.0.0.5|pc5|reservation||");
}

static void test_leases_of_isc_last_one_of_an_address_counts(void **state)
{
    static const char text[] =
        "lease 10.0.0.1 { ends 4 2020/01/02 12:00:00; binding state free; hardware ethernet 00:1b:21:aa:bb:01; }\n"
        "lease 10.0.0.1 { ends never; binding state active; hardware ethernet 00:1b:21:aa:bb:02; uid \"\\001{\"; "
        "client-hostname \"b\"; }\n"
        "lease 10.0.0.2 { ends 4 2020/01/02 12:00:00; hardware ethernet 00:1b:21:aa:bb:02; client-hostname \"older\"; "
        "}\n"
        "host h1 { hardware ethernet 0:1b:21:aa:bb:7; fixed-address 10.0.0.7; option host-name \"seven.x.y\"; } # }\n"
        "lease 10.0.0.9 { hardware ethernet 00:1b:21:aa:bb:09;"; /* cut off */
    _cleanup_(source_closep) struct source *s = open_text(SOURCE_LEASES, text);
    assert_string_equal(rows_of(s, 0),
                        "00:1b:21:aa:bb:02|10.0.0.1|b|lease|never|/0:1b:21:aa:bb:7|10.0.0.7|seven|reservation||");
    assert_true(has_note(s, true, "not understood"));
    assert_true(has_note(s, false, "1 entry was replaced"));
    assert_true(has_note(s, false, "1 entries are of network cards that have another entry"));
}

static void test_leases_of_kea(void **state)
{
    check_leases(
        "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n"
        "10.0.0.1,00:1b:21:aa:bb:01,,3600,9999999999,1,0,0,pc01.x,0,\n10.0.0.1,00:1b:21:aa:bb:02,,3600,9999999999,1,0,"
        "0,pc02,0,\n"
        "10.0.0.3,00:1b:21:aa:bb:03,,0,9999999999,1,0,0,,0,\n10.0.0.4,00:1b:21:aa:bb:04,,5,9999999999,1,0,0,,1,\n",
        "00:1b:21:aa:bb:02|10.0.0.1|pc02|lease|2286-11-20T17:46:39Z|");
    check_leases(
        "# c\n{ \"Dhcp4\": { /* \" */ \"subnet4\": [ { \"subnet\": \"10.0.0.0/24\", \"reservations\": [ // x\n"
        "{ \"hw-address\": \"00:1b:21:aa:bb:03\", \"ip-address\": \"10.0.0.5\", \"hostname\": \"pc5#1\" } ] } ] } }",
        "00:1b:21:aa:bb:03|10.0.0.5|pc5#1|reservation||");
}

static void test_leases_of_netsh_in_utf16(void **state)
{
    static const char text[] =
        "\xef\xbb\xbf# netsh\r\nDhcp Server \\\\S add scope 10.0.0.0 255.255.255.0 \"LAN\" \"\"\r\n"
        "Dhcp Server \\\\S Scope 10.0.0.0 Add reservedip 10.0.0.5 001b21aabb05 \"pc5.cafe.local\" \"Сервер\" "
        "\"BOTH\"\r\n"
        "Dhcp Server \\\\S Scope 10.0.0.0 set optionvalue 3 IPADDRESS \"10.0.0.1\" \r\nDhcp Server \\\\S set "
        "optionvalue 6 IPADDRESS \"8.8.8.8\" \"1.1.1.1\"\r\n";
    size_t len;
    struct site_record site;
    _cleanup_free_ char *bytes = encode(text, "UTF-16LE", &len);
    _cleanup_(source_closep) struct source *s = open_bytes(SOURCE_LEASES, bytes, len, NULL, 0, NULL);
    _cleanup_(mapping_destroyp) struct mapping *m = NULL;
    assert_string_equal(rows_of(s, 0), "001b21aabb05|10.0.0.5|pc5|reservation||Сервер");
    assert_int_equal(mapping_detect(s, &m, NULL), 0);
    assert_int_equal(site_record_read(s, m, &site, NULL), 0);
    assert_string_equal(site.netmask, "255.255.255.0");
    assert_string_equal(site.gateway, "10.0.0.1");
    assert_string_equal(site.dns, "8.8.8.8,1.1.1.1");
}

static void check_site(const char *text, const char *settings, const char *options)
{
    _cleanup_(source_closep) struct source *s = open_text(SOURCE_LEASES, text);
    assert_string_equal(rows_of(s, 1), settings);
    assert_string_equal(rows_of(s, 2), options);
}

static void test_leases_options_without_a_place_are_kept(void **state)
{
    check_site(
        "dhcp-range=10.9.0.0,proxy\ndhcp-range=set:x,10.0.0.10,10.0.0.99,255.255.255.0,12h # here\n"
        "dhcp-option=3,10.0.0.1 # router\ndhcp-option=option:ntp-server,10.0.0.5\ndhcp-boot=gpxe.pxe\n"
        "domain=cafe.local,10.0.0.0/24\ninterface=eth0\ndhcp-host=00:1b:21:aa:bb:01,10.0.0.5\n",
        "range_first|10.0.0.10|/range_last|10.0.0.99|/netmask|255.255.255.0|/gateway|10.0.0.1|/domain|cafe.local|",
        "dhcp-range|10.9.0.0,proxy|/option:ntp-server|10.0.0.5|/dhcp-boot|gpxe.pxe|");
    check_site("option space PXE; option PXE.x code 1 = text; filename \"a.pxe\";\n"
               "subnet 10.0.0.0 netmask 255.0.0.0 { range 10.0.0.7; option ntp-servers 10.0.0.1, 10.0.0.2; }",
               "netmask|255.0.0.0|10.0.0.0/range_first|10.0.0.7|10.0.0.0/range_last|10.0.0.7|10.0.0.0",
               "filename|a.pxe|/ntp-servers of 10.0.0.0|10.0.0.1 10.0.0.2|10.0.0.0");
    check_site(
        "{ \"Dhcp4\": { \"option-data\": [ {\"code\": 1, \"space\": \"v\", \"data\": \"x\"}, {\"name\": "
        "\"routers\", \"data\": \"10.0.0.1\"}, ], \"next-server\": \"10.0.0.2\", \"subnet4\": [ {\"subnet\": "
        "\"10.0.0.0/8\", \"pools\": [ {\"pool\": \"10.0.0.3 - 10.0.0.4\"}, {\"pool\": \"10.1.0.0/16\"}, ] }, ] } }",
        "gateway|10.0.0.1|/range_first|10.0.0.3|10.0.0.0/8/range_last|10.0.0.4|10.0.0.0/8/netmask|/8|10.0.0.0/8",
        "1 of space v|x|/next-server|10.0.0.2|/pool of 10.0.0.0/8|10.1.0.0/16|10.0.0.0/8");
    check_site("Dhcp Server \\\\S Scope 10.0.0.0 Add iprange 10.0.0.10 10.0.0.99\n"
               "Dhcp Server \\\\S Scope 10.0.0.0 add excluderange 10.0.0.50 10.0.0.60\n"
               "Dhcp Server \\\\S Scope 10.0.0.0 Reservedip 10.0.0.11 set optionvalue 3 IPADDRESS \"10.0.0.9\"\n"
               "Dhcp Server \\\\S Scope 10.0.0.0 set optionvalue 66 STRING \"10.0.0.2\"\n",
               "range_first|10.0.0.10|10.0.0.0/range_last|10.0.0.99|10.0.0.0",
               "addresses that are not given out of 10.0.0.0|10.0.0.50-10.0.0.60|10.0.0.0/"
               "3 of 10.0.0.11|10.0.0.9|10.0.0.11/66 of 10.0.0.0|10.0.0.2|10.0.0.0");
}

static void test_leases_and_ini_say_a_guessed_character_set(void **state)
{
    static const char netsh[] =
        "Dhcp Server \\\\S Scope 10.0.0.0 Add reservedip 10.0.0.5 001b21aabb05 \"pc5\" \"Компьютер в "
        "зале у окна\"\n";
    static const char ini[] = "[PC1]\nMAC=001b21aabb05\nNote=Компьютер в зале у окна\n";
    size_t len;
    _cleanup_free_ char *bytes = encode(netsh, "CP866", &len);
    _cleanup_(source_closep) struct source *leases = open_bytes(SOURCE_LEASES, bytes, len, NULL, 0, NULL);
    assert_true(has_note(leases, false, "read as CP866"));
    _cleanup_free_ char *more = encode(ini, "CP1251", &len);
    _cleanup_(source_closep) struct source *settings = open_bytes(SOURCE_INI, more, len, NULL, 0, NULL);
    assert_true(has_note(settings, false, "read as CP1251"));
    _cleanup_(source_closep) struct source *plain = open_text(SOURCE_INI, ini);
    assert_false(has_note(plain, false, "read as"));
}

static void test_leases_options_are_in_the_report_and_set_nothing(void **state)
{
    struct site_record site;
    _cleanup_(source_closep) struct source *s =
        open_text(SOURCE_LEASES, "option ntp-servers 10.0.0.8; option netbios-name-servers 10.0.0.9;\n"
                                 "option domain-name-servers 1.1.1.1, 2.2.2.2, 3.3.3.3;\n"
                                 "host pc1 { hardware ethernet 00:1b:21:aa:bb:01; }");
    _cleanup_(mapping_destroyp) struct mapping *m = NULL;
    assert_int_equal(mapping_detect(s, &m, NULL), 0);
    assert_int_equal(site_record_read(s, m, &site, NULL), 0);
    assert_string_equal(site.dns, "1.1.1.1,2.2.2.2");
    assert_string_equal(site.domain, "");
    assert_non_null(strstr(site.rest, "\"settings, dns\":\"1.1.1.1 2.2.2.2 3.3.3.3\""));
    assert_non_null(strstr(site.rest, "option ntp-servers\":\"10.0.0.8\""));
    assert_non_null(strstr(site.rest, "option netbios-name-servers\":\"10.0.0.9\""));
}

static void test_leases_of_nobody_are_refused(void **state)
{
    char sentence[sizeof(((struct err *)0)->msg)];
    assert_null(open_bytes(SOURCE_LEASES, "hello world\n", 12, NULL, -EOPNOTSUPP, sentence));
    assert_non_null(strstr(sentence, "dnsmasq"));
    assert_null(open_bytes(SOURCE_LEASES, "lease 1.1.1.1 { } }", 19, NULL, -EBADMSG, sentence));
    assert_null(open_bytes(SOURCE_LEASES, "{ \"Dhcp6\": {} }", 15, NULL, -EOPNOTSUPP, sentence));
    assert_null(open_bytes(SOURCE_LEASES, "{ \"Dhcp4\": ", 11, NULL, -EBADMSG, sentence));
}

/* --- INI ----------------------------------------------------------------------------------------------------------------- */

static void test_ini_is_settings_and_sections(void **state)
{
    struct site_record site;
    struct mapping *m = NULL;
    _cleanup_(source_closep) struct source *s = open_text(
        SOURCE_INI,
        "; c\r\n[Server]\r\nGateway = 192.168.1.1\r\nDNS=8.8.8.8\r\nPath=C:\\x;y\r\nweird\r\n[Other]\r\npath=2\r\n");
    assert_string_equal(rows_of(s, 0),
                        "Server|Gateway|192.168.1.1/Server|DNS|8.8.8.8/Server|Path|C:\\x;y/Other|path|2");
    assert_string_equal(rows_of(s, 1), "Server|192.168.1.1|8.8.8.8|C:\\x;y/Other|||2");
    assert_true(has_note(s, false, "1 line has no '='"));
    assert_int_equal(mapping_detect(s, &m, NULL), -ENODATA); /* no clients, but what holds for the site */
    assert_int_equal(site_record_read(s, m, &site, NULL), 0);
    mapping_destroy(m);
    assert_string_equal(site.gateway, "192.168.1.1");
    assert_non_null(strstr(site.rest, "C:\\\\x;y"));
    assert_null(open_bytes(SOURCE_INI, "no ini", 6, NULL, -EBADMSG, NULL));
}

static void test_ini_rows_are_the_sections_that_are_clients(void **state)
{
    static const char server[] = "[Server]\nBootFile=gpxe.pxe\nGatewayMAC=001b21aabb09\n";
    char text[400];
    (void)snprintf(text, sizeof(text), "%s[PC1]\nMAC=001b21aabb01\nIP=10.0.0.1\n[PC2]\nMac=\nNote=x\n", server);
    _cleanup_(source_closep) struct source *s = open_text(SOURCE_INI, text);
    assert_string_equal(rows_of(s, 1), "PC1|001b21aabb01|10.0.0.1|/PC2|||x");
    (void)snprintf(text, sizeof(text), "[Server]\nBootFile=gpxe.pxe\n[00-1b-21-aa-bb-01]\nName=PC1\n");
    _cleanup_(source_closep) struct source *titled = open_text(SOURCE_INI, text);
    assert_string_equal(rows_of(titled, 1), "00-1b-21-aa-bb-01|PC1");
    _cleanup_(source_closep) struct source *only = open_text(SOURCE_INI, server);
    assert_string_equal(rows_of(only, 1), "Server|gpxe.pxe|001b21aabb09");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv_any_separator_quote_and_line_end),
        cmocka_unit_test(test_csv_rows_that_do_not_fit_are_said),
        cmocka_unit_test(test_csv_zero_bytes_open_quotes_and_long_lines),
        cmocka_unit_test(test_csv_with_more_blanks_than_columns_are_kept_is_measured),
        cmocka_unit_test(test_csv_changed_while_it_is_open_is_not_read),
        cmocka_unit_test(test_source_is_hashed_as_it_is_read),
        cmocka_unit_test(test_source_that_changes_is_not_what_was_hashed),
        cmocka_unit_test(test_source_that_is_closed_early_leaves_nothing),
        cmocka_unit_test(test_source_that_cannot_be_read_says_why),
        cmocka_unit_test(test_source_reads_small_tables_once),
        cmocka_unit_test(test_csv_finds_its_character_set),
        cmocka_unit_test(test_csv_wrong_character_set_is_said),
        cmocka_unit_test(test_leases_of_dnsmasq),
        cmocka_unit_test(test_leases_of_isc_last_one_of_an_address_counts),
        cmocka_unit_test(test_leases_of_kea),
        cmocka_unit_test(test_leases_of_netsh_in_utf16),
        cmocka_unit_test(test_leases_options_without_a_place_are_kept),
        cmocka_unit_test(test_leases_options_are_in_the_report_and_set_nothing),
        cmocka_unit_test(test_leases_and_ini_say_a_guessed_character_set),
        cmocka_unit_test(test_leases_of_nobody_are_refused),
        cmocka_unit_test(test_ini_is_settings_and_sections),
        cmocka_unit_test(test_ini_rows_are_the_sections_that_are_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
