/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Empty files, named by overlays; see keptmark.h. */
#include "core/keptmark.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/names.h"
#include "core/util.h"

static int sync_fd(int fd)
{
    return fsync(fd) < 0 ? -errno : 0;
}

int kept_mark_is_set(int kept_fd, const unsigned char id[16])
{
    char name[UUID_LEN + 1];
    uuid_encode(id, name);
    if (faccessat(kept_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 1;
    return errno == ENOENT ? 0 : -errno;
}

int kept_mark_set(int kept_fd, const unsigned char id[16])
{
    char name[UUID_LEN + 1];
    int r = kept_mark_is_set(kept_fd, id);
    if (r != 0)
        return MIN(r, 0);
    uuid_encode(id, name);
    _cleanup_close_ int fd = openat(kept_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : sync_fd(kept_fd);
}

int kept_mark_clear(int kept_fd, const unsigned char id[16])
{
    char name[UUID_LEN + 1];
    uuid_encode(id, name);
    if (unlinkat(kept_fd, name, 0) < 0)
        return errno == ENOENT ? 0 : -errno;
    return sync_fd(kept_fd);
}
