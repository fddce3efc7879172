/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of a mounted set; see mount-disk.h. The lock is held while manifests are read, because nobody can do anything with the disk before. */
#include "backup/mount-disk.h"

#include <errno.h>
#include <string.h>

#include "core/log.h"
#include "core/util.h"

#define AHEAD_CHUNKS 2U

struct disk *disk_create(const struct disk_source *source, const struct set_info *set, const struct set_stream *stream)
{
    struct disk *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    d->source = source;
    d->set = set;
    d->stream = stream;
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->parts_lock, NULL);
    return d;
}

void disk_destroy(struct disk *d)
{
    chain_close(d->chain);
    pthread_mutex_destroy(&d->parts_lock);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* --- open and close ---------------------------------------------------------------------------------------------- */

/* The manifests are those of the set, and the set is still the one that was signed. */
static int read_manifests(struct disk *d, struct err *err)
{
    uint64_t missing;
    const struct disk_source *s = d->source;
    struct repo *repo = reader_repo(s->reader);
    int r = s->key_file ? set_check_signature(repo, d->set->id, s->key_file, err) : 0;
    if (r == 0)
        r = set_check_stream(repo, d->set, &d->stream->id, err);
    return r < 0 ? r : chain_open(s->reader, d->set, &d->stream->id, &missing, &d->chain, err);
}

static int open_locked(struct disk *d)
{
    struct err err;
    int r = d->chain ? 0 : read_manifests(d, &err);
    if (r < 0) {
        log_error("mount: %s", err.msg);
        return r == -ENOMEM ? r : -EIO;
    }
    d->users++;
    return 0;
}

int disk_open(struct disk *d)
{
    pthread_mutex_lock(&d->lock);
    int r = open_locked(d);
    pthread_mutex_unlock(&d->lock);
    return r;
}

void disk_close(struct disk *d)
{
    pthread_mutex_lock(&d->lock);
    if (--d->users == 0) {
        chain_close(d->chain);
        d->chain = NULL;
    }
    pthread_mutex_unlock(&d->lock);
}

/* --- bytes ------------------------------------------------------------------------------------------------------- */

/* Chunks that a reader who goes on in order will want. */
static void look_ahead(struct disk *d, uint64_t n)
{
    struct chunk_name name;
    uint64_t count, last = atomic_exchange(&d->last, n);
    if (n != last && n != last + 1)
        return;
    for (uint64_t i = n + 1; i <= n + AHEAD_CHUNKS && i < chain_chunks(d->chain); i++)
        if (chain_find(d->chain, i, &name, &count, NULL) == CHAIN_DATA)
            chunk_cache_expect(d->source->cache, &name);
}

/* @len bytes at @at in chunk @n. */
static int read_chunk(struct disk *d, uint64_t n, size_t at, void *buf, size_t len)
{
    struct chunk_cache *cache = d->source->cache;
    struct chunk_name name;
    struct cached *e;
    const unsigned char *bytes;
    uint64_t count;
    size_t have;
    if (chain_find(d->chain, n, &name, &count, NULL) == CHAIN_ZERO) {
        memset(buf, 0, len);
        return 0;
    }
    int r = cache ? chunk_cache_get(cache, &name, &e, &bytes, &have) : -ENOMEM;
    if (r < 0)
        return r;
    size_t part = at < have ? MIN(len, have - at) : 0;
    memcpy(buf, bytes + at, part);
    memset((char *)buf + part, 0, len - part); /* of a shorter disk below */
    chunk_cache_put(cache, e);
    look_ahead(d, n);
    return 0;
}

int disk_read(struct disk *d, void *buf, size_t len, uint64_t off)
{
    const struct manifest_head *h = chain_head(d->chain);
    int r = 0;
    if (!range_ok(off, len, h->size_bytes))
        return -EINVAL;
    for (size_t part; r == 0 && len > 0; len -= part, off += part, buf = (char *)buf + part) {
        size_t at = (size_t)(off % h->chunk_bytes);
        part = MIN(len, h->chunk_bytes - at);
        r = read_chunk(d, off / h->chunk_bytes, at, buf, part);
    }
    return r;
}

uint64_t disk_seek(const struct disk *d, uint64_t off, uint64_t end, bool want_data)
{
    uint64_t chunk = chain_head(d->chain)->chunk_bytes, count; /* open: the chain stays */
    struct chunk_name name;
    while (off < end) {
        bool is_data = chain_find(d->chain, off / chunk, &name, &count, NULL) == CHAIN_DATA;
        if (is_data == want_data)
            return off;
        off = (off / chunk + (is_data ? 1 : count)) * chunk;
    }
    return end;
}
