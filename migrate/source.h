/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A source: a foreign file read as tables of typed cells, whatever it is (Access, CSV, leases, INI).
 *
 * Order of calls:
 *   source_open(kind, path, options) -> s         the file is checked and its tables are known; no rows yet
 *   source_table(s, i)                            what is in it
 *   source_rows(s, i, each, arg)                  streams the rows of one table, any number of times
 *   source_sample(s, i, n, each, arg)             some of them
 *   source_notes(s)                               what the reader has to say; complete after the rows were read
 *   source_verify(s)                              was all that what was hashed? Before anything of it is stored
 *   source_close(s)
 *
 * (1) Nothing of a file is trusted: text is valid UTF-8 without NUL when it arrives here, counts and lengths are bounded.
 * (2) Rows are streamed: memory does not grow with their number. Those of small tables are kept, so that they are read once (source-kept.h).
 * (3) A reader that cannot read all of a table says so: source_rows() is -EBADMSG, or it returns 0 and notes say what is doubtful.
 *     A note that is_doubt stops an import unless the administrator accepts it.
 * (4) NULL and empty text cannot be told apart in Access files: both are CELL_NONE here.
 *
 * Errors have a sentence with the file and the way out: -EBADMSG damaged; -EOPNOTSUPP a format, version or encryption that is not read
 * (the sentence says which); -ENOENT; -EACCES; -EFBIG; -ETIMEDOUT when the bounded reader ran out of time or memory.
 *
 * Threads: one at a time per source, which has one of its own for the hash (source-hash.h).
 */
#ifndef DISKGATE_MIGRATE_SOURCE_H
#define DISKGATE_MIGRATE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/sha256.h"

enum cell_kind { CELL_NONE, CELL_BOOL, CELL_INT, CELL_REAL, CELL_TEXT, CELL_BYTES, CELL_DATE, CELL_BAD };

/* One value of a row. CELL_BAD: there is a value, but it is damaged, cut or of an unknown type; text says what is known of it. */
struct cell {
    enum cell_kind kind;
    int64_t integer; /* CELL_INT, CELL_BOOL (0, 1) */
    double real;     /* CELL_REAL */
    /* CELL_TEXT: UTF-8; CELL_BYTES: the bytes; CELL_DATE: "YYYY-MM-DDTHH:MM:SS"; CELL_BAD: a word. Ends in a zero byte that len does
     * not count. Borrowed until the callback returns. */
    const char *text;
    size_t len;
};

#define SOURCE_TABLES_MAX  4096
#define SOURCE_COLUMNS_MAX 255
#define SOURCE_ROWS_MAX    5000000
#define SOURCE_CELL_MAX    (16u << 20) /* bytes */
#define SOURCE_NAME_MAX    255         /* bytes of a table's or column's name */

struct source_column {
    char name[SOURCE_NAME_MAX + 1];
    char type[24]; /* as the format calls it: "text", "memo", "long", "bool", "date", "binary", ... */
};

struct source_table {
    char name[SOURCE_NAME_MAX + 1];
    int64_t stored_rows; /* as the file says, -1 = it does not say */
    bool is_linked;      /* its rows lie in another file, which linked_to names; source_rows() is -EOPNOTSUPP */
    char linked_to[512];
    size_t column_count;
    const struct source_column *columns;
};

struct source_note {
    bool is_doubt;
    char text[512]; /* a sentence */
};

struct source_info {
    char format[64];                 /* "Access 2000-2003 (Jet 4)", "CSV, separator ';'", "dnsmasq leases" */
    char charset[32];                /* that text was decoded from */
    char sha256[SHA256_HEX_LEN + 1]; /* of the file, lower-case hex; there after source_verify() */
    char library[48];                /* what read it and its version, empty for our own readers */
    uint64_t file_bytes;
    bool has_password; /* a database password that was not needed */
    bool was_encoded;  /* an encoded file that was decoded */
};

struct source_options {
    const char *charset;                    /* NULL = find out */
    char separator;                         /* of csv, 0 = find out */
    const char *dialect;                    /* of leases: "dnsmasq", "isc", "kea", "netsh"; NULL = find out */
    unsigned time_limit_s, memory_limit_mb; /* of the bounded reader, 0 = 30 s and 512 MiB */
};

/* The first column of an INI file's table of sections: their titles. */
#define INI_SECTION_COLUMN "[section]"

enum source_kind { SOURCE_ACCESS, SOURCE_CSV, SOURCE_LEASES, SOURCE_INI };

struct source;

int source_open(enum source_kind kind, const char *path, const struct source_options *o, struct source **ret,
                struct err *err);
void source_close(struct source *s); /* NULL is allowed */
static inline void source_closep(struct source **s)
{
    source_close(*s);
}

const struct source_info *source_info(const struct source *s);
size_t source_table_count(const struct source *s);
const struct source_table *source_table(const struct source *s, size_t i);
const struct source_note *source_notes(const struct source *s, size_t *ret_n);

/* Called once a row, @number counting from 0 in the order of the file, @cells as many as the table has columns. A negative errno
 * ends the reading; 1 ends it early and is no error (a sample is enough). */
typedef int source_each(void *arg, uint64_t number, const struct cell *cells);

/* 0, what @each returned below 0, or an error with a sentence. *ret_rows (NULL is allowed) = rows given to @each. */
int source_rows(struct source *s, size_t i, source_each *each, void *arg, uint64_t *ret_rows, struct err *err);

/* As source_rows() for at most @rows > 0 rows that are picked at random from all over the table; @number counts those. What cannot be read is
 * passed over without a note. -EOPNOTSUPP without a sentence: this reader only reads from the beginning. */
int source_sample(struct source *s, size_t i, uint32_t rows, source_each *each, void *arg, uint64_t *ret_rows,
                  struct err *err);

/* When all was read that is wanted: waits for the hash of the file, which a thread makes meanwhile. 0 and source_info()->sha256: the file was the
 * same from source_open() until now. -EBADMSG: it was changed; or why it cannot be read: such an error explains whatever else went wrong, and
 * is to be told instead. */
int source_verify(struct source *s, struct err *err);

/* --- for the readers: each is one file with one of these ---------------------------------------------------------- */

struct source_reader {
    int (*open)(struct source *s, const char *path, const struct source_options *o, struct err *err);
    int (*rows)(struct source *s, size_t i, source_each *each, void *arg, uint64_t *ret_rows, struct err *err);
    /* NULL where rows can only be read one after the other. */
    int (*sample)(struct source *s, size_t i, uint32_t rows, source_each *each, void *arg, uint64_t *ret_rows,
                  struct err *err);
    void (*close)(struct source *s);
};

extern const struct source_reader access_reader, csv_reader, leases_reader, ini_reader;

/* What source_open() made and the reader fills. */
struct source {
    const struct source_reader *reader;
    char path[4096];          /* absolute */
    struct source_hash *hash; /* NULL in tests without a file */
    struct source_info info;
    struct source_table *tables; /* malloc()ed, columns too; freed by source_close() */
    size_t table_count;
    struct source_note *notes;
    size_t note_count;
    struct kept *kept; /* by table, of the small ones that were read; NULL = none yet */
    size_t kept_bytes;
    void *priv; /* the reader's */
};

/* Add a note, the same sentence once only. */
void source_note(struct source *s, bool is_doubt, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Append a table with room for @column_count columns; the caller fills names and types. NULL when memory is out or a limit is passed. */
struct source_table *source_add_table(struct source *s, const char *name, size_t column_count);

#endif
