/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Power cuts: records a workload, then opens what a cut at any point of it could leave behind, thousands of times.
 *
 *   powercut [--states N] [--seed N] [--ops N] [--jobs N] [--ignore-syncs PART] [--only overlays|catalog|backup]
 *
 * Points are drawn from the whole log, half of them near changes of names and sizes and near headers of the journal, which are rare.
 * At each point several states are made (disk.h), the first of them what is durable and no more, each opened and compared (subject.h). Of some states the opening is recorded too, and
 * cut once more.
 *
 * --ignore-syncs answers syncs of some files without making them; the checker must find that: then the exit status is 0 when it did.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "core/util.h"
#include "tests/powercut/disk.h"
#include "tests/powercut/subject.h"

#define VARIANTS  4            /* states at one point */
#define LOG_BYTES (8ULL << 30) /* of address space */
#define TOLD_MAX  5
#define JOBS_MAX  16

struct options {
    uint64_t states, seed;
    unsigned ops, jobs;
    const char *ignore, *only;
};

/* Shared by the processes. */
struct result {
    _Atomic uint64_t states, nested, violations;
};

/* --- folders ------------------------------------------------------------------------------------------------------ */

static void remove_below(int dirfd, bool files_only)
{
    DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (const struct dirent *e; d && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || unlinkat(dirfd, e->d_name, 0) == 0)
            continue;
        int sub = openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (sub < 0)
            continue;
        remove_below(sub, files_only);
        (void)close(sub);
        if (!files_only)
            (void)unlinkat(dirfd, e->d_name, AT_REMOVEDIR); /* what stays is in the way of nobody */
    }
    if (d)
        (void)closedir(d); /* it was read only */
}

static void empty_folder(const char *path, bool files_only)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    remove_below(fd, files_only);
    (void)close(fd);
}

/* --- points ------------------------------------------------------------------------------------------------------- */

struct points {
    size_t *at; /* numbers of records, rising */
    size_t count;
};

static bool is_rare(const struct rec *r)
{
    switch ((enum rec_kind)r->kind) {
    case REC_CREATE:
    case REC_MKDIR:
    case REC_RENAME:
    case REC_LINK:
    case REC_UNLINK:
    case REC_SIZE:
        return true;
    case REC_WRITE:
        return r->len == 4096 && r->off % (1 << 20) == 0;
    case REC_PUNCH:
    case REC_SYNC_BEGIN:
    case REC_SYNC_END:
    case REC_NOTE:
        break;
    }
    return false;
}

