/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `boot`: files and lines for the servers that a PC meets before its script: DHCP and TFTP. */
#include <errno.h>
#include <string.h>

#include "core/json.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/boot-render.h"
#include "gateway/boot.h"
#include "gateway/change.h"
#include "gateway/cmd.h"
#include "gateway/service.h"

/* --- render ------------------------------------------------------------------------------------------------------ */

static const struct column file_columns[] = {
    {"path", "PATH", COL_TEXT}, {"size_bytes", "SIZE", COL_SIZE}, {"is_new", "WRITTEN", COL_YES}, {0}};

static void print_hints(struct cmd *cmd, struct catalog *c, int count)
{
    char mode[SETTING_LEN + 1] = "";
    if (cmd->is_quiet || setting_get(c, "boot.dhcp", mode, NULL) < 0)
        return;
    if (strcmp(mode, "off") == 0)
        out_line(&cmd->out, "boot.dhcp is off: 'up' does not start dnsmasq with these (see 'diskgate boot options')");
    else if (count > 0 && service_is_up(cmd->root))
        out_line(&cmd->out, "'diskgate target sync' makes the running dnsmasq take them");
}

static int run_render(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_json_ json_t *files = NULL;
    char run[PATH_MAX];
    int r = read_open(cmd, &c, err);
    r = r ? r : root_path(cmd->root, "run", run, err);
    if (r < 0)
        return r;
    r = make_dirs(run, 0755);
    if (r < 0)
        return err_sys(err, r, "cannot make folder '%s'", run);
    r = boot_render_files(cmd->root, c, &files, err);
    if (r < 0)
        return r;
    if (!cmd->is_quiet)
        out_table(&cmd->out, "files", file_columns, files, NULL);
    print_hints(cmd, c, r);
    return EXIT_DONE;
}

/* --- options ----------------------------------------------------------------------------------------------------- */

static int run_options(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_free_ char *text = NULL;
    const char *server = cmd_arg(cmd, 0);
    int r = read_open(cmd, &c, err);
    r = r ? r : boot_options(c, server, &text, err);
    if (r < 0)
        return r == -EINVAL && server ? VERB_USAGE : r;
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        out_line(&cmd->out, "%s", line);
        if (next)
            next[-1] = '\n';
    }
    out_set(&cmd->out, "server", server ? json_string(server) : json_null());
    out_set(&cmd->out, "text", out_string(text));
    return EXIT_DONE;
}

const struct verb cmd_boot_verbs[] = {
    {"boot", "render", "", "Write dnsmasq's configuration and the TFTP folder",
     "Both are in ROOT/run, made from the settings boot.*; a file that is right already is left alone. 'diskgate up' "
     "does "
     "this by itself when boot.dhcp is not off.",
     NULL, run_render},
    {"boot", "options", "[SERVER]", "Print the lines that another DHCP server needs for this gateway",
     "SERVER is dnsmasq, isc-dhcpd, kea, windows, mikrotik or openwrt; without it, what fits all of them is said.",
     NULL, run_options},
    {0},
};
