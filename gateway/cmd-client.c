/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verbs of clients: add, list, show, set, rename, remove. Their links are in cmd-link.c.
 *
 * A client that is logged in keeps its disk: what would take it away is refused, unless --force is given. So is what destroys
 * kept changes.
 */
#include "gateway/cmd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "core/catalog-boot.h"
#include "core/catalog.h"
#include "core/ctl.h"
#include "core/names.h"
#include "core/util.h"
#include "gateway/boot.h"
#include "gateway/change.h"
#include "gateway/inventory.h"
#include "gateway/link.h"
#include "gateway/service.h"

/* --- rows -------------------------------------------------------------------------------------------------------- */

/* Take the words for people out of the rows: "win10@2", "1:games@1". */
static json_t *take_shown(json_t *links)
{
    json_t *ret = json_array(), *row;
    size_t i;
    json_array_foreach(links, i, row)
    {
        (void)json_array_append(ret, json_object_get(row, "shown"));
        (void)json_object_del(row, "shown");
    }
    return ret;
}

/* Newest boots of all clients. */
struct boots {
    struct boot_row *rows;
    size_t n;
};

static void boots_finish(struct boots *b)
{
    free(b->rows);
}

static json_t *time_json(int64_t unix_s)
{
    char text[TIME_LEN + 1];
    if (unix_s == 0)
        return json_null();
    time_text(text, sizeof(text), unix_s);
    return json_string(text);
}

/* Where a client that is logged in is, since when, with which version, and what it has read. Its boot may not have been ours. */
static void add_boot(json_t *object, const struct client_row *row, json_t *sessions, const struct boots *boots)
{
    const struct boot_row *b = NULL;
    bool is_online = json_array_size(sessions) > 0;
    for (size_t i = 0; i < boots->n && is_online; i++)
        if (boots->rows[i].client_id == row->id && boots->rows[i].end_s == 0 && boots->rows[i].login_s > 0)
            b = &boots->rows[i];
    json_t *address = is_online ? json_object_get(json_array_get(sessions, 0), "address") : NULL;
    /* Without memory a key is missing. */
    (void)json_object_set_new(object, "address", address ? json_incref(address) : json_null());
    (void)json_object_set_new(object, "booted_at", time_json(b ? b->script_s : 0));
    (void)json_object_set_new(object, "boot_image", b ? json_string(b->image) : json_null());
    (void)json_object_set_new(object, "boot_version", b ? json_integer(b->version) : json_null());
    (void)json_object_set_new(object, "boot_shown", b ? json_sprintf("%s@%u", b->image, b->version) : json_null());
    (void)json_object_set_new(object, "read_bytes", b ? json_integer((json_int_t)b->read_bytes) : json_null());
    (void)json_object_set_new(object, "written_bytes", b ? json_integer((json_int_t)b->written_bytes) : json_null());
}

static json_t *text_or_null(const char *text)
{
    return *text ? json_string(text) : json_null();
}

/* What it has of its own where others have the site's. */
static void add_own(json_t *object, const struct client_row *row)
{
    _cleanup_json_ json_t *own =
        json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:I}", "netmask", text_or_null(row->netmask), "gateway",
                  text_or_null(row->gateway), "dns", text_or_null(row->dns), "boot_slot", (json_int_t)row->boot_slot,
                  "boot_default_slot", (json_int_t)row->boot_default, "menu_timeout_s", (json_int_t)row->menu_timeout_s,
                  "ram_write_bytes", (json_int_t)row->ram_write_bytes);
    (void)json_object_update(object, own); /* without memory a key is missing */
}

static json_t *client_json(const struct client_row *row, json_t *all_links, json_t *all_sessions,
                           const struct boots *boots)
{
    json_t *links = rows_where(all_links, "client", row->name),
           *sessions = rows_where(all_sessions, "client", row->name);
    bool is_online = json_array_size(sessions) > 0;
    json_t *object = json_pack(
        "{s:s, s:s, s:o, s:o, s:b, s:s, s:o, s:o, s:b, s:o, s:o, s:o, s:s}", "name", row->name, "mac", row->mac, "ip",
        text_or_null(row->ip), "group", text_or_null(row->group), "is_disabled", row->is_disabled, "mode",
        overlay_mode_name(row->mode), "links_text", take_shown(links), "links", links, "online", is_online, "sessions",
        sessions, "iqn", out_string(row->iqn), "comment", out_string(row->comment), "created_at", row->created_at);
    add_boot(object, row, sessions, boots);
    add_own(object, row);
    return object;
}

