/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What leads from one configuration to another; see configuration.h.
 *
 * Things are the same when their names are. Where both sides have one whose name the other does not know, a client is the same when its
 * MAC is, an image when the path of its version 1 is: it was renamed, and keeps its overlays.
 *
 * An image's content is never exchanged under its name: its clients' overlays lie over the old one.
 */
#include "gateway/configuration.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "core/json.h"
#include "core/util.h"
#include "cli/output.h"

void config_diff_destroy(struct config_diff *d)
{
    if (!d)
        return;
    free(d->settings);
    free(d->images);
    free(d->clients);
    json_decref(d->lines);
    free(d);
}

static void say(struct config_diff *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct config_diff *d, const char *fmt, ...)
{
    char text[PATH_MAX * 2 + 512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* bounded by the fields */
    va_end(ap);
    (void)json_array_append_new(d->lines, out_string(text)); /* without memory a line less is shown */
}

/* "~ client pc1 ip 10.0.0.1 -> none" */
static void say_text(struct config_diff *d, const char *thing, const char *name, const char *field, const char *have,
                     const char *want)
{
    if (strcmp(have, want) != 0)
        say(d, "~ %s %s %s%s%s -> %s", thing, name, field, *field ? " " : "", *have ? have : "none",
            *want ? want : "none");
}

static void say_number(struct config_diff *d, const char *thing, const char *name, const char *field, uint64_t have,
                       uint64_t want)
{
    char old[24], new[24];
    (void)snprintf(old, sizeof(old), "%" PRIu64, have); /* fits, both */
    (void)snprintf(new, sizeof(new), "%" PRIu64, want);
    say_text(d, thing, name, field, old, new);
}

static void say_bool(struct config_diff *d, const char *thing, const char *name, const char *field, bool have,
                     bool want)
{
    say_text(d, thing, name, field, have ? "yes" : "no", want ? "yes" : "no");
}

/* --- fields ------------------------------------------------------------------------------------------------------ */

bool client_differs(const struct config_client *a, const struct config_client *b)
{
    return strcmp(a->mac, b->mac) != 0 || strcmp(a->ip, b->ip) != 0 || strcmp(a->group, b->group) != 0 ||
           a->mode != b->mode || strcmp(a->comment, b->comment) != 0 || a->is_disabled != b->is_disabled ||
           a->menu_timeout_s != b->menu_timeout_s || strcmp(a->netmask, b->netmask) != 0 ||
           strcmp(a->gateway, b->gateway) != 0 || strcmp(a->dns, b->dns) != 0 ||
           a->ram_write_bytes != b->ram_write_bytes;
}

bool client_secret_differs(const struct config_client *have, const struct config_client *want)
{
    return want->chap_user[0] &&
           (strcmp(have->chap_user, want->chap_user) != 0 || strcmp(have->chap_password, want->chap_password) != 0);
}

bool link_differs(const struct config_link *a, const struct config_link *b)
{
    if (!a || !b)
        return a != b;
    return a->pinned != b->pinned || strcasecmp(a->image, b->image) != 0;
}

bool version_differs(const struct config_version *have, const struct config_version *want)
{
    return strcmp(have->path, want->path) != 0 || strcmp(have->comment, want->comment) != 0 ||
           (want->full_hash[0] && strcmp(have->full_hash, want->full_hash) != 0);
}

static void link_text(const struct config_link *l, char *ret, size_t len)
{
    if (!l)
        (void)snprintf(ret, len, "none");
    else
        (void)snprintf(ret, len, l->pinned ? "%s@%u" : "%s", l->image, l->pinned);
}

/* --- settings ---------------------------------------------------------------------------------------------------- */

static const struct config_setting *find_setting(const struct config *f, const struct setting_def *def)
{
    for (size_t i = 0; i < f->n_settings; i++)
        if (f->settings[i].def == def)
            return &f->settings[i];
    return NULL;
}

static int pair_settings(struct config_diff *d, const struct config *have, const struct config *want)
{
    size_t n;
    const struct setting_def *defs = setting_defs(&n);
    d->settings = calloc(n, sizeof(*d->settings));
    if (!d->settings)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct setting_pair p = {find_setting(have, &defs[i]), find_setting(want, &defs[i])};
        if (!p.have && !p.want)
            continue;
        d->settings[d->n_settings++] = p;
        say_text(d, "setting", defs[i].key, "", p.have ? p.have->value : defs[i].value,
                 p.want ? p.want->value : defs[i].value);
    }
    return 0;
}

/* --- images ------------------------------------------------------------------------------------------------------ */

