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
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "core/ctl.h"
#include "core/image.h"
#include "core/names.h"
#include "core/util.h"

#define WHERE_LEN 96

/* An object of the file that is being read. */
struct place {
    const char *file;
    char where[WHERE_LEN]; /* "clients[3]", "" = the whole */
    json_t *o;
};

/* --- places ------------------------------------------------------------------------------------------------------ */

static int refuse(const struct place *p, const char *key, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static int refuse(const struct place *p, const char *key, struct err *err, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* a cut sentence is still a sentence */
    va_end(ap);
    const char *dot = p->where[0] && key[0] ? "." : "", *colon = p->where[0] || key[0] ? ": " : "";
    return err_set(err, -EINVAL, "'%s': %s%s%.80s%s%s", p->file, p->where, dot, key, colon, text);
}

/* The sentence of a check of core, behind the place. */
static int refuse_as(const struct place *p, const char *key, const struct err *why, struct err *err)
{
    return refuse(p, key, err, "%s", why->msg);
}

/* @item as an object at "LIST[i]". */
static int enter(const struct place *above, const char *list, size_t i, json_t *item, struct place *ret,
                 struct err *err)
{
    ret->file = above->file;
    ret->o = item;
    (void)snprintf(ret->where, sizeof(ret->where), "%.60s%s%s[%zu]", above->where, above->where[0] ? "." : "", list, i);
    return json_is_object(item) ? 0 : refuse(ret, "", err, "this must be an object in { }");
}

/* Refuse keys that are not among @keys (ended by NULL). */
static int check_keys(const struct place *p, const char *const *keys, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(p->o, key, value)
    {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (!keys[i])
            return refuse(p, key, err, "there is no such key here");
    }
    return 0;
}

/* --- values ------------------------------------------------------------------------------------------------------ */

enum { OPTIONAL, REQUIRED };

/* Text of @key into @ret (@size bytes), "" where an optional one is not there. */
static int get_text(const struct place *p, const char *key, int need, char *ret, size_t size, struct err *err)
{
    json_t *v = json_object_get(p->o, key);
    ret[0] = 0;
    if (!v)
        return need == REQUIRED ? refuse(p, key, err, "this key is missing") : 0;
    if (!json_is_string(v))
        return refuse(p, key, err, "this must be text in quotes");
    if (json_string_length(v) >= size)
        return refuse(p, key, err, "this text is too long: at most %zu bytes", size - 1);
    if (need == REQUIRED && json_string_length(v) == 0)
        return refuse(p, key, err, "this must not be empty");
    memcpy(ret, json_string_value(v), json_string_length(v) + 1);
    return 0;
}

static int get_number(const struct place *p, const char *key, uint64_t low, uint64_t high, uint64_t standard,
                      uint64_t *ret, struct err *err)
{
    json_t *v = json_object_get(p->o, key);
    *ret = standard;
    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return refuse(p, key, err, "this must be a whole number");
    uint64_t n = (uint64_t)json_integer_value(v);
    if (n < low || n > high)
        return refuse(p, key, err, "%" PRIu64 " must be from %" PRIu64 " to %" PRIu64, n, low, high);
    *ret = n;
    return 0;
}

/* A list of at least @min items; *ret is borrowed. */
static int get_list(const struct place *p, const char *key, size_t min, json_t **ret, struct err *err)
{
    *ret = json_object_get(p->o, key);
    if (!*ret)
        return refuse(p, key, err, "this key is missing");
    if (!json_is_array(*ret))
        return refuse(p, key, err, "this must be a list in [ ]");
    if (json_array_size(*ret) < min || json_array_size(*ret) > CONFIG_LIST_MAX)
        return refuse(p, key, err, "this list has %zu items; it takes %zu to %d", json_array_size(*ret), min,
                      CONFIG_LIST_MAX);
    return 0;
}

static int get_name(const struct place *p, const char *key, int need, const char *what, char *ret, struct err *err)
{
    struct err why;
    int r = get_text(p, key, need, ret, NAME_LEN + 1, err);
    if (r == 0 && ret[0] && name_check(ret, what, &why) < 0)
        r = refuse_as(p, key, &why, err);
    return r;
}

static int get_comment(const struct place *p, char *ret, struct err *err)
{
    int r = get_text(p, "comment", OPTIONAL, ret, COMMENT_LEN + 1, err);
    for (const char *c = ret; r == 0 && *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            r = refuse(p, "comment", err, "a comment holds no control characters; write plain text");
    return r;
}

/* --- settings ---------------------------------------------------------------------------------------------------- */

static const struct setting_def *find_setting(const char *key)
{
    size_t n;
    const struct setting_def *defs = setting_defs(&n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(defs[i].key, key) == 0)
            return &defs[i];
    return NULL;
}

static int read_setting(const struct place *p, const struct setting_def *def, struct config_setting *s, struct err *err)
{
    char text[SETTING_LEN + 1];
    int r = get_text(p, def->key, OPTIONAL, s->value, sizeof(s->value), err);
    if (r < 0)
        return r;
    strcpy(text, s->value);
    if (!def->is_valid(def->form, s->value))
        return refuse(p, def->key, err, "'%.80s' cannot be; it takes: %s", text, def->form);
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
        return refuse(&p, "", err, p.o ? "this must be an object in { }" : "this key is missing");
    json_object_foreach(p.o, key, value) if (!find_setting(key)) return refuse(
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

/* --- images ------------------------------------------------------------------------------------------------------ */

static int check_path(const struct place *p, const char *path, struct err *err)
{
    static const char own[] = "images/";
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return refuse(p, "path", err, "a path holds no control characters");
    if (path[0] == '/')
        return 0;
    if (strncmp(path, own, sizeof(own) - 1) != 0 || strstr(path, "/../") || strstr(path, "//"))
        return refuse(p, "path", err, "'%.200s' must begin with '/', or with 'images/' for a file inside of the root",
                      path);
    return 0;
}

static int read_version(const struct place *p, struct config_version *v, struct err *err)
{
    static const char *const keys[] = {"version",  "path",      "format",  "size_bytes",
                                       "identity", "full_hash", "comment", NULL};
    uint64_t number;
    int r = check_keys(p, keys, err);
    if (r == 0)
        r = get_number(p, "version", 1, UINT32_MAX, 1, &number, err);
    if (r == 0)
        r = get_text(p, "path", REQUIRED, v->path, sizeof(v->path), err);
    if (r == 0)
        r = check_path(p, v->path, err);
    if (r == 0)
        r = get_text(p, "format", OPTIONAL, v->format, sizeof(v->format), err);
    if (r == 0)
        r = get_number(p, "size_bytes", SECTOR_BYTES, INT64_MAX, 0, &v->size_bytes, err);
    if (r == 0)
        r = get_text(p, "identity", OPTIONAL, v->identity, sizeof(v->identity), err);
    if (r == 0)
        r = get_text(p, "full_hash", OPTIONAL, v->full_hash, sizeof(v->full_hash), err);
    if (r == 0)
        r = get_comment(p, v->comment, err);
    if (r < 0)
        return r;
    v->number = (uint32_t)number;
    if (v->size_bytes % SECTOR_BYTES)
        return refuse(p, "size_bytes", err, "%" PRIu64 " must be a multiple of %llu", v->size_bytes, SECTOR_BYTES);
    if (v->full_hash[0] && (strlen(v->full_hash) != HASH_LEN || v->full_hash[strspn(v->full_hash, "0123456789abcdef")]))
        return refuse(p, "full_hash", err, "this must be %d hex digits in lower case", HASH_LEN);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const struct config_version *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static int read_versions(const struct place *p, struct config_image *i, struct err *err)
{
    json_t *list, *item;
    size_t k;
    int r = get_list(p, "versions", 1, &list, err);
    if (r < 0)
        return r;
    i->versions = calloc(json_array_size(list), sizeof(*i->versions));
    if (!i->versions)
        return err_set(err, -ENOMEM, "memory is out");
    json_array_foreach(list, k, item)
    {
        struct place at;
        struct config_version *v = &i->versions[k];
        r = enter(p, "versions", k, item, &at, err);
        if (r == 0)
            r = read_version(&at, v, err);
        if (r == 0 && config_find_version(i, v->number))
            r = refuse(&at, "version", err, "the number %u is there twice", v->number);
        if (r < 0)
            return r;
        i->n_versions++;
    }
    qsort(i->versions, i->n_versions, sizeof(*i->versions), by_number);
    return 0;
}

static int read_image(const struct place *p, struct config_image *i, struct err *err)
{
    static const char *const keys[] = {"name", "kind", "comment", "current_version", "versions", NULL};
    char kind[16];
    uint64_t current;
    int r = check_keys(p, keys, err);
    if (r == 0)
        r = get_name(p, "name", REQUIRED, "image name", i->name, err);
    if (r == 0)
        r = get_text(p, "kind", OPTIONAL, kind, sizeof(kind), err);
    if (r == 0 && kind[0] && strcmp(kind, "boot") != 0 && strcmp(kind, "data") != 0)
        r = refuse(p, "kind", err, "'%s' must be boot or data", kind);
    if (r == 0)
        r = get_comment(p, i->comment, err);
    if (r == 0)
        r = read_versions(p, i, err);
    if (r == 0)
        r = get_number(p, "current_version", 1, UINT32_MAX, i->versions[i->n_versions - 1].number, &current, err);
    if (r < 0)
        return r;
    i->is_data = strcmp(kind, "data") == 0;
    i->current = (uint32_t)current;
    if (!config_find_version(i, i->current))
        return refuse(p, "current_version", err, "there is no version %u in the list of versions", i->current);
    return 0;
}

/* Two images cannot have one name or lie in one file. */
static int check_image_alone(const struct place *p, const struct config *f, const struct config_image *i,
                             struct err *err)
{
    const struct config_image *same = config_find_image(f, i->name);
    if (same)
        return refuse(p, "name", err, "the name '%s' is there twice", i->name);
    for (size_t k = 0; k < f->n_images; k++)
        for (size_t a = 0; a < f->images[k].n_versions; a++)
            for (size_t b = 0; b < i->n_versions; b++)
                if (strcmp(f->images[k].versions[a].path, i->versions[b].path) == 0)
                    return refuse(p, "versions", err, "the path '%.200s' is that of image '%s' too",
                                  i->versions[b].path, f->images[k].name);
    return 0;
}

static int by_image_name(const void *a, const void *b)
{
    return name_compare(((const struct config_image *)a)->name, ((const struct config_image *)b)->name);
}

static int read_images(const struct place *top, struct config *f, struct err *err)
{
    json_t *list, *item;
    size_t k;
    int r = get_list(top, "images", 0, &list, err);
    if (r < 0)
        return r;
    f->images = calloc(json_array_size(list) + 1, sizeof(*f->images));
    if (!f->images)
        return err_set(err, -ENOMEM, "memory is out");
    json_array_foreach(list, k, item)
    {
        struct place at;
        struct config_image *i = &f->images[k];
        r = enter(top, "images", k, item, &at, err);
        if (r == 0)
            r = read_image(&at, i, err);
        if (r == 0)
            r = check_image_alone(&at, f, i, err);
        if (r < 0) {
            free(i->versions);
            return r;
        }
        f->n_images++;
    }
    qsort(f->images, f->n_images, sizeof(*f->images), by_image_name);
    return 0;
}

/* --- clients ----------------------------------------------------------------------------------------------------- */

/* Does the image that @l names exist, and may it be there? */
static int check_link(const struct place *p, const struct config *f, const struct config_link *l, struct err *err)
{
    const struct config_image *i = config_find_image(f, l->image);
    if (!i)
        return refuse(p, "image", err, "there is no image '%s' in the list of images", l->image);
    if (l->pinned && !config_find_version(i, l->pinned))
        return refuse(p, "version", err, "image '%s' has no version %u", i->name, l->pinned);
    if (l->slot == 0 && i->is_data)
        return refuse(p, "slot", err, "slot 0 is the boot disk and '%s' is a data image: use slot 1 or above", i->name);
    return 0;
}

static int read_link(const struct place *p, const struct config *f, struct config_client *cl, struct err *err)
{
    static const char *const keys[] = {"slot", "image", "version", NULL};
    struct config_link l;
    uint64_t slot, pinned;
    int r = check_keys(p, keys, err);
    if (r == 0)
        r = get_number(p, "slot", 0, SLOT_MAX, 0, &slot, err);
    if (r == 0)
        r = get_name(p, "image", REQUIRED, "image name", l.image, err);
    if (r == 0)
        r = get_number(p, "version", 1, UINT32_MAX, 0, &pinned, err);
    if (r < 0)
        return r;
    l.slot = (uint32_t)slot;
    l.pinned = (uint32_t)pinned;
    if (config_link_of(cl, l.slot))
        return refuse(p, "slot", err, "slot %u is there twice", l.slot);
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
    int r = get_list(p, "links", 0, &list, err);
    if (r < 0)
        return r;
    json_array_foreach(list, k, item)
    {
        struct place at;
        r = enter(p, "links", k, item, &at, err);
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
    int r = get_text(p, "ip", OPTIONAL, ret, size, err);
    int family = strchr(ret, ':') ? AF_INET6 : AF_INET;
    if (r < 0 || !ret[0])
        return r;
    if (inet_pton(family, ret, addr) != 1)
        return refuse(p, "ip", err, "'%s' is no IP address; write it as 192.168.1.20", ret);
    (void)inet_ntop(family, addr, ret, (socklen_t)size); /* what was parsed fits again */
    return 0;
}

static int read_mac(const struct place *p, char *ret, struct err *err)
{
    char text[64];
    struct err why;
    int r = get_text(p, "mac", REQUIRED, text, sizeof(text), err);
    if (r == 0 && mac_parse(text, ret, &why) < 0)
        r = refuse_as(p, "mac", &why, err);
    return r;
}

static int read_mode(const struct place *p, enum overlay_mode *ret, struct err *err)
{
    char text[16];
    int r = get_text(p, "mode", OPTIONAL, text, sizeof(text), err);
    *ret = OVERLAY_VOLATILE;
    if (r < 0 || !text[0])
        return r;
    for (int m = OVERLAY_VOLATILE; m <= OVERLAY_SUPER; m++)
        if (strcmp(text, overlay_mode_name((enum overlay_mode)m)) == 0) {
            *ret = (enum overlay_mode)m;
            return 0;
        }
    return refuse(p, "mode", err, "'%s' must be volatile, kept or super", text);
}

/* Both or none; the user as it becomes a part of tgt's accounts, the password as Windows wants it. */
static int read_secret(const struct place *p, struct config_client *cl, struct err *err)
{
    int r = get_text(p, "chap_user", OPTIONAL, cl->chap_user, sizeof(cl->chap_user), err);
    if (r == 0)
        r = get_text(p, "chap_password", OPTIONAL, cl->chap_password, sizeof(cl->chap_password), err);
    if (r < 0)
        return r;
    size_t n = strlen(cl->chap_password);
    if (!cl->chap_user[0] != !n)
        return refuse(p, cl->chap_user[0] ? "chap_password" : "chap_user", err, "user and password go together");
    return client_chap_check(cl->chap_user, cl->chap_password, NULL) == 0 || n == 0
               ? 0
               : refuse(p, n < 12 || n > 16 ? "chap_password" : "chap_user", err,
                        "a password has 12 to 16 letters and digits, a user letters, digits and . _ -");
}

static int read_client(const struct place *p, const struct config *f, struct config_client *cl, struct err *err)
{
    static const char *const keys[] = {"name",      "mac",           "ip",    "group", "mode", "comment",
                                       "chap_user", "chap_password", "links", NULL};
    int r = check_keys(p, keys, err);
    if (r == 0)
        r = get_name(p, "name", REQUIRED, "client name", cl->name, err);
    if (r == 0)
        r = read_mac(p, cl->mac, err);
    if (r == 0)
        r = read_ip(p, cl->ip, sizeof(cl->ip), err);
    if (r == 0)
        r = get_name(p, "group", OPTIONAL, "group name", cl->group, err);
    if (r == 0)
        r = read_mode(p, &cl->mode, err);
    if (r == 0)
        r = get_comment(p, cl->comment, err);
    if (r == 0)
        r = read_secret(p, cl, err);
    return r < 0 ? r : read_links(p, f, cl, err);
}

/* Names, MACs, addresses and CHAP users are each a client's own. */
static int check_client_alone(const struct place *p, const struct config *f, const struct config_client *cl,
                              struct err *err)
{
    for (size_t k = 0; k < f->n_clients; k++) {
        const struct config_client *o = &f->clients[k];
        if (strcasecmp(o->name, cl->name) == 0)
            return refuse(p, "name", err, "the name '%s' is there twice", cl->name);
        if (strcmp(o->mac, cl->mac) == 0)
            return refuse(p, "mac", err, "%s is that of client '%s' too", cl->mac, o->name);
        if (cl->ip[0] && strcmp(o->ip, cl->ip) == 0)
            return refuse(p, "ip", err, "%s is that of client '%s' too", cl->ip, o->name);
        if (cl->chap_user[0] && strcmp(o->chap_user, cl->chap_user) == 0)
            return refuse(p, "chap_user", err, "'%s' is that of client '%s' too", cl->chap_user, o->name);
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
    int r = get_list(top, "clients", 0, &list, err);
    if (r < 0)
        return r;
    f->clients = calloc(json_array_size(list) + 1, sizeof(*f->clients));
    if (!f->clients)
        return err_set(err, -ENOMEM, "memory is out");
    json_array_foreach(list, k, item)
    {
        struct place at;
        r = enter(top, "clients", k, item, &at, err);
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
        return refuse(top, "", err, "this is no configuration of Diskgate: it does not say \"format\": \"%s\"",
                      CONFIG_FORMAT);
    if (!json_is_integer(version) || json_integer_value(version) < 1)
        return refuse(top, "version", err, "this must be the number %d", CONFIG_VERSION);
    if (json_integer_value(version) > CONFIG_VERSION)
        return err_set(err, -EOPNOTSUPP,
                       "'%s' has version %lld and this Diskgate knows version %d: use the newer Diskgate that made it",
                       top->file, (long long)json_integer_value(version), CONFIG_VERSION);
    return check_keys(top, keys, err);
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
        r = read_images(&top, f, err);
    if (r == 0)
        r = read_clients(&top, f, err);
    if (r == 0)
        *ret = take_ptr(f);
    return r;
}