static const struct column client_columns[] = {{"name", "NAME", COL_TEXT},
                                               {"mac", "MAC", COL_TEXT},
                                               {"ip", "IP", COL_TEXT},
                                               {"group", "GROUP", COL_TEXT},
                                               {"mode", "MODE", COL_TEXT},
                                               {"is_disabled", "DISABLED", COL_YES},
                                               {"online", "ONLINE", COL_YES},
                                               {"address", "ADDRESS", COL_TEXT},
                                               {"booted_at", "BOOTED", COL_TEXT},
                                               {"boot_image", NULL, COL_TEXT},
                                               {"boot_version", NULL, COL_NUMBER},
                                               {"boot_shown", "FROM", COL_SHOWN},
                                               {"read_bytes", "READ", COL_SIZE},
                                               {"written_bytes", NULL, COL_SIZE},
                                               {"links_text", "LINKS", COL_SHOWN},
                                               {"links", NULL, COL_JSON},
                                               {"comment", "COMMENT", COL_TEXT},
                                               {"created_at", NULL, COL_TEXT},
                                               {0}};

static const struct column client_fields[] = {{"name", "Name", COL_TEXT},
                                              {"mac", "MAC", COL_TEXT},
                                              {"ip", "IP", COL_TEXT},
                                              {"group", "Group", COL_TEXT},
                                              {"mode", "Mode", COL_TEXT},
                                              {"is_disabled", "Disabled", COL_YES},
                                              {"comment", "Comment", COL_TEXT},
                                              {"iqn", "Target", COL_TEXT},
                                              {"netmask", "Netmask", COL_TEXT},
                                              {"gateway", "Gateway", COL_TEXT},
                                              {"dns", "Name servers", COL_TEXT},
                                              {"boot_slot", NULL, COL_NUMBER},
                                              {"boot_default_slot", NULL, COL_NUMBER},
                                              {"menu_timeout_s", NULL, COL_NUMBER},
                                              {"menu_shown", "Boot menu", COL_SHOWN},
                                              {"ram_write_bytes", NULL, COL_NUMBER},
                                              {"online", "Online", COL_YES},
                                              {"created_at", "Added", COL_TEXT},
                                              {"address", "Address", COL_TEXT},
                                              {"booted_at", "Booted", COL_TEXT},
                                              {"boot_shown", "From", COL_SHOWN},
                                              {"read_bytes", "Read", COL_SIZE},
                                              {"written_bytes", "Written", COL_SIZE},
                                              {"links", NULL, COL_JSON},
                                              {"sessions", NULL, COL_JSON},
                                              {0}};

/* Sessions of @client (NULL: of all). When the running half does not answer, a warning and none. */
static json_t *sessions_or_none(struct cmd *cmd, struct catalog *c, const char *client)
{
    struct err err = {0};
    json_t *ret = NULL;
    if (service_sessions(cmd->root, c, client, &ret, &err) < 0) {
        warn_line("warning: cannot tell who is online: %s", err.msg);
        ret = json_array();
    }
    return ret;
}

static int run_list(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_free_ struct client_row *rows = NULL;
    _cleanup_(boots_finish) struct boots boots = {0};
    _cleanup_json_ json_t *links = NULL, *sessions = NULL, *list = json_array();
    size_t n = 0;
    int r = read_open(cmd, &c, err);
    if (r == 0)
        r = client_list(c, &rows, &n, err);
    if (r == 0)
        r = boot_last(c, &boots.rows, &boots.n, err);
    if (r == 0)
        r = link_rows(c, NULL, &links, err);
    if (r < 0)
        return r;
    sessions = sessions_or_none(cmd, c, NULL);
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(list, client_json(&rows[i], links, sessions, &boots));
    out_table(&cmd->out, "clients", client_columns, list,
              "no clients yet; add one with 'diskgate client add NAME --mac MAC'");
    return EXIT_DONE;
}

static const struct column show_overlay_columns[] = {{"slot", "SLOT", COL_NUMBER},
                                                     {"lun", "LUN", COL_NUMBER},
                                                     {"shown", "LINK", COL_SHOWN},
                                                     {"menu", "MENU", COL_TEXT},
                                                     {"image", NULL, COL_TEXT},
                                                     {"version", NULL, COL_NUMBER},
                                                     {"current_version", NULL, COL_NUMBER},
                                                     {"mode", "MODE", COL_TEXT},
                                                     {"size_bytes", "SIZE", COL_SIZE},
                                                     {"overlay_bytes", "OWN DATA", COL_SIZE},
                                                     {"state", "STATE", COL_TEXT},
                                                     {"problem", "PROBLEM", COL_TEXT},
                                                     {0}};

