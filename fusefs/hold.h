/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Held requests: a write, zero or flush that found the disk full waits here for room instead of failing.
 *
 * To a PC a failed write is a broken disk. So the request is put aside with a copy of its bytes, the thread that had it goes on to
 * serve others, and one thread of ours tries all that wait again, twice a second, until there is room or their time is over.
 * While a view has held requests its status has an alarm.
 *
 * Any order with later requests is right: a held request was not answered, so the client cannot have built on it.
 *
 * Threads: hold_request() any number at once; the rest: the thread that starts and ends the process.
 */
#ifndef DISKGATE_FUSEFS_HOLD_H
#define DISKGATE_FUSEFS_HOLD_H

#include "fusefs/view.h"

struct hold;
struct fuse_req;

enum held_kind { HELD_WRITE, HELD_ZERO, HELD_FLUSH };

struct hold *hold_create(void);
int hold_start(struct hold *h);
/* Answers all that wait with what they last got. */
void hold_stop(struct hold *h);
void hold_destroy(struct hold *h); /* NULL is allowed */

/* Seconds after which a held request is given up. */
void hold_set_limit(struct hold *h, unsigned seconds);

/* Put request @req on view @v aside: it failed with @error, -ENOSPC or -EDQUOT. It will be answered from here.
 * @buf (HELD_WRITE) is copied. False when memory is out: then the caller answers. */
bool hold_request(struct hold *h, struct fuse_req *req, struct view *v, enum held_kind kind, const void *buf,
                  uint64_t len, uint64_t off, int error);

#endif
