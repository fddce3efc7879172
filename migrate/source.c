/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sources: what all readers share; see source.h.
 *
 * The file is hashed by a thread, beside what the reader does; source_verify() says whether both have seen the same. A reader that reads it several
 * times looks out for changes itself, so that it does not take them for damage.
 */
#include "migrate/source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util.h"
#include "migrate/source-hash.h"
#include "migrate/source-kept.h"
#include "migrate/text.h"

#define NOTES_MAX 1000 /* enough to see that a file is bad */

/* --- open and close ---------------------------------------------------------------------------------------------- */

static int refuse_kind(mode_t mode, const char *path, struct err *err)
{
    if (S_ISREG(mode))
        return 0;
    return err_set(err, -EINVAL, "'%s' is %s: give the file itself", path,
                   S_ISDIR(mode) ? "a folder" : "not a plain file");
}

/* Path and size of what is going to be read, and the hash begins. */
static int look_at_file(struct source *s, const char *path, struct err *err)
{
    struct stat st;
    if (!realpath(path, s->path))
        return err_sys(err, -errno, "cannot read '%s'", path);
    if (stat(s->path, &st) < 0)
        return err_sys(err, -errno, "cannot read '%s'", path);
    int r = refuse_kind(st.st_mode, path, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, -errno, "cannot read '%s'", path);
    r = refuse_kind(st.st_mode, path, err);
    if (r < 0)
        return r;
    s->info.file_bytes = (uint64_t)st.st_size;
    r = source_hash_start(fd, &s->hash);
    if (r < 0)
        return err_sys(err, r, "cannot read '%s'", path);
    (void)take_fd(&fd);
    return 0;
}

static int changed(const struct source *s, struct err *err)
{
    return err_set(err, -EBADMSG, "'%s' was changed while it was read: %simport a copy of it", text_quote(s->path),
                   s->reader == &access_reader ? "close Access and CCBoot, or " : "");
}

/* The reader opened the file by its path: is that still the file that is hashed? */
static int check_path(const struct source *s, struct err *err)
{
    const struct stat *hashed = source_hash_stat(s->hash);
    struct stat st;
    if (stat(s->path, &st) < 0)
        return err_sys(err, -errno, "cannot read '%s'", text_quote(s->path));
    return st.st_dev == hashed->st_dev && st.st_ino == hashed->st_ino ? 0 : changed(s, err);
}

int source_verify(struct source *s, struct err *err)
{
    if (!s->hash) /* of a test */
        return 0;
    int r = source_hash_end(s->hash, s->info.sha256);
    if (r == -ESTALE)
        return changed(s, err);
    return r < 0 ? err_sys(err, r, "cannot read '%s'", text_quote(s->path)) : 0;
}

int source_open(enum source_kind kind, const char *path, const struct source_options *o, struct source **ret,
                struct err *err)
{
    static const struct source_reader *const readers[] = {
        [SOURCE_ACCESS] = &access_reader,
        [SOURCE_CSV] = &csv_reader,
        [SOURCE_LEASES] = &leases_reader,
        [SOURCE_INI] = &ini_reader,
    };
    static const struct source_options none;
    _cleanup_(source_closep) struct source *s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(err, -ENOMEM, "memory is out");
    int r = look_at_file(s, path, err);
    if (r < 0)
        return r;
    s->reader = (size_t)kind < ARRAY_SIZE(readers) ? readers[kind] : NULL;
    if (!s->reader)
        return err_set(err, -EOPNOTSUPP, "this build has no reader for '%s'", path);
    r = s->reader->open(s, s->path, o ? o : &none, err);
    int verified = r < 0 ? source_verify(s, err) : check_path(s, err); /* what cannot be read is no damage */
    if (r < 0 || verified < 0)
        return verified < 0 ? verified : r;
    *ret = take_ptr(s);
    return 0;
}

void source_close(struct source *s)
{
    if (!s)
        return;
    source_hash_stop(s->hash);
    if (s->reader)
        s->reader->close(s);
    for (size_t i = 0; s->kept && i < s->table_count; i++)
        kept_finish(&s->kept[i]);
    free(s->kept);
    for (size_t i = 0; i < s->table_count; i++)
        free((void *)s->tables[i].columns);
    free(s->tables);
    free(s->notes);
    free(s);
}

/* --- looking ----------------------------------------------------------------------------------------------------- */

const struct source_info *source_info(const struct source *s)
{
    return &s->info;
}

size_t source_table_count(const struct source *s)
{
    return s->table_count;
}

const struct source_table *source_table(const struct source *s, size_t i)
{
    return i < s->table_count ? &s->tables[i] : NULL;
}

