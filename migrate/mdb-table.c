/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One table's definition; see mdb-lib.h.
 *
 * libmdb reads the definition. What it leaves out or gets wrong is read here again from the same pages: names (it loses characters beyond
 * U+FFFF) and the flag of calculated columns, whose values have a wrapper that it does not know.
 */
#include "migrate/mdb-lib.h"

#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"

#define EXT_FLAGS_AT         16 /* of a column's entry in Jet 4 and ACE */
#define SCALE_AT             12
#define SCALE_AT_JET3        10 /* *guess*: Access 97 had no such type */
#define EXT_CALCULATED       0xc0
#define MAP_BYTES_MIN        5
#define ENTRY_BYTES_MAX      64
#define NAME_BYTES_MAX       128 /* 64 characters */
#define DEFINITION_PAGES_MAX 64

/* --- types -------------------------------------------------------------------------------------------------------- */

static const char *plain_type_name(int type)
{
    switch (type) {
    case MDB_BOOL:
        return "bool";
    case MDB_BYTE:
        return "byte";
    case MDB_INT:
        return "int";
    case MDB_LONGINT:
        return "long";
    case MDB_MONEY:
        return "money";
    case MDB_FLOAT:
        return "float";
    case MDB_DOUBLE:
        return "double";
    case MDB_DATETIME:
    case MDB_EXT_DATE:
        return "date";
    case MDB_BINARY:
        return "binary";
    case MDB_TEXT:
        return "text";
    case MDB_OLE:
        return "ole";
    case MDB_MEMO:
        return "memo";
    case MDB_REPID:
        return "guid";
    case MDB_NUMERIC:
        return "numeric";
    case MDB_BIGINT:
        return "bigint";
    default:
        return NULL;
    }
}

void mdb_type_name(const struct mdb_column *c, char *ret, size_t max)
{
    const char *name = plain_type_name(c->col->col_type);
    if (c->is_calculated)
        (void)snprintf(ret, max, "calculated");
    else if (c->col->col_type == MDB_COMPLEX)
        (void)snprintf(ret, max, "attachment");
    else if (name)
        (void)snprintf(ret, max, "%s", name);
    else
        (void)snprintf(ret, max, "type 0x%02x", (unsigned)c->col->col_type & 0xff);
}

/* --- what libmdb does not say ------------------------------------------------------------------------------------- */

struct raw_column {
    unsigned number;
    unsigned scale; /* of numeric; libmdb 1.0 takes it for the precision and the other way round */
    bool is_calculated;
    char name[SOURCE_NAME_MAX + 1];
};

/* A definition goes on in other pages: each has the number of the next at 4, and its part begins at 8. The page at hand is in the buffer. */
struct walk {
    struct mdb_file *f;
    size_t pos; /* in the page at hand, or behind its end */
    unsigned pages;
};

static bool next_page(struct walk *w)
{
    uint32_t next = get_u32(mdb_page(w->f) + 4);
    if (next == 0 || next >= w->f->pages || ++w->pages > DEFINITION_PAGES_MAX || !mdb_read_pg(w->f->mdb, next))
        return false;
    w->pos -= w->f->header->page_bytes - 8;
    return true;
}

static bool take(struct walk *w, unsigned char *ret, size_t len)
{
    while (len > 0) {
        if (w->pos >= w->f->header->page_bytes) {
            if (!next_page(w))
                return false;
            continue;
        }
        size_t n = MIN(len, w->f->header->page_bytes - w->pos);
        memcpy(ret, mdb_page(w->f) + w->pos, n);
        w->pos += n;
        ret += n;
        len -= n;
    }
    return true;
}

static int read_entries(struct walk *w, const struct mdb_table *t, struct raw_column *raw)
{
    const MdbFormatConstants *fmt = w->f->mdb->fmt;
    unsigned char entry[ENTRY_BYTES_MAX];
    if (fmt->tab_col_entry_size > sizeof(entry))
        return -EBADMSG;
    for (size_t i = 0; i < t->n_columns; i++) {
        if (!take(w, entry, fmt->tab_col_entry_size))
            return -EBADMSG;
        raw[i].number = entry[fmt->col_num_offset];
        raw[i].scale = entry[w->f->header->is_jet3 ? SCALE_AT_JET3 : SCALE_AT];
        raw[i].is_calculated = w->f->header->is_ace && (entry[EXT_FLAGS_AT] & EXT_CALCULATED) == EXT_CALCULATED;
    }
    return 0;
}

