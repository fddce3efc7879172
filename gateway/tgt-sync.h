/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making diskgate-fs and every tgtd of a root follow the catalog. diskgate-fs and the shards run already.
 *
 *   1. read the catalog; targets and LUNs that must go are closed      (tgtd lets go of the views)
 *   2. diskgate-fs "sync"                                              (views come and go)
 *   3. what does not serve is closed, what is missing opened, what died is revived
 *
 * Threads: one at a time per root.
 */
#ifndef DISKGATE_GATEWAY_TGT_SYNC_H
#define DISKGATE_GATEWAY_TGT_SYNC_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/catalog.h"
#include "core/err.h"
#include "gateway/site.h"
#include "gateway/tgt-show.h"

/* @pids of the shards that answer, 0 for the others; their clients become problems in the report. 0 also with problems.
 * When diskgate-fs cannot follow the catalog: -EPIPE if its half that attaches is gone and only a new one helps; else with @is_strict
 * its error, and without, a problem, and the views that it has are served on. */
int tgt_sync(const struct site *s, struct catalog *c, const pid_t pids[SHARDS_MAX], bool is_strict, json_t *report,
             struct err *err);

/* As tgtadm_show(), but an initiator whose name forges lines is thrown out first. */
int tgt_sync_show(const struct site *s, unsigned k, struct tgt_state *ret, json_t *report, struct err *err);

#endif