const struct source_note *source_notes(const struct source *s, size_t *ret_n)
{
    *ret_n = s->note_count;
    return s->notes;
}

static int check_table(const struct source *s, size_t i, struct err *err)
{
    const struct source_table *t = source_table(s, i);
    if (!t)
        return err_set(err, -ENOENT, "'%s' has no table number %zu", s->path, i);
    if (t->is_linked)
        return err_set(err, -EOPNOTSUPP, "the table '%s' of '%s' is only a link to %s: import that file",
                       text_quote(t->name), s->path, t->linked_to[0] ? text_quote(t->linked_to) : "another file");
    return 0;
}

/* Where the rows of table @i are or may be kept; NULL for all but small tables. */
static struct kept *kept_of(struct source *s, size_t i)
{
    if (s->tables[i].stored_rows < 0 || s->tables[i].stored_rows > KEPT_ROWS_MAX)
        return NULL;
    if (!s->kept)
        s->kept = calloc(s->table_count, sizeof(*s->kept));
    return s->kept ? &s->kept[i] : NULL; /* without memory they are read again */
}

struct keeping {
    struct kept *kept;
    source_each *each;
    void *arg;
    bool is_over; /* @each did not want all */
};

static int keep_row(void *arg, uint64_t number, const struct cell *cells)
{
    struct keeping *k = arg;
    kept_add(k->kept, cells);
    int r = k->each(k->arg, number, cells);
    k->is_over = r != 0;
    return r;
}

static int read_and_keep(struct source *s, size_t i, struct keeping *k, uint64_t *ret_rows, struct err *err)
{
    kept_begin(k->kept, s->tables[i].column_count);
    int r = s->reader->rows(s, i, keep_row, k, ret_rows, err);
    if (r == 0 && !k->is_over)
        kept_end(k->kept);
    if (!kept_is_whole(k->kept) || s->kept_bytes + k->kept->size > KEPT_BYTES_ALL)
        kept_finish(k->kept);
    s->kept_bytes += k->kept->size;
    return r;
}

int source_rows(struct source *s, size_t i, source_each *each, void *arg, uint64_t *ret_rows, struct err *err)
{
    uint64_t rows = 0;
    int r = check_table(s, i, err);
    if (r < 0)
        return r;
    struct keeping k = {.kept = kept_of(s, i), .each = each, .arg = arg};
    if (k.kept && kept_is_whole(k.kept))
        r = kept_rows(k.kept, each, arg, &rows);
    else if (k.kept && !kept_is_open(k.kept))
        r = read_and_keep(s, i, &k, &rows, err);
    else
        r = s->reader->rows(s, i, each, arg, &rows, err);
    if (ret_rows)
        *ret_rows = rows;
    return r;
}

int source_sample(struct source *s, size_t i, uint32_t rows, source_each *each, void *arg, uint64_t *ret_rows,
                  struct err *err)
{
    uint64_t given = 0;
    int r = s->reader->sample ? check_table(s, i, err) : -EOPNOTSUPP;
    if (r == 0)
        r = s->reader->sample(s, i, rows, each, arg, &given, err);
    if (ret_rows)
        *ret_rows = given;
    return r;
}

/* --- for the readers --------------------------------------------------------------------------------------------- */

void source_note(struct source *s, bool is_doubt, const char *fmt, ...)
{
    struct source_note n = {.is_doubt = is_doubt};
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(n.text, sizeof(n.text), fmt, ap); /* a cut sentence is still a sentence */
    va_end(ap);
    for (size_t i = 0; i < s->note_count; i++)
        if (strcmp(s->notes[i].text, n.text) == 0)
            return;
    if (s->note_count >= NOTES_MAX)
        return;
    struct source_note *bigger = realloc(s->notes, (s->note_count + 1) * sizeof(*bigger));
    if (!bigger)
        return; /* the next thing that needs memory says so */
    s->notes = bigger;
    s->notes[s->note_count++] = n;
}

struct source_table *source_add_table(struct source *s, const char *name, size_t column_count)
{
    if (s->table_count >= SOURCE_TABLES_MAX || column_count > SOURCE_COLUMNS_MAX)
        return NULL;
    struct source_column *columns = calloc(MAX(column_count, (size_t)1), sizeof(*columns));
    struct source_table *bigger = columns ? realloc(s->tables, (s->table_count + 1) * sizeof(*bigger)) : NULL;
    if (!bigger) {
        free(columns);
        return NULL;
    }
    s->tables = bigger;
    struct source_table *t = &s->tables[s->table_count++];
    *t = (struct source_table){.stored_rows = -1, .column_count = column_count, .columns = columns};
    (void)snprintf(t->name, sizeof(t->name), "%s", name);
    return t;
}
