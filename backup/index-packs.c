/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the packs say: the table of contents of each, and of those that are gone. */
#include "backup/index-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "backup/text.h"
#include "core/util.h"

#define TOC_MAX (PACK_CHUNKS_MAX * 160ULL + 4096)

/* --- lists --------------------------------------------------------------------------------------------------------- */

/* A backup may have completed it after the packs were listed. */
static bool has_pack(struct repo *r, const struct pack_id *id)
{
    char path[64];
    pack_path(id, ".tar.zst", path);
    return faccessat(repo_dirfd(r), path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int index_orphans(struct repo *r, const struct pack_id *packs, size_t n, struct pack_id **ret, size_t *ret_n,
                  struct err *err)
{
    struct pack_id *tocs = NULL;
    size_t n_tocs, kept = 0, k = 0;
    int e = pack_list_files(r, ".toc", &tocs, &n_tocs, err);
    if (e < 0)
        return e;
    for (size_t i = 0; i < n_tocs; i++) { /* both are in the same order */
        while (k < n && (packs[k].number < tocs[i].number ||
                         (packs[k].number == tocs[i].number && strcmp(packs[k].stem, tocs[i].stem) < 0)))
            k++;
        if ((k == n || strcmp(packs[k].stem, tocs[i].stem) != 0) && !has_pack(r, &tocs[i]))
            tocs[kept++] = tocs[i];
    }
    *ret = tocs;
    *ret_n = kept;
    return 0;
}

int index_count_gone(struct repo *r, struct err *err)
{
    _cleanup_free_ struct pack_id *packs = NULL, *gone = NULL;
    size_t n, n_gone = 0;
    int e = pack_list(r, &packs, &n, err);
    if (e == 0)
        e = index_orphans(r, packs, n, &gone, &n_gone, err);
    if (e < 0 || n_gone == 0)
        return e;
    (void)err_set(err, 0,
                  "%zu pack%s of '%s' %s gone, %s for one; 'diskgate backup verify' tells which sets lack something",
                  n_gone, n_gone == 1 ? "" : "s", repo_path(r), n_gone == 1 ? "is" : "are", gone[0].stem);
    return (int)MIN(n_gone, (size_t)INT_MAX);
}

static void list_stems(FILE *f, const char *what, const struct pack_id *id, size_t n)
{
    (void)fprintf(f, "%s\n", what); /* memory only, as below */
    for (size_t i = 0; i < n; i++)
        (void)fprintf(f, "%s\n", id[i].stem);
}

/* One that was cut off has not all that its table says. */
static void list_lengths(FILE *f, struct repo *r, const struct pack_id *id, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct stat st = {0}; /* what cannot be looked at has no length */
        char path[64];
        pack_path(&id[i], ".tar.zst", path);
        (void)fstatat(repo_dirfd(r), path, &st, AT_SYMLINK_NOFOLLOW);
        (void)fprintf(f, "%lld\n", (long long)st.st_size); /* memory only */
    }
}

int index_stamp(struct repo *r, char *ret, struct err *err)
{
    _cleanup_free_ struct pack_id *packs = NULL, *gone = NULL;
    struct badlist bad = {0};
    struct text_out o;
    size_t n, n_gone = 0;
    int e = pack_list(r, &packs, &n, err);
    if (e == 0)
        e = index_orphans(r, packs, n, &gone, &n_gone, err);
    if (e == 0)
        e = badlist_load(r, &bad, err);
    if (e < 0)
        return e;
    if (text_out_init(&o) == 0) {
        (void)fprintf(o.f, "%s %s\n", repo_format(r)->id, bad.stamp);
        list_stems(o.f, "packs", packs, n);
        list_lengths(o.f, r, packs, n);
        list_stems(o.f, "gone", gone, n_gone);
        e = text_out_flush(&o);
        hash_buf(o.buf, o.len, ret);
        text_out_finish(&o);
    } else {
        e = -ENOMEM;
    }
    badlist_finish(&bad);
    return e < 0 ? err_set(err, e, "memory is out") : 0;
}

/* --- entries ------------------------------------------------------------------------------------------------------- */

struct taker {
    struct index *index;
    const struct badlist *bad;
    const struct pack_id *pack;
    bool is_gone;
};

static int take_entry(void *arg, const struct pack_entry *e)
{
    const struct taker *t = arg;
    struct chunk_place p = {.ref = e->ref, .pack = t->pack->number, .clen = e->clen, .off = e->off};
    if (t->is_gone || badlist_has(t->bad, &e->ref.name, t->pack->stem))
        p.pack = INDEX_BAD;
    return index_take(t->index, &p);
}

/* The sentence is cut where there is no room; that there is one is what counts. */
static void note_problem(struct index *x, const char *stem, const char *what)
{
    size_t n = strlen(x->problems);
    (void)snprintf(x->problems + n, sizeof(x->problems) - n, "%spack %s: %s", n ? "; " : "", stem, what);
}

/* What a pack that is gone had; its .toc may be as old and as broken as it likes. */
static int read_gone(struct index *x, struct taker *t)
{
    _cleanup_free_ char *text = NULL;
    struct pack_id told;
    struct err why;
    char path[64];
    size_t len;
    pack_path(t->pack, ".toc", path);
    note_problem(x, t->pack->stem, "it is gone, only its table of contents is there");
    if (file_read(repo_dirfd(x->repo), path, TOC_MAX, &text, &len) < 0)
        return 0;
    int r = toc_decode(text, len, UINT64_MAX, repo_format(x->repo)->id, &told, take_entry, t, &why);
    return r == -ENOMEM ? r : 0;
}

static int read_pack(struct index *x, struct taker *t)
{
    struct err why;
    int how, r = pack_entries(x->repo, t->pack, take_entry, t, &how, &why);
    if (r == 0 && how == PACK_FROM_SCAN)
        note_problem(x, t->pack->stem, "its tables of contents are damaged; its chunks were found one by one");
    if (r == 0 && how != PACK_FROM_TOC_FILE && repo_can_write(x->repo))
        (void)pack_toc_restore(x->repo, t->pack, &why); /* the next one looks again */
    if (r < 0 && r != -ENOMEM)
        note_problem(x, t->pack->stem, why.msg);
    return r == -ENOMEM ? r : 0;
}

int index_read_packs(struct index *x, struct err *err)
{
    _cleanup_free_ struct pack_id *gone = NULL;
    struct badlist bad = {0};
    size_t n_gone = 0;
    int r = index_orphans(x->repo, x->packs, x->n_packs, &gone, &n_gone, err);
    if (r == 0)
        r = badlist_load(x->repo, &bad, err);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < x->n_packs; i++)
        r = read_pack(x, &(struct taker){x, &bad, &x->packs[i], false});
    for (size_t i = 0; r == 0 && i < n_gone; i++)
        r = read_gone(x, &(struct taker){x, &bad, &gone[i], true});
    badlist_finish(&bad);
    return r < 0 ? err_set(err, r, "memory is out") : 0;
}
