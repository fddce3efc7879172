/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One lock for all: ROOT/images itself. Who makes a file has it shared, from before the folder of the image is there until the file has its name;
 * who sweeps has it alone. It dies with the process that has it, so a file that is found under the lock has nobody any more.
 */
#include "gateway/image-sweep.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "core/names.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/report.h"

int image_making(const char *root)
{
    _cleanup_close_ int fd = root_open_dir(root, "images", NULL);
    return fd >= 0 && flock(fd, LOCK_SH) == 0 ? take_fd(&fd) : -1;
}

/* The file in the folder @name of @images. */
static void sweep_folder(int images, const char *name, image_swept *tell, void *arg)
{
    char path[PATH_MAX];
    struct stat st;
    _cleanup_close_ int fd = openat(images, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstatat(fd, IMAGE_TEMP, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
        unlinkat(fd, IMAGE_TEMP, 0) < 0)
        return;
    (void)unlinkat(images, name, AT_REMOVEDIR);                        /* an image may live there */
    (void)snprintf(path, sizeof(path), "images/%s/" IMAGE_TEMP, name); /* fits */
    if (tell)
        tell(arg, path, (uint64_t)st.st_blocks * 512);
}

void image_sweep(const char *root, image_swept *tell, void *arg)
{
    _cleanup_closedir_ DIR *d = NULL;
    int fd = root_open_dir(root, "images", NULL);
    if (fd >= 0 && !(d = fdopendir(fd)))
        (void)close(fd); /* nothing was written */
    if (!d || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            sweep_folder(fd, e->d_name, tell, arg);
}

void image_swept_report(void *arg, const char *path, uint64_t bytes)
{
    char size[32];
    size_text(bytes, size);
    report_change(arg,
                  "deleted '%s' (%s): what was left of an image that was being made when its 'image add' was killed",
                  path, size);
}
