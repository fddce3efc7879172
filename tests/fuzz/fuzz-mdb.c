/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of what of an Access file is decoded by our own code: the header, which the unjailed parent looks at, text and values.
 * The whole reader with libmdb is tests/unit/test-mdb-mutate.c.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "migrate/mdb-probe.h"
#include "migrate/mdb-text.h"
#include "migrate/mdb-value.h"
#include "migrate/utf8.h"

static void check_header(const uint8_t *data, size_t len)
{
    struct mdb_header h;
    struct err err = {""};
    unsigned char page[MDB_HEADER_BYTES] = "\0\1\0\0Standard Jet DB";
    int r = mdb_probe(data, len, len, "input", &h, &err);
    must(r == 0 || ((r == -EOPNOTSUPP || r == -EBADMSG) && err.msg[0]));
    memcpy(page + 20, data, MIN(len, sizeof(page) - 20)); /* behind a good beginning */
    r = mdb_probe(page, sizeof(page), 1 << 20, "input", &h, &err);
    must(r == 0 || ((r == -EOPNOTSUPP || r == -EBADMSG) && err.msg[0]));
    must(r < 0 || h.page_bytes == 2048 || h.page_bytes == 4096);
}

static void check_text(const uint8_t *data, size_t len)
{
    static const char *const charsets[] = {"GBK", "BIG5", "CP932", "CP1252"};
    struct text_buf t = {0};
    uint64_t bad = 0;
    must(text_from_jet4(&t, data, len, &bad) && utf8_is_text(t.p, t.len) && t.p[t.len] == 0);
    must(t.len <= 3 * len + 4);
    for (size_t i = 0; i < ARRAY_SIZE(charsets); i++) {
        iconv_t c = iconv_open("UTF-8", charsets[i]);
        must(c != (iconv_t)-1);
        t.len = 0;
        must(text_from_charset(&t, c, data, len, &bad) && utf8_is_text(t.p, t.len) && t.p[t.len] == 0);
        iconv_close(c);
    }
    text_buf_finish(&t);
    struct gbk_guess g = {0};
    gbk_guess_add(&g, data, len);
    must(g.paired <= g.high && g.high <= 2 * len);
    (void)gbk_guess_is_likely(&g);
}

static void check_values(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    unsigned char p[64];
    char text[VALUE_TEXT_MAX];
    double d;
    int64_t n;
    unsigned scale = input_byte(&in);
    input_take(&in, p, sizeof(p));
    memcpy(&d, p, sizeof(d));
    memcpy(&n, p, sizeof(n));
    must(!value_date(d, text) || strlen(text) == 19);
    must(!value_ext_date(p, text) || strlen(text) == 19);
    value_money(n, text);
    must(strlen(text) < sizeof(text));
    must(!value_numeric(p, scale, text) || strlen(text) < sizeof(text));
    value_guid(p, text);
    must(strlen(text) == 38);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    check_header(data, len);
    check_text(data, len);
    check_values(data, len);
    return 0;
}
