/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate-backup: what `diskgate backup ...` runs. Verbs are rows in cmd-*.c. */
#include "backup/cmd.h"
#include "backup/code.h"
#include "cli/program.h"
#include "core/util.h"

#define VERBS_MAX 64

int main(int argc, char **argv)
{
    const struct verb *rows[VERBS_MAX] = {NULL};
    const struct verb *const files[] = {cmd_repo_verbs,    cmd_create_verbs, cmd_set_verbs,   cmd_prune_verbs,
                                        cmd_restore_verbs, cmd_verify_verbs, cmd_mount_verbs, cmd_schedule_verbs,
                                        cmd_export_verbs,  cmd_status_verbs};
    static const char *const no_externals[] = {NULL};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        program_add_rows(rows, VERBS_MAX, files[i]);
    return program_run(&(struct verb_table){"diskgate backup", rows, no_externals, backup_exit_status}, argc, argv,
                       NULL);
}
