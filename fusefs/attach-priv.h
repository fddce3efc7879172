/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lists behind attach.h, for attach.c (which changes them) and attach-status.c (which tells of them).
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_FUSEFS_ATTACH_PRIV_H
#define DISKGATE_FUSEFS_ATTACH_PRIV_H

#include "fusefs/attach.h"

/* One row of the catalog's views, attached or failed. */
struct slot {
    struct slot *next;
    struct view_row row;
    struct view *view; /* NULL = failed */
    struct err err;
    bool is_wanted;
    bool is_lost; /* what was written went with the machine's power; never attached again */
};

/* One version, opened or failed. */
struct version {
    struct version *next;
    struct version_row row;
    struct base *base; /* NULL = failed */
    struct view *view;
    struct err err;
    bool is_wanted, is_current, has_changed;
    /* How fast its clients read: bytes at the last look and at the one before, which lie RATE_S or more apart. */
    uint64_t seen_bytes, rate;
    int64_t seen_ms;
};

struct attach {
    struct attach_options o;
    struct slot *slots;
    struct version *versions;
};

#endif
