/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of the reader of Access files that need no file: text, values, header, frames, SHA-256. */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/util.h"
#include "migrate/frame.h"
#include "migrate/mdb-probe.h"
#include "migrate/mdb-text.h"
#include "migrate/mdb-value.h"
#include "migrate/utf8.h"

/* --- UTF-8 -------------------------------------------------------------------------------------------------------- */

static void test_utf8_takes_what_it_gives_and_nothing_else(void **state)
{
    static const char *const wrong[] = {"\x80",
                                        "\xc0\x80",
                                        "\xc1\xbf",
                                        "\xe0\x80\x80",
                                        "\xed\xa0\x80",
                                        "\xf0\x80\x80\x80",
                                        "\xf4\x90\x80\x80",
                                        "\xf5\x80\x80\x80",
                                        "\xe4\xb8",
                                        "\xff"};
    char p[4];
    for (uint32_t c = 1; c <= 0x10ffff; c++) {
        uint32_t back = 0;
        size_t n = utf8_put(p, c);
        assert_true(utf8_is_text(p, n));
        assert_int_equal(utf8_get(p, n, &back), n);
        assert_int_equal(back, c >= 0xd800 && c < 0xe000 ? UTF8_REPLACEMENT : c);
    }
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_false(utf8_is_text(wrong[i], strlen(wrong[i])));
    assert_false(utf8_is_text("a\0b", 3));
    assert_true(utf8_is_text("", 0));
}

/* --- text --------------------------------------------------------------------------------------------------------- */

struct sample {
    const char *bytes;
    size_t len;
    const char *text;
    unsigned bad;
};

#define SAMPLE(bytes, text, bad)                                                                                       \
    {                                                                                                                  \
        bytes, sizeof(bytes) - 1, text, bad                                                                            \
    }

static void test_mdb_text_of_jet4_is_decoded_whole(void **state)
{
    static const struct sample samples[] = {
        SAMPLE("", "", 0),
        SAMPLE("a\0b\0", "ab", 0),
        SAMPLE("\xff\xfe"
               "abc",
               "abc", 0),
        SAMPLE("\xff\xfe", "", 0),
        SAMPLE("\xff\xfe"
               "a\0\x2d\x4e\x87\x65\0b",
               "a中文b", 0),
        SAMPLE("\xff\xfe"
               "\xe9t\xe9",
               "été", 0),
        SAMPLE("\x3d\xd8\x00\xde", "😀", 0),
        SAMPLE("\xff\xfe\0\x42\xd8\xb7\xdf\0x", "𠮷x", 0),
        SAMPLE("\x3d\xd8", "\xef\xbf\xbd", 1),
        SAMPLE("\x3d\xd8"
               "a\0",
               "\xef\xbf\xbd"
               "a",
               1),
        SAMPLE("\x00\xdc"
               "a\0",
               "\xef\xbf\xbd"
               "a",
               1),
        SAMPLE("\x3d\xd8\x3d\xd8\x00\xde", "\xef\xbf\xbd😀", 1),
        SAMPLE("a\0b", "a\xef\xbf\xbd", 1),
        SAMPLE("a\0\0\0b\0",
               "a\xef\xbf\xbd"
               "b",
               1),
        SAMPLE("\xff\xfe"
               "a\0\x2d",
               "a\xef\xbf\xbd", 1),
        SAMPLE("\xff\xfe\0\0\0a", "a", 1), /* two bytes wide again: half a character */
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct text_buf t = {0};
        uint64_t bad = 0;
        assert_true(text_from_jet4(&t, (const unsigned char *)samples[i].bytes, samples[i].len, &bad));
        assert_true(utf8_is_text(t.p, t.len));
        if (i + 1 < ARRAY_SIZE(samples)) { /* the last one only must not break */
            assert_string_equal(t.p, samples[i].text);
            assert_int_equal(bad, samples[i].bad);
        }
        text_buf_finish(&t);
    }
}

