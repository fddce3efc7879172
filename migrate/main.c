/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate-migrate: brings clients, images and links of other systems into a root. Run as `diskgate migrate`. */

#include "cli/program.h"
#include "migrate/cmd.h"

#define VERBS_MAX 16

int main(int argc, char **argv)
{
    const struct verb *rows[VERBS_MAX] = {NULL};
    const char *const externals[] = {NULL};
    const struct verb_table table = {"diskgate migrate", rows, externals};
    program_add_rows(rows, VERBS_MAX, cmd_import_verbs);
    program_add_rows(rows, VERBS_MAX, cmd_inspect_verbs);
    program_add_rows(rows, VERBS_MAX, cmd_undo_verbs);
    return program_run(&table, argc, argv, NULL);
}
