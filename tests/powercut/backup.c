/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The workload on a backup repository, and what must hold after a cut in the middle of it.
 *
 * One process makes the repository and then set after set, each of an image of its own; now and then it drops the oldest set and collects, with
 * everything freed at once, which is the dangerous way. After a cut: once init had returned, the repository opens; every set that is listed is whole and
 * gives its disk back byte by byte; a set whose commit had returned is listed, unless it was being dropped; and the next backup succeeds.
 */
#include "tests/unit/backup-fixture.h"

#include <sys/wait.h>
#include <unistd.h>

#include "tests/powercut/subject.h"

#define SETS_MAX 64
#define START_S  1795000000

static const char *const dirs[] = {".", NULL};

enum note { NOTE_INIT, NOTE_BEGIN, NOTE_DONE, NOTE_DROP };

/* --- workload ----------------------------------------------------------------------------------------------------- */

/* Disk number @k: some chunks as in the one before, some of its own, some zeros. */
static struct disk disk_number(unsigned k)
{
    struct disk d = {.size = 6 * CHUNK + 512};
    for (unsigned i = 0; i < 7; i++)
        d.seed[i] = (i + k) % 3 == 0 ? 1000 * k + i : i == 5 ? 0 : 1 + i;
    return d;
}

static void drop(struct repo *r, const char *id)
{
    struct marks marks;
    struct gc_counts counts;
    struct err err;
    CHECK(marks_load(r, &marks, &err) == 0 && prune_drop(r, &marks, &id, 1, &err) == 0 &&
              gc_run(r, &marks, false, true, &counts, &err) == 0,
          "a prune failed: %s", err.msg);
    marks_finish(&marks);
}

static void one_round(const char *root, unsigned k, char ids[][SET_ID_LEN + 1])
{
    struct err err;
    struct repo *r = NULL;
    struct disk d = disk_number(k);
    char name[32];
    (void)snprintf(name, sizeof(name), "d%u", k);
    CHECK(repo_open(root, REPO_WRITE, 0, "test", &r, &err) == 0, "%s", err.msg);
    rec_note(NOTE_BEGIN, k, 0, 0, 0);
    CHECK(try_backup(r, name, &d, START_S + k, ids[k], &err) == 0, "a backup failed: %s", err.msg);
    rec_note(NOTE_DONE, k, 0, 0, 0);
    if (k >= 3 && k % 2) {
        rec_note(NOTE_DROP, k - 3, 0, 0, 0);
        drop(r, ids[k - 3]);
    }
    repo_close(r);
}

static void life(const char *root, unsigned count)
{
    static char ids[SETS_MAX][SET_ID_LEN + 1];
    struct err err;
    struct repo_params params = {.chunk_bytes = CHUNK, .pack_bytes = REPO_PACK_BYTES_MIN, .has_no_reserve = true};
    CHECK(repo_init(root, &params, &err) == 0, "%s", err.msg);
    rec_note(NOTE_INIT, 0, 0, 0, 0);
    for (unsigned k = 0; k < count; k++)
        one_round(root, k, ids);
}

static void prepare(const char *root)
{
    CHECK(mkdir(root, 0700) == 0 || errno == EEXIST, "cannot make '%s'", root);
}

static void work(const char *root, struct rec_log *log, unsigned ops, uint64_t seed)
{
    int status;
    (void)seed; /* what is done is always the same; the cuts differ */
    pid_t pid = fork();
    CHECK(pid >= 0, "cannot fork");
    if (pid == 0) {
        rec_start(log);
        life(root, MIN(SETS_MAX, 2 + ops / 250));
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "the workload failed");
}

/* --- what is expected --------------------------------------------------------------------------------------------- */

struct expected {
    bool is_made;
    bool begun[SETS_MAX], done[SETS_MAX], dropped[SETS_MAX];
};

static void *expect(void)
{
    struct expected *e = calloc(1, sizeof(*e));
    CHECK(e, "out of memory");
    return e;
}

