/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way of a chunk into a pack; see store.h. Reading is in store-read.c.
 *
 * The lock is held for lookups and for giving out a place, never while bytes are hashed, compressed or written:
 *
 *   hash -> look up -> compress, decode, compare -> LOCK: look again; place in the pack; index -> UNLOCK -> pwrite
 *
 * A pack is full when pack_bytes are reached: it leaves `current`, its last writer finishes it while others begin the next one.
 *
 * (1) A chunk is in the index from the moment it has a place. Whoever hits on it relies on the pack being finished before
 *     store_flush() returns 0.
 * (2) `failed` is set once and never cleared.
 */
#include "backup/store-priv.h"

#include <errno.h>
#include <string.h>

#include "core/util.h"

/* --- open and close ------------------------------------------------------------------------------------------------ */

int store_open(struct repo *r, int level, struct store **ret, struct err *err)
{
    struct store *s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(err, -ENOMEM, "memory is out");
    s->repo = r;
    s->level = level ? level : STORE_LEVEL_DEFAULT;
    lock_init(&s->lock, LOCK_STORE);
    lock_init(&s->packs_lock, LOCK_PACKS);
    pthread_cond_init(&s->changed, NULL);
    for (size_t i = 0; i < OPEN_PACKS; i++)
        s->open[i].fd = -1;
    int e = index_open(r, &s->index, err);
    if (e < 0) {
        store_close(s);
        return e;
    }
    *ret = s;
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    for (struct own_pack *p = s->own, *next; p; p = next) {
        next = p->next;
        pack_destroy(p->writer);
        free(p);
    }
    packs_close(s);
    index_close(s->index);
    pthread_cond_destroy(&s->changed);
    lock_finish(&s->lock);
    lock_finish(&s->packs_lock);
    free(s);
}

struct store_worker *store_worker_create(struct store *s)
{
    struct store_worker *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->store = s;
    w->frame_room = ZSTD_compressBound(repo_format(s->repo)->chunk_bytes);
    w->coder = pack_coder_create(repo_format(s->repo)->chunk_bytes, s->level);
    w->frame = malloc(w->frame_room);
    if (w->coder && w->frame)
        return w;
    store_worker_destroy(w);
    return NULL;
}

void store_worker_destroy(struct store_worker *w)
{
    if (!w)
        return;
    pack_coder_destroy(w->coder);
    free(w->frame);
    free(w);
}

/* --- failure ------------------------------------------------------------------------------------------------------- */

/* The first failure counts, for all. */
static int fail(struct store *s, int r, const struct err *why)
{
    LOCK_SCOPE(&s->lock);
    if (!s->failed) {
        s->failed = r;
        s->why = *why;
    }
    pthread_cond_broadcast(&s->changed);
    return r;
}

static int failed_locked(const struct store *s, struct err *err)
{
    if (s->failed)
        *err = s->why;
    return s->failed;
}

/* --- packs --------------------------------------------------------------------------------------------------------- */

/* A pack to append to; one more thread is writing to it. Making a new one is done without the lock. */
static int begin_pack_locked(struct store *s, struct err *err)
{
    uint32_t number = index_next_number(s->index);
    struct pack_writer *writer = NULL;
    struct own_pack *p = calloc(1, sizeof(*p));
    s->is_beginning = true;
    lock_release(&s->lock);
    int r = p ? pack_create(s->repo, number, &writer, err) : err_set(err, -ENOMEM, "memory is out");
    if (r == 0 && (r = index_add_pack(s->index, pack_writer_id(writer))) < 0)
        err_set(err, r, "memory is out");
    lock_take(&s->lock);
    s->is_beginning = false;
    pthread_cond_broadcast(&s->changed);
    if (r < 0) {
        pack_destroy(writer);
        free(p);
        return r;
    }
    p->writer = writer;
    p->next = s->own;
    s->own = s->current = p;
    return 0;
}

static int need_pack_locked(struct store *s, struct err *err)
{
    int r = failed_locked(s, err);
    while (r == 0 && !s->current) {
        if (s->is_beginning)
            pthread_cond_wait(&s->changed, &s->lock.mutex);
        else
            r = begin_pack_locked(s, err);
        if (r == 0)
            r = failed_locked(s, err);
    }
    return r;
}

static bool is_full(const struct store *s, const struct own_pack *p)
{
    return pack_writer_bytes(p->writer) >= repo_format(s->repo)->pack_bytes ||
           pack_writer_count(p->writer) >= PACK_CHUNKS_MAX;
}

static void unlink_own_locked(struct store *s, const struct own_pack *p)
{
    struct own_pack **at = &s->own;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
}

/* @p is nobody's current pack and nobody writes to it. */
static int finish_pack(struct store *s, struct own_pack *p, struct err *err)
{
    int r = pack_finish(p->writer, err);
    if (r < 0)
        (void)fail(s, r, err); /* it is r */
    lock_take(&s->lock);
    s->counts.packs += r == 0;
    while (p->readers)
        pthread_cond_wait(&s->changed, &s->lock.mutex);
    unlink_own_locked(s, p);
    pthread_cond_broadcast(&s->changed);
    lock_release(&s->lock);
    pack_destroy(p->writer);
    free(p);
    return r;
}

/* This thread's write to @p is over. The last one of a pack that was replaced finishes it. */
static int leave_pack(struct store *s, struct own_pack *p, struct err *err)
{
    lock_take(&s->lock);
    if (s->current == p && is_full(s, p))
        s->current = NULL;
    p->writing--;
    bool is_mine = p->writing == 0 && s->current != p && !s->failed;
    pthread_cond_broadcast(&s->changed);
    lock_release(&s->lock);
    return is_mine ? finish_pack(s, p, err) : 0;
}

