/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The course of a backup; see create.h. */
#include "backup/create.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sched.h>
#include <time.h>

#include "core/root.h"
#include "core/util.h"

#define THREADS_MAX 8U

struct create {
    const struct create_params *p;
    struct create_report *report;
    struct repo *repo;
    struct store *store;
    struct pipe *pipe;
    struct set_writer *set;
    struct catalog *catalog;
    struct capture capture;
    struct version_file *files; /* of versions that are in the set */
    size_t n_files;
    int64_t *failed; /* ids of versions that are not */
    size_t n_failed;
    uint64_t done, total; /* bytes */
};

static void warn(void *arg, const char *sentence)
{
    struct create *c = arg;
    c->report->warnings++;
    c->p->warn(c->p->arg, sentence);
}

static void progress(void *arg, uint64_t bytes)
{
    struct create *c = arg;
    c->done += bytes;
    c->p->progress(c->p->arg, MIN(c->done, c->total), c->total);
}

static void left_out(struct create *c, const char *what, unsigned number, const char *why)
{
    struct err e;
    (void)err_set(&e, 0, "%s %u is not in this backup: %.800s", what, number, why);
    c->report->left_out++;
    warn(c, e.msg);
}

/* --- versions ---------------------------------------------------------------------------------------------------- */

static const struct version_file *file_of(const struct create *c, int64_t id)
{
    for (size_t i = 0; i < c->n_files; i++)
        if (c->files[i].row.id == id)
            return &c->files[i];
    return NULL;
}

static bool has_failed(const struct create *c, int64_t id)
{
    for (size_t i = 0; i < c->n_failed; i++)
        if (c->failed[i] == id)
            return true;
    return false;
}

