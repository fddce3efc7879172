/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `overlay check`: are the files of a client's overlays whole, do they belong together, and what is to be done where not?
 *
 *   part        ok                                                    else
 *   map file    whole, of this overlay, over this image's content     damaged, foreign, stale, missing
 *   data file   right size, tail with this overlay's id               damaged, missing
 *   live map    whole, knows all that the map file knows              damaged; that of a former boot does not count
 *   journal     read to its end, of this root                         damaged, foreign
 *
 * A part that is not there and need not be is "none". A volatile overlay whose map went with the machine's power is "lost".
 */
#include "gateway/cmd.h"

#include <errno.h>
#include <string.h>

#include "core/json.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/overlay-look.h"

#define WAY_OUT "put the file back from a backup, or drop the overlay with 'diskgate client reset'"

static const struct option_def slot_options[] = {{"slot", 0, "S", "only the disk in this slot", OPT_ONCE}, {0}};

static const struct column columns[] = {{"client", "CLIENT", COL_TEXT}, {"slot", "SLOT", COL_NUMBER},
                                        {"part", "PART", COL_TEXT},     {"path", "FILE", COL_TEXT},
                                        {"state", "STATE", COL_TEXT},   {"problem", "PROBLEM", COL_TEXT},
                                        {"overlay_id", NULL, COL_TEXT}, {0}};

struct check {
    const struct view_row *view;
    const struct overlay_look *look;
    json_t *rows;
    bool is_bad;
};

static void add(struct check *c, const char *part, const char *dir, const char *name, const char *state,
                const char *problem)
{
    c->is_bad |= problem != NULL;
    (void)json_array_append_new(c->rows, json_pack("{s:s, s:i, s:s, s:o, s:s, s:o, s:s}", "client", c->view->client,
                                                   "slot", (int)c->view->slot, "part", part, "path",
                                                   json_sprintf("%s%s%s", dir, *dir ? "/" : "", name), "state", state,
                                                   "problem", out_string(problem), "overlay_id", c->view->overlay_id));
}

static const char *bad_state(int code)
{
    return code == -EOPNOTSUPP ? "unknown" : code == -EBADMSG ? "damaged" : code == -EEXIST ? "foreign" : "unreadable";
}

/* Does any block of @map that is not absent have no counterpart in @live? */
static bool knows_more(const struct livemap *map, const struct livemap *live)
{
    uint64_t end = MIN(livemap_block_count(map), livemap_block_count(live)), n;
    for (uint64_t blk = 0; blk < end; blk += n) {
        enum block_state a, b;
        n = livemap_run(map, blk, end - blk, &a);
        n = livemap_run(live, blk, n, &b);
        if (a != BLOCK_ABSENT && b == BLOCK_ABSENT)
            return true;
    }
    return false;
}

/* --- parts -------------------------------------------------------------------------------------------------------- */

/* What is wrong with a stamp that was read; NULL when it is the one that the catalog asks for. */
static const char *wrong_stamp(const struct map_stamp *found, const struct map_stamp *want, char *ret, size_t len)
{
    char id[UUID_LEN + 1];
    uuid_encode(found->overlay_id, id);
    if (memcmp(found->overlay_id, want->overlay_id, sizeof(want->overlay_id)) != 0)
        (void)snprintf(ret, len, "it belongs to another overlay (%s); move it away, or put the right one back", id);
    else if (found->size_bytes != want->size_bytes || strcmp(found->base_identity, want->base_identity) != 0)
        (void)snprintf(
            ret, len,
            "it was made over other image content than the catalog has; put the former image file back, or drop "
            "the overlay with 'diskgate client reset'");
    else
        return NULL;
    return ret;
}

static void check_missing_map(struct check *c)
{
    const struct overlay_look *l = c->look;
    bool is_kept = c->view->mode != OVERLAY_VOLATILE;
    if (is_kept && l->live)
        add(c, "map file", l->dir, l->map_name, "missing",
            "a power cut now would lose what was flushed; let diskgate-fs make it anew: 'diskgate down', 'diskgate "
            "up'");
    else if (is_kept && l->is_used)
        add(c, "map file", l->dir, l->map_name, "missing", "nothing tells which blocks count; " WAY_OUT);
    else if (is_kept && l->is_marked)
        add(c, "map file", l->dir, l->map_name, "missing",
            "it is gone, though the overlay had one; is the disk with the overlays mounted? If it is, " WAY_OUT);
    else
        add(c, "map file", l->dir, l->map_name, "none", NULL);
}

static void check_map(struct check *c)
{
    const struct overlay_look *l = c->look;
    char text[sizeof(struct err) + 200];
    if (l->map_file.code == -ENOENT) {
        check_missing_map(c);
    } else if (l->map_file.code < 0) {
        bool has_way_out = strstr(l->map_file.err.msg, "client reset") != NULL || l->map_file.code == -EOPNOTSUPP;
        (void)snprintf(text, sizeof(text), "%.1000s%s", l->map_file.err.msg, has_way_out ? "" : "; " WAY_OUT);
        add(c, "map file", l->dir, l->map_name, bad_state(l->map_file.code), text);
    } else {
        const char *wrong = wrong_stamp(&l->info.stamp, &l->stamp, text, sizeof(text));
        bool is_left_over = c->view->mode == OVERLAY_VOLATILE;
        add(c, "map file", l->dir, l->map_name, wrong ? "foreign" : is_left_over ? "not used" : "ok", wrong);
    }
}

