/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `image repair`: find the file of a version again when nothing is at its path, or a file with other content.
 *
 * Size, identity and (where recorded) full hash must fit. Of two candidates none is taken. The recorded time stays where no full hash
 * proves the content: then `image check` has the last word.
 */
#include "gateway/cmd-image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "core/catalog.h"
#include "core/json.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/cmd.h"
#include "gateway/file-search.h"
#include "gateway/version-file.h"

struct repair {
    struct cmd *cmd;
    const struct version_row *v, *all;
    size_t n_all;
    json_t *found; /* paths that fit */
    char hash[HASH_LEN + 1];
    struct stat st;   /* of the last one that fits */
    bool is_replaced; /* something else is at the version's path */
};

/* Another version that lies at this very file, which has the content of @a's, or NULL. One that has other content does not lie there: its file
 * was moved, too. */
static const struct version_row *taken_by(const struct repair *a, const struct stat *st)
{
    char path[PATH_MAX];
    struct stat other;
    for (size_t i = 0; i < a->n_all; i++)
        if (a->all[i].id != a->v->id && strcmp(a->all[i].identity, a->v->identity) == 0 &&
            version_path(a->cmd->root, &a->all[i], path, NULL) == 0 && stat(path, &other) == 0 &&
            other.st_dev == st->st_dev && other.st_ino == st->st_ino)
            return &a->all[i];
    return NULL;
}

static bool has_content(struct repair *a, int fd, const char *path, char *ret_hash)
{
    char identity[IDENTITY_LEN + 1];
    struct image_info info;
    if (image_probe(fd, path, &info, NULL) < 0 || strcmp(image_format_name(info.format), a->v->format) != 0)
        return false;
    if (image_identity(fd, &info, identity, NULL) < 0 || strcmp(identity, a->v->identity) != 0)
        return false;
    ret_hash[0] = 0;
    if (!a->v->full_hash[0])
        return true;
    return image_hash_shown(a->cmd, fd, &info, ret_hash, NULL) == 0 && strcmp(ret_hash, a->v->full_hash) == 0;
}

/* A regular file of the right size was found: is it the one? Always 0: what cannot be read is no candidate. */
static int try_file(void *arg, const char *path, const struct stat *st)
{
    struct repair *a = arg;
    char hash[HASH_LEN + 1];
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0 || !has_content(a, fd, path, hash))
        return 0;
    const struct version_row *other = taken_by(a, st);
    if (other) {
        warn_line("note: '%s' has the content, but is the image '%s' already", path, other->image);
        return 0;
    }
    memcpy(a->hash, hash, sizeof(hash));
    a->st = *st;
    (void)json_array_append_new(a->found, json_string(path));
    return 0;
}

static int search(struct repair *a, struct err *err)
{
    struct cmd *cmd = a->cmd;
    char folder[PATH_MAX];
    struct file_search s = {.size = a->v->file_bytes, .found = try_file, .arg = a, .skip_root = cmd->root};
    int r = version_path(cmd->root, a->v, folder, err);
    if (r < 0)
        return r;
    *strrchr(folder, '/') = 0;
    file_search_init(&s);
    file_search_flat(&s, folder[0] ? folder : "/"); /* may be gone: then there is nothing to find in it */
    const char *dir;
    for (size_t i = 0; r == 0 && (dir = cmd_option_nth(cmd, "search", i)); i++)
        r = file_search_tree(&s, dir, err);
    file_search_finish(&s);
    return r;
}

static const struct column repair_columns[] = {
    {"image", "IMAGE", COL_TEXT}, {"version", "VERSION", COL_NUMBER},      {"result", "RESULT", COL_TEXT},
    {"path", "PATH", COL_TEXT},   {"candidates", "CANDIDATES", COL_WORDS}, {0}};

static json_t *repair_json(const struct repair *a, const char *result, const char *path)
{
    return json_pack("{s:s, s:I, s:s, s:o, s:O}", "image", a->v->image, "version", (json_int_t)a->v->number, "result",
                     result, "path", out_string(path), "candidates", a->found);
}

/* Files below ROOT/images are the root's own, all others are adopted. */
static void set_place(const char *root, const char *path, struct version_row *v)
{
    size_t n = strlen(root);
    bool is_own = strncmp(path, root, n) == 0 && strncmp(path + n, "/images/", 8) == 0;
    v->is_adopted = !is_own;
    (void)snprintf(v->path, sizeof(v->path), "%s", is_own ? path + n + 1 : path); /* the search made it: it fits */
}

