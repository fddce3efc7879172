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
#include <string.h>

#include "core/util.h"
#include "gateway/adding.h"
#include "gateway/change.h"
#include "gateway/copy.h"
#include "gateway/image-sweep.h"

static int store(struct cmd *cmd, struct adding *a, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    char thing[NAME_LEN + 16], size[32];
    int r = change_open(cmd, &c, err);
    if (r == 0 && !adding_is_made(cmd, a))
        r = adding_check_known(cmd, c, a, err); /* again, now that nobody else can add */
    if (r == 0)
        r = image_add(c, &a->image, &a->version, err);
    if (r < 0)
        return r;
    (void)snprintf(thing, sizeof(thing), "image %s", a->image.name);
    size_text(a->version.size_bytes, size);
    r = change_done(cmd, c, thing, err, "image '%s' was added: version 1, %s, %s, %s", a->image.name, a->version.format,
                    size, adding_how(cmd, a));
    if (r == EXIT_DONE && cmd->is_json && !cmd->is_dry_run)
        r = image_print(cmd, c, a->image.name, err);
    return r;
}

/* --file-only: the row as an importer needs it. */
static int print_file(struct cmd *cmd, const struct adding *a)
{
    const struct version_row *v = &a->version;
    out_set(&cmd->out, "file",
            json_pack("{s:s, s:o, s:b, s:b, s:I, s:I, s:I, s:s, s:o, s:s, s:o}", "format", v->format, "path",
                      out_string(v->path), "is_adopted", v->is_adopted, "is_made", adding_is_made(cmd, a), "size_bytes",
                      (json_int_t)v->size_bytes, "file_bytes", (json_int_t)v->file_bytes, "mtime_ns",
                      (json_int_t)v->mtime_ns, "identity", v->identity, "comment", out_string(v->comment), "how",
                      adding_how(cmd, a), "note", out_string(a->info.note)));
    out_line(&cmd->out, "%s: %s, %s", v->path, v->format, adding_how(cmd, a));
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
    r = r ? r : adding_look(cmd, a, err);
    if (r == -ENOSPC && cmd->is_dry_run && cmd_has(cmd, "file-only"))
        return print_no_room(cmd, err);
    if (r < 0)
        return r;
    if (a->info.note[0] && !cmd_has(cmd, "file-only"))
        warn_line("note: '%s': %s", a->path, a->info.note);
    if (!adding_is_made(cmd, a) || cmd->is_dry_run)
        return finish(cmd, a, err);
    char rel[PATH_MAX] = "";
    sigset_t old;
    interrupts_hold(&old);
    r = adding_make(cmd, a, rel, err);
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
    adding_finish(a);
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
