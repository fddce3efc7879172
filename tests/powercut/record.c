/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log and the calls that fill it; see record.h. */
#include "tests/powercut/record.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The names that programs with 64-bit offsets use are the same functions. */
#undef open
#undef openat
#undef pwrite
#undef ftruncate
#undef fallocate

#define FILES_MAX 65536

struct tracked {
    dev_t dev;
    ino_t ino;
    uint64_t id;
    bool is_dir, is_mute;
};

struct rec_log {
    pthread_mutex_t lock; /* protects all below; held over the recorded calls */
    size_t used, max;
    uint64_t last_words; /* records of `last_kinds` until the process dies, 0 = it does not */
    uint32_t last_kinds;
    bool is_over;
    uint64_t next_id;
    size_t n_files;
    char mute[32];
    struct tracked files[FILES_MAX];
    unsigned char bytes[];
};

static struct rec_log *active;

/* --- the log ------------------------------------------------------------------------------------------------------ */

void rec_mend(struct rec_log *l)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&l->lock, &a);
    pthread_mutexattr_destroy(&a);
    l->last_words = 0;
    l->is_over = false;
}

struct rec_log *rec_log_create(size_t max_bytes)
{
    struct rec_log *l =
        mmap(NULL, sizeof(*l) + max_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (l == MAP_FAILED) {
        perror("memory for the log");
        abort();
    }
    l->max = max_bytes;
    l->next_id = 1;
    rec_mend(l);
    return l;
}

void rec_log_destroy(struct rec_log *l)
{
    (void)munmap(l, sizeof(*l) + l->max); /* it is ours */
}

void rec_start(struct rec_log *l)
{
    active = l;
}

void rec_ignore_syncs(struct rec_log *l, const char *part)
{
    (void)snprintf(l->mute, sizeof(l->mute), "%s", part ? part : "");
}

const struct rec *rec_at(const struct rec_log *l, size_t pos, size_t *next)
{
    if (pos >= l->used)
        return NULL;
    const struct rec *r = (const struct rec *)(l->bytes + pos);
    *next = pos + r->bytes;
    return r;
}

static struct rec *add_locked(struct rec_log *l, enum rec_kind kind, const void *data, size_t len)
{
    size_t bytes = (sizeof(struct rec) + len + 15) / 16 * 16;
    if (l->used + bytes > l->max) {
        (void)fprintf(stderr, "the log is full\n");
        abort();
    }
    struct rec *r = (struct rec *)(l->bytes + l->used);
    memset(r, 0, sizeof(*r));
    r->kind = kind;
    r->bytes = (uint32_t)bytes;
    r->len = len;
    if (data)
        memcpy(r->data, data, len);
    l->used += bytes;
    if (l->last_words > 0 && l->last_kinds >> kind & 1)
        l->is_over = --l->last_words == 0;
    return r;
}

/* The records that were added are complete. */
static void unlock(struct rec_log *l)
{
    while (l->is_over)
        (void)raise(SIGKILL); /* it does not return */
    pthread_mutex_unlock(&l->lock);
}

/* One call in sixteen waits, for up to 400 us. */
static void dawdle(void)
{
    static _Thread_local uint64_t dice;
    if (dice == 0)
        dice = (uint64_t)gettid() * 0x9e3779b97f4a7c15;
    dice = dice * 6364136223846793005 + 1442695040888963407;
    if (dice >> 60 == 0)
        usleep((unsigned)(dice >> 32) % 400);
}

void rec_note(uint64_t kind, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct rec_log *l = active;
    if (!l)
        return;
    dawdle();
    pthread_mutex_lock(&l->lock);
    struct rec *r = add_locked(l, REC_NOTE, NULL, 0);
    r->note[0] = kind;
    r->note[1] = a;
    r->note[2] = b;
    r->note[3] = c;
    r->note[4] = d;
    unlock(l);
}

void rec_die_after(struct rec_log *l, uint32_t kinds, uint64_t n)
{
    l->last_kinds = kinds;
    l->last_words = n;
}

void rec_die(void)
{
    pthread_mutex_lock(&active->lock);
    for (;;)
        (void)raise(SIGKILL); /* it does not return */
}

/* --- which file is it --------------------------------------------------------------------------------------------- */

static const struct tracked *find_locked(const struct rec_log *l, const struct stat *st)
{
    for (size_t i = l->n_files; i-- > 0;)
        if (l->files[i].ino == st->st_ino && l->files[i].dev == st->st_dev)
            return &l->files[i];
    return NULL;
}

static uint64_t track_locked(struct rec_log *l, const struct stat *st, const char *name)
{
    if (l->n_files == FILES_MAX) {
        (void)fprintf(stderr, "too many files for the log\n");
        abort();
    }
    struct tracked *t = &l->files[l->n_files++];
    bool is_dir = S_ISDIR(st->st_mode);
    *t = (struct tracked){.dev = st->st_dev, .ino = st->st_ino, .id = l->next_id++, .is_dir = is_dir};
    t->is_mute = l->mute[0] && (is_dir ? strcmp(l->mute, "dir") == 0 : strstr(name, l->mute) != NULL);
    return t->id;
}

uint64_t rec_track(struct rec_log *l, int fd, const char *name)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        abort();
    return track_locked(l, &st, name);
}