/* ASCII is taken in long steps: a unit that is none may stand anywhere in it, and where it does must not matter. */
static void test_mdb_text_of_jet4_is_the_same_at_any_place(void **state)
{
    static const struct {
        unsigned unit;
        const char *text;
    } units[] = {{'z', "z"},  {0x7f, "\x7f"}, {0, "\xef\xbf\xbd"},     {0x80, "\xc2\x80"},
                 {0xe9, "é"}, {0x4e2d, "中"}, {0xd800, "\xef\xbf\xbd"}};
    unsigned char wide[80], narrow[80];
    char want[80];
    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        for (size_t len = 1; len <= 20; len++)
            for (size_t at = 0; at < len; at++) {
                struct text_buf t = {0};
                uint64_t bad = 0;
                unsigned unit = units[i].unit;
                (void)snprintf(want, sizeof(want), "%.*s%s%.*s", (int)at, "abcdefghijklmnopqrst", units[i].text,
                               (int)(len - at - 1), "abcdefghijklmnopqrst");
                for (size_t k = 0; k < len; k++) {
                    unsigned v = k == at ? unit : (unsigned)('a' + (k < at ? k : k - at - 1));
                    wide[2 * k] = (unsigned char)v;
                    wide[2 * k + 1] = (unsigned char)(v >> 8);
                    narrow[2 + k] = (unsigned char)v;
                }
                assert_true(text_from_jet4(&t, wide, 2 * len, &bad));
                assert_string_equal(t.p, want);
                assert_int_equal(t.len, strlen(want));
                assert_int_equal(bad, unit == 0 || unit == 0xd800);
                assert_int_equal(utf8_ascii(t.p, t.len), unit > 0 && unit < 0x80 ? len : at);
                memcpy(narrow, "\xff\xfe", 2);
                t.len = 0;
                if (unit > 0 && unit <= 0xff) {
                    assert_true(text_from_jet4(&t, narrow, 2 + len, &bad));
                    assert_string_equal(t.p, want);
                }
                text_buf_finish(&t);
            }
    assert_int_equal(utf8_ascii("12345678\0abcdefgh", 17), 8);
}

static void check_charset(const char *name, const char *bytes, size_t len, const char *text, unsigned bad)
{
    struct text_buf t = {0};
    uint64_t n = 0;
    iconv_t c = iconv_open("UTF-8", name);
    assert_true(c != (iconv_t)-1);
    assert_true(text_from_charset(&t, c, (const unsigned char *)bytes, len, &n));
    assert_string_equal(t.p, text);
    assert_int_equal(n, bad);
    assert_int_equal(t.len, strlen(text));
    text_buf_finish(&t);
    iconv_close(c);
}

static void test_mdb_text_of_jet3_is_decoded_by_its_code_page(void **state)
{
    check_charset("GBK", "\xb1\xb8\xd7\xa2", 4, "备注", 0);
    check_charset("BIG5", "\xb3\x5c\xa5\x5c\xbb\x5c", 6, "許功蓋", 0); /* backslashes within */
    check_charset("CP1251", "\xca\xeb\xe8\xe5\xed\xf2", 6, "Клиент", 0);
    check_charset("CP1252", "\x80 \xe9", 3, "€ é", 0);
    check_charset("CP932", "\x83\x5c", 2, "ソ", 0);
    check_charset("GBK", "a\xb1", 2, "a\xef\xbf\xbd", 1);
    check_charset("GBK",
                  "\xff"
                  "b",
                  2,
                  "\xef\xbf\xbd"
                  "b",
                  1);
    check_charset("CP1252", "a\0b", 3,
                  "a\xef\xbf\xbd"
                  "b",
                  1);
    check_charset("CP1252", "", 0, "", 0);
}

