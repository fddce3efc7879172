/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verbs of overlays: list, show; and reset, which is `client reset` under another name (cmd-link.c). */
#include "gateway/cmd.h"

#include "core/catalog.h"
#include "core/json.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/inventory.h"
#include "gateway/link.h"

static const struct column overlay_columns[] = {{"client", "CLIENT", COL_TEXT},
                                                {"slot", "SLOT", COL_NUMBER},
                                                {"image", "IMAGE", COL_TEXT},
                                                {"version", "VERSION", COL_NUMBER},
                                                {"current_version", NULL, COL_NUMBER},
                                                {"mode", "MODE", COL_TEXT},
                                                {"size_bytes", "SIZE", COL_SIZE},
                                                {"overlay_bytes", "OWN DATA", COL_SIZE},
                                                {"ram_bytes", "IN RAM", COL_SIZE},
                                                {"state", "STATE", COL_TEXT},
                                                {"overlay_id", NULL, COL_TEXT},
                                                {"problem", "PROBLEM", COL_TEXT, true},
                                                {0}};

static int print_overlays(struct cmd *cmd, const char *client, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_json_ json_t *rows = NULL;
    struct client_row row;
    int r = read_open(cmd, &c, err);
    if (r == 0 && client)
        r = client_get(c, client, &row, err);
    if (r == 0)
        r = overlay_rows(cmd->root, c, client ? row.name : NULL, &rows, err);
    if (r < 0)
        return r;
    out_table(&cmd->out, "overlays", overlay_columns, rows, "no overlays: no client is linked to an image");
    return EXIT_DONE;
}

static int run_list(struct cmd *cmd, struct err *err)
{
    return print_overlays(cmd, NULL, err);
}

static int run_show(struct cmd *cmd, struct err *err)
{
    return print_overlays(cmd, cmd_arg(cmd, 0), err);
}

const struct verb cmd_overlay_verbs[] = {
    {"overlay", "list", "", "List the overlays: what each client wrote over its image", NULL, NULL, run_list},
    {"overlay", "show", "CLIENT", "Show the overlays of one client", NULL, NULL, run_show},
    {"overlay", "reset", "CLIENT", "Drop a client's own changes", NULL, link_reset_options, link_run_reset,
     VERB_DRY_RUN},
    {0},
};
