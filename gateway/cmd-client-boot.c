/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verbs about the booting of clients: pending, approve, why, wake. */
#include "gateway/cmd.h"

#include <errno.h>
#include <string.h>

#include "core/catalog-boot.h"
#include "core/json.h"
#include "core/util.h"
#include "gateway/boot.h"
#include "gateway/change.h"
#include "gateway/link.h"
#include "gateway/wake.h"

/* --- pending ----------------------------------------------------------------------------------------------------- */

static const struct column pending_columns[] = {{"number", "NUMBER", COL_NUMBER},
                                                {"mac", "MAC", COL_TEXT},
                                                {"address", "ADDRESS", COL_TEXT},
                                                {"requests", "REQUESTS", COL_NUMBER},
                                                {"first_at", "SINCE", COL_TEXT},
                                                {"last_at", "LAST ASKED", COL_TEXT},
                                                {0}};

static json_t *pending_json(const struct pending_row *p)
{
    return json_pack("{s:I, s:s, s:s, s:I, s:s, s:s}", "number", (json_int_t)p->number, "mac", p->mac, "address",
                     p->address, "requests", (json_int_t)p->requests, "first_at", p->first_at, "last_at", p->last_at);
}

static const char *pending_hint(struct catalog *c)
{
    char what[SETTING_LEN + 1];
    if (setting_get(c, "clients.unknown", what, NULL) == 0 && strcmp(what, "reject") == 0)
        return "no PC waits: unknown ones are asked for only with 'diskgate set clients.unknown ask'";
    return "no unknown PC waits";
}

/* Invented MACs and PCs that went away stay listed until there are too many; who still waits asks again within seconds. */
static int clear_pending(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_free_ struct pending_row *rows = NULL;
    size_t n = 0;
    int r = change_open(cmd, &c, err);
    r = r ? r : pending_list(c, &rows, &n, err);
    r = r ? r : pending_clear(c, err);
    if (r < 0)
        return r;
    return change_done(cmd, c, "pending", err,
                       "%zu PC%s forgotten; those that still wait are listed again within seconds", n,
                       n == 1 ? " was" : "s were");
}

static int run_pending(struct cmd *cmd, struct err *err)
{
    if (cmd_has(cmd, "clear"))
        return clear_pending(cmd, err);
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_free_ struct pending_row *rows = NULL;
    _cleanup_json_ json_t *list = json_array();
    size_t n = 0;
    int r = read_open(cmd, &c, err);
    r = r ? r : pending_list(c, &rows, &n, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(list, pending_json(&rows[i])); /* a list too short is all that can happen */
    out_table(&cmd->out, "pending", pending_columns, list, pending_hint(c));
    return EXIT_DONE;
}

/* --- approve ----------------------------------------------------------------------------------------------------- */

/* The waiting PC that @text names: by MAC, or by the number on its screen. */
static int find_pending(struct catalog *c, const char *text, struct pending_row *ret, struct err *err)
{
    _cleanup_free_ struct pending_row *rows = NULL;
    size_t n = 0, digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits] || digits > 4)
        return pending_get(c, text, ret, err);
    int r = pending_list(c, &rows, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (rows[i].number == strtoul(text, NULL, 10)) {
            *ret = rows[i];
            return 0;
        }
    return r ? r
             : err_set(err, -ENOENT, "no PC with the number %s waits; 'diskgate client pending' lists those that do",
                       text);
}

static int add_pending(struct cmd *cmd, struct catalog *c, const char *mac, const char *image, struct err *err)
{
    struct client_row row = {.mode = OVERLAY_VOLATILE};
    const char *mode = cmd_option(cmd, "mode"), *group = cmd_option(cmd, "group");
    int r = mode ? overlay_mode_parse(mode, &row.mode, err) : 0;
    if (r == 0 && group && *group)
        r = name_check(group, "group name", err);
    if (r < 0)
        return r;
    (void)snprintf(row.name, sizeof(row.name), "%s", cmd_arg(cmd, 1)); /* checked, as the two below */
    (void)snprintf(row.mac, sizeof(row.mac), "%s", mac);
    (void)snprintf(row.group, sizeof(row.group), "%s", group ? group : "");
    r = client_add(c, &row, err);
    if (r == 0 && *image)
        r = link_slot(cmd, c, row.name, 0, image, err);
    return r ? r : pending_remove(c, mac, err);
}

