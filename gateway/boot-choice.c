/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a client may start from: its boot disk and the further ones of its boot menu.
 *
 * (1) A hidden image is no choice. Where every image is hidden there is no menu, and the client boots as if it had one disk.
 * (2) The default is the one that was set, else slot 0, else the first; of those that are choices, if there are any.
 */
#include "gateway/boot.h"

#include <stdio.h>

#include "core/util.h"

static void describe(const struct link_row *l, const struct image_row *i, struct boot_choice *ret)
{
    char version[16] = "";
    if (l->pinned)
        (void)snprintf(version, sizeof(version), "@%u", l->pinned);
    (void)snprintf(ret->text, sizeof(ret->text), "%s%s%s%s", i->name, version, *i->comment ? " - " : "",
                   i->comment); /* fits */
    ret->slot = l->slot;
}

bool boot_choices_have(const struct boot_choices *ch, uint32_t slot)
{
    for (size_t i = 0; i < ch->n; i++)
        if (ch->rows[i].slot == slot)
            return true;
    return false;
}

/* Of the slots of @have, where the one that was set comes first. */
static uint32_t standard_of(const struct client_row *client, const struct boot_choices *have)
{
    if (boot_choices_have(have, client->boot_default))
        return client->boot_default;
    return have->n > 0 ? have->rows[0].slot : 0; /* by slot, so slot 0 comes first */
}

static int read_timeout(struct catalog *c, const struct client_row *client, unsigned *ret, struct err *err)
{
    uint64_t seconds = client->menu_timeout_s;
    int r = seconds ? 0 : setting_get_u64(c, "boot.menu_timeout_s", &seconds, err);
    *ret = (unsigned)seconds;
    return r;
}

int boot_choices_read(struct catalog *c, const struct client_row *client, struct boot_choices *ret, struct err *err)
{
    _cleanup_free_ struct link_row *links = NULL;
    struct boot_choices shown = {0}, all = {0};
    size_t n = 0;
    int r = link_list(c, client->name, &links, &n, err);
    r = r ? r : read_timeout(c, client, &shown.timeout_s, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct image_row image;
        if (!slot_is_boot(links[i].slot))
            continue;
        r = image_get(c, links[i].image, &image, err);
        if (r < 0)
            return r;
        describe(&links[i], &image, &all.rows[all.n++]);
        if (!image.is_hidden)
            shown.rows[shown.n++] = all.rows[all.n - 1];
    }
    shown.standard = standard_of(client, shown.n > 0 ? &shown : &all);
    if (r == 0)
        *ret = shown;
    return r;
}