int store_flush(struct store *s, struct err *err)
{
    lock_take(&s->lock);
    while (!s->failed && s->own && (s->own->next || s->own != s->current || s->own->writing))
        pthread_cond_wait(&s->changed, &s->lock.mutex); /* others finish theirs */
    struct own_pack *p = s->failed ? NULL : s->current;
    int r = failed_locked(s, err);
    s->current = s->failed ? s->current : NULL;
    lock_release(&s->lock);
    if (r == 0 && p)
        r = finish_pack(s, p, err);
    struct err why;
    if (r == 0)
        (void)index_store(s->index, &why); /* costs the next one time */
    return r;
}

/* --- put ----------------------------------------------------------------------------------------------------------- */

static int known(struct store *s, const struct chunk_place *place, struct chunk_ref *ret)
{
    LOCK_SCOPE(&s->lock);
    s->counts.known++;
    *ret = place->ref;
    return STORE_KNOWN;
}

/* Give the encoded chunk its place, unless somebody was faster. 1 = it has one; 0 = look at *ret_place (it is there by now), or encode again under
 * *ret_suffix. */
static int take_place(struct store_worker *w, const struct chunk_ref *ref, struct own_pack **ret_pack,
                      struct pack_entry *ret, uint32_t *ret_suffix, struct chunk_place *ret_place, bool *ret_found,
                      struct err *err)
{
    struct store *s = w->store;
    LOCK_SCOPE(&s->lock);
    int r = need_pack_locked(s, err);
    if (r < 0)
        return r;
    r = index_find_content(s->index, ref->name.xxh, ref->sha256, ref->len, ret_place, ret_suffix);
    if (r < 0 && r != -ENOENT)
        return err_sys(err, r, "cannot look for a chunk");
    *ret_found = r == 0;
    if (*ret_found || *ret_suffix != ref->name.suffix)
        return 0;
    uint64_t before = pack_writer_bytes(s->current->writer);
    r = pack_reserve(s->current->writer, w->coder, ret);
    if (r == 0)
        r = index_add(s->index, ret, pack_writer_id(s->current->writer)->number);
    if (r < 0)
        return err_sys(err, r, "cannot keep a chunk in mind");
    s->current->writing++;
    s->counts.stored_bytes += pack_writer_bytes(s->current->writer) - before;
    *ret_pack = s->current;
    return 1;
}

static int put_new(struct store_worker *w, struct chunk_ref *ref, const void *buf, struct chunk_ref *ret,
                   struct err *err)
{
    struct store *s = w->store;
    struct own_pack *p = NULL;
    struct pack_entry e;
    struct chunk_place place;
    uint32_t suffix = ref->name.suffix;
    bool found = false;
    int r = 0;
    while (r == 0 && !found) {
        ref->name.suffix = suffix;
        r = suffix > CHUNK_SUFFIX_MAX ? err_set(err, -ENOSPC, "too many chunks with one XXH3-128")
                                      : pack_encode(w->coder, ref, buf, err);
        if (r == 0)
            r = take_place(w, ref, &p, &e, &suffix, &place, &found, err);
    }
    if (found)
        return known(s, &place, ret);
    if (r > 0)
        r = pack_write(p->writer, w->coder, &e, err);
    if (r < 0)
        (void)fail(s, r, err); /* it is r */
    int last = p ? leave_pack(s, p, err) : 0;
    if (r < 0 || last < 0)
        return r < 0 ? r : last;
    *ret = *ref;
    LOCK_SCOPE(&s->lock);
    s->counts.fresh++;
    s->counts.collisions += ref->name.suffix > 0;
    return ref->name.suffix ? STORE_COLLISION : STORE_NEW;
}

static int hash(const void *buf, size_t len, struct chunk_ref *ret)
{
    *ret = (struct chunk_ref){.len = (uint32_t)len};
    chunk_hash(buf, len, ret->name.xxh);
    return sha256_buf(buf, len, ret->sha256);
}

int store_put(struct store_worker *w, const void *buf, size_t len, struct chunk_ref *ret, struct err *err)
{
    struct store *s = w->store;
    struct chunk_ref ref;
    struct chunk_place place;
    if (is_zero(buf, len)) {
        LOCK_SCOPE(&s->lock);
        s->counts.zero++;
        return STORE_ZERO;
    }
    int r = hash(buf, len, &ref);
    if (r < 0) {
        err_set(err, r, "the library for SHA-256 failed");
        return fail(s, r, err);
    }
    lock_take(&s->lock);
    r = failed_locked(s, err);
    lock_release(&s->lock);
    if (r < 0)
        return r;
    r = index_find_content(s->index, ref.name.xxh, ref.sha256, ref.len, &place, &ref.name.suffix);
    if (r == 0)
        return known(s, &place, ret);
    if (r != -ENOENT) {
        err_sys(err, r, "cannot look for a chunk");
        return fail(s, r, err);
    }
    return put_new(w, &ref, buf, ret, err);
}

/* --- small things -------------------------------------------------------------------------------------------------- */

int store_has(struct store *s, const struct chunk_name *name, struct chunk_ref *ret)
{
    struct chunk_place place;
    int r = index_find(s->index, name, &place);
    if (r == 0)
        *ret = place.ref;
    return r;
}

void store_counts(struct store *s, struct store_counts *ret)
{
    LOCK_SCOPE(&s->lock);
    *ret = s->counts;
}

struct index *store_index(struct store *s)
{
    return s->index;
}

struct repo *store_repo(struct store *s)
{
    return s->repo;
}