static void check_data(struct check *c)
{
    const struct overlay_look *l = c->look;
    int lost = l->live && c->view->mode != OVERLAY_VOLATILE ? livemap_loss(l->live) : 0;
    bool is_needed = l->live || (l->map && l->info.leaves > 0 && c->view->mode != OVERLAY_VOLATILE);
    char text[sizeof(struct err)];
    if (l->data_file.code == 0 && lost < 0) {
        (void)snprintf(
            text, sizeof(text),
            "a write to it was lost (%s), so blocks that the client wrote may be missing; mend the disk, then drop "
            "the overlay with 'diskgate client reset', or, with diskgate-fs down, move 'run/live/%s' away and "
            "take it as its files say, those of its last confirmed flush or those of a backup",
            strerror(-lost), l->live_name);
        add(c, "data file", l->dir, l->data_name, "damaged", text);
    } else if (l->data_file.code == 0)
        add(c, "data file", l->dir, l->data_name, "ok", NULL);
    else if (l->data_file.code != -ENOENT)
        add(c, "data file", l->dir, l->data_name, bad_state(l->data_file.code), l->data_file.err.msg);
    else
        add(c, "data file", l->dir, l->data_name, is_needed ? "missing" : "none",
            is_needed ? "the blocks that the client wrote are gone; " WAY_OUT : NULL);
}

static void check_live(struct check *c)
{
    const struct overlay_look *l = c->look;
    const struct look_code *code = &l->live_map;
    char text[sizeof(struct err) + 200];
    bool is_lost = c->view->mode == OVERLAY_VOLATILE && l->is_used;
    if (code->code == 0) {
        const char *wrong = wrong_stamp(livemap_stamp(l->live), &l->stamp, text, sizeof(text));
        bool is_behind = !wrong && c->view->mode != OVERLAY_VOLATILE && l->map && knows_more(l->map, l->live);
        add(c, "live map", "run/live", l->live_name,
            wrong       ? "foreign"
            : is_behind ? "damaged"
                        : "ok",
            is_behind ? "the map file knows of blocks that the live map does not: one of them is from another time; "
                        "move away the one that is wrong while diskgate-fs is down"
                      : wrong);
    } else if (code->code != -ENOENT && code->code != -ESTALE) {
        (void)snprintf(text, sizeof(text), "%s; drop the overlay with 'diskgate client reset'", code->err.msg);
        add(c, "live map", "run/live", l->live_name, bad_state(code->code), text);
    } else if (is_lost) {
        add(c, "live map", "run/live", l->live_name, "lost",
            "what the client had written was lost with the server's power; its disk stays closed until the client's "
            "next "
            "boot, or until 'diskgate client reset'");
    } else {
        add(c, "live map", "run/live", l->live_name, code->code == -ESTALE ? "of a former boot" : "none", NULL);
    }
}

static void check_journal(struct check *c)
{
    const struct overlay_look *l = c->look;
    uint64_t nblk = (l->stamp.size_bytes + 4095) / 4096;
    if (l->journal.code == -ENOENT) {
        add(c, "journal", "", "journal", "none", NULL);
        return;
    }
    if (l->journal.code < 0) {
        add(c, "journal", "", "journal", bad_state(l->journal.code), l->journal.err.msg);
        return;
    }
    for (size_t i = 0; i < l->count; i++)
        for (size_t k = 0; k < l->commits[i].n; k++)
            if (!range_ok(l->commits[i].runs[k].blk, l->commits[i].runs[k].n, nblk)) {
                add(c, "journal", "", "journal", "damaged",
                    "it names blocks beyond the end of the disk; put a good copy of the file back, or move it away to "
                    "give "
                    "up what kept overlays flushed last");
                return;
            }
    add(c, "journal", "", "journal", "ok", NULL);
}

/* --- the verb ----------------------------------------------------------------------------------------------------- */

static int check_view(struct cmd *cmd, struct catalog *c, const struct view_row *view, json_t *rows, bool *is_bad,
                      struct err *err)
{
    struct overlay_look look;
    int r = overlay_look(cmd->root, c, view, &look, err);
    if (r < 0)
        return r;
    struct check check = {.view = view, .look = &look, .rows = rows};
    check_map(&check);
    check_data(&check);
    check_live(&check);
    if (view->mode != OVERLAY_VOLATILE)
        check_journal(&check);
    *is_bad |= check.is_bad;
    overlay_look_finish(&look);
    return 0;
}

static int check_views(struct cmd *cmd, struct catalog *c, const char *client, json_t *rows, bool *is_bad,
                       struct err *err)
{
    _cleanup_free_ struct view_row *views = NULL;
    const char *slot_text = cmd_option(cmd, "slot");
    uint32_t slot = 0;
    size_t n = 0, looked = 0;
    int r = slot_parse(slot_text, &slot, err);
    if (r == 0)
        r = view_list(c, client, &views, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (!slot_text || views[i].slot == slot) {
            r = check_view(cmd, c, &views[i], rows, is_bad, err);
            looked++;
        }
    if (r == 0 && slot_text && !looked)
        return err_set(err, -ENOENT, "client '%s' has no disk in slot %u; 'diskgate overlay show %s' lists its disks",
                       client, slot, client);
    return r;
}

static int run_check(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_json_ json_t *rows = json_array();
    struct client_row client;
    bool is_bad = false;
    int r = read_open(cmd, &c, err);
    if (r == 0)
        r = client_get(c, cmd_arg(cmd, 0), &client, err);
    if (r == 0)
        r = check_views(cmd, c, client.name, rows, &is_bad, err);
    if (r < 0)
        return r;
    out_table(&cmd->out, "checks", columns, rows, "no overlays: the client is not linked to an image");
    return is_bad ? EXIT_DIFFERS : EXIT_DONE;
}

const struct verb cmd_overlay_check_verbs[] = {
    {"overlay", "check", "CLIENT", "Check the files of a client's overlays, also while they are in use",
     "Exit status 3 when something is damaged, missing or lost; each problem is shown with its way out.", slot_options,
     run_check},
    {0},
};
