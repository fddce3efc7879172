/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files, overlays and sessions behind the catalog's rows; see inventory.h.
 *
 * Without diskgate-fs an overlay's size is what its data file occupies, but the tail that each has. A place whose overlay was dropped and not yet cleared away
 * (a garbage row names it) counts as empty: its bytes belong to nobody.
 */
#include "gateway/inventory.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/ctl.h"
#include "core/datafile.h"
#include "core/root.h"
#include "core/util.h"
#include "cli/output.h"
#include "gateway/boot.h"
#include "gateway/service.h"
#include "gateway/tgt-want.h"

#define FS_TIMEOUT_MS 5000

json_t *rows_where(json_t *rows, const char *key, const char *value)
{
    json_t *ret = json_array(), *row;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        const char *have = json_string_value(json_object_get(row, key));
        if (have && strcmp(have, value) == 0)
            (void)json_array_append(ret, row);
    }
    return ret;
}

/* --- overlays ---------------------------------------------------------------------------------------------------- */

/* What diskgate-fs tells about its views, or NULL when it does not run. */
static json_t *fs_status(const char *root, const char *key)
{
    struct err err;
    json_t *answer = NULL;
    _cleanup_json_ json_t *req = json_pack("{s:s}", "cmd", "status");
    if (!req || ctl_call(root, "fs.sock", req, FS_TIMEOUT_MS, &answer, &err) < 0)
        return NULL;
    json_t *value = json_incref(json_object_get(answer, key));
    json_decref(answer);
    return value;
}

static json_t *fs_views(const char *root)
{
    return fs_status(root, "views");
}

json_t *fs_images(const char *root)
{
    json_t *images = fs_status(root, "images");
    return images ? images : json_array();
}

/* The view of this very overlay among @views; NULL when there is none. */
static json_t *find_view(json_t *views, const struct view_row *v)
{
    json_t *row;
    size_t i;
    json_array_foreach(views, i, row)
    {
        const char *id = json_string_value(json_object_get(row, "overlay_id"));
        if (id && strcmp(id, v->overlay_id) == 0)
            return row;
    }
    return NULL;
}

