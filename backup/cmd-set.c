/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate backup list, show, remove, pin, unpin: what there is. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "backup/cmd.h"
#include "backup/code.h"
#include "backup/index.h"
#include "backup/gc.h"
#include "backup/prune.h"
#include "core/ctl.h"
#include "core/util.h"

static int open_repo(const struct cmd *cmd, enum repo_mode mode, struct repo **ret, struct err *err)
{
    return repo_open(cmd_arg(cmd, 0), mode, 5000, cmd->verb->name, ret, err);
}

static json_t *time_json(int64_t time_s)
{
    char text[32];
    time_text(text, sizeof(text), time_s);
    return time_s > 0 ? json_string(text) : json_null();
}

/* --- list ------------------------------------------------------------------------------------------------------------ */

static const struct column list_columns[] = {{"set", "SET", COL_TEXT},           {"number", NULL, COL_NUMBER},
                                             {"time", NULL, COL_TEXT},           {"host", NULL, COL_TEXT},
                                             {"streams", "STREAMS", COL_COUNT},  {"size_bytes", "SIZE", COL_SIZE},
                                             {"verified", "VERIFIED", COL_TEXT}, {"verified_level", NULL, COL_TEXT},
                                             {"pinned", "PINNED", COL_YES},      {"signed", "SIGNED", COL_YES},
                                             {"state", "STATE", COL_TEXT},       {"problem", NULL, COL_TEXT},
                                             {"comment", "COMMENT", COL_TEXT},   {0}};

static json_t *stream_names(const struct set_info *s)
{
    char text[NAME_LEN + 16];
    json_t *names = json_array();
    for (size_t i = 0; i < s->n_streams; i++) {
        stream_id_text(&s->streams[i].id, text);
        (void)json_array_append_new(names, json_string(text)); /* missing without memory, as below */
    }
    return names;
}

static const char *state_of(const struct set_info *s, const struct set_mark *m)
{
    return s->problem == -EOPNOTSUPP ? "other version" : s->problem || (m && m->is_bad) ? "damaged" : "good";
}

static json_t *set_row(const struct set_info *s, const struct marks *marks)
{
    const struct set_mark *m = marks_set(marks, s->id);
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->n_streams; i++)
        bytes += s->streams[i].size_bytes;
    json_t *row = json_pack("{s:s, s:I, s:o, s:o, s:I, s:b, s:b, s:s}", "set", s->id, "number", (json_int_t)s->number,
                            "time", time_json(s->time_s), "streams", stream_names(s), "size_bytes", (json_int_t)bytes,
                            "pinned", m && m->is_pinned, "signed", s->is_signed, "state", state_of(s, m));
    (void)json_object_set_new(row, "host", out_string(s->host));
    (void)json_object_set_new(row, "comment", out_string(s->comment));
    (void)json_object_set_new(row, "verified", time_json(m ? m->verified_s : 0));
    (void)json_object_set_new(row, "verified_level", m ? json_string(verify_level_name(m->level)) : json_null());
    (void)json_object_set_new(row, "problem", s->problem ? out_string(s->reason.msg) : json_null());
    return row;
}

static int run_list(struct cmd *cmd, struct err *err)
{
    _cleanup_(repo_closep) struct repo *r = NULL;
    struct marks marks = {0};
    struct set_info *sets = NULL;
    struct err why;
    size_t n = 0, bad = 0;
    int e = open_repo(cmd, REPO_READ, &r, err);
    if (e == 0)
        e = set_list(r, &sets, &n, err);
    if (e < 0)
        return e;
    if (marks_load(r, &marks, &why) < 0)
        warn_line("%s", why.msg); /* the sets are what was asked for */
    int gone = index_count_gone(r, &why);
    if (gone != 0)
        warn_line("%s", why.msg);
    _cleanup_json_ json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(rows, set_row(&sets[i], &marks));
        bad += sets[i].problem != 0;
        if (sets[i].problem)
            warn_line("%s", sets[i].reason.msg);
    }
    out_set(&cmd->out, "repository", out_string(repo_path(r)));
    out_table(&cmd->out, "sets", list_columns, rows, "there is no backup yet");
    set_list_free(sets, n);
    marks_finish(&marks);
    return bad || gone != 0 ? BACKUP_EXIT_DAMAGE : EXIT_DONE;
}

/* --- show ------------------------------------------------------------------------------------------------------------ */

