/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signs of a copy that broke off, in files that nothing else vouches for.
 *
 *   format   what vouches for the end of the file
 *   vhd      its footer: image_probe() has compared it with the size
 *   raw      nothing. Signs are a partition table of a larger disk, and a name that promises a VHD with a size that no VHD has
 *
 * A raw file without either sign is taken as it is: there is no way to tell.
 */
#include "gateway/image-whole.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "core/bootcheck.h"
#include "core/util.h"

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

int image_check_whole(int fd, const char *path, const struct image_info *info, struct err *err)
{
    struct file f = {fd, info->data_bytes};
    if (info->format != IMAGE_RAW)
        return 0;
    if (is_named_vhd(path) && info->file_bytes % SECTOR_BYTES != 0)
        return err_set(err, -EBADMSG, "'%s' is cut off: it has no VHD footer and ends within a sector; " WAY_OUT, path);
    _cleanup_free_ struct bootcheck *b = calloc(1, sizeof(*b));
    if (!b)
        return err_set(err, -ENOMEM, "memory is out");
    int r = bootcheck(read_file, &f, info->size_bytes, false, b, err);
    if (r < 0)
        return err_prefix(err, r, "'%s'", path);
    if (!b->is_cut_off)
        return 0;
    return err_set(err, -EBADMSG, "'%s' is cut off: its partition table is of a larger disk; " WAY_OUT, path);
}
