/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate backup init, repair: making a repository, and putting back what can be made again. */
#include <errno.h>

#include "backup/chunk.h"
#include "backup/cmd.h"
#include "backup/mend.h"
#include "core/util.h"

static int take_size(const struct cmd *cmd, const char *name, uint64_t max, uint64_t *ret, struct err *err)
{
    const char *text = cmd_option(cmd, name);
    int r = text ? size_parse(text, ret, err) : 0;
    if (r == 0 && *ret > max)
        r = err_set(err, -EINVAL, "--%s '%s' is too large", name, text);
    return r;
}

static int run_init(struct cmd *cmd, struct err *err)
{
    uint64_t chunk = CHUNK_BYTES_DEFAULT, pack = 0;
    int r = take_size(cmd, "chunk", CHUNK_BYTES_MAX, &chunk, err);
    if (r == 0)
        r = take_size(cmd, "pack", REPO_PACK_BYTES_MAX, &pack, err);
    if (r < 0)
        return r;
    struct repo_params params = {
        .chunk_bytes = (uint32_t)chunk, .pack_bytes = pack, .has_no_reserve = cmd_has(cmd, "no-reserve")};
    if (chunk == 0) /* 0 would be the default */
        return err_set(err, -EINVAL, "the size of a chunk must be 64k, 128k, 256k, 512k, 1M, 2M or 4M");
    r = repo_init(cmd_arg(cmd, 0), &params, err);
    if (r < 0)
        return r;
    out_set(&cmd->out, "repository", out_string(cmd_arg(cmd, 0)));
    out_set(&cmd->out, "chunk_bytes", json_integer((json_int_t)chunk));
    if (!cmd->is_quiet)
        out_line(&cmd->out, "made the repository '%s'", cmd_arg(cmd, 0));
    return EXIT_DONE;
}

static int run_repair(struct cmd *cmd, struct err *err)
{
    json_t *done = json_array();
    int r = mend_run(cmd_arg(cmd, 0), cmd->is_dry_run, done, err);
    size_t i;
    json_t *line;
    json_array_foreach(done, i, line) out_line(&cmd->out, "%s", json_string_value(line));
    if (r == 0 && json_array_size(done) == 0)
        out_line(&cmd->out, "nothing to repair");
    out_set(&cmd->out, "repaired", done);
    return r < 0 ? r : EXIT_DONE;
}

static const struct option_def init_options[] = {
    {"chunk", 0, "SIZE", "size of a chunk: 64k to 4M, a power of two (256k)"},
    {"pack", 0, "SIZE", "a pack is closed when it has reached this: 256k to 1G (256M)"},
    {"no-reserve", 0, NULL, "keep no 64 MiB in reserve for a prune on a full disk"},
    {0},
};

const struct verb cmd_repo_verbs[] = {
    {"", "init", "REPO", "Make a backup repository in an empty folder",
     "Small chunks make small increments, large ones a small index; 256k suits most.", init_options, run_init},
    {"", "repair", "REPO", "Put back files of a repository that can be made again",
     "The format file is written again from the packs, tables of contents (.toc) from the packs, README.txt and "
     "restore.sh\n"
     "anew; the index is made anew. Nothing is deleted, and no backup is touched.",
     NULL, run_repair, VERB_DRY_RUN},
    {0},
};
