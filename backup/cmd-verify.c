/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate backup verify: what to read, and what was found. */
#include <errno.h>
#include <string.h>

#include "backup/cmd-work.h"
#include "backup/code.h"
#include "backup/heal.h"
#include "backup/run-note.h"
#include "backup/verify.h"
#include "core/util.h"

static const struct column columns[] = {
    {"message_type", NULL, COL_JSON},
    {"level", "verified", COL_TEXT},
    {"sets", "sets", COL_NUMBER},
    {"sets_damaged", "  damaged", COL_NUMBER},
    {"manifest_chunks", "chunks that they need", COL_NUMBER},
    {"packs", "packs", COL_NUMBER},
    {"packs_read", "  read", COL_NUMBER},
    {"pack_bytes", "bytes in them", COL_SIZE},
    {"read_bytes", "  read", COL_SIZE},
    {"read_percent", "  percent", COL_NUMBER},
    {"chunks_read", "chunks read", COL_NUMBER},
    {"chunks_bad", "  damaged", COL_NUMBER},
    {"chunks_healed", "  damaged here, whole elsewhere", COL_NUMBER},
    {"chunks_missing", "chunks that sets lack", COL_NUMBER},
    {"disks", "disks put together", COL_NUMBER},
    {"disk_bytes", NULL, COL_JSON},
    {"oldest_read", "oldest pack was read", COL_TEXT},
    {"noted", NULL, COL_JSON},
    {"problems", NULL, COL_JSON},
    {"seconds", NULL, COL_JSON},
    {"warnings", NULL, COL_JSON},
    {0},
};
static const struct column affected_columns[] = {
    {"set", "DAMAGED SET", COL_TEXT}, {"stream", "DISK", COL_TEXT}, {"chunks", "CHUNKS LOST", COL_NUMBER}, {0}};

/* Heads and tables between the chunks are a part of the packs. */
static uint64_t percent_of(const struct verify_report *r)
{
    if (r->packs_read > 0 && r->packs_read == r->packs)
        return 100;
    return r->pack_bytes ? r->read_bytes * 100 / r->pack_bytes : 0;
}

static const struct column test_columns[] = {{"file", "RESTORE TEST", COL_TEXT},
                                             {"file_system", "FILE SYSTEM", COL_TEXT},
                                             {"result", "RESULT", COL_TEXT},
                                             {"detail", "IT SAYS", COL_TEXT},
                                             {0}};

static json_t *row_of(const struct verify_report *r, const struct cmd_work *w, enum verify_level level)
{
    char oldest[32] = "never";
    if (r->oldest_s > 0)
        time_text(oldest, sizeof(oldest), r->oldest_s);
    json_t *row = json_pack(
        "{ss ss sI sI sI sI sI sI sI sI sI sI sI sI sI sI sb sO sf sO}", "message_type", "summary", "level",
        verify_level_name(level), "sets", (json_int_t)r->sets, "sets_damaged", (json_int_t)r->sets_damaged,
        "manifest_chunks", (json_int_t)r->manifest_chunks, "packs", (json_int_t)r->packs, "packs_read",
        (json_int_t)r->packs_read, "pack_bytes", (json_int_t)r->pack_bytes, "read_bytes", (json_int_t)r->read_bytes,
        "read_percent", (json_int_t)percent_of(r), "chunks_read", (json_int_t)r->chunks_read, "chunks_bad",
        (json_int_t)r->chunks_bad, "chunks_healed", (json_int_t)r->chunks_healed, "chunks_missing",
        (json_int_t)r->chunks_missing, "disks", (json_int_t)r->disks, "disk_bytes", (json_int_t)r->disk_bytes, "noted",
        r->is_noted, "problems", r->problems, "seconds", cmd_work_seconds(w), "warnings", w->warnings);
    (void)json_object_set_new(row, "oldest_read", r->packs ? json_string(oldest) : json_null());
    return row;
}

/* What a person would otherwise have to conclude. */
static void print_words(struct cmd *cmd, const struct verify_report *r, enum verify_level level)
{
    if (level == VERIFY_QUICK)
        out_line(&cmd->out, "no chunk was read: --data does that");
    else if (r->packs_read < r->packs)
        out_line(&cmd->out, "%llu packs were not read; the next run begins with them",
                 (unsigned long long)(r->packs - r->packs_read));
    if (verify_found_damage(r))
        out_line(&cmd->out,
                 "the next backup stores again what it still has of the lost chunks, and the sets are whole again; "
                 "'diskgate backup heal' takes them from another repository");
    else
        out_line(&cmd->out, "no damage was found in what was read");
}

static void print(struct cmd *cmd, const struct verify_report *r, const struct cmd_work *w, enum verify_level level)
{
    _cleanup_(json_decrefp) json_t *row = row_of(r, w, level);
    out_fields(&cmd->out, columns, row);
    if (json_array_size(r->affected) > 0 || cmd->is_json)
        out_table(&cmd->out, "affected", affected_columns, r->affected, "");
    if (json_array_size(r->tests) > 0 || cmd->is_json)
        out_table(&cmd->out, "tests", test_columns, r->tests, "");
    print_words(cmd, r, level);
}

