/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mapping: which table and column of a source means what. Found by looking at contents and names, shown with its evidence, saved as a
 * small text file (INI, UTF-8), edited by hand, given back with --mapping FILE.
 *
 *   mapping_detect(source, &m)      the best guess with its evidence; -ENODATA nothing fits; -EAMBIG (see below) several do
 *   mapping_load(path, source, &m)  a file; every name in it must exist in the source
 *   mapping_save(m, FILE *)         the same text form, with the evidence as comments
 *   mapping_destroy(m)
 *
 * The source is borrowed: it is closed after the mapping is destroyed. A source without clients but with settings of the site (CCBoot.ini) gives
 * -ENODATA and a mapping that site_record_read() can use.
 *
 * Scores and rules: docs/importing.md. Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_MAPPING_H
#define DISKGATE_MIGRATE_MAPPING_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include "core/err.h"

#define EAMBIG                                                                                                         \
    ENOTUNIQ /* several candidates, the sentence lists them: a question to the administrator, never a guess */

struct mapping;
struct source;

/* On -EAMBIG and -ENODATA *ret is a mapping to be edited all the same (candidates as comments), so that it can be saved. */
int mapping_detect(struct source *s, struct mapping **ret, struct err *err);
int mapping_load(const char *path, struct source *s, struct mapping **ret, struct err *err);
int mapping_save(const struct mapping *m, FILE *to);
/* What a mapping file says of the character set ([source] charset), for source_options, before the source is opened. Empty: nothing. */
int mapping_charset(const char *path, char ret[32], struct err *err);
/* A table of clients is chosen, or was the best of those that are not good enough. NULL has none. */
bool mapping_has_table(const struct mapping *m);
/* It has settings of the whole site and no table that could be one of clients. NULL is none. */
bool mapping_is_site_only(const struct mapping *m);
/* What the file that is saved shall say of it. */
void mapping_set_charset(struct mapping *m, const char *name);
/* The evidence for people: one line a role, "mac = 客户机.网卡地址   132 of 132 values are MACs, all different; the name says so". */
void mapping_print(const struct mapping *m, FILE *to);
void mapping_destroy(struct mapping *m); /* NULL is allowed */
static inline void mapping_destroyp(struct mapping **m)
{
    mapping_destroy(*m);
}

/* Names of tables that were looked at and not chosen, with the reason, for the report: a JSON array as text, malloc()ed. */
char *mapping_rejected_json(const struct mapping *m);
/* The mapping itself as a JSON object, malloc()ed. */
char *mapping_json(const struct mapping *m);

/* What its [paths] and [policy] sections say, added to by command-line options; borrowed. */
struct path_rule {
    char from[1024], to[1024];
};
struct mapping_policy {
    enum { DUPLICATE_SKIP_ALL, DUPLICATE_STOP, DUPLICATE_FIRST, DUPLICATE_LAST } duplicate_mac;
    enum { MISSING_IMPORT_UNLINKED, MISSING_SKIP } missing_image;
    enum { DISABLED_IMPORT, DISABLED_SKIP } disabled;
};
const struct path_rule *mapping_paths(const struct mapping *m, size_t *ret_n);
const struct mapping_policy *mapping_policy(const struct mapping *m);

#endif
