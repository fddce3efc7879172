/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who asks for a boot script: a client, or a PC that is none yet and is treated as clients.unknown says.
 *
 *   reject   a sentence with the command that adds it
 *   ask      noted in the table of those who wait, told its number
 *   auto     added under a name by the rule clients.template, with what the template client has, or the template image; as with ask when there
 *            are clients.auto_max, so that a PC that is no invention can be let in (auto-limit.h)
 *
 * A name is chosen and given in one transaction: PCs that ask at the same moment get different ones.
 */
#include "gateway/boot-event.h"

#include <errno.h>
#include <string.h>

#include "core/util.h"
#include "gateway/auto-limit.h"

#define REJECT_RETRY_S 15
#define FAST_RETRY_S   10
#define ASK_RETRY_S    5

/* 0 and e->client; -ENOENT without a sentence. */
static int find_client(struct event *e)
{
    _cleanup_free_ struct client_row *rows = NULL;
    size_t n = 0;
    int r = client_list(e->c, &rows, &n, &e->why);
    if (r < 0)
        return r;
    r = -ENOENT;
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].mac, e->mac) == 0) {
            e->client = rows[i];
            r = 0;
        }
    explicit_bzero(rows, n * sizeof(*rows)); /* secrets */
    return r;
}

static int reject(struct event *e)
{
    return REFUSE(e, REJECT_RETRY_S,
                  "this PC, MAC %s, is not known here.\nAdd it on the server with\ndiskgate client add NAME --mac %s "
                  "--image IMAGE",
                  e->mac, e->mac);
}

/* @why: lines before the number, "" or ended by a newline. */
static int ask(struct event *e, const char *why)
{
    struct pending_row row = {0};
    int r = catalog_begin(e->c, &e->why);
    if (r == 0)
        r = pending_note(e->c, e->mac, e->address, &row, &e->why);
    if (r == 0)
        r = catalog_commit(e->c, &e->why);
    if (r < 0)
        return r;
    return REFUSE(
        e, ASK_RETRY_S,
        "%sthis PC waits for approval. Its number is\n%u\nMAC %s. On the server, run\ndiskgate client approve %s "
        "NAME --image IMAGE",
        why, row.number, e->mac, e->mac);
}

static int ask_when_full(struct event *e, const struct auto_limit *l)
{
    char why[160];
    (void)snprintf(why, sizeof(why),
                   "no PC is added by itself any more: there are %llu clients, clients.auto_max is %llu.\n",
                   (unsigned long long)l->clients, (unsigned long long)l->max); /* fits */
    return ask(e, why);
}

static int copy_links(struct event *e, const char *from, const char *to)
{
    _cleanup_free_ struct link_row *links = NULL;
    size_t n = 0;
    int r = link_list(e->c, from, &links, &n, &e->why);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = link_set(e->c, to, links[i].slot, links[i].image, links[i].pinned, &e->why);
    return r;
}

/* What clients get that are added by themselves. */
struct template
{
    char rule[SETTING_LEN + 1], client[SETTING_LEN + 1], image[SETTING_LEN + 1], mode[SETTING_LEN + 1];
};

static int read_template(struct event *e, struct template *ret)
{
    int r = setting_get(e->c, "clients.template", ret->rule, &e->why);
    r = r ? r : setting_get(e->c, "clients.template_client", ret->client, &e->why);
    r = r ? r : setting_get(e->c, "clients.template_image", ret->image, &e->why);
    r = r ? r : setting_get(e->c, "clients.template_mode", ret->mode, &e->why);
    if (r == 0 && !*ret->client && !*ret->image)
        return REFUSE(e, REJECT_RETRY_S,
                      "this PC, MAC %s, is new, and nothing says what it is to get. On the server, run\ndiskgate set "
                      "clients.template_image IMAGE",
                      e->mac);
    return r;
}

/* In a transaction. */
static int add_client(struct event *e, const struct template *t)
{
    struct client_row row = {.mode = OVERLAY_VOLATILE}, model = {0};
    char image[NAME_LEN + 1];
    uint32_t version = 0;
    int r = client_name_next(e->c, t->rule, row.name, &e->why);
    if (r == 0 && *t->client)
        r = client_get(e->c, t->client, &model, &e->why);
    if (r == 0 && !*t->client)
        r = overlay_mode_parse(t->mode, &model.mode, &e->why);
    if (r < 0)
        return r;
    strcpy(row.mac, e->mac);
    strcpy(row.group, model.group);
    strcpy(row.netmask, model.netmask);
    strcpy(row.gateway, model.gateway);
    strcpy(row.dns, model.dns);
    row.menu_timeout_s = model.menu_timeout_s;
    row.ram_write_bytes = model.ram_write_bytes;
    uint32_t boot_default = model.boot_default;
    row.mode = model.mode == OVERLAY_SUPER ? OVERLAY_KEPT : model.mode; /* only by a command for one client */
    explicit_bzero(&model, sizeof(model));
    r = client_add(e->c, &row, &e->why);
    if (r == 0 && *t->client)
        r = copy_links(e, t->client, row.name);
    if (r == 0 && boot_default) {
        row.boot_default = boot_default;
        r = client_set(e->c, &row, &e->why);
    }
    if (r == 0 && !*t->client)
        r = image_ref_parse(t->image, image, &version, &e->why);
    if (r == 0 && !*t->client)
        r = link_set(e->c, row.name, 0, image, version, &e->why);
    if (r == 0)
        r = pending_remove(e->c, e->mac, &e->why);
    if (r == 0)
        e->client = row;
    explicit_bzero(&row, sizeof(row));
    return r;
}

/* A new PC, in a transaction. -ENOSPC without a sentence when there are clients enough. */
static int add_new(struct event *e, const struct template *t, struct auto_limit *ret_limit)
{
    int r = auto_limit_read(e->c, ret_limit, &e->why);
    if (r < 0)
        return r;
    if (ret_limit->is_full)
        return -ENOSPC;
    if (ret_limit->is_fast)
        return REFUSE(e, FAST_RETRY_S,
                      "this PC, MAC %s, is new, and %llu were added within the last minute, as many as "
                      "clients.auto_per_minute allows.\nIts turn comes soon.",
                      e->mac, (unsigned long long)ret_limit->lately);
    return add_client(e, t);
}

static int add_by_itself(struct event *e)
{
    struct template t;
    struct auto_limit limit = {0};
    int r = read_template(e, &t);
    if (r == 0)
        r = catalog_begin(e->c, &e->why);
    if (r < 0)
        return r;
    catalog_set_actor(e->c, AUTO_ACTOR);
    r = find_client(e); /* the administrator may have been faster */
    if (r == -ENOENT)
        r = add_new(e, &t, &limit);
    if (r == 0)
        return catalog_commit(e->c, &e->why);
    catalog_rollback(e->c);
    if (limit.is_full)
        return ask_when_full(e, &limit);
    if (limit.is_fast)
        return r;
    return err_prefix(&e->why, r, "this PC, MAC %s, is new and cannot be added", e->mac);
}

int event_identify(struct event *e)
{
    char what[SETTING_LEN + 1];
    int r = find_client(e);
    if (r != -ENOENT)
        return r;
    r = setting_get(e->c, "clients.unknown", what, &e->why);
    if (r < 0)
        return r;
    if (strcmp(what, "auto") == 0)
        return add_by_itself(e);
    return strcmp(what, "ask") == 0 ? ask(e, "") : reject(e);
}
