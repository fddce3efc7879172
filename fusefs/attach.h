/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attaching: makes the views follow the catalog, without touching one that stays as it is.
 *
 * attach_sync() looks at the catalog once and then
 *   1. ends the views whose overlay the catalog no longer has (reset, relinked, removed), and those of removed versions;
 *   2. deletes the files of dropped overlays;
 *   3. opens what is new or failed before: every version's file is checked against what was recorded;
 *   4. puts all names into the tree anew.
 * What cannot be attached has no file in the mount, and a sentence in the status.
 *
 * Threads: one at a time; the views themselves are in use all the while.
 */
#ifndef DISKGATE_FUSEFS_ATTACH_H
#define DISKGATE_FUSEFS_ATTACH_H

#include <jansson.h>

#include "fusefs/tree.h"

struct attach;
struct direct;
struct hold;

struct attach_options {
    struct tree *tree;
    int opener;              /* socket to the privileged half */
    int overlays_fd;         /* ROOT/overlays */
    int live_fd;             /* ROOT/run/live */
    int kept_fd;             /* ROOT/kept, -1 in a read-only mount */
    struct journal *journal; /* of the kept overlays, NULL in a read-only mount */
    int ram_fd;              /* ROOT/run/ram, -1 = there is none */
    struct preload *preload; /* RAM read cache, NULL = there is none */
    struct ram_pool *ram;    /* RAM write cache of the volatile overlays, NULL = there is none */
    bool is_read_only;
    struct direct *direct; /* gets to know of views that stores may ask for; NULL = there is none */
    struct hold *hold;     /* gets its limit from the catalog; NULL in a read-only mount */
    void (*forget_name)(void *arg, uint64_t parent, const char *name);
    void *arg;
};

/* @o is copied. */
struct attach *attach_create(const struct attach_options *o);

/* 0 also when some views fail; an error only when the catalog itself cannot be read: then nothing was changed. */
int attach_sync(struct attach *a, struct err *err);

/* The attached view of overlay @overlay_id, borrowed until the next attach_sync(). NULL when there is none that can be written. */
struct view *attach_view(const struct attach *a, const char *overlay_id);

/* Hand on what clients have read in boots that are over. */
void attach_gather(struct attach *a);
/* Client @name boots now: what it reads from here on is what its boot reads. */
void attach_note_boot(struct attach *a, const char *name);

/* {"views":[...],"images":[...]} as core/ctl.h says. NULL when memory is out. */
json_t *attach_status(struct attach *a);

/* End all views, when no request comes any more; kept overlays are made durable. */
void attach_destroy(struct attach *a);

#endif