/* The image of @have that @want's @i is, or NULL. */
static struct config_image *image_of(const struct config *have, const struct config *want, const struct config_image *i)
{
    struct config_image *found = config_find_image(have, i->name);
    for (size_t k = 0; !found && k < have->n_images; k++)
        if (!config_find_image(want, have->images[k].name) &&
            strcmp(have->images[k].versions[0].path, i->versions[0].path) == 0)
            found = &have->images[k];
    return found;
}

/* Links follow the image's new name. */
static void rename_links(struct config *have, const char *old, const char *name)
{
    for (size_t i = 0; i < have->n_clients; i++)
        for (size_t k = 0; k < have->clients[i].n_links; k++)
            if (strcasecmp(have->clients[i].links[k].image, old) == 0)
                strcpy(have->clients[i].links[k].image, name);
}

/* A record that FILE tells and that is not the catalog's. */
static const char *other_content(const struct config_version *have, const struct config_version *want)
{
    if (want->identity[0] && strcmp(have->identity, want->identity) != 0)
        return "identity";
    if (want->full_hash[0] && have->full_hash[0] && strcmp(have->full_hash, want->full_hash) != 0)
        return "full_hash";
    if (want->size_bytes && have->size_bytes != want->size_bytes)
        return "size_bytes";
    if (want->format[0] && strcmp(have->format, want->format) != 0)
        return "format";
    return NULL;
}

static int check_versions(const struct config_image *have, const struct config_image *want, struct err *err)
{
    for (size_t i = 0; i < want->n_versions; i++) {
        const struct config_version *v = &want->versions[i], *old = have ? config_find_version(have, v->number) : NULL;
        if (!old && (have || v->number != 1))
            return err_set(err, -EOPNOTSUPP,
                           "image '%s': version %u is not in the catalog, and only the first version of an image can "
                           "be added from a file",
                           want->name, v->number);
        const char *field = old ? other_content(old, v) : NULL;
        if (field)
            return err_set(err, -ESTALE,
                           "image '%s': the %s of version %u is another one in the catalog: give the new content a "
                           "name of its own, or correct the file",
                           want->name, field, v->number);
    }
    for (size_t i = 0; have && i < have->n_versions; i++)
        if (!config_find_version(want, have->versions[i].number))
            return err_set(err, -EOPNOTSUPP,
                           "image '%s': version %u is in the catalog and not in the file, and a single version cannot "
                           "be removed this way",
                           want->name, have->versions[i].number);
    if (have && have->current != want->current)
        return err_set(err, -EOPNOTSUPP, "image '%s': the current version is %u, and cannot be made %u this way",
                       want->name, have->current, want->current);
    return 0;
}

static void say_image(struct config_diff *d, const struct config_image *have, const struct config_image *want)
{
    if (!want)
        say(d, "- image %s", have->name);
    else if (!have)
        say(d, "+ image %s (%s)", want->name, want->versions[0].path);
    if (!have || !want)
        return;
    if (strcmp(have->name, want->name) != 0)
        say(d, "~ image %s name -> %s", have->name, want->name);
    say_text(d, "image", want->name, "kind", have->is_data ? "data" : "boot", want->is_data ? "data" : "boot");
    say_bool(d, "image", want->name, "hidden", have->is_hidden, want->is_hidden);
    say_number(d, "image", want->name, "ram_cache_bytes", have->ram_cache_bytes, want->ram_cache_bytes);
    say_text(d, "image", want->name, "comment", have->comment, want->comment);
    for (size_t i = 0; i < want->n_versions; i++) {
        const struct config_version *v = &want->versions[i], *old = config_find_version(have, v->number);
        char name[NAME_LEN + 16];
        (void)snprintf(name, sizeof(name), "%s@%u", want->name, v->number);
        say_text(d, "image", name, "path", old->path, v->path);
        say_text(d, "image", name, "comment", old->comment, v->comment);
        if (v->full_hash[0])
            say_text(d, "image", name, "full_hash", old->full_hash, v->full_hash);
    }
}

static bool has_image(const struct config_diff *d, const struct config_image *have)
{
    for (size_t i = 0; i < d->n_images; i++)
        if (d->images[i].have == have)
            return true;
    return false;
}

static int pair_images(struct config_diff *d, struct config *have, const struct config *want, struct err *err)
{
    d->images = calloc(have->n_images + want->n_images + 1, sizeof(*d->images));
    if (!d->images)
        return -ENOMEM;
    for (size_t i = 0; i < want->n_images; i++) {
        struct image_pair p = {image_of(have, want, &want->images[i]), &want->images[i]};
        int r = check_versions(p.have, p.want, err);
        if (r < 0)
            return r;
        d->images[d->n_images++] = p;
        if (p.have && strcmp(p.have->name, p.want->name) != 0)
            rename_links(have, p.have->name, p.want->name);
    }
    for (size_t i = 0; i < have->n_images; i++)
        if (!has_image(d, &have->images[i]))
            d->images[d->n_images++] = (struct image_pair){&have->images[i], NULL};
    for (size_t i = 0; i < d->n_images; i++)
        say_image(d, d->images[i].have, d->images[i].want);
    return 0;
}

