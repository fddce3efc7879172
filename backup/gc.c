/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mark and sweep; see gc.h.
 *
 * The mark is one bit for each entry of an array of all chunks in the order of their names, made from the packs, not from the cache. Memory: 24
 * bytes a chunk.
 */
#include "backup/gc-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "backup/index-table.h"
#include "core/util.h"

/* --- all chunks ---------------------------------------------------------------------------------------------------- */

static int take_chunk(void *arg, const struct chunk_place *p)
{
    struct gc *g = arg;
    struct gc_chunk *c = &g->chunks[g->n++];
    c->name = p->ref.name;
    c->is_lost = p->pack == INDEX_BAD;
    c->pack = c->is_lost ? 0 : p->pack;
    return 0;
}

static int compare_chunks(const void *a, const void *b)
{
    return chunk_name_compare(&((const struct gc_chunk *)a)->name, &((const struct gc_chunk *)b)->name);
}

/* Of those with one name the one that can be read. */
static void merge_names(struct gc *g)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        if (n == 0 || compare_chunks(&g->chunks[n - 1], &g->chunks[i]) != 0)
            g->chunks[n++] = g->chunks[i];
        else if (g->chunks[n - 1].is_lost)
            g->chunks[n - 1] = g->chunks[i];
    }
    g->n = n;
}

static int load_chunks(struct gc *g, struct err *err)
{
    int r = g->is_dry ? 0 : repo_remove(g->repo, "index.cache", err); /* so that the index is made from the packs */
    if (r == 0)
        r = index_open(g->repo, &g->index, err);
    if (r < 0)
        return r;
    g->chunks = calloc(index_count(g->index) + 1, sizeof(*g->chunks));
    if (!g->chunks)
        return err_set(err, -ENOMEM, "memory is out");
    r = index_each(g->index, take_chunk, g);
    if (r < 0) /* one that is not in the list would not be needed */
        return err_sys(err, r, "cannot list the chunks of '%s'", repo_path(g->repo));
    qsort(g->chunks, g->n, sizeof(*g->chunks), compare_chunks);
    merge_names(g);
    return 0;
}

struct gc_chunk *gc_find(const struct gc *g, const struct chunk_name *name)
{
    struct gc_chunk key = {.name = *name};
    return bsearch(&key, g->chunks, g->n, sizeof(key), compare_chunks);
}

/* --- mark ---------------------------------------------------------------------------------------------------------- */

static int mark_stream(struct gc *g, const char *where, const struct set_info *s, const struct stream_id *id,
                       struct err *err)
{
    _cleanup_(manifest_closep) struct manifest_reader *m = NULL;
    struct manifest_line line;
    int kind, r = set_manifest_open_in(g->repo, where, s->id, id, &m, err);
    if (r < 0)
        return r;
    while ((kind = manifest_next(m, &line, err)) > MANIFEST_END) {
        struct gc_chunk *c = kind == MANIFEST_CHUNK ? gc_find(g, &line.name) : NULL;
        if (c)
            c->is_needed = true; /* one that nobody ever heard of is verify's business */
    }
    return kind;
}

/* Every manifest of every set in the folder @where. @way_out: what one can do when that fails. */
static int mark_folder(struct gc *g, const char *where, const char *way_out, struct err *err)
{
    struct set_info *sets;
    size_t n;
    int r = set_list_in(g->repo, where, &sets, &n, err);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (sets[i].problem) {
            *err = sets[i].reason;
            r = sets[i].problem;
        }
        for (size_t k = 0; r == 0 && k < sets[i].n_streams; k++)
            r = mark_stream(g, where, &sets[i], &sets[i].streams[k].id, err);
        g->counts->sets += r == 0;
    }
    set_list_free(sets, n);
    if (r == 0)
        return 0;
    const struct err why = *err;
    return err_set(err, r, "nothing was deleted, because not every set could be read: %.1500s; %s", why.msg, way_out);
}

