/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lookup: first what this process has added (hash chains), then the sorted table; see index.h. How it is opened is in index-open.c. */
#include "backup/index-priv.h"

#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"

/* --- what this process has added ------------------------------------------------------------------------------------- */

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
