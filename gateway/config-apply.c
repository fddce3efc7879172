/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A difference of configurations becomes calls of the catalog's writers, in an order in which none of their rules is broken on the way:
 *
 *   settings -> renames -> clients removed, links removed -> images added and changed -> clients changed and added
 *            -> links set -> defaults of boot menus -> images that become data images -> images removed
 *
 * Clients may exchange their MACs, addresses or CHAP users. Whoever holds what another one shall have is parked first: a locally
 * administered MAC that nobody has, no address, a CHAP user that nobody has.
 */
#include "gateway/configuration.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "core/image.h"
#include "core/root.h"
#include "core/util.h"

struct work {
    const char *root;
    struct catalog *c;
    const struct config_diff *d;
    struct err *err;
};

/* --- settings ---------------------------------------------------------------------------------------------------- */

/* Ports and shards limit each other: one shard fits every port, so shards are brought to their default first. */
static int apply_settings(const struct work *w)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->d->n_settings; i++) {
        const struct setting_pair *p = &w->d->settings[i];
        if (p->have && strcmp(p->have->def->key, "gateway.shards") == 0)
            r = setting_set(w->c, "gateway.shards", NULL, w->err);
    }
    for (size_t i = 0; r == 0 && i < w->d->n_settings; i++) {
        const struct setting_pair *p = &w->d->settings[i];
        bool is_equal = p->have && p->want && strcmp(p->have->value, p->want->value) == 0;
        const char *key = (p->have ? p->have : p->want)->def->key;
        if (!is_equal || strcmp(key, "gateway.shards") == 0)
            r = setting_set(w->c, key, p->want ? p->want->value : NULL, w->err);
    }
    return r;
}

/* --- image files ------------------------------------------------------------------------------------------------- */

/* What Diskgate keeps in its root for itself is nobody's disk: views, overlays, the catalog. */
static int refuse_own_file(const struct work *w, const char *path)
{
    static const char *const own[] = {"run/", "overlays/", "catalog.db"};
    char real[PATH_MAX];
    size_t len = strlen(w->root);
    if (!realpath(path, real) || strncmp(real, w->root, len) != 0 || real[len] != '/')
        return 0; /* a file that is not there is the business of open() */
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (strncmp(real + len + 1, own[i], strlen(own[i])) == 0)
            return err_set(w->err, -EINVAL, "'%s' is a file that Diskgate keeps for itself, not an image", path);
    return 0;
}

/* Look at the file of @v and compare it with what is recorded in @record. */
static int look_at_file(const struct work *w, const char *image, const char *name, const struct config_version *record,
                        struct image_info *ret, char *ret_identity)
{
    char path[PATH_MAX];
    int r = 0;
    if (name[0] == '/')
        strcpy(path, name);
    else
        r = root_path(w->root, name, path, w->err);
    if (r == 0)
        r = refuse_own_file(w, path);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_sys(w->err, -errno, "image '%s': cannot open its file '%s'", image, path);
    r = image_probe(fd, path, ret, w->err);
    if (r == 0)
        r = image_identity(fd, ret, ret_identity, w->err);
    if (r < 0)
        return r;
    const char *field = record->format[0] && strcmp(record->format, image_format_name(ret->format)) != 0 ? "format"
                        : record->size_bytes && record->size_bytes != ret->size_bytes                    ? "size"
                        : record->identity[0] && strcmp(record->identity, ret_identity) != 0             ? "content"
                                                                                                         : NULL;
    return field ? err_set(w->err, -ESTALE,
                           "image '%s': the %s of '%s' is not what is recorded: put the right file there", image, field,
                           path)
                 : 0;
}

static int add_image(const struct work *w, const struct config_image *i)
{
    const struct config_version *v = &i->versions[0];
    struct image_info info;
    struct image_row row = {.is_data = i->is_data, .is_hidden = i->is_hidden, .ram_cache_bytes = i->ram_cache_bytes};
    struct version_row version = {.is_adopted = v->path[0] == '/'};
    int r = look_at_file(w, i->name, v->path, v, &info, version.identity);
    if (r < 0)
        return r;
    strcpy(row.name, i->name);
    strcpy(row.comment, i->comment);
    strcpy(version.path, v->path);
    strcpy(version.full_hash, v->full_hash);
    strcpy(version.comment, v->comment);
    (void)snprintf(version.format, sizeof(version.format), "%s", image_format_name(info.format));
    version.size_bytes = info.size_bytes;
    version.file_bytes = info.file_bytes;
    version.mtime_ns = info.mtime_ns;
    return image_add(w->c, &row, &version, w->err);
}

