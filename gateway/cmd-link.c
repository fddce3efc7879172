/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verbs of a client's links: link, unlink, reset; and the checks that they share with other verbs (link.h).
 *
 * reset drops changes by its very meaning, so only a running client stops it. link onto an occupied slot and unlink drop them on the
 * way, so kept changes stop these as well.
 */
#include "gateway/link.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "core/json.h"
#include "core/names.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/cmd.h"
#include "gateway/inventory.h"
#include "gateway/service.h"

/* Is @slot a LUN of the client, or one that its PC did not choose? What tgtd shows counts, not what is wanted. */
static int slot_is_lun(struct cmd *cmd, struct catalog *c, const char *client, int slot, bool *ret, struct err *err)
{
    _cleanup_json_ json_t *list = NULL;
    json_t *row;
    size_t i;
    int r = service_targets(cmd->root, c, false, &list, err);
    *ret = false;
    json_array_foreach(json_object_get(list, "targets"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "client"));
        if (name && strcasecmp(name, client) == 0 && json_integer_value(json_object_get(row, "slot")) == slot)
            *ret = true;
    }
    return r;
}

/* Another disk of a boot menu than the one that it runs from is no loss for a running client. */
static int refuse_if_running(struct cmd *cmd, struct catalog *c, const char *client, int slot, const char *deed,
                             struct err *err)
{
    bool is_lun = true;
    int r = slot >= 0 && slot_is_boot((uint32_t)slot) ? slot_is_lun(cmd, c, client, slot, &is_lun, err) : 0;
    return r < 0 || !is_lun ? r : refuse_if_online(cmd->root, c, client, deed, err);
}

int refuse_loss(struct cmd *cmd, struct catalog *c, const char *client, int slot, const char *deed, struct err *err)
{
    uint64_t kept = 0;
    char size[32];
    if (cmd_has(cmd, "force"))
        return 0;
    int r = refuse_if_running(cmd, c, client, slot, deed, err);
    if (r == 0)
        r = kept_bytes(cmd->root, c, client, slot, &kept, err);
    if (r < 0 || kept == 0)
        return r;
    size_text(kept, size);
    return err_set(err, -EBUSY,
                   "client '%s' has %s of kept changes, and %s destroys them: use --force to do it all the same",
                   client, size, deed);
}

/* The link of one slot; false when the slot is free. */
static int find_link(struct catalog *c, const char *client, uint32_t slot, struct link_row *ret, bool *ret_found,
                     struct err *err)
{
    _cleanup_free_ struct link_row *rows = NULL;
    size_t n = 0;
    int r = link_list(c, client, &rows, &n, err);
    *ret_found = false;
    for (size_t i = 0; r == 0 && i < n; i++)
        if (rows[i].slot == slot) {
            *ret = rows[i];
            *ret_found = true;
        }
    return r;
}

int link_slot(struct cmd *cmd, struct catalog *c, const char *client, uint32_t slot, const char *ref, struct err *err)
{
    struct link_row old;
    char image[NAME_LEN + 1];
    uint32_t pinned;
    bool is_taken = false;
    int r = image_ref_parse(ref, image, &pinned, err);
    if (r == 0)
        r = find_link(c, client, slot, &old, &is_taken, err);
    if (r < 0)
        return r;
    if (is_taken && old.pinned == pinned && strcasecmp(old.image, image) == 0)
        return 0;
    if (is_taken)
        r = refuse_loss(cmd, c, client, (int)slot, "another link in its place", err);
    return r < 0 ? r : link_set(c, client, slot, image, pinned, err);
}

int boot_slot_parse(struct catalog *c, const char *client, const char *text, uint32_t *ret, struct err *err)
{
    _cleanup_free_ struct link_row *rows = NULL;
    char image[NAME_LEN + 1];
    uint32_t version = 0, found = 0;
    size_t n = 0, hits = 0;
    int r = link_list(c, client, &rows, &n, err);
    if (r == 0 && text[strspn(text, "0123456789")] == 0 && slot_parse(text, ret, NULL) == 0 && slot_is_boot(*ret))
        return 0; /* whether it is linked, the catalog looks */
    if (r == 0)
        r = image_ref_parse(text, image, &version, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        if (!slot_is_boot(rows[i].slot) || strcasecmp(rows[i].image, image) != 0 ||
            (version && rows[i].pinned != version))
            continue;
        found = hits++ > 0 ? found : rows[i].slot;
    }
    if (hits == 0)
        return err_set(err, -ENOENT,
                       "client '%s' has no disk from '%s' to boot from; 'diskgate client link %s %s --menu' adds it to "
                       "its boot menu",
                       client, text, client, text);
    if (hits > 1)
        return err_set(err, -EINVAL, "client '%s' has %zu disks from '%s' to boot from: name the slot instead", client,
                       hits, text);
    *ret = found;
    return 0;
}

/* The slot for one more disk in the boot menu; one that has just this link already will do. */
static int menu_slot(struct catalog *c, const char *client, const char *ref, uint32_t *ret, struct err *err)
{
    char image[NAME_LEN + 1];
    uint32_t pinned;
    struct link_row old;
    bool is_taken;
    int64_t free_slot = -1;
    int r = image_ref_parse(ref, image, &pinned, err);
    for (uint32_t slot = BOOT_SLOT_FIRST; r == 0 && slot <= BOOT_SLOT_LAST; slot++) {
        r = find_link(c, client, slot, &old, &is_taken, err);
        if (r == 0 && is_taken && old.pinned == pinned && strcasecmp(old.image, image) == 0) {
            *ret = slot;
            return 0;
        }
        if (!is_taken && free_slot < 0)
            free_slot = slot;
    }
    if (r == 0 && free_slot < 0)
        return err_set(err, -ENOSPC, "the boot menu of client '%s' is full: slots %d to %d are taken", client,
                       BOOT_SLOT_FIRST, BOOT_SLOT_LAST);
    *ret = (uint32_t)free_slot;
    return r;
}

