/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INI text cut into lines of section, key and value. Used for mapping files and for CCBoot.ini.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_MIGRATE_INI_TEXT_H
#define DISKGATE_MIGRATE_INI_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct ini_line {
    unsigned number;     /* from 1 */
    const char *section; /* "" before the first one */
    const char *key;     /* NULL: the line begins a section */
    const char *value;   /* NULL: the line has no "=" */
};

/* Return a negative errno to end the reading. */
typedef int ini_each(void *arg, const struct ini_line *l);

/* @text (UTF-8, zero-terminated, changed) line by line; empty lines and comments (; or # first) are left out. With @has_remarks a
 * value ends before a blank and ";" behind it, as in "mac = MAC ; of the boot card". 0 or what @each said. */
int ini_lines(char *text, bool has_remarks, ini_each *each, void *arg);

#endif
