/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a repository. The format file comes last: a folder without it is none, and init may begin again over what an interrupted
 * init left. */
#include "backup/repo-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "backup/chunk.h"
#include "core/util.h"

static int sync_fd(int fd)
{
    return fsync(fd) < 0 ? -errno : 0;
}

/* Files that init makes before the format file, besides the folders. */
static bool is_of_init(const char *name)
{
    static const char *const files[] = {"README.txt", "restore.sh", "reserve", "lock", "read.lock",
                                        "lost+found", ".",          "..",      NULL};
    for (const char *const *f = files; *f; f++)
        if (strcmp(name, *f) == 0)
            return true;
    for (const char *const *f = repo_folders; *f; f++)
        if (strcmp(name, *f) == 0)
            return true;
    return name[0] == '.' && strstr(name, ".tmp") != NULL; /* of file_replace() */
}

static int count_names(int dirfd, const char *folder, bool (*is_known)(const char *name))
{
    int fd = openat(dirfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;
    _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return errno == ENOENT ? 0 : -errno;
    errno = 0;
    for (const struct dirent *e; (e = readdir(d)); errno = 0)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !(is_known && is_known(e->d_name));
    return errno ? -errno : n;
}

static int check_empty(int dirfd, const char *path, struct err *err)
{
    if (faccessat(dirfd, "format", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return err_set(err, -EEXIST, "there is a repository in '%s' already", path);
    int strange = count_names(dirfd, ".", is_of_init), sets = count_names(dirfd, "sets", NULL),
        packs = count_names(dirfd, "packs", NULL);
    if (strange < 0 || sets < 0 || packs < 0)
        return err_sys(err, MIN(strange, MIN(sets, packs)), "cannot list '%s'", path);
    if (sets > 0 || packs > 0)
        return err_set(err, -EEXIST,
                       "'%s' holds backups but no file 'format'; 'diskgate backup repair %s' writes it again", path,
                       path);
    if (strange > 0)
        return err_set(err, -EEXIST, "the folder '%s' is not empty; a repository needs one of its own", path);
    return 0;
}

static int put_text(int dirfd, const char *path, const char *name, const char *text, unsigned mode, struct err *err)
{
    int e = file_replace(dirfd, name, text, strlen(text), mode);
    return e < 0 ? err_sys(err, e, "cannot write '%s/%s'", path, name) : 0;
}

int repo_furnish(int dirfd, const struct repo_format *f, const char *path, struct err *err)
{
    (void)f; /* the texts are the same for all */
    for (const char *const *folder = repo_folders; *folder; folder++)
        if (mkdirat(dirfd, *folder, 0700) < 0 && errno != EEXIST)
            return err_sys(err, -errno, "cannot make '%s/%s'", path, *folder);
    int e = put_text(dirfd, path, "README.txt", repo_readme_text, 0600, err);
    if (e == 0)
        e = put_text(dirfd, path, "restore.sh", repo_restore_text, 0700, err);
    return e;
}

static int put_format(int dirfd, const char *path, const struct repo_format *f, struct err *err)
{
    char text[REPO_FORMAT_LEN];
    repo_format_encode(f, text);
    int e = sync_fd(dirfd);
    return e < 0 ? err_sys(err, e, "cannot make '%s' durable", path) : put_text(dirfd, path, "format", text, 0600, err);
}

static int choose(const struct repo_params *p, struct repo_format *f, struct err *err)
{
    f->chunk_bytes = p->chunk_bytes ? p->chunk_bytes : CHUNK_BYTES_DEFAULT;
    f->pack_bytes = p->pack_bytes ? p->pack_bytes : REPO_PACK_BYTES_DEFAULT;
    f->created_s = (int64_t)time(NULL);
    if (!chunk_bytes_ok(f->chunk_bytes))
        return err_set(err, -EINVAL, "the size of a chunk must be 64k, 128k, 256k, 512k, 1M, 2M or 4M");
    if (f->pack_bytes < REPO_PACK_BYTES_MIN || f->pack_bytes > REPO_PACK_BYTES_MAX)
        return err_set(err, -EINVAL, "the size of a pack must be 256k to 1G");
    int e = uuid_new(f->id);
    return e < 0 ? err_sys(err, e, "cannot make an id for the repository") : 0;
}

/* The folder itself, durable in its parent. */
static int make_folder(const char *path, struct err *err)
{
    char parent[PATH_MAX];
    if (mkdir(path, 0700) < 0)
        return errno == EEXIST ? 0 : err_sys(err, -errno, "cannot make the folder '%s'", path);
    if (snprintf(parent, sizeof(parent), "%s/..", path) >= (int)sizeof(parent))
        return err_set(err, -ENAMETOOLONG, "the path '%s' is too long", path);
    _cleanup_close_ int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int e = fd < 0 ? -errno : sync_fd(fd);
    return e < 0 ? err_sys(err, e, "cannot make '%s' durable", path) : 0;
}

/* A disk that has no room for it now will never have it when it counts. */
static int take_whole_reserve(struct repo *r)
{
    struct stat st;
    int e = repo_reserve_take(r);
    if (e == 0 && fstatat(r->dirfd, "reserve", &st, 0) == 0 && (uint64_t)st.st_size < REPO_RESERVE_BYTES)
        e = -ENOSPC;
    if (e < 0)
        (void)repo_reserve_release(r); /* it would fill the disk for nobody */
    return e;
}

int repo_init(const char *path, const struct repo_params *params, struct err *err)
{
    struct repo_format f = {0};
    int e = choose(params, &f, err);
    if (e == 0)
        e = make_folder(path, err);
    if (e < 0)
        return e;
    struct repo r = {.dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), .lockfd = -1, .readfd = -1};
    if (r.dirfd < 0)
        return err_sys(err, -errno, "cannot open '%s'", path);
    e = check_empty(r.dirfd, path, err);
    if (e == 0)
        e = repo_furnish(r.dirfd, &f, path, err);
    if (e == 0 && !params->has_no_reserve && (e = take_whole_reserve(&r)) < 0)
        err_set(err, e, "cannot keep %llu MiB in reserve in '%s' (%s); a larger disk is what it needs, or --no-reserve",
                REPO_RESERVE_BYTES >> 20, path, strerror(-e));
    if (e == 0)
        e = put_format(r.dirfd, path, &f, err);
    (void)close(r.dirfd); /* a folder */
    return e;
}
