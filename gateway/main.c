/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate: the command line. Understands the words, runs one verb, prints once.
 *
 * `diskgate migrate ...` and `diskgate backup ...` become the programs diskgate-migrate and diskgate-backup, found beside this
 * program or in PATH, as git does with its own. They get the chosen root in DISKGATE_ROOT.
 */
#include <errno.h>
#include <string.h>

#include "cli/program.h"
#include "core/exe.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/cmd.h"

#define VERBS_MAX 96

static const char *const externals[] = {"migrate", "backup", NULL};

/* So that they find us again, wherever we were started from. */
static void name_ourselves(void)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return;
    self[n] = 0;
    (void)setenv("DISKGATE_PROGRAM", self, 1); /* without memory they look in PATH */
}

/* Returns only when the program cannot be run. */
static int run_external(const struct cmd *cmd, int argc, char **argv, struct err *err)
{
    char path[PATH_MAX], name[64];
    _cleanup_free_ char **args = calloc((size_t)argc + 3, sizeof(*args));
    if (!args)
        return err_set(err, -ENOMEM, "memory is out");
    int n = 0;
    (void)snprintf(name, sizeof(name), "diskgate-%s", cmd->external); /* a word of our own table */
    args[n++] = name;
    if (cmd->is_json)
        args[n++] = (char *)"--json";
    for (int i = cmd->external_at; i < argc; i++)
        args[n++] = argv[i];
    if (cmd->root_option && setenv("DISKGATE_ROOT", cmd->root, 1) < 0)
        return err_sys(err, -errno, "cannot pass on the root");
    name_ourselves();
    if (exe_beside(name, path))
        (void)execv(path, args); /* returns only on failure */
    else
        (void)execvp(name, args); /* likewise */
    if (errno == ENOENT)
        return err_set(err, -ENOENT, "'diskgate %s' needs the program %s, which is not installed", cmd->external, name);
    return err_sys(err, -errno, "cannot run %s", name);
}

int main(int argc, char **argv)
{
    const struct verb *rows[VERBS_MAX] = {NULL};
    const struct verb *const nouns[] = {cmd_root_verbs,         cmd_config_verbs,        cmd_log_verbs,
                                        cmd_image_add_verbs,    cmd_image_verbs,         cmd_image_check_verbs,
                                        cmd_image_repair_verbs, cmd_image_export_verbs,  cmd_image_set_verbs,
                                        cmd_client_verbs,       cmd_client_boot_verbs,   cmd_link_verbs,
                                        cmd_overlay_verbs,      cmd_overlay_check_verbs, cmd_overlay_map_verbs,
                                        cmd_target_verbs,       cmd_boot_verbs,         cmd_part_verbs};
    for (size_t i = 0; i < ARRAY_SIZE(nouns); i++)
        program_add_rows(rows, VERBS_MAX, nouns[i]);
    return program_run(&(struct verb_table){"diskgate", rows, externals}, argc, argv, run_external);
}
