/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paths of the old server on this one.
 *
 *   D:\Images\win10.img  --  rule D:\Images=/srv/images  ->  /srv/images/win10.img  --  looked up without regard to case  ->  the file
 *
 * Paths of the old server are as path_from_text() spells them: forward slashes, "D:/..." or "//HOST/SHARE/...".
 * (1) Of several rules that fit the one with the most components wins; a later one of the same length wins over an earlier one.
 * (2) A path with ".." is never mapped.
 * (3) Of two files whose names differ in case only, none is taken, unless one is spelled exactly so.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_MIGRATE_PATHS_H
#define DISKGATE_MIGRATE_PATHS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"
#include "migrate/mapping.h"

/* "D:\Images=/srv/images" as a command line gives it; the folder, or for the path of a file the file, behind "="
 * must be there. -EINVAL with a sentence. */
int path_rule_parse(const char *text, struct path_rule *ret, struct err *err);

/* The rules of a mapping, then those of the command line. */
struct path_rules {
    struct path_rule *rules;
    size_t n;
};
int path_rules_add(struct path_rules *p, const struct path_rule *rule); /* 0 or -ENOMEM */
void path_rules_finish(struct path_rules *p);

/* @path by the rules, into @ret (PATH_MAX bytes). False when none fits or the result is too long. */
bool path_map(const struct path_rules *p, const char *path, char *ret);

/* The file that @wanted (from "/" on) means: the same spelling, or the only one without regard to case, component by component.
 * 0 and its path in @ret (PATH_MAX bytes); -ENOENT; -EEXIST when two differ in case only; another errno of a folder. */
int path_find(const char *wanted, char *ret);

/* Regular files below @dir (as deep as @depth, 0 = the folder itself) whose name is @name without regard to case; where that ends in ".*", disk images with
 * any ending (numbered differences are none). Calls @found for each;
 * a negative return value ends the search. Symbolic links are not followed, and "@skip" is left out. */
int path_search(const char *dir, const char *name, unsigned depth, const char *skip,
                int (*found)(void *arg, const char *path), void *arg);

/* The last component. */
const char *path_name(const char *path);
/* The one before it into @ret, which holds as much as @path; empty when there is none. */
void path_folder(const char *path, char *ret);

#endif