static void test_mdb_text_grows_as_long_as_it_must(void **state)
{
    enum { CHARS = 100000 };
    char *bytes = malloc(2 * CHARS);
    struct text_buf t = {0};
    uint64_t bad = 0;
    iconv_t c = iconv_open("UTF-8", "GBK");
    for (size_t i = 0; i < CHARS; i++)
        memcpy(bytes + 2 * i, "\xb1\xb8", 2);
    assert_true(text_from_charset(&t, c, (const unsigned char *)bytes, 2 * CHARS, &bad));
    assert_int_equal(t.len, 3 * CHARS);
    assert_int_equal(bad, 0);
    iconv_close(c);
    text_buf_finish(&t);
    free(bytes);
}

static void test_mdb_code_pages_have_names_that_iconv_knows(void **state)
{
    static const unsigned pages[] = {874,  932,  936,  949,  950,  1250, 1251, 1252, 1253,
                                     1254, 1255, 1256, 1257, 1258, 1361, 437,  850};
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
        const char *name = charset_of_code_page(pages[i]);
        assert_non_null(name);
        iconv_t c = iconv_open("UTF-8", name);
        assert_true(c != (iconv_t)-1);
        iconv_close(c);
    }
    assert_null(charset_of_code_page(1));
}

static bool looks_chinese(const char *text)
{
    struct gbk_guess g = {0};
    gbk_guess_add(&g, (const unsigned char *)text, strlen(text));
    return gbk_guess_is_likely(&g);
}

