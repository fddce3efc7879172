/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sparse copy of an image into the root; see copy.h.
 *
 * Tried in this order: a reflink of the whole (FICLONERANGE, FICLONE), then per piece of data copy_file_range(), which reflinks or copies
 * in the kernel, then read and write. Holes stay holes.
 *
 * (1) The copy carries its final name only after it was synced: temp in the same folder, fsync, rename, fsync of the folder.
 * (2) The folder is made by mkdir(), so of two commands that copy at the same time each has its own.
 * (3) A process that was killed leaves the temporary file; image-sweep.h deletes it, but never one that somebody makes.
 * (4) Interrupts are blocked while there is something to clean away, and looked at between pieces.
 */
#include "gateway/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "core/root.h"
#include "core/util.h"
#include "gateway/image-sweep.h"

#define PIECE_BYTES (16 * MiB)
#define COPY_NAME   "v1.raw"
#define TEMP_NAME   IMAGE_TEMP
#define DIRS_MAX    1000

static void interrupts(sigset_t *ret)
{
    (void)sigemptyset(ret); /* none of these can fail with valid signals */
    (void)sigaddset(ret, SIGINT);
    (void)sigaddset(ret, SIGTERM);
    (void)sigaddset(ret, SIGHUP);
}

void interrupts_hold(sigset_t *ret_old)
{
    sigset_t ours;
    interrupts(&ours);
    (void)sigprocmask(SIG_BLOCK, &ours, ret_old); /* cannot fail with valid arguments, here and below */
}

void interrupts_release(const sigset_t *old)
{
    (void)sigprocmask(SIG_SETMASK, old, NULL);
}

bool interrupts_came(void)
{
    sigset_t waiting, ours;
    interrupts(&ours);
    if (sigpending(&waiting) < 0)
        return false;
    return sigismember(&waiting, SIGINT) == 1 || sigismember(&waiting, SIGTERM) == 1 ||
           sigismember(&waiting, SIGHUP) == 1;
}

static int copy_by_hand(int in, int out, uint64_t off, size_t len)
{
    _cleanup_free_ char *buf = malloc(1 * MiB);
    if (!buf)
        return -ENOMEM;
    while (len > 0) {
        size_t n = MIN(len, (size_t)(1 * MiB));
        int r = pread_full(in, buf, n, off);
        if (r == 0)
            r = pwrite_full(out, buf, n, off);
        if (r < 0)
            return r;
        off += n;
        len -= n;
    }
    return 0;
}

