/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `image add`: a file becomes version 1 of an image.
 *
 * The file is opened read-only and no lock is kept on it: adoption is a row in the catalog. With --copy the copy comes first and the row
 * second, and a failure or an interrupt removes the copy again, so there is never a row without its file.
 *
 * Disks of other hypervisors (dynamic VHD, VHDX, VMDK, VDI, qcow2) are not adopted: they are converted into the root, see convert.h; a
 * differencing VHD and its parents become one raw image, see flatten.h.
 *
 * --file-only is for importers, who have one transaction for many images: the file is looked at (and made), the row is printed, the catalog
 * stays as it is.
 */
#include "gateway/cmd-image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "core/catalog.h"
#include "core/image.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/cmd.h"
#include "gateway/convert.h"
#include "gateway/copy.h"
#include "gateway/flatten.h"
#include "gateway/image-sweep.h"
#include "gateway/image-whole.h"
#include "gateway/qemu-img.h"
#include "gateway/version-file.h"

struct adding {
    char path[PATH_MAX]; /* the file, real path */
    int fd;
    struct stat st;
    struct image_info info;
    struct convert convert;  /* its driver is NULL for a file that is served as it is */
    struct vhd_chain *chain; /* of a differencing VHD, else NULL */
    struct image_row image;
    struct version_row version;
};

/* Does the root get a file of its own? */
static bool is_made(struct cmd *cmd, const struct adding *a)
{
    return a->convert.driver || a->chain || cmd_has(cmd, "copy");
}