static const struct column show_columns[] = {{"set", "set", COL_TEXT},
                                             {"number", "number", COL_NUMBER},
                                             {"time", "made", COL_TEXT},
                                             {"host", "on", COL_TEXT},
                                             {"root", "of root", COL_TEXT},
                                             {"version", "by version", COL_TEXT},
                                             {"comment", "comment", COL_TEXT},
                                             {"signed", "signed", COL_YES},
                                             {"pinned", "pinned", COL_YES},
                                             {"verified", "verified", COL_TEXT},
                                             {"verified_level", "  how", COL_TEXT},
                                             {"state", "state", COL_TEXT},
                                             {0}};
static const struct column stream_columns[] = {{"stream", "STREAM", COL_TEXT},
                                               {"kind", "KIND", COL_TEXT},
                                               {"size_bytes", "SIZE", COL_SIZE},
                                               {"chunks", "CHUNKS", COL_NUMBER},
                                               {"inherited_chunks", "FROM BELOW", COL_NUMBER},
                                               {"backing", "LIES ON", COL_TEXT},
                                               {"source", "READ BY", COL_TEXT},
                                               {"tree_sha256", NULL, COL_TEXT},
                                               {"image_xxh128", NULL, COL_TEXT},
                                               {"identity", NULL, COL_TEXT},
                                               {"label", "LABEL", COL_TEXT},
                                               {0}};

/* The whole manifest is read: counts, and that it is sound. */
static int stream_row(struct repo *r, const struct set_info *s, const struct set_stream *st, json_t *rows,
                      struct err *err)
{
    _cleanup_(manifest_closep) struct manifest_reader *m = NULL;
    char name[NAME_LEN + 16], backing[NAME_LEN + 16] = "", tree[SHA256_HEX_LEN + 1];
    struct manifest_line line;
    int kind, e = set_manifest_open(r, s, &st->id, &m, err);
    if (e < 0)
        return e;
    while ((kind = manifest_next(m, &line, err)) > MANIFEST_END)
        ;
    if (kind < 0)
        return kind;
    const struct manifest_head *h = manifest_head(m);
    const struct manifest_tail *t = manifest_tail(m);
    stream_id_text(&st->id, name);
    if (st->has_backing)
        stream_id_text(&st->backing, backing);
    hex_text(t->tree_sha256, 32, tree);
    json_t *row = json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:s}", "stream", name, "kind", stream_kind_name(h->id.kind),
                            "size_bytes", (json_int_t)h->size_bytes, "chunks", (json_int_t)t->chunks,
                            "inherited_chunks", (json_int_t)t->inherit, "tree_sha256", tree, "backing", backing);
    (void)json_object_set_new(row, "image_xxh128", out_string(t->image_xxh128[0] ? t->image_xxh128 : NULL));
    (void)json_object_set_new(row, "source", out_string(h->source));
    (void)json_object_set_new(row, "identity", out_string(h->identity));
    (void)json_object_set_new(row, "label", out_string(h->label));
    (void)json_array_append_new(rows, row);
    return 0;
}

static int run_show(struct cmd *cmd, struct err *err)
{
    _cleanup_(repo_closep) struct repo *r = NULL;
    struct set_info s = {0};
    struct marks marks = {0};
    struct err why;
    int e = open_repo(cmd, REPO_READ, &r, err);
    if (e == 0)
        e = set_find(r, cmd_arg(cmd, 1), &s, err);
    if (e < 0)
        return e;
    if (marks_load(r, &marks, &why) < 0)
        warn_line("%s", why.msg); /* the set is what was asked for */
    _cleanup_json_ json_t *rows = json_array(), *row = set_row(&s, &marks);
    (void)json_object_set_new(row, "root", out_string(s.root));
    (void)json_object_set_new(row, "version", out_string(s.version));
    for (size_t i = 0; e == 0 && i < s.n_streams; i++)
        e = stream_row(r, &s, &s.streams[i], rows, err);
    if (e == 0) {
        out_fields(&cmd->out, show_columns, row);
        out_line(&cmd->out, "%s", "");
        out_table(&cmd->out, "streams", stream_columns, rows, "nothing is in it");
    }
    set_info_finish(&s);
    marks_finish(&marks);
    return e < 0 ? e : EXIT_DONE;
}

/* --- pin ------------------------------------------------------------------------------------------------------------- */