/* --- clients ----------------------------------------------------------------------------------------------------- */

static const struct config_client *client_of(const struct config *have, const struct config *want,
                                             const struct config_client *cl)
{
    const struct config_client *found = config_find_client(have, cl->name);
    for (size_t k = 0; !found && k < have->n_clients; k++)
        if (!config_find_client(want, have->clients[k].name) && strcmp(have->clients[k].mac, cl->mac) == 0)
            found = &have->clients[k];
    return found;
}

static void say_links(struct config_diff *d, const struct config_client *have, const struct config_client *want)
{
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const struct config_link *a = have ? config_link_of(have, slot) : NULL, *b = config_link_of(want, slot);
        char old[NAME_LEN + 16], new[NAME_LEN + 16];
        if (!link_differs(a, b))
            continue;
        link_text(a, old, sizeof(old));
        link_text(b, new, sizeof(new));
        if (have)
            say(d, "~ client %s slot %u %s -> %s", want->name, slot, old, new);
        else
            say(d, "+ client %s slot %u %s", want->name, slot, new);
    }
}

static void say_fields(struct config_diff *d, const struct config_client *have, const struct config_client *want)
{
    say_text(d, "client", want->name, "mac", have->mac, want->mac);
    say_text(d, "client", want->name, "ip", have->ip, want->ip);
    say_text(d, "client", want->name, "netmask", have->netmask, want->netmask);
    say_text(d, "client", want->name, "gateway", have->gateway, want->gateway);
    say_text(d, "client", want->name, "dns", have->dns, want->dns);
    say_text(d, "client", want->name, "group", have->group, want->group);
    say_text(d, "client", want->name, "mode", overlay_mode_name(have->mode), overlay_mode_name(want->mode));
    say_bool(d, "client", want->name, "disabled", have->is_disabled, want->is_disabled);
    say_number(d, "client", want->name, "menu_timeout_s", have->menu_timeout_s, want->menu_timeout_s);
    say_number(d, "client", want->name, "ram_write_bytes", have->ram_write_bytes, want->ram_write_bytes);
    say_text(d, "client", want->name, "comment", have->comment, want->comment);
    if (client_secret_differs(have, want))
        say(d, "~ client %s CHAP user and password", want->name);
}

static void say_client(struct config_diff *d, const struct config_client *have, const struct config_client *want)
{
    if (!want)
        say(d, "- client %s", have->name);
    else if (!have)
        say(d, "+ client %s (%s)", want->name, want->mac);
    if (!want)
        return;
    if (have && strcmp(have->name, want->name) != 0)
        say(d, "~ client %s name -> %s", have->name, want->name);
    if (have)
        say_fields(d, have, want);
    say_links(d, have, want);
    if (have)
        say_number(d, "client", want->name, "boot_default_slot", have->boot_default, want->boot_default);
}

static bool has_client(const struct config_diff *d, const struct config_client *have)
{
    for (size_t i = 0; i < d->n_clients; i++)
        if (d->clients[i].have == have)
            return true;
    return false;
}

static int pair_clients(struct config_diff *d, const struct config *have, const struct config *want)
{
    d->clients = calloc(have->n_clients + want->n_clients + 1, sizeof(*d->clients));
    if (!d->clients)
        return -ENOMEM;
    for (size_t i = 0; i < want->n_clients; i++)
        d->clients[d->n_clients++] = (struct client_pair){client_of(have, want, &want->clients[i]), &want->clients[i]};
    for (size_t i = 0; i < have->n_clients; i++)
        if (!has_client(d, &have->clients[i]))
            d->clients[d->n_clients++] = (struct client_pair){&have->clients[i], NULL};
    for (size_t i = 0; i < d->n_clients; i++)
        say_client(d, d->clients[i].have, d->clients[i].want);
    return 0;
}

int config_diff(struct config *have, const struct config *want, struct config_diff **ret, struct err *err)
{
    _cleanup_(config_diff_destroyp) struct config_diff *d = calloc(1, sizeof(*d));
    if (!d || !(d->lines = json_array()))
        return err_set(err, -ENOMEM, "memory is out");
    int r = pair_settings(d, have, want);
    if (r == 0)
        r = pair_images(d, have, want, err);
    if (r == 0)
        r = pair_clients(d, have, want);
    if (r == -ENOMEM)
        return err_set(err, r, "memory is out");
    if (r == 0)
        *ret = take_ptr(d);
    return r;
}
