/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `image check --mend-chs`: three bytes of the protective MBR.
 *
 *   catalog locked -> nobody uses it -> bytes written and synced -> identity and time of the file as it is now -> catalog committed
 *
 * (1) The file is written while the catalog's write lock is held, so no link, `up` or other check can come in between.
 * (2) When the catalog cannot follow, the old bytes are put back, with the old time. A power cut between the write and the commit leaves an image
 *     that 'image check' calls changed: --accept takes it.
 * The full hash is not of the new content and is dropped; the check that follows records it anew.
 */
#include "gateway/image-mend.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "core/bootcheck.h"
#include "core/image.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/inventory.h"
#include "gateway/version-file.h"

#define CHS_BYTES sizeof(bootcheck_chs)

static int read_fd(void *arg, void *buf, size_t len, uint64_t off)
{
    return pread_full(*(int *)arg, buf, len, off);
}

/* Open the file of @v, which must be as it was recorded. Returns the fd. */
static int open_file(struct cmd *cmd, const struct version_row *v, struct image_info *info, struct err *err)
{
    char path[PATH_MAX];
    int r = version_path(cmd->root, v, path, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return err_sys(err, -errno, "cannot open '%s' for writing", path);
    struct image_record rec = {path, v->format, v->identity, v->full_hash, v->file_bytes, v->mtime_ns};
    r = image_verify(fd, &rec, info, err);
    return r < 0 ? r : take_fd(&fd);
}

/* Nobody may see the bytes change: no session, and no kept overlay that lies on them. Volatile ones begin anew. */
static int clear_users(struct cmd *cmd, struct catalog *c, const struct version_row *v, struct err *err)
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
            r = err_set(err, -EBUSY,
                        "client '%s' keeps changes over image '%s' that would not fit it any more: drop them with "
                        "'diskgate client reset %s' first, or mend a copy of the image that you add as a new one",
                        views[i].client, v->image, views[i].client);
        r = r ? r : overlay_reset(c, views[i].client, (int)views[i].slot, err);
    }
    return r;
}

static int write_bytes(int fd, const unsigned char *bytes, uint64_t off)
{
    int r = pwrite_full(fd, bytes, CHS_BYTES, off);
    return r < 0 ? r : fdatasync(fd) < 0 ? -errno : 0;
}

static int record(struct catalog *c, int fd, const struct version_row *v, struct err *err)
{
    struct version_row now = *v;
    struct image_info info;
    int r = image_probe(fd, v->path, &info, err);
    r = r ? r : image_identity(fd, &info, now.identity, err);
    now.mtime_ns = info.mtime_ns;
    now.full_hash[0] = 0;
    return r ? r : version_update(c, &now, err);
}

/* Best effort after a failure that is told: the image is then as it was. */
static void put_back(int fd, const unsigned char *bytes, uint64_t off, const struct stat *st)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};
    if (write_bytes(fd, bytes, off) == 0)
        (void)futimens(fd, times); /* without it 'image check' tells that only the time differs */
}

static int mend(struct cmd *cmd, int fd, const struct version_row *v, uint64_t off, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    unsigned char old[CHS_BYTES];
    struct version_row now;
    struct stat st;
    char thing[NAME_LEN + 16];
    int r = change_open(cmd, &c, err);
    r = r ? r : version_get(c, v->id, &now, err);
    if (r == 0 && (strcmp(now.identity, v->identity) != 0 || now.mtime_ns != v->mtime_ns))
        r = err_set(err, -EBUSY, "image '%s' was changed by another command meanwhile: check it again", v->image);
    r = r ? r : clear_users(cmd, c, v, err);
    if (r == 0 && fstat(fd, &st) < 0)
        r = err_sys(err, -errno, "cannot look at the file of image '%s'", v->image);
    if (r < 0)
        return r;
    r = pread_full(fd, old, sizeof(old), off);
    if (r == 0 && !cmd->is_dry_run)
        r = write_bytes(fd, bootcheck_chs, off);
    if (r < 0)
        err_sys(err, r, "cannot mend the file of image '%s'", v->image);
    r = r ? r : record(c, fd, v, err);
    (void)snprintf(thing, sizeof(thing), "image %s", v->image); /* fits */
    if (r == 0)
        return change_done(cmd, c, thing, err, "the protective MBR of image '%s' version %u is mended", v->image,
                           v->number);
    put_back(fd, old, off, &st);
    return r;
}

int image_mend_chs(struct cmd *cmd, const struct version_row *v, struct err *err)
{
    struct bootcheck boot;
    struct image_info info;
    if (v->is_adopted)
        return err_set(
            err, -EPERM,
            "the file of image '%s' is yours, '%.600s', and is never written to: add a copy with 'diskgate image "
            "add NAME FILE --copy' and mend that",
            v->image, v->path);
    _cleanup_close_ int fd = open_file(cmd, v, &info, err);
    if (fd < 0)
        return fd;
    int r = bootcheck(read_fd, &fd, info.data_bytes, true, &boot, err);
    if (r < 0)
        return r;
    if (boot.has_short_chs)
        return mend(cmd, fd, v, boot.chs_off, err);
    if (!cmd->is_quiet)
        warn_line("note: image '%s' version %u has no protective MBR that is to be mended", v->image, v->number);
    return EXIT_DONE;
}
