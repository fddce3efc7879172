/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `image check`: what the files of an image are now, against what was recorded about them. One finding for each version:
 *
 *   ok        format, size, identity and full hash fit (the full hash is recorded where there was none)
 *   missing   no file at its path
 *   changed   something differs; or only the time does, and no full hash can tell that the content does not
 *
 * What will make a boot slow or fail (core/bootcheck.h) is told besides: hints, and damage with exit status 3.
 *
 * With --accept a changed content becomes the image's content. Volatile and empty overlays over it begin anew; kept ones that hold
 * data lie on something that is gone, so that takes --force.
 */
#include "gateway/cmd-image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "core/bootcheck.h"
#include "core/catalog.h"
#include "core/json.h"
#include "core/part.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/cmd.h"
#include "gateway/image-mend.h"
#include "gateway/inventory.h"
#include "cli/progress.h"
#include "gateway/version-file.h"

/* --- one file ---------------------------------------------------------------------------------------------------- */

struct finding {
    const char *state;    /* "ok", "missing", "changed" */
    char sentence[1024];  /* what is wrong, empty when ok */
    bool is_to_record;    /* the row below differs from the catalog's and is proven */
    bool is_acceptable;   /* changed, and the row below can become the image's content */
    struct version_row v; /* as the file is now */
    json_t *parts;
    bool is_boot; /* set by the caller: PCs boot from it */
    struct bootcheck boot;
};

static int finding_set(struct finding *f, const char *state, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int finding_set(struct finding *f, const char *state, const char *fmt, ...)
{
    va_list ap;
    f->state = state;
    va_start(ap, fmt);
    (void)vsnprintf(f->sentence, sizeof(f->sentence), fmt, ap); /* a cut sentence is still a sentence */
    va_end(ap);
    return 0;
}

static int read_fd(void *arg, void *buf, size_t len, uint64_t off)
{
    const struct image_info *info = ((void **)arg)[1];
    int fd = *(int *)((void **)arg)[0];
    size_t have = off < info->data_bytes ? MIN(len, info->data_bytes - off) : 0;
    memset((char *)buf + have, 0, len - have); /* the padding of the last sector */
    return have ? pread_full(fd, buf, have, off) : 0;
}

static json_t *parts_json(int fd, const struct image_info *info, char *ret_table, struct err *err)
{
    _cleanup_free_ struct part *parts = calloc(PART_MAX, sizeof(*parts));
    json_t *list = json_array();
    void *arg[2] = {&fd, (void *)info};
    size_t n = 0;
    if (!parts || part_list(read_fd, arg, info->size_bytes, parts, &n, ret_table, err) < 0)
        n = 0;
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(
            list, json_pack("{s:I, s:I, s:I, s:s, s:o, s:b}", "partition", (json_int_t)parts[i].number, "offset_bytes",
                            (json_int_t)parts[i].off, "size_bytes", (json_int_t)parts[i].len, "type", parts[i].type,
                            "name", out_string(parts[i].name), "is_outside", parts[i].is_outside));
    return list;
}

int image_hash_shown(struct cmd *cmd, int fd, const struct image_info *info, char *ret, struct err *err)
{
    struct progress p;
    progress_init(&p, "reading", cmd->is_quiet);
    int r = image_full_hash(fd, info, ret, progress_callback, &p, err);
    progress_finish(&p);
    return r;
}

/* The file did not change while it was read. */
static bool is_still(int fd, const struct image_info *info)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISBLK(st.st_mode))
        return true; /* a block device does not tell */
    return fstat(fd, &st) == 0 && (uint64_t)st.st_size == info->file_bytes &&
           (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec == info->mtime_ns;
}

