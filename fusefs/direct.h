/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Direct reads: ROOT/run/direct.sock, at which the stores of LUNs ask for what they need to read by themselves (core/direct.h).
 *
 *   store connects, asks ──> thread: which view? a board for it, read-only descriptors ──> answer; the connection stays
 *   store or tgtd ends   ──> thread: the board goes, its counts stay with the view
 *   the view ends        ──> direct_forget(): the board is turned off, the connection stays until the store lets go of it
 *
 * An ask waits for no disk and no round of attach: it is answered from a list, under a lock that is held for no I/O. tgtd stands still meanwhile.
 * Served is who has the uid under which direct_open() ran, which is root's where the mount is root's: nobody else may see image files.
 *
 * Costs for each LUN: one descriptor and one page.
 *
 * Order: direct_open() as root, direct_start(), (direct_add(), direct_forget())..., direct_stop(), direct_close().
 *
 * Threads: direct_add() and direct_forget() any number at once, also before start and after stop.
 */
#ifndef DISKGATE_FUSEFS_DIRECT_H
#define DISKGATE_FUSEFS_DIRECT_H

#include "core/err.h"
#include "fusefs/view.h"

struct direct;

/* Listen at "direct.sock" in folder @run_fd, mode 0600; a socket that lies there is replaced. */
int direct_open(int run_fd, struct direct **ret, struct err *err);
int direct_start(struct direct *d);
void direct_stop(struct direct *d);  /* what stores have goes on; NULL is allowed, as everywhere below */
void direct_close(struct direct *d); /* all views were forgotten */

/* Client's view @v, in use from now on, may be asked for. Borrowed until direct_forget(). Without memory it is not known, and read through FUSE. */
void direct_add(struct direct *d, struct view *v);
/* It ends: no store answers any more from what it has of it. */
void direct_forget(struct direct *d, struct view *v);

#endif
