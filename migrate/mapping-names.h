/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables and columns as words of a mapping file; the form is described in mapping-names.c. For mapping-file.c.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_MIGRATE_MAPPING_NAMES_H
#define DISKGATE_MIGRATE_MAPPING_NAMES_H

#include "migrate/mapping-priv.h"

/* The number of a table or column, or -EINVAL with a sentence that lists what there is. */
int names_table(const struct source *s, const char *name, struct err *err);
int names_column(const struct source *s, int table, const char *name, struct err *err);

/* Eat from *p: a name (@ret holds SOURCE_NAME_MAX + 1 bytes), a mark, a word, TABLE.COLUMN, a column of @table. */
int names_word(const char **p, char *ret, struct err *err);
bool names_punct(const char **p, const char *what);
bool names_keyword(const char **p, const char *word);
int names_place(const struct source *s, const char **p, int *ret_table, int *ret_column, struct err *err);
int names_own_column(const struct source *s, int table, const char **p, int *ret, struct err *err);

/* The right side of a role. */
int names_item(const struct mapping *m, enum role role, const char *text, struct item *ret, struct err *err);

#endif