/* Where the root's own file goes: a folder that the caller made, or one that is called like the image. */
static const char *place(struct cmd *cmd, const struct adding *a)
{
    return cmd_has(cmd, "folder") ? cmd_option(cmd, "folder") : a->image.name;
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

/* Refuse what is an image already; warn about the same content in another file. */
static int check_known(struct cmd *cmd, struct catalog *c, const struct adding *a, struct err *err)
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

static void fill_row(struct adding *a, const struct image_info *info, const char *path, bool is_adopted)
{
    struct version_row *v = &a->version;
    (void)snprintf(v->format, sizeof(v->format), "%s", image_format_name(info->format));
    (void)snprintf(v->path, sizeof(v->path), "%s", path);
    v->is_adopted = is_adopted;
    v->size_bytes = info->size_bytes;
    v->file_bytes = info->file_bytes;
    v->mtime_ns = info->mtime_ns;
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
        fill_row(a, &info, rel, false);
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
        fill_row(a, &info, ret_rel, false);
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

/* Make the root's own file, then take it into the row. @ret_rel is empty where nothing was made. */
static int make_file(struct cmd *cmd, struct adding *a, char *ret_rel, struct err *err)
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

static const char *how_made(struct cmd *cmd, const struct adding *a)
{
    if (a->convert.driver)
        return "converted into the root";
    if (a->chain)
        return "flattened into the root";
    return cmd_has(cmd, "copy") ? "copied into the root" : "adopted where it lies";
}

static int store(struct cmd *cmd, struct adding *a, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    char thing[NAME_LEN + 16], size[32];
    int r = change_open(cmd, &c, err);
    if (r == 0 && !is_made(cmd, a))
        r = check_known(cmd, c, a, err); /* again, now that nobody else can add */
    if (r == 0)
        r = image_add(c, &a->image, &a->version, err);
    if (r < 0)
        return r;
    (void)snprintf(thing, sizeof(thing), "image %s", a->image.name);
    size_text(a->version.size_bytes, size);
    r = change_done(cmd, c, thing, err, "image '%s' was added: version 1, %s, %s, %s", a->image.name, a->version.format,
                    size, how_made(cmd, a));
    if (r == EXIT_DONE && cmd->is_json && !cmd->is_dry_run)
        r = image_print(cmd, c, a->image.name, err);
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
        r = check_known(cmd, c, a, err);
    return r;
}

/* Early answers, before a long copy: name, format, content. */
static int prepare(struct cmd *cmd, struct adding *a, struct err *err)
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
    fill_row(a, &a->info, a->path, true);
    return 0;
}

/* --file-only: the row as an importer needs it. */
static int print_file(struct cmd *cmd, const struct adding *a)
{
    const struct version_row *v = &a->version;
    out_set(&cmd->out, "file",
            json_pack("{s:s, s:o, s:b, s:b, s:I, s:I, s:I, s:s, s:o, s:s, s:o}", "format", v->format, "path",
                      out_string(v->path), "is_adopted", v->is_adopted, "is_made", is_made(cmd, a), "size_bytes",
                      (json_int_t)v->size_bytes, "file_bytes", (json_int_t)v->file_bytes, "mtime_ns",
                      (json_int_t)v->mtime_ns, "identity", v->identity, "comment", out_string(v->comment), "how",
                      how_made(cmd, a), "note", out_string(a->info.note)));
    out_line(&cmd->out, "%s: %s, %s", v->path, v->format, how_made(cmd, a));
    return EXIT_DONE;
}

/* --file-only -n: what has no room now is a file all the same; an importer must tell it from one that cannot be served. */
static int print_no_room(struct cmd *cmd, const struct err *why)
{
    out_set(&cmd->out, "no_room", out_string(why->msg));
    out_line(&cmd->out, "%s", why->msg);
    return EXIT_DONE;
}

static int check_folder(struct cmd *cmd, struct err *err)
{
    const char *folder = cmd_option(cmd, "folder");
    if (!folder)
        return 0;
    if (!cmd_has(cmd, "file-only") || strncmp(folder, "images/", 7) != 0)
        return err_set(err, -EINVAL, "--folder goes with --file-only and names an empty folder as 'images/NAME'");
    return name_check(folder + 7, "folder name", err);
}

static int finish(struct cmd *cmd, struct adding *a, struct err *err)
{
    return cmd_has(cmd, "file-only") ? print_file(cmd, a) : store(cmd, a, err);
}

static void tell_swept(void *arg, const char *path, uint64_t bytes)
{
    const struct cmd *cmd = arg;
    char size[32];
    size_text(bytes, size);
    if (!cmd->is_quiet)
        warn_line(
            "note: deleted '%s/%s' (%s): what was left of an image that was being made when its 'image add' was killed",
            cmd->root, path, size);
}

static int add_file(struct cmd *cmd, struct adding *a, struct err *err)
{
    int r = check_folder(cmd, err);
    if (r == 0 && !cmd->is_dry_run && !cmd_has(cmd, "file-only")) /* an importer's files are the importer's */
        image_sweep(cmd->root, tell_swept, cmd);
    r = r ? r : prepare(cmd, a, err);
    if (r == -ENOSPC && cmd->is_dry_run && cmd_has(cmd, "file-only"))
        return print_no_room(cmd, err);
    if (r < 0)
        return r;
    if (a->info.note[0] && !cmd_has(cmd, "file-only"))
        warn_line("note: '%s': %s", a->path, a->info.note);
    if (!is_made(cmd, a) || cmd->is_dry_run)
        return finish(cmd, a, err);
    char rel[PATH_MAX] = "";
    sigset_t old;
    interrupts_hold(&old);
    r = make_file(cmd, a, rel, err);
    if (r == 0)
        r = finish(cmd, a, err);
    if (r < 0 && rel[0])
        (void)image_copy_remove(cmd->root, rel); /* the failure that is reported came before */
    interrupts_release(&old);
    return r;
}

static int run_add(struct cmd *cmd, struct err *err)
{
    struct adding *a = calloc(1, sizeof(*a));
    if (!a)
        return err_set(err, -ENOMEM, "memory is out");
    a->fd = -1;
    int r = add_file(cmd, a, err);
    closep(&a->fd);
    vhd_chain_close(a->chain);
    free(a);
    return r;
}

static const struct option_def add_options[] = {
    {"copy", 0, NULL, "put a copy into the root (a reflink where the file system can)"},
    {"format", 0, "F", "refuse the file unless it is in the format F: raw, vhd, vhdx, vmdk, vdi, qcow2"},
    {"data", 0, NULL, "a data disk, not bootable: for slots 1 and up"},
    {"comment", 'm', "TEXT", "a comment that lists show"},
    {"parent", 0, "FILE", "a parent of a differencing VHD that does not lie beside it", OPT_MANY},
    {"file-only", 0, NULL,
     "check the file (and copy or convert it) only, and print what would be stored: for importers"},
    {"folder", 0, "DIR", "with --file-only: the empty folder images/NAME in the root that the copy goes to"},
    PROGRESS_OPTION,
    {0}};

const struct verb cmd_image_add_verbs[] = {
    {"image", "add", "NAME FILE", "Add the image FILE where it lies",
     "The file is opened read-only and never written to. What it really is decides its format, not its name.\n"
     "Raw disks and fixed VHDs are served as they are. Dynamic VHD, VHDX, VMDK, VDI and qcow2 are converted into the\n"
     "root by qemu-img, as sparse raw images. A differencing VHD and its parents become one such image.",
     add_options, run_add, VERB_DRY_RUN},
    {0},
};
