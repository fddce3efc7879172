/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reader's job; see mdb-reader.h.
 *
 * What is doubtful is said in NOTEs: counts that differ, cells that are not whole, characters that were none, columns of types that are not read.
 * All of it is checked when a table was read to its end, because only then the counts are known.
 */
#include "migrate/mdb-reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "migrate/mdb-lib.h"

struct reader {
    const struct mdb_job *job;
    struct mdb_header header;
    struct mdb_file file;
    struct mdb_table table;
    struct frame_out out;
    bool has_failed;
    uint64_t tables, rows, bad_tables;
    uint64_t bad_cells, first_bad_row;
    size_t first_bad_column;
    char first_bad_word[16];
};

/* --- sentences ------------------------------------------------------------------------------------------------------ */

static void note(struct reader *r, bool is_doubt, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void note(struct reader *r, bool is_doubt, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    frame_begin(&r->out, FRAME_NOTE);
    frame_u8(&r->out, is_doubt);
    frame_str(&r->out, text, (size_t)MIN(n, (int)sizeof(text) - 1)); /* names are short enough, nothing is cut */
    (void)frame_commit(&r->out);                                     /* kept in out.error */
}

static void failed(struct reader *r, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void failed(struct reader *r, int code, const char *fmt, ...)
{
    char text[1200];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    r->has_failed = true;
    frame_begin(&r->out, FRAME_FAILED);
    frame_u8(&r->out, code == -EFBIG        ? FRAME_WHY_TOO_LARGE
                      : code == -EOPNOTSUPP ? FRAME_WHY_UNSUPPORTED
                                            : FRAME_WHY_DAMAGED);
    frame_str(&r->out, text, (size_t)MIN(n, (int)sizeof(text) - 1));
    (void)frame_commit(&r->out);
}

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

/* --- tables --------------------------------------------------------------------------------------------------------- */

static void send_table(struct reader *r, const struct mdb_object *o, const struct mdb_table *t)
{
    char type[24];
    size_t n = t ? t->n_columns : 0;
    frame_begin(&r->out, FRAME_TABLE);
    frame_u32(&r->out, o->page);
    frame_u64(&r->out, t ? t->def->num_rows : (uint64_t)-1);
    frame_u8(&r->out, o->is_linked);
    frame_str(&r->out, o->name, strlen(o->name));
    frame_str(&r->out, o->linked_to, strlen(o->linked_to));
    frame_u16(&r->out, (unsigned)n);
    for (size_t i = 0; i < n; i++) {
        mdb_type_name(&t->columns[i], type, sizeof(type));
        frame_str(&r->out, t->columns[i].name, strlen(t->columns[i].name));
        frame_str(&r->out, type, strlen(type));
    }
    (void)frame_commit(&r->out);
    r->tables++;
}

static void note_columns(struct reader *r, const char *table)
{
    char type[24];
    for (size_t i = 0; i < r->table.n_columns; i++) {
        const struct mdb_column *c = &r->table.columns[i];
        if (c->is_read)
            continue;
        mdb_type_name(c, type, sizeof(type));
        note(r, false, "values of the column '%s' of the table '%s' are not read: its type is %s", c->name, table,
             type);
    }
}

static int each_object(void *arg, struct mdb_file *f, const struct mdb_object *o)
{
    struct reader *r = arg;
    struct err err;
    if (o->is_linked) {
        send_table(r, o, NULL);
        return r->out.error;
    }
    if (mdb_table_open(f, &r->table, o->page, o->name, &err) < 0) {
        r->bad_tables++;
        note(r, true, "the table '%s' is damaged and was left out: it %s", o->name, err.msg);
        return r->out.error;
    }
    send_table(r, o, &r->table);
    note_columns(r, o->name);
    mdb_table_close(&r->table);
    return r->out.error;
}

static void note_file(struct reader *r)
{
    uint64_t over = r->file.bytes % r->header.page_bytes;
    if (over > 0)
        note(r, true,
             "the file's size is no multiple of its page size (%" PRIu64
             " bytes are over): it is probably cut off; compare it with the "
             "original and copy it again",
             over);
    if (r->header.is_jet3 && !r->job->charset && !charset_of_code_page(r->header.code_page))
        note(r, true,
             "the file names the code page %u, which is not known here; its text was read as CP1252: say which it is "
             "with --charset",
             r->header.code_page);
    if (!r->header.is_jet3 && r->job->charset)
        note(r, false, "--charset was not needed: text of this format is Unicode");
}

static void run_tables(struct reader *r)
{
    struct mdb_row_counts counts = {0};
    struct err err;
    note_file(r);
    int code = mdb_catalog(&r->file, each_object, r, &counts, &err);
    if (r->out.error < 0)
        return;
    if (code < 0) {
        failed(r, code, "its list of tables (MSysObjects) %s", err.msg);
        return;
    }
    if (counts.lost + counts.stray > 0)
        note(r, true, "%" PRIu64 " entr%s of the list of tables cannot be read: tables may be missing",
             counts.lost + counts.stray, counts.lost + counts.stray == 1 ? "y" : "ies");
    if (r->tables == 0 && r->bad_tables > 0)
        failed(r, -EBADMSG, "none of its tables can be read");
}

/* --- rows ----------------------------------------------------------------------------------------------------------- */

static void remember_bad(struct reader *r, size_t column, const char *word)
{
    if (r->bad_cells++ > 0)
        return;
    r->first_bad_row = r->rows;
    r->first_bad_column = column;
    (void)snprintf(r->first_bad_word, sizeof(r->first_bad_word), "%s", word);
}

static int each_row(void *arg, struct mdb_file *f, struct mdb_table *t)
{
    struct reader *r = arg;
    struct cell c;
    frame_begin(&r->out, FRAME_ROW);
    for (size_t i = 0; i < t->n_columns; i++) {
        mdb_cell(f, t, i, &c);
        if (!frame_cell(&r->out, &c))
            remember_bad(r, i, "too large");
        else if (c.kind == CELL_BAD)
            remember_bad(r, i, c.text);
    }
    r->rows++;
    return frame_commit(&r->out);
}

static void note_counts(struct reader *r, const struct mdb_row_counts *n)
{
    uint64_t stored = r->table.def->num_rows;
    const char *name = r->job->name;
    if (n->lost > 0)
        note(r, true, "%" PRIu64 " row%s of the table '%s' cannot be read: the file is damaged there", n->lost,
             plural(n->lost), name);
    if (n->stray > 0)
        note(r, true, "%" PRIu64 " row%s of the table '%s' cannot be found where the file says that it was moved",
             n->stray, plural(n->stray), name);
    if (stored == 0 && n->read > 0)
        note(r, true,
             "the table '%s' is said to be empty, but %" PRIu64
             " row%s were found: the database was not closed properly",
             name, n->read, plural(n->read));
    else if (stored != n->read)
        note(r, true, "the table '%s' is said to have %" PRIu64 " row%s, but %" PRIu64 " were found", name, stored,
             plural(stored), n->read);
}

static void note_values(struct reader *r)
{
    const char *name = r->job->name;
    if (r->bad_cells > 0)
        note(r, true,
             "%" PRIu64 " value%s of the table '%s' cannot be read; the first: row %" PRIu64 ", column '%s' (%s)",
             r->bad_cells, plural(r->bad_cells), name, r->first_bad_row + 1, r->table.columns[r->first_bad_column].name,
             r->first_bad_word);
    if (r->file.replaced > 0)
        note(r, true, "%" PRIu64 " character%s of the table '%s' are not of the file's character set and became U+FFFD",
             r->file.replaced, plural(r->file.replaced), name);
    if (r->header.is_jet3 && !r->job->charset && r->header.code_page == 1252 && gbk_guess_is_likely(&r->file.guess))
        note(r, true, "the file says that its text is Western (CP1252), but it looks like Chinese: try --charset GBK");
}

static void run_rows(struct reader *r)
{
    struct mdb_row_counts counts = {0};
    struct mdb_object o = {.page = r->job->table};
    struct err err;
    (void)snprintf(o.name, sizeof(o.name), "%s", r->job->name);
    int code = mdb_table_open(&r->file, &r->table, o.page, o.name, &err);
    if (code == 0) {
        send_table(r, &o, &r->table);
        code = r->job->kind == MDB_JOB_SAMPLE ? mdb_sample(&r->file, &r->table, r->job->rows, each_row, r)
                                              : mdb_rows(&r->file, &r->table, each_row, r, &counts, &err);
    }
    if (r->out.error == 0 && code < 0)
        failed(r, code, "the table '%s' %s", r->job->name, err.msg);
    if (r->out.error == 0 && code == 0 && r->job->kind == MDB_JOB_ROWS) {
        note_counts(r, &counts);
        note_values(r);
    }
    mdb_table_close(&r->table);
}

/* --- the whole ------------------------------------------------------------------------------------------------------- */

static int probe(int fd, struct reader *r, struct err *err)
{
    unsigned char page[MDB_HEADER_BYTES];
    struct stat st;
    ssize_t n = pread(fd, page, sizeof(page), 0);
    if (n < 0 || fstat(fd, &st) < 0)
        return err_set(err, -EBADMSG, "it cannot be read");
    return mdb_probe(page, (size_t)n, (uint64_t)st.st_size, "the file", &r->header, err);
}

static const char *pick_charset(const struct reader *r)
{
    const char *by_file = charset_of_code_page(r->header.code_page);
    if (!r->header.is_jet3)
        return NULL;
    return r->job->charset ? r->job->charset : by_file ? by_file : "CP1252";
}

static void send_database(struct reader *r)
{
    char library[48];
    (void)snprintf(library, sizeof(library), "libmdb %s", mdb_get_version());
    frame_begin(&r->out, FRAME_DATABASE);
    frame_str(&r->out, library, strlen(library));
    (void)frame_commit(&r->out);
}

static void run_job(struct reader *r, int fd_given)
{
    _cleanup_close_ int fd = fd_given;
    struct err err;
    int code = probe(fd, r, &err);
    if (code == 0)
        code = mdb_file_open(&r->file, take_fd(&fd), &r->header, pick_charset(r), &err);
    if (code < 0) {
        failed(r, code, "%s", err.msg);
        return;
    }
    if (!r->job->ready || r->job->ready(r->job->ready_arg) == 0) {
        send_database(r);
        if (r->job->kind == MDB_JOB_TABLES)
            run_tables(r);
        else
            run_rows(r);
    } else {
        failed(r, -EBADMSG, "the reader cannot be locked in");
    }
    mdb_file_close(&r->file);
}

int mdb_reader_run(int fd, const struct mdb_job *job, frame_sink *sink, void *arg)
{
    struct reader *r = calloc(1, sizeof(*r));
    if (!r)
        mdb_no_memory();
    r->job = job;
    frame_out_init(&r->out, sink, arg);
    run_job(r, fd);
    if (!r->has_failed) {
        frame_begin(&r->out, FRAME_END);
        frame_u64(&r->out, r->tables);
        frame_u64(&r->out, r->rows);
        (void)frame_commit(&r->out); /* frame_flush() says it again */
    }
    int code = frame_flush(&r->out);
    frame_out_finish(&r->out);
    free(r);
    return code;
}
