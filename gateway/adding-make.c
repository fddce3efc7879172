/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The root's own file of an image: a copy, a conversion, a flattened chain; see adding.h. */
#include "gateway/adding.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "core/root.h"
#include "core/util.h"
#include "gateway/copy.h"
#include "gateway/flatten.h"
#include "gateway/qemu-img.h"

/* Where the root's own file goes: a folder that the caller made, or one that is called like the image. */
static const char *place(struct cmd *cmd, const struct adding *a)
{
    return cmd_has(cmd, "folder") ? cmd_option(cmd, "folder") : a->image.name;
}

/* Look at the file that was made in the root. */
static int look_at_made(const char *root, const char *rel, struct image_info *ret, char *ret_identity, struct err *err)
{
    char path[PATH_MAX];
    int r = root_path(root, rel, path, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(err, -errno, "cannot read the new file '%s'", path);
    r = image_probe(fd, path, ret, err);
    return r < 0 ? r : image_identity(fd, ret, ret_identity, err);
}

/* The copy must be what the file was when it was looked at: an image that is written to meanwhile would be neither old nor new. */
static int check_copy(const struct adding *a, const char *root, const char *rel, struct image_info *ret,
                      struct err *err)
{
    char identity[IDENTITY_LEN + 1];
    struct stat st;
    int r = look_at_made(root, rel, ret, identity, err);
    if (r < 0)
        return r;
    if (fstat(a->fd, &st) < 0)
        return err_sys(err, -errno, "cannot examine '%s'", a->path);
    if (strcmp(identity, a->version.identity) != 0 || st.st_mtim.tv_sec != a->st.st_mtim.tv_sec ||
        st.st_mtim.tv_nsec != a->st.st_mtim.tv_nsec || st.st_size != a->st.st_size)
        return err_set(err, -ESTALE, "'%s' was written to while it was copied: stop what writes to it and try again",
                       a->path);
    return 0;
}

static int nothing_made(char *ret_rel, int r)
{
    ret_rel[0] = 0;
    return r;
}

/* What was made is the image. */
static int take_made(struct cmd *cmd, struct adding *a, const char *rel, struct err *err)
{
    struct image_info info;
    int r = look_at_made(cmd->root, rel, &info, a->version.identity, err);
    if (r == 0)
        adding_fill_row(a, &info, rel, false);
    return r;
}

static int make_converted(struct cmd *cmd, struct adding *a, struct progress *p, char *ret_rel, struct err *err)
{
    char size[32];
    size_text(a->convert.size_bytes, size);
    if (!cmd->is_quiet)
        warn_line("note: '%s' is a %s disk: it is converted into the root, as a sparse raw image of %s", a->path,
                  qemu_format_name(a->convert.driver), size);
    int r = convert_make(cmd->root, place(cmd, a), &a->convert, p, ret_rel, err);
    return r < 0 ? nothing_made(ret_rel, r) : take_made(cmd, a, ret_rel, err);
}

static int make_copy(struct cmd *cmd, struct adding *a, struct progress *p, char *ret_rel, struct err *err)
{
    struct image_info info;
    int r = image_copy(cmd->root, place(cmd, a), a->fd, a->info.data_bytes, p, ret_rel, err);
    if (r < 0)
        return nothing_made(ret_rel, r);
    r = check_copy(a, cmd->root, ret_rel, &info, err);
    if (r == 0)
        adding_fill_row(a, &info, ret_rel, false);
    return r;
}

static int make_flat(struct cmd *cmd, struct adding *a, struct progress *p, char *ret_rel, struct err *err)
{
    if (!cmd->is_quiet)
        warn_line("note: '%s' is a differencing VHD: it and its %zu parent%s become one raw image in the root", a->path,
                  vhd_chain_length(a->chain) - 1, vhd_chain_length(a->chain) > 2 ? "s" : "");
    int r = flatten_make(cmd->root, place(cmd, a), a->chain, p, ret_rel, err);
    return r < 0 ? nothing_made(ret_rel, r) : take_made(cmd, a, ret_rel, err);
}

int adding_make(struct cmd *cmd, struct adding *a, char *ret_rel, struct err *err)
{
    struct progress p;
    progress_init(&p, a->convert.driver || a->chain ? "converting" : "copying", cmd->is_quiet);
    int r = progress_to_fd(&p, cmd_option(cmd, "progress"), err);
    if (r < 0)
        return r;
    if (a->chain)
        return make_flat(cmd, a, &p, ret_rel, err);
    return a->convert.driver ? make_converted(cmd, a, &p, ret_rel, err) : make_copy(cmd, a, &p, ret_rel, err);
}
