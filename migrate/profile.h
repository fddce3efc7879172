/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Profile: what the values of a table's columns look like, counted over some of its rows.
 *
 *   profile_make(source, table) -> p     reads all rows of a small table, some of a large one
 *   p->columns[i], profile_*()           counts and shares
 *   profile_forget_values(p)             gives the sets of values back (they are large), the counts stay
 *   profile_destroy(p)
 *
 * A table of more than PROFILE_WHOLE rows is a sample where the source can give one: PROFILE_SAMPLE rows from all over the table, so that it
 * does not matter how the rows are sorted. Shares of a sample are those of the table, give or take two in a hundred; how many different values
 * the table has is reckoned from how many come twice in the sample. What a sample cannot say is asked of a profile that is_close: of the first
 * PROFILE_ROWS rows. So much is also read of a source that can only be read from the beginning.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_PROFILE_H
#define DISKGATE_MIGRATE_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "migrate/source.h"

#define PROFILE_WHOLE  5000
#define PROFILE_SAMPLE 2500
#define PROFILE_ROWS   20000

/* A set of hashes with counts. */
struct value_count {
    uint64_t hash; /* 0 = free */
    uint32_t count;
};
struct value_set {
    struct value_count *slots;
    size_t size, used;
};

struct column_profile {
    uint64_t filled;                           /* values that are not empty */
    uint64_t macs;                             /* of single cards */
    uint64_t ips, masks, paths, images, alien; /* paths with the ending of an image, and of something else */
    uint64_t no_addresses;                     /* 0.0.0.0, auto */
    uint64_t bools, ints, guids, shorts;       /* shorts: texts of at most 63 characters without control characters */
    uint64_t numbers;                          /* numbers, and texts that are some, also with decimals */
    uint64_t hosts;                            /* [A-Za-z0-9._-] only */
    uint64_t split_semicolon, split_pipe;      /* texts with that separator whose parts are all paths */
    uint64_t distinct, distinct_macs;          /* of those that were read */
    double different, different_macs;          /* as many of so many values are different in the table */
    struct value_set values, mac_values;       /* of cell_key(); of MACs */
    bool is_text;                              /* text or memo, as the source says */
};

struct profile {
    const struct source_table *table;
    uint64_t rows;  /* that were read */
    bool is_whole;  /* these are all of them */
    bool is_sample; /* these are picked from all over the table */
    struct column_profile *columns;
};

int profile_make(struct source *s, size_t table, bool is_close, struct profile **ret, struct err *err);
void profile_forget_values(struct profile *p);
void profile_destroy(struct profile *p); /* NULL is allowed */

/* "2500 of its 100000 rows were looked at, ...": a sentence for people, empty when it was all of them. */
void profile_how(const struct profile *p, char *ret, size_t size);

/* Every value once, and none missing; by what was read. */
bool profile_is_key(const struct profile *p, size_t column);
/* Share (0..1) of the filled values of a column that occur in a column of another (or the same) table. */
double profile_contained(const struct column_profile *c, const struct column_profile *in);
/* n of the column's filled values, 0..1. */
static inline double profile_share(const struct column_profile *c, uint64_t n)
{
    return c->filled ? (double)n / (double)c->filled : 0;
}

#endif
