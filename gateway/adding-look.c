/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the file of an `image add` is, and whether it may become an image; see adding.h. */
#include "gateway/adding.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#include "core/util.h"
#include "gateway/change.h"
#include "gateway/flatten.h"
#include "gateway/image-whole.h"
#include "gateway/version-file.h"

bool adding_is_made(struct cmd *cmd, const struct adding *a)
{
    return a->convert.driver || a->chain || cmd_has(cmd, "copy");
}

const char *adding_how(struct cmd *cmd, const struct adding *a)
{
    if (a->convert.driver)
        return "converted into the root";
    if (a->chain)
        return "flattened into the root";
    return cmd_has(cmd, "copy") ? "copied into the root" : "adopted where it lies";
}

void adding_fill_row(struct adding *a, const struct image_info *info, const char *path, bool is_adopted)
{
    struct version_row *v = &a->version;
    (void)snprintf(v->format, sizeof(v->format), "%s", image_format_name(info->format));
    (void)snprintf(v->path, sizeof(v->path), "%s", path);
    v->is_adopted = is_adopted;
    v->size_bytes = info->size_bytes;
    v->file_bytes = info->file_bytes;
    v->mtime_ns = info->mtime_ns;
}

/* What Diskgate keeps in its root for itself is nobody's disk: the catalog with its passwords, clients' changes, views. */
static int refuse_own_file(const char *root, const char *path, struct err *err)
{
    size_t len = strlen(root);
    const char *name = strncmp(path, root, len) == 0 && path[len] == '/' ? path + len + 1 : "";
    if (strncmp(name, "run/mnt/", 8) == 0)
        return err_set(err, -EINVAL,
                       "'%s' is a view that Diskgate itself makes: add the file that the image was made from", path);
    if (strncmp(name, "run/", 4) == 0 || strncmp(name, "overlays/", 9) == 0 || strncmp(name, "catalog.db", 10) == 0 ||
        strcmp(name, "journal") == 0)
        return err_set(err, -EINVAL, "'%s' is a file that Diskgate keeps for itself, not an image", path);
    return 0;
}

static int open_file(struct cmd *cmd, const char *file, struct adding *a, struct err *err)
{
    if (!realpath(file, a->path))
        return err_sys(err, -errno, "cannot find the image file '%s'", file);
    int r = refuse_own_file(cmd->root, a->path, err);
    if (r < 0)
        return r;
    a->fd = open(a->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (a->fd < 0 || fstat(a->fd, &a->st) < 0)
        return err_sys(err, -errno, "cannot open the image file '%s'", a->path);
    return 0;
}

static int check_format(struct cmd *cmd, struct adding *a, struct err *err)
{
    enum image_format want;
    const char *text = cmd_option(cmd, "format");
    int r = image_probe(a->fd, a->path, &a->info, err);
    if (r < 0 || !text || (image_format_parse(text, &want, NULL) == 0 && want == a->info.format))
        return r;
    return err_set(err, -EINVAL, "'%s' is in the format %s, not %s: leave --format away, or name the right file",
                   a->path, image_format_name(a->info.format), text);
}

static bool is_same_file(struct cmd *cmd, const struct version_row *v, const struct adding *a)
{
    char path[PATH_MAX];
    struct stat st;
    struct err err;
    if (version_path(cmd->root, v, path, &err) < 0)
        return false;
    if (strcmp(path, a->path) == 0)
        return true;
    return stat(path, &st) == 0 && st.st_dev == a->st.st_dev && st.st_ino == a->st.st_ino;
}

int adding_check_known(struct cmd *cmd, struct catalog *c, const struct adding *a, struct err *err)
{
    _cleanup_free_ struct version_row *rows = NULL;
    size_t n = 0;
    int r = version_list(c, NULL, &rows, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        bool is_same = is_same_file(cmd, &rows[i], a);
        if (is_same && !cmd_has(cmd, "copy"))
            return err_set(err, -EEXIST,
                           "'%s' is the image '%s' (version %u) already: link clients to that one, or use --copy",
                           a->path, rows[i].image, rows[i].number);
        if (strcmp(rows[i].identity, a->version.identity) == 0)
            warn_line("warning: '%s' has the same content as the image '%s' (version %u)", a->path, rows[i].image,
                      rows[i].number);
    }
    return r;
}

/* A disk that is to be converted: its row as far as it is known, for the dry run. */
static int prepare_conversion(struct cmd *cmd, struct catalog *c, struct adding *a, struct err *err)
{
    int r = convert_prepare(cmd->root, c, cmd_option(cmd, "format"), &a->convert, err);
    if (r < 0)
        return r;
    a->info = (struct image_info){.format = IMAGE_RAW,
                                  .file_bytes = a->convert.size_bytes,
                                  .data_bytes = a->convert.size_bytes,
                                  .size_bytes = a->convert.size_bytes};
    (void)snprintf(a->version.identity, sizeof(a->version.identity), "not known yet");
    convert_origin(&a->convert, a->version.comment);
    return 0;
}

/* All files of the chain together are the most that can be data. */
static int check_flat_room(const char *root, const struct adding *a, struct err *err)
{
    struct statvfs fs;
    char need[32], room[32];
    uint64_t most = MIN(vhd_chain_file_bytes(a->chain), vhd_chain_size(a->chain));
    if (statvfs(root, &fs) < 0)
        return err_sys(err, -errno, "cannot examine the file system of '%s'", root);
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes >= most)
        return 0;
    size_text(most, need);
    size_text(free_bytes, room);
    return err_set(
        err, -ENOSPC,
        "'%s' and its parents may need %s as one image and only %s are free on the file system of '%s': make room",
        a->path, need, room, root);
}

