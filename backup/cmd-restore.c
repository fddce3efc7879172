/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate backup restore: a disk, or a whole root. */
#include <errno.h>
#include <string.h>

#include "backup/cmd-work.h"
#include "backup/code.h"
#include "backup/restore-root.h"
#include "core/util.h"

static const struct column disk_columns[] = {
    {"message_type", NULL, COL_JSON},
    {"set", "set", COL_TEXT},
    {"stream", "disk", COL_TEXT},
    {"path", "restored to", COL_TEXT},
    {"size_bytes", "size", COL_SIZE},
    {"written_bytes", "written", COL_SIZE},
    {"equal_bytes", "was there already", COL_SIZE},
    {"zero_bytes", NULL, COL_JSON},
    {"checked_bytes", "read back and compared", COL_SIZE},
    {"image_xxh128", "xxh128 of all of it", COL_TEXT},
    {"tree_sha256", NULL, COL_TEXT},
    {"seconds", NULL, COL_JSON},
    {"warnings", NULL, COL_JSON},
    {0},
};

static void print_disk(struct cmd *cmd, const struct restore_report *r, const struct cmd_work *w)
{
    _cleanup_(json_decrefp) json_t *row = json_pack(
        "{ss ss ss so sI sI sI sI sI ss ss sf sO}", "message_type", "summary", "set", r->set, "stream", r->stream,
        "path", out_string(r->path), "size_bytes", (json_int_t)r->size_bytes, "written_bytes",
        (json_int_t)r->counts.written_bytes, "equal_bytes", (json_int_t)r->counts.equal_bytes, "zero_bytes",
        (json_int_t)r->counts.zero_bytes, "checked_bytes", (json_int_t)r->counts.checked_bytes, "image_xxh128",
        r->image_xxh128, "tree_sha256", r->tree_sha256, "seconds", cmd_work_seconds(w), "warnings", w->warnings);
    out_fields(&cmd->out, disk_columns, row);
}

static int run_disk(struct cmd *cmd, struct cmd_work *w, int wait_ms, struct err *err)
{
    struct restore_report report;
    bool has_what = cmd->n_args == 4;
    if (cmd->n_args < 3)
        return err_set(err, VERB_USAGE, "say where to restore to: REPO SET [DISK] DEST");
    const struct restore_params p = {.repo = cmd_arg(cmd, 0),
                                     .set = cmd_arg(cmd, 1),
                                     .what = has_what ? cmd_arg(cmd, 2) : NULL,
                                     .dest = cmd_arg(cmd, has_what ? 3 : 2),
                                     .key_file = cmd_option(cmd, "key"),
                                     .is_forced = cmd_has(cmd, "force"),
                                     .has_no_check = cmd_has(cmd, "no-check"),
                                     .wait_ms = wait_ms};
    int r = restore_disk(&w->work, &p, &report, err);
    progress_finish(&w->bar);
    if (r == 0)
        print_disk(cmd, &report, w);
    return r < 0 ? r : EXIT_DONE;
}

/* --- a whole root ------------------------------------------------------------------------------------------------ */

static const struct column root_columns[] = {
    {"message_type", NULL, COL_JSON},
    {"set", "set", COL_TEXT},
    {"root", "root", COL_TEXT},
    {"versions", "versions of images", COL_NUMBER},
    {"overlays", "overlays of clients", COL_NUMBER},
    {"missing", "not in the set", COL_NUMBER},
    {"written_bytes", "written", COL_SIZE},
    {"equal_bytes", "was there already", COL_SIZE},
    {"checked_bytes", "read back and compared", COL_SIZE},
    {"gateway_address", "gateway.address", COL_TEXT},
    {"seconds", NULL, COL_JSON},
    {"warnings", NULL, COL_JSON},
    {0},
};

static void print_root(struct cmd *cmd, const struct restore_root_report *r, const struct cmd_work *w)
{
    _cleanup_(json_decrefp) json_t *row = json_pack(
        "{ss ss so sI sI sI sI sI sI ss sf sO}", "message_type", "summary", "set", r->set, "root", out_string(r->root),
        "versions", (json_int_t)r->versions, "overlays", (json_int_t)r->overlays, "missing", (json_int_t)r->missing,
        "written_bytes", (json_int_t)r->counts.written_bytes, "equal_bytes", (json_int_t)r->counts.equal_bytes,
        "checked_bytes", (json_int_t)r->counts.checked_bytes, "gateway_address", r->address, "seconds",
        cmd_work_seconds(w), "warnings", w->warnings);
    out_fields(&cmd->out, root_columns, row);
    out_line(&cmd->out,
             "if this machine has another address, say so with 'diskgate set gateway.address'; then 'diskgate up'");
}

