/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an image file really is, and whether it still is what was recorded.
 *
 * Order of the questions in a probe: kind and size of the file; a dynamic VHD's copy of the footer at the beginning; a footer at the end
 * (it wins over everything that the disk's own first sector may look like); the table of foreign formats; else it is raw.
 *
 * Order of the questions in a verification, from cheap to dear: size of the file, format, identity, mtime, full hash.
 */
#include "core/image.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "core/hash.h"
#include "core/image-foreign.h"
#include "core/util.h"
#include "core/vhd.h"

_Static_assert(HASH_LEN == HASH_HEX_LEN, "the full hash is one XXH3-128");

static const char *const format_names[] = {[IMAGE_RAW] = "raw", [IMAGE_VHD] = "vhd"};

const char *image_format_name(enum image_format f)
{
    return format_names[f];
}

int image_format_parse(const char *text, enum image_format *ret, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(format_names); i++) {
        if (strcasecmp(text, format_names[i]) == 0) {
            *ret = (enum image_format)i;
            return 0;
        }
    }
    return err_set(err, -EINVAL, "image format '%s' is not one of raw, vhd", text);
}

/* --- probe ------------------------------------------------------------------------------------------------------- */

/* What the file looks like while it is probed. */
struct look {
    int fd;
    const char *path;
    size_t head_len;
    bool has_tail; /* the file has at least FOREIGN_TAIL_BYTES */
    unsigned char head[FOREIGN_HEAD_BYTES];
    unsigned char tail[FOREIGN_TAIL_BYTES];
};

static void add_note(struct image_info *info, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add_note(struct image_info *info, const char *fmt, ...)
{
    size_t n = strlen(info->note);
    if (n > 0 && n < sizeof(info->note) - 2) {
        memcpy(info->note + n, "; ", 3);
        n += 2;
    }
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(info->note + n, sizeof(info->note) - n, fmt, ap); /* a cut note is still a note */
    va_end(ap);
}

static int refuse_kind(mode_t mode, const char *path, struct err *err)
{
    if (S_ISDIR(mode))
        return err_set(err, -EINVAL, "'%s' is a folder; give the disk file in it", path);
    const char *kind = S_ISFIFO(mode)   ? "FIFO"
                       : S_ISSOCK(mode) ? "socket"
                       : S_ISCHR(mode)  ? "character device"
                                        : "special file";
    return err_set(err, -EINVAL, "'%s' is a %s; give a disk file or a block device", path, kind);
}

/* Kind, size and time of the file. */
static int look_at_size(int fd, const char *path, struct image_info *ret, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, -errno, "cannot examine '%s'", path);
    memset(ret, 0, sizeof(*ret));
    if (S_ISBLK(st.st_mode)) {
        if (ioctl(fd, BLKGETSIZE64, &ret->file_bytes) < 0)
            return err_sys(err, -errno, "cannot get the size of block device '%s'", path);
    } else if (S_ISREG(st.st_mode)) {
        ret->file_bytes = (uint64_t)st.st_size;
        ret->mtime_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec;
    } else {
        return refuse_kind(st.st_mode, path, err);
    }
    if (ret->file_bytes == 0)
        return err_set(err, -EINVAL, "'%s' is empty; give a file that holds a disk", path);
    return 0;
}

static int look_inside(struct look *l, uint64_t file_bytes, struct err *err)
{
    l->head_len = (size_t)MIN(file_bytes, (uint64_t)sizeof(l->head));
    l->has_tail = file_bytes >= sizeof(l->tail);
    int r = pread_full(l->fd, l->head, l->head_len, 0);
    if (r == 0 && l->has_tail)
        r = pread_full(l->fd, l->tail, sizeof(l->tail), file_bytes - sizeof(l->tail));
    return r < 0 ? err_sys(err, r, "cannot read '%s'", l->path) : 0;
}

/* Bytes of the VHD footer at the end of the file, 0 = there is none. */
static size_t footer_bytes(const struct look *l, uint64_t file_bytes)
{
    if (!l->has_tail)
        return 0;
    if (vhd_has_cookie(l->tail, sizeof(l->tail)))
        return VHD_FOOTER_BYTES;
    if (file_bytes % SECTOR_BYTES == VHD_FOOTER_BYTES_OLD && vhd_has_cookie(l->tail + 1, VHD_FOOTER_BYTES_OLD))
        return VHD_FOOTER_BYTES_OLD;
    return 0;
}

static int damaged_footer(const struct look *l, uint64_t disk_bytes, const char *why, struct err *err)
{
    return err_set(err, -EBADMSG,
                   "'%s' ends with a damaged VHD footer (%s): copy it again from its source, or, when the disk in it "
                   "is sound, make a raw "
                   "copy with head -c %" PRIu64 " '%s' > '%s.raw' and add that",
                   l->path, why, disk_bytes, l->path, l->path);
}

/* The file ends with a VHD footer of @n bytes. */
static int probe_vhd(const struct look *l, size_t n, struct image_info *ret, struct err *err)
{
    uint64_t held = ret->file_bytes - n;
    struct vhd_footer f;
    struct err why;
    int r = vhd_footer_decode(l->tail + sizeof(l->tail) - n, n, &f, &why);
    if (r == -EBADMSG)
        return damaged_footer(l, held, why.msg, err);
    if (r < 0)
        return err_set(err, r, "'%s': %s", l->path, why.msg);
    if (f.type != VHD_FIXED)
        return foreign_refuse_vhd(f.type, l->path, err);
    if (f.current_bytes > held)
        return err_set(err, -EBADMSG,
                       "'%s' is cut short: its VHD footer says that the disk has %" PRIu64 " bytes, but only %" PRIu64
                       " lie before the footer; copy it again from its source",
                       l->path, f.current_bytes, held);
    ret->format = IMAGE_VHD;
    ret->data_bytes = f.current_bytes;
    if (f.current_bytes < held)
        add_note(ret,
                 "the VHD footer says that the disk has %" PRIu64 " bytes; the %" PRIu64
                 " bytes behind them are left out",
                 f.current_bytes, held - f.current_bytes);
    if (f.is_saved_state)
        add_note(ret, "the VHD footer says that a suspended machine still uses this disk");
    return 0;
}

