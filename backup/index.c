/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lookup: first what this process has added (hash chains), then the sorted table; see index.h. */
#include "backup/index-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"

/* --- open and close ------------------------------------------------------------------------------------------------ */

/* Numbers of packs in trash/ and quarantine/ are taken as well: they may come back. */
static void skip_numbers_in(struct index *x, int parent, const char *name, int depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
    for (const struct dirent *e; d && (e = readdir(d));) {
        struct pack_id id;
        char stem[PACK_STEM_LEN + 1];
        (void)snprintf(stem, sizeof(stem), "%.*s", (int)PACK_STEM_LEN, e->d_name); /* the ending does not matter */
        if (pack_id_parse(stem, "", &id) == 0)
            x->next_number = MAX(x->next_number, id.number + 1);
        else if (depth > 0 && e->d_name[0] != '.')
            skip_numbers_in(x, dirfd(d), e->d_name, depth - 1);
    }
}

static void find_next_number(struct index *x)
{
    for (size_t i = 0; i < x->n_packs; i++)
        x->next_number = MAX(x->next_number, x->packs[i].number + 1);
    skip_numbers_in(x, repo_dirfd(x->repo), "packs", 1); /* .toc files of packs that are gone */
    skip_numbers_in(x, repo_dirfd(x->repo), "trash", 2);
    skip_numbers_in(x, repo_dirfd(x->repo), "quarantine", 1);
}

/* Packs that are gone must be told of whether or not the cache could be used. */
static int note_gone(struct index *x, struct err *err)
{
    _cleanup_free_ struct pack_id *gone = NULL;
    size_t n = 0;
    int r = index_orphans(x->repo, x->packs, x->n_packs, &gone, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        size_t len = strlen(x->problems);
        (void)snprintf(x->problems + len, sizeof(x->problems) - len,
                       "%spack %s: it is gone, only its table of contents is there", len ? "; " : "", gone[i].stem);
    }
    return r;
}

/* A format file with another number in it than the packs would make a mess of both. The first, the middle and the last pack are asked, and one
 * that agrees is enough: a foreign one may lie among them. */
static int check_format(const struct index *x, struct err *err)
{
    struct repo_format f;
    const struct repo_format *mine = repo_format(x->repo);
    const size_t which[] = {0, x->n_packs - 1, x->n_packs / 2};
    bool has_other = false;
    for (size_t i = 0; i < x->n_packs && i < ARRAY_SIZE(which); i++) {
        if (pack_head_read(x->repo, &x->packs[which[i]], &f) < 0)
            continue;
        if (strcmp(f.id, mine->id) == 0 && f.chunk_bytes == mine->chunk_bytes)
            return 0;
        has_other = true;
    }
    return has_other ? err_set(err, -EBADMSG,
                               "the file '%s/format' says something else than the packs; 'diskgate backup repair' "
                               "writes it again from them",
                               repo_path(x->repo))
                     : 0;
}

static int load(struct index *x, struct err *err)
{
    char stamp[HASH_HEX_LEN + 1];
    int r = index_stamp(x->repo, stamp, err);
    if (r == 0)
        r = pack_list(x->repo, &x->packs, &x->n_packs, err);
    if (r < 0)
        return r;
    x->packs_room = x->n_packs;
    r = check_format(x, err);
    if (r < 0)
        return r;
    find_next_number(x);
    if (cache_load(x, stamp) == 0)
        return note_gone(x, err);
    x->was_rebuilt = x->n_packs > 0;
    r = index_read_packs(x, err);
    if (r == 0 && x->problems[0] == 0 && repo_can_write(x->repo))
        r = index_stamp(x->repo, stamp, err); /* .toc files may have come back */
    if (r == 0)
        r = cache_make(x, stamp, err);
    x->is_spilled = false;
    return r;
}

int index_open(struct repo *r, struct index **ret, struct err *err)
{
    _cleanup_(index_closep) struct index *x = calloc(1, sizeof(*x));
    if (!x)
        return err_set(err, -ENOMEM, "memory is out");
    x->repo = r;
    x->next_number = 1;
    lock_init(&x->lock, LOCK_INDEX);
    int e = load(x, err);
    if (e == 0)
        *ret = take_ptr(x);
    return e;
}

void index_close(struct index *x)
{
    if (!x)
        return;
    table_finish(&x->table);
    entries_finish(&x->fresh);
    lock_finish(&x->lock);
    free(x->heads);
    free(x->next);
    free(x->packs);
    free(x);
}

static void forget_chains(struct index *x)
{
    if (x->heads)
        memset(x->heads, 0, x->n_heads * sizeof(*x->heads));
}