/* Identity, time and full hash of a file whose format and size fit; fills @f. */
static int judge_content(struct cmd *cmd, int fd, const struct image_info *info, const struct version_row *v,
                         struct finding *f, struct err *err)
{
    int r = image_identity(fd, info, f->v.identity, err);
    bool is_other = r == 0 && strcmp(f->v.identity, v->identity) != 0, is_touched = info->mtime_ns != v->mtime_ns;
    f->v.mtime_ns = info->mtime_ns;
    f->v.full_hash[0] = 0;
    if (r == 0 && !cmd_has(cmd, "quick"))
        r = image_hash_shown(cmd, fd, info, f->v.full_hash, err);
    if (r < 0)
        return r;
    if (!is_still(fd, info))
        return finding_set(f, "changed", "the file is being written to right now: stop what writes to it");
    bool is_known = v->full_hash[0] && f->v.full_hash[0];
    bool is_equal = is_known && strcmp(v->full_hash, f->v.full_hash) == 0;
    f->is_acceptable = !cmd_has(cmd, "quick");
    if (is_other || (is_known && !is_equal))
        return finding_set(f, "changed", "its content is not what was recorded");
    if (is_touched && !is_known)
        return finding_set(f, "changed",
                           v->full_hash[0]
                               ? "it was written to since it was recorded; without --quick the full hash tells "
                                 "whether its content is the same"
                               : "it was written to since it was recorded, and no full hash was recorded that "
                                 "could tell whether its content is the same");
    f->is_acceptable = false;
    f->is_to_record = f->v.full_hash[0] && (is_touched || !is_known);
    return finding_set(f, "ok", "%s", "");
}

/* Look at the file of version @v. A damaged or missing file is a finding, not an error. */
static int judge(struct cmd *cmd, const struct version_row *v, struct finding *f, struct err *err)
{
    char path[PATH_MAX], table[8] = "";
    struct image_info info;
    struct err why = {0};
    f->v = *v;
    int r = version_path(cmd->root, v, path, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return finding_set(f, "missing", "there is no file '%s': 'diskgate image repair --search DIR' finds it again",
                           path);
    if (fd < 0)
        return err_sys(err, -errno, "cannot open '%s'", path);
    if (image_probe(fd, path, &info, &why) < 0)
        return finding_set(f, "changed", "%s", why.msg);
    if (strcmp(image_format_name(info.format), v->format) != 0)
        return finding_set(f, "changed", "it is in the format %s now and was %s", image_format_name(info.format),
                           v->format);
    if (info.size_bytes != v->size_bytes || info.file_bytes != v->file_bytes)
        return finding_set(f, "changed", "the file has %llu bytes now and had %llu",
                           (unsigned long long)info.file_bytes, (unsigned long long)v->file_bytes);
    r = judge_content(cmd, fd, &info, v, f, err);
    if (r < 0)
        return r;
    void *arg[2] = {&fd, &info};
    f->parts = parts_json(fd, &info, table, NULL);
    return bootcheck(read_fd, arg, info.size_bytes, f->is_boot, &f->boot, err);
}

/* --- check ------------------------------------------------------------------------------------------------------- */

static const struct column check_columns[] = {{"image", "IMAGE", COL_TEXT},   {"version", "VERSION", COL_NUMBER},
                                              {"state", "STATE", COL_TEXT},   {"path", "PATH", COL_TEXT},
                                              {"full_hash", NULL, COL_TEXT},  {"problem", "PROBLEM", COL_TEXT},
                                              {"partitions", NULL, COL_JSON}, {"hints", NULL, COL_JSON},
                                              {"damage", NULL, COL_JSON},     {0}};

static const struct column part_columns[] = {{"partition", "PARTITION", COL_NUMBER},
                                             {"offset_bytes", "OFFSET", COL_SIZE},
                                             {"size_bytes", "SIZE", COL_SIZE},
                                             {"type", "TYPE", COL_TEXT},
                                             {"name", "NAME", COL_TEXT},
                                             {"is_outside", "OUTSIDE", COL_YES},
                                             {0}};

/* One kept overlay with data: refused, or with --force a warning that says what becomes of it. Where the identity is another one
 * diskgate-fs refuses the overlay (-ESTALE); where only bytes between the samples differ it cannot know. */
static int judge_kept(struct cmd *cmd, const struct view_row *view, uint64_t kept, bool is_same_identity,
                      struct err *err)
{
    const char *fate = is_same_identity
                           ? "would lie over content that changed under them, which may damage their file system"
                           : "would become unusable";
    char size[32];
    size_text(kept, size);
    if (!cmd_has(cmd, "force"))
        return err_set(
            err, -EBUSY,
            "client '%s' keeps %s of changes that %s: drop them with 'diskgate client reset %s' first, or use --force",
            view->client, size, fate, view->client);
    warn_line("warning: client '%s' keeps %s of changes that %s; 'diskgate client reset %s' drops them", view->client,
              size, is_same_identity ? "lie over changed content now" : "are unusable now", view->client);
    return 0;
}

/* Refuse to take new content into a version under clients that run from it, or under kept overlays with data (unless forced).
 * Volatile and empty overlays over it begin anew. */
static int clear_overlays(struct cmd *cmd, struct catalog *c, const struct version_row *v, bool is_same_identity,
                          struct err *err)
{
    _cleanup_free_ struct view_row *views = NULL;
    size_t n = 0;
    int r = view_list(c, NULL, &views, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        uint64_t kept = 0;
        if (views[i].version_id != v->id)
            continue;
        r = refuse_if_it_runs(cmd->root, c, &views[i], err);
        r = r ? r : kept_bytes(cmd->root, c, views[i].client, (int)views[i].slot, &kept, err);
        if (r == 0 && kept)
            r = judge_kept(cmd, &views[i], kept, is_same_identity, err);
        else if (r == 0)
            r = overlay_reset(c, views[i].client, (int)views[i].slot, err);
    }
    return r;
}

/* Store what the file is now. The row must still be the one that was looked at. */
static int record(struct cmd *cmd, const struct version_row *old, struct finding *f, bool is_accepting, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct version_row now;
    char thing[NAME_LEN + 16];
    int r = change_open(cmd, &c, err);
    if (r == 0)
        r = version_get(c, old->id, &now, err);
    if (r < 0)
        return r;
    if (strcmp(now.path, old->path) != 0 || strcmp(now.identity, old->identity) != 0 || now.mtime_ns != old->mtime_ns)
        return err_set(err, -EBUSY, "image '%s' was changed by another command meanwhile: check it again", old->image);
    if (is_accepting)
        r = clear_overlays(cmd, c, old, strcmp(f->v.identity, old->identity) == 0, err);
    if (r == 0)
        r = version_update(c, &f->v, err);
    if (r < 0)
        return r;
    (void)snprintf(thing, sizeof(thing), "image %s", old->image);
    return change_done(cmd, c, thing, err,
                       is_accepting ? "version %u of image '%s' has the file's present content now"
                                    : "version %u of image '%s' was read in full; its hash and time are recorded",
                       old->number, old->image);
}

/* Sentences of one kind. */
static json_t *boot_json(const struct bootcheck *b, bool is_damage)
{
    json_t *list = json_array();
    for (size_t i = 0; i < b->n; i++)
        if (b->findings[i].is_damage == is_damage)
            (void)json_array_append_new(list, out_string(b->findings[i].sentence)); /* a list too short is all */
    return list;
}

static bool is_damaged(const struct bootcheck *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->findings[i].is_damage)
            return true;
    return false;
}

