/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The strict reader of a configuration file; see configuration.h.
 *
 * Every value goes through the check that the command line would put it through, so that what was read can be stored. Keys that are not
 * known are refused: a misspelt key would otherwise become a default. "settings", "images" and "clients" must all be there: what is
 * not in the file is removed from the catalog, and a forgotten list would empty it.
 *
 * Sentences begin with the place: "'site.json': clients[3].mac: ...".
 */
#include "gateway/configuration.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "core/json.h"
#include "core/names.h"
#include "core/util.h"
#include "gateway/config-place.h"

/* --- settings ---------------------------------------------------------------------------------------------------- */

static int read_setting(const struct place *p, const struct setting_def *def, struct config_setting *s, struct err *err)
{
    char text[SETTING_LEN + 1];
    int r = place_text(p, def->key, OPTIONAL, s->value, sizeof(s->value), err);
    if (r < 0)
        return r;
    strcpy(text, s->value);
    if (!def->is_valid(def->form, s->value))
        return place_refuse(p, def->key, err, "'%.80s' cannot be; it takes: %s", text, def->form);
    s->def = def;
    return 0;
}

static int read_settings(const struct place *top, struct config *f, struct err *err)
{
    struct place p = {.file = top->file, .where = "settings", .o = json_object_get(top->o, "settings")};
    const char *key;
    json_t *value;
    size_t n;
    if (!json_is_object(p.o))
        return place_refuse(&p, "", err, p.o ? "this must be an object in { }" : "this key is missing");
    json_object_foreach(p.o, key, value) if (!setting_find(key)) return place_refuse(
        &p, key, err, "there is no such setting; 'diskgate set' lists all");
    const struct setting_def *defs = setting_defs(&n);
    f->settings = calloc(n, sizeof(*f->settings));
    if (!f->settings)
        return err_set(err, -ENOMEM, "memory is out");
    for (size_t i = 0; i < n; i++) {
        struct config_setting *s = &f->settings[f->n_settings];
        int r = json_object_get(p.o, defs[i].key) ? read_setting(&p, &defs[i], s, err) : 0;
        if (r < 0)
            return r;
        f->n_settings += s->def && strcmp(s->value, defs[i].value) != 0;
        if (f->n_settings < n)
            f->settings[f->n_settings].def = NULL;
    }
    return 0;
}

/* --- clients ----------------------------------------------------------------------------------------------------- */

/* Does the image that @l names exist, and may it be there? */
static int check_link(const struct place *p, const struct config *f, const struct config_link *l, struct err *err)
{
    const struct config_image *i = config_find_image(f, l->image);
    if (!i)
        return place_refuse(p, "image", err, "there is no image '%s' in the list of images", l->image);
    if (l->pinned && !config_find_version(i, l->pinned))
        return place_refuse(p, "version", err, "image '%s' has no version %u", i->name, l->pinned);
    if (slot_is_boot(l->slot) && i->is_data)
        return place_refuse(p, "slot", err,
                            "slot %u is for a boot disk and '%s' is a data image: use a slot from 1 to %d", l->slot,
                            i->name, SLOT_MAX);
    return 0;
}

static int read_link(const struct place *p, const struct config *f, struct config_client *cl, struct err *err)
{
    static const char *const keys[] = {"slot", "image", "version", NULL};
    struct config_link l;
    uint64_t slot, pinned;
    int r = place_check_keys(p, keys, err);
    if (r == 0)
        r = place_number(p, "slot", 0, BOOT_SLOT_LAST, 0, &slot, err);
    if (r == 0)
        r = place_name(p, "image", REQUIRED, "image name", l.image, err);
    if (r == 0)
        r = place_number(p, "version", 1, UINT32_MAX, 0, &pinned, err);
    if (r < 0)
        return r;
    l.slot = (uint32_t)slot;
    l.pinned = (uint32_t)pinned;
    if (config_link_of(cl, l.slot))
        return place_refuse(p, "slot", err, "slot %u is there twice", l.slot);
    r = check_link(p, f, &l, err);
    if (r == 0)
        cl->links[cl->n_links++] = l; /* at most one for each slot */
    return r;
}

static int by_slot(const void *a, const void *b)
{
    const struct config_link *x = a, *y = b;
    return (x->slot > y->slot) - (x->slot < y->slot);
}

static int read_links(const struct place *p, const struct config *f, struct config_client *cl, struct err *err)
{
    json_t *list, *item;
    size_t k;
    if (!json_object_get(p->o, "links"))
        return 0;
    int r = place_list(p, "links", 0, &list, err);
    if (r < 0)
        return r;
    json_array_foreach(list, k, item)
    {
        struct place at;
        r = place_enter(p, "links", k, item, &at, err);
        if (r == 0)
            r = read_link(&at, f, cl, err);
        if (r < 0)
            return r;
    }
    qsort(cl->links, cl->n_links, sizeof(*cl->links), by_slot);
    return 0;
}

