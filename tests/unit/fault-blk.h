/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fault layer for tests: passes everything on to the layer below, but fails or delays chosen calls.
 *
 * Threads: any number at once; fault_fail() and fault_delay() take effect from the next call on.
 */
#ifndef DISKGATE_TESTS_FAULT_BLK_H
#define DISKGATE_TESTS_FAULT_BLK_H

#include "core/blk.h"

enum fault_op { FAULT_MAP, FAULT_WRITE, FAULT_ZERO, FAULT_FLUSH, FAULT_OPS };

/* @below is borrowed until the end. blk_destroy() ends it. */
struct blk *fault_create(struct blk *below);

/* Let the @nth call of @op from now on (1 = the next) and the @count - 1 calls after it return @code, a negative errno. */
void fault_fail(struct blk *b, enum fault_op op, unsigned nth, unsigned count, int code);

/* Let every @every-th call of @op (0 = none) return @code. */
void fault_fail_every(struct blk *b, enum fault_op op, unsigned every, int code);

/* Let every @every-th call of @op (0 = none) wait @delay_us before it is passed on. */
void fault_delay(struct blk *b, enum fault_op op, unsigned every, unsigned delay_us);

/* How many calls of @op were failed so far. */
unsigned fault_hits(struct blk *b, enum fault_op op);

#endif