static int copy_piece(int in, int out, uint64_t off, size_t len)
{
    while (len > 0) {
        off_t from = (off_t)off, to = (off_t)off;
        ssize_t n = copy_file_range(in, &from, out, &to, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EXDEV || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL || errno == EPERM))
            return copy_by_hand(in, out, off, len);
        if (n < 0)
            return -errno;
        if (n == 0)
            return copy_by_hand(in, out, off, len); /* some file systems answer so; a short file is noticed there */
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* The next data at or after @off as [*ret_off, *ret_end); false when only a hole follows. Without support all is data. */
static bool next_data(int in, uint64_t off, uint64_t len, uint64_t *ret_off, uint64_t *ret_end)
{
    off_t data = lseek(in, (off_t)off, SEEK_DATA), hole;
    if (data < 0 && errno == ENXIO)
        return false;
    *ret_off = data < 0 ? off : (uint64_t)data;
    hole = data < 0 ? -1 : lseek(in, data, SEEK_HOLE);
    *ret_end = hole < 0 ? len : MIN((uint64_t)hole, len);
    return *ret_off < len;
}

int copy_sparse(int in, int out, uint64_t len, struct progress *p)
{
    uint64_t off = 0, end = 0;
    while (next_data(in, end, len, &off, &end)) {
        for (; off < end; off += MIN(end - off, PIECE_BYTES)) {
            int r = interrupts_came() ? -EINTR : copy_piece(in, out, off, MIN(end - off, PIECE_BYTES));
            if (r < 0)
                return r;
            progress_update(p, off, len);
        }
    }
    return 0;
}

struct source {
    int in;
    uint64_t len;
    struct progress *p;
};

static int clone_or_copy(int out, const struct source *s)
{
    bool is_cloned = ioctl(out, FICLONE, s->in) == 0;
    if (ftruncate(out, (off_t)s->len) < 0)
        return -errno;
    int r = is_cloned ? 0 : copy_sparse(s->in, out, s->len, s->p);
    return r == 0 && interrupts_came() ? -EINTR : r;
}

static int fill_copy(int out, void *arg, struct err *err)
{
    int r = clone_or_copy(out, arg);
    if (r == -EINTR)
        return err_set(err, r, "interrupted, nothing was copied");
    return r < 0 ? err_sys(err, r, "cannot copy the image into the root") : 0;
}

static int sync_fd(int fd)
{
    return fsync(fd) < 0 ? -errno : 0;
}

/* Into the open folder; on failure the folder is as it was. */
static int fill_into(int dirfd, image_fill *fill, void *arg, struct err *err)
{
    _cleanup_close_ int out = openat(dirfd, TEMP_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (out < 0)
        return err_sys(err, -errno, "cannot make the image's file in the root");
    int r = fill(out, arg, err);
    if (r == 0 && (fsync(out) < 0 || renameat(dirfd, TEMP_NAME, dirfd, COPY_NAME) < 0 || sync_fd(dirfd) < 0))
        r = err_sys(err, -errno, "cannot put the image's file into the root");
    if (r < 0) {
        (void)unlinkat(dirfd, TEMP_NAME, 0); /* one of them; the failure that is reported came before */
        (void)unlinkat(dirfd, COPY_NAME, 0);
    }
    return r;
}

/* A fresh folder below ROOT/images: its fd, its name in @ret. Negative errno. */
static int make_folder(int images, const char *name, char *ret, size_t len)
{
    for (int i = 1; i < DIRS_MAX; i++) {
        int n = i == 1 ? snprintf(ret, len, "%s", name) : snprintf(ret, len, "%s.%d", name, i);
        if (n < 0 || (size_t)n >= len)
            return -ENAMETOOLONG;
        if (mkdirat(images, ret, 0755) == 0) {
            int fd = openat(images, ret, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
            return fd < 0 ? -errno : fd;
        }
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}

/* Into a folder that the caller made, and takes away again after a failure. */
static int make_in(const char *root, const char *folder, image_fill *fill, void *arg, char *ret_path, struct err *err)
{
    _cleanup_close_ int dirfd = root_open_dir(root, folder, err);
    if (dirfd < 0)
        return dirfd;
    int r = fill_into(dirfd, fill, arg, err);
    if (r == 0)
        (void)snprintf(ret_path, PATH_MAX, "%s/%s", folder, COPY_NAME); /* the folder's path is shorter */
    return r;
}

int image_make(const char *root, const char *name, image_fill *fill, void *arg, char *ret_path, struct err *err)
{
    char images[PATH_MAX], folder[NAME_MAX];
    int r = root_path(root, "images", images, err);
    if (r < 0)
        return r;
    r = make_dirs(images, 0755);
    if (r < 0)
        return err_sys(err, r, "cannot make '%s'", images);
    _cleanup_close_ int making = image_making(root);
    (void)making; /* until the end */
    if (strncmp(name, "images/", 7) == 0)
        return make_in(root, name, fill, arg, ret_path, err);
    _cleanup_close_ int images_fd = root_open_dir(root, "images", err);
    if (images_fd < 0)
        return images_fd;
    _cleanup_close_ int dirfd = make_folder(images_fd, name, folder, sizeof(folder));
    if (dirfd < 0)
        return err_sys(err, dirfd, "cannot make a folder in '%s'", images);
    r = fill_into(dirfd, fill, arg, err);
    if (r == 0 && sync_fd(images_fd) < 0)
        r = err_sys(err, -errno, "cannot put a file into '%s/%s'", images, folder);
    if (r < 0) {
        (void)unlinkat(dirfd, COPY_NAME, 0);             /* when only the last step failed */
        (void)unlinkat(images_fd, folder, AT_REMOVEDIR); /* empty again; otherwise it stays and says why */
        return r;
    }
    (void)snprintf(ret_path, PATH_MAX, "images/%s/%s", folder, COPY_NAME); /* bounded by its parts */
    return 0;
}

int image_copy(const char *root, const char *name, int in, uint64_t len, struct progress *p, char *ret_path,
               struct err *err)
{
    struct source s = {in, len, p};
    int r = image_make(root, name, fill_copy, &s, ret_path, err);
    progress_finish(p);
    return r;
}

int image_copy_remove(const char *root, const char *path)
{
    char full[PATH_MAX];
    struct err err;
    int r = root_path(root, path, full, &err);
    if (r < 0)
        return r;
    if (unlink(full) < 0 && errno != ENOENT)
        return -errno;
    char *slash = strrchr(full, '/');
    *slash = 0;
    (void)rmdir(full); /* other versions may live there */
    return 0;
}