/* "45s", "30m", "4h", "1d" */
static int time_parse(const char *text, int64_t *ret_s, struct err *err)
{
    static const struct {
        char letter;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char *end;
    unsigned long n = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    for (size_t i = 0; n > 0 && n < 100000 && i < ARRAY_SIZE(units); i++)
        if (end[0] == units[i].letter && !end[1]) {
            *ret_s = (int64_t)n * units[i].seconds;
            return 0;
        }
    return err_set(err, VERB_USAGE, "--max-time '%s' is no time such as 45s, 30m, 4h or 1d", text);
}

static int parse(struct cmd *cmd, struct verify_params *p, struct err *err)
{
    static const char *const levels[] = {"quick", "data", "image", "restore-test"};
    long percent = 0, wait_s = WAIT_DEFAULT_S;
    const char *max_time = cmd_option(cmd, "max-time");
    size_t given = 0;
    p->level = VERIFY_DATA;
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
        if (cmd_has(cmd, levels[i])) {
            p->level = (enum verify_level)(VERIFY_QUICK + i);
            given++;
        }
    if (given > 1)
        return err_set(err, VERB_USAGE,
                       "say one of --quick, --data, --image and --restore-test; each does what the one before does");
    int r = cmd_number(cmd, "percent", 1, 100, &percent, err);
    if (r == 0)
        r = cmd_number(cmd, "wait", 0, 7 * 24 * 3600 / 4, &wait_s, err);
    if (r == 0 && max_time)
        r = time_parse(max_time, &p->max_time_s, err);
    p->repo = cmd_arg(cmd, 0);
    p->set = cmd_arg(cmd, 1);
    p->key_file = cmd_option(cmd, "key");
    p->percent = (unsigned)percent;
    p->wait_ms = (int)wait_s * 1000;
    return r;
}

static int run_verify(struct cmd *cmd, struct err *err)
{
    struct verify_params p = {0};
    struct verify_report report = {0};
    struct cmd_work w;
    int r = cmd_work_begin(&w, cmd, err);
    if (r == 0)
        r = parse(cmd, &p, err);
    bool is_noted = r == 0 && !p.set && p.level >= VERIFY_DATA;
    if (is_noted)
        run_note_begin(cmd->root, p.repo, "verify");
    if (r == 0)
        r = verify_run(&w.work, &p, &report, err);
    progress_finish(&w.bar);
    if (r == 0)
        print(cmd, &report, &w, p.level);
    if (r == 0 && verify_found_damage(&report))
        r = BACKUP_EXIT_DAMAGE;
    if (is_noted)
        run_note_end(cmd->root, p.repo, "verify", r, err);
    verify_report_finish(&report);
    cmd_work_end(&w);
    return r;
}

static const struct option_def verify_options[] = {
    {"quick", 0, NULL, "sets, manifests and tables only; no chunk is read"},
    {"data", 0, NULL, "also read, decode and hash every chunk; this is what is done without an option"},
    {"image", 0, NULL, "also put every disk of the set together (of the newest one, where none is named)"},
    {"restore-test", 0, NULL, "also mount that set and check the file systems in it, read-only"},
    {"max-time", 0, "SPAN", "begin no further pack after so long: 30m, 4h, 1d"},
    {"percent", 0, "N", "begin no further pack when so much of the bytes was read"},
    {"key", 0, "FILE", "the sets must be signed by the owner of this public key (PEM)"},
    THREADS_OPTION,
    WAIT_OPTION,
    PROGRESS_OPTION,
    {0},
};

/* --- heal -------------------------------------------------------------------------------------------------------- */

static const struct column heal_columns[] = {
    {"message_type", NULL, COL_JSON},   {"missing", "chunks that sets lack", COL_NUMBER},
    {"healed", "  healed", COL_NUMBER}, {"stored_bytes", "stored", COL_SIZE},
    {"warnings", NULL, COL_JSON},       {0}};

static int run_heal(struct cmd *cmd, struct err *err)
{
    struct cmd_work w;
    struct heal_report report = {0};
    long wait_s = WAIT_DEFAULT_S;
    int r = cmd_work_begin(&w, cmd, err);
    if (r == 0)
        r = cmd_number(cmd, "wait", 0, 7 * 24 * 3600 / 4, &wait_s, err);
    if (r == 0)
        r = heal_run(&w.work, cmd_arg(cmd, 0), cmd_option(cmd, "from"), (int)wait_s * 1000, &report, err);
    if (r == 0) {
        _cleanup_(json_decrefp) json_t *row = json_pack(
            "{ss sI sI sI sO}", "message_type", "summary", "missing", (json_int_t)report.missing, "healed",
            (json_int_t)report.healed, "stored_bytes", (json_int_t)report.stored_bytes, "warnings", w.warnings);
        out_fields(&cmd->out, heal_columns, row);
    }
    cmd_work_end(&w);
    return r < 0 ? r : report.healed < report.missing ? BACKUP_EXIT_DAMAGE : EXIT_DONE;
}

static const struct option_def heal_options[] = {
    {"from", 0, "REPO", "the other repository; it is only read", OPT_REQUIRED},
    WAIT_OPTION,
    {0},
};

const struct verb cmd_verify_verbs[] = {
    {"", "verify", "REPO [SET]", "Read what was backed up, and check that it is still what it was",
     "Packs that were verified longest ago are read first, so a verify with --max-time every night gets around. "
     "Damaged "
     "chunks are\n"
     "noted, and the next backup that has them stores them again. Exit status 13 when there is damage.",
     verify_options, run_verify, 0},
    {"", "heal", "REPO", "take chunks that sets lack from another repository",
     "Such as verify found damaged, and those of packs that are gone. Run 'verify' before and after. Exit status 13 "
     "when "
     "the other\n"
     "repository does not have all of them.",
     heal_options, run_heal, 0},
    {0},
};
