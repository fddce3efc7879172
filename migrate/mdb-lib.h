/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reader of Access files, inside: what touches as little of libmdb as possible. For mdb-*.c and their tests only.
 *
 *   mdb_file_open(f, fd, ...)     the handle, on an open descriptor
 *     mdb_catalog(f, each)        tables, from MSysObjects
 *     mdb_table_open(f, t, page)  one table's definition, checked
 *       mdb_rows(f, t, each)      its live rows
 *       mdb_sample(f, t, n, each) n of them, from anywhere
 *         mdb_cell(f, t, i, ...)  one value of the row that is in the page buffer
 *     mdb_table_close(t)
 *   mdb_file_close(f)
 *
 * Used of libmdb: opening, table and column definitions, the next data page, a row and its fields, long values. Not used, because each
 * crashes, hangs or gives wrong data (handbook, access-databases.md, sections 3 and 5): its catalog, properties, indexes, bound columns,
 * conversion to strings and mdb_ole_read_full().
 *
 * (1) No value is taken from outside of its row, and no row from outside of its page.
 * (2) Every loop has a bound that the file cannot raise.
 *
 * Threads: one.
 */
#ifndef DISKGATE_MIGRATE_MDB_LIB_H
#define DISKGATE_MIGRATE_MDB_LIB_H

#include <mdbtools.h>
#undef MIN /* glib's */
#undef MAX

#include "core/err.h"
#include "core/util.h" /* behind glib, for its MIN and MAX */
#include "migrate/mdb-probe.h"
#include "migrate/mdb-text.h"
#include "migrate/source.h"

/* Types that libmdb 1.0 does not know. */
#define MDB_BIGINT   0x13
#define MDB_EXT_DATE 0x14

#define MDB_INDEXES_MAX 128

/* --- the file ---------------------------------------------------------------------------------------------------- */

struct mdb_file {
    MdbHandle *mdb;
    const struct mdb_header *header; /* borrowed */
    iconv_t charset;                 /* of Jet 3, else (iconv_t)-1 */
    uint64_t pages;                  /* whole ones of the file: libmdb fills up the last with zeros */
    uint64_t bytes;                  /* of the file */
    uint64_t replaced;               /* characters that were no characters */
    struct gbk_guess guess;          /* of Jet 3 */
    struct text_buf text, raw;       /* of the cell that was decoded last */
};

/* @charset: of Jet 3; NULL for the others. Takes @fd in any case. -EBADMSG, -ENOMEM. */
int mdb_file_open(struct mdb_file *f, int fd, const struct mdb_header *h, const char *charset, struct err *err);
void mdb_file_close(struct mdb_file *f);

/* The page buffer's bytes. */
static inline const unsigned char *mdb_page(const struct mdb_file *f)
{
    return f->mdb->pg_buf;
}

/* @fd of a file of @size bytes as a stream to be read, which closes it. NULL when memory is out; then @fd is still the caller's. */
FILE *mdb_stream_open(int fd, uint64_t size);

/* Append text of the file's encoding to f->text. Memory that is out ends the process. */
void mdb_decode(struct mdb_file *f, const unsigned char *src, size_t len);
/* For failed allocations: the parent takes the end of this process for "damaged, or too large". */
void mdb_no_memory(void) __attribute__((noreturn));

/* --- tables ------------------------------------------------------------------------------------------------------- */

struct mdb_column {
    MdbColumn *col;
    char name[SOURCE_NAME_MAX + 1];
    unsigned scale; /* of numeric */
    bool is_calculated;
    bool is_read; /* false: values are never read */
};

struct mdb_table {
    MdbTableDef *def;
    MdbCatalogEntry entry;
    struct mdb_column columns[SOURCE_COLUMNS_MAX];
    size_t n_columns;
    /* Row in the page buffer: its bytes are [row_begin, row_end). */
    size_t row_begin, row_end;
};

/* The definition at @page. -EBADMSG with a sentence that completes "the table ... ". */
int mdb_table_open(struct mdb_file *f, struct mdb_table *t, uint32_t page, const char *name, struct err *err);
void mdb_table_close(struct mdb_table *t);
/* "text", "memo", "long", ... */
void mdb_type_name(const struct mdb_column *c, char *ret, size_t max);

/* --- rows --------------------------------------------------------------------------------------------------------- */

struct mdb_row_counts {
    uint64_t read;
    uint64_t lost;  /* live by the page's own account, but nothing could be made of them */
    uint64_t stray; /* places where a moved row should be and is not */
    bool is_ended;  /* the callback ended it early */
};

/* 0 goes on, 1 ends it early, a negative errno fails. */
typedef int mdb_row_fn(void *arg, struct mdb_file *f, struct mdb_table *t);

/* -EBADMSG, -EFBIG (too many rows), what @each said. */
int mdb_rows(struct mdb_file *f, struct mdb_table *t, mdb_row_fn *each, void *arg, struct mdb_row_counts *ret,
             struct err *err);

/* At most @n live rows, of pages that are picked at random all over the table and of random places on them, in the order of the file; a table that
 * has few rows gives fewer. What cannot be read is passed over: mdb_rows() says it. 0, or what @each said; nothing is given when the list of
 * the table's pages is of a kind that is not known here. */
int mdb_sample(struct mdb_file *f, struct mdb_table *t, uint64_t n, mdb_row_fn *each, void *arg);

/* Of the page at hand: where rows lie, and what their offset says (mdb-rows.c). */
#define MDB_ROW_POINTER   0x4000u
#define MDB_ROW_PASSED    0x8000u
#define MDB_PAGE_ROWS_MAX 1000
unsigned mdb_page_rows(const struct mdb_file *f);
/* The offset with its flags, and the row's bytes; false when they are not within the page. */
bool mdb_row_place(const struct mdb_file *f, unsigned row, unsigned *ret_offset, size_t *ret_begin, size_t *ret_end);

/* --- cells -------------------------------------------------------------------------------------------------------- */

/* Value of column @i in the row at hand. Text stays until the next call. NULL and empty are CELL_NONE. */
void mdb_cell(struct mdb_file *f, struct mdb_table *t, size_t i, struct cell *ret);

/* The bytes of a memo or OLE value into f->raw. NULL when complete, else a word for what is wrong. */
const char *mdb_long_value(struct mdb_file *f, MdbColumn *c);

/* --- the catalog -------------------------------------------------------------------------------------------------- */

struct mdb_object {
    char name[SOURCE_NAME_MAX + 1];
    uint32_t page;
    bool is_linked;
    char linked_to[512];
};

typedef int mdb_object_fn(void *arg, struct mdb_file *f, const struct mdb_object *o);

/* All tables of users, local and linked. Not inside of another walk over rows: @each is called when the walk is over. */
int mdb_catalog(struct mdb_file *f, mdb_object_fn *each, void *arg, struct mdb_row_counts *ret, struct err *err);

#endif