static int run_approve(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct pending_row waiting = {0};
    char image[SETTING_LEN + 1] = "", thing[NAME_LEN + 16];
    const char *option = cmd_option(cmd, "image");
    int r = name_check(cmd_arg(cmd, 1), "client name", err);
    r = r ? r : change_open(cmd, &c, err);
    r = r ? r : find_pending(c, cmd_arg(cmd, 0), &waiting, err);
    r = r ? r : setting_get(c, "clients.template_image", image, err);
    if (r == 0 && option)
        (void)snprintf(image, sizeof(image), "%s", option); /* an image with a longer name does not exist */
    r = r ? r : add_pending(cmd, c, waiting.mac, image, err);
    if (r < 0)
        return r;
    (void)snprintf(thing, sizeof(thing), "client %s", cmd_arg(cmd, 1));
    return change_done(cmd, c, thing, err, "client '%s' was added (%s)%s%s", cmd_arg(cmd, 1), waiting.mac,
                       *image ? "; it starts by itself within seconds, with a disk from "
                              : "; it has no disk yet: 'diskgate client link' gives it one",
                       image);
}

/* --- why and wake ------------------------------------------------------------------------------------------------ */

static int run_why(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_free_ char *text = NULL;
    int r = read_open(cmd, &c, err);
    r = r ? r : boot_why(cmd->root, c, cmd_arg(cmd, 0), &text, err);
    if (r < 0)
        return r;
    out_line(&cmd->out, "%s", text);
    out_set(&cmd->out, "client", out_string(cmd_arg(cmd, 0)));
    out_set(&cmd->out, "message", out_string(text));
    return EXIT_DONE;
}

static int run_wake(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct client_row row;
    char to[46] = "";
    int r = read_open(cmd, &c, err);
    r = r ? r : client_get(c, cmd_arg(cmd, 0), &row, err);
    r = r ? r : wake_send(c, row.mac, to, err);
    if (r < 0)
        return r;
    explicit_bzero(row.chap_password, sizeof(row.chap_password));
    if (row.is_disabled)
        warn_line("note: client '%s' is disabled: its PC wakes and is refused", row.name);
    if (!cmd->is_quiet)
        out_line(&cmd->out, "a wake-up packet for %s (%s) was sent to %s; whether it wakes, only the PC knows",
                 row.name, row.mac, to);
    out_set(&cmd->out, "client", out_string(row.name));
    out_set(&cmd->out, "address", out_string(to));
    return EXIT_DONE;
}

static const struct option_def pending_options[] = {
    {"clear", 0, NULL, "forget all of them; those that still ask are listed again"}, {0}};

static const struct option_def approve_options[] = {
    {"image", 0, "IMG[@V]", "what it boots from (default: the setting clients.template_image)"},
    {"mode", 0, "volatile|kept", "what becomes of its changes at the next boot"},
    {"group", 0, "G", "a group for lists"},
    {0}};

const struct verb cmd_client_boot_verbs[] = {
    {"client", "pending", "", "List the unknown PCs that wait for approval", NULL, pending_options, run_pending,
     VERB_DRY_RUN},
    {"client", "approve", "MAC NAME", "Make a PC that waits a client",
     "Instead of the MAC, the number that the PC shows will do.", approve_options, run_approve, VERB_DRY_RUN},
    {"client", "why", "NAME", "Say what became of a client's last boot", NULL, NULL, run_why},
    {"client", "wake", "NAME", "Switch a client on over the network", NULL, NULL, run_wake},
    {0},
};
