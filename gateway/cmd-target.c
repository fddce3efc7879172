/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verbs of iSCSI targets: list, sync. The keys of `target list --json` are a contract; they come from service_targets().
 *
 * Secrets are in the JSON for root, and in the text only with --secrets: a table is looked at over shoulders.
 */
#include "gateway/cmd.h"

#include <errno.h>
#include <string.h>

#include "core/catalog.h"
#include "core/json.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/service.h"

#define TARGET_COLUMNS                                                                                                 \
    {"client", "CLIENT", COL_TEXT}, {"slot", "SLOT", COL_NUMBER}, {"lun", "LUN", COL_NUMBER},                          \
        {"image", "IMAGE", COL_TEXT}, {"version", "VERSION", COL_NUMBER}, {"mode", "MODE", COL_TEXT},                  \
        {"state", "STATE", COL_TEXT}, {"sessions", "SESSIONS", COL_COUNT}, {"portal", "PORTAL", COL_TEXT},             \
    {                                                                                                                  \
        "iqn", "IQN", COL_TEXT                                                                                         \
    }

static const struct column target_columns[] = {TARGET_COLUMNS, {0}};
static const struct column secret_columns[] = {
    TARGET_COLUMNS, {"chap_user", "USER", COL_TEXT}, {"chap_password", "PASSWORD", COL_TEXT}, {0}};

static void print_problems(struct cmd *cmd, json_t *targets)
{
    json_t *row;
    size_t i;
    json_array_foreach(targets, i, row)
    {
        const char *problem = json_string_value(json_object_get(row, "problem"));
        if (problem && *problem)
            out_line(&cmd->out, "client %s slot %lld: %s", json_string_value(json_object_get(row, "client")) ?: "?",
                     (long long)json_integer_value(json_object_get(row, "slot")), problem);
    }
}

static int run_list(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_json_ json_t *answer = NULL;
    bool with_secrets = geteuid() == 0 && (cmd->is_json || cmd_has(cmd, "secrets"));
    if (cmd_has(cmd, "secrets") && geteuid() != 0)
        return err_set(err, -EPERM, "--secrets must be run as root (try sudo)");
    int r = read_open(cmd, &c, err);
    if (r == 0)
        r = service_targets(cmd->root, c, with_secrets, &answer, err);
    if (r < 0)
        return r;
    json_t *targets = json_object_get(answer, "targets");
    if (cmd->is_json) {
        out_set(&cmd->out, "targets", json_incref(targets));
        return EXIT_DONE;
    }
    out_table(&cmd->out, "targets", cmd_has(cmd, "secrets") ? secret_columns : target_columns, targets,
              "no targets: no client is linked to an image");
    print_problems(cmd, targets);
    return EXIT_DONE;
}

static int run_sync(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_json_ json_t *report = NULL;
    int r = read_open(cmd, &c, err);
    if (r == 0 && geteuid() != 0)
        r = err_set(err, -EPERM, "'diskgate target sync' must be run as root (try sudo)");
    if (r == 0 && !service_is_up(cmd->root))
        r = err_set(err, -ENOTCONN, "nothing of '%s' is running: start it with 'diskgate up'", cmd->root);
    if (r == 0)
        r = service_sync(cmd->root, c, &report, err);
    if (r < 0 && r != -EREMOTEIO)
        return r;
    report_print(cmd, report, !cmd->is_quiet);
    if (!cmd->is_quiet && r == 0 && json_array_size(json_object_get(report, "changes")) == 0)
        out_line(&cmd->out, "nothing to do: everything is served as the catalog says");
    return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

static const struct option_def list_options[] = {{"secrets", 0, NULL, "show the CHAP passwords"}, {0}};

const struct verb cmd_target_verbs[] = {
    {"target", "list", "", "List the iSCSI targets with their sessions", NULL, list_options, run_list},
    {"target", "sync", "", "Make what is running follow the catalog, repair what broke", NULL, NULL, run_sync},
    {0},
};
