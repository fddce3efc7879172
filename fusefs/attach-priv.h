/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lists behind attach.h, for attach.c (which changes them), attach-open.c (which opens views) and attach-status.c (which tells of them).
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

struct version *attach_version(const struct attach *a, int64_t id); /* NULL when there is none */
/* Put all names into the tree anew. 0, -ENOMEM. */
int attach_put_names(const struct attach *a);

/* What an overlay's place has of the caches, and of the marks of kept overlays. */
void attach_use_memory(const struct attach *a, struct overlay_place *place, int64_t client_id);
void attach_use_marks(const struct attach *a, struct overlay_place *place);

/* Open what is not open, but what is lost; what fails has a sentence. @has_dropped: room may come back. 0, -ENOMEM. */
int attach_open_slots(struct attach *a, bool has_dropped);

#endif
