/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs `dump` and `apply`: the whole configuration as one file.
 *
 * apply holds the catalog's write lock from the comparison to the commit, so that what it shows is what it does. The difference is shown
 * also when it is refused then. A dry run makes all changes and rolls them back: it has met every check.
 */
#include "gateway/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "core/catalog.h"
#include "core/json.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/config-loss.h"
#include "gateway/configuration.h"
#include "gateway/copy.h"
#include "gateway/service.h"

/* --- dump -------------------------------------------------------------------------------------------------------- */

static int run_dump(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_(config_destroyp) struct config *f = NULL;
    _cleanup_json_ json_t *o = NULL;
    const char *key;
    json_t *value;
    bool with_secrets = cmd_has(cmd, "secrets");
    if (with_secrets && geteuid() != 0)
        return err_set(err, -EPERM, "--secrets must be run as root (try sudo)");
    int r = read_open(cmd, &c, err);
    if (r == 0)
        r = config_load(c, &f, err);
    if (r == 0)
        r = config_json(f, with_secrets, &o, err);
    if (r < 0)
        return r;
    cmd->out.is_json = true; /* with and without --json */
    json_object_foreach(o, key, value) out_set(&cmd->out, key, json_incref(value));
    return EXIT_DONE;
}

/* --- apply ------------------------------------------------------------------------------------------------------- */

struct applying {
    struct catalog *c;
    struct config *have, *want;
    struct config_diff *d;
    json_t *losses;
};

static void applying_finish(struct applying *a)
{
    config_diff_destroy(a->d);
    config_destroy(a->have);
    config_destroy(a->want);
    json_decref(a->losses);
    catalog_close(a->c);
}

static int read_wanted(const char *path, struct config **ret, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    int r = file_read(AT_FDCWD, path, CONFIG_BYTES_MAX, &text, &len);
    if (r == -EFBIG)
        return err_set(err, r, "'%s' is larger than %zu MiB: this is no configuration of Diskgate", path,
                       CONFIG_BYTES_MAX >> 20);
    if (r < 0)
        return err_sys(err, r, "cannot read '%s'", path);
    return config_read(text, len, path, ret, err);
}

static int compare(struct cmd *cmd, struct applying *a, struct err *err)
{
    int r = read_wanted(cmd_arg(cmd, 0), &a->want, err);
    if (r == 0)
        r = change_open(cmd, &a->c, err);
    if (r == 0)
        r = config_load(a->c, &a->have, err);
    if (r == 0)
        r = config_diff(a->have, a->want, &a->d, err);
    return r < 0 ? r : config_losses(cmd->root, a->c, a->d, &a->losses, err);
}

static void show(struct cmd *cmd, const struct applying *a)
{
    json_t *line;
    size_t i;
    json_array_foreach(a->d->lines, i, line) out_line(&cmd->out, "%s", json_string_value(line));
    json_array_foreach(a->losses, i, line) out_line(&cmd->out, "! %s", json_string_value(line));
    out_set(&cmd->out, "differences", json_incref(a->d->lines));
    out_set(&cmd->out, "losses", json_incref(a->losses));
}

/* What is refused comes after the difference, which is printed all the same. */
static int refuse(struct cmd *cmd, const char *sentence)
{
    warn_line("%s", sentence);
    out_set(&cmd->out, "message", out_string(sentence));
    return EXIT_FAILED;
}

static int refuse_losses(struct cmd *cmd, const struct applying *a)
{
    char text[PATH_MAX + 512], more[64] = "";
    size_t n = json_array_size(a->losses);
    if (n > 1)
        (void)snprintf(more, sizeof(more), "; and %zu more marked with '!'", n - 1);
    (void)snprintf(text, sizeof(text), "nothing was changed: %s%s; use --force to do it all the same",
                   json_string_value(json_array_get(a->losses, 0)) ?: "something is lost", more);
    return refuse(cmd, text);
}

/* Files of our own that belonged to removed images; as `image remove` does. */
static int delete_files(struct cmd *cmd, const struct config_diff *d)
{
    int status = EXIT_DONE;
    for (size_t i = 0; i < d->n_images; i++) {
        const struct config_image *have = d->images[i].have;
        for (size_t k = 0; have && !d->images[i].want && k < have->n_versions; k++) {
            const char *path = have->versions[k].path;
            int r = path[0] == '/' ? 0 : image_copy_remove(cmd->root, path);
            if (r == 0)
                continue;
            warn_line("image '%s' is removed, but its file '%s/%s' cannot be deleted: %s", have->name, cmd->root, path,
                      strerror(-r));
            status = EXIT_FAILED;
        }
    }
    return status;
}

static bool is_late(const struct cmd *cmd, const struct config_diff *d)
{
    for (size_t i = 0; i < d->n_settings; i++) {
        const struct setting_pair *p = &d->settings[i];
        if (!p->have || !p->want || strcmp(p->have->value, p->want->value) != 0)
            return service_is_up(cmd->root);
    }
    return false;
}

static int apply(struct cmd *cmd, struct applying *a, struct err *err)
{
    size_t n = json_array_size(a->d->lines);
    int r = config_apply(cmd->root, a->c, a->d, err);
    if (r < 0)
        return refuse(cmd, err->msg);
    r = change_done(cmd, a->c, "client", err, "%zu difference%s: the catalog is as '%s' says%s", n, n > 1 ? "s" : "",
                    cmd_arg(cmd, 0),
                    is_late(cmd, a->d) ? "; changed settings of what runs take effect at the next 'diskgate down' and "
                                         "'diskgate up'"
                                       : "");
    if (r < 0)
        return refuse(cmd, err->msg);
    if (cmd->is_dry_run)
        return EXIT_DIFFERS;
    return delete_files(cmd, a->d) != EXIT_DONE ? EXIT_FAILED : r;
}

static int run_apply(struct cmd *cmd, struct err *err)
{
    _cleanup_(applying_finish) struct applying a = {0};
    int r = compare(cmd, &a, err);
    if (r < 0)
        return r;
    show(cmd, &a);
    if (json_array_size(a.d->lines) == 0) {
        if (!cmd->is_quiet)
            out_line(&cmd->out, "no difference: the catalog is as '%s' says", cmd_arg(cmd, 0));
        out_set(&cmd->out, "is_dry_run", json_boolean(cmd->is_dry_run));
        return EXIT_DONE;
    }
    if (json_array_size(a.losses) && !cmd->is_dry_run && !cmd_has(cmd, "force"))
        return refuse_losses(cmd, &a);
    return apply(cmd, &a, err);
}

static const struct option_def dump_options[] = {
    {"secrets", 0, NULL, "with the CHAP users and passwords of the clients"}, {0}};
static const struct option_def apply_options[] = {
    {"force", 0, NULL, "also while clients are running that lose a disk, also when kept changes are lost"}, {0}};

const struct verb cmd_config_verbs[] = {
    {"", "dump", "", "Print the whole configuration as JSON",
     "Settings that differ from their default, images, clients and their links; what clients wrote is no part of it.",
     dump_options, run_dump},
    {"", "apply", "FILE", "Make the configuration equal to a file that dump printed",
     "Prints the difference first: + added, ~ changed, - removed, ! lost by it. All of it is done, or nothing.\n"
     "With -n: exit status 3 when there is a difference.",
     apply_options, run_apply, VERB_DRY_RUN},
    {0},
};
