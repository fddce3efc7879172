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

#include "core/names.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/cmd.h"
#include "gateway/inventory.h"

int refuse_loss(struct cmd *cmd, struct catalog *c, const char *client, int slot, const char *deed, struct err *err)
{
    uint64_t kept = 0;
    char size[32];
    if (cmd_has(cmd, "force"))
        return 0;
    int r = refuse_if_online(cmd->root, c, client, deed, err);
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
    bool is_taken;
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

static int run_link(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct client_row row;
    char thing[NAME_LEN + 16];
    uint32_t slot;
    int r = slot_parse(cmd_option(cmd, "slot"), &slot, err);
    if (r == 0)
        r = change_open(cmd, &c, err);
    if (r == 0)
        r = client_get(c, cmd_arg(cmd, 0), &row, err);
    if (r == 0)
        r = link_slot(cmd, c, row.name, slot, cmd_arg(cmd, 1), err);
    if (r < 0)
        return r;
    (void)snprintf(thing, sizeof(thing), "client %s", row.name);
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
        r = refuse_if_online(cmd->root, c, row.name, "a reset", err);
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
    {"slot", 0, "S", "the slot: 0 (default) is the boot disk, 1 and up are data disks"},
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