int index_store(struct index *x, struct err *err)
{
    char stamp[HASH_HEX_LEN + 1];
    int r = index_stamp(x->repo, stamp, err);
    LOCK_SCOPE(&x->lock);
    if (r < 0 || (x->fresh.n == 0 && !x->is_spilled))
        return r;
    r = cache_make(x, stamp, err);
    if (r == 0)
        forget_chains(x);
    x->is_spilled &= r < 0;
    return r;
}

/* --- what this process has added ------------------------------------------------------------------------------------- */

/* The first backup of a large disk must not hold all its chunks in memory. An eighth of what is in the table already: so each entry is written again a
 * few times at most, however large it gets. */
#ifdef DISKGATE_TEST_HASHBITS
#define SPILL_MIN 7U /* so that small tests do it all the time */
#else
#define SPILL_MIN (128U << 10)
#endif

static void spill(struct index *x)
{
    struct err ignored;
    if (x->fresh.n < MAX(x->spill_at, MAX((size_t)SPILL_MIN, x->table.n / 8)))
        return;
    x->spill_at = 0;
    if (cache_make(x, NULL, &ignored) == 0) {
        forget_chains(x);
        x->is_spilled = true;
    } else {
        x->spill_at = 2 * x->fresh.n; /* there is memory, as long as there is */
    }
}

int index_take(struct index *x, const struct chunk_place *p)
{
    int r = entries_add(&x->fresh, p);
    if (r == 0)
        spill(x);
    return r;
}

static unsigned char *fresh_at(const struct index *x, uint32_t number)
{
    return x->fresh.p + (size_t)(number - 1) * INDEX_ENTRY_BYTES;
}

static size_t head_of(const struct index *x, const unsigned char *xxh)
{
    return (size_t)(get_u64(xxh) % x->n_heads);
}

static int grow_chains(struct index *x)
{
    size_t n = MAX((size_t)1024, 2 * x->fresh.n + 2);
    uint32_t *heads = calloc(n, sizeof(*heads)), *next = reallocarray(x->next, n, sizeof(*next));
    x->next = next ? next : x->next;
    if (!heads || !next) {
        free(heads);
        return -ENOMEM;
    }
    free(x->heads);
    x->heads = heads;
    x->n_heads = x->next_room = n;
    for (uint32_t i = 1; i <= x->fresh.n; i++) {
        size_t h = head_of(x, fresh_at(x, i));
        x->next[i - 1] = x->heads[h];
        x->heads[h] = i;
    }
    return 0;
}

static int add_locked(struct index *x, const struct chunk_place *p)
{
    spill(x);
    if (x->fresh.n + 1 >= x->next_room && grow_chains(x) < 0)
        return -ENOMEM;
    if (entries_add(&x->fresh, p) < 0)
        return -ENOMEM;
    size_t h = head_of(x, p->ref.name.xxh);
    x->next[x->fresh.n - 1] = x->heads[h];
    x->heads[h] = (uint32_t)x->fresh.n;
    return 0;
}

/* --- lookup ---------------------------------------------------------------------------------------------------------- */

/* Goes over all entries with one XXH3-128: fresh ones first, then the table. NULL behind the last, and when the table cannot be read. */
struct walk {
    struct index *x;
    const unsigned char *xxh;
    uint32_t fresh;
    size_t at;        /* the next in the table */
    bool is_in_table; /* the one that came last */
    int failed;
};

static struct walk walk_locked(struct index *x, const unsigned char xxh[16])
{
    struct walk w = {.x = x, .xxh = xxh, .fresh = x->n_heads ? x->heads[head_of(x, xxh)] : 0};
    w.failed = table_find(&x->table, xxh, &w.at);
    return w;
}

static const unsigned char *walk_next(struct walk *w)
{
    while (w->fresh) {
        unsigned char *p = fresh_at(w->x, w->fresh);
        w->fresh = w->x->next[w->fresh - 1];
        if (memcmp(p, w->xxh, 16) == 0)
            return p;
    }
    w->is_in_table = true;
    if (w->failed || w->at >= w->x->table.n)
        return NULL;
    const unsigned char *p = table_entry(&w->x->table, w->at);
    w->failed = p ? 0 : -EIO;
    if (!p || memcmp(p, w->xxh, 16) != 0)
        return NULL;
    w->at++;
    return p;
}

/* The readable one of that name; NULL: -ENOENT or -EIO in @w->failed. */
static const unsigned char *find_locked(const struct chunk_name *name, struct walk *w)
{
    const unsigned char *p;
    while ((p = walk_next(w)))
        if (get_u32(p + 16) == name->suffix && get_u32(p + 20) != INDEX_BAD)
            return p;
    w->failed = w->failed ? w->failed : -ENOENT;
    return NULL;
}