static int read_ip(const struct place *p, char *ret, size_t size, struct err *err)
{
    unsigned char addr[16];
    int r = place_text(p, "ip", OPTIONAL, ret, size, err);
    int family = strchr(ret, ':') ? AF_INET6 : AF_INET;
    if (r < 0 || !ret[0])
        return r;
    if (inet_pton(family, ret, addr) != 1)
        return place_refuse(p, "ip", err, "'%s' is no IP address; write it as 192.168.1.20", ret);
    (void)inet_ntop(family, addr, ret, (socklen_t)size); /* what was parsed fits again */
    return 0;
}

static int read_mac(const struct place *p, char *ret, struct err *err)
{
    char text[64];
    struct err why;
    int r = place_text(p, "mac", REQUIRED, text, sizeof(text), err);
    if (r == 0 && mac_parse(text, ret, &why) < 0)
        r = place_refuse_as(p, "mac", &why, err);
    return r;
}

static int read_mode(const struct place *p, enum overlay_mode *ret, struct err *err)
{
    char text[16];
    int r = place_text(p, "mode", OPTIONAL, text, sizeof(text), err);
    *ret = OVERLAY_VOLATILE;
    if (r < 0 || !text[0])
        return r;
    for (int m = OVERLAY_VOLATILE; m <= OVERLAY_SUPER; m++)
        if (strcmp(text, overlay_mode_name((enum overlay_mode)m)) == 0) {
            *ret = (enum overlay_mode)m;
            return 0;
        }
    return place_refuse(p, "mode", err, "'%s' must be volatile, kept or super", text);
}

/* Both or none; the user as it becomes a part of tgt's accounts, the password as Windows wants it. */
static int read_secret(const struct place *p, struct config_client *cl, struct err *err)
{
    int r = place_text(p, "chap_user", OPTIONAL, cl->chap_user, sizeof(cl->chap_user), err);
    if (r == 0)
        r = place_text(p, "chap_password", OPTIONAL, cl->chap_password, sizeof(cl->chap_password), err);
    if (r < 0)
        return r;
    size_t n = strlen(cl->chap_password);
    if (!cl->chap_user[0] != !n)
        return place_refuse(p, cl->chap_user[0] ? "chap_password" : "chap_user", err, "user and password go together");
    return client_chap_check(cl->chap_user, cl->chap_password, NULL) == 0 || n == 0
               ? 0
               : place_refuse(p, n < 12 || n > 16 ? "chap_password" : "chap_user", err,
                              "a password has 12 to 16 letters and digits, a user letters, digits and . _ -");
}

static int read_network(const struct place *p, const char *key, char *ret, size_t size, struct err *err)
{
    struct client_row row = {0};
    struct err why;
    char *field = strcmp(key, "netmask") == 0 ? row.netmask : strcmp(key, "gateway") == 0 ? row.gateway : row.dns;
    int r = place_text(p, key, OPTIONAL, ret, size, err);
    if (r < 0)
        return r;
    strcpy(field, ret); /* of the same size */
    if (client_network_check(&row, &why) < 0)
        return place_refuse_as(p, key, &why, err);
    strcpy(ret, field);
    return 0;
}

static int read_menu(const struct place *p, struct config_client *cl, struct err *err)
{
    uint64_t slot = 0, timeout_s = 0;
    int r = place_number(p, "menu_timeout_s", 0, MENU_TIMEOUT_MAX_S, 0, &timeout_s, err);
    if (r == 0)
        r = place_number(p, "boot_default_slot", 0, BOOT_SLOT_LAST, 0, &slot, err);
    if (r < 0)
        return r;
    cl->menu_timeout_s = (uint32_t)timeout_s;
    cl->boot_default = (uint32_t)slot;
    if (slot > 0 && (!slot_is_boot(cl->boot_default) || !config_link_of(cl, cl->boot_default)))
        return place_refuse(p, "boot_default_slot", err, "slot %u is no boot disk of this client", cl->boot_default);
    return 0;
}

