/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What record.c and record-image.c share: one pass over the client table.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_RECORD_PRIV_H
#define DISKGATE_MIGRATE_RECORD_PRIV_H

#include "migrate/lookup.h"
#include "migrate/mapping-priv.h"
#include "migrate/record.h"

#define RECORD_KEPT_MAX   16
#define RECORD_MEMOS      8
#define RECORD_SEEN_MAX   64
#define RECORD_SEEN_BYTES 192

/* What became of the text of an image: a site has few of them, and each in thousands of rows. */
struct record_seen {
    const char *label; /* as it was given: of a row of a look-up, which stays where it is, or a constant */
    size_t len;
    enum path_kind kind;
    char text[RECORD_SEEN_BYTES], path[RECORD_SEEN_BYTES], name[NAME_LEN + 1];
};

/* What became of a cell of an item (record-memo.c). */
struct record_memo {
    enum cell_kind kind; /* CELL_NONE = of none yet */
    bool is_short;
    unsigned kept_before;
    int64_t integer;
    size_t len;
    char text[48], before[96], after[96], group[NAME_LEN + 1];
};

struct record_reading {
    struct source *source;
    const struct mapping *m;
    const struct source_table *table;
    struct lookup *lookups[MAPPING_ITEMS_MAX][2]; /* of an item's look-ups */
    struct lookup *names;                         /* of images, by path */
    bool is_used[SOURCE_COLUMNS_MAX];
    struct {
        char *text;
        size_t len;
    } keys[SOURCE_COLUMNS_MAX];               /* names of columns as keys of rest */
    struct record_seen seen[RECORD_SEEN_MAX]; /* by hash of the text */
    struct record_memo memos[MAPPING_ITEMS_MAX][RECORD_MEMOS];
    struct record_kept {
        int column;
        const char *text; /* NULL: the cell's own */
    } kept
        [RECORD_KEPT_MAX]; /* columns of this row that have a role, and whose value is not whole in its field: rest has them, too */
    unsigned kept_count;
    uint64_t cut_comments;
    uint32_t groups_said[64]; /* hashes */
    unsigned group_count, group_more;
    char groups[400]; /* "'Зал 1' is 1-3fa2b1, ..." */
    struct record record;
    char rest[RECORD_REST_MAX];
    record_each *each;
    void *arg;
    uint64_t rows;
};

/* One sentence into the record's doubts; @column may be NULL. */
#define record_doubt(r, ...) text_add_sentence((r)->record.doubt, sizeof((r)->record.doubt), __VA_ARGS__)

/* Item number @n of a row, whose cell is @c, fills @field of the record (with raw_group goes group): true when that is done, from the last time.
 * Else begin() before it is done, and end() behind. */
bool record_memo_take(struct record_reading *r, unsigned n, const struct cell *c, char *field);
void record_memo_begin(struct record_reading *r, unsigned n, const struct cell *c, const char *field);
void record_memo_end(struct record_reading *r, unsigned n, const struct cell *c, const char *field);

/* The images that item number @n gives this row. */
void record_add_images(struct record_reading *r, unsigned n, const struct cell *cells);

#endif
