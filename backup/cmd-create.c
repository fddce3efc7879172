/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate backup create: the options, the bar, the result. */
#include <errno.h>
#include <string.h>

#include "backup/cmd-work.h"
#include "backup/cmd.h"
#include "backup/code.h"
#include "backup/create.h"
#include "backup/last-backup.h"
#include "backup/run-note.h"
#include "cli/progress.h"
#include "core/clock.h"
#include "core/names.h"
#include "core/util.h"

struct show {
    struct progress bar;
    json_t *warnings;
};

static void show_progress(void *arg, uint64_t done, uint64_t total)
{
    struct show *s = arg;
    progress_update(&s->bar, done, total);
}

static void show_warning(void *arg, const char *sentence)
{
    struct show *s = arg;
    progress_finish(&s->bar);
    warn_line("warning: %s", sentence);
    (void)json_array_append_new(s->warnings, out_string(sentence)); /* missing without memory; it was said */
}

static void show_note(void *arg, const char *sentence)
{
    struct show *s = arg;
    progress_finish(&s->bar);
    warn_line("%s", sentence);
}

static json_t *row_of(const struct create_report *r, json_t *warnings, int64_t ms)
{
    const struct capture_counts *n = &r->counts;
    return json_pack("{ss ss sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI sf sO}", "message_type", "summary",
                     "set", r->set, "versions", (json_int_t)r->versions, "versions_unchanged", (json_int_t)n->reused,
                     "overlays", (json_int_t)r->overlays, "left_out", (json_int_t)r->left_out, "volatile",
                     (json_int_t)r->n_volatile, "read_bytes", (json_int_t)n->read_bytes, "stored_bytes",
                     (json_int_t)r->stored.stored_bytes, "chunks_new", (json_int_t)n->fresh, "chunks_duplicate",
                     (json_int_t)n->known, "chunks_mapped", (json_int_t)n->mapped, "chunks_inherited",
                     (json_int_t)n->inherited, "chunks_zero", (json_int_t)n->zero, "chunks_collision",
                     (json_int_t)n->collisions, "map_mismatches", (json_int_t)n->mismatches, "chunks_mended",
                     (json_int_t)n->mended, "packs", (json_int_t)r->stored.packs, "freezes", (json_int_t)r->freezes,
                     "seconds", (double)ms / 1000, "warnings", warnings);
}

static const struct column columns[] = {
    {"message_type", NULL, COL_JSON},
    {"set", "set", COL_TEXT},
    {"versions", "versions of images", COL_NUMBER},
    {"versions_unchanged", "  of them unchanged", COL_NUMBER},
    {"overlays", "overlays of clients", COL_NUMBER},
    {"left_out", "left out", COL_NUMBER},
    {"volatile", NULL, COL_JSON},
    {"read_bytes", "read", COL_SIZE},
    {"stored_bytes", "stored", COL_SIZE},
    {"chunks_new", "new chunks", COL_NUMBER},
    {"chunks_duplicate", NULL, COL_JSON},
    {"chunks_mapped", NULL, COL_JSON},
    {"chunks_inherited", NULL, COL_JSON},
    {"chunks_zero", NULL, COL_JSON},
    {"chunks_collision", NULL, COL_JSON},
    {"map_mismatches", NULL, COL_JSON},
    {"chunks_mended", NULL, COL_JSON},
    {"packs", NULL, COL_JSON},
    {"freezes", NULL, COL_JSON},
    {"seconds", NULL, COL_JSON},
    {"warnings", NULL, COL_JSON},
    {0},
};

static void print(struct cmd *cmd, const struct create_report *r, const struct show *s, int64_t ms)
{
    _cleanup_(json_decrefp) json_t *row = row_of(r, s->warnings, ms);
    out_fields(&cmd->out, columns, row);
    if (r->n_volatile > 0 && cmd->n_args == 1)
        out_line(&cmd->out,
                 "%zu volatile disk%s of clients %s nothing to back up: what they write is dropped at the "
                 "next boot",
                 r->n_volatile, r->n_volatile == 1 ? "" : "s", r->n_volatile == 1 ? "has" : "have");
    if (r->counts.collisions > 0)
        out_line(&cmd->out,
                 "%llu chunks have the XXH3-128 of other ones: somebody tries to deceive the repository, or its "
                 "memory is broken; they are kept apart",
                 (unsigned long long)r->counts.collisions);
}

