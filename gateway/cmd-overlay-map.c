/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `overlay dump-map`: the files that say which blocks of an overlay count, printed as the pages in docs/ describe them: map file, live map,
 * the journal's commits of this overlay.
 */
#include "gateway/cmd.h"

#include <errno.h>
#include <inttypes.h>

#include "core/json.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/overlay-look.h"

static const struct option_def slot_options[] = {
    {"slot", 0, "S", "the slot: 0 (default) is the boot disk, 1 to 15 are data disks, 16 to 31 are in the boot menu",
     OPT_ONCE},
    {0}};

static const struct column run_columns[] = {
    {"block", "BLOCK", COL_NUMBER}, {"blocks", "BLOCKS", COL_NUMBER}, {"state", "STATE", COL_TEXT}, {0}};
static const struct column commit_columns[] = {
    {"number", "COMMIT", COL_NUMBER},           {"block", "BLOCK", COL_NUMBER},
    {"blocks", "BLOCKS", COL_NUMBER},           {"state", "STATE", COL_TEXT},
    {"is_in_map_file", "IN MAP FILE", COL_YES}, {0}};
static const struct column head_columns[] = {{"client", "client", COL_TEXT},
                                             {"slot", "slot", COL_NUMBER},
                                             {"overlay_id", "overlay id", COL_TEXT},
                                             {"mode", "mode", COL_TEXT},
                                             {"what_counts", "what counts", COL_TEXT},
                                             {"size_bytes", "disk size", COL_SIZE},
                                             {"block_bytes", "block size", COL_SIZE},
                                             {"map_file", "map file", COL_TEXT},
                                             {"map_file_problem", "  problem", COL_TEXT},
                                             {"map_file_overlay_id", "  overlay id", COL_TEXT},
                                             {"map_file_base_identity", "  base identity", COL_TEXT},
                                             {"map_file_size_bytes", "  disk size", COL_SIZE},
                                             {"map_file_sequence", "  sequence", COL_NUMBER},
                                             {"map_file_records", "  records", COL_NUMBER},
                                             {"live_map", "live map", COL_TEXT},
                                             {"live_map_problem", "  problem", COL_TEXT},
                                             {"live_map_changes", "  changes", COL_NUMBER},
                                             {"journal_problem", "journal", COL_TEXT},
                                             {"journal_version", "journal: version", COL_NUMBER},
                                             {"journal_root", "  root", COL_TEXT},
                                             {"journal_commits", "  commits", COL_NUMBER},
                                             {"journal_last_number", "  last number", COL_NUMBER},
                                             {0}};

static const char *state_name(uint32_t s)
{
    return s == BLOCK_PRESENT ? "present" : s == BLOCK_ZERO ? "zero" : "absent";
}

/* All runs that are not absent; null where there is no map. */
static json_t *map_runs(const struct livemap *m)
{
    if (!m)
        return json_null();
    json_t *rows = json_array();
    uint64_t end = livemap_block_count(m), n;
    for (uint64_t blk = 0; blk < end; blk += n) {
        enum block_state s;
        n = livemap_run(m, blk, end - blk, &s);
        if (s != BLOCK_ABSENT)
            (void)json_array_append_new(rows, json_pack("{s:I, s:I, s:s}", "block", (json_int_t)blk, "blocks",
                                                        (json_int_t)n, "state", state_name(s)));
    }
    return rows;
}

static json_t *commit_runs(const struct overlay_look *l)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < l->count; i++) {
        const struct look_commit *c = &l->commits[i];
        bool is_in = l->map && c->number <= l->info.sequence;
        for (size_t k = 0; k < c->n; k++)
            (void)json_array_append_new(rows,
                                        json_pack("{s:I, s:I, s:I, s:s, s:b}", "number", (json_int_t)c->number, "block",
                                                  (json_int_t)c->runs[k].blk, "blocks", (json_int_t)c->runs[k].n,
                                                  "state", state_name(c->runs[k].state), "is_in_map_file", is_in));
    }
    return rows;
}

/* --- the head ----------------------------------------------------------------------------------------------------- */

static void set_problem(json_t *row, const char *key, const struct look_code *c)
{
    if (c->code < 0 && c->code != -ENOENT)
        (void)json_object_set_new(row, key, out_string(c->err.msg));
}

static const char *what_counts(const struct overlay_look *l, const struct view_row *view)
{
    if (l->live)
        return "live map";
    if (view->mode == OVERLAY_VOLATILE)
        return "nothing";
    return !l->map ? "nothing" : l->count && l->journal.code == 0 ? "map file and journal" : "map file";
}