/* Folders in trash/, by number; what is called otherwise is none of ours. */
int gc_each_trash(struct repo *repo, int (*fn)(void *arg, const char *path, uint64_t number, struct err *err),
                  void *arg, struct err *err)
{
    int fd = openat(repo_dirfd(repo), "trash", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d && errno == ENOENT) /* a copy without empty folders; writers make it again when they open the repository */
        return 0;
    if (!d)
        return err_sys(err, -errno, "cannot list the folder '%s/trash'", repo_path(repo));
    errno = 0;
    for (const struct dirent *e; r == 0 && (e = readdir(d)); errno = 0) {
        char path[PATH_MAX];
        size_t digits = strspn(e->d_name, "0123456789");
        if (digits < 6 || digits > 18 || e->d_name[digits])
            continue;
        (void)snprintf(path, sizeof(path), "trash/%s", e->d_name);
        r = fn(arg, path, strtoull(e->d_name, NULL, 10), err);
    }
    if (r == 0 && errno)
        r = err_sys(err, -errno, "cannot list the folder '%s/trash'", repo_path(repo));
    return r;
}

/* Sets that went to trash/ since the last collection still count. */
static int mark_trash(void *arg, const char *path, uint64_t number, struct err *err)
{
    struct gc *g = arg;
    return number > g->marks->gc && !g->is_now
               ? mark_folder(g, path, "it was taken out already, and with --now trash/ is emptied unread", err)
               : 0;
}

static int check_listing(struct gc *g, struct err *err)
{
    struct set_info *sets;
    char lost[SET_ID_LEN + 1];
    size_t n;
    int r = set_list(g->repo, &sets, &n, err);
    if (r < 0)
        return r;
    r = marks_learn(g->marks, sets, n, lost);
    set_list_free(sets, n);
    if (r < 0)
        return err_set(err, r, "memory is out");
    if (lost[0])
        return err_set(
            err, -EBADMSG,
            "the set %s was there and is not listed any more: nothing was deleted, in case it is the disk that "
            "fails; if somebody deleted it by hand, 'diskgate backup remove' makes that known",
            lost);
    return 0;
}

static int mark_all(struct gc *g, struct err *err)
{
    int r = check_listing(g, err);
    if (r == 0)
        r = mark_folder(g, "sets", "if it cannot be had back, take the set out with 'diskgate backup remove'", err);
    if (r == 0)
        r = gc_each_trash(g->repo, mark_trash, g, err);
    for (size_t i = 0; r == 0 && i < g->n; i++)
        g->counts->chunks += g->chunks[i].is_needed;
    return r;
}

/* --- all ----------------------------------------------------------------------------------------------------------- */

static void gc_finish(struct gc *g)
{
    index_close(g->index);
    free(g->chunks);
}

/* The collection is over: the next one is the first that may delete what went to trash/ now. */
static int conclude(struct gc *g, struct err *err)
{
    g->marks->gc++;
    gc_forget_packs(g);
    return marks_store(g->repo, g->marks, err);
}

int gc_run(struct repo *r, struct marks *marks, bool is_dry, bool is_now, struct gc_counts *ret, struct err *err)
{
    struct gc g = {.repo = r, .marks = marks, .counts = ret, .is_dry = is_dry, .is_now = is_now};
    *ret = (struct gc_counts){0};
    int e = is_dry ? 0 : repo_exclude_readers(r, REPO_READERS_MS, err);
    if (e == 0)
        e = load_chunks(&g, err);
    if (e == 0)
        e = mark_all(&g, err);
    if (e == 0)
        e = gc_empty_trash(&g, is_now, err); /* before new packs are written: that may need the room */
    if (e == 0)
        e = gc_sweep(&g, err);
    if (e == 0 && is_now && !is_dry)
        e = gc_empty_trash(&g, true, err);
    if (e == 0 && !is_dry)
        e = conclude(&g, err);
    gc_finish(&g);
    return e;
}
