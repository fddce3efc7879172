/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mount, look for file systems, run their checkers; see verify-test.h. */
#include "backup/verify-test.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define MOUNT_WAIT_MS 30000
#define PAUSE_MS      20
#define WORDS_MAX     6
#define SAID_MAX      4096

static const struct checker {
    const char *type;
    const char *words[WORDS_MAX]; /* the file comes behind them */
    int dirty;                    /* exit status bits that a file system in use may give */
    const char *dirty_words;      /* and what it says then; NULL: a status alone says nothing */
    const char *bad_words;        /* with these it is damaged all the same; may be NULL */
} checkers[] = {
    {"ext4", {"e2fsck", "-fn"}, 4, "skipping journal recovery", NULL},
    {"ext3", {"e2fsck", "-fn"}, 4, "skipping journal recovery", NULL},
    {"ext2", {"e2fsck", "-fn"}, 0, NULL, NULL},
    {"ntfs", {"ntfsfix", "-n"}, ~0, "unclean", "corrupt"},
    {"vfat", {"fsck.fat", "-n"}, 1, "Dirty bit is set", NULL},
    {"xfs",
     {"xfs_repair", "-n", "-f"},
     ~0,
     "valuable metadata changes in a log",
     NULL}, /* "log" alone it always says */
    {"btrfs", {"btrfs", "check", "--readonly"}, 0, NULL, NULL},
};

/* --- the mount --------------------------------------------------------------------------------------------------- */

struct point {
    char dir[64];
    pid_t pid;
};

static bool is_mounted(const char *dir)
{
    struct stat at, above;
    char parent[80];
    (void)snprintf(parent, sizeof(parent), "%s/..", dir); /* fits */
    return stat(dir, &at) == 0 && stat(parent, &above) == 0 && at.st_dev != above.st_dev;
}

static void pause_ms(long ms)
{
    const struct timespec t = {.tv_nsec = ms * 1000000L};
    (void)nanosleep(&t, NULL); /* a signal makes it shorter, no more */
}

static void point_finish(struct point *p)
{
    if (p->pid > 0) {
        if (umount2(p->dir, MNT_DETACH) < 0) /* then the server ends by itself; else it is ended */
            (void)kill(p->pid, SIGTERM);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (p->dir[0])
        (void)rmdir(p->dir); /* empty */
}

static void run_server(const struct verify *v, const struct verify_set *s, const char *dir)
{
    (void)signal(SIGINT, SIG_IGN); /* of the terminal: we end it in order */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)execl("/proc/self/exe", "diskgate-backup", "mount", repo_path(reader_repo(v->reader)), s->info->id, dir,
                "--foreground", (char *)NULL);
    _exit(127);
}

static int point_begin(struct point *p, const struct verify *v, const struct verify_set *s, struct err *err)
{
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/diskgate-verify-XXXXXX"); /* fits */
    if (!mkdtemp(p->dir)) {
        p->dir[0] = 0;
        return err_sys(err, -errno, "cannot make a folder for the restore test");
    }
    p->pid = fork();
    if (p->pid == 0)
        run_server(v, s, p->dir);
    if (p->pid < 0)
        return err_sys(err, -errno, "cannot start the restore test");
    for (int waited = 0; waited < MOUNT_WAIT_MS && !is_mounted(p->dir); waited += PAUSE_MS) {
        int status;
        if (waitpid(p->pid, &status, WNOHANG) == p->pid) {
            p->pid = -1;
            return err_set(err, -EIO, "the set cannot be mounted for the restore test");
        }
        pause_ms(PAUSE_MS);
    }
    return is_mounted(p->dir) ? 0 : err_set(err, -ETIMEDOUT, "the mount for the restore test takes too long");
}

/* --- one file system --------------------------------------------------------------------------------------------- */

/* libblkid takes an NTFS without its first record for none at all: that is the damage that is looked for. */
static bool was_ntfs(const char *path)
{
    char boot[11];
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && pread_full(fd, boot, sizeof(boot), 0) == 0 && memcmp(boot + 3, "NTFS    ", 8) == 0;
}

/* "ext4", or "" where there is none that is known. */
static void find_type(const char *path, char *ret, size_t room)
{
    const char *type = NULL;
    ret[0] = 0;
    blkid_probe probe = blkid_new_probe_from_filename(path);
    if (!probe)
        return;
    (void)blkid_probe_enable_superblocks(probe, 1); /* these cannot fail for a fresh probe */
    (void)blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE);
    if (blkid_do_safeprobe(probe) == 0 && blkid_probe_lookup_value(probe, "TYPE", &type, NULL) == 0)
        (void)snprintf(ret, room, "%s", type);
    else if (was_ntfs(path))
        (void)snprintf(ret, room, "ntfs");
    blkid_free_probe(probe);
}

