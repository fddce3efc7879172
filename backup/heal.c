/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A walk over all manifests of one repository, with another one at hand; see heal.h. */
#include "backup/heal.h"

#include <errno.h>
#include <search.h>
#include <string.h>

#include "backup/set.h"
#include "core/util.h"

struct heal {
    const struct work *work;
    struct heal_report *report;
    struct repo *repo;
    struct store *store;
    struct store_worker *to;
    struct reader *other;
    struct reader_worker *from;
    unsigned char *buf;
    void *lost; /* tree of names that the other one does not have either; a whole pack of them may be gone */
};

static int compare_names(const void *a, const void *b)
{
    return chunk_name_compare(a, b);
}

static bool is_lost(const struct heal *h, const struct chunk_name *name)
{
    return tfind(name, &h->lost, compare_names) != NULL;
}

static int give_up(struct heal *h, const struct chunk_name *name)
{
    struct chunk_name *copy = malloc(sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    *copy = *name;
    if (tsearch(copy, &h->lost, compare_names))
        return 0;
    free(copy);
    return -ENOMEM;
}

/* Each chunk that is missing once. */
static int heal_chunk(struct heal *h, const struct chunk_name *name, struct err *err)
{
    struct chunk_ref ref, got = {0};
    struct err why;
    if (store_has(h->store, name, &ref) == 0 || is_lost(h, name))
        return 0;
    h->report->missing++;
    int r = reader_get(h->from, name, h->buf, &ref, &why);
    if (r == 0) {
        r = store_put(h->to, h->buf, ref.len, &got, err);
        if (r < 0)
            return r; /* final for the store */
    }
    if (r >= 0 && chunk_name_equal(&got.name, name)) {
        h->report->healed++;
        return 0;
    }
    r = give_up(h, name);
    return r < 0 ? err_sys(err, r, "cannot heal") : 0;
}

static int heal_stream(struct heal *h, const struct set_info *s, const struct stream_id *id, struct err *err)
{
    _cleanup_(manifest_closep) struct manifest_reader *m = NULL;
    struct manifest_line line;
    int kind, r = set_manifest_open(h->repo, s, id, &m, err);
    while (r == 0 && (kind = manifest_next(m, &line, err)) != MANIFEST_END) {
        if (h->work->stop && *h->work->stop)
            return err_set(err, -EINTR, "stopped by a signal");
        r = kind < 0 ? kind : kind == MANIFEST_CHUNK ? heal_chunk(h, &line.name, err) : 0;
    }
    return r;
}

static int heal_sets(struct heal *h, struct err *err)
{
    struct set_info *sets = NULL;
    size_t n = 0;
    int r = set_list(h->repo, &sets, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        for (size_t k = 0; r == 0 && !sets[i].problem && k < sets[i].n_streams; k++) {
            r = heal_stream(h, &sets[i], &sets[i].streams[k].id, err);
            if (r == -EBADMSG) { /* a damaged manifest helps nobody; the others go on */
                work_warn(h->work, "%s", err->msg);
                r = 0;
            }
        }
    set_list_free(sets, n);
    return r;
}

/* Chunks are cut alike, and it is not the same folder. */
static int check_other(const struct heal *h, struct err *err)
{
    const struct repo *other = reader_repo(h->other);
    if (strcmp(repo_path(h->repo), repo_path(other)) == 0)
        return err_set(err, -EINVAL, "'%s' cannot heal itself: name another repository", repo_path(h->repo));
    if (repo_format(h->repo)->chunk_bytes != repo_format(other)->chunk_bytes)
        return err_set(err, -EINVAL, "'%s' has chunks of another size (%u bytes): nothing in it fits", repo_path(other),
                       repo_format(other)->chunk_bytes);
    return 0;
}

static int open_all(struct heal *h, const char *repo, const char *from, int wait_ms, struct err *err)
{
    int r = reader_open(from, "heal", wait_ms, &h->other, err);
    if (r == 0)
        r = repo_open(repo, REPO_WRITE, wait_ms, "heal", &h->repo, err);
    if (r == 0)
        r = check_other(h, err);
    if (r == 0)
        r = store_open(h->repo, 0, &h->store, err);
    if (r < 0)
        return r;
    reader_unlock(h->other);
    h->to = store_worker_create(h->store);
    h->from = reader_worker_create(h->other);
    h->buf = malloc(repo_format(h->repo)->chunk_bytes);
    return h->to && h->from && h->buf ? 0 : err_sys(err, -ENOMEM, "cannot heal");
}

int heal_run(const struct work *work, const char *repo, const char *from, int wait_ms, struct heal_report *ret,
             struct err *err)
{
    struct heal h = {.work = work, .report = ret};
    struct store_counts counts = {0};
    *ret = (struct heal_report){0};
    int r = open_all(&h, repo, from, wait_ms, err);
    if (r == 0)
        r = heal_sets(&h, err);
    if (r == 0)
        r = store_flush(h.store, err);
    if (r == 0)
        r = repo_is_there(h.repo, err);
    if (h.store)
        store_counts(h.store, &counts);
    ret->stored_bytes = counts.stored_bytes;
    tdestroy(h.lost, free);
    free(h.buf);
    store_worker_destroy(h.to);
    reader_worker_destroy(h.from);
    store_close(h.store);
    repo_close(h.repo);
    reader_close(h.other);
    return r;
}
