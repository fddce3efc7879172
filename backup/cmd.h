/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs of diskgate-backup: each file cmd-*.c gives its rows, ended by a row without a name. main.c joins them.
 *
 * A verb returns an exit status or a negative errno with a sentence; code.h has the exit status of each.
 *
 * Threads: constant tables.
 */
#ifndef DISKGATE_BACKUP_CMD_H
#define DISKGATE_BACKUP_CMD_H

#include "cli/verb.h"

extern const struct verb cmd_create_verbs[], cmd_repo_verbs[], cmd_set_verbs[], cmd_prune_verbs[], cmd_restore_verbs[],
    cmd_verify_verbs[], cmd_mount_verbs[], cmd_schedule_verbs[], cmd_export_verbs[], cmd_status_verbs[];

#endif
