/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A table in memory, to be looked up by one column: images by id, groups by id, images of a client.
 *
 *   lookup_load(source, what) -> l      reads the table once
 *   lookup_find(l, key)                 the first row with that key, its next ones by ->next; in the order that is asked for
 *   lookup_destroy(l)
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_LOOKUP_H
#define DISKGATE_MIGRATE_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "migrate/source.h"

#define LOOKUP_ROWS_MAX 2000000

struct lookup_row {
    struct lookup_row *next; /* with the same key */
    uint64_t hash;
    double order;
    const char *key, *value, *label; /* value and label are trimmed; label may be empty */
    char text[];
};

struct lookup_what {
    int table, key, value, label, order; /* columns; label and order -1 = none */
    bool value_is_key;                   /* the value is to be looked up in turn: folded as keys are */
    bool key_is_path;                    /* keys are paths, compared in one spelling */
};

struct lookup;

int lookup_load(struct source *s, const struct lookup_what *what, struct lookup **ret, struct err *err);
void lookup_destroy(struct lookup *l); /* NULL is allowed */
const struct lookup_row *lookup_find(const struct lookup *l, const char *key);
/* The key of a path for a lookup with key_is_path; false when it is broken. */
bool lookup_path_key(const char *text, size_t len, char *ret, size_t size);

#endif