static json_t *finding_json(const struct version_row *v, const struct finding *f, const char *path)
{
    return json_pack("{s:s, s:I, s:s, s:o, s:o, s:o, s:O?, s:o, s:o}", "image", v->image, "version",
                     (json_int_t)v->number, "state", f->state, "path", out_string(path), "full_hash",
                     f->v.full_hash[0] ? json_string(f->v.full_hash) : json_null(), "problem",
                     f->sentence[0] ? out_string(f->sentence) : json_null(), "partitions", f->parts, "hints",
                     boot_json(&f->boot, false), "damage", boot_json(&f->boot, true));
}

/* The way out, once, on stderr. */
static void advise(struct cmd *cmd, const struct version_row *v, const struct finding *f)
{
    if (strcmp(f->state, "changed") != 0)
        return;
    if (f->is_acceptable)
        warn_line("clients get no disk from changed content: put the right file back, or take the present one with "
                  "'diskgate image check %s "
                  "--accept', or add it as a new image",
                  v->image);
    else if (cmd_has(cmd, "quick"))
        warn_line("'diskgate image check %s' reads the whole file and tells more", v->image);
    else
        warn_line("this file cannot be taken as version %u of image '%s'%s: put the right file back, or add this one "
                  "as a new image",
                  v->number, v->image, cmd_has(cmd, "accept") ? ", not with --accept either" : "");
}

