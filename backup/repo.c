/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening a repository, its lock and its reserve; see repo.h. Making one is in repo-init.c. */
#include "backup/repo-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "core/clock.h"
#include "core/util.h"

const char *const repo_folders[] = {"packs", "sets", "trash", "quarantine", "tmp", NULL};

const struct repo_format *repo_format(const struct repo *r)
{
    return &r->format;
}

const char *repo_path(const struct repo *r)
{
    return r->path;
}

int repo_dirfd(const struct repo *r)
{
    return r->dirfd;
}

bool repo_can_write(const struct repo *r)
{
    return r->mode == REPO_WRITE;
}

/* --- what is there ------------------------------------------------------------------------------------------------- */

static int open_folder(struct repo *r, const char *path, struct err *err)
{
    r->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->dirfd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return err_set(err, -ENOMEDIUM,
                       "there is no repository '%s': is its disk mounted? ('diskgate backup init' makes a new one)",
                       path);
    if (r->dirfd < 0)
        return err_sys(err, -errno, "cannot open the repository '%s'", path);
    if (!realpath(path, r->path))
        return err_sys(err, -errno, "cannot tell where '%s' is", path);
    return 0;
}

static bool has_files(const struct repo *r, const char *folder)
{
    int fd = openat(r->dirfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
    bool found = false;
    for (const struct dirent *e; d && !found && (e = readdir(d));)
        found = e->d_name[0] != '.';
    return found;
}

static int no_format(const struct repo *r, struct err *err)
{
    if (has_files(r, "packs") && faccessat(r->dirfd, "sets", F_OK, 0) == 0)
        return err_set(err, -EBADMSG,
                       "the repository '%s' has lost its file 'format'; 'diskgate backup repair %s' writes it again "
                       "from the packs",
                       r->path, r->path);
    return err_set(err, -ENOMEDIUM, "'%s' is no backup repository: it has no file 'format'; is its disk mounted?",
                   r->path);
}

static int read_format(struct repo *r, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    char what[PATH_MAX + 32];
    size_t len;
    int e = file_read(r->dirfd, "format", REPO_FORMAT_LEN, &text, &len);
    if (e == -ENOENT)
        return no_format(r, err);
    (void)snprintf(what, sizeof(what), "the file '%s/format'", r->path);
    if (e == -EFBIG)
        return err_set(err, -EBADMSG, "%s is damaged: it is far too long", what);
    if (e < 0)
        return err_sys(err, e, "cannot read %s", what);
    e = repo_format_decode(text, len, what, &r->format, err);
    if (e == -EBADMSG)
        (void)snprintf(err->msg + strlen(err->msg), sizeof(err->msg) - strlen(err->msg),
                       "; 'diskgate backup repair' writes it again from the packs"); /* cut where there is no room */
    return e;
}

int repo_is_there(const struct repo *r, struct err *err)
{
    struct stat was, is;
    if (fstat(r->dirfd, &was) == 0 && was.st_nlink > 0 && stat(r->path, &is) == 0 && is.st_dev == was.st_dev &&
        is.st_ino == was.st_ino && faccessat(r->dirfd, "format", F_OK, 0) == 0)
        return 0;
    return err_set(err, -ENOMEDIUM, "the repository '%s' went away while we worked: its disk was unmounted or pulled",
                   r->path);
}

/* --- the lock ------------------------------------------------------------------------------------------------------ */

static int say_locked(struct repo *r, struct err *err)
{
    _cleanup_free_ char *who = NULL;
    if (file_read(r->dirfd, "lock", 128, &who, NULL) < 0 || !*who)
        return err_set(err, -EBUSY, "the repository '%s' is in use by another backup, prune or reader; try again later",
                       r->path);
    who[strcspn(who, "\n")] = 0;
    return err_set(err, -EBUSY, "the repository '%s' is in use: %s; try again when that has ended", r->path, who);
}

static int take_lock(struct repo *r, int fd, int how, int wait_ms, struct err *err)
{
    int64_t end = clock_ms() + wait_ms;
    while (flock(fd, how | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(err, -errno, "cannot lock the repository '%s'", r->path);
        if (wait_ms >= 0 && clock_ms() >= end)
            return say_locked(r, err);
        if (usleep(100000) < 0)
            return err_set(err, -EINTR, "interrupted while waiting for the repository '%s'", r->path);
    }
    return 0;
}

/* For the sentence that somebody else gets; the lock itself does not need it. */
static void sign_lock(const struct repo *r, const char *verb)
{
    char text[128], since[32];
    time_text(since, sizeof(since), (int64_t)time(NULL));
    int n = snprintf(text, sizeof(text), "'%s' by process %d since %s\n", verb, (int)getpid(), since);
    if (ftruncate(r->lockfd, 0) == 0)
        (void)pwrite_full(r->lockfd, text, (size_t)n, 0); /* a full disk must not keep prune from its work */
}

static int lock_writer(struct repo *r, int wait_ms, const char *verb, struct err *err)
{
    r->lockfd = openat(r->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (r->lockfd < 0)
        return err_sys(err, -errno, "cannot write to the repository '%s'", r->path);
    int e = take_lock(r, r->lockfd, LOCK_EX, wait_ms, err);
    if (e == 0) {
        r->is_locked = true;
        sign_lock(r, verb);
    }
    return e;
}

/* On a read-only disk nobody prunes, so a reader has nobody to fear and needs no file to lock. */
static int lock_reader(struct repo *r, int wait_ms, struct err *err)
{
    r->readfd = openat(r->dirfd, "read.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (r->readfd < 0)
        r->readfd = openat(r->dirfd, "read.lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return r->readfd < 0 ? 0 : take_lock(r, r->readfd, LOCK_SH, wait_ms, err);
}

int repo_exclude_readers(struct repo *r, int wait_ms, struct err *err)
{
    if (r->readfd >= 0)
        return 0;
    int fd = openat(r->dirfd, "read.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, -errno, "cannot write to the repository '%s'", r->path);
    int e = take_lock(r, fd, LOCK_EX, wait_ms, err);
    if (e < 0) {
        (void)close(fd); /* it is empty */
        return e == -EBUSY ? err_set(err, e, "somebody is reading the repository '%s'; try again later", r->path) : e;
    }
    r->readfd = fd;
    return 0;
}

void repo_unlock(struct repo *r)
{
    if (r->lockfd >= 0)
        (void)close(r->lockfd); /* read only, or a note that nobody needs any more */
    if (r->readfd >= 0)
        (void)close(r->readfd); /* it is empty */
    r->lockfd = r->readfd = -1;
    r->is_locked = false;
}

/* --- open and close ------------------------------------------------------------------------------------------------ */

/* What a copy without empty folders lacks; what a crash left. */
static int clean_up(struct repo *r, struct err *err)
{
    for (const char *const *f = repo_folders; *f; f++)
        if (mkdirat(r->dirfd, *f, 0700) < 0 && errno != EEXIST)
            return err_sys(err, -errno, "cannot make '%s/%s'", r->path, *f);
    int e = repo_remove(r, "tmp", err);
    if (e == 0 && mkdirat(r->dirfd, "tmp", 0700) < 0)
        e = err_sys(err, -errno, "cannot make '%s/tmp'", r->path);
    return e < 0 ? e : repo_sync_dir(r, ".", err);
}

int repo_open(const char *path, enum repo_mode mode, int wait_ms, const char *verb, struct repo **ret, struct err *err)
{
    _cleanup_(repo_closep) struct repo *r = calloc(1, sizeof(*r));
    if (!r)
        return err_set(err, -ENOMEM, "memory is out");
    r->dirfd = r->lockfd = r->readfd = -1;
    r->mode = mode;
    int e = open_folder(r, path, err);
    if (e == 0)
        e = read_format(r, err);
    if (e == 0)
        e = mode == REPO_WRITE ? lock_writer(r, wait_ms, verb, err) : lock_reader(r, wait_ms, err);
    if (e == 0 && mode == REPO_WRITE)
        e = clean_up(r, err);
    if (e == 0)
        *ret = take_ptr(r);
    return e;
}

void repo_close(struct repo *r)
{
    if (!r)
        return;
    if (r->mode == REPO_WRITE && r->is_locked)
        (void)!ftruncate(r->lockfd, 0); /* its note is for others, and the lock counts */
    repo_unlock(r);
    if (r->dirfd >= 0)
        (void)close(r->dirfd); /* a folder */
    free(r);
}

/* --- the reserve --------------------------------------------------------------------------------------------------- */

int repo_reserve_release(struct repo *r)
{
    return unlinkat(r->dirfd, "reserve", 0) < 0 && errno != ENOENT ? -errno : 0;
}

int repo_reserve_take(struct repo *r)
{
    struct stat st;
    if (fstatat(r->dirfd, "reserve", &st, AT_SYMLINK_NOFOLLOW) == 0 && (uint64_t)st.st_size >= REPO_RESERVE_BYTES)
        return 0;
    _cleanup_close_ int fd = openat(r->dirfd, "reserve", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int e = -ENOSPC;
    for (uint64_t bytes = REPO_RESERVE_BYTES; e == -ENOSPC && bytes >= MiB; bytes /= 2) /* what there is room for */
        e = fallocate(fd, 0, 0, (off_t)bytes) < 0 ? -errno : 0;
    if (e < 0)
        (void)unlinkat(r->dirfd, "reserve", 0); /* an empty one is none */
    return e == -EOPNOTSUPP ? 0 : e;
}
