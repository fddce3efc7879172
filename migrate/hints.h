/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a table's or column's name says of its meaning, in English, Chinese, Russian, Indonesian, Portuguese, Spanish and Vietnamese.
 *
 * A name is a hint and no more: it adds at most HINT_MAX to what the content says (docs/importing.md).
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_MIGRATE_HINTS_H
#define DISKGATE_MIGRATE_HINTS_H

#include <stdbool.h>

#define HINT_MAX 0.2

enum hint {
    HINT_MAC,
    HINT_NAME,
    HINT_IP,
    HINT_NETMASK,
    HINT_GATEWAY,
    HINT_DNS,
    HINT_GROUP,
    HINT_COMMENT,
    HINT_ENABLED,
    HINT_DISABLED,
    HINT_IMAGE,
    HINT_IMAGE_NAME, /* a column that can only mean an image, even when it holds names and no paths */
    HINT_DATA,       /* a data or game disk */
    HINT_KEY,        /* an id */
    HINT_ORDER,      /* of images */
    HINT_LABEL,      /* a name, of an image or a group */
    HINT_CLIENT,     /* a table of clients */
    HINT_OLD,        /* a table of copies, logs, history */
    HINT_CODE,       /* number of a DHCP option */
    HINT_VALUE,
    HINT_DOMAIN,
    HINT_RANGE_FIRST,
    HINT_RANGE_LAST,
    HINT_SITE, /* a table of settings or DHCP options */
    HINT_OTHER_SIZE_OR_TYPE,
    HINT_SIZE, /* of a disk */
    HINT_COUNT
};

/* 0 nothing; HINT_MAX the whole name; 0.15 a word of it; 0.1 a piece of it. */
double hint_of(enum hint h, const char *name);

#endif