static void step(void *expected, const struct rec *r)
{
    struct expected *e = expected;
    if (r->kind != REC_NOTE)
        return;
    switch ((enum note)r->note[0]) {
    case NOTE_INIT:
        e->is_made = true;
        break;
    case NOTE_BEGIN:
        e->begun[r->note[1]] = true;
        break;
    case NOTE_DONE:
        e->done[r->note[1]] = true;
        break;
    case NOTE_DROP:
        e->dropped[r->note[1]] = true;
        break;
    }
}

static void forget(void *expected)
{
    free(expected);
}

/* --- the check ---------------------------------------------------------------------------------------------------- */

static bool check_set(struct repo *r, const struct set_info *s, bool *seen, char *why, size_t len)
{
    struct err err = {""};
    if (s->problem) {
        (void)snprintf(why, len, "set %s: %s", s->id, s->reason.msg);
        return false;
    }
    unsigned k = s->n_streams ? (unsigned)atoi(s->streams[0].id.name + 1) : SETS_MAX;
    if (k >= SETS_MAX)
        return true; /* made by a check */
    struct disk d = disk_number(k);
    seen[k] = true;
    if (check_disk(r, s->id, s->streams[0].id.name, &d, &err) == 0)
        return true;
    (void)snprintf(why, len, "set %s: %s", s->id, err.msg);
    return false;
}

static bool check_sets(struct repo *r, const struct expected *e, char *why, size_t len)
{
    struct set_info *sets;
    struct err err;
    bool seen[SETS_MAX] = {false}, good = true;
    size_t n;
    if (set_list(r, &sets, &n, &err) < 0) {
        (void)snprintf(why, len, "%s", err.msg);
        return false;
    }
    for (size_t i = 0; good && i < n; i++)
        good = check_set(r, &sets[i], seen, why, len);
    set_list_free(sets, n);
    for (unsigned k = 0; good && k < SETS_MAX; k++)
        if ((e->done[k] && !e->dropped[k] && !seen[k]) || (seen[k] && !e->begun[k])) {
            (void)snprintf(why, len, "set number %u is %s", k, seen[k] ? "there too early" : "gone");
            good = false;
        }
    return good;
}

static bool check_next_backup(struct repo *r, char *why, size_t len)
{
    struct err err = {""};
    struct disk d = disk_number(1);
    d.seed[1] = 424242;
    char name[] = "d999", id[SET_ID_LEN + 1];
    if (try_backup(r, name, &d, START_S + 999, id, &err) == 0 && check_disk(r, id, name, &d, &err) == 0)
        return true;
    (void)snprintf(why, len, "the next backup: %s", err.msg);
    return false;
}

static bool check(const void *expected, const char *root, struct rng *rng, char *why, size_t len)
{
    const struct expected *e = expected;
    struct repo *r = NULL;
    struct err err;
    int o = repo_open(root, REPO_WRITE, 0, "check", &r, &err);
    if (o < 0 && !e->is_made && o == -ENOMEDIUM) { /* then init begins again */
        struct repo_params params = {.chunk_bytes = CHUNK, .pack_bytes = REPO_PACK_BYTES_MIN, .has_no_reserve = true};
        o = repo_init(root, &params, &err);
        if (o == 0)
            o = repo_open(root, REPO_WRITE, 0, "check", &r, &err);
    }
    if (o < 0) {
        (void)snprintf(why, len, "it does not open: %s", err.msg);
        return false;
    }
    bool good = check_sets(r, e, why, len);
    if (good && rng_below(rng, 4) == 0)
        good = check_next_backup(r, why, len) && check_sets(r, e, why, len);
    repo_close(r);
    return good;
}

const struct subject backup_subject = {
    .name = "backup",
    .dirs = dirs,
    .makes_dirs = true,
    .prepare = prepare,
    .work = work,
    .expect = expect,
    .step = step,
    .forget = forget,
    .check = check,
};
