/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verbs of clients: add, set, rename, remove. How they are shown is in cmd-client-list.c, their links are in cmd-link.c.
 *
 * A client that is logged in keeps its disk: what would take it away is refused, unless --force is given. So is what destroys
 * kept changes.
 */
#include "gateway/cmd-client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "core/names.h"
#include "core/util.h"
#include "gateway/boot.h"
#include "gateway/change.h"
#include "gateway/cmd.h"
#include "gateway/inventory.h"
#include "gateway/link.h"

/* --- add and set ------------------------------------------------------------------------------------------------- */

static int ip_parse(const char *text, char *ret, size_t len, struct err *err)
{
    unsigned char addr[16];
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;
    ret[0] = 0;
    if (!*text)
        return 0; /* no fixed address */
    if (inet_pton(family, text, addr) != 1 || !inet_ntop(family, addr, ret, (socklen_t)len))
        return err_set(err, -EINVAL, "'%s' is not an IP address such as 192.168.1.20", text);
    return 0;
}

/* As mac_parse(). A digit that was left out by mistake looks like a leading zero that was left out on purpose, and its PC would never boot: who
 * means the zero writes it. Other programs' lists may leave it out. */
static int take_mac(const char *text, char *ret, struct err *err)
{
    char mac[MAC_LEN + 1];
    size_t digits = 0;
    int r = mac_parse(text, mac, err);
    for (const char *p = text; *p; p++)
        digits += strchr("0123456789abcdefABCDEF", *p) != NULL;
    if (r == 0 && digits < 12)
        return err_set(err, -EINVAL,
                       "the MAC '%s' has %zu digits instead of 12; if only leading zeros are missing, write it as %s",
                       text, digits, mac);
    if (r == 0)
        strcpy(ret, mac);
    return r;
}

/* @text, if it is given, into a field that the catalog checks. */
static int take_text(const char *text, const char *what, char *ret, size_t size, struct err *err)
{
    if (text && strlen(text) >= size)
        return err_set(err, -EINVAL, "the %s '%.80s' is too long", what, text);
    if (text)
        (void)snprintf(ret, size, "%s", text); /* fits */
    return 0;
}

static int timeout_parse(const char *text, uint32_t *ret, struct err *err)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || n > MENU_TIMEOUT_MAX_S)
        return err_set(
            err, -EINVAL,
            "--menu-timeout takes a number of seconds from 1 to %d, or 0 for the setting boot.menu_timeout_s, "
            "not '%.80s'",
            MENU_TIMEOUT_MAX_S, text);
    *ret = (uint32_t)n;
    return 0;
}

/* Those of its network, its boot menu and its memory. */
static int take_own_options(struct cmd *cmd, struct client_row *row, struct err *err)
{
    const char *disabled = cmd_option(cmd, "disabled"), *timeout = cmd_option(cmd, "menu-timeout");
    const char *ram = cmd_option(cmd, "ram-write");
    int r = disabled ? on_off_parse(disabled, "--disabled", &row->is_disabled, err) : 0;
    if (r == 0 && timeout)
        r = timeout_parse(timeout, &row->menu_timeout_s, err);
    if (r == 0 && ram)
        r = size_parse(ram, &row->ram_write_bytes, err);
    if (r == 0)
        r = take_text(cmd_option(cmd, "netmask"), "netmask", row->netmask, sizeof(row->netmask), err);
    if (r == 0)
        r = take_text(cmd_option(cmd, "gateway"), "gateway", row->gateway, sizeof(row->gateway), err);
    if (r == 0)
        r = take_text(cmd_option(cmd, "dns"), "list of name servers", row->dns, sizeof(row->dns), err);
    return r;
}

/* Take the options that were given into @row. */
static int take_options(struct cmd *cmd, struct client_row *row, struct err *err)
{
    const char *mac = cmd_option(cmd, "mac"), *ip = cmd_option(cmd, "ip"), *mode = cmd_option(cmd, "mode");
    const char *group = cmd_option(cmd, "group"), *comment = cmd_option(cmd, "comment");
    int r = mac ? take_mac(mac, row->mac, err) : 0;
    if (r == 0 && ip)
        r = ip_parse(ip, row->ip, sizeof(row->ip), err);
    if (r == 0 && mode)
        r = overlay_mode_parse(mode, &row->mode, err);
    if (r == 0 && group && *group)
        r = name_check(group, "group name", err);
    if (r == 0 && comment)
        r = comment_parse(comment, row->comment, err);
    if (r == 0 && group)
        (void)snprintf(row->group, sizeof(row->group), "%s", group); /* checked */
    return r ? r : take_own_options(cmd, row, err);
}

