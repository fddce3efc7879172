/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the catalog to struct config and on to JSON; see configuration.h.
 *
 * Keys without a value ("ip", "group", "comment", ...) are left out, so that a file stays short; the reader takes the same defaults. */
#include "gateway/configuration.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "core/json.h"
#include "core/util.h"

/* --- the value --------------------------------------------------------------------------------------------------- */

struct config *config_create(void)
{
    return calloc(1, sizeof(struct config));
}

void config_destroy(struct config *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_images; i++)
        free(f->images[i].versions);
    free(f->settings);
    free(f->images);
    free(f->clients);
    free(f);
}

struct config_image *config_find_image(const struct config *f, const char *name)
{
    for (size_t i = 0; i < f->n_images; i++)
        if (strcasecmp(f->images[i].name, name) == 0)
            return &f->images[i];
    return NULL;
}

struct config_version *config_find_version(const struct config_image *i, uint32_t number)
{
    for (size_t k = 0; k < i->n_versions; k++)
        if (i->versions[k].number == number)
            return &i->versions[k];
    return NULL;
}

struct config_client *config_find_client(const struct config *f, const char *name)
{
    for (size_t i = 0; i < f->n_clients; i++)
        if (strcasecmp(f->clients[i].name, name) == 0)
            return &f->clients[i];
    return NULL;
}

const struct config_link *config_link_of(const struct config_client *cl, uint32_t slot)
{
    for (size_t i = 0; i < cl->n_links; i++)
        if (cl->links[i].slot == slot)
            return &cl->links[i];
    return NULL;
}

/* --- from the catalog -------------------------------------------------------------------------------------------- */

static int no_memory(struct err *err)
{
    return err_set(err, -ENOMEM, "memory is out");
}

static int load_settings(struct catalog *c, struct config *f, struct err *err)
{
    size_t n;
    const struct setting_def *defs = setting_defs(&n);
    f->settings = calloc(n, sizeof(*f->settings));
    if (!f->settings)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        struct config_setting *s = &f->settings[f->n_settings];
        int r = setting_get(c, defs[i].key, s->value, err);
        if (r < 0)
            return r;
        s->def = &defs[i];
        f->n_settings += strcmp(s->value, defs[i].value) != 0;
    }
    return 0;
}

static void load_version(struct config_version *to, const struct version_row *v)
{
    to->number = v->number;
    to->size_bytes = v->size_bytes;
    strcpy(to->path, v->path);
    strcpy(to->format, v->format);
    strcpy(to->identity, v->identity);
    strcpy(to->full_hash, v->full_hash);
    strcpy(to->comment, v->comment);
}

static int load_image(struct catalog *c, struct config_image *to, const struct image_row *i, struct err *err)
{
    _cleanup_free_ struct version_row *rows = NULL;
    size_t n = 0;
    int r = version_list(c, i->name, &rows, &n, err);
    if (r < 0)
        return r;
    to->versions = calloc(n + 1, sizeof(*to->versions));
    if (!to->versions)
        return no_memory(err);
    strcpy(to->name, i->name);
    strcpy(to->comment, i->comment);
    to->is_data = i->is_data;
    to->is_hidden = i->is_hidden;
    to->ram_cache_bytes = i->ram_cache_bytes;
    to->current = i->current;
    to->n_versions = n;
    for (size_t k = 0; k < n; k++)
        load_version(&to->versions[k], &rows[k]);
    return 0;
}

static int load_images(struct catalog *c, struct config *f, struct err *err)
{
    _cleanup_free_ struct image_row *rows = NULL;
    size_t n = 0;
    int r = image_list(c, &rows, &n, err);
    if (r < 0)
        return r;
    f->images = calloc(n + 1, sizeof(*f->images));
    if (!f->images)
        return no_memory(err);
    for (size_t i = 0; i < n && r == 0; i++)
        r = load_image(c, &f->images[f->n_images++], &rows[i], err);
    return r;
}

static void load_client(struct config_client *to, const struct client_row *cl, const struct link_row *links, size_t n)
{
    strcpy(to->name, cl->name);
    strcpy(to->mac, cl->mac);
    strcpy(to->ip, cl->ip);
    strcpy(to->group, cl->group);
    strcpy(to->comment, cl->comment);
    strcpy(to->chap_user, cl->chap_user);
    strcpy(to->chap_password, cl->chap_password);
    strcpy(to->netmask, cl->netmask);
    strcpy(to->gateway, cl->gateway);
    strcpy(to->dns, cl->dns);
    to->mode = cl->mode;
    to->is_disabled = cl->is_disabled;
    to->boot_default = cl->boot_default;
    to->menu_timeout_s = cl->menu_timeout_s;
    to->ram_write_bytes = cl->ram_write_bytes;
    for (size_t i = 0; i < n; i++) {
        if (links[i].client_id != cl->id || to->n_links == SLOTS)
            continue;
        struct config_link *l = &to->links[to->n_links++];
        *l = (struct config_link){.slot = links[i].slot, .pinned = links[i].pinned};
        strcpy(l->image, links[i].image);
    }
}