/* A file at another path keeps the time that was recorded: where the file has another one, the full hash decides when it is attached. */
static int set_version(const struct work *w, const char *image, const struct config_version *have,
                       const struct config_version *want)
{
    struct version_row v;
    struct image_info info;
    char identity[IDENTITY_LEN + 1];
    int r = version_find(w->c, image, want->number, &v, w->err);
    if (r == 0 && strcmp(have->path, want->path) != 0) {
        r = look_at_file(w, image, want->path, have, &info, identity);
        if (r == 0)
            v.file_bytes = info.file_bytes;
    }
    if (r < 0)
        return r;
    strcpy(v.path, want->path);
    strcpy(v.comment, want->comment);
    if (want->full_hash[0])
        strcpy(v.full_hash, want->full_hash);
    return version_update(w->c, &v, w->err);
}

/* --- images ------------------------------------------------------------------------------------------------------ */

static int rename_images(const struct work *w)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->d->n_images; i++) {
        const struct image_pair *p = &w->d->images[i];
        if (p->have && p->want && strcmp(p->have->name, p->want->name) != 0)
            r = image_rename(w->c, p->have->name, p->want->name, w->err);
    }
    return r;
}

static int store_image(const struct work *w, const struct config_image *want, bool is_data)
{
    struct image_row row;
    int r = image_get(w->c, want->name, &row, w->err);
    if (r < 0 || (row.is_data == is_data && row.is_hidden == want->is_hidden &&
                  row.ram_cache_bytes == want->ram_cache_bytes && strcmp(row.comment, want->comment) == 0))
        return r;
    row.is_data = is_data;
    row.is_hidden = want->is_hidden;
    row.ram_cache_bytes = want->ram_cache_bytes;
    strcpy(row.comment, want->comment);
    return image_set(w->c, &row, w->err);
}

static int set_image(const struct work *w, const struct image_pair *p)
{
    int r = 0;
    for (size_t k = 0; r == 0 && k < p->want->n_versions; k++) {
        const struct config_version *v = &p->want->versions[k], *old = config_find_version(p->have, v->number);
        if (version_differs(old, v))
            r = set_version(w, p->want->name, old, v);
    }
    /* To boot now, to data when the links are set. */
    return r < 0 ? r : store_image(w, p->want, p->have->is_data && p->want->is_data);
}

static int add_and_set_images(const struct work *w)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->d->n_images; i++) {
        const struct image_pair *p = &w->d->images[i];
        if (p->want)
            r = p->have ? set_image(w, p) : add_image(w, p->want);
    }
    return r;
}

static int finish_images(const struct work *w)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->d->n_images; i++) {
        const struct image_pair *p = &w->d->images[i];
        if (!p->want)
            r = image_remove(w->c, p->have->name, w->err);
        else if (p->have && p->want->is_data)
            r = store_image(w, p->want, true);
    }
    return r;
}

/* --- clients ----------------------------------------------------------------------------------------------------- */

static int remove_links(const struct work *w, const struct client_pair *p)
{
    int r = 0;
    for (size_t k = 0; r == 0 && k < p->have->n_links; k++)
        if (!config_link_of(p->want, p->have->links[k].slot))
            r = link_remove(w->c, p->have->name, p->have->links[k].slot, w->err);
    return r;
}

static int remove_and_rename_clients(const struct work *w)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->d->n_clients; i++) {
        const struct client_pair *p = &w->d->clients[i];
        if (p->have && !p->want)
            r = client_remove(w->c, p->have->name, w->err);
        else if (p->have)
            r = remove_links(w, p);
        if (r == 0 && p->have && p->want && strcmp(p->have->name, p->want->name) != 0)
            r = client_rename(w->c, p->have->name, p->want->name, w->err);
    }
    return r;
}

static bool is_mac_known(const struct config_diff *d, const char *mac)
{
    for (size_t i = 0; i < d->n_clients; i++) {
        const struct client_pair *p = &d->clients[i];
        if ((p->have && strcmp(p->have->mac, mac) == 0) || (p->want && strcmp(p->want->mac, mac) == 0))
            return true;
    }
    return false;
}

/* Does another client get what @own holds now? */
static bool is_in_the_way(const struct config_diff *d, const struct client_pair *own)
{
    for (size_t i = 0; i < d->n_clients; i++) {
        const struct config_client *want = d->clients[i].want;
        if (!want || &d->clients[i] == own)
            continue;
        if (strcmp(want->mac, own->have->mac) == 0 || (want->ip[0] && strcmp(want->ip, own->have->ip) == 0))
            return true;
    }
    return false;
}