/* Exit status, 127 where there is no such program; what it said into @said. */
static int run_checker(const struct checker *c, const char *path, char *said)
{
    const char *words[WORDS_MAX + 2];
    size_t n = 0, len = 0;
    int out[2], status = 0;
    while (n < WORDS_MAX && c->words[n]) {
        words[n] = c->words[n];
        n++;
    }
    words[n++] = path;
    words[n] = NULL;
    said[0] = 0;
    if (pipe2(out, O_CLOEXEC) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDONLY);
        if (null < 0 || dup2(null, 0) < 0 || dup2(out[1], 1) < 0 || dup2(out[1], 2) < 0)
            _exit(126);
        (void)setenv("LC_ALL", "C", 1); /* its words are looked at */
        (void)execvp(words[0], (char *const *)words);
        _exit(127);
    }
    (void)close(out[1]); /* the child's */
    for (ssize_t got = 1; pid > 0 && got != 0;) {
        char piece[512];
        got = read(out[0], piece, sizeof(piece));
        if (got < 0 && errno != EINTR)
            break;
        size_t take = got > 0 ? MIN((size_t)got, SAID_MAX - len) : 0;
        memcpy(said + len, piece, take);
        len += take;
    }
    said[len] = 0;
    (void)close(out[0]); /* read only */
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const struct checker *find_checker(const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(checkers); i++)
        if (strcmp(checkers[i].type, type) == 0)
            return &checkers[i];
    return NULL;
}

/* "good", "in use", "damaged", "not checked" */
static const char *check_file(const char *path, const char *type, char *said)
{
    const struct checker *c = find_checker(type);
    said[0] = 0;
    int status = c ? run_checker(c, path, said) : 127;
    if (!c)
        (void)snprintf(said, SAID_MAX, "%s", *type ? "there is no program for it" : "no file system is known in it");
    else if (status == 127)
        (void)snprintf(said, SAID_MAX, "%s is not installed", c->words[0]);
    if (status == 127 || status < 0)
        return "not checked";
    if (status == 0)
        return "good";
    if (c->dirty_words && strstr(said, c->dirty_words) && (status & ~c->dirty) == 0 &&
        !(c->bad_words && strstr(said, c->bad_words)))
        return "in use";
    return "damaged";
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

static void test_file(struct verify *v, const struct verify_set *s, const char *path, const char *name)
{
    char type[32], said[SAID_MAX + 1];
    find_type(path, type, sizeof(type));
    const char *result = check_file(path, type, said);
    size_t len = strlen(said);
    while (len > 0 && said[len - 1] == '\n')
        said[--len] = 0;
    const char *last = strrchr(said, '\n');
    (void)json_array_append_new(v->report->tests,
                                json_pack("{ss ss ss ss*}", "file", name, "file_system", type, "result", result,
                                          "detail", last ? last + 1 : said)); /* missing without memory or as UTF-8 */
    if (strcmp(result, "damaged") == 0)
        verify_problem(v, "set %s: the file system (%s) of %s is damaged: %.300s", s->info->id, type, name,
                       last ? last + 1 : said);
}

/* Partitions; the whole disk where it has none. */
static int test_folder(struct verify *v, const struct verify_set *s, const char *top, const char *dir, const char *disk,
                       struct err *err)
{
    char prefix[32], path[PATH_MAX + 300];
    size_t tested = 0;
    (void)snprintf(prefix, sizeof(prefix), "%.*sp", (int)(strlen(disk) - 3),
                   disk); /* "disk.img" -> "disk.p": see below */
    const char *begin = strcmp(disk, "disk.img") == 0 ? "p" : prefix;
    _cleanup_closedir_ DIR *d = opendir(dir);
    if (!d)
        return err_sys(err, -errno, "cannot list '%s'", dir);
    for (const struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, begin, strlen(begin)) != 0 || (v->work->stop && *v->work->stop))
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name); /* short names */
        test_file(v, s, path, path + strlen(top) + 1);
        tested++;
    }
    if (tested == 0) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, disk); /* likewise */
        test_file(v, s, path, path + strlen(top) + 1);
    }
    return v->work->stop && *v->work->stop ? err_set(err, -EINTR, "stopped by a signal") : 0;
}

int verify_test(struct verify *v, const struct verify_set *s, struct err *err)
{
    struct point p = {.pid = -1};
    int r = point_begin(&p, v, s, err);
    for (size_t i = 0; r == 0 && i < s->info->n_streams; i++) {
        const struct stream_id *id = &s->info->streams[i].id;
        char dir[PATH_MAX], disk[32] = "disk.img";
        if (id->kind == STREAM_CATALOG)
            continue;
        if (id->kind == STREAM_OVERLAY) {
            (void)snprintf(dir, sizeof(dir), "%s/clients/%s", p.dir, id->name); /* all fit */
            (void)snprintf(disk, sizeof(disk), "disk%u.img", id->number);
        } else {
            (void)snprintf(dir, sizeof(dir), "%s/%s/v%u", p.dir, id->name, id->number);
        }
        r = test_folder(v, s, p.dir, dir, disk, err);
    }
    point_finish(&p);
    return r;
}
