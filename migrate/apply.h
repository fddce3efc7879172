/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a staged plan to the catalog, all or nothing.
 *
 *   dry run     begin, decide, report, roll back
 *   apply       [begin, decide, roll back: would it stop?]   only when files have to be made
 *               files of images made and noted (staging.h)
 *               begin, decide, apply, report, commit
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_APPLY_H
#define DISKGATE_MIGRATE_APPLY_H

#include "cli/verb.h"
#include "migrate/plan.h"

struct apply {
    struct cmd *cmd;
    struct plan *plan;
    const struct image_search *how;
    const char *file, *origin;
    bool skip_conflicts, accept_doubts;
};

/* Returns an exit status or a negative errno. The report is printed in any case. */
int apply_run(struct apply *a, struct err *err);

/* Let what runs follow the catalog; a warning when it cannot. */
void apply_follow(struct cmd *cmd);
/* {"pc01": true, ...}: clients with a session now; a new object, empty when nothing runs. */
int apply_online(const char *root, json_t **ret, struct err *err);

#endif
