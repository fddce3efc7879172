/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Conversion of foreign disks; see convert.h. What the file is was told by core/image-foreign.c, never by qemu-img. */
#include "gateway/convert.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <sys/statvfs.h>

#include "core/json.h"
#include "core/image-foreign.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/copy.h"
#include "gateway/qemu-img.h"

int convert_detect(int fd, const char *path, struct convert *ret, struct err *err)
{
    unsigned char head[FOREIGN_HEAD_BYTES];
    *ret = (struct convert){.fd = fd, .path = path};
    if (fstat(fd, &ret->st) < 0)
        return err_sys(err, -errno, "cannot examine '%s'", path);
    if (!S_ISREG(ret->st.st_mode) && !S_ISBLK(ret->st.st_mode))
        return 0; /* refused by image_probe() with a sentence */
    ssize_t n = pread(fd, head, sizeof(head), 0);
    if (n < 0)
        return err_sys(err, -errno, "cannot read '%s'", path);
    ret->driver = foreign_driver(head, (size_t)n);
    return 0;
}

/* Less room than the file takes is surely too little; less than the disk may be enough, since zeros take none. */
static int check_room(const char *root, const struct convert *v, struct err *err)
{
    struct statvfs fs;
    char used[32], size[32], room[32];
    if (statvfs(root, &fs) < 0)
        return err_sys(err, -errno, "cannot examine the file system of '%s'", root);
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    size_text(MIN(v->used_bytes, v->size_bytes), used);
    size_text(v->size_bytes, size);
    size_text(free_bytes, room);
    if (free_bytes < MIN(v->used_bytes, v->size_bytes))
        return err_set(
            err, -ENOSPC,
            "'%s' needs at least %s as a raw image and only %s are free on the file system of '%s': make room, or "
            "convert it elsewhere with 'qemu-img convert -O raw' and add that",
            v->path, used, room, root);
    if (free_bytes < v->size_bytes)
        warn_line("note: the disk in '%s' has %s and %s are free: this is enough only if it holds that much less",
                  v->path, size, room);
    return 0;
}

int convert_prepare(const char *root, struct catalog *c, const char *format, struct convert *v, struct err *err)
{
    const char *name = qemu_format_name(v->driver);
    struct qemu_source s = {.fd = v->fd, .path = v->path, .driver = v->driver, .user = v->user};
    if (format && strcasecmp(format, name) != 0)
        return err_set(err, -EINVAL, "'%s' is in the format %s, not %s: leave --format away, or name the right file",
                       v->path, name, format);
    int r = setting_get(c, "fs.user", v->user, err);
    if (r == 0)
        r = qemu_info(&s, &v->size_bytes, &v->used_bytes, err);
    if (r == 0)
        r = qemu_check(&s, err);
    return r < 0 ? r : check_room(root, v, err);
}

struct filling {
    const struct convert *v;
    struct progress *p;
};

static int fill(int out, void *arg, struct err *err)
{
    const struct filling *f = arg;
    const struct convert *v = f->v;
    struct qemu_source s = {.fd = v->fd, .path = v->path, .driver = v->driver, .user = v->user};
    struct stat now;
    int r = qemu_import(&s, out, v->size_bytes, f->p, err);
    if (r < 0)
        return r;
    if (fstat(out, &now) < 0 || (uint64_t)now.st_size != v->size_bytes)
        return err_set(err, -EIO, "qemu-img made something else of '%s' than a disk of %" PRIu64 " bytes", v->path,
                       v->size_bytes);
    if (fstat(v->fd, &now) < 0 || now.st_size != v->st.st_size || now.st_mtim.tv_sec != v->st.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != v->st.st_mtim.tv_nsec)
        return err_set(err, -ESTALE, "'%s' was written to while it was converted: stop what writes to it and try again",
                       v->path);
    return 0;
}

int convert_make(const char *root, const char *name, const struct convert *v, struct progress *p, char *ret_path,
                 struct err *err)
{
    struct filling f = {v, p};
    int r = image_make(root, name, fill, &f, ret_path, err);
    progress_finish(p);
    return r;
}

void convert_origin(const struct convert *v, char *ret)
{
    _cleanup_json_ json_t *path = out_string(v->path);
    const char *text = json_string_value(path);
    size_t n = (size_t)snprintf(ret, COMMENT_LEN + 1, "converted from %s '", qemu_format_name(v->driver));
    size_t len = text ? strlen(text) : 0, room = COMMENT_LEN - n - 1;
    bool is_cut = len > room;
    if (is_cut)
        len = room - 3;
    while (is_cut && len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80) /* not within a character */
        len--;
    for (size_t i = 0; i < len; i++)
        ret[n++] = (unsigned char)text[i] < ' ' || text[i] == 127 ? '?' : text[i];
    strcpy(ret + n, is_cut ? "...'" : "'");
}
