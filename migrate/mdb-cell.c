/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One value of a row; see mdb-lib.h.
 *
 *   type                       becomes
 *   bool                       CELL_BOOL: libmdb leaves the null bit in cur_value_len, 0 = true
 *   byte int long bigint       CELL_INT
 *   numeric without decimals   CELL_INT where it fits
 *   numeric money              CELL_TEXT, decimal, exact
 *   float double               CELL_REAL
 *   date, extended date        CELL_DATE
 *   text memo guid             CELL_TEXT
 *   binary ole                 CELL_BYTES
 *   calculated, others         CELL_NONE; the table has a note about such a column
 *
 * A value that is not whole is CELL_BAD with a word: "short" (fewer bytes than its type has), "outside" (not within its row), "cut" (a memo
 * whose pieces end early), "too large", "no date", "no number", "astray" (a memo that
 * points where no memo is).
 *
 * A long value has a head of 12 bytes: length with flags in its upper two bits (in the row | in one piece | in a chain of pieces), then the place
 * of the first piece. Reading ends at the announced length, also when the chain does not.
 */
#include "migrate/mdb-lib.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"
#include "migrate/mdb-value.h"

#define LONG_HEAD_BYTES  12
#define LONG_LENGTH_MASK 0x3fffffffu
#define LONG_INLINE      0x80000000u
#define INT64_DIGITS     18 /* that surely fit */

static void bad(struct cell *c, const char *word)
{
    *c = (struct cell){.kind = CELL_BAD, .text = word, .len = strlen(word)};
}

/* What f->text holds. */
static void from_buffer(struct mdb_file *f, struct cell *c, enum cell_kind kind)
{
    if (f->text.len == 0)
        *c = (struct cell){.kind = CELL_NONE, .text = ""};
    else if (f->text.len > SOURCE_CELL_MAX)
        bad(c, "too large");
    else
        *c = (struct cell){.kind = kind, .text = f->text.p, .len = f->text.len};
}

static void from_string(struct mdb_file *f, struct cell *c, enum cell_kind kind, const char *text)
{
    f->text.len = 0;
    if (!text_buf_add(&f->text, text, strlen(text)))
        mdb_no_memory();
    from_buffer(f, c, kind);
}

/* --- long values --------------------------------------------------------------------------------------------------- */

/* Is the piece that libmdb has just fetched on a page of long values? It lies in the other page buffer. */
static bool is_long_page(const struct mdb_file *f)
{
    const unsigned char *p = f->mdb->alt_pg_buf;
    return p[0] == MDB_PAGE_DATA && memcmp(p + 4, "LVAL", 4) == 0;
}

/* Is the piece at @place (page << 8 | row) on a page that is there? */
static bool is_in_file(const struct mdb_file *f, uint32_t place)
{
    return place >> 8 > 0 && place >> 8 < f->pages;
}

static const char *gather(struct mdb_file *f, MdbColumn *c, unsigned char *head, size_t want, unsigned char *piece,
                          size_t size)
{
    bool is_inline = get_u32(head) & LONG_INLINE;
    if (!is_inline && !is_in_file(f, get_u32(head + 4)))
        return "astray";
    size_t n = mdb_ole_read(f->mdb, c, head, size);
    while (n > 0 && f->raw.len < want) {
        if (n > size || (!is_inline && !is_long_page(f)))
            return "astray";
        if (!text_buf_add(&f->raw, piece, MIN(n, want - f->raw.len)))
            mdb_no_memory();
        bool goes_on = !is_inline && f->raw.len < want && is_in_file(f, c->cur_blob_pg_row);
        n = goes_on ? mdb_ole_read_next(f->mdb, c, head) : 0;
    }
    return f->raw.len < want ? "cut" : NULL;
}

const char *mdb_long_value(struct mdb_file *f, MdbColumn *c)
{
    unsigned char head[LONG_HEAD_BYTES], piece[2 * MDB_PGSIZE];
    memcpy(head, mdb_page(f) + c->cur_value_start, sizeof(head));
    size_t want = get_u32(head) & LONG_LENGTH_MASK;
    f->raw.len = 0;
    if (want == 0)
        return NULL; /* libmdb would hand out what lay in memory */
    if (want > SOURCE_CELL_MAX)
        return "too large";
    c->bind_ptr = piece;
    const char *fault = gather(f, c, head, want, piece, sizeof(piece));
    c->bind_ptr = NULL;
    return fault;
}

static void take_long(struct mdb_file *f, MdbColumn *col, struct cell *c)
{
    const char *fault = mdb_long_value(f, col);
    f->text.len = 0;
    if (fault) {
        bad(c, fault);
    } else if (f->raw.len == 0) {
        *c = (struct cell){.kind = CELL_NONE, .text = ""};
    } else if (col->col_type == MDB_OLE) {
        *c = (struct cell){.kind = CELL_BYTES, .text = f->raw.p, .len = f->raw.len};
    } else {
        mdb_decode(f, (const unsigned char *)f->raw.p, f->raw.len);
        from_buffer(f, c, CELL_TEXT);
    }
}

