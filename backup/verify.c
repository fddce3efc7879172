/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The course of a verify, and what is noted of it; see verify.h. */
#include "backup/verify-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "backup/verify-test.h"

#define QUARANTINE_MAX 10000U /* copies of one run */

void verify_problem(struct verify *v, const char *fmt, ...)
{
    struct err e;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(e.msg, sizeof(e.msg), fmt, ap);
    va_end(ap);
    (void)json_array_append_new(v->report->problems, json_string(e.msg)); /* missing without memory; it is said: */
    if (json_array_size(v->report->problems) <= 20)
        work_warn(v->work, "%s", e.msg);
}

bool verify_found_damage(const struct verify_report *r)
{
    return json_array_size(r->problems) > 0 || json_array_size(r->affected) > 0;
}

void verify_report_finish(struct verify_report *r)
{
    json_decref(r->problems);
    json_decref(r->affected);
    json_decref(r->tests);
    *r = (struct verify_report){0};
}

/* --- what there is ----------------------------------------------------------------------------------------------- */

static int list_sets(struct verify *v, struct err *err)
{
    size_t n_packs;
    int r;
    (void)index_packs(reader_index(v->reader), &n_packs);
    if (v->p->set) {
        v->infos = calloc(1, sizeof(*v->infos));
        if (!v->infos)
            return err_sys(err, -ENOMEM, "cannot list the sets");
        r = set_find(reader_repo(v->reader), v->p->set, v->infos, err);
        v->n_infos = r == 0;
    } else {
        r = set_list(reader_repo(v->reader), &v->infos, &v->n_infos, err);
    }
    if (r < 0)
        return r;
    v->sets = calloc(v->n_infos + 1, sizeof(*v->sets));
    for (size_t i = 0; v->sets && i < v->n_infos; i++) {
        v->sets[i] = (struct verify_set){.info = &v->infos[i], .packs = calloc(n_packs + 1, 1)};
        v->n_sets++;
        if (!v->sets[i].packs)
            return err_sys(err, -ENOMEM, "cannot list the sets");
    }
    return v->sets ? 0 : err_sys(err, -ENOMEM, "cannot list the sets");
}

/* Which sets there must be stands in marks.txt. */
static void look_for_lost_sets(struct verify *v)
{
    struct marks marks = {0};
    struct err why;
    char lost[SET_ID_LEN + 1] = "";
    if (!v->p->set && marks_load(reader_repo(v->reader), &marks, &why) == 0 &&
        marks_learn(&marks, v->infos, v->n_infos, lost) == 0 && lost[0])
        verify_problem(
            v, "the set %s is gone; 'diskgate backup remove' takes it off the list if that is as it should be", lost);
    marks_finish(&marks);
}

/* --- what is noted ----------------------------------------------------------------------------------------------- */

static void note_packs(const struct verify *v, struct marks *marks)
{
    for (size_t i = 0; i < v->n_packs; i++) {
        struct pack_mark *m = v->packs[i].is_read ? marks_pack_need(marks, &v->packs[i].id) : NULL;
        if (m) {
            m->verified_s = v->packs[i].verified_s;
            m->is_bad = v->packs[i].is_bad;
        }
    }
}

/* Since when has everything that the set needs been read at least once? 0 = not yet. */
static int64_t data_time(const struct verify *v, const struct verify_set *s)
{
    int64_t oldest = INT64_MAX;
    for (size_t i = 0; i < v->n_packs; i++)
        if (s->packs[v->packs[i].place])
            oldest = MIN(oldest, v->packs[i].verified_s);
    return oldest;
}

static void note_sets(const struct verify *v, struct marks *marks)
{
    for (size_t i = 0; i < v->n_sets; i++) {
        const struct verify_set *s = &v->sets[i];
        struct set_mark *m = marks_set_need(marks, s->info->id);
        if (!m)
            continue;
        enum verify_level level = v->p->level;
        int64_t when = time(NULL);
        if (level >= VERIFY_DATA && data_time(v, s) == 0)
            level = VERIFY_QUICK;
        if (level >= VERIFY_DATA)
            when = MIN(when, data_time(v, s));
        if (level > VERIFY_DATA && !v->p->set && i + 1 < v->n_sets)
            level = VERIFY_DATA; /* only the newest one was put together */
        m->is_bad = s->is_damaged;
        if (level < m->level && !s->is_damaged)
            continue;
        m->level = level;
        m->verified_s = when;
    }
}