static int relink(struct repair *a, const char *path, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct version_row v;
    char thing[NAME_LEN + 16];
    int r = change_open(a->cmd, &c, err);
    if (r == 0)
        r = version_get(c, a->v->id, &v, err);
    if (r < 0)
        return r;
    if (strcmp(v.path, a->v->path) != 0)
        return err_set(err, -EBUSY, "image '%s' was changed by another command meanwhile: try again", v.image);
    int64_t mtime_ns = (int64_t)a->st.st_mtim.tv_sec * 1000000000 + a->st.st_mtim.tv_nsec;
    bool is_doubtful = mtime_ns != v.mtime_ns && !a->hash[0];
    set_place(a->cmd->root, path, &v);
    if (!is_doubtful)
        v.mtime_ns = mtime_ns;
    r = version_update(c, &v, err);
    if (r < 0)
        return r;
    if (is_doubtful)
        warn_line("note: '%s' has another time than the lost file, and no full hash was recorded that proves it to be "
                  "the same: 'diskgate "
                  "image check %s --accept' takes it as it is",
                  path, v.image);
    (void)snprintf(thing, sizeof(thing), "image %s", v.image);
    return change_done(a->cmd, c, thing, err, "version %u of image '%s' was found at '%s'", v.number, v.image, path);
}

/* One version whose file is missing. Returns an exit status or a negative errno. */
static int repair_one(struct repair *a, json_t *list, struct err *err)
{
    int r = search(a, err);
    if (r < 0)
        return r;
    size_t n = json_array_size(a->found);
    const char *path = json_string_value(json_array_get(a->found, 0));
    if (n == 1)
        r = relink(a, path, err);
    else
        r = EXIT_FAILED;
    if (n > 1)
        warn_line("version %u of image '%s': %zu files have its content, so none was taken; remove or move all but "
                  "one, or add the right "
                  "one as a new image",
                  a->v->number, a->v->image, n);
    if (n == 0 && !a->is_replaced)
        warn_line("version %u of image '%s': no file with its content was found; name a folder to look into with "
                  "--search DIR",
                  a->v->number, a->v->image);
    if (n == 0 && a->is_replaced)
        warn_line("version %u of image '%s': a file with other content is at its path, and no file with the right one "
                  "was found; name a folder to look into with --search DIR, or take what is there with 'diskgate image "
                  "check %s --accept'",
                  a->v->number, a->v->image, a->v->image);
    if (r >= 0)
        (void)json_array_append_new(list, repair_json(a,
                                                      n == 1 ? "relinked"
                                                      : n    ? "ambiguous"
                                                             : "not found",
                                                      n == 1 ? path : NULL));
    return r;
}

/* Nothing is at the version's path, or something else is. A file of another time only may be the right one: that is told by `image check`. */
static bool is_lost(struct repair *a)
{
    const char *state = version_state(a->cmd->root, a->v);
    char path[PATH_MAX], identity[IDENTITY_LEN + 1];
    struct image_info info;
    if (strcmp(state, "missing") == 0)
        return true;
    if (strcmp(state, "changed") != 0 || version_path(a->cmd->root, a->v, path, NULL) < 0)
        return false;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    a->is_replaced = image_probe(fd, path, &info, NULL) < 0 ||
                     strcmp(image_format_name(info.format), a->v->format) != 0 ||
                     image_identity(fd, &info, identity, NULL) < 0 || strcmp(identity, a->v->identity) != 0;
    return a->is_replaced;
}

static int repair_all(struct cmd *cmd, const char *image, const struct version_row *rows, size_t n, json_t *list,
                      struct err *err)
{
    int status = EXIT_DONE;
    for (size_t i = 0; i < n; i++) {
        struct repair a = {.cmd = cmd, .v = &rows[i], .all = rows, .n_all = n};
        if ((image && strcasecmp(rows[i].image, image) != 0) || !is_lost(&a))
            continue;
        a.found = json_array();
        int r = repair_one(&a, list, err);
        json_decref(a.found);
        if (r < 0)
            return r;
        status = MAX(status, r);
    }
    return status;
}

static int run_repair(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_free_ struct version_row *rows = NULL;
    _cleanup_json_ json_t *list = json_array();
    struct image_row i;
    size_t n = 0;
    int r = read_open(cmd, &c, err);
    if (r == 0 && cmd_arg(cmd, 0))
        r = image_get(c, cmd_arg(cmd, 0), &i, err);
    if (r == 0)
        r = version_list(c, NULL, &rows, &n, err);
    catalog_close(take_ptr(c)); /* the search may take long */
    if (r == 0)
        r = repair_all(cmd, cmd_arg(cmd, 0), rows, n, list, err);
    if (r < 0)
        return r;
    out_table(&cmd->out, "repairs", repair_columns, list, "no image file is missing");
    return r;
}

static const struct option_def repair_options[] = {
    {"search", 0, "DIR", "look into DIR and all folders below it", OPT_MANY}, {0}};

const struct verb cmd_image_repair_verbs[] = {
    {"image", "repair", "[NAME]", "Find image files again that were moved or renamed",
     "Also those in whose place another file lies. Looks into the file's old folder and the folders given. Of several\n"
     "files with the same content none is taken.",
     repair_options, run_repair, VERB_DRY_RUN},
    {0},
};