/* --- values of fixed size ------------------------------------------------------------------------------------------- */

static size_t least_bytes(int type)
{
    switch (type) {
    case MDB_BYTE:
        return 1;
    case MDB_INT:
        return 2;
    case MDB_LONGINT:
    case MDB_FLOAT:
        return 4;
    case MDB_MONEY:
    case MDB_DOUBLE:
    case MDB_DATETIME:
    case MDB_BIGINT:
        return 8;
    case MDB_NUMERIC:
        return VALUE_NUMERIC_BYTES;
    case MDB_REPID:
        return VALUE_GUID_BYTES;
    case MDB_MEMO:
    case MDB_OLE:
        return LONG_HEAD_BYTES;
    case MDB_EXT_DATE:
        return VALUE_EXT_DATE_BYTES;
    default:
        return 1;
    }
}

static void take_int(const unsigned char *p, int type, struct cell *c)
{
    *c = (struct cell){.kind = CELL_INT, .text = ""};
    switch (type) {
    case MDB_BYTE:
        c->integer = p[0];
        break;
    case MDB_INT:
        c->integer = (int16_t)(p[0] | (unsigned)p[1] << 8);
        break;
    case MDB_LONGINT:
        c->integer = (int32_t)get_u32(p);
        break;
    default:
        c->integer = (int64_t)get_u64(p);
    }
}

static double get_double(const unsigned char *p)
{
    uint64_t bits = get_u64(p);
    double d;
    memcpy(&d, &bits, sizeof(d));
    return d;
}

static double get_float(const unsigned char *p)
{
    uint32_t bits = get_u32(p);
    float v;
    memcpy(&v, &bits, sizeof(v));
    return (double)v;
}

static void take_numeric(struct mdb_file *f, unsigned scale, const unsigned char *p, struct cell *c)
{
    char text[VALUE_TEXT_MAX];
    if (!value_numeric(p, scale, text)) {
        bad(c, "no number");
        return;
    }
    if (scale == 0 && strlen(text) <= INT64_DIGITS)
        *c = (struct cell){.kind = CELL_INT, .text = "", .integer = strtoll(text, NULL, 10)};
    else
        from_string(f, c, CELL_TEXT, text);
}

static void take_date(struct mdb_file *f, int type, const unsigned char *p, struct cell *c)
{
    char text[VALUE_TEXT_MAX];
    if (type == MDB_EXT_DATE ? value_ext_date(p, text) : value_date(get_double(p), text))
        from_string(f, c, CELL_DATE, text);
    else
        bad(c, "no date");
}

static void take_value(struct mdb_file *f, const struct mdb_column *column, const unsigned char *p, size_t len,
                       struct cell *c)
{
    MdbColumn *col = column->col;
    char text[VALUE_TEXT_MAX];
    switch (col->col_type) {
    case MDB_BYTE:
    case MDB_INT:
    case MDB_LONGINT:
    case MDB_BIGINT:
        take_int(p, col->col_type, c);
        break;
    case MDB_FLOAT:
        *c = (struct cell){.kind = CELL_REAL, .text = "", .real = get_float(p)};
        break;
    case MDB_DOUBLE:
        *c = (struct cell){.kind = CELL_REAL, .text = "", .real = get_double(p)};
        break;
    case MDB_MONEY:
        value_money((int64_t)get_u64(p), text);
        from_string(f, c, CELL_TEXT, text);
        break;
    case MDB_NUMERIC:
        take_numeric(f, column->scale, p, c);
        break;
    case MDB_DATETIME:
    case MDB_EXT_DATE:
        take_date(f, col->col_type, p, c);
        break;
    case MDB_REPID:
        value_guid(p, text);
        from_string(f, c, CELL_TEXT, text);
        break;
    case MDB_TEXT:
        f->text.len = 0;
        mdb_decode(f, p, len);
        from_buffer(f, c, CELL_TEXT);
        break;
    case MDB_BINARY:
        *c = (struct cell){.kind = CELL_BYTES, .text = (const char *)p, .len = len};
        break;
    default:
        take_long(f, col, c);
    }
}

/* --- one cell ------------------------------------------------------------------------------------------------------- */

void mdb_cell(struct mdb_file *f, struct mdb_table *t, size_t i, struct cell *ret)
{
    MdbColumn *col = t->columns[i].col;
    *ret = (struct cell){.kind = CELL_NONE, .text = ""};
    if (!t->columns[i].is_read)
        return;
    if (col->col_type == MDB_BOOL) {
        *ret = (struct cell){.kind = CELL_BOOL, .text = "", .integer = col->cur_value_len == 0};
        return;
    }
    int64_t begin = col->cur_value_start, len = col->cur_value_len;
    if (len == 0)
        return;
    if (len < 0 || begin < (int64_t)t->row_begin || begin + len > (int64_t)t->row_end)
        bad(ret, "outside");
    else if ((size_t)len < least_bytes(col->col_type))
        bad(ret, "short");
    else
        take_value(f, &t->columns[i], mdb_page(f) + begin, (size_t)len, ret);
}