static const struct tracked *of_fd(const struct rec_log *l, int fd)
{
    struct stat st;
    return l && fstat(fd, &st) == 0 ? find_locked(l, &st) : NULL;
}

/* The folder of @path, and its last part in *name. */
static const struct tracked *of_parent(const struct rec_log *l, int dirfd, const char *path, const char **name)
{
    struct stat st;
    char dir[4096];
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (!l || strlen(path) >= sizeof(dir))
        return NULL;
    (void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    return fstatat(dirfd, dir[0] ? dir : "/", &st, 0) == 0 ? find_locked(l, &st) : NULL;
}

static void set_name(char *to, const char *name)
{
    if (strlen(name) > REC_NAME_LEN)
        abort();
    strcpy(to, name);
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

static void note_open_locked(struct rec_log *l, int fd, int flags, bool is_new, const struct tracked *parent,
                             const char *name, off_t old_size)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return;
    if (is_new) {
        uint64_t dir = parent->id, id = track_locked(l, &st, name);
        struct rec *r = add_locked(l, REC_CREATE, NULL, 0);
        r->file = id;
        r->dir = dir;
        set_name(r->name, name);
    } else if ((flags & O_TRUNC) && old_size > 0 && find_locked(l, &st)) {
        add_locked(l, REC_SIZE, NULL, 0)->file = find_locked(l, &st)->id;
    }
}

static int do_open(int dirfd, const char *path, int flags, mode_t mode)
{
    struct rec_log *l = active;
    if (!l || !(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE)
        return (int)syscall(SYS_openat, dirfd, path, flags, mode);
    const char *name;
    struct stat st = {0};
    pthread_mutex_lock(&l->lock);
    const struct tracked *parent = of_parent(l, dirfd, path, &name);
    bool is_new = fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0;
    int fd = (int)syscall(SYS_openat, dirfd, path, flags, mode), e = errno;
    if (fd >= 0 && parent)
        note_open_locked(l, fd, flags, is_new, parent, name, st.st_size);
    unlock(l);
    errno = e;
    return fd;
}

static ssize_t do_write(int fd, const void *buf, size_t len, off_t off, bool is_at)
{
    struct rec_log *l = active;
    if (!l)
        return is_at ? syscall(SYS_pwrite64, fd, buf, len, off) : syscall(SYS_write, fd, buf, len);
    dawdle();
    pthread_mutex_lock(&l->lock);
    const struct tracked *t = of_fd(l, fd);
    if (t && !is_at)
        off = lseek(fd, 0, SEEK_CUR);
    ssize_t n = is_at ? syscall(SYS_pwrite64, fd, buf, len, off) : syscall(SYS_write, fd, buf, len);
    int e = errno;
    if (n > 0 && t) {
        struct rec *r = add_locked(l, REC_WRITE, buf, (size_t)n);
        r->file = t->id;
        r->off = (uint64_t)off;
    }
    unlock(l);
    errno = e;
    return n;
}

static int do_size(int fd, int mode, off_t off, off_t len)
{
    struct rec_log *l = active;
    bool is_truncate = mode < 0;
    if (l) {
        dawdle();
        pthread_mutex_lock(&l->lock);
    }
    int r = (int)(is_truncate ? syscall(SYS_ftruncate, fd, len) : syscall(SYS_fallocate, fd, mode, off, len)),
        e = errno;
    const struct tracked *t = r == 0 ? of_fd(l, fd) : NULL;
    if (t && (is_truncate || (mode & FALLOC_FL_PUNCH_HOLE))) {
        struct rec *rec = add_locked(l, is_truncate ? REC_SIZE : REC_PUNCH, NULL, 0);
        rec->file = t->id;
        rec->off = (uint64_t)off;
        rec->len = (uint64_t)len;
    }
    if (l)
        unlock(l);
    errno = e;
    return r;
}

static int do_sync(int fd)
{
    struct rec_log *l = active;
    if (!l)
        return 0; /* on tmpfs it does nothing */
    dawdle();
    pthread_mutex_lock(&l->lock);
    const struct tracked *t = of_fd(l, fd);
    uint64_t id = t && !t->is_mute ? t->id : 0, begin = l->used;
    if (id)
        add_locked(l, REC_SYNC_BEGIN, NULL, 0)->file = id;
    unlock(l);
    if (id)
        usleep((unsigned)(begin / 16 % 7) * 20);
    pthread_mutex_lock(&l->lock);
    if (id) {
        struct rec *r = add_locked(l, REC_SYNC_END, NULL, 0);
        r->file = id;
        r->off = begin;
    }
    unlock(l);
    dawdle();
    return 0;
}

static int do_rename(int from, const char *old, int to, const char *path)
{
    struct rec_log *l = active;
    if (!l)
        return (int)syscall(SYS_renameat, from, old, to, path);
    const char *name, *name2;
    pthread_mutex_lock(&l->lock);
    const struct tracked *dir = of_parent(l, from, old, &name), *dir2 = of_parent(l, to, path, &name2);
    int r = (int)syscall(SYS_renameat, from, old, to, path), e = errno;
    if (r == 0 && dir && dir2) {
        struct rec *rec = add_locked(l, REC_RENAME, NULL, 0);
        rec->dir = dir->id;
        rec->dir2 = dir2->id;
        set_name(rec->name, name);
        set_name(rec->name2, name2);
    }
    unlock(l);
    errno = e;
    return r;
}

static int do_unlink(int dirfd, const char *path, int flags)
{
    struct rec_log *l = active;
    if (!l)
        return (int)syscall(SYS_unlinkat, dirfd, path, flags);
    const char *name;
    pthread_mutex_lock(&l->lock);
    const struct tracked *dir = of_parent(l, dirfd, path, &name);
    int r = (int)syscall(SYS_unlinkat, dirfd, path, flags), e = errno;
    if (r == 0 && dir) {
        struct rec *rec = add_locked(l, REC_UNLINK, NULL, 0);
        rec->dir = dir->id;
        set_name(rec->name, name);
    }
    unlock(l);
    errno = e;
    return r;
}

static int do_mkdir(int dirfd, const char *path, mode_t mode)
{
    struct rec_log *l = active;
    struct stat st;
    if (!l)
        return (int)syscall(SYS_mkdirat, dirfd, path, mode);
    const char *name;
    pthread_mutex_lock(&l->lock);
    const struct tracked *parent = of_parent(l, dirfd, path, &name);
    uint64_t dir = parent ? parent->id : 0;
    int r = (int)syscall(SYS_mkdirat, dirfd, path, mode), e = errno;
    if (r == 0 && dir && fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        uint64_t id = track_locked(l, &st, name);
        struct rec *rec = add_locked(l, REC_MKDIR, NULL, 0);
        rec->file = id;
        rec->dir = dir;
        set_name(rec->name, name);
    }
    unlock(l);
    errno = e;
    return r;
}

static int do_link(int from, const char *old, int to, const char *path, int flags)
{
    struct rec_log *l = active;
    if (!l)
        return (int)syscall(SYS_linkat, from, old, to, path, flags);
    const char *name, *name2;
    pthread_mutex_lock(&l->lock);
    const struct tracked *dir = of_parent(l, from, old, &name), *dir2 = of_parent(l, to, path, &name2);
    int r = (int)syscall(SYS_linkat, from, old, to, path, flags), e = errno;
    if (r == 0 && dir && dir2) {
        struct rec *rec = add_locked(l, REC_LINK, NULL, 0);
        rec->dir = dir->id;
        rec->dir2 = dir2->id;
        set_name(rec->name, name);
        set_name(rec->name2, name2);
    }
    unlock(l);
    errno = e;
    return r;
}

/* --- their names -------------------------------------------------------------------------------------------------- */

/* Under these names the C library has them; its headers declare only some of them to a program like this. */
#define EXPORT(name) __asm__(name) __attribute__((visibility("default"), used))

int my_open(const char *path, int flags, ...) EXPORT("open");
int my_open64(const char *path, int flags, ...) EXPORT("open64");
int my_openat(int dirfd, const char *path, int flags, ...) EXPORT("openat");
int my_openat64(int dirfd, const char *path, int flags, ...) EXPORT("openat64");
ssize_t my_write(int fd, const void *buf, size_t len) EXPORT("write");
ssize_t my_pwrite(int fd, const void *buf, size_t len, off_t off) EXPORT("pwrite");
ssize_t my_pwrite64(int fd, const void *buf, size_t len, off_t off) EXPORT("pwrite64");
int my_ftruncate(int fd, off_t len) EXPORT("ftruncate");
int my_ftruncate64(int fd, off_t len) EXPORT("ftruncate64");
int my_fallocate(int fd, int mode, off_t off, off_t len) EXPORT("fallocate");
int my_fallocate64(int fd, int mode, off_t off, off_t len) EXPORT("fallocate64");
int my_fsync(int fd) EXPORT("fsync");
int my_fdatasync(int fd) EXPORT("fdatasync");
int my_rename(const char *old, const char *path) EXPORT("rename");
int my_renameat(int from, const char *old, int to, const char *path) EXPORT("renameat");
int my_linkat(int from, const char *old, int to, const char *path, int flags) EXPORT("linkat");
int my_unlink(const char *path) EXPORT("unlink");
int my_unlinkat(int dirfd, const char *path, int flags) EXPORT("unlinkat");
int my_mkdir(const char *path, mode_t mode) EXPORT("mkdir");
int my_mkdirat(int dirfd, const char *path, mode_t mode) EXPORT("mkdirat");

static mode_t mode_of(int flags, va_list args)
{
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? (mode_t)va_arg(args, unsigned) : 0;
}

#define OPEN_BODY(dirfd)                                                                                               \
    va_list args;                                                                                                      \
    va_start(args, flags);                                                                                             \
    mode_t mode = mode_of(flags, args);                                                                                \
    va_end(args);                                                                                                      \
    return do_open(dirfd, path, flags, mode)

int my_open(const char *path, int flags, ...)
{
    OPEN_BODY(AT_FDCWD);
}

int my_open64(const char *path, int flags, ...)
{
    OPEN_BODY(AT_FDCWD);
}

int my_openat(int dirfd, const char *path, int flags, ...)
{
    OPEN_BODY(dirfd);
}

int my_openat64(int dirfd, const char *path, int flags, ...)
{
    OPEN_BODY(dirfd);
}

ssize_t my_write(int fd, const void *buf, size_t len)
{
    return do_write(fd, buf, len, 0, false);
}

ssize_t my_pwrite(int fd, const void *buf, size_t len, off_t off)
{
    return do_write(fd, buf, len, off, true);
}

ssize_t my_pwrite64(int fd, const void *buf, size_t len, off_t off)
{
    return do_write(fd, buf, len, off, true);
}

int my_ftruncate(int fd, off_t len)
{
    return do_size(fd, -1, 0, len);
}

int my_ftruncate64(int fd, off_t len)
{
    return do_size(fd, -1, 0, len);
}

int my_fallocate(int fd, int mode, off_t off, off_t len)
{
    return do_size(fd, mode, off, len);
}

int my_fallocate64(int fd, int mode, off_t off, off_t len)
{
    return do_size(fd, mode, off, len);
}

int my_fsync(int fd)
{
    return do_sync(fd);
}

int my_fdatasync(int fd)
{
    return do_sync(fd);
}

int my_rename(const char *old, const char *path)
{
    return do_rename(AT_FDCWD, old, AT_FDCWD, path);
}

int my_renameat(int from, const char *old, int to, const char *path)
{
    return do_rename(from, old, to, path);
}

int my_linkat(int from, const char *old, int to, const char *path, int flags)
{
    return do_link(from, old, to, path, flags);
}

int my_unlink(const char *path)
{
    return do_unlink(AT_FDCWD, path, 0);
}

int my_unlinkat(int dirfd, const char *path, int flags)
{
    return do_unlink(dirfd, path, flags);
}

int my_mkdir(const char *path, mode_t mode)
{
    return do_mkdir(AT_FDCWD, path, mode);
}

int my_mkdirat(int dirfd, const char *path, mode_t mode)
{
    return do_mkdir(dirfd, path, mode);
}