/* OLD=NEW, both absolute. */
static int parse_map(const char *text, struct path_map *ret, struct err *err)
{
    const char *equal = strstr(text, "=/");
    if (text[0] != '/' || !equal)
        return err_set(err, VERB_USAGE, "--map-path '%s' is not OLD=NEW with two absolute paths", text);
    *ret = (struct path_map){.from = text, .to = equal + 1, .from_len = (size_t)(equal - text)};
    while (ret->from_len > 0 && text[ret->from_len - 1] == '/')
        ret->from_len--;
    return 0;
}

static int run_root(struct cmd *cmd, struct cmd_work *w, int wait_ms, struct err *err)
{
    struct path_map maps[CMD_VALUES_MAX];
    struct restore_root_report report;
    size_t n = 0;
    if (cmd->n_args > 2)
        return err_set(err, VERB_USAGE, "--all restores everything of REPO SET; '%s' is one too many", cmd_arg(cmd, 2));
    if (!cmd_option(cmd, "into"))
        return err_set(err, VERB_USAGE, "--all goes with --into ROOT, an empty folder");
    for (const char *text; (text = cmd_option_nth(cmd, "map-path", n)); n++) {
        int r = parse_map(text, &maps[n], err);
        if (r < 0)
            return r;
    }
    const struct restore_root_params p = {.repo = cmd_arg(cmd, 0),
                                          .set = cmd_arg(cmd, 1),
                                          .into = cmd_option(cmd, "into"),
                                          .key_file = cmd_option(cmd, "key"),
                                          .maps = maps,
                                          .n_maps = n,
                                          .is_forced = cmd_has(cmd, "force"),
                                          .has_no_check = cmd_has(cmd, "no-check"),
                                          .wait_ms = wait_ms};
    int r = restore_root(&w->work, &p, &report, err);
    progress_finish(&w->bar);
    if (r == 0)
        print_root(cmd, &report, w);
    return r < 0 ? r : report.missing > 0 ? BACKUP_EXIT_WARNINGS : EXIT_DONE;
}

static int run_restore(struct cmd *cmd, struct err *err)
{
    struct cmd_work w;
    long wait_s = WAIT_DEFAULT_S;
    int r = cmd_work_begin(&w, cmd, err);
    if (r == 0)
        r = cmd_number(cmd, "wait", 0, 7 * 24 * 3600 / 4, &wait_s, err);
    if (r == 0)
        r = (cmd_has(cmd, "all") ? run_root : run_disk)(cmd, &w, (int)wait_s * 1000, err);
    cmd_work_end(&w);
    return r;
}

static const struct option_def restore_options[] = {
    {"all", 0, NULL, "restore a whole root: catalog, images, kept overlays"},
    {"into", 0, "ROOT", "with --all: an empty folder, or one that does not exist yet"},
    {"map-path", 0, "OLD=NEW", "with --all: images that lay in OLD go to NEW; without it they go into the root",
     OPT_MANY},
    {"force", 'f', NULL, "overwrite a newer file, one of another size, or a block device"},
    {"no-check", 0, NULL, "do not read back and compare what was restored"},
    {"key", 0, "FILE", "the set must be signed by the owner of this public key (PEM)"},
    THREADS_OPTION,
    WAIT_OPTION,
    PROGRESS_OPTION,
    {0},
};

const struct verb cmd_restore_verbs[] = {
    {"", "restore", "REPO SET [DISK] [DEST]", "Restore a disk, or a whole root",
     "SET is the name of a set, a beginning of it, or \"latest\". DISK is IMAGE[@VERSION], CLIENT[:SLOT] or catalog; a "
     "client's\n"
     "disk is restored as its PC sees it. DEST is a file, a folder, or a block device. Zeros become holes; in a file "
     "that "
     "is there\n"
     "only what differs is written. A restore that was interrupted goes on where it was when it is run again.\n"
     "\n"
     "With --all a bare machine gets everything back: 'diskgate backup restore REPO latest --all --into "
     "/var/lib/diskgate'. "
     "The\n"
     "folder becomes a root at the very end. Exit status 3 when the set lacks something that its catalog names.",
     restore_options, run_restore, 0},
    {0},
};