/* Put a link's "shown" and "lun" into the overlay row of the same slot. */
static void join_links(json_t *overlays, json_t *links)
{
    json_t *o, *l;
    size_t i, k;
    json_array_foreach(overlays, i, o)
        json_array_foreach(links, k, l) if (json_equal(json_object_get(o, "slot"), json_object_get(l, "slot")))
    {
        (void)json_object_set(o, "shown", json_object_get(l, "shown"));
        (void)json_object_set(o, "lun", json_object_get(l, "lun"));
        (void)json_object_set(o, "menu", json_object_get(l, "menu"));
    }
}

/* What its PC does when it is switched on, of a client that has a boot menu. */
static int add_menu(json_t *object, struct catalog *c, const struct client_row *row, struct err *err)
{
    struct boot_choices menu;
    int r = boot_choices_read(c, row, &menu, err);
    if (r < 0 || menu.n < 2)
        return r;
    json_t *text = menu.timeout_s
                       ? json_sprintf("%zu choices, slot %u after %u s", menu.n, menu.standard, menu.timeout_s)
                       : json_sprintf("%zu choices, waits for one", menu.n);
    (void)json_object_set_new(object, "menu_shown", text); /* without memory a line is missing */
    return 0;
}

static int print_client(struct cmd *cmd, struct catalog *c, const char *name, struct err *err)
{
    _cleanup_json_ json_t *links = NULL, *sessions = NULL, *overlays = NULL;
    _cleanup_(boots_finish) struct boots boots = {0};
    struct client_row row;
    int r = client_get(c, name, &row, err);
    if (r == 0)
        r = boot_last(c, &boots.rows, &boots.n, err);
    if (r == 0)
        r = link_rows(c, row.name, &links, err);
    if (r == 0)
        r = overlay_rows(cmd->root, c, row.name, &overlays, err);
    if (r < 0)
        return r;
    sessions = sessions_or_none(cmd, c, row.name);
    join_links(overlays, links);
    _cleanup_json_ json_t *object = client_json(&row, links, sessions, &boots);
    r = add_menu(object, c, &row, err);
    if (r < 0)
        return r;
    out_fields(&cmd->out, client_fields, object);
    if (!cmd->is_json)
        out_line(&cmd->out, "%s", "");
    out_table(&cmd->out, "overlays", show_overlay_columns, overlays,
              "no links; 'diskgate client link' gives it a disk");
    return 0;
}

static int run_show(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    int r = read_open(cmd, &c, err);
    return r < 0 ? r : print_client(cmd, c, cmd_arg(cmd, 0), err);
}

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

/* A digit that was left out by mistake looks like a leading zero that was left out on purpose. */
static void tell_short_mac(const char *text, const char *mac)
{
    size_t digits = 0;
    for (const char *p = text; *p; p++)
        digits += strchr("0123456789abcdefABCDEF", *p) != NULL;
    if (digits < 12)
        warn_line("note: the MAC '%s' was taken as %s", text, mac);
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
    int r = mac ? mac_parse(mac, row->mac, err) : 0;
    if (r == 0 && mac)
        tell_short_mac(mac, row->mac);
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
    if (r >= 0 && cmd->is_json && !cmd->is_dry_run && print_client(cmd, c, row.name, err) < 0)
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
    (void)snprintf(thing, sizeof(thing), "client %s", row.name);
    r = change_done(cmd, c, thing, err, "client '%s' was changed", row.name);
    if (r >= 0 && cmd->is_json && !cmd->is_dry_run && print_client(cmd, c, row.name, err) < 0)
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
static const struct option_def remove_options[] = {
    {"force", 0, NULL, "also while the client is running, also when kept changes are lost"}, {0}};

const struct verb cmd_client_verbs[] = {
    {"client", "add", "NAME", "Add a client, known by its MAC address",
     "Without --mode a client is volatile: its changes are dropped at its next boot.", add_options, run_add,
     VERB_DRY_RUN},
    {"client", "list", "", "List the clients", NULL, NULL, run_list},
    {"client", "show", "NAME", "Show all about one client", NULL, NULL, run_show},
    {"client", "set", "NAME", "Change a client", NULL, set_options, run_set, VERB_DRY_RUN},
    {"client", "rename", "OLD NEW", "Give a client another name", "Its target keeps its IQN, so the client goes on.",
     NULL, run_rename, VERB_DRY_RUN},
    {"client", "remove", "NAME", "Remove a client, its links and its overlays", NULL, remove_options, run_remove,
     VERB_DRY_RUN},
    {0},
};
