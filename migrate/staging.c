/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files before their transaction; see staging.h. */
#include "migrate/staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core/catalog-import.h"
#include "core/catalog.h"
#include "core/root.h"
#include "core/util.h"

#define IMPORTS     "imports"
#define PENDING     "pending"
#define PENDING_MAX (4 * MiB)
#define DIRS_MAX    1000
#define RETRIES     100
#define RETRY_US    100000

/* --- the pending file --------------------------------------------------------------------------------------------- */

static int open_imports(const char *root, struct err *err)
{
    char path[PATH_MAX];
    int r = root_path(root, IMPORTS, path, err);
    if (r < 0)
        return r;
    if (mkdir(path, 0750) < 0 && errno != EEXIST)
        return err_sys(err, -errno, "cannot make '%s'", path);
    return root_open_dir(root, IMPORTS, err);
}

static int store_pending(struct staging *s, struct err *err)
{
    _cleanup_close_ int dirfd = open_imports(s->root, err);
    if (dirfd < 0)
        return dirfd;
    int r = file_replace(dirfd, PENDING, s->pending, strlen(s->pending), 0640);
    return r < 0 ? err_sys(err, r, "cannot write '%s/" IMPORTS "/" PENDING "'", s->root) : 0;
}

static int add_line(struct staging *s, const char *kind, const char *rel, struct err *err)
{
    char *more = NULL;
    if (asprintf(&more, "%s%s %s\n", s->pending ? s->pending : "", kind, rel) < 0)
        return err_set(err, -ENOMEM, "memory is out");
    free(s->pending);
    s->pending = more;
    return store_pending(s, err);
}

/* --- working it off ----------------------------------------------------------------------------------------------- */

/* The folder of an image, with what an image is made of; 0 when it is gone. */
static int delete_folder(const char *root, const char *rel)
{
    char path[PATH_MAX];
    int r = root_path(root, rel, path, NULL);
    if (r < 0)
        return r;
    for (int i = 0; i < RETRIES; i++) { /* who makes the file may be on its way out */
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return errno == ENOENT ? 0 : -errno;
        (void)unlinkat(fd, "v1.raw", 0); /* one of them; rmdir() tells whether anything is left */
        (void)unlinkat(fd, ".v1.raw.tmp", 0);
        if (rmdir(path) == 0 || errno == ENOENT)
            return 0;
        (void)usleep(RETRY_US);
    }
    return -ENOTEMPTY;
}

int staging_delete_image(const char *root, const char *rel)
{
    char path[PATH_MAX];
    int r = root_path(root, rel, path, NULL);
    if (r < 0)
        return r;
    if (unlink(path) < 0 && errno != ENOENT)
        return -errno;
    *strrchr(path, '/') = 0;
    (void)rmdir(path); /* other versions may live there */
    return 0;
}

struct known {
    struct version_row *versions;
    struct import_run_row *runs;
    size_t n_versions, n_runs;
};

static bool is_folder_known(const struct known *k, const char *rel)
{
    size_t len = strlen(rel);
    for (size_t i = 0; i < k->n_versions; i++)
        if (strncmp(k->versions[i].path, rel, len) == 0 && k->versions[i].path[len] == '/')
            return true;
    return false;
}

static bool is_report_known(const struct known *k, const char *rel)
{
    for (size_t i = 0; i < k->n_runs; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), IMPORTS "/%lld.json", (long long)k->runs[i].id);
        if (strcmp(name, rel) == 0)
            return true;
    }
    return false;
}

static void work_off_line(const char *root, const struct known *k, char *line)
{
    char path[PATH_MAX];
    char *rel = strchr(line, ' ');
    if (!rel)
        return;
    *rel++ = 0;
    if (strcmp(line, "folder") == 0 && strncmp(rel, "images/", 7) == 0 && !strstr(rel, "..")) {
        if (!is_folder_known(k, rel))
            (void)delete_folder(root, rel); /* what cannot be deleted stays, as a folder that nobody refers to */
    } else if (strcmp(line, "file") == 0 && strncmp(rel, IMPORTS "/", 8) == 0 && !strstr(rel, "..")) {
        if (!is_report_known(k, rel) && root_path(root, rel, path, NULL) == 0)
            (void)unlink(path); /* likewise */
    }
}

static int load_known(const char *root, struct known *ret, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    int r = catalog_open(root, CATALOG_READ, &c, err);
    if (r == 0)
        r = version_list(c, NULL, &ret->versions, &ret->n_versions, err);
    return r < 0 ? r : import_run_list(c, &ret->runs, &ret->n_runs, err);
}

/* What a kill in the middle of file_replace() leaves. */
static void delete_temporaries(const char *root)
{
    char path[PATH_MAX];
    const struct dirent *e;
    DIR *dir = root_path(root, IMPORTS, path, NULL) == 0 ? opendir(path) : NULL;
    while (dir && (e = readdir(dir)))
        if (fnmatch("." PENDING ".*.tmp", e->d_name, 0) == 0)
            (void)unlinkat(dirfd(dir), e->d_name, 0); /* it is empty or a copy of what never counted */
    if (dir)
        (void)closedir(dir); /* read only */
}

