/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Carrying out a plan on one tgtd.
 *
 * The first step of a target that fails ends the work on that target only: what follows is left out, so its ACL stays unbound if it was. Targets
 * are worked on in no particular order.
 *
 * Threads: one at a time per tgtd.
 */
#ifndef DISKGATE_GATEWAY_TGT_EXEC_H
#define DISKGATE_GATEWAY_TGT_EXEC_H

#include "core/err.h"
#include "gateway/tgt-plan.h"
#include "gateway/tgtadm.h"

/* Told of each target (0: an account of none) whose work failed, with the sentence. */
typedef void tgt_exec_failed(void *arg, int64_t tid, const char *sentence);

/* 0, also when targets failed; -ETIMEDOUT or -ENOTCONN when tgtd itself does not answer: the rest was not tried. @failed is called by the caller's
 * thread. */
int tgt_exec(struct tgtadm *a, const struct tgt_plan *p, tgt_exec_failed *failed, void *arg, struct err *err);

/* Take a whole target away: ACLs off, connections ended, removed with force; again until @timeout_ms when I/O is in flight. */
int tgt_exec_close(struct tgtadm *a, const struct tgt_target *t, int timeout_ms, struct err *err);

#endif
