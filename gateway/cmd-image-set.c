/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verb `image set`: what an administrator decides about an image besides its name and its versions. */
#include "gateway/cmd-image.h"

#include <string.h>

#include "core/catalog.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/cmd.h"

/* Take the options that were given into @i. */
static int take_options(struct cmd *cmd, struct image_row *i, struct err *err)
{
    const char *hidden = cmd_option(cmd, "hidden"), *comment = cmd_option(cmd, "comment");
    const char *cache = cmd_option(cmd, "ram-cache");
    int r = hidden ? on_off_parse(hidden, "--hidden", &i->is_hidden, err) : 0;
    if (r == 0 && cache)
        r = size_parse(cache, &i->ram_cache_bytes, err);
    if (r == 0 && comment)
        r = comment_parse(comment, i->comment, err);
    return r;
}

static int run_set(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    char thing[NAME_LEN + 16];
    struct image_row i;
    if (cmd->n_values == 0)
        return err_set(err, VERB_USAGE, "nothing to set: give at least one option");
    int r = change_open(cmd, &c, err);
    r = r ? r : image_get(c, cmd_arg(cmd, 0), &i, err);
    r = r ? r : take_options(cmd, &i, err);
    r = r ? r : image_set(c, &i, err);
    if (r < 0)
        return r;
    (void)snprintf(thing, sizeof(thing), "image %s", i.name);
    r = change_done(cmd, c, thing, err, "image '%s' was changed", i.name);
    if (r >= 0 && cmd->is_json && !cmd->is_dry_run && image_print(cmd, c, i.name, err) < 0)
        r = EXIT_FAILED;
    return r;
}

static const struct option_def set_options[] = {
    {"hidden", 0, "on|off", "whether it stays out of the boot menus of clients"},
    {"ram-cache", 0, "SIZE", "RAM for what its clients read at their start; 0 = as the settings say"},
    {"comment", 'm', "TEXT", "a comment that lists and boot menus show"},
    {0}};

const struct verb cmd_image_set_verbs[] = {
    {"image", "set", "NAME", "Change an image",
     "A hidden image is in no boot menu and cannot be chosen. A client that has no other disk to boot from still does.",
     set_options, run_set, VERB_DRY_RUN},
    {0},
};