static void test_mdb_guess_knows_chinese_from_western(void **state)
{
    assert_true(looks_chinese("\xb1\xb8\xd7\xa2\xb1\xb8\xd7\xa2\xbb\xfa")); /* GBK */
    assert_false(looks_chinese("Zo\xeb, M\xfcller, Stra\xdf"
                               "e, \xe9t\xe9, No\xebl, cr\xe8me br\xfbl\xe9"
                               "e, \xc5ngstr\xf6m, \xd8rsted"));
    assert_false(looks_chinese("plain"));
    assert_false(looks_chinese("\xb1\xb8")); /* too little to say */
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static void test_mdb_dates_cover_all_years_of_access(void **state)
{
    static const struct {
        double days;
        const char *text;
    } good[] = {
        {0, "1899-12-30T00:00:00"},
        {1.25, "1899-12-31T06:00:00"},
        {-1.25, "1899-12-29T06:00:00"},
        {-0.25, "1899-12-30T06:00:00"},
        {36526, "2000-01-01T00:00:00"},
        {36585, "2000-02-29T00:00:00"},
        {73109, "2100-02-28T00:00:00"},
        {73110, "2100-03-01T00:00:00"},
        {2958465, "9999-12-31T00:00:00"},
        {-657434, "0100-01-01T00:00:00"},
        {2958465.9999884, "9999-12-31T23:59:59"},
        {45350.9999999, "2024-02-29T00:00:00"},
    };
    static const double wrong[] = {NAN, INFINITY, -INFINITY, 1e300, -1e300, 2958466, -657435, 4e6, DBL_MAX};
    char text[VALUE_TEXT_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(value_date(good[i].days, text));
        assert_string_equal(text, good[i].text);
    }
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_false(value_date(wrong[i], text));
}

static bool ext_date(const char *text, char *ret)
{
    assert_int_equal(strlen(text) + 1, VALUE_EXT_DATE_BYTES);
    return value_ext_date((const unsigned char *)text, ret);
}

static void test_mdb_extended_dates_are_read(void **state)
{
    char text[VALUE_TEXT_MAX];
    assert_true(ext_date("0000000000000693593:0000000000000000000:7", text));
    assert_string_equal(text, "1899-12-30T00:00:00");
    assert_true(ext_date("0000000000003652058:0000000863999999999:7", text));
    assert_string_equal(text, "9999-12-31T23:59:59");
    assert_false(ext_date("0000000000003652059:0000000000000000000:7", text));
    assert_false(ext_date("0000000000000693593:0000000864000000000:7", text));
    assert_false(ext_date("00000000000006935x3:0000000000000000000:7", text));
    assert_false(ext_date("9999999999999999999:9999999999999999999:7", text));
    assert_false(ext_date("0000000000000693593-0000000000000000000:7", text));
}

static void test_mdb_decimals_are_exact(void **state)
{
    unsigned char p[VALUE_NUMERIC_BYTES] = {0};
    char text[VALUE_TEXT_MAX];
    value_money(INT64_MIN, text);
    assert_string_equal(text, "-922337203685477.5808");
    value_money(INT64_MAX, text);
    assert_string_equal(text, "922337203685477.5807");
    value_money(-1, text);
    assert_string_equal(text, "-0.0001");
    value_money(0, text);
    assert_string_equal(text, "0.0000");
    assert_true(value_numeric(p, 28, text));
    assert_string_equal(text, "0.0000000000000000000000000000");
    p[0] = 1;
    assert_true(value_numeric(p, 0, text));
    assert_string_equal(text, "0");
    put_u32(p + 13, 1);
    assert_true(value_numeric(p, 2, text));
    assert_string_equal(text, "-0.01");
    memset(p, 0xff, sizeof(p));
    assert_true(value_numeric(p, 0, text));
    assert_string_equal(text, "-340282366920938463463374607431768211455");
    assert_false(value_numeric(p, 29, text));
    assert_false(value_numeric(p, 255, text));
}

static void test_mdb_guid_has_its_usual_form(void **state)
{
    static const unsigned char p[] = {0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
                                      0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    char text[VALUE_TEXT_MAX];
    value_guid(p, text);
    assert_string_equal(text, "{00112233-4455-6677-8899-AABBCCDDEEFF}");
}

/* --- header ------------------------------------------------------------------------------------------------------- */

static void make_header(unsigned char *p, const char *magic, unsigned version)
{
    memset(p, 0, MDB_HEADER_BYTES);
    p[1] = 1;
    (void)memcpy(p + 4, magic, strlen(magic) + 1);
    p[20] = (unsigned char)version;
}

static void test_mdb_probe_accepts_all_versions_and_refuses_others(void **state)
{
    unsigned char p[MDB_HEADER_BYTES];
    struct mdb_header h;
    struct err err;
    make_header(p, "Standard Jet DB", 0);
    assert_int_equal(mdb_probe(p, sizeof(p), 65536, "x.mdb", &h, &err), 0);
    assert_true(h.is_jet3 && h.page_bytes == 2048);
    for (unsigned v = 1; v <= 6; v++) {
        make_header(p, v == 1 ? "Standard Jet DB" : "Standard ACE DB", v);
        memset(p + 24, 0, 128);
        int r = mdb_probe(p, sizeof(p), 65536, "x.mdb", &h, &err); /* zeros under the cover are a key */
        assert_int_equal(r, v == 1 ? 0 : -EOPNOTSUPP);
        if (r < 0)
            assert_non_null(strstr(err.msg, "Office encryption"));
    }
    make_header(p, "Standard Jet DB", 7);
    assert_int_equal(mdb_probe(p, sizeof(p), 65536, "x.mdb", &h, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.msg, "version 7"));
    assert_int_equal(mdb_probe(p, 100, 100, "x.mdb", &h, &err), -EBADMSG);
    assert_int_equal(mdb_probe(p, 0, 0, "x.mdb", &h, &err), -EBADMSG);
    assert_non_null(strstr(err.msg, "empty"));
    make_header(p, "Standard Jut DB", 1);
    assert_int_equal(mdb_probe(p, sizeof(p), 65536, "x.mdb", &h, &err), -EOPNOTSUPP);
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

struct tape {
    unsigned char *p;
    size_t len, at, piece;
};

static int to_tape(void *arg, const void *buf, size_t len)
{
    struct tape *t = arg;
    t->p = realloc(t->p, t->len + len);
    memcpy(t->p + t->len, buf, len);
    t->len += len;
    return 0;
}

static ssize_t from_tape(void *arg, void *buf, size_t max)
{
    struct tape *t = arg;
    size_t n = MIN(MIN(max, t->piece), t->len - t->at);
    memcpy(buf, t->p + t->at, n);
    t->at += n;
    return (ssize_t)n;
}

static const struct cell cells[] = {
    {.kind = CELL_NONE},
    {.kind = CELL_BOOL, .integer = 1},
    {.kind = CELL_INT, .integer = INT64_MIN},
    {.kind = CELL_REAL, .real = 0.1},
    {.kind = CELL_TEXT, .text = "镜像", .len = 6},
    {.kind = CELL_BYTES, .text = "\0\xff\0", .len = 3},
    {.kind = CELL_DATE, .text = "2024-02-29T12:34:56", .len = 19},
    {.kind = CELL_BAD, .text = "cut", .len = 3},
};

static void record_row(struct tape *t)
{
    struct frame_out o;
    frame_out_init(&o, to_tape, t);
    frame_begin(&o, FRAME_ROW);
    for (size_t i = 0; i < ARRAY_SIZE(cells); i++)
        assert_true(frame_cell(&o, &cells[i]));
    assert_int_equal(frame_commit(&o), 0);
    frame_begin(&o, FRAME_END);
    frame_u64(&o, 1);
    frame_u64(&o, 2);
    assert_int_equal(frame_commit(&o), 0);
    assert_int_equal(frame_flush(&o), 0);
    frame_out_finish(&o);
}

static void test_frame_row_comes_out_as_it_went_in(void **state)
{
    for (size_t piece = 1; piece < 200; piece += 7) {
        struct tape t = {.piece = piece};
        struct frame_in in;
        struct frame f;
        struct cell back[ARRAY_SIZE(cells)];
        record_row(&t);
        frame_in_init(&in, from_tape, &t);
        assert_int_equal(frame_next(&in, &f), 1);
        assert_int_equal(f.kind, FRAME_ROW);
        assert_int_equal(frame_take_row(&f, back, ARRAY_SIZE(back)), 0);
        for (size_t i = 0; i < ARRAY_SIZE(cells); i++) {
            assert_int_equal(back[i].kind, cells[i].kind);
            assert_int_equal(back[i].integer, cells[i].integer);
            assert_true(back[i].real == cells[i].real);
            assert_int_equal(back[i].len, cells[i].len);
            assert_memory_equal(back[i].text, cells[i].text ? cells[i].text : "", cells[i].len + 1);
        }
        assert_int_equal(frame_next(&in, &f), 1);
        assert_int_equal(frame_take_u64(&f), 1);
        assert_int_equal(frame_take_u64(&f), 2);
        assert_int_equal(frame_done(&f), 0);
        assert_int_equal(frame_next(&in, &f), 0);
        frame_in_finish(&in);
        free(t.p);
    }
}

/* 0 when all of the tape is taken, else the first error. */
static int take_all(struct tape *t, size_t columns)
{
    struct frame_in in;
    struct frame f;
    struct cell back[SOURCE_COLUMNS_MAX];
    int r;
    t->at = 0;
    t->piece = 1000;
    frame_in_init(&in, from_tape, t);
    while ((r = frame_next(&in, &f)) > 0)
        if (f.kind == FRAME_ROW && (r = frame_take_row(&f, back, columns)) < 0)
            break;
    frame_in_finish(&in);
    return r;
}

static void test_frame_decoder_believes_nothing(void **state)
{
    struct tape t = {0};
    record_row(&t);
    assert_int_equal(take_all(&t, ARRAY_SIZE(cells)), 0);
    assert_int_equal(take_all(&t, ARRAY_SIZE(cells) - 1), -EBADMSG);
    assert_int_equal(take_all(&t, ARRAY_SIZE(cells) + 1), -EBADMSG);
    size_t len = t.len;
    for (size_t cut = 1; cut < len; cut++) { /* anywhere but between the two frames */
        t.len = len - cut;
        if (t.len != get_u32(t.p) + 4)
            assert_int_equal(take_all(&t, ARRAY_SIZE(cells)), -EBADMSG);
    }
    t.len = len;
    unsigned char *text = memmem(t.p, t.len, "镜像", 6), *date = memmem(t.p, t.len, "2024", 4);
    text[0] = 0xff;
    assert_int_equal(take_all(&t, ARRAY_SIZE(cells)), -EBADMSG);
    memcpy(text, "镜像", 6);
    text[6] = 'x'; /* the zero behind it */
    assert_int_equal(take_all(&t, ARRAY_SIZE(cells)), -EBADMSG);
    text[6] = 0;
    text[2] = 0;
    assert_int_equal(take_all(&t, ARRAY_SIZE(cells)), -EBADMSG);
    memcpy(text, "镜像", 6);
    date[3] = 'x';
    assert_int_equal(take_all(&t, ARRAY_SIZE(cells)), -EBADMSG);
    date[3] = '4';
    put_u32(t.p, FRAME_BYTES_MAX + 1);
    assert_int_equal(take_all(&t, ARRAY_SIZE(cells)), -EBADMSG);
    put_u32(t.p, 0);
    assert_int_equal(take_all(&t, ARRAY_SIZE(cells)), -EBADMSG);
    free(t.p);
}

static void test_frame_cell_that_does_not_fit_is_bad(void **state)
{
    struct tape t = {0};
    struct frame_out o;
    char *text = malloc(SOURCE_CELL_MAX + 1);
    memset(text, 'x', SOURCE_CELL_MAX + 1);
    struct cell great = {.kind = CELL_TEXT, .text = text, .len = SOURCE_CELL_MAX}, greater = great;
    greater.len++;
    frame_out_init(&o, to_tape, &t);
    frame_begin(&o, FRAME_ROW);
    assert_false(frame_cell(&o, &greater));
    for (size_t i = 0; i < 3; i++)
        assert_true(frame_cell(&o, &great));
    for (size_t i = 4; i < SOURCE_COLUMNS_MAX; i++)
        assert_false(frame_cell(&o, &great)); /* together they would be more than a frame holds */
    assert_int_equal(frame_commit(&o), 0);
    assert_int_equal(frame_flush(&o), 0);
    assert_int_equal(take_all(&t, SOURCE_COLUMNS_MAX), 0);
    frame_out_finish(&o);
    free(t.p);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_takes_what_it_gives_and_nothing_else),
        cmocka_unit_test(test_mdb_text_of_jet4_is_decoded_whole),
        cmocka_unit_test(test_mdb_text_of_jet4_is_the_same_at_any_place),
        cmocka_unit_test(test_mdb_text_of_jet3_is_decoded_by_its_code_page),
        cmocka_unit_test(test_mdb_text_grows_as_long_as_it_must),
        cmocka_unit_test(test_mdb_code_pages_have_names_that_iconv_knows),
        cmocka_unit_test(test_mdb_guess_knows_chinese_from_western),
        cmocka_unit_test(test_mdb_dates_cover_all_years_of_access),
        cmocka_unit_test(test_mdb_extended_dates_are_read),
        cmocka_unit_test(test_mdb_decimals_are_exact),
        cmocka_unit_test(test_mdb_guid_has_its_usual_form),
        cmocka_unit_test(test_mdb_probe_accepts_all_versions_and_refuses_others),
        cmocka_unit_test(test_frame_row_comes_out_as_it_went_in),
        cmocka_unit_test(test_frame_decoder_believes_nothing),
        cmocka_unit_test(test_frame_cell_that_does_not_fit_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
