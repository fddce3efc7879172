/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of versions, as the catalog knows them: the disk's bytes, for a fixed VHD its footer behind them (made anew for sets that have none), the
 * recorded time.
 */
#include "backup/restore-root-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "backup/file-shape.h"
#include "core/image.h"
#include "core/root.h"
#include "core/util.h"
#include "core/vhd.h"

/* --- places ------------------------------------------------------------------------------------------------------ */

/* Catalogs come from the repository, and so from wherever that comes from. */
static bool is_plain_path(const char *path)
{
    size_t len = strlen(path);
    return !strstr(path, "/../") && strncmp(path, "../", 3) != 0 && strcmp(path, "..") != 0 &&
           !(len >= 3 && strcmp(path + len - 3, "/..") == 0);
}

static const struct path_map *find_map(const struct root_work *w, const char *path)
{
    for (size_t i = 0; i < w->p->n_maps; i++) {
        const struct path_map *m = &w->p->maps[i];
        if (strncmp(path, m->from, m->from_len) == 0 && (path[m->from_len] == 0 || path[m->from_len] == '/'))
            return m;
    }
    return NULL;
}

/* Where the file goes: an absolute path by the map, else in the root. */
static int choose_place(const struct root_work *w, struct version_row *v, struct err *err)
{
    const struct path_map *m = v->path[0] == '/' ? find_map(w, v->path) : NULL;
    char path[PATH_MAX];
    int n;
    if (!is_plain_path(v->path) || (v->path[0] != '/' && strncmp(v->path, "images/", 7) != 0))
        return err_set(err, -EBADMSG, "the catalog of the set has image '%s' at '%s', which no Diskgate writes",
                       v->image, v->path);
    if (v->path[0] != '/')
        return 0;
    if (m)
        n = snprintf(path, sizeof(path), "%s%s", m->to, v->path + m->from_len);
    else
        n = snprintf(path, sizeof(path), "images/%s/v%u.%s", v->image, v->number, v->format);
    if (n < 0 || n >= (int)sizeof(path))
        return err_set(err, -ENAMETOOLONG, "the path of image '%s' is too long", v->image);
    memcpy(v->path, path, (size_t)n + 1);
    v->is_adopted = m != NULL;
    return 0;
}

int root_version_path(const struct root_work *w, size_t i, char *ret, struct err *err)
{
    const char *path = w->versions[i].path;
    if (path[0] != '/')
        return root_path(w->root, path, ret, err);
    (void)snprintf(ret, PATH_MAX, "%s", path); /* of one size */
    return 0;
}

/* --- what the file is -------------------------------------------------------------------------------------------- */

/* Bytes of the disk in the file, out of the identity "xxh3s1:SIZE:HASH". */
static int data_bytes_of(const struct version_row *v, uint64_t *ret, struct err *err)
{
    unsigned long long n = 0;
    if (sscanf(v->identity, "xxh3s1:%llu:", &n) != 1 || n == 0 || round_up(n, SECTOR_BYTES) != v->size_bytes)
        return err_set(err, -EBADMSG,
                       "the catalog of the set knows image '%s' version %u by '%s', which is no content "
                       "identity of a disk of its size",
                       v->image, v->number, v->identity);
    *ret = n;
    return 0;
}

static bool is_vhd(const struct version_row *v)
{
    return strcmp(v->format, image_format_name(IMAGE_VHD)) == 0;
}

/* The geometry of the specification's table for disks of any size; nothing of ours uses it. */
static int write_footer(int fd, uint64_t bytes)
{
    unsigned char footer[VHD_FOOTER_BYTES];
    struct vhd_footer f = {.type = VHD_FIXED,
                           .original_bytes = bytes,
                           .current_bytes = bytes,
                           .header_off = UINT64_MAX,
                           .features = 2,
                           .version = 0x10000,
                           .creator_version = 0x10000,
                           .creator = "dgat",
                           .creator_system = "Wi2k",
                           .cylinders = (uint16_t)MIN(bytes / SECTOR_BYTES / 16 / 255, (uint64_t)65535),
                           .heads = 16,
                           .sectors = 255};
    if (getrandom(f.id, sizeof(f.id), 0) != (ssize_t)sizeof(f.id))
        return -EIO;
    vhd_footer_encode(&f, footer);
    return pwrite_full(fd, footer, sizeof(footer), bytes);
}

/* The one that was backed up; one that does not fit shows when the file is looked at again. */
static int put_footer(int fd, const struct file_shape *old, uint64_t bytes)
{
    return old->tail_len == VHD_FOOTER_BYTES && old->data_bytes == bytes
               ? pwrite_full(fd, old->tail, old->tail_len, bytes)
               : write_footer(fd, bytes);
}

/* From the disk to the file: its length, its footer. */
static int shape(struct target *t, const struct version_row *v, const struct file_shape *old, uint64_t data_bytes,
                 struct err *err)
{
    int r = 0;
    if (t->is_device)
        return is_vhd(v) ? err_set(err, -EINVAL, "image '%s' is a VHD, which goes into a file", v->image) : 0;
    if (data_bytes != t->size_bytes && ftruncate(t->fd, (off_t)data_bytes) < 0)
        r = -errno;
    if (r == 0 && is_vhd(v))
        r = put_footer(t->fd, old, data_bytes);
    return r < 0 ? err_sys(err, r, "cannot write to '%s'", t->path) : 0;
}

