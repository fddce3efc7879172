/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known about clients, as people and programs read it: `client list` and `client show`. */
#include "gateway/cmd-client.h"

#include <string.h>

#include "core/catalog-boot.h"
#include "core/json.h"
#include "core/util.h"
#include "gateway/boot.h"
#include "gateway/change.h"
#include "gateway/inventory.h"
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
                                               {"ip", "IP", COL_TEXT, true},
                                               {"group", "GROUP", COL_TEXT, true},
                                               {"mode", "MODE", COL_TEXT},
                                               {"is_disabled", "DISABLED", COL_YES, true},
                                               {"online", "ONLINE", COL_YES},
                                               {"address", "ADDRESS", COL_TEXT, true},
                                               {"booted_at", "BOOTED", COL_TEXT, true},
                                               {"boot_image", NULL, COL_TEXT},
                                               {"boot_version", NULL, COL_NUMBER},
                                               {"boot_shown", "FROM", COL_SHOWN, true},
                                               {"read_bytes", "READ", COL_SIZE, true},
                                               {"written_bytes", NULL, COL_SIZE},
                                               {"links_text", "LINKS", COL_SHOWN},
                                               {"links", NULL, COL_JSON},
                                               {"comment", "COMMENT", COL_TEXT, true},
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

/* Did a boot script lead it to its disk, as far as the boots that are kept tell? */
static bool has_logged_in(const struct boots *all, int64_t client_id)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->rows[i].client_id == client_id && all->rows[i].login_s > 0)
            return true;
    return false;
}

/* Is @row one of those that the verb was asked for? */
static bool is_listed(struct cmd *cmd, const struct client_row *row, const json_t *sessions, const struct boots *all)
{
    if (!cmd_has(cmd, "unused"))
        return true;
    for (size_t i = 0; i < json_array_size(sessions); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(sessions, i), "client")) ?: "", row->name) == 0)
            return false;
    return !has_logged_in(all, row->id);
}

int client_run_list(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_free_ struct client_row *rows = NULL;
    _cleanup_(boots_finish) struct boots boots = {0}, all = {0};
    _cleanup_json_ json_t *links = NULL, *sessions = NULL, *list = json_array();
    size_t n = 0;
    int r = read_open(cmd, &c, err);
    if (r == 0)
        r = catalog_begin_read(c, err);
    if (r == 0)
        r = client_list(c, &rows, &n, err);
    if (r == 0)
        r = boot_last(c, &boots.rows, &boots.n, err);
    if (r == 0)
        r = link_rows(c, NULL, &links, err);
    if (r == 0 && cmd_has(cmd, "unused"))
        r = boot_list(c, NULL, 0, &all.rows, &all.n, err);
    if (r < 0)
        return r;
    catalog_rollback(c); /* the rest may take a while */
    sessions = sessions_or_none(cmd, c, NULL);
    for (size_t i = 0; i < n; i++)
        if (is_listed(cmd, &rows[i], sessions, &all))
            (void)json_array_append_new(list, client_json(&rows[i], links, sessions, &boots));
    out_table(&cmd->out, "clients", client_columns, list,
              n > 0 ? "every client has logged in at least once"
                    : "no clients yet; add one with 'diskgate client add NAME --mac MAC'");
    return EXIT_DONE;
}

static const struct column show_overlay_columns[] = {{"slot", "SLOT", COL_NUMBER},
                                                     {"lun", "LUN", COL_NUMBER},
                                                     {"shown", "LINK", COL_SHOWN},
                                                     {"menu", "MENU", COL_TEXT, true},
                                                     {"image", NULL, COL_TEXT},
                                                     {"version", NULL, COL_NUMBER},
                                                     {"current_version", NULL, COL_NUMBER},
                                                     {"mode", "MODE", COL_TEXT},
                                                     {"size_bytes", "SIZE", COL_SIZE},
                                                     {"overlay_bytes", "OWN DATA", COL_SIZE},
                                                     {"state", "STATE", COL_TEXT},
                                                     {"problem", "PROBLEM", COL_TEXT, true},
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

int client_print(struct cmd *cmd, struct catalog *c, const char *name, struct err *err)
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

int client_run_show(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    int r = read_open(cmd, &c, err);
    if (r == 0)
        r = catalog_begin_read(c, err);
    return r < 0 ? r : client_print(cmd, c, cmd_arg(cmd, 0), err);
}
