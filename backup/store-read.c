/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way of a chunk out of a pack. A few packs stay open, the least recently used one makes room; a chunk of a pack that is still being
 * written is read from there, once no write to it is under way.
 */
#include "backup/store-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "core/util.h"

void packs_close(struct store *s)
{
    for (size_t i = 0; i < OPEN_PACKS; i++)
        if (s->open[i].fd >= 0)
            (void)close(s->open[i].fd); /* read only */
}

/* --- open packs ---------------------------------------------------------------------------------------------------- */

static struct open_pack *find_open_locked(struct store *s, uint32_t number)
{
    for (size_t i = 0; i < OPEN_PACKS; i++)
        if (s->open[i].fd >= 0 && s->open[i].number == number)
            return &s->open[i];
    return NULL;
}

/* A place for one more: free, or closed now. NULL when all are in use. */
static struct open_pack *make_room_locked(struct store *s)
{
    struct open_pack *best = NULL;
    for (size_t i = 0; i < OPEN_PACKS; i++) {
        struct open_pack *p = &s->open[i];
        if (p->fd < 0)
            return p;
        if (p->users == 0 && (!best || p->used < best->used))
            best = p;
    }
    if (best) {
        (void)close(best->fd); /* read only */
        best->fd = -1;
    }
    return best;
}

static int open_file(struct store *s, uint32_t number, struct err *err)
{
    struct pack_id id;
    char path[64];
    if (index_pack(s->index, number, &id) < 0)
        return err_set(err, -EBADMSG, "there is no pack %06u", number);
    pack_path(&id, ".tar.zst", path);
    int fd = openat(repo_dirfd(s->repo), path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return err_set(err, -EBADMSG, "'%s/%s' is gone", repo_path(s->repo), path);
    return fd < 0 ? err_sys(err, -errno, "cannot open '%s/%s'", repo_path(s->repo), path) : fd;
}

/* An fd of the pack. *ret_slot: where it is kept, NULL when the caller has to close it. */
static int get_pack(struct store *s, uint32_t number, struct open_pack **ret_slot, struct err *err)
{
    lock_take(&s->packs_lock);
    struct open_pack *p = find_open_locked(s, number);
    if (p) {
        p->users++;
        p->used = ++s->clock;
    }
    lock_release(&s->packs_lock);
    *ret_slot = p;
    if (p)
        return p->fd; /* stays while there are users */
    int fd = open_file(s, number, err);
    if (fd < 0)
        return fd;
    LOCK_SCOPE(&s->packs_lock);
    p = find_open_locked(s, number) ? NULL : make_room_locked(s); /* somebody else was faster: ours serves once */
    if (p)
        *p = (struct open_pack){.fd = fd, .number = number, .users = 1, .used = ++s->clock};
    *ret_slot = p;
    return fd;
}

static void put_pack(struct store *s, int fd, struct open_pack *slot)
{
    if (!slot) {
        (void)close(fd); /* read only */
        return;
    }
    LOCK_SCOPE(&s->packs_lock);
    slot->users--;
}

/* --- packs that are being written ---------------------------------------------------------------------------------- */

static struct own_pack *find_own_locked(struct store *s, uint32_t number)
{
    for (struct own_pack *p = s->own; p; p = p->next)
        if (pack_writer_id(p->writer)->number == number)
            return p;
    return NULL;
}

/* 0: read; 1: it is no pack of ours, or no longer; a negative errno. */
static int read_own(struct store *s, const struct chunk_place *place, void *buf)
{
    lock_take(&s->lock);
    struct own_pack *p;
    while ((p = find_own_locked(s, place->pack)) && p->writing && !s->failed)
        pthread_cond_wait(&s->changed, &s->lock.mutex);
    if (p)
        p->readers++;
    lock_release(&s->lock);
    if (!p)
        return 1;
    int r = pread_full(pack_writer_fd(p->writer), buf, place->clen, place->off);
    LOCK_SCOPE(&s->lock);
    p->readers--;
    pthread_cond_broadcast(&s->changed);
    return r;
}

/* --- get ----------------------------------------------------------------------------------------------------------- */

static int read_frame(struct store_worker *w, const struct chunk_place *place, struct err *err)
{
    struct open_pack *slot;
    int r = read_own(w->store, place, w->frame);
    if (r <= 0)
        return r < 0 ? err_sys(err, r, "cannot read pack %06u", place->pack) : 0;
    int fd = get_pack(w->store, place->pack, &slot, err);
    if (fd < 0)
        return fd;
    r = pread_full(fd, w->frame, place->clen, place->off);
    put_pack(w->store, fd, slot);
    return r < 0 ? err_set(err, -EBADMSG, "pack %06u cannot be read at %llu, or is shorter than that (%s)", place->pack,
                           (unsigned long long)place->off, strerror(-r))
                 : 0;
}

/* Out of w->frame. Where SHA-256 is compared, XXH3-128 would say nothing more. */
static int decode(struct store_worker *w, const struct chunk_place *place, void *buf, bool with_sha256)
{
    unsigned char sha256[32];
    if (!with_sha256)
        return pack_decode(w->coder, &place->ref, w->frame, place->clen, buf);
    int r = pack_inflate(w->coder, &place->ref, w->frame, place->clen, buf);
    if (r == 0)
        r = sha256_buf(buf, place->ref.len, sha256);
    return r == 0 && memcmp(sha256, place->ref.sha256, sizeof(sha256)) != 0 ? -EBADMSG : r;
}

static int read_chunk(struct store_worker *w, const struct chunk_place *place, const char *name, void *buf,
                      bool with_sha256, struct err *err)
{
    if (place->clen > w->frame_room || place->ref.len > repo_format(w->store->repo)->chunk_bytes)
        return err_set(err, -EBADMSG, "chunk %s is longer than a chunk of this repository", name);
    int r = read_frame(w, place, err);
    if (r < 0)
        return err_prefix(err, r, "chunk %s", name);
    r = decode(w, place, buf, with_sha256);
    return r < 0 ? err_set(err, r, "chunk %s in pack %06u at %llu is damaged", name, place->pack,
                           (unsigned long long)place->off)
                 : 0;
}

int store_get(struct store_worker *w, const struct chunk_name *name, void *buf, struct chunk_ref *ret, struct err *err)
{
    struct chunk_place place;
    char text[CHUNK_NAME_LEN + 1];
    (void)chunk_name_text(name, text);
    int found = index_find(w->store->index, name, &place);
    if (found < 0 && found != -ENOENT)
        return err_sys(err, found, "cannot look for chunk %s in the index", text);
    if (found < 0)
        return err_set(err, -EBADMSG, "chunk %s is in no pack that can be read%s%s", text,
                       *index_problems(w->store->index) ? ": " : "", index_problems(w->store->index));
    int r = read_chunk(w, &place, text, buf, ret != NULL, err);
    if (r == -EBADMSG)
        (void)index_forget(w->store->index, name); /* somebody else may have done it */
    if (r == 0 && ret)
        *ret = place.ref;
    return r;
}
