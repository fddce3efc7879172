/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate: the command line. Understands the words, runs one verb, prints once.
 *
 * `diskgate migrate ...` and `diskgate backup ...` become the programs diskgate-migrate and diskgate-backup, found beside this
 * program or in PATH, as git does with its own. They get the chosen root in DISKGATE_ROOT.
 */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/cmd.h"
#include "gateway/verb.h"

#define VERBS_MAX 96

static const char *const externals[] = {"migrate", "backup", NULL};

/* All rows in the order of the help, ended by NULL. */
static void join_rows(const struct verb **ret)
{
    const struct verb *const nouns[] = {
        cmd_root_verbs,          cmd_config_verbs,      cmd_log_verbs,          cmd_image_add_verbs,
        cmd_image_verbs,         cmd_image_check_verbs, cmd_image_repair_verbs, cmd_image_export_verbs,
        cmd_client_verbs,        cmd_client_boot_verbs, cmd_link_verbs,         cmd_overlay_verbs,
        cmd_overlay_check_verbs, cmd_overlay_map_verbs, cmd_target_verbs,       cmd_boot_verbs};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(nouns); i++)
        for (const struct verb *v = nouns[i]; v->name && n < VERBS_MAX - 1; v++)
            ret[n++] = v;
    ret[n] = NULL;
}

/* "FOLDER/diskgate-WORD" beside the running program into @ret; false when there is none that can be run. */
static bool find_beside(const char *word, char *ret, size_t len)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return false;
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (!slash)
        return false;
    *slash = 0;
    return (size_t)snprintf(ret, len, "%s/diskgate-%s", self, word) < len && access(ret, X_OK) == 0;
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
    if (find_beside(cmd->external, path, sizeof(path)))
        (void)execv(path, args); /* returns only on failure */
    else
        (void)execvp(name, args); /* likewise */
    if (errno == ENOENT)
        return err_set(err, -ENOENT, "'diskgate %s' needs the program %s, which is not installed", cmd->external, name);
    return err_sys(err, -errno, "cannot run %s", name);
}

/* The sentence, once. Where the kernel said "not permitted" to somebody who is not root, the way out is known. */
static int fail(const struct cmd *cmd, int r, struct err *err)
{
    if (r != VERB_USAGE && (r == -EACCES || r == -EPERM) && geteuid() != 0 && !strstr(err->msg, "must be run as root"))
        warn_line("%s; this must be run as root (try sudo)", err->msg);
    else
        warn_line("%s", err->msg[0] ? err->msg : strerror(-r));
    if (r != VERB_USAGE)
        return EXIT_FAILED;
    verb_print_usage(stderr, cmd);
    return EXIT_USAGE;
}

static int run_verb(struct cmd *cmd, struct err *err)
{
    int r = root_resolve(cmd->root_option, cmd->root, err);
    if (r == 0 && out_init(&cmd->out, cmd->is_json) < 0)
        r = err_set(err, -ENOMEM, "memory is out");
    if (r == 0)
        r = cmd->verb->run(cmd, err);
    if (r < 0)
        r = fail(cmd, r, err);
    else {
        int w = out_flush(&cmd->out, stdout);
        if (w < 0) {
            err_sys(err, w, "cannot write the result");
            r = fail(cmd, w, err);
        }
    }
    out_finish(&cmd->out);
    return r;
}

/* cron and su leave out the folders where tgtd is. */
static void complete_path(void)
{
    const char *path = getenv("PATH");
    char longer[2 * PATH_MAX];
    if (path && *path && !strstr(path, "/usr/sbin") &&
        snprintf(longer, sizeof(longer), "%s:/usr/sbin:/sbin", path) < (int)sizeof(longer))
        (void)setenv("PATH", longer, 1); /* without memory it stays as it is */
}

static int print_and_close(int status)
{
    return fflush(stdout) == EOF ? EXIT_FAILED : status;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct cmd cmd;
    const struct verb *rows[VERBS_MAX];
    join_rows(rows);
    const struct verb_table table = {rows, externals};
    complete_path();
    (void)setlocale(LC_CTYPE, ""); /* the C locale serves as well */
    int r = cmd_parse(&cmd, &table, argc, argv, &err);
    switch (r) {
    case CMD_RUN:
        return run_verb(&cmd, &err);
    case CMD_HELP:
        verb_print_help(stdout, &cmd);
        return print_and_close(EXIT_DONE);
    case CMD_VERSION:
        (void)printf("diskgate %s\n", DISKGATE_VERSION); /* checked by the flush */
        return print_and_close(EXIT_DONE);
    case CMD_LIST_VERBS:
        verb_print_list(stdout, &table);
        return print_and_close(EXIT_DONE);
    case CMD_EXTERNAL:
        if (cmd.root_option && (r = root_resolve(cmd.root_option, cmd.root, &err)) < 0)
            return fail(&cmd, r, &err);
        return fail(&cmd, run_external(&cmd, argc, argv, &err), &err);
    default:
        return fail(&cmd, VERB_USAGE, &err);
    }
}
