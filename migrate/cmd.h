/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs of diskgate-migrate: one table for each file, ended by a row of zeros.
 *
 * Threads: constant.
 */
#ifndef DISKGATE_MIGRATE_CMD_H
#define DISKGATE_MIGRATE_CMD_H

#include "cli/verb.h"
#include "core/catalog.h"

extern const struct verb cmd_import_verbs[], cmd_inspect_verbs[], cmd_undo_verbs[];

/* The catalog for writing; a sentence when there is no root, or no permission. */
int migrate_open(struct cmd *cmd, struct catalog **ret, struct err *err);

#endif