static bool is_garbage(struct catalog *c, const struct view_row *v)
{
    _cleanup_free_ struct garbage_row *rows = NULL;
    size_t n = 0;
    struct err err;
    if (garbage_list(c, &rows, &n, &err) < 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (rows[i].slot == v->slot && strcmp(rows[i].overlay_dir, v->overlay_dir) == 0)
            return true;
    return false;
}

static uint64_t file_bytes(const char *root, struct catalog *c, const struct view_row *v)
{
    char name[OVERLAY_DIR_LEN + 32], path[PATH_MAX];
    struct stat st;
    struct err err;
    (void)snprintf(name, sizeof(name), "overlays/%s/%u.data", v->overlay_dir, v->slot); /* bounded by its parts */
    if (root_path(root, name, path, &err) < 0 || stat(path, &st) < 0 || is_garbage(c, v))
        return 0;
    uint64_t bytes = (uint64_t)st.st_blocks * 512;
    return bytes - MIN(bytes, DATAFILE_TAIL_BYTES); /* as overlay_bytes() */
}

static json_t *overlay_row(const char *root, struct catalog *c, json_t *views, const struct view_row *v)
{
    json_t *view = find_view(views, v), *bytes = json_object_get(view, "overlay_bytes");
    const char *state = views ? json_string_value(json_object_get(view, "state")) : "down";
    uint64_t used = json_is_integer(bytes) ? (uint64_t)json_integer_value(bytes) : file_bytes(root, c, v);
    json_int_t ram = json_integer_value(json_object_get(view, "ram_bytes"));
    return json_pack("{s:s, s:I, s:s, s:I, s:I, s:s, s:s, s:I, s:I, s:I, s:s, s:o}", "client", v->client, "slot",
                     (json_int_t)v->slot, "image", v->image, "version", (json_int_t)v->version, "current_version",
                     (json_int_t)v->current, "mode", overlay_mode_name(v->mode), "overlay_id", v->overlay_id,
                     "size_bytes", (json_int_t)v->size_bytes, "overlay_bytes", (json_int_t)used, "ram_bytes", ram,
                     "state", state ? state : "absent", "problem",
                     out_string(json_string_value(json_object_get(view, "error"))));
}

int overlay_rows(const char *root, struct catalog *c, const char *client, json_t **ret, struct err *err)
{
    _cleanup_free_ struct view_row *rows = NULL;
    size_t n = 0;
    int r = view_list(c, client, &rows, &n, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *views = n ? fs_views(root) : NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(list, overlay_row(root, c, views, &rows[i]));
    *ret = list;
    return 0;
}

int kept_bytes(const char *root, struct catalog *c, const char *client, int slot, uint64_t *ret, struct err *err)
{
    _cleanup_json_ json_t *rows = NULL;
    json_t *row;
    size_t i;
    int r = overlay_rows(root, c, client, &rows, err);
    if (r < 0)
        return r;
    *ret = 0;
    json_array_foreach(rows, i, row)
    {
        bool is_volatile = strcmp(json_string_value(json_object_get(row, "mode")), "volatile") == 0;
        if (!is_volatile && (slot < 0 || json_integer_value(json_object_get(row, "slot")) == slot))
            *ret += (uint64_t)json_integer_value(json_object_get(row, "overlay_bytes"));
    }
    return 0;
}

/* --- sessions ---------------------------------------------------------------------------------------------------- */

int refuse_if_online(const char *root, struct catalog *c, const char *client, const char *deed, struct err *err)
{
    _cleanup_json_ json_t *sessions = NULL;
    int r = service_sessions(root, c, client, &sessions, err);
    if (r < 0)
        return r;
    json_t *first = json_array_get(sessions, 0);
    if (!first)
        return 0;
    const char *from = json_string_value(json_object_get(first, "address"));
    return err_set(err, -EBUSY,
                   "client '%s' is running now (logged in from %s), and %s takes its disk away: shut it down first, or "
                   "use --force",
                   client, from ? from : "an unknown address", deed);
}

int refuse_if_it_runs(const char *root, struct catalog *c, const struct view_row *view, struct err *err)
{
    int r = refuse_if_online(root, c, view->client, "changing its image", err);
    return r == -EBUSY ? err_set(err, r, "client '%s' is running from image '%s' now: shut it down first", view->client,
                                 view->image)
                       : r;
}

/* --- links ------------------------------------------------------------------------------------------------------- */

static void link_text(const struct link_row *l, const struct view_row *v, char *ret, size_t len)
{
    char slot[16] = "";
    if (l->slot)
        (void)snprintf(slot, sizeof(slot), "%u:", l->slot);
    int n = snprintf(ret, len, "%s%s@%u%s", slot, l->image, v ? v->current : l->pinned, l->pinned ? " (pinned)" : "");
    if (v && v->version != v->current && n > 0 && (size_t)n < len)
        (void)snprintf(ret + n, len - (size_t)n, v->mode == OVERLAY_VOLATILE ? ", still on v%u" : ", stays on v%u",
                       v->version);
}

/* Part of the link in its client's boot menu; NULL where it has none. */
static const char *menu_part(const struct link_row *l, const struct boot_choices *menu)
{
    if (!menu || !slot_is_boot(l->slot))
        return NULL;
    if (l->slot == menu->standard)
        return "default";
    return boot_choices_have(menu, l->slot) ? "choice" : "hidden";
}

static json_t *link_row_json(const struct link_row *l, const struct view_row *v, const struct client_row *client,
                             const struct boot_choices *menu)
{
    char text[NAME_LEN + 64];
    const char *part = menu_part(l, menu);
    unsigned lun = client ? want_lun(client, l->slot) : 0;
    link_text(l, v, text, sizeof(text));
    return json_pack(
        "{s:s, s:I, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:s}", "client", l->client, "slot", (json_int_t)l->slot, "lun",
        lun ? json_integer((json_int_t)lun) : json_null(), "menu", part ? json_string(part) : json_null(), "image",
        l->image, "pinned_version", l->pinned ? json_integer(l->pinned) : json_null(), "current_version",
        v ? json_integer(v->current) : json_null(), "overlay_version", v ? json_integer(v->version) : json_null(),
        "mode", v ? json_string(overlay_mode_name(v->mode)) : json_null(), "shown", text);
}

static bool has_menu(const struct link_row *links, size_t n, int64_t client_id)
{
    for (size_t i = 0; i < n; i++)
        if (links[i].client_id == client_id && links[i].slot >= BOOT_SLOT_FIRST)
            return true;
    return false;
}

/* A client on the way through a list that is sorted by client. */
struct owner {
    struct client_row row;
    struct boot_choices menu;
    bool has_menu;
};

static int next_owner(struct catalog *c, const struct link_row *links, size_t n, const struct link_row *l,
                      struct owner *o, struct err *err)
{
    if (o->row.id == l->client_id)
        return 0;
    int r = client_get(c, l->client, &o->row, err);
    explicit_bzero(o->row.chap_password, sizeof(o->row.chap_password));
    o->has_menu = has_menu(links, n, l->client_id);
    return r == 0 && o->has_menu ? boot_choices_read(c, &o->row, &o->menu, err) : r;
}

int link_rows(struct catalog *c, const char *client, json_t **ret, struct err *err)
{
    _cleanup_free_ struct link_row *links = NULL;
    _cleanup_free_ struct view_row *views = NULL;
    _cleanup_free_ struct owner *owner = calloc(1, sizeof(*owner));
    size_t n_links = 0, n_views = 0;
    int r = owner ? link_list(c, client, &links, &n_links, err) : err_sys(err, -ENOMEM, "cannot list the links");
    if (r == 0)
        r = view_list(c, client, &views, &n_views, err);
    if (r < 0)
        return r;
    json_t *list = json_array();
    for (size_t i = 0; i < n_links && r == 0; i++) {
        const struct view_row *v = NULL;
        r = next_owner(c, links, n_links, &links[i], owner, err);
        for (size_t k = 0; k < n_views && !v; k++)
            v = views[k].link_id == links[i].id ? &views[k] : NULL;
        (void)json_array_append_new(list,
                                    link_row_json(&links[i], v, &owner->row, owner->has_menu ? &owner->menu : NULL));
    }
    if (r == 0)
        *ret = list;
    else
        json_decref(list);
    return r;
}