/* A name may promise another format than the file has. */
static void note_name(const char *path, struct image_info *info)
{
    static const char *const endings[] = {"vhd", "vhdx", "vmdk", "vdi", "qcow2", "qcow", "qed", "avhd", "avhdx"};
    const char *dot = strrchr(path, '.');
    if (!dot || strchr(dot, '/'))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
        if (strcasecmp(dot + 1, endings[i]) != 0)
            continue;
        if (i == 0)
            add_note(info, "named .vhd but has no VHD footer; taken as raw");
        else
            add_note(info, "named .%s but is no such disk; taken as raw", endings[i]);
    }
}

static int probe_raw(const struct look *l, struct image_info *ret, struct err *err)
{
    int r = foreign_check(l->head, l->head_len, l->has_tail ? l->tail : NULL, l->path, err);
    if (r < 0)
        return r;
    ret->format = IMAGE_RAW;
    ret->data_bytes = ret->file_bytes;
    note_name(l->path, ret);
    if (ret->data_bytes % SECTOR_BYTES != 0)
        add_note(ret, "%" PRIu64 " bytes are not a multiple of 512; the last sector is padded with zeros",
                 ret->data_bytes);
    return 0;
}

/* Format of a file whose size is known. */
static int look_at_format(int fd, const char *path, struct image_info *info, struct err *err)
{
    struct look l = {.fd = fd, .path = path};
    int r = look_inside(&l, info->file_bytes, err);
    if (r < 0)
        return r;
    if (vhd_has_cookie(l.head, l.head_len))
        r = foreign_check(l.head, l.head_len, NULL, path, err);
    if (r < 0)
        return r;
    size_t n = footer_bytes(&l, info->file_bytes);
    r = n > 0 ? probe_vhd(&l, n, info, err) : probe_raw(&l, info, err);
    if (r == 0)
        info->size_bytes = round_up(info->data_bytes, SECTOR_BYTES);
    return r;
}

int image_probe(int fd, const char *path, struct image_info *ret, struct err *err)
{
    struct image_info info;
    int r = look_at_size(fd, path, &info, err);
    if (r == 0)
        r = look_at_format(fd, path, &info, err);
    if (r == 0)
        *ret = info;
    return r;
}

/* --- verification ------------------------------------------------------------------------------------------------ */

#define WAY_OUT                                                                                                        \
    "put the recorded file back, find it with 'diskgate image repair', or look at the change with 'diskgate image "    \
    "check'"

static int verify_identity(int fd, const struct image_record *rec, const struct image_info *info, struct err *err)
{
    char identity[IDENTITY_LEN + 1];
    int r = image_identity(fd, info, identity, err);
    if (r < 0)
        return err_prefix(err, r, "'%s'", rec->path);
    if (strcmp(identity, rec->identity) != 0)
        return err_set(err, -ESTALE, "the content of '%s' is not what was recorded; " WAY_OUT, rec->path);
    return 0;
}

/* The mtime differs; only the full hash can tell whether the content does. */
static int verify_full_hash(int fd, const struct image_record *rec, const struct image_info *info, struct err *err)
{
    char now[32], then[32], hash[HASH_LEN + 1];
    time_text(now, sizeof(now), info->mtime_ns / 1000000000);
    time_text(then, sizeof(then), rec->mtime_ns / 1000000000);
    if (rec->full_hash[0] == 0)
        return err_set(err, -ESTALE,
                       "'%s' was modified on %s; what was recorded was last modified on %s, and there is no full hash "
                       "to compare its "
                       "content with; " WAY_OUT,
                       rec->path, now, then);
    int r = image_full_hash(fd, info, hash, NULL, NULL, err);
    if (r < 0)
        return err_prefix(err, r, "'%s'", rec->path);
    if (strcmp(hash, rec->full_hash) != 0)
        return err_set(err, -ESTALE, "'%s' was modified on %s: its content is no longer what was recorded; " WAY_OUT,
                       rec->path, now);
    return 0;
}

int image_verify(int fd, const struct image_record *rec, struct image_info *ret, struct err *err)
{
    struct image_info info;
    int r = look_at_size(fd, rec->path, &info, err);
    if (r < 0)
        return r;
    if (info.file_bytes != rec->file_bytes) {
        *ret = info;
        return err_set(err, -ESTALE, "the size of '%s' changed from %" PRIu64 " to %" PRIu64 " bytes; " WAY_OUT,
                       rec->path, rec->file_bytes, info.file_bytes);
    }
    r = look_at_format(fd, rec->path, &info, err);
    if (r < 0)
        return r;
    *ret = info;
    if (strcmp(image_format_name(info.format), rec->format) != 0)
        return err_set(err, -ESTALE, "the format of '%s' changed from %s to %s; " WAY_OUT, rec->path, rec->format,
                       image_format_name(info.format));
    r = verify_identity(fd, rec, &info, err);
    if (r == 0 && info.mtime_ns != rec->mtime_ns)
        r = verify_full_hash(fd, rec, &info, err);
    return r;
}
