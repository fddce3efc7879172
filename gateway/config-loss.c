/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `apply` asks --force for; see config-loss.h.
 *
 *   client removed, slot relinked or unlinked   kept changes are lost; a running client loses its disk
 *   kept -> volatile                            kept changes are dropped at the next boot
 *   another mode, disabled                      not under a running client
 *   image removed                               its file, when it belongs to the root; its links
 *
 * A relink to the version that the overlay lies over already loses nothing.
 */
#include "gateway/config-loss.h"

#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "core/json.h"
#include "core/names.h"
#include "core/util.h"
#include "gateway/inventory.h"
#include "cli/output.h"
#include "gateway/service.h"

struct losses {
    const struct config_diff *d;
    json_t *overlays, *sessions, *links; /* rows of all clients, under their present names */
    json_t *lines;
};

static void say(struct losses *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct losses *l, const char *fmt, ...)
{
    char text[PATH_MAX + 512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* bounded by its fields */
    va_end(ap);
    (void)json_array_append_new(l->lines, out_string(text)); /* without memory a line less */
}

static json_t *overlay_of(const struct losses *l, const char *client, uint32_t slot)
{
    json_t *row;
    size_t i;
    json_array_foreach(l->overlays, i, row) if (strcasecmp(json_text(row, "client"), client) == 0 &&
                                                json_integer_value(json_object_get(row, "slot")) == slot) return row;
    return NULL;
}

/* Bytes of kept changes in this overlay. */
static uint64_t kept_of(json_t *overlay)
{
    bool is_kept = overlay && strcmp(json_text(overlay, "mode"), "volatile") != 0;
    return is_kept ? (uint64_t)json_integer_value(json_object_get(overlay, "overlay_bytes")) : 0;
}

static const char *session_of(const struct losses *l, const char *client)
{
    json_t *row;
    size_t i;
    json_array_foreach(l->sessions, i,
                       row) if (strcasecmp(json_text(row, "client"), client) == 0) return json_text(row, "address");
    return NULL;
}

static uint32_t current_of(const struct config_diff *d, const char *image)
{
    for (size_t i = 0; i < d->n_images; i++)
        if (d->images[i].want && strcasecmp(d->images[i].want->name, image) == 0)
            return d->images[i].want->current;
    return 0;
}

/* Does the slot's overlay stay under the link @b that takes the place of @a? */
static bool keeps_overlay(const struct losses *l, const struct config_link *a, const struct config_link *b,
                          json_t *overlay)
{
    if (!a || !b || strcasecmp(a->image, b->image) != 0)
        return false;
    uint32_t version = b->pinned ? b->pinned : current_of(l->d, b->image);
    return json_integer_value(json_object_get(overlay, "version")) == version;
}

static void say_kept(struct losses *l, const char *client, uint32_t slot, json_t *overlay, const char *fate)
{
    char size[32];
    uint64_t kept = kept_of(overlay);
    if (kept == 0)
        return;
    size_text(kept, size);
    say(l, "client %s slot %u: %s of kept changes %s", client, slot, size, fate);
}

/* One slot of a client that stays. True if it loses its disk. */
static bool look_at_slot(struct losses *l, const struct client_pair *p, uint32_t slot)
{
    const struct config_link *a = config_link_of(p->have, slot), *b = p->want ? config_link_of(p->want, slot) : NULL;
    json_t *overlay = overlay_of(l, p->have->name, slot);
    if (!a)
        return false;
    if (p->want && (!link_differs(a, b) || keeps_overlay(l, a, b, overlay))) {
        if (p->have->mode != OVERLAY_VOLATILE && p->want->mode == OVERLAY_VOLATILE)
            say_kept(l, p->have->name, slot, overlay, "are dropped at its next boot");
        return false;
    }
    say_kept(l, p->have->name, slot, overlay, "are lost");
    return true;
}

static void look_at_client(struct losses *l, const struct client_pair *p)
{
    bool is_cut = false;
    const char *address = session_of(l, p->have->name);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        is_cut = look_at_slot(l, p, slot) || is_cut;
    if (address && is_cut)
        say(l, "client %s is running now (logged in from %s) and loses a disk", p->have->name, address);
    else if (address && p->want && p->want->is_disabled && !p->have->is_disabled)
        say(l, "client %s is running now (logged in from %s) and is disabled: it loses its disk", p->have->name,
            address);
    else if (address && p->want && p->want->mode != p->have->mode)
        say(l, "client %s is running now (logged in from %s) and its mode changes", p->have->name, address);
}

static void look_at_image(struct losses *l, const struct config_image *i)
{
    size_t users = 0, k;
    json_t *row;
    json_array_foreach(l->links, k, row) users += strcasecmp(json_text(row, "image"), i->name) == 0;
    if (users)
        say(l, "image %s is removed and has %zu link%s now", i->name, users, users > 1 ? "s" : "");
    for (size_t v = 0; v < i->n_versions; v++)
        if (i->versions[v].path[0] != '/')
            say(l, "image %s: its file '%s' in the root is deleted", i->name, i->versions[v].path);
}

int config_losses(const char *root, struct catalog *c, const struct config_diff *d, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *overlays = NULL, *sessions = NULL, *links = NULL, *lines = json_array();
    int r = overlay_rows(root, c, NULL, &overlays, err);
    if (r == 0)
        r = service_sessions(root, c, NULL, &sessions, err);
    if (r == 0)
        r = link_rows(c, NULL, &links, err);
    if (r < 0)
        return r;
    struct losses l = {d, overlays, sessions, links, lines};
    for (size_t i = 0; i < d->n_clients; i++)
        if (d->clients[i].have)
            look_at_client(&l, &d->clients[i]);
    for (size_t i = 0; i < d->n_images; i++)
        if (!d->images[i].want)
            look_at_image(&l, d->images[i].have);
    *ret = take_ptr(lines);
    return 0;
}
