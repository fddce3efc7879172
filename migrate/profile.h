/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Profile: what the values of a table's columns look like, counted over a sample of its rows.
 *
 *   profile_make(source, table) -> p     reads up to PROFILE_ROWS rows
 *   p->columns[i], profile_*()           counts and shares
 *   profile_forget_values(p)             gives the sets of values back (they are large), the counts stay
 *   profile_destroy(p)
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

#define PROFILE_ROWS 20000

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
    uint64_t macs, macs_strange;               /* unicast MACs; zero, broadcast and multicast ones */
    uint64_t ips, masks, paths, images, alien; /* paths with the ending of an image, and of something else */
    uint64_t bools, ints, guids, shorts;       /* shorts: texts of at most 63 characters without control characters */
    uint64_t numbers;                          /* numbers, and texts that are some, also with decimals */
    uint64_t hosts;                            /* [A-Za-z0-9._-] only */
    uint64_t split_semicolon, split_pipe;      /* texts with that separator whose parts are all paths */
    uint64_t distinct, distinct_macs;
    struct value_set values, mac_values; /* of cell_key(); of MACs */
    char samples[3][48];                 /* shown */
    unsigned sample_count;
    bool is_text;   /* text or memo, as the source says */
    bool is_binary; /* bytes */
};

struct profile {
    const struct source_table *table;
    uint64_t rows; /* of the sample */
    bool is_whole; /* the sample is the table */
    struct column_profile *columns;
};

int profile_make(struct source *s, size_t table, struct profile **ret, struct err *err);
void profile_forget_values(struct profile *p);
void profile_destroy(struct profile *p); /* NULL is allowed */

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