static int load_clients(struct catalog *c, struct config *f, struct err *err)
{
    _cleanup_free_ struct client_row *rows = NULL;
    _cleanup_free_ struct link_row *links = NULL;
    size_t n = 0, n_links = 0;
    int r = client_list(c, &rows, &n, err);
    if (r == 0)
        r = link_list(c, NULL, &links, &n_links, err);
    if (r < 0)
        return r;
    f->clients = calloc(n + 1, sizeof(*f->clients));
    if (!f->clients)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        load_client(&f->clients[f->n_clients++], &rows[i], links, n_links);
    return 0;
}

int config_load(struct catalog *c, struct config **ret, struct err *err)
{
    _cleanup_(config_destroyp) struct config *f = config_create();
    if (!f)
        return no_memory(err);
    int r = load_settings(c, f, err);
    if (r == 0)
        r = load_images(c, f, err);
    if (r == 0)
        r = load_clients(c, f, err);
    if (r == 0)
        *ret = take_ptr(f);
    return r;
}

/* --- to JSON ----------------------------------------------------------------------------------------------------- */

static void put_text(json_t *o, const char *key, const char *value)
{
    if (*value)
        (void)json_object_set_new(o, key, json_string(value)); /* what is not stored is found by the caller's count */
}

static void put_number(json_t *o, const char *key, uint64_t value)
{
    if (value)
        (void)json_object_set_new(o, key, json_integer((json_int_t)value));
}

static json_t *version_json(const struct config_version *v)
{
    json_t *o = json_pack("{s:I, s:s}", "version", (json_int_t)v->number, "path", v->path);
    put_text(o, "format", v->format);
    put_number(o, "size_bytes", v->size_bytes);
    put_text(o, "identity", v->identity);
    put_text(o, "full_hash", v->full_hash);
    put_text(o, "comment", v->comment);
    return o;
}

static int images_json(const struct config *f, json_t *list, struct err *err)
{
    for (size_t i = 0; i < f->n_images; i++) {
        const struct config_image *im = &f->images[i];
        json_t *versions = json_array(),
               *o = json_pack("{s:s, s:s}", "name", im->name, "kind", im->is_data ? "data" : "boot");
        if (im->is_hidden)
            (void)json_object_set_new(o, "hidden", json_true());
        put_number(o, "ram_cache_bytes", im->ram_cache_bytes);
        put_text(o, "comment", im->comment);
        (void)json_object_set_new(o, "current_version", json_integer(im->current));
        (void)json_object_set_new(o, "versions", versions);
        (void)json_array_append_new(list, o);
        for (size_t k = 0; k < im->n_versions; k++)
            if (json_array_append_new(versions, version_json(&im->versions[k])) < 0)
                return err_set(err, -EINVAL,
                               "the path of image '%s' (version %u) is no UTF-8 text and cannot be written to a JSON "
                               "file: rename the file or its folder, then run 'diskgate image repair'",
                               im->name, im->versions[k].number);
    }
    return 0;
}

static json_t *links_json(const struct config_client *cl)
{
    json_t *list = json_array();
    for (size_t i = 0; i < cl->n_links; i++) {
        const struct config_link *l = &cl->links[i];
        json_t *o = json_pack("{s:I, s:s}", "slot", (json_int_t)l->slot, "image", l->image);
        put_number(o, "version", l->pinned);
        (void)json_array_append_new(list, o);
    }
    return list;
}

static json_t *client_json(const struct config_client *cl, bool with_secrets)
{
    json_t *o = json_pack("{s:s, s:s}", "name", cl->name, "mac", cl->mac);
    put_text(o, "ip", cl->ip);
    put_text(o, "group", cl->group);
    put_text(o, "netmask", cl->netmask);
    put_text(o, "gateway", cl->gateway);
    put_text(o, "dns", cl->dns);
    put_text(o, "mode", overlay_mode_name(cl->mode));
    if (cl->is_disabled)
        (void)json_object_set_new(o, "disabled", json_true());
    put_number(o, "boot_default_slot", cl->boot_default);
    put_number(o, "menu_timeout_s", cl->menu_timeout_s);
    put_number(o, "ram_write_bytes", cl->ram_write_bytes);
    put_text(o, "comment", cl->comment);
    if (with_secrets) {
        put_text(o, "chap_user", cl->chap_user);
        put_text(o, "chap_password", cl->chap_password);
    }
    (void)json_object_set_new(o, "links", links_json(cl));
    return o;
}

int config_json(const struct config *f, bool with_secrets, json_t **ret, struct err *err)
{
    json_t *settings = json_object(), *images = json_array(), *clients = json_array();
    _cleanup_json_ json_t *o =
        json_pack("{s:s, s:I, s:o, s:o, s:o}", "format", CONFIG_FORMAT, "version", (json_int_t)CONFIG_VERSION,
                  "settings", settings, "images", images, "clients", clients);
    if (!o)
        return no_memory(err);
    for (size_t i = 0; i < f->n_settings; i++)
        (void)json_object_set_new(settings, f->settings[i].def->key, json_string(f->settings[i].value));
    int r = images_json(f, images, err);
    for (size_t i = 0; r == 0 && i < f->n_clients; i++)
        if (json_array_append_new(clients, client_json(&f->clients[i], with_secrets)) < 0)
            r = no_memory(err);
    if (r == 0)
        *ret = take_ptr(o);
    return r;
}