static int set_pin(struct cmd *cmd, bool is_pinned, struct err *err)
{
    _cleanup_(repo_closep) struct repo *r = NULL;
    struct set_info s = {0};
    struct marks marks = {0};
    int e = open_repo(cmd, REPO_WRITE, &r, err);
    if (e == 0)
        e = set_find(r, cmd_arg(cmd, 1), &s, err);
    if (e == 0)
        e = marks_load(r, &marks, err);
    struct set_mark *m = e == 0 ? marks_set_need(&marks, s.id) : NULL;
    if (e == 0 && !m)
        e = err_set(err, -ENOMEM, "memory is out");
    if (e == 0) {
        m->is_pinned = is_pinned;
        e = marks_store(r, &marks, err);
    }
    if (e == 0 && !cmd->is_quiet)
        out_line(&cmd->out, is_pinned ? "%s is pinned: prune keeps it" : "%s is no longer pinned", s.id);
    out_set(&cmd->out, "set", out_string(s.id));
    set_info_finish(&s);
    marks_finish(&marks);
    return e < 0 ? e : EXIT_DONE;
}

static int run_pin(struct cmd *cmd, struct err *err)
{
    return set_pin(cmd, true, err);
}

static int run_unpin(struct cmd *cmd, struct err *err)
{
    return set_pin(cmd, false, err);
}

/* --- remove ---------------------------------------------------------------------------------------------------------- */

/* The set called @text among @sets, or one that only marks.txt knows. Whole names only: this is about deleting. */
static int check_removal(const struct set_info *sets, size_t n, const struct marks *marks, const char *text,
                         bool is_forced, bool *ret_is_there, struct err *err)
{
    const struct set_mark *m = marks_set(marks, text);
    *ret_is_there = false;
    for (size_t i = 0; i < n; i++)
        *ret_is_there |= strcmp(sets[i].id, text) == 0;
    if (!*ret_is_there && !m)
        return err_set(err, -ENOENT, "there is no set '%s'; its whole name is needed here", text);
    if (m && m->is_pinned)
        return err_set(err, -EPERM, "the set %s is pinned; 'diskgate backup unpin' first", text);
    return is_forced ? 0
                     : err_set(err, -EPERM,
                               "this removes the set %s; say --force to do it (the prune after the next one deletes it "
                               "for good)",
                               text);
}

static int remove_one(struct repo *r, struct marks *marks, const struct set_info *sets, size_t n, const struct cmd *cmd,
                      size_t arg, struct err *err)
{
    const char *id = cmd_arg(cmd, arg);
    bool is_there;
    int e = check_removal(sets, n, marks, id, cmd_has(cmd, "force"), &is_there, err);
    if (e < 0)
        return e;
    if (is_there)
        return prune_drop(r, marks, &id, 1, err);
    marks_set_drop(marks, id);
    return marks_store(r, marks, err);
}

static int run_remove(struct cmd *cmd, struct err *err)
{
    _cleanup_(repo_closep) struct repo *r = NULL;
    struct marks marks = {0};
    struct set_info *sets = NULL;
    size_t n = 0;
    int e = open_repo(cmd, REPO_WRITE, &r, err);
    if (e == 0)
        e = marks_load(r, &marks, err);
    if (e == 0)
        e = set_list(r, &sets, &n, err);
    for (size_t i = 1; e == 0 && i < cmd->n_args; i++) {
        e = remove_one(r, &marks, sets, n, cmd, i, err);
        if (e == 0)
            out_line(&cmd->out, "%s is in trash/ now", cmd_arg(cmd, i));
    }
    set_list_free(sets, n);
    marks_finish(&marks);
    return e < 0 ? e : EXIT_DONE;
}

static const struct option_def remove_options[] = {{"force", 'f', NULL, "really do it"}, {0}};

const struct verb cmd_set_verbs[] = {
    {"", "list", "REPO", "List the backups of a repository",
     "Each is a set: the state of images, clients and catalog at one instant. Exit status 13 when one cannot be used.",
     NULL, run_list},
    {"", "show", "REPO SET", "Show what is in a set", "SET is its name, a beginning of it, or \"latest\".", NULL,
     run_show},
    {"", "pin", "REPO SET", "Keep a set for ever, whatever prune's rules say", NULL, NULL, run_pin},
    {"", "unpin", "REPO SET", "Let prune's rules decide on a set again", NULL, NULL, run_unpin},
    {"", "remove", "REPO SET...", "Take sets out of a repository",
     "A set goes to trash/ inside the repository. The prune after the next one deletes what only it needed.",
     remove_options, run_remove},
    {0},
};