static int run_add(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct client_row row = {.mode = OVERLAY_VOLATILE};
    const char *image = cmd_option(cmd, "image");
    char thing[NAME_LEN + 16];
    int r = name_check(cmd_arg(cmd, 0), "client name", err);
    if (r == 0)
        r = take_options(cmd, &row, err);
    if (r == 0)
        r = change_open(cmd, &c, err);
    if (r < 0)
        return r;
    (void)snprintf(row.name, sizeof(row.name), "%s", cmd_arg(cmd, 0)); /* checked */
    r = client_add(c, &row, err);
    if (r == 0 && image)
        r = link_slot(cmd, c, row.name, 0, image, err);
    if (r < 0)
        return r;
    (void)snprintf(thing, sizeof(thing), "client %s", row.name);
    r = change_done(cmd, c, thing, err, "client '%s' was added (%s)%s%s", row.name, row.mac,
                    image ? " with a disk from " : "", image ? image : "");
    if (r >= 0 && cmd->is_json && !cmd->is_dry_run && client_print(cmd, c, row.name, err) < 0)
        r = EXIT_FAILED;
    return r;
}

/* A change of mode exchanges the rules of the overlay: not under a running client. */
static int check_mode(struct cmd *cmd, struct catalog *c, const struct client_row *old, const struct client_row *row,
                      struct err *err)
{
    uint64_t kept = 0;
    char size[32];
    if (old->mode == row->mode)
        return 0;
    int r = cmd_has(cmd, "force") ? 0 : refuse_if_online(cmd->root, c, old->name, "another mode", err);
    if (r == 0 && old->mode != OVERLAY_VOLATILE)
        r = kept_bytes(cmd->root, c, old->name, -1, &kept, err);
    if (r < 0 || kept == 0)
        return r;
    size_text(kept, size);
    warn_line("warning: client '%s' was kept and is volatile now: %s of its changes are dropped at its next boot",
              old->name, size);
    return 0;
}

/* A default that nobody can be offered is stored, for the image may come back; until then the menu has another one. */
static void note_hidden_default(struct catalog *c, const struct client_row *row)
{
    struct boot_choices menu;
    if (boot_choices_read(c, row, &menu, NULL) < 0 || menu.n == 0 || menu.standard == row->boot_default)
        return;
    warn_line("note: the image in slot %u of client '%s' is hidden: as long as it is, its boot menu takes slot %u",
              row->boot_default, row->name, menu.standard);
}

static int run_set(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct client_row old, row;
    const char *image = cmd_option(cmd, "image"), *standard = cmd_option(cmd, "boot-default");
    char thing[NAME_LEN + 16];
    if (cmd->n_values == (size_t)cmd_has(cmd, "force"))
        return err_set(err, VERB_USAGE, "nothing to set: give at least one option");
    int r = change_open(cmd, &c, err);
    if (r == 0)
        r = client_get(c, cmd_arg(cmd, 0), &old, err);
    if (r < 0)
        return r;
    row = old;
    r = take_options(cmd, &row, err);
    if (r == 0)
        r = check_mode(cmd, c, &old, &row, err);
    if (r == 0 && row.is_disabled && !old.is_disabled && !cmd_has(cmd, "force"))
        r = refuse_if_online(cmd->root, c, old.name, "disabling it", err);
    if (r == 0 && standard && !image)
        r = boot_slot_parse(c, row.name, standard, &row.boot_default, err);
    if (r == 0)
        r = client_set(c, &row, err);
    if (r == 0 && image)
        r = link_slot(cmd, c, row.name, 0, image, err);
    if (r == 0 && standard && image) { /* it may name the new one */
        r = boot_slot_parse(c, row.name, standard, &row.boot_default, err);
        r = r ? r : client_set(c, &row, err);
    }
    if (r < 0)
        return r;
    if (standard)
        note_hidden_default(c, &row);
    (void)snprintf(thing, sizeof(thing), "client %s", row.name);
    r = change_done(cmd, c, thing, err, "client '%s' was changed", row.name);
    if (r >= 0 && cmd->is_json && !cmd->is_dry_run && client_print(cmd, c, row.name, err) < 0)
        r = EXIT_FAILED;
    return r;
}