static int read_client(const struct place *p, const struct config *f, struct config_client *cl, struct err *err)
{
    static const char *const keys[] = {"name",
                                       "mac",
                                       "ip",
                                       "netmask",
                                       "gateway",
                                       "dns",
                                       "group",
                                       "mode",
                                       "disabled",
                                       "boot_default_slot",
                                       "menu_timeout_s",
                                       "ram_write_bytes",
                                       "comment",
                                       "chap_user",
                                       "chap_password",
                                       "links",
                                       NULL};
    int r = place_check_keys(p, keys, err);
    if (r == 0)
        r = place_name(p, "name", REQUIRED, "client name", cl->name, err);
    if (r == 0)
        r = read_mac(p, cl->mac, err);
    if (r == 0)
        r = read_ip(p, cl->ip, sizeof(cl->ip), err);
    if (r == 0)
        r = place_name(p, "group", OPTIONAL, "group name", cl->group, err);
    if (r == 0)
        r = read_network(p, "netmask", cl->netmask, sizeof(cl->netmask), err);
    if (r == 0)
        r = read_network(p, "gateway", cl->gateway, sizeof(cl->gateway), err);
    if (r == 0)
        r = read_network(p, "dns", cl->dns, sizeof(cl->dns), err);
    if (r == 0)
        r = read_mode(p, &cl->mode, err);
    if (r == 0)
        r = place_bool(p, "disabled", &cl->is_disabled, err);
    if (r == 0)
        r = place_number(p, "ram_write_bytes", 0, INT64_MAX, 0, &cl->ram_write_bytes, err);
    if (r == 0)
        r = place_comment(p, cl->comment, err);
    if (r == 0)
        r = read_secret(p, cl, err);
    if (r == 0)
        r = read_links(p, f, cl, err);
    return r < 0 ? r : read_menu(p, cl, err);
}

/* Names, MACs, addresses and CHAP users are each a client's own. */
static int check_client_alone(const struct place *p, const struct config *f, const struct config_client *cl,
                              struct err *err)
{
    for (size_t k = 0; k < f->n_clients; k++) {
        const struct config_client *o = &f->clients[k];
        if (strcasecmp(o->name, cl->name) == 0)
            return place_refuse(p, "name", err, "the name '%s' is there twice", cl->name);
        if (strcmp(o->mac, cl->mac) == 0)
            return place_refuse(p, "mac", err, "%s is that of client '%s' too", cl->mac, o->name);
        if (cl->ip[0] && strcmp(o->ip, cl->ip) == 0)
            return place_refuse(p, "ip", err, "%s is that of client '%s' too", cl->ip, o->name);
        if (cl->chap_user[0] && strcmp(o->chap_user, cl->chap_user) == 0)
            return place_refuse(p, "chap_user", err, "'%s' is that of client '%s' too", cl->chap_user, o->name);
    }
    return 0;
}

static int by_client_name(const void *a, const void *b)
{
    return name_compare(((const struct config_client *)a)->name, ((const struct config_client *)b)->name);
}

static int read_clients(const struct place *top, struct config *f, struct err *err)
{
    json_t *list, *item;
    size_t k;
    int r = place_list(top, "clients", 0, &list, err);
    if (r < 0)
        return r;
    f->clients = calloc(json_array_size(list) + 1, sizeof(*f->clients));
    if (!f->clients)
        return err_set(err, -ENOMEM, "memory is out");
    json_array_foreach(list, k, item)
    {
        struct place at;
        r = place_enter(top, "clients", k, item, &at, err);
        if (r == 0)
            r = read_client(&at, f, &f->clients[k], err);
        if (r == 0)
            r = check_client_alone(&at, f, &f->clients[k], err);
        if (r < 0)
            return r;
        f->n_clients++;
    }
    qsort(f->clients, f->n_clients, sizeof(*f->clients), by_client_name);
    return 0;
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

static int check_head(const struct place *top, struct err *err)
{
    static const char *const keys[] = {"format", "version", "settings", "images", "clients", NULL};
    const char *format = json_string_value(json_object_get(top->o, "format"));
    json_t *version = json_object_get(top->o, "version");
    if (!json_is_object(top->o) || !format || strcmp(format, CONFIG_FORMAT) != 0)
        return place_refuse(top, "", err, "this is no configuration of Diskgate: it does not say \"format\": \"%s\"",
                            CONFIG_FORMAT);
    if (!json_is_integer(version) || json_integer_value(version) < 1)
        return place_refuse(top, "version", err, "this must be the number %d", CONFIG_VERSION);
    if (json_integer_value(version) > CONFIG_VERSION)
        return err_set(err, -EOPNOTSUPP,
                       "'%s' has version %lld and this Diskgate knows version %d: use the newer Diskgate that made it",
                       top->file, (long long)json_integer_value(version), CONFIG_VERSION);
    return place_check_keys(top, keys, err);
}

int config_read(const char *text, size_t len, const char *name, struct config **ret, struct err *err)
{
    json_error_t where;
    _cleanup_json_ json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
    if (!o)
        return err_set(err, -EINVAL, "'%s': line %d, column %d: %s", name, where.line, where.column, where.text);
    _cleanup_(config_destroyp) struct config *f = config_create();
    struct place top = {.file = name, .where = "", .o = o};
    if (!f)
        return err_set(err, -ENOMEM, "memory is out");
    int r = check_head(&top, err);
    if (r == 0)
        r = read_settings(&top, f, err);
    if (r == 0)
        r = config_read_images(&top, f, err);
    if (r == 0)
        r = read_clients(&top, f, err);
    if (r == 0)
        *ret = take_ptr(f);
    return r;
}
