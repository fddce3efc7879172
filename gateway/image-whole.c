/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signs of a copy that broke off, and of what never was a disk, in files that nothing else vouches for.
 *
 *   format   what vouches for the end of the file
 *   vhd      its footer: image_probe() has compared it with the size
 *   raw      nothing. Signs are a partition table of a larger disk, and a name that promises a VHD with a size that no VHD has
 *
 * A raw file whose beginning is lines of text is none: all that a disk begins with (boot code, a partition table, a file system, zeros) has bytes
 * that no text has. A raw file without any of these signs is taken as it is: there is no way to tell.
 */
#include "gateway/image-whole.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "core/bootcheck.h"
#include "core/util.h"

#define TEXT_BYTES 4096U

#define WAY_OUT "copy it again from its source, or add it as it is with --format raw"

struct file {
    int fd;
    uint64_t data_bytes;
};

static int read_file(void *arg, void *buf, size_t len, uint64_t off)
{
    const struct file *f = arg;
    size_t have = off < f->data_bytes ? MIN(len, f->data_bytes - off) : 0;
    memset((char *)buf + have, 0, len - have); /* the padding of the last sector */
    return have ? pread_full(f->fd, buf, have, off) : 0;
}

static bool is_named_vhd(const char *path)
{
    size_t len = strlen(path);
    return len > 4 && strcasecmp(path + len - 4, ".vhd") == 0;
}

/* Are the first @len bytes of the file, its beginning or all of it, lines of text, in any character set that has ASCII's control characters? */
static bool is_text(const unsigned char *buf, size_t len)
{
    bool has_line = false;
    for (size_t i = 0; i < len; i++) {
        if (buf[i] == 0 || buf[i] == 0x7f || (buf[i] < ' ' && !strchr("\t\n\r\f", buf[i])))
            return false;
        has_line = has_line || buf[i] == '\n';
    }
    return has_line;
}

static int check_text(const struct file *f, const char *path, struct err *err)
{
    unsigned char buf[TEXT_BYTES];
    size_t len = (size_t)MIN(f->data_bytes, (uint64_t)sizeof(buf));
    int r = pread_full(f->fd, buf, len, 0);
    if (r < 0)
        return err_sys(err, r, "cannot read '%s'", path);
    if (!is_text(buf, len))
        return 0;
    return err_set(err, -EINVAL,
                   "'%s' is a text file, not a disk: give the file of the disk, or add it as it is with --format raw",
                   path);
}

int image_check_whole(int fd, const char *path, const struct image_info *info, struct err *err)
{
    struct file f = {fd, info->data_bytes};
    if (info->format != IMAGE_RAW)
        return 0;
    if (is_named_vhd(path) && info->file_bytes % SECTOR_BYTES != 0)
        return err_set(err, -EBADMSG, "'%s' is cut off: it has no VHD footer and ends within a sector; " WAY_OUT, path);
    int r = check_text(&f, path, err);
    if (r < 0)
        return r;
    _cleanup_free_ struct bootcheck *b = calloc(1, sizeof(*b));
    if (!b)
        return err_set(err, -ENOMEM, "memory is out");
    r = bootcheck(read_file, &f, info->size_bytes, false, b, err);
    if (r < 0)
        return err_prefix(err, r, "'%s'", path);
    if (!b->is_cut_off)
        return 0;
    return err_set(err, -EBADMSG, "'%s' is cut off: its partition table is of a larger disk; " WAY_OUT, path);
}