int index_find(struct index *x, const struct chunk_name *name, struct chunk_place *ret)
{
    LOCK_SCOPE(&x->lock);
    struct walk w = walk_locked(x, name->xxh);
    const unsigned char *p = find_locked(name, &w);
    if (!p)
        return w.failed;
    index_entry_decode(p, ret);
    return 0;
}

int index_find_content(struct index *x, const unsigned char xxh[16], const unsigned char sha256[32], uint32_t len,
                       struct chunk_place *ret, uint32_t *ret_suffix)
{
    LOCK_SCOPE(&x->lock);
    struct walk w = walk_locked(x, xxh);
    uint32_t suffix = 0;
    bool has_name = false; /* a bad chunk with these bytes: its name is the one to take */
    const unsigned char *p;
    while ((p = walk_next(&w))) {
        bool same = get_u32(p + 36) == len && memcmp(p + 40, sha256, 32) == 0;
        if (same && get_u32(p + 20) != INDEX_BAD) {
            index_entry_decode(p, ret);
            return 0;
        }
        if (same) {
            suffix = get_u32(p + 16);
            has_name = true;
        } else if (!has_name) {
            suffix = MAX(suffix, get_u32(p + 16) + 1);
        }
    }
    *ret_suffix = suffix;
    return w.failed ? w.failed : -ENOENT;
}

int index_add(struct index *x, const struct pack_entry *e, uint32_t pack)
{
    LOCK_SCOPE(&x->lock);
    struct walk w = walk_locked(x, e->ref.name.xxh);
    if (e->ref.name.suffix > CHUNK_SUFFIX_MAX || find_locked(&e->ref.name, &w))
        return -EEXIST;
    if (w.failed != -ENOENT)
        return w.failed;
    return add_locked(x, &(struct chunk_place){.ref = e->ref, .pack = pack, .clen = e->clen, .off = e->off});
}

int index_forget(struct index *x, const struct chunk_name *name)
{
    LOCK_SCOPE(&x->lock);
    struct walk w = walk_locked(x, name->xxh);
    const unsigned char *p = find_locked(name, &w);
    if (!p)
        return w.failed;
    if (w.is_in_table)
        return table_set_bad(&x->table, w.at - 1);
    put_u32(x->fresh.p + (p - x->fresh.p) + 20, INDEX_BAD);
    return 0;
}

/* Of the table; a copy, for @fn may look for others. */
static int each_in_table(struct index *x, index_fn *fn, void *arg)
{
    unsigned char copy[INDEX_ENTRY_BYTES];
    struct chunk_place p;
    int r = 0;
    for (size_t i = 0; r == 0 && i < x->table.n; i++) {
        lock_take(&x->lock);
        const unsigned char *at = table_entry(&x->table, i);
        if (at)
            memcpy(copy, at, sizeof(copy));
        lock_release(&x->lock);
        if (!at)
            return -EIO;
        index_entry_decode(copy, &p);
        r = fn(arg, &p);
    }
    return r;
}

int index_each(struct index *x, index_fn *fn, void *arg)
{
    struct chunk_place p;
    int r = each_in_table(x, fn, arg);
    for (size_t i = 0; r == 0 && i < x->fresh.n; i++) {
        index_entry_decode(fresh_at(x, (uint32_t)i + 1), &p);
        r = fn(arg, &p);
    }
    return r;
}

/* --- packs ----------------------------------------------------------------------------------------------------------- */

int index_pack(struct index *x, uint32_t number, struct pack_id *ret)
{
    LOCK_SCOPE(&x->lock);
    for (size_t i = x->n_packs; i-- > 0;)
        if (x->packs[i].number == number) {
            *ret = x->packs[i];
            return 0;
        }
    return -ENOENT;
}

int index_add_pack(struct index *x, const struct pack_id *id)
{
    LOCK_SCOPE(&x->lock);
    if (x->n_packs == x->packs_room) {
        struct pack_id *more = reallocarray(x->packs, 2 * x->packs_room + 16, sizeof(*more));
        if (!more)
            return -ENOMEM;
        x->packs = more;
        x->packs_room = 2 * x->packs_room + 16;
    }
    x->packs[x->n_packs++] = *id;
    x->next_number = MAX(x->next_number, id->number + 1);
    return 0;
}

const struct pack_id *index_packs(const struct index *x, size_t *ret_n)
{
    *ret_n = x->n_packs;
    return x->packs;
}

uint32_t index_next_number(struct index *x)
{
    LOCK_SCOPE(&x->lock);
    return x->next_number;
}

uint64_t index_count(struct index *x)
{
    LOCK_SCOPE(&x->lock);
    return x->table.n + x->fresh.n;
}

const char *index_problems(const struct index *x)
{
    return x->problems;
}

bool index_was_rebuilt(const struct index *x)
{
    return x->was_rebuilt;
}
