/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The backup's look at a change map, read with pread: a mapping of a file of another process could fault. See changes.h. */
#include "core/changes-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "core/util.h"

struct changes_look {
    int fd;
    uint64_t size_bytes;
    uint32_t epoch;
    char id[UUID_LEN + 1];
};

static int look(int fd, const struct map_stamp *stamp, struct changes_look **ret)
{
    struct changes_head h;
    int r = pread_full(fd, &h, sizeof(h), 0);
    if (r == 0)
        r = changes_check_head(&h, stamp);
    if (r < 0)
        return r;
    struct changes_look *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->fd = fd;
    l->size_bytes = h.size_bytes;
    l->epoch = h.epoch;
    uuid_encode(h.id, l->id);
    *ret = l;
    return 0;
}

int changes_look_live(const struct changes_place *place, struct changes_look **ret)
{
    struct changes_names n = changes_names(place);
    _cleanup_close_ int fd = openat(place->live_fd, n.live, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    int r = look(fd, place->stamp, ret);
    if (r == 0)
        (void)take_fd(&fd);
    return r;
}

int changes_look_saved(const struct changes_place *place, struct changes_look **ret)
{
    _cleanup_close_ int fd = memfd_create("diskgate-changes", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = changes_load_saved(place, fd);
    if (r == 0)
        r = look(fd, place->stamp, ret);
    if (r == 0)
        (void)take_fd(&fd);
    return r;
}

const char *changes_look_id(const struct changes_look *l)
{
    return l->id;
}

uint32_t changes_look_epoch(const struct changes_look *l)
{
    return l->epoch;
}

int changes_unchanged(const struct changes_look *l, uint32_t epoch, uint64_t off, uint64_t max, uint64_t *ret)
{
    uint32_t tags[256];
    if (max == 0 || !range_ok(off, max, l->size_bytes))
        return -EINVAL;
    uint64_t first = off / CHANGES_REGION_BYTES, end = (off + max - 1) / CHANGES_REGION_BYTES + 1;
    size_t n = (size_t)MIN(end - first, ARRAY_SIZE(tags)), same = 0;
    int r = pread_full(l->fd, tags, n * sizeof(tags[0]), CHANGES_PAGE + first * sizeof(tags[0]));
    if (r < 0)
        return r;
    while (same < n && tags[same] <= epoch)
        same++;
    *ret = same ? MIN((first + same) * CHANGES_REGION_BYTES - off, max) : 0;
    return 0;
}

void changes_look_close(struct changes_look *l)
{
    if (!l)
        return;
    closep(&l->fd);
    free(l);
}