static int parse(const struct cmd *cmd, struct create_params *p, struct err *err)
{
    long threads = 0, level = 0, wait_s = 0;
    int r = cmd_number(cmd, "threads", 1, 64, &threads, err);
    if (r == 0)
        r = cmd_number(cmd, "level", 1, 19, &level, err);
    if (r == 0)
        r = cmd_number(cmd, "wait", 0, 7 * 24 * 3600 / 4, &wait_s, err);
    p->threads = (unsigned)threads;
    p->level = (int)level;
    p->wait_ms = (int)wait_s * 1000;
    p->root = cmd->root;
    p->repo = cmd_arg(cmd, 0);
    p->names = cmd->args + 1;
    p->n_names = cmd->n_args - 1;
    p->comment = cmd_option(cmd, "message");
    p->sign_key = cmd_option(cmd, "sign");
    p->is_full = cmd_has(cmd, "full");
    p->is_paranoid = cmd_has(cmd, "paranoid");
    return r;
}

/* A backup of all that there is, and so what a schedule makes? */
static bool is_whole(const struct create_params *p)
{
    return p->n_names == 0;
}

static int make(struct cmd *cmd, struct create_params *p, struct show *show, struct err *err)
{
    struct create_report report;
    struct err why;
    p->stop = cmd_catch_signals();
    int64_t start = clock_ms();
    int r = create_run(p, &report, err);
    progress_finish(&show->bar);
    if (r < 0)
        return r;
    if (is_whole(p) && last_backup_note(p->root, p->repo, report.set, report.warnings, &why) < 0)
        warn_line("%s, ignoring", why.msg); /* the backup is there */
    print(cmd, &report, show, clock_ms() - start);
    return report.warnings > 0 ? BACKUP_EXIT_WARNINGS : EXIT_DONE;
}

static int create(struct cmd *cmd, struct err *err)
{
    struct show show = {.warnings = json_array()};
    struct create_params p = {.progress = show_progress, .warn = show_warning, .note = show_note, .arg = &show};
    int r = parse(cmd, &p, err);
    progress_init(&show.bar, "backing up", cmd->is_quiet);
    if (r == 0)
        r = progress_to_fd(&show.bar, cmd_option(cmd, "progress"), err);
    if (r == 0 && is_whole(&p))
        run_note_begin(p.root, p.repo, "create");
    bool is_noted = r == 0 && is_whole(&p);
    if (r == 0)
        r = make(cmd, &p, &show, err);
    if (is_noted)
        run_note_end(p.root, p.repo, "create", r, err);
    json_decref(show.warnings);
    return r;
}

static const struct option_def create_options[] = {
    {"full", 0, NULL, "read everything, also what seems unchanged"},
    {"paranoid", 0, NULL, "compare what is read byte for byte with what the repository has of it"},
    {"message", 'm', "TEXT", "a comment of the set"},
    {"sign", 0, "FILE", "sign the set with this ed25519 private key (PEM)"},
    {"level", 0, "N", "level of zstd, 1 to 19 (3)"},
    {"threads", 0, "N", "threads that read and compress (one for each processor, at most 8)"},
    {"wait", 0, "SECONDS", "how long to wait for another backup or prune of the repository (0)"},
    PROGRESS_OPTION,
    {0},
};

const struct verb cmd_create_verbs[] = {
    {"", "create", "REPO [IMAGE|CLIENT]...", "Back up images, kept overlays of clients, and the catalog",
     "Without names everything is backed up: all versions of all images, the kept and super overlays of all clients as "
     "they\n"
     "are at one instant while clients go on writing, and the catalog with all settings. An image is backed up with "
     "all its\n"
     "versions, a client with its overlays and the versions that they lie over.\n"
     "\n"
     "What did not change since the last set is not read again. After a stop in the middle the next run goes on with "
     "what\n"
     "was stored.",
     create_options, create, 0},
    {0},
};