/* --- rename and remove ------------------------------------------------------------------------------------------- */

static int run_rename(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    char thing[NAME_LEN + 16];
    int r = name_check(cmd_arg(cmd, 1), "client name", err);
    if (r == 0)
        r = change_open(cmd, &c, err);
    if (r == 0)
        r = client_rename(c, cmd_arg(cmd, 0), cmd_arg(cmd, 1), err);
    if (r < 0)
        return r;
    (void)snprintf(thing, sizeof(thing), "client %s", cmd_arg(cmd, 1));
    return change_done(cmd, c, thing, err, "client '%s' is now called '%s'", cmd_arg(cmd, 0), cmd_arg(cmd, 1));
}

static int run_remove(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct client_row row;
    char thing[NAME_LEN + 16];
    int r = change_open(cmd, &c, err);
    if (r == 0)
        r = client_get(c, cmd_arg(cmd, 0), &row, err);
    if (r == 0)
        r = refuse_loss(cmd, c, row.name, -1, "removing it", err);
    if (r == 0)
        r = client_remove(c, row.name, err);
    if (r < 0)
        return r;
    (void)snprintf(thing, sizeof(thing), "client %s", row.name);
    return change_done(cmd, c, thing, err, "client '%s' was removed", row.name);
}

#define CLIENT_OPTIONS                                                                                                 \
    {"image", 0, "IMG[@V]", "link slot 0 to this image, at version V or at the current one"},                          \
        {"ip", 0, "A", "its fixed address; \"\" = none"},                                                              \
        {"mode", 0, "volatile|kept", "what becomes of its changes at the next boot"},                                  \
        {"group", 0, "G", "a group for lists; \"\" = none"},                                                           \
        {"disabled", 0, "on|off", "whether its PC is refused and its target closed"},                                  \
        {"menu-timeout", 0, "S", "seconds that its boot menu waits; 0 = as boot.menu_timeout_s says"},                 \
        {"netmask", 0, "A", "its own netmask, as 255.255.255.0; \"\" = the site's"},                                   \
        {"gateway", 0, "A", "its own router; \"\" = the site's"},                                                      \
        {"dns", 0, "A,...", "its own name servers; \"\" = the site's"},                                                \
        {"ram-write", 0, "SIZE", "RAM for what it writes; 0 = as the settings say"},                                   \
    {                                                                                                                  \
        "comment", 'm', "TEXT", "a comment that lists show"                                                            \
    }

static const struct option_def add_options[] = {
    {"mac", 0, "MAC", "its MAC address, in any usual spelling", OPT_REQUIRED}, CLIENT_OPTIONS, {0}};
static const struct option_def set_options[] = {
    {"mac", 0, "MAC", "its MAC address, in any usual spelling"},
    CLIENT_OPTIONS,
    {"boot-default", 0, "IMG|S", "what its boot menu takes when nobody chooses: an image or a slot"},
    {"force", 0, NULL, "also while the client is running, also when kept changes are lost"},
    {0}};
static const struct option_def list_options[] = {
    {"unused", 0, NULL, "only those that never logged in with a boot script, as far as it is still known"}, {0}};
static const struct option_def remove_options[] = {
    {"force", 0, NULL, "also while the client is running, also when kept changes are lost"}, {0}};

const struct verb cmd_client_verbs[] = {
    {"client", "add", "NAME", "Add a client, known by its MAC address",
     "Without --mode a client is volatile: its changes are dropped at its next boot.", add_options, run_add,
     VERB_DRY_RUN},
    {"client", "list", "", "List the clients", NULL, list_options, client_run_list},
    {"client", "show", "NAME", "Show all about one client", NULL, NULL, client_run_show},
    {"client", "set", "NAME", "Change a client", NULL, set_options, run_set, VERB_DRY_RUN},
    {"client", "rename", "OLD NEW", "Give a client another name", "Its target keeps its IQN, so the client goes on.",
     NULL, run_rename, VERB_DRY_RUN},
    {"client", "remove", "NAME", "Remove a client, its links and its overlays", NULL, remove_options, run_remove,
     VERB_DRY_RUN},
    {0},
};