static int compare_sizes(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static struct points choose_points(const struct rec_log *log, uint64_t count, struct rng *rng)
{
    size_t all = 0, n_rare = 0, room = 0, *rare = NULL;
    const struct rec *r;
    for (size_t pos = 0; (r = rec_at(log, pos, &pos)); all++) {
        if (!is_rare(r))
            continue;
        if (n_rare == room)
            rare = reallocarray(rare, room = room ? 2 * room : 256, sizeof(*rare));
        CHECK(rare, "out of memory");
        rare[n_rare++] = all;
    }
    struct points p = {.at = calloc(count + 1, sizeof(*p.at)), .count = count};
    CHECK(p.at && all > 0 && n_rare > 0, "nothing was recorded");
    for (size_t i = 0; i < count; i++)
        p.at[i] = i % 2 ? rng_below(rng, all + 1) : MIN(all, rare[rng_below(rng, n_rare)] + rng_below(rng, 6));
    qsort(p.at, count, sizeof(*p.at), compare_sizes);
    free(rare);
    return p;
}

/* --- states ------------------------------------------------------------------------------------------------------- */

struct job {
    const struct subject *s;
    const struct options *o;
    struct result *result;
    char root[PATH_MAX / 2], again[PATH_MAX / 2]; /* for states; for states of an opening */
    bool is_quiet;
};

static void tell(struct job *j, size_t at, uint64_t seed, const char *what, const char *why)
{
    if (atomic_fetch_add(&j->result->violations, 1) < TOLD_MAX && !j->is_quiet)
        (void)fprintf(stderr, "%s: record %zu, state %#llx%s: %s\n", j->s->name, at, (unsigned long long)seed, what,
                      why);
}

/* What is in j->root is opened with a log, and a cut made in the middle of that. */
static void cut_again(struct job *j, const void *expected, size_t at, uint64_t seed)
{
    char why[512];
    struct rec_log *log = rec_log_create(LOG_BYTES / 64);
    struct disk *d = disk_import(j->root, j->s->dirs, log, j->s->no_garbage);
    struct rng rng = {seed + 1};
    const struct rec *r;
    size_t all = 0;
    rec_start(log);
    j->s->open_once(expected, j->root);
    rec_start(NULL);
    for (size_t pos = 0; rec_at(log, pos, &pos);)
        all++;
    size_t end = rng_below(&rng, all + 1), n = 0;
    for (size_t pos = 0; n < end && (r = rec_at(log, pos, &pos)); n++)
        disk_step(d, r);
    disk_cut(d, &rng, false, j->again, j->s->dirs);
    atomic_fetch_add(&j->result->nested, 1);
    if (!j->s->check(expected, j->again, &rng, why, sizeof(why)))
        tell(j, at, seed, ", cut again while it was opened", why);
    empty_folder(j->again, true);
    disk_destroy(d);
    rec_log_destroy(log);
}

static void one_state(struct job *j, const struct disk *d, const void *expected, size_t at, uint64_t seed, bool least)
{
    char why[512];
    struct rng rng = {seed};
    disk_cut(d, &rng, least, j->root, j->s->dirs);
    atomic_fetch_add(&j->result->states, 1);
    if (j->s->open_once && rng_below(&rng, 8) == 0)
        cut_again(j, expected, at, seed);
    else if (!j->s->check(expected, j->root, &rng, why, sizeof(why)))
        tell(j, at, seed, "", why);
    empty_folder(j->root, !j->s->makes_dirs);
}

static void go_through(struct job *j, struct disk *d, const struct rec_log *log, const struct points *p, unsigned part)
{
    void *expected = j->s->expect();
    size_t pos = 0, at = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct rec *r;
        for (; at < p->at[i] && (r = rec_at(log, pos, &pos)); at++) {
            disk_step(d, r);
            j->s->step(expected, r);
        }
        for (unsigned k = 0; k < VARIANTS && i % j->o->jobs == part; k++)
            one_state(j, d, expected, at, (j->o->seed << 24) + i * VARIANTS + k, k == 0);
    }
    j->s->forget(expected);
}

/* --- a run -------------------------------------------------------------------------------------------------------- */

static void start_job(struct job *j, const char *top, struct disk *d, const struct rec_log *log, const struct points *p,
                      unsigned part)
{
    (void)snprintf(j->root, sizeof(j->root), "%s/%u", top, part);
    (void)snprintf(j->again, sizeof(j->again), "%s/%u.again", top, part);
    j->s->prepare(j->root);
    j->s->prepare(j->again);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (j->is_quiet && null >= 0)
        (void)dup2(null, STDERR_FILENO); /* hundreds of refusals are what is wanted */
    go_through(j, d, log, p, part);
    _exit(0);
}