static int park_client(const struct work *w, const struct client_pair *p, uint32_t *number)
{
    struct client_row row;
    int r = client_get(w->c, p->want->name, &row, w->err);
    if (r < 0)
        return r;
    row.ip[0] = 0;
    do
        (void)snprintf(row.mac, sizeof(row.mac), "06:64:67:%02x:%02x:%02x", *number >> 16 & 0xff, *number >> 8 & 0xff,
                       *number & 0xff);
    while ((*number)++, is_mac_known(w->d, row.mac));
    return client_set(w->c, &row, w->err);
}

/* All but name, secret and boot_default. */
static void take_fields(struct client_row *row, const struct config_client *want)
{
    strcpy(row->mac, want->mac);
    strcpy(row->ip, want->ip);
    strcpy(row->netmask, want->netmask);
    strcpy(row->gateway, want->gateway);
    strcpy(row->dns, want->dns);
    strcpy(row->group, want->group);
    strcpy(row->comment, want->comment);
    row->mode = want->mode;
    row->is_disabled = want->is_disabled;
    row->menu_timeout_s = want->menu_timeout_s;
    row->ram_write_bytes = want->ram_write_bytes;
}

static int set_client(const struct work *w, const struct config_client *want)
{
    struct client_row row;
    int r = client_get(w->c, want->name, &row, w->err);
    if (r < 0)
        return r;
    take_fields(&row, want);
    return client_set(w->c, &row, w->err);
}

static int add_client(const struct work *w, const struct config_client *want)
{
    struct client_row row = {0};
    strcpy(row.name, want->name);
    take_fields(&row, want);
    return client_add(w->c, &row, w->err);
}

static int set_clients(const struct work *w)
{
    uint32_t number = 0;
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->d->n_clients; i++) {
        const struct client_pair *p = &w->d->clients[i];
        if (p->have && p->want && is_in_the_way(w->d, p))
            r = park_client(w, p, &number);
    }
    for (size_t i = 0; r == 0 && i < w->d->n_clients; i++) {
        const struct client_pair *p = &w->d->clients[i];
        if (p->have && p->want && client_differs(p->have, p->want))
            r = set_client(w, p->want);
        else if (!p->have)
            r = add_client(w, p->want);
    }
    return r;
}

static int set_secrets(const struct work *w)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->d->n_clients; i++) {
        const struct client_pair *p = &w->d->clients[i];
        char parked[64];
        (void)snprintf(parked, sizeof(parked), "_parked_%zu", i); /* no generated one has an underscore */
        if (p->want && p->want->chap_user[0] && (!p->have || client_secret_differs(p->have, p->want)))
            r = client_set_chap(w->c, p->want->name, parked, p->want->chap_password, w->err);
    }
    for (size_t i = 0; r == 0 && i < w->d->n_clients; i++) {
        const struct client_pair *p = &w->d->clients[i];
        if (p->want && p->want->chap_user[0] && (!p->have || client_secret_differs(p->have, p->want)))
            r = client_set_chap(w->c, p->want->name, p->want->chap_user, p->want->chap_password, w->err);
    }
    return r;
}

static int set_links(const struct work *w)
{
    int r = 0;
    for (size_t i = 0; i < w->d->n_clients; i++) {
        const struct client_pair *p = &w->d->clients[i];
        for (size_t k = 0; r == 0 && p->want && k < p->want->n_links; k++) {
            const struct config_link *l = &p->want->links[k], *old = p->have ? config_link_of(p->have, l->slot) : NULL;
            if (link_differs(old, l))
                r = link_set(w->c, p->want->name, l->slot, l->image, l->pinned, w->err);
        }
    }
    return r;
}

static int set_boot_defaults(const struct work *w)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->d->n_clients; i++) {
        const struct config_client *want = w->d->clients[i].want;
        struct client_row row;
        r = want ? client_get(w->c, want->name, &row, w->err) : 0;
        if (r < 0 || !want || row.boot_default == want->boot_default)
            continue;
        row.boot_default = want->boot_default;
        r = client_set(w->c, &row, w->err);
    }
    return r;
}

int config_apply(const char *root, struct catalog *c, const struct config_diff *d, struct err *err)
{
    const struct work w = {root, c, d, err};
    int (*const steps[])(const struct work *) = {apply_settings,     rename_images,     remove_and_rename_clients,
                                                 add_and_set_images, set_clients,       set_secrets,
                                                 set_links,          set_boot_defaults, finish_images};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(steps); i++)
        r = steps[i](&w);
    return r;
}