/* The recorded time, and the record of what it is. -EBADMSG: it is not what the catalog knows. */
static int record(const struct target *t, struct version_row *v, const struct chain *c, struct err *err)
{
    struct image_info info;
    char identity[IDENTITY_LEN + 1];
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                      {.tv_sec = v->mtime_ns / 1000000000, .tv_nsec = v->mtime_ns % 1000000000}};
    if (!t->is_device && v->mtime_ns > 0)
        (void)futimens(t->fd, times); /* else the present time is recorded */
    int r = image_probe(t->fd, t->path, &info, err);
    if (r == 0)
        r = image_identity(t->fd, &info, identity, err);
    if (r < 0)
        return r;
    if (strcmp(identity, v->identity) != 0 || strcmp(image_format_name(info.format), v->format) != 0)
        return err_set(err, -EBADMSG,
                       "image '%s' version %u of the set is %s (%s), and its catalog knows it as %s (%s): the set does "
                       "not fit its own catalog",
                       v->image, v->number, identity, image_format_name(info.format), v->identity, v->format);
    v->file_bytes = info.file_bytes;
    v->mtime_ns = info.mtime_ns;
    if (!v->full_hash[0] && info.data_bytes == info.size_bytes)
        (void)snprintf(v->full_hash, sizeof(v->full_hash), "%s", chain_tail(c)->image_xxh128);
    return 0;
}

/* --- one version ------------------------------------------------------------------------------------------------- */

/* Of an earlier run, or an adopted file that is still where it was? */
static bool is_there(const struct version_row *v, const char *path, uint64_t data_bytes, struct image_info *ret)
{
    struct err ignored;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const struct image_record record = {.path = path,
                                        .format = v->format,
                                        .identity = v->identity,
                                        .full_hash = v->full_hash,
                                        .file_bytes = data_bytes + (is_vhd(v) ? VHD_FOOTER_BYTES : 0),
                                        .mtime_ns = v->mtime_ns};
    return fd >= 0 && v->mtime_ns > 0 && image_verify(fd, &record, ret, &ignored) == 0 && ret->mtime_ns == v->mtime_ns;
}

static int write_version(struct root_work *w, struct version_row *v, const struct chain *c, const char *path,
                         uint64_t data_bytes, struct err *err)
{
    struct target t;
    struct file_shape old;
    bool is_outside = v->path[0] == '/';
    const struct target_params params = {.dest = path,
                                         .avoid = repo_path(reader_repo(w->reader)),
                                         .size_bytes = chain_head(c)->size_bytes,
                                         .file_bytes = data_bytes + (is_vhd(v) ? VHD_FOOTER_BYTES : 0),
                                         .data_bytes = chain_data_bytes(c),
                                         .set_time_s = w->set.time_s,
                                         .is_forced = !is_outside || w->p->is_forced};
    int r = file_shape_read(reader_repo(w->reader), &w->set, &chain_head(c)->id, &old, err);
    if (r == 0 || r == -ENOENT)
        r = target_open(&params, &t, err);
    if (r < 0)
        return r;
    r = restore_fill(w->work, w->reader, c, &t, &w->report->counts, err);
    if (r == 0)
        r = target_sync(&t, err);
    if (r == 0 && !w->p->has_no_check)
        r = restore_check(w->work, w->reader, c, &t, &w->report->counts, err);
    if (r == 0)
        r = shape(&t, v, &old, data_bytes, err);
    if (r == 0)
        r = record(&t, v, c, err);
    if (r == 0)
        r = target_commit(&t, err);
    target_close(&t);
    return r;
}

static int make_parent(const char *path, struct err *err)
{
    char copy[PATH_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", path); /* of one size */
    const char *folder = dirname(copy);
    int r = make_dirs(folder, 0755);
    return r < 0 ? err_sys(err, r, "cannot make the folder '%s'", folder) : 0;
}

int root_restore_version(struct root_work *w, size_t i, const struct set_stream *st, struct err *err)
{
    _cleanup_(chain_closep) struct chain *c = NULL;
    struct version_row *v = &w->versions[i];
    struct image_info info;
    char path[PATH_MAX];
    uint64_t data_bytes = 0;
    int r = data_bytes_of(v, &data_bytes, err);
    if (r == 0)
        r = choose_place(w, v, err);
    if (r == 0)
        r = root_version_path(w, i, path, err);
    if (r < 0)
        return r;
    if (is_there(v, path, data_bytes, &info)) {
        v->file_bytes = info.file_bytes;
        w->report->counts.equal_bytes += info.data_bytes;
        return 0;
    }
    r = make_parent(path, err);
    if (r == 0)
        r = chain_open(w->reader, &w->set, &st->id, NULL, &c, err);
    if (r == 0 && chain_head(c)->size_bytes != v->size_bytes)
        r = err_set(err, -EBADMSG, "image '%s' version %u has another size in the set than in its catalog", v->image,
                    v->number);
    return r < 0 ? r : write_version(w, v, c, path, data_bytes, err);
}