static void set_map_file(json_t *row, const struct overlay_look *l)
{
    char id[UUID_LEN + 1];
    (void)json_object_set_new(row, "map_file",
                              l->map_file.code == -ENOENT ? json_null() : json_sprintf("%s/%s", l->dir, l->map_name));
    set_problem(row, "map_file_problem", &l->map_file);
    if (!l->map)
        return;
    uuid_encode(l->info.stamp.overlay_id, id);
    (void)json_object_set_new(row, "map_file_overlay_id", json_string(id));
    (void)json_object_set_new(row, "map_file_base_identity", out_string(l->info.stamp.base_identity));
    (void)json_object_set_new(row, "map_file_size_bytes", json_integer((json_int_t)l->info.stamp.size_bytes));
    (void)json_object_set_new(row, "map_file_sequence", json_integer((json_int_t)l->info.sequence));
    (void)json_object_set_new(row, "map_file_records", json_integer((json_int_t)l->info.leaves));
}

/* Of the area that is in use. */
static void set_journal(json_t *row, const struct overlay_look *l)
{
    const struct journal_area *a = l->found.area;
    a += a[1].generation > a[0].generation;
    set_problem(row, "journal_problem", &l->journal);
    if (a->version) {
        (void)json_object_set_new(row, "journal_version", json_integer((json_int_t)a->version));
        (void)json_object_set_new(row, "journal_root", out_string(*a->root ? a->root : NULL));
    }
    (void)json_object_set_new(row, "journal_commits", json_integer((json_int_t)l->found.commits));
    (void)json_object_set_new(row, "journal_last_number", json_integer((json_int_t)l->found.last_number));
}

static json_t *head_row(const struct overlay_look *l, const struct view_row *view)
{
    json_t *row =
        json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:I}", "client", view->client, "slot", (int)view->slot, "overlay_id",
                  view->overlay_id, "mode", overlay_mode_name(view->mode), "what_counts", what_counts(l, view),
                  "size_bytes", (json_int_t)l->stamp.size_bytes, "block_bytes", (json_int_t)4096);
    set_map_file(row, l);
    (void)json_object_set_new(row, "live_map",
                              l->live_map.code == -ENOENT ? json_null() : json_sprintf("run/live/%s", l->live_name));
    set_problem(row, "live_map_problem", &l->live_map);
    if (l->live)
        (void)json_object_set_new(row, "live_map_changes", json_integer((json_int_t)livemap_changes(l->live)));
    set_journal(row, l);
    return row;
}

static void print_look(struct cmd *cmd, const struct overlay_look *l, const struct view_row *view)
{
    _cleanup_json_ json_t *head = head_row(l, view), *file = map_runs(l->map), *live = map_runs(l->live),
                          *commits = commit_runs(l);
    out_fields(&cmd->out, head_columns, head);
    if (l->map) {
        out_line(&cmd->out, "\nmap file:");
        out_table(&cmd->out, "map_file_runs", run_columns, file, "all blocks are absent");
    }
    if (l->live) {
        out_line(&cmd->out, "\nlive map:");
        out_table(&cmd->out, "live_map_runs", run_columns, live, "all blocks are absent");
    }
    out_line(&cmd->out, "\njournal, commits of this overlay:");
    out_table(&cmd->out, "journal_runs", commit_columns, commits, "none");
}

static int find_view(struct catalog *c, const char *client, uint32_t slot, struct view_row *ret, struct err *err)
{
    _cleanup_free_ struct view_row *views = NULL;
    size_t n = 0;
    int r = view_list(c, client, &views, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (views[i].slot == slot) {
            *ret = views[i];
            return 0;
        }
    if (r < 0)
        return r;
    return err_set(err, -ENOENT, "client '%s' has no disk in slot %u; 'diskgate overlay show %s' lists its disks",
                   client, slot, client);
}

static int run_dump_map(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct client_row client;
    struct view_row view;
    struct overlay_look look;
    uint32_t slot;
    int r = slot_parse(cmd_option(cmd, "slot"), &slot, err);
    if (r == 0)
        r = read_open(cmd, &c, err);
    if (r == 0)
        r = client_get(c, cmd_arg(cmd, 0), &client, err);
    if (r == 0)
        r = find_view(c, client.name, slot, &view, err);
    if (r == 0)
        r = overlay_look(cmd->root, c, &view, &look, err);
    if (r < 0)
        return r;
    print_look(cmd, &look, &view);
    overlay_look_finish(&look);
    return EXIT_DONE;
}

const struct verb cmd_overlay_map_verbs[] = {
    {"overlay", "dump-map", "CLIENT", "Print the maps of a client's overlay as they lie on disk",
     "The formats are described in docs/map-file-format.md, docs/live-map-format.md and docs/journal-format.md.",
     slot_options, run_dump_map},
    {0},
};