/* Only with the lock held. */
static int work_off(const char *root, struct err *err)
{
    struct known k = {0};
    char path[PATH_MAX];
    _cleanup_free_ char *text = NULL;
    delete_temporaries(root);
    int r = root_path(root, IMPORTS "/" PENDING, path, err);
    if (r == 0)
        r = file_read(AT_FDCWD, path, PENDING_MAX, &text, NULL);
    if (r == -ENOENT)
        return 0;
    if (r == 0)
        r = load_known(root, &k, err);
    char *rest = r == 0 ? text : NULL;
    for (char *line; rest && (line = strsep(&rest, "\n"));)
        work_off_line(root, &k, line);
    free(k.versions);
    free(k.runs);
    if (r == 0 && unlink(path) < 0 && errno != ENOENT)
        r = -errno;
    return r < 0 ? err_prefix(err, r, "cannot clean up after an import that was cut short") : 0;
}

/* --- the helper --------------------------------------------------------------------------------------------------- */

/* A copy of a process that has a catalog open must not open one: SQLite's own memory says to it that it is the writer that died, and it would not
 * see what that one has just committed. So it becomes a fresh process. */
static _Noreturn void guard_work(const char *root)
{
    char *const args[] = {(char[]){"diskgate-migrate"}, (char[]){STAGING_CLEAN_UP}, (char *)root, NULL};
    (void)execv("/proc/self/exe", args);
    _exit(1); /* the next import does it */
}

int staging_clean_up(const char *root)
{
    _cleanup_close_ int lock = root_lock(root, "import.lock", 10000, NULL);
    return lock < 0 ? lock : work_off(root, NULL); /* what is left waits for the next import */
}

static _Noreturn void guard(const char *root, int pipe_r)
{
    char byte = 0;
    int null = open("/dev/null", O_RDWR), fd = fcntl(pipe_r, F_DUPFD, 3);
    sigset_t all;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    if (null < 0 || fd < 0 || dup2(fd, 3) < 0)
        _exit(1);
    for (int i = 0; i < 3; i++)
        (void)dup2(null, i); /* whoever waits for our output shall not wait for us */
    (void)syscall(SYS_close_range, 4, ~0U, 0);
    (void)chdir("/"); /* only so that no file system is held */
    ssize_t n;
    while ((n = read(3, &byte, 1)) < 0 && errno == EINTR)
        ;
    if (n == 1)
        _exit(0);
    guard_work(root);
}

static int start_guard(struct staging *s, struct err *err)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot begin the import");
    pid_t pid = fork();
    if (pid == 0) {
        (void)setsid();
        (void)close(p[1]);
        (void)close(s->lock);
        if (fork() == 0)
            guard(s->root, p[0]);
        _exit(0);
    }
    (void)close(p[0]);
    s->guard = p[1];
    if (pid < 0)
        return err_sys(err, -errno, "cannot begin the import");
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return 0;
}

static void end_guard(struct staging *s)
{
    if (s->guard >= 0)
        (void)!write(s->guard, "k", 1); /* a helper that is gone needs no word */
    closep(&s->guard);
    s->guard = -1;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

int staging_open(struct staging *s, const char *root, struct err *err)
{
    *s = (struct staging){.lock = -1, .guard = -1};
    (void)snprintf(s->root, sizeof(s->root), "%s", root);
    s->lock = root_lock(root, "import.lock", 0, err);
    if (s->lock == -EBUSY)
        return err_set(err, -EBUSY, "another import is running in '%s': wait for its end", root);
    if (s->lock < 0)
        return s->lock;
    int r = work_off(root, err);
    return r < 0 ? r : start_guard(s, err);
}

int staging_folder(struct staging *s, const char *name, char *ret, struct err *err)
{
    char path[PATH_MAX];
    for (int i = 1; i < DIRS_MAX; i++) {
        int n = i == 1 ? snprintf(ret, PATH_MAX, "images/%s", name) : snprintf(ret, PATH_MAX, "images/%s.%d", name, i);
        int r = n < 0 ? -EINVAL : root_path(s->root, ret, path, err);
        if (r < 0)
            return r;
        if (access(path, F_OK) == 0)
            continue;
        size_t before = s->pending ? strlen(s->pending) : 0;
        r = add_line(s, "folder", ret, err);
        if (r < 0)
            return r;
        if (mkdir(path, 0755) == 0)
            return 0;
        if (errno != EEXIST)
            return err_sys(err, -errno, "cannot make the folder '%s'", path);
        s->pending[before] = 0; /* it is not ours */
        r = store_pending(s, err);
        return r < 0 ? r : err_set(err, -EBUSY, "'%s' was made by another command just now: try again", path);
    }
    return err_set(err, -EEXIST, "every folder that begins with '%s' is taken", name);
}

int staging_file(struct staging *s, const char *rel, struct err *err)
{
    return add_line(s, "file", rel, err);
}

int staging_drop(struct staging *s, const char *rel, struct err *err)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(rel, '/');
    if (!slash || snprintf(dir, sizeof(dir), "%.*s", (int)(slash - rel), rel) >= (int)sizeof(dir))
        return err_set(err, -EINVAL, "'%s' is no image's file in '%s'", rel, s->root);
    return add_line(s, "folder", dir, err);
}

void staging_keep(struct staging *s)
{
    char path[PATH_MAX];
    if (root_path(s->root, IMPORTS "/" PENDING, path, NULL) == 0)
        (void)unlink(path); /* when it stays, the next import finds everything in the catalog */
    free(s->pending);
    s->pending = NULL;
}

void staging_close(struct staging *s)
{
    if (s->pending)
        (void)work_off(s->root, NULL); /* what is left waits for the next import */
    free(s->pending);
    s->pending = NULL;
    end_guard(s);
    closep(&s->lock);
    s->lock = -1;
}
