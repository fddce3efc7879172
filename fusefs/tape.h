/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tape: what one client reads while it boots, for the boot set of its version (core/bootset.h).
 *
 *   idle -- tape_start() or the first read --> recording -- quiet, or long enough --> taken -- tape_start() --> recording ...
 *
 * A tape belongs to one view from its making to its end. Its lock is of that view alone: clients share none.
 *
 * Threads: tape_note() any number at once; the others too.
 */
#ifndef DISKGATE_FUSEFS_TAPE_H
#define DISKGATE_FUSEFS_TAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bootset.h"

#define TAPE_LONG_S  300 /* a recording ends after so many seconds, */
#define TAPE_QUIET_S 40  /* or when nothing was read for so long */
#define TAPE_LEAST   16  /* extents; what reads less was no boot */

struct tape;

struct tape *tape_create(void);    /* recording; NULL without memory */
void tape_destroy(struct tape *t); /* NULL is allowed */

/* The client boots: what was recorded so far is dropped, and recorded from now on. */
void tape_start(struct tape *t);

/* Is it recording? Costs one load. NULL is allowed. */
bool tape_is_on(const struct tape *t);

/* [off, off + len) was read. Costs one load where nothing is recorded. NULL is allowed. */
void tape_note(struct tape *t, uint64_t off, uint64_t len);

/* The recording, if it is over (@is_end: whatever there is); NULL otherwise. The caller's from now on. */
struct boot_record *tape_take(struct tape *t, bool is_end);

#endif
