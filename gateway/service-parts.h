/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The shards of a root as a set: which are to run, which run, start what is missing, let go what is too many.
 *
 * Threads: one at a time per root.
 */
#ifndef DISKGATE_GATEWAY_SERVICE_PARTS_H
#define DISKGATE_GATEWAY_SERVICE_PARTS_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/err.h"
#include "gateway/site.h"

struct parts {
    pid_t pids[SHARDS_MAX];       /* shards that run and answer */
    bool was_started[SHARDS_MAX]; /* by us */
    bool fs_was_started;
};

/* Make diskgate-fs and all shards run. With @is_strict (up) the first that cannot ends it with an error, and one that hangs is replaced;
 * without, shards that do not work become problems. */
int parts_ensure(const struct site *s, bool is_strict, struct parts *p, json_t *report, struct err *err);

/* Stop what parts_ensure() started, after a failure. */
void parts_undo(const struct site *s, const struct parts *p);

/* False if the running shard @k listens on another address or port than the settings say. */
bool parts_listens_right(const struct site *s, unsigned k);

/* Stop shards beyond the setting that have no target any more. */
void parts_drain(const struct site *s, const struct parts *p, json_t *report);

#endif
