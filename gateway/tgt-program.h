/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A request as a run of the program `tgtadm`: for a tgtd whose requests have another form than ours (tgt-mgmt.h).
 *
 * The secret of an account is visible in the process list for the milliseconds that its tgtadm runs: tgtadm takes it in no other way.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_TGT_PROGRAM_H
#define DISKGATE_GATEWAY_TGT_PROGRAM_H

#include <stddef.h>

#include "core/err.h"
#include "gateway/tgt-mgmt.h"

/* The environment entry that makes tgtd and tgtadm meet at ROOT/run/tgt.N. */
#define TGT_SOCKET_ENV "TGT_IPC_SOCKET=tgt"

/* What tgtadm prints into a fresh string. -ENOTCONN; -ETIMEDOUT; -ENOENT with @ret_words "" when there is no tgtadm; for a refusal its
 * code (see tgtadm.h) and tgtadm's own words. */
int tgt_program_run(int dirfd, unsigned port, const struct tgt_request *q, int timeout_ms, char **ret_text,
                    char *ret_words, size_t max, struct err *err);

#endif
