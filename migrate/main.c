/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate-migrate: brings clients, images and links of other systems into a root. Run as `diskgate migrate`. */

#include <string.h>

#include "cli/program.h"
#include "migrate/cmd.h"
#include "migrate/staging.h"

#define VERBS_MAX 16

int main(int argc, char **argv)
{
    const struct verb *rows[VERBS_MAX] = {NULL};
    const char *const externals[] = {NULL};
    const struct verb_table table = {"diskgate migrate", rows, externals};
    if (argc == 3 && strcmp(argv[1], STAGING_CLEAN_UP) == 0) /* no person does that */
        return staging_clean_up(argv[2]) < 0 ? EXIT_FAILED : EXIT_DONE;
    program_add_rows(rows, VERBS_MAX, cmd_import_verbs);
    program_add_rows(rows, VERBS_MAX, cmd_inspect_verbs);
    program_add_rows(rows, VERBS_MAX, cmd_undo_verbs);
    return program_run(&table, argc, argv, NULL);
}