/* Check one version; appends its row. Returns an exit status or a negative errno. */
static int check_one(struct cmd *cmd, const struct version_row *v, bool is_boot, json_t *list, json_t **ret_parts,
                     struct err *err)
{
    char path[PATH_MAX];
    struct finding f = {.is_boot = is_boot};
    int r = judge(cmd, v, &f, err), status = EXIT_DONE;
    if (r < 0)
        return r;
    bool is_accepting = cmd_has(cmd, "accept") && f.is_acceptable;
    if (is_accepting || (f.is_to_record && (geteuid() == 0 || access(cmd->root, W_OK) == 0)))
        r = record(cmd, v, &f, is_accepting, err);
    if (r > 0)
        status = r;
    if (is_accepting && r >= 0 && !cmd->is_dry_run)
        (void)finding_set(&f, "ok", "%s", "");
    if (strcmp(f.state, "ok") != 0 || is_damaged(&f.boot))
        status = EXIT_DIFFERS;
    if (r >= 0)
        advise(cmd, v, &f);
    if (r >= 0 && version_path(cmd->root, v, path, err) == 0)
        (void)json_array_append_new(list, finding_json(v, &f, path));
    json_decref(*ret_parts);
    *ret_parts = f.parts; /* of the last version */
    return r < 0 ? r : status;
}

static void print_sentences(struct cmd *cmd, json_t *row, const char *key)
{
    json_t *list = json_object_get(row, key);
    for (size_t i = 0; !cmd->is_json && i < json_array_size(list); i++)
        out_line(&cmd->out, "%s: version %lld: %s", strcmp(key, "hints") == 0 ? "hint" : key,
                 (long long)json_integer_value(json_object_get(row, "version")),
                 json_string_value(json_array_get(list, i)));
}

static void print_check(struct cmd *cmd, json_t *list, json_t *parts)
{
    out_table(&cmd->out, "checks", check_columns, list, "no versions");
    if (!cmd->is_json && json_array_size(parts)) {
        out_line(&cmd->out, "%s", "");
        out_table(&cmd->out, "partitions", part_columns, parts, NULL);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        print_sentences(cmd, json_array_get(list, i), "damage");
        print_sentences(cmd, json_array_get(list, i), "hints");
    }
}

static int mend_all(struct cmd *cmd, struct version_row *rows, size_t n, struct err *err)
{
    int status = EXIT_DONE;
    for (size_t k = 0; k < n; k++) {
        int r = rows[k].parent_id == 0 ? image_mend_chs(cmd, &rows[k], err) : EXIT_DONE;
        if (r < 0)
            return r;
        status = MAX(status, r);
    }
    return status;
}

/* The versions of the image that is asked for, its catalog closed again: reading may take long, and nobody should wait for us. */
static int read_rows(struct cmd *cmd, struct image_row *i, struct version_row **ret, size_t *ret_n, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    free(take_ptr(*ret));
    int r = read_open(cmd, &c, err);
    r = r ? r : image_get(c, cmd_arg(cmd, 0), i, err);
    return r ? r : version_list(c, i->name, ret, ret_n, err);
}

static int run_check(struct cmd *cmd, struct err *err)
{
    _cleanup_free_ struct version_row *rows = NULL;
    _cleanup_json_ json_t *list = json_array(), *parts = NULL;
    struct image_row i;
    size_t n = 0;
    int status = EXIT_DONE;
    if (cmd_has(cmd, "accept") && (cmd_has(cmd, "quick") || cmd_has(cmd, "mend-chs")))
        return err_set(err, VERB_USAGE,
                       "--accept reads the whole file as it is and goes with neither --quick nor "
                       "--mend-chs");
    int r = read_rows(cmd, &i, &rows, &n, err);
    if (r == 0 && cmd_has(cmd, "mend-chs")) {
        r = mend_all(cmd, rows, n, err);
        status = MAX(status, r);
        r = r < 0 ? r : read_rows(cmd, &i, &rows, &n, err);
    }
    for (size_t k = 0; r >= 0 && k < n; k++) {
        r = check_one(cmd, &rows[k], !i.is_data, list, &parts, err);
        status = MAX(status, r);
    }
    if (r < 0)
        return r;
    print_check(cmd, list, parts);
    return status;
}

static const struct option_def check_options[] = {
    {"quick", 0, NULL, "do not read the whole file"},
    {"accept", 0, NULL, "take changed content as the image's content from now on"},
    {"mend-chs", 0, NULL, "mend a protective MBR that makes BIOS loaders slow; only in a copy that is not in use"},
    {"force", 0, NULL, "with --accept: also where kept overlays become unusable by it"},
    {0}};

const struct verb cmd_image_check_verbs[] = {
    {"image", "check", "NAME", "Read an image's files and compare them with what was recorded",
     "Says besides what will make a boot slow or fail. Exit status 3 when a file is missing, differs or has damaged "
     "tables.",
     check_options, run_check, VERB_DRY_RUN},
    {0},
};