/* A differencing VHD: its parents must be here. */
static int prepare_chain(struct cmd *cmd, struct adding *a, struct err *err)
{
    const char *parents[VHD_CHAIN_MAX + 1] = {NULL};
    for (size_t i = 0; i < VHD_CHAIN_MAX && cmd_option_nth(cmd, "parent", i); i++)
        parents[i] = cmd_option_nth(cmd, "parent", i);
    int r = flatten_open(a->path, parents, &a->chain, err);
    if (r < 0)
        return r;
    uint64_t size = vhd_chain_size(a->chain);
    a->info = (struct image_info){
        .format = IMAGE_RAW, .file_bytes = size, .data_bytes = size, .size_bytes = round_up(size, SECTOR_BYTES)};
    (void)snprintf(a->version.identity, sizeof(a->version.identity), "not known yet");
    (void)snprintf(a->version.comment, sizeof(a->version.comment), "flattened from a chain of %zu VHDs",
                   vhd_chain_length(a->chain));
    return check_flat_room(cmd->root, a, err);
}

static int prepare_content(struct cmd *cmd, struct catalog *c, struct adding *a, struct err *err)
{
    int r = flatten_is_needed(a->fd, a->path, err);
    if (r > 0)
        return prepare_chain(cmd, a, err);
    if (r == 0 && cmd_has(cmd, "parent"))
        return err_set(err, -EINVAL, "'%s' is no differencing VHD and has no parents: leave --parent away", a->path);
    r = r ? r : convert_detect(a->fd, a->path, &a->convert, err);
    if (r == 0 && a->convert.driver)
        return prepare_conversion(cmd, c, a, err);
    (void)snprintf(a->version.comment, sizeof(a->version.comment), "%s", a->image.comment);
    if (r == 0)
        r = check_format(cmd, a, err);
    if (r == 0 && !cmd_has(cmd, "format")) /* who says that it is raw means it as it is */
        r = image_check_whole(a->fd, a->path, &a->info, err);
    if (r == 0)
        r = image_identity(a->fd, &a->info, a->version.identity, err);
    if (r == 0 && cmd_has(cmd, "copy"))
        r = adding_check_known(cmd, c, a, err);
    return r;
}

int adding_look(struct cmd *cmd, struct adding *a, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct image_row old;
    const char *name = cmd_arg(cmd, 0);
    int r = name_check(name, "image name", err);
    if (r == 0)
        r = comment_parse(cmd_option(cmd, "comment"), a->image.comment, err);
    if (r == 0)
        r = read_open(cmd, &c, err);
    if (r == 0 && image_get(c, name, &old, NULL) == 0)
        r = err_set(err, -EEXIST, "there is an image '%s' already: choose another name", old.name);
    if (r == 0)
        r = open_file(cmd, cmd_arg(cmd, 1), a, err);
    if (r == 0)
        r = prepare_content(cmd, c, a, err);
    if (r < 0)
        return r;
    (void)snprintf(a->image.name, sizeof(a->image.name), "%s", name);
    a->image.is_data = cmd_has(cmd, "data");
    adding_fill_row(a, &a->info, a->path, true);
    return 0;
}

void adding_finish(struct adding *a)
{
    closep(&a->fd);
    vhd_chain_close(a->chain);
}