static int read_names(struct walk *w, const struct mdb_table *t, struct raw_column *raw)
{
    struct mdb_file *f = w->f;
    unsigned char name[NAME_BYTES_MAX], len[2] = {0};
    for (size_t i = 0; i < t->n_columns; i++) {
        if (!take(w, len, f->header->is_jet3 ? 1 : 2))
            return -EBADMSG;
        size_t n = len[0] | (size_t)len[1] << 8;
        if (n == 0 || n > sizeof(name) || !take(w, name, n))
            return -EBADMSG;
        f->text.len = 0;
        mdb_decode(f, name, n);
        if (f->text.len == 0 || f->text.len > SOURCE_NAME_MAX)
            return -EBADMSG;
        memcpy(raw[i].name, f->text.p, f->text.len + 1);
    }
    return 0;
}

static struct raw_column *find_raw(struct raw_column *raw, size_t n, unsigned number)
{
    struct raw_column *found = NULL;
    for (size_t i = 0; i < n; i++)
        if (raw[i].number == number) {
            if (found)
                return NULL; /* two of that number: values could be either's */
            found = &raw[i];
        }
    return found;
}

static int read_raw(struct mdb_file *f, struct mdb_table *t, uint32_t page)
{
    static const struct raw_column none;
    const MdbFormatConstants *fmt = f->mdb->fmt;
    struct raw_column raw[SOURCE_COLUMNS_MAX] = {none};
    struct walk w = {.f = f,
                     .pos = fmt->tab_cols_start_offset + (size_t)t->def->num_real_idxs * fmt->tab_ridx_entry_size};
    if (!mdb_read_pg(f->mdb, page) || read_entries(&w, t, raw) < 0 || read_names(&w, t, raw) < 0)
        return -EBADMSG;
    for (size_t i = 0; i < t->n_columns; i++) {
        struct mdb_column *c = &t->columns[i];
        const struct raw_column *r = find_raw(raw, t->n_columns, (unsigned)c->col->col_num);
        if (!r)
            return -EBADMSG;
        c->scale = r->scale;
        c->is_calculated = r->is_calculated;
        c->is_read = !c->is_calculated && plain_type_name(c->col->col_type);
        memcpy(c->name, r->name, sizeof(c->name));
    }
    return 0;
}

/* --- open --------------------------------------------------------------------------------------------------------- */

/* What would lead libmdb astray. */
static const char *fault_of(const MdbTableDef *d)
{
    if (!d->usage_map || d->map_sz < MAP_BYTES_MIN)
        return "has no list of its pages";
    if (d->num_cols < 1 || d->num_cols > SOURCE_COLUMNS_MAX)
        return "has a number of columns that cannot be";
    if (d->num_real_idxs > MDB_INDEXES_MAX)
        return "has a number of indexes that cannot be";
    return NULL;
}

static int read_definition(struct mdb_file *f, struct mdb_table *t, uint32_t page, struct err *err)
{
    t->def = mdb_read_table(&t->entry);
    const char *fault = t->def ? fault_of(t->def) : "has no definition where it should be";
    if (fault)
        return err_set(err, -EBADMSG, "%s", fault);
    if (!mdb_read_pg(f->mdb, page) || !mdb_read_columns(t->def) || t->def->columns->len != t->def->num_cols)
        return err_set(err, -EBADMSG, "has a definition that is cut off");
    t->n_columns = t->def->num_cols;
    for (size_t i = 0; i < t->n_columns; i++)
        t->columns[i].col = g_ptr_array_index(t->def->columns, i);
    return read_raw(f, t, page) < 0 ? err_set(err, -EBADMSG, "has columns whose names cannot be read") : 0;
}

int mdb_table_open(struct mdb_file *f, struct mdb_table *t, uint32_t page, const char *name, struct err *err)
{
    t->def = NULL;
    t->n_columns = 0;
    t->entry = (MdbCatalogEntry){.mdb = f->mdb, .object_type = MDB_TABLE, .table_pg = page};
    (void)snprintf(t->entry.object_name, sizeof(t->entry.object_name), "%s", name);
    if (page == 0 || page >= f->pages)
        return err_set(err, -EBADMSG, "lies beyond the end of the file");
    int r = read_definition(f, t, page, err);
    if (r < 0)
        mdb_table_close(t);
    return r;
}

void mdb_table_close(struct mdb_table *t)
{
    if (t->def)
        mdb_free_tabledef(t->def);
    t->def = NULL;
}
