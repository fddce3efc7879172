/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM read cache: the boot sets of the versions in use are loaded when they are opened, and locked in memory within a budget.
 *
 * The cache is the page cache of the image files: a block of a base is in RAM once, however many clients read it. What is locked there is the
 * boot set, so that a client that reads its whole disk (a virus scanner, a backup) does not throw out what the others boot from.
 *
 *   tape of a client --- its boot is over ---> merged into the version's boot set ---> ROOT/bootsets/HASH.boot
 *                                                                                      |
 *   version opened ----------------------------------------------- choose, read forward, lock in memory
 *
 * One thread does all of it, with the disk's lowest priority; nobody waits for it.
 *
 * Order of calls: preload_create, preload_start, (preload_sync, preload_add_tape, ...)..., preload_stop, preload_destroy.
 *
 * Threads: any number at once, for all but create, start, stop and destroy.
 */
#ifndef DISKGATE_FUSEFS_PRELOAD_H
#define DISKGATE_FUSEFS_PRELOAD_H

#include <jansson.h>

#include "core/bootset.h"
#include "fusefs/view.h"

struct preload;

/* The boot sets lie in @dir_fd (borrowed). NULL when memory is out. */
struct preload *preload_create(int dir_fd);
int preload_start(struct preload *p);
void preload_stop(struct preload *p);
void preload_destroy(struct preload *p); /* NULL is allowed */

/* What is open now: @n bases, each with the RAM that its image may have (0 = as much as the budget has). Bases that were given before and are
 * not any more are let go, and closed when this returns. */
struct preload_want {
    struct base *base; /* gets a reference */
    uint64_t limit_bytes;
};
void preload_sync(struct preload *p, uint64_t budget_bytes, const struct preload_want *wants, size_t n);

/* The recording of a boot from @base: merged in a moment. Takes @record; NULL is allowed. */
void preload_learn(struct preload *p, struct base *base, struct boot_record *record);

/* Have all that was given so far done when it returns (for `status` right after a change, and for tests). */
void preload_settle(struct preload *p);

/* {"boots","boot_extents","boot_bytes","ram_bytes"(locked),"load_ms"} of one base, into @into; nothing where it is not known. */
void preload_status(struct preload *p, const struct base *base, json_t *into);
/* {"limit_bytes","used_bytes","error"} of all. */
json_t *preload_total(struct preload *p);

#endif