static int run_link(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct client_row row;
    char thing[NAME_LEN + 16];
    uint32_t slot;
    const char *text = cmd_option(cmd, "slot");
    if (text && cmd_has(cmd, "menu"))
        return err_set(err, VERB_USAGE, "--menu chooses a slot by itself: leave --slot out");
    int r = slot_parse(text, &slot, err);
    if (r == 0)
        r = change_open(cmd, &c, err);
    if (r == 0)
        r = client_get(c, cmd_arg(cmd, 0), &row, err);
    if (r == 0 && cmd_has(cmd, "menu"))
        r = menu_slot(c, row.name, cmd_arg(cmd, 1), &slot, err);
    if (r == 0)
        r = link_slot(cmd, c, row.name, slot, cmd_arg(cmd, 1), err);
    if (r < 0)
        return r;
    (void)snprintf(thing, sizeof(thing), "client %s", row.name);
    if (slot >= BOOT_SLOT_FIRST)
        return change_done(cmd, c, thing, err, "client '%s' has %s in its boot menu (slot %u)", row.name,
                           cmd_arg(cmd, 1), slot);
    return change_done(cmd, c, thing, err, "client '%s' has a disk from %s in slot %u (LUN %u)", row.name,
                       cmd_arg(cmd, 1), slot, slot + 1);
}

static int run_unlink(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct client_row row;
    struct link_row old;
    char thing[NAME_LEN + 16];
    uint32_t slot;
    bool is_taken = false;
    int r = slot_parse(cmd_option(cmd, "slot"), &slot, err);
    if (r == 0)
        r = change_open(cmd, &c, err);
    if (r == 0)
        r = client_get(c, cmd_arg(cmd, 0), &row, err);
    if (r == 0)
        r = find_link(c, row.name, slot, &old, &is_taken, err);
    if (r == 0 && !is_taken)
        r = err_set(err, -ENOENT, "client '%s' has no link in slot %u: 'diskgate client show %s' lists its links",
                    row.name, slot, row.name);
    if (r == 0)
        r = refuse_loss(cmd, c, row.name, (int)slot, "unlinking it", err);
    if (r == 0)
        r = link_remove(c, row.name, slot, err);
    if (r < 0)
        return r;
    (void)snprintf(thing, sizeof(thing), "client %s", row.name);
    return change_done(cmd, c, thing, err, "client '%s' has no disk from %s in slot %u any more", row.name, old.image,
                       slot);
}

int link_run_reset(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct client_row row;
    char thing[NAME_LEN + 16], size[32];
    const char *text = cmd_option(cmd, "slot");
    uint32_t slot;
    uint64_t kept = 0;
    int r = slot_parse(text, &slot, err), which = text ? (int)slot : -1;
    if (r == 0)
        r = change_open(cmd, &c, err);
    if (r == 0)
        r = client_get(c, cmd_arg(cmd, 0), &row, err);
    if (r == 0 && !cmd_has(cmd, "force"))
        r = refuse_if_running(cmd, c, row.name, which, "a reset", err);
    if (r == 0)
        r = kept_bytes(cmd->root, c, row.name, which, &kept, err);
    if (r == 0)
        r = overlay_reset(c, row.name, which, err);
    if (r < 0)
        return r;
    size_text(kept, size);
    (void)snprintf(thing, sizeof(thing), "client %s", row.name);
    return change_done(cmd, c, thing, err,
                       kept ? "client '%s' starts afresh from its image; %s of kept changes are dropped"
                            : "client '%s' starts afresh from its image",
                       row.name, size);
}

#define FORCE_HELP "also while the client is running, also when kept changes are lost"
static const struct option_def link_options[] = {
    {"slot", 0, "S", "the slot: 0 (default) is the boot disk, 1 to 15 are data disks, 16 to 31 are in the boot menu"},
    {"menu", 0, NULL, "one more disk to boot from: the PC shows a menu"},
    {"force", 0, NULL, FORCE_HELP},
    {0}};
static const struct option_def unlink_options[] = {
    {"slot", 0, "S", "the slot", OPT_REQUIRED}, {"force", 0, NULL, FORCE_HELP}, {0}};
const struct option_def link_reset_options[] = {{"slot", 0, "S", "this slot only (default: all slots)"},
                                                {"force", 0, NULL, "also while the client is running"},
                                                {0}};

const struct verb cmd_link_verbs[] = {
    {"client", "link", "NAME IMG[@V]", "Give a client a disk from an image",
     "With @V the link stays at version V; without it, it follows the image's current version.", link_options, run_link,
     VERB_DRY_RUN},
    {"client", "unlink", "NAME", "Take a disk away from a client", NULL, unlink_options, run_unlink, VERB_DRY_RUN},
    {"client", "reset", "NAME", "Drop a client's own changes", NULL, link_reset_options, link_run_reset, VERB_DRY_RUN},
    {0},
};
