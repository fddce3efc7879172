/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of versions by their inode; see version-file.h. */
#include "gateway/version-file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/root.h"

int version_path(const char *root, const struct version_row *v, char *ret, struct err *err)
{
    if (v->path[0] != '/')
        return root_path(root, v->path, ret, err);
    memcpy(ret, v->path, strlen(v->path) + 1);
    return 0;
}

const char *version_state(const char *root, const struct version_row *v)
{
    char path[PATH_MAX];
    struct stat st;
    struct err err;
    if (version_path(root, v, path, &err) < 0)
        return "unreadable";
    if (stat(path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR ? "missing" : "unreadable";
    if (S_ISBLK(st.st_mode)) /* its size and time are not in the inode */
        return "ok";
    int64_t mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return (uint64_t)st.st_size == v->file_bytes && mtime_ns == v->mtime_ns ? "ok" : "changed";
}