static void copy_bad(struct repo *repo, const struct bad_copy *b)
{
    struct err ignored;
    char path[64], to[128], name[CHUNK_NAME_LEN + 1];
    _cleanup_free_ void *frame = malloc(b->clen);
    pack_path(&b->pack, ".tar.zst", path);
    (void)chunk_name_text(&b->name, name);
    (void)snprintf(to, sizeof(to), "quarantine/%s-%s.zst", b->pack.stem, name); /* fits */
    _cleanup_close_ int fd = openat(repo_dirfd(repo), path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (frame && fd >= 0 && faccessat(repo_dirfd(repo), to, F_OK, 0) < 0 &&
        pread_full(fd, frame, b->clen, b->off) == 0) /* what cannot be read cannot be kept */
        (void)repo_file_put(repo, to, frame, b->clen, &ignored);
}

static int note_bad(const struct verify *v, struct repo *repo, struct err *err)
{
    struct badlist list = {0};
    int r = v->n_bad > 0 ? badlist_load(repo, &list, err) : 0;
    for (size_t i = 0; r == 0 && i < v->n_bad; i++) {
        if (i < QUARANTINE_MAX)
            copy_bad(repo, &v->bad[i]);
        r = badlist_add(&list, &v->bad[i].name, &v->bad[i].pack);
    }
    if (r == 0 && v->n_bad > 0)
        r = badlist_store(repo, &list, err);
    badlist_finish(&list);
    return r;
}

void verify_note(struct verify *v)
{
    _cleanup_(repo_closep) struct repo *repo = NULL;
    struct marks marks = {0};
    struct err why = {""};
    repo_unlock(reader_repo(v->reader));
    int r = repo_open(v->p->repo, REPO_WRITE, MAX(v->p->wait_ms, 5000), "verify", &repo, &why);
    if (r == 0)
        r = note_bad(v, repo, &why);
    if (r == 0)
        r = marks_load(repo, &marks, &why);
    if (r == 0) {
        note_packs(v, &marks);
        note_sets(v, &marks);
        r = marks_store(repo, &marks, &why);
    }
    marks_finish(&marks);
    v->report->is_noted = r == 0;
    if (r < 0)
        work_warn(v->work, "the result is not noted in the repository: %.800s", why.msg);
}

/* --- the course -------------------------------------------------------------------------------------------------- */

static void sum_up(struct verify *v)
{
    struct verify_report *report = v->report;
    report->oldest_s = v->n_packs > 0 ? INT64_MAX : 0;
    for (size_t i = 0; i < v->n_packs; i++)
        report->oldest_s = MIN(report->oldest_s, v->packs[i].verified_s);
    for (size_t i = 0; i < v->n_sets; i++)
        report->sets_damaged += v->sets[i].is_damaged;
    report->chunks_missing = 0;
    size_t i;
    json_t *row;
    json_array_foreach(report->affected, i, row) report->chunks_missing +=
        (uint64_t)json_integer_value(json_object_get(row, "chunks"));
}

/* The newest one that can be used. */
static struct verify_set *newest(struct verify *v)
{
    for (size_t i = v->n_sets; i-- > 0;)
        if (!v->sets[i].info->problem)
            return &v->sets[i];
    return NULL;
}

static int steps(struct verify *v, struct err *err)
{
    int r = list_sets(v, err);
    if (r == 0) {
        look_for_lost_sets(v);
        r = verify_sets(v, err);
    }
    if (r == 0)
        r = verify_list_packs(v, err);
    reader_unlock(v->reader);
    if (r == 0 && v->p->level >= VERIFY_DATA)
        r = verify_packs(v, err);
    if (r == 0 && v->n_bad > 0)
        r = verify_affected(v, err);
    struct verify_set *s = r == 0 && v->p->level >= VERIFY_IMAGE ? newest(v) : NULL;
    if (s)
        r = verify_images(v, s, err);
    if (r == 0 && s && v->p->level >= VERIFY_RESTORE)
        r = verify_test(v, s, err);
    return r;
}

int verify_run(const struct work *work, const struct verify_params *p, struct verify_report *ret, struct err *err)
{
    struct verify v = {.p = p, .work = work, .report = ret};
    *ret = (struct verify_report){.problems = json_array(), .affected = json_array(), .tests = json_array()};
    int r = ret->problems && ret->affected && ret->tests ? 0 : err_sys(err, -ENOMEM, "cannot verify");
    if (r == 0)
        r = reader_open(p->repo, "verify", p->wait_ms, &v.reader, err);
    if (r == 0)
        r = steps(&v, err);
    if (r == 0 || v.n_bad > 0) { /* what was found counts, even when it was stopped */
        sum_up(&v);
        verify_note(&v);
    }
    for (size_t i = 0; i < v.n_sets; i++)
        free(v.sets[i].packs);
    free(v.sets);
    set_list_free(v.infos, v.n_infos);
    free(v.packs);
    free(v.bad);
    reader_close(v.reader);
    return r;
}