static int fail_version(struct create *c, const struct version_row *row, const char *why)
{
    char what[NAME_LEN + 32];
    (void)snprintf(what, sizeof(what), "image '%s' version", row->image); /* fits */
    left_out(c, what, row->number, why);
    int64_t *more = reallocarray(c->failed, c->n_failed + 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    c->failed = more;
    c->failed[c->n_failed++] = row->id;
    return 0;
}

/* 0; 1 with a sentence: the file's own fault, which the others need not suffer for; a negative errno: the backup cannot go on. A version
 * that changes while it is read gets a second chance. */
static int read_version(struct create *c, const struct version_row *row, struct version_file *v, struct err *err)
{
    int r = -ESTALE;
    for (unsigned i = 0; i < 2 && r == -ESTALE; i++) {
        version_file_close(v);
        if (version_file_open(c->p->root, row, v, err) < 0)
            return 1;
        r = capture_version(&c->capture, v, err);
        if (r == -EREMOTEIO && version_file_has_changed(v)) /* it was cut shorter, for example */
            r = -ESTALE;
    }
    return r == -ESTALE || r == -EREMOTEIO ? 1 : r;
}

static int add_version(struct create *c, const struct version_row *row, struct err *err)
{
    if (file_of(c, row->id) || has_failed(c, row->id))
        return 0;
    struct version_file *more = reallocarray(c->files, c->n_files + 1, sizeof(*more));
    if (!more)
        return err_sys(err, -ENOMEM, "cannot back up image '%s'", row->image);
    c->files = more;
    struct version_file *v = &c->files[c->n_files];
    *v = (struct version_file){.fd = -1};
    int r = read_version(c, row, v, err);
    if (r == 0) {
        c->n_files++;
        c->report->versions++;
        return 0;
    }
    version_file_close(v);
    return r > 0 ? fail_version(c, row, err->msg) : r;
}

/* What one has to count on, before anything is read. */
static void estimate_versions(struct create *c, const struct scope *s)
{
    for (size_t i = 0; i < s->n_versions; i++)
        if (!file_of(c, s->versions[i].id))
            c->total += s->versions[i].size_bytes;
}

static int add_versions(struct create *c, const struct scope *s, struct err *err)
{
    for (size_t i = 0; i < s->n_versions; i++) {
        const struct version_row *row = &s->versions[i];
        uint64_t before = c->done, was_in = file_of(c, row->id) || has_failed(c, row->id);
        int r = add_version(c, row, err);
        if (r < 0)
            return r;
        uint64_t read = c->done - before;
        if (!was_in) /* holes and the like need no time */
            c->total -= MIN(row->size_bytes - MIN(read, row->size_bytes), c->total - c->done);
    }
    return 0;
}

/* --- overlays ---------------------------------------------------------------------------------------------------- */

static int add_overlay(struct create *c, const struct still *still, const struct still_overlay *o, struct err *err)
{
    char what[NAME_LEN + 32];
    const struct version_file *below = file_of(c, o->row->version_id);
    (void)snprintf(what, sizeof(what), "client '%s' slot", o->row->client); /* fits */
    if (o->why.msg[0]) {
        left_out(c, what, o->row->slot, o->why.msg);
        return 0;
    }
    if (!below) {
        left_out(c, what, o->row->slot, "the version of the image that it lies over is not");
        return 0;
    }
    int r = capture_overlay(&c->capture, still, o, below, err);
    if (r == 0)
        c->report->overlays++;
    if (r != -EREMOTEIO)
        return r;
    left_out(c, what, o->row->slot, err->msg);
    return 0;
}

static int add_overlays(struct create *c, const struct still *still, struct err *err)
{
    for (size_t i = 0; i < still->n; i++) {
        const struct still_overlay *o = &still->overlays[i];
        struct source s;
        const struct version_file *below = file_of(c, o->row->version_id);
        if (below && !o->why.msg[0]) {
            source_of_overlay(&s, still, o, below);
            c->total += source_estimate(&s);
        }
    }
    for (size_t i = 0; i < still->n; i++) {
        int r = add_overlay(c, still, &still->overlays[i], err);
        if (r < 0)
            return r;
    }
    return still_check(still, err);
}

/* A freeze that was void took the overlays that are in the set already with it. */
static void drop_overlays(struct create *c, const struct scope *s)
{
    for (size_t i = 0; i < s->n_views; i++) {
        struct stream_id id;
        scope_view_stream(&s->views[i], &id);
        set_drop(c->set, &id);
    }
    c->report->overlays = 0;
}

/* --- the instant ------------------------------------------------------------------------------------------------- */

static int copy_catalog(struct create *c, struct err *err)
{
    _cleanup_free_ void *buf = NULL;
    size_t len = 0;
    int r = catalog_copy(c->catalog, &buf, &len, err);
    if (r < 0)
        return r;
    c->total += len;
    return capture_catalog(&c->capture, buf, len, err);
}

static bool is_unchanged(struct create *c, const struct scope *s)
{
    struct err ignored;
    struct scope now = {0};
    bool same = scope_read(c->catalog, c->p->names, c->p->n_names, &now, &ignored) == 0 && scope_equal(s, &now);
    scope_finish(&now);
    return same;
}

/* Freeze and copy the catalog. It must not have changed in between: then the lists of one are the lists of the other. */
static int take_instant(struct create *c, const struct scope *s, struct still *still, struct err *err)
{
    c->report->freezes++;
    int r = still_take(c->p->root, s, still, err);
    if (r == -ENOSPC || r == -EDQUOT) { /* of the root, not of the repository */
        const struct err why = *err;
        return err_set(err, -ESTALE, "there is no room for it in '%s/run/frozen' (%.500s)", c->p->root, why.msg);
    }
    if (r < 0)
        return r;
    if (!is_unchanged(c, s))
        return err_set(err, -EAGAIN, "the catalog changes all the time; try again when nobody works on it");
    r = copy_catalog(c, err);
    if (r == 0 && !is_unchanged(c, s)) {
        struct stream_id id = {.kind = STREAM_CATALOG, .name = "catalog"};
        set_drop(c->set, &id);
        return err_set(err, -EAGAIN, "the catalog changes all the time; try again when nobody works on it");
    }
    return r;
}

static int one_try(struct create *c, struct scope *s, struct err *err)
{
    struct still still = {0};
    struct err why = {""};
    size_t out = c->report->left_out;
    int r = scope_read(c->catalog, c->p->names, c->p->n_names, s, err);
    if (r == 0)
        r = take_instant(c, s, &still, err);
    if (r == 0)
        r = add_versions(c, s, err);
    if (r == 0)
        r = add_overlays(c, &still, err);
    still_end(&still, &why);
    if (r == -ESTALE && why.msg[0])
        (void)err_set(err, r, "diskgate-fs could not keep the disks frozen: %s", why.msg);
    if (r == -ESTALE) {
        c->report->left_out = out;
        drop_overlays(c, s);
        struct stream_id id = {.kind = STREAM_CATALOG, .name = "catalog"};
        set_drop(c->set, &id);
    }
    return r;
}

/* No instant could be had: what does not need one. */
static int without_overlays(struct create *c, const struct scope *s, const char *why, struct err *err)
{
    for (size_t i = 0; i < s->n_views; i++) {
        char what[NAME_LEN + 32];
        (void)snprintf(what, sizeof(what), "client '%s' slot", s->views[i].client); /* fits */
        left_out(c, what, s->views[i].slot, why);
    }
    return copy_catalog(c, err);
}

static int add_instant(struct create *c, struct err *err)
{
    for (unsigned try = 1;; try++) {
        struct scope s = {0};
        int r = one_try(c, &s, err);
        if (r == -ESTALE && try >= CREATE_TRIES) {
            const struct err why = *err;
            r = without_overlays(c, &s, why.msg, err);
        } else if (r == -ESTALE || (r == -EAGAIN && try < 2 * CREATE_TRIES)) {
            if (r == -ESTALE) {
                struct err e;
                (void)err_set(&e, 0, "%.900s; they are frozen again", err->msg);
                c->p->note(c->p->arg, e.msg);
            }
            scope_finish(&s);
            continue;
        }
        c->report->n_volatile = s.n_volatile;
        scope_finish(&s);
        return r;
    }
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

static unsigned thread_count(unsigned wanted)
{
    cpu_set_t set;
    unsigned n = sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    return wanted > 0 ? wanted : MIN(MAX(n, 1U), THREADS_MAX);
}

/* The backup is good all the same, for what is missing is stored again; but somebody should look at the disk. */
static void say_problems(struct create *c)
{
    struct err e;
    const char *problems = index_problems(store_index(c->store));
    if (!*problems)
        return;
    (void)err_set(
        &e, 0,
        "the repository is damaged (%.800s); what this backup has of it is stored again, and 'diskgate backup "
        "verify' tells what is missing",
        problems);
    warn(c, e.msg);
}

static int open_all(struct create *c, struct err *err)
{
    const struct create_params *p = c->p;
    char host[256] = "";
    struct err clock = {""};
    int r = catalog_open(p->root, CATALOG_READ, &c->catalog, err);
    if (r == 0)
        r = repo_open(p->repo, REPO_WRITE, p->wait_ms, "create", &c->repo, err);
    if (r == 0)
        r = store_open(c->repo, p->level, &c->store, err);
    if (r < 0)
        return r;
    (void)gethostname(host, sizeof(host) - 1); /* empty then */
    const struct set_params set = {
        .now_s = time(NULL), .host = host, .root = p->root, .comment = p->comment, .sign_key = p->sign_key};
    r = set_begin(c->store, &set, &c->set, &clock, err);
    if (r == 0 && clock.msg[0])
        warn(c, clock.msg);
    if (r == 0)
        say_problems(c);
    if (r == 0)
        r = pipe_create(c->store, thread_count(p->threads), repo_format(c->repo)->chunk_bytes, &c->pipe, err);
    c->capture = (struct capture){.repo = c->repo,
                                  .store = c->store,
                                  .set = c->set,
                                  .pipe = c->pipe,
                                  .is_full = p->is_full,
                                  .is_paranoid = p->is_paranoid,
                                  .stop = p->stop,
                                  .progress = progress,
                                  .warn = warn,
                                  .arg = c};
    return r;
}

static void close_all(struct create *c)
{
    for (size_t i = 0; i < c->n_files; i++)
        version_file_close(&c->files[i]);
    free(c->files);
    free(c->failed);
    pipe_destroy(c->pipe);
    set_abort(c->set);
    store_close(c->store);
    repo_close(c->repo);
    catalog_close(c->catalog);
}

static int capture_all(struct create *c, struct err *err)
{
    struct scope s = {0};
    int r = scope_read(c->catalog, c->p->names, c->p->n_names, &s, err);
    if (r == 0) {
        estimate_versions(c, &s);
        r = add_versions(c, &s, err);
    }
    scope_finish(&s);
    return r < 0 ? r : add_instant(c, err);
}

/* What was stored so far is worth keeping: the next run finds it. The first failure is the one that counts. */
static void keep_what_is_stored(struct create *c)
{
    struct err ignored;
    if (c->store)
        (void)store_flush(c->store, &ignored);
}

static void say_mended(struct create *c)
{
    struct err e;
    unsigned long long n = c->capture.counts.mended;
    if (n == 0)
        return;
    (void)err_set(&e, 0,
                  "%llu chunk%s in the repository were damaged and are stored again; 'diskgate backup verify' tells "
                  "whether there are more",
                  n, n == 1 ? "" : "s");
    warn(c, e.msg);
}

int create_run(const struct create_params *p, struct create_report *ret, struct err *err)
{
    *ret = (struct create_report){0};
    struct create c = {.p = p, .report = ret};
    int r = open_all(&c, err);
    if (r == 0)
        r = capture_all(&c, err);
    if (r == 0)
        say_mended(&c);
    if (r == 0)
        (void)snprintf(ret->set, sizeof(ret->set), "%s", set_writer_id(c.set));
    if (r == 0)
        r = set_commit(c.set, err);
    else
        keep_what_is_stored(&c);
    if (r == -ENOSPC || r == -EDQUOT) {
        const struct err why = *err;
        (void)err_set(err, r, "%.900s; the sets that are there are whole, 'diskgate backup prune' makes room", why.msg);
    }
    ret->counts = c.capture.counts;
    if (c.store)
        store_counts(c.store, &ret->stored);
    close_all(&c);
    return r;
}
