/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chains of differencing VHDs into one raw file; see flatten.h. What is zero is left a hole. */
#include "gateway/flatten.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "core/util.h"
#include "gateway/copy.h"

#define PIECE_BYTES (1 * MiB)
#define GRAIN_BYTES (64 * KiB)

int flatten_is_needed(int fd, const char *path, struct err *err)
{
    struct vhd_link *link = malloc(sizeof(*link));
    if (!link)
        return err_set(err, -ENOMEM, "memory is out");
    int r = vhd_link_read(fd, path, link, err);
    bool is_differencing = r == 0 && link->is_differencing;
    free(link);
    return r == 0 ? is_differencing : r == -ENODATA || r == -EBADMSG || r == -EOPNOTSUPP ? 0 : r;
}

/* --- parents beside it -------------------------------------------------------------------------------------------- */

struct family {
    const char *paths[VHD_CHAIN_MAX + 1];
    size_t n;
    char folder[PATH_MAX];
};

static const char *last_part(const char *name)
{
    const char *a = strrchr(name, '/'), *b = strrchr(name, '\\');
    return a > b ? a + 1 : b ? b + 1 : name;
}

static bool has_id(const char *path, const unsigned char *id)
{
    struct vhd_link *link = malloc(sizeof(*link));
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool fits = link && fd >= 0 && vhd_link_read(fd, path, link, NULL) == 0 && memcmp(link->id, id, 16) == 0;
    free(link);
    return fits;
}

/* The parent of the last file by one of its names. False when it is not there. */
static bool add_beside(struct family *f, const struct vhd_link *child)
{
    for (size_t i = 0; i < child->n_names; i++) {
        char path[PATH_MAX];
        const char *name = last_part(child->names[i]);
        if (!*name || strcmp(name, "..") == 0 ||
            snprintf(path, sizeof(path), "%s/%s", f->folder, name) >= (int)sizeof(path) ||
            !has_id(path, child->parent_id))
            continue;
        f->paths[f->n] = strdup(path);
        return f->paths[f->n] && ++f->n;
    }
    return false;
}

static void look_beside(struct family *f)
{
    struct vhd_link *link = malloc(sizeof(*link));
    bool goes_on = link != NULL;
    while (goes_on && f->n < VHD_CHAIN_MAX) {
        const char *path = f->paths[f->n - 1];
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        goes_on = fd >= 0 && vhd_link_read(fd, path, link, NULL) == 0 && link->is_differencing && add_beside(f, link);
    }
    free(link);
}

int flatten_open(const char *path, const char *const *parents, struct vhd_chain **ret, struct err *err)
{
    struct family f = {.paths = {path}, .n = 1};
    if (*parents) {
        while (*parents && f.n < VHD_CHAIN_MAX)
            f.paths[f.n++] = *parents++;
        return vhd_chain_open(f.paths, f.n, ret, err);
    }
    (void)snprintf(f.folder, sizeof(f.folder), "%s", path); /* a real path */
    char *slash = strrchr(f.folder, '/');
    if (slash)
        *slash = 0;
    look_beside(&f);
    int r = vhd_chain_open(f.paths, f.n, ret, err);
    while (f.n > 1)
        free((char *)(uintptr_t)f.paths[--f.n]);
    return r;
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

struct filling {
    struct vhd_chain *c;
    struct progress *p;
};

static int write_piece(int out, const char *buf, size_t len, uint64_t off)
{
    for (size_t done = 0, n; done < len; done += n) {
        n = MIN(len - done, (size_t)GRAIN_BYTES);
        int r = is_zero(buf + done, n) ? 0 : pwrite_full(out, buf + done, n, off + done);
        if (r < 0)
            return r;
    }
    return 0;
}

static int fill(int out, void *arg, struct err *err)
{
    const struct filling *f = arg;
    uint64_t size = vhd_chain_size(f->c);
    _cleanup_free_ char *buf = malloc(PIECE_BYTES);
    if (!buf)
        return err_set(err, -ENOMEM, "memory is out");
    if (ftruncate(out, (off_t)size) < 0)
        return err_sys(err, -errno, "cannot make a disk of this size in the root");
    for (uint64_t off = 0; off < size; off += PIECE_BYTES) {
        size_t len = MIN(size - off, PIECE_BYTES);
        int r = vhd_chain_read(f->c, buf, len, off, err);
        if (r < 0)
            return r;
        if (interrupts_came())
            return err_set(err, -EINTR, "interrupted, nothing was made");
        r = write_piece(out, buf, len, off);
        if (r < 0)
            return err_sys(err, r, "cannot write the image into the root");
        progress_update(f->p, off + len, size);
    }
    return vhd_chain_check_unchanged(f->c, err);
}

int flatten_make(const char *root, const char *name, struct vhd_chain *c, struct progress *p, char *ret_path,
                 struct err *err)
{
    struct filling f = {c, p};
    int r = image_make(root, name, fill, &f, ret_path, err);
    progress_finish(p);
    return r;
}