static int run_subject(const struct subject *s, const struct options *o, uint64_t states, const char *top)
{
    char root[PATH_MAX / 2];
    struct rng rng = {o->seed};
    struct result *result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(result != MAP_FAILED, "out of memory");
    (void)snprintf(root, sizeof(root), "%s/work", top);
    s->prepare(root);
    struct rec_log *log = rec_log_create(LOG_BYTES);
    rec_ignore_syncs(log, o->ignore);
    struct disk *d = disk_import(root, s->dirs, log, s->no_garbage);
    s->work(root, log, o->ops, o->seed);
    struct points p = choose_points(log, (states + VARIANTS - 1) / VARIANTS, &rng);
    struct job j = {.s = s, .o = o, .result = result, .is_quiet = o->ignore != NULL};
    pid_t pid[JOBS_MAX];
    int failed = 0;
    for (unsigned i = 0; i < o->jobs; i++) {
        pid[i] = fork();
        CHECK(pid[i] >= 0, "cannot fork");
        if (pid[i] == 0)
            start_job(&j, top, d, log, &p, i);
    }
    for (unsigned i = 0; i < o->jobs; i++) {
        int status;
        CHECK(waitpid(pid[i], &status, 0) == pid[i], "cannot wait");
        failed += status != 0;
    }
    size_t records = 0;
    for (size_t pos = 0; rec_at(log, pos, &pos);)
        records++;
    (void)printf("%s: %llu states at %zu points of %zu records, %llu of them cut again while they were opened: %llu "
                 "violations\n",
                 s->name, (unsigned long long)result->states, p.count, records, (unsigned long long)result->nested,
                 (unsigned long long)result->violations);
    if (failed)
        (void)printf("%s: a process of the checker died\n", s->name);
    bool is_bad = result->violations > 0 || failed > 0;
    free(p.at);
    disk_destroy(d);
    rec_log_destroy(log);
    empty_folder(top, false);
    return o->ignore ? !is_bad : is_bad;
}

/* --- options ------------------------------------------------------------------------------------------------------ */

static uint64_t number(const char *text)
{
    char *end;
    errno = 0;
    uint64_t n = strtoull(text, &end, 0);
    if (errno || *end || end == text) {
        (void)fprintf(stderr, "powercut: '%s' is no number\n", text);
        exit(2);
    }
    return n;
}

static void parse(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {
        {"states", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'r'},
        {"ops", required_argument, NULL, 'o'},
        {"jobs", required_argument, NULL, 'j'},
        {"only", required_argument, NULL, 'O'},
        {"ignore-syncs", required_argument, NULL, 'i'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
        if (c == 's')
            o->states = number(optarg);
        else if (c == 'r')
            o->seed = number(optarg);
        else if (c == 'o')
            o->ops = (unsigned)number(optarg);
        else if (c == 'j')
            o->jobs = (unsigned)MIN(number(optarg), JOBS_MAX);
        else if (c == 'O')
            o->only = optarg;
        else if (c == 'i')
            o->ignore = optarg;
        else
            exit(2);
    }
    o->jobs = MAX(o->jobs, 1U);
}

static int run_all(const struct options *o, const char *dir)
{
    int bad = 0;
    if (!o->only || strcmp(o->only, "overlays") == 0)
        bad |= run_subject(&overlays_subject, o, o->states * 4 / 5, dir);
    if (!o->only || strcmp(o->only, "catalog") == 0)
        bad |= run_subject(&catalog_subject, o, o->states / 5, dir);
    if (!o->only || strcmp(o->only, "backup") == 0)
        bad |= run_subject(&backup_subject, o, o->states / 5, dir);
    return bad;
}

int main(int argc, char **argv)
{
    struct options o = {.states = 4000, .seed = check_seed() & 0xffffffff, .ops = 1500, .jobs = 2};
    parse(argc, argv, &o);
    char top[] = "/dev/shm/diskgate-powercut-XXXXXX", elsewhere[] = "/tmp/diskgate-powercut-XXXXXX";
    const char *dir = mkdtemp(top);
    dir = dir ? dir : mkdtemp(elsewhere);
    CHECK(dir, "cannot make a folder");
    log_set_level(LOG_LEVEL_ERROR);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)printf("seed %llu%s%s\n", (unsigned long long)o.seed, o.ignore ? ", without syncs of " : "",
                 o.ignore ? o.ignore : "");
    int status, pid = fork(); /* so that the folder goes whatever happens */
    CHECK(pid >= 0, "cannot fork");
    if (pid == 0)
        _exit(run_all(&o, dir));
    CHECK(waitpid(pid, &status, 0) == pid, "cannot wait");
    empty_folder(dir, false);
    (void)rmdir(dir); /* it is empty */
    if (status)
        (void)printf(o.ignore ? "the checker found nothing\n" : "repeat with --seed %llu --states %llu --ops %u\n",
                     (unsigned long long)o.seed, (unsigned long long)o.states, o.ops);
    return status != 0;
}
