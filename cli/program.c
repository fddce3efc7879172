/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The run of a program with verbs. */
#include "cli/program.h"

#include <assert.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "core/root.h"

/* The sentence, once. Where the kernel said "not permitted" to somebody who is not root, the way out is known. */
static int fail(const struct cmd *cmd, int r, struct err *err)
{
    if (r != VERB_USAGE && (r == -EACCES || r == -EPERM) && geteuid() != 0 && !strstr(err->msg, "must be run as root"))
        warn_line("%s; this must be run as root (try sudo)", err->msg);
    else
        warn_line("%s", err->msg[0] ? err->msg : strerror(-r));
    if (r != VERB_USAGE)
        return cmd->table->exit_status ? cmd->table->exit_status(r) : EXIT_FAILED;
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

void program_add_rows(const struct verb **ret, size_t max, const struct verb *verbs)
{
    size_t n = 0;
    while (ret[n])
        n++;
    for (; verbs->name; verbs++) {
        assert(n + 1 < max);
        ret[n++] = verbs;
    }
    ret[n] = NULL;
}

int program_run(const struct verb_table *table, int argc, char **argv, program_external *external)
{
    struct err err = {0};
    struct cmd cmd;
    complete_path();
    (void)setlocale(LC_CTYPE, ""); /* the C locale serves as well */
    int r = cmd_parse(&cmd, table, argc, argv, &err);
    switch (r) {
    case CMD_RUN:
        return run_verb(&cmd, &err);
    case CMD_HELP:
        verb_print_help(stdout, &cmd);
        return print_and_close(EXIT_DONE);
    case CMD_VERSION:
        (void)printf("%s %s\n", table->program, DISKGATE_VERSION); /* checked by the flush */
        return print_and_close(EXIT_DONE);
    case CMD_LIST_VERBS:
        verb_print_list(stdout, table);
        return print_and_close(EXIT_DONE);
    case CMD_EXTERNAL:
        if (cmd.root_option && (r = root_resolve(cmd.root_option, cmd.root, &err)) < 0)
            return fail(&cmd, r, &err);
        return fail(&cmd, external(&cmd, argc, argv, &err), &err);
    default:
        return fail(&cmd, VERB_USAGE, &err);
    }
}
