/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A tree of names, and disks behind the files; see mount.h.
 *
 * The tree only grows: partitions are added once. A disk's own lock is held while its manifests are read, because nobody can do anything with
 * the disk before.
 */
#include "backup/mount.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "core/log.h"
#include "core/part.h"
#include "core/util.h"

#define AHEAD_CHUNKS 2U

struct disk {
    const struct set_info *set;
    const struct set_stream *stream;
    char prefix[24];      /* of its partitions: "" or "disk0." */
    pthread_mutex_t lock; /* protects what follows */
    struct chain *chain;
    unsigned users;
    _Atomic uint64_t last; /* chunk that was read last, for reading ahead */
    pthread_mutex_t
        parts_lock; /* taken before `lock`; held while partitions are looked for, so that nobody misses one; protects: */
    bool has_parts; /* were looked for */
};

struct mount_node {
    char *name;
    enum mount_kind kind;
    uint64_t ino, off, size_bytes;
    int64_t time_s;
    char *target;
    struct disk *disk; /* MOUNT_FILE */
    struct mount_node **children;
    size_t n, room;
};

struct mount {
    struct reader *reader;
    struct chunk_cache *cache;
    const char *key_file;
    struct set_info *sets;
    size_t n_sets;
    struct mount_node *root;
    struct disk **disks;
    size_t n_disks;
    pthread_mutex_t lock; /* protects children of nodes; held over nothing */
};

/* --- the tree ---------------------------------------------------------------------------------------------------- */

static uint64_t ino_of(uint64_t parent, const char *name)
{
    unsigned char text[NAME_LEN + 64], hash[16];
    uint64_t n = 0;
    memcpy(text, &parent, sizeof(parent));
    size_t len = strnlen(name, sizeof(text) - sizeof(parent));
    memcpy(text + sizeof(parent), name, len);
    hash128(text, sizeof(parent) + len, hash);
    memcpy(&n, hash, sizeof(n));
    return n | 2; /* neither 0 nor 1 */
}

static struct mount_node *child_locked(const struct mount_node *dir, const char *name, size_t len)
{
    for (size_t i = 0; i < dir->n; i++)
        if (strncmp(dir->children[i]->name, name, len) == 0 && !dir->children[i]->name[len])
            return dir->children[i];
    return NULL;
}

static void node_destroy(struct mount_node *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->n; i++)
        node_destroy(n->children[i]);
    free(n->children);
    free(n->target);
    free(n->name);
    free(n);
}

/* A node called @name in @dir; one that is there already is taken. NULL without memory. */
static struct mount_node *add(struct mount *m, struct mount_node *dir, const char *name, enum mount_kind kind,
                              int64_t time_s)
{
    pthread_mutex_lock(&m->lock);
    struct mount_node *n = child_locked(dir, name, strlen(name));
    if (!n && dir->n == dir->room) {
        struct mount_node **more = reallocarray(dir->children, 2 * dir->room + 4, sizeof(struct mount_node *));
        if (more) {
            dir->children = more;
            dir->room = 2 * dir->room + 4;
        }
    }
    if (!n && dir->n < dir->room && (n = calloc(1, sizeof(*n)))) {
        *n = (struct mount_node){.name = strdup(name), .kind = kind, .ino = ino_of(dir->ino, name), .time_s = time_s};
        if (n->name) {
            dir->children[dir->n++] = n;
        } else {
            free(n);
            n = NULL;
        }
    }
    pthread_mutex_unlock(&m->lock);
    return n;
}

static struct disk *add_disk(struct mount *m, const struct set_info *s, const struct set_stream *st)
{
    struct disk **more = reallocarray(m->disks, m->n_disks + 1, sizeof(struct disk *));
    if (!more)
        return NULL;
    m->disks = more;
    struct disk *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    d->set = s;
    d->stream = st;
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->parts_lock, NULL);
    return m->disks[m->n_disks++] = d;
}

static int add_stream(struct mount *m, struct mount_node *top, const struct set_info *s, const struct set_stream *st)
{
    bool is_client = st->id.kind == STREAM_OVERLAY;
    char number[16], file[24] = "disk.img";
    struct disk *d = add_disk(m, s, st);
    (void)snprintf(number, sizeof(number), "v%u", st->id.number);
    if (!d)
        return -ENOMEM;
    if (is_client) {
        (void)snprintf(file, sizeof(file), "disk%u.img", st->id.number);
        (void)snprintf(d->prefix, sizeof(d->prefix), "disk%u.", st->id.number);
    }
    struct mount_node *dir = add(m, top, is_client ? "clients" : st->id.name, MOUNT_DIR, s->time_s);
    dir = dir ? add(m, dir, is_client ? st->id.name : number, MOUNT_DIR, s->time_s) : NULL;
    struct mount_node *n = dir ? add(m, dir, file, MOUNT_FILE, s->time_s) : NULL;
    if (!n)
        return -ENOMEM;
    n->disk = d;
    n->size_bytes = st->size_bytes;
    return 0;
}

static int add_set(struct mount *m, struct mount_node *top, const struct set_info *s)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->n_streams; i++)
        if (s->streams[i].id.kind != STREAM_CATALOG)
            r = add_stream(m, top, s, &s->streams[i]);
    return r;
}

static int add_sets(struct mount *m)
{
    const struct set_info *newest = NULL;
    int r = 0;
    for (size_t i = 0; r == 0 && i < m->n_sets; i++) {
        const struct set_info *s = &m->sets[i];
        if (s->problem)
            continue;
        struct mount_node *top = add(m, m->root, s->id, MOUNT_DIR, s->time_s);
        r = top ? add_set(m, top, s) : -ENOMEM;
        newest = s;
    }
    struct mount_node *n = r == 0 && newest ? add(m, m->root, "latest", MOUNT_LINK, newest->time_s) : NULL;
    if (n)
        n->target = strdup(newest->id);
    return r;
}

/* What is signed, and by whom. */
static int check_signatures(const struct mount *m, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && m->key_file && i < m->n_sets; i++)
        if (!m->sets[i].problem)
            r = set_check_signature(reader_repo(m->reader), m->sets[i].id, m->key_file, err);
    return r;
}

int mount_create(struct reader *reader, const char *set, const char *key_file, struct mount **ret, struct err *err)
{
    struct mount *m = calloc(1, sizeof(*m));
    if (!m)
        return err_sys(err, -ENOMEM, "cannot mount");
    m->reader = reader;
    m->key_file = key_file;
    pthread_mutex_init(&m->lock, NULL);
    m->root = calloc(1, sizeof(*m->root));
    int r = m->root ? 0 : err_sys(err, -ENOMEM, "cannot mount");
    if (r == 0 && set) {
        m->sets = calloc(1, sizeof(*m->sets));
        r = m->sets ? set_find(reader_repo(reader), set, m->sets, err) : err_sys(err, -ENOMEM, "cannot mount");
        m->n_sets = r == 0;
    } else if (r == 0) {
        r = set_list(reader_repo(reader), &m->sets, &m->n_sets, err);
    }
    if (r == 0)
        r = check_signatures(m, err);
    if (r == 0) {
        m->root->ino = 1;
        m->root->time_s = set ? m->sets[0].time_s : 0;
        r = set ? add_set(m, m->root, &m->sets[0]) : add_sets(m);
        if (r < 0)
            r = err_sys(err, r, "cannot mount");
    }
    if (r < 0)
        mount_destroy(m);
    else
        *ret = m;
    return r;
}

int mount_start(struct mount *m)
{
    return chunk_cache_create(m->reader, MOUNT_CACHE_BYTES, &m->cache);
}

void mount_destroy(struct mount *m)
{
    if (!m)
        return;
    chunk_cache_destroy(m->cache);
    for (size_t i = 0; i < m->n_disks; i++) {
        chain_close(m->disks[i]->chain);
        pthread_mutex_destroy(&m->disks[i]->parts_lock);
        pthread_mutex_destroy(&m->disks[i]->lock);
        free(m->disks[i]);
    }
    free(m->disks);
    node_destroy(m->root);
    set_list_free(m->sets, m->n_sets);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* --- disks ------------------------------------------------------------------------------------------------------- */

/* The manifests are those of the set, and the set is still the one that was signed. */
static int read_manifests(struct mount *m, struct disk *d, struct err *err)
{
    uint64_t missing;
    struct repo *repo = reader_repo(m->reader);
    int r = m->key_file ? set_check_signature(repo, d->set->id, m->key_file, err) : 0;
    if (r == 0)
        r = set_check_stream(repo, d->set, &d->stream->id, err);
    return r < 0 ? r : chain_open(m->reader, d->set, &d->stream->id, &missing, &d->chain, err);
}

static int disk_open_locked(struct mount *m, struct disk *d)
{
    struct err err;
    int r = d->chain ? 0 : read_manifests(m, d, &err);
    if (r < 0) {
        log_error("mount: %s", err.msg);
        return r == -ENOMEM ? r : -EIO;
    }
    d->users++;
    return 0;
}

static int disk_open(struct mount *m, struct disk *d)
{
    pthread_mutex_lock(&d->lock);
    int r = disk_open_locked(m, d);
    pthread_mutex_unlock(&d->lock);
    return r;
}

static void disk_close(struct disk *d)
{
    pthread_mutex_lock(&d->lock);
    if (--d->users == 0) {
        chain_close(d->chain);
        d->chain = NULL;
    }
    pthread_mutex_unlock(&d->lock);
}

/* Chunks that a reader who goes on in order will want. */
static void look_ahead(struct mount *m, struct disk *d, uint64_t n)
{
    struct chunk_name name;
    uint64_t count, last = atomic_exchange(&d->last, n);
    if (n != last && n != last + 1)
        return;
    for (uint64_t i = n + 1; i <= n + AHEAD_CHUNKS && i < chain_chunks(d->chain); i++)
        if (chain_find(d->chain, i, &name, &count, NULL) == CHAIN_DATA)
            chunk_cache_expect(m->cache, &name);
}

/* @len bytes at @at in chunk @n. */
static int read_chunk(struct mount *m, struct disk *d, uint64_t n, size_t at, void *buf, size_t len)
{
    struct chunk_name name;
    struct cached *e;
    const unsigned char *bytes;
    uint64_t count;
    size_t have;
    if (chain_find(d->chain, n, &name, &count, NULL) == CHAIN_ZERO) {
        memset(buf, 0, len);
        return 0;
    }
    int r = m->cache ? chunk_cache_get(m->cache, &name, &e, &bytes, &have) : -ENOMEM;
    if (r < 0)
        return r;
    size_t part = at < have ? MIN(len, have - at) : 0;
    memcpy(buf, bytes + at, part);
    memset((char *)buf + part, 0, len - part); /* of a shorter disk below */
    chunk_cache_put(m->cache, e);
    look_ahead(m, d, n);
    return 0;
}

static int disk_read(struct mount *m, struct disk *d, void *buf, size_t len, uint64_t off)
{
    const struct manifest_head *h = chain_head(d->chain);
    int r = 0;
    if (!range_ok(off, len, h->size_bytes))
        return -EINVAL;
    for (size_t part; r == 0 && len > 0; len -= part, off += part, buf = (char *)buf + part) {
        size_t at = (size_t)(off % h->chunk_bytes);
        part = MIN(len, h->chunk_bytes - at);
        r = read_chunk(m, d, off / h->chunk_bytes, at, buf, part);
    }
    return r;
}

/* --- partitions -------------------------------------------------------------------------------------------------- */

struct part_reader {
    struct mount *m;
    struct disk *d;
};

static int read_part(void *arg, void *buf, size_t len, uint64_t off)
{
    const struct part_reader *p = arg;
    return disk_read(p->m, p->d, buf, len, off);
}

/* False: what cannot be read now is looked for again, for it may be healed by then. */
static bool add_parts(struct mount *m, struct mount_node *dir, struct disk *d)
{
    struct part parts[PART_MAX];
    struct err err;
    char table[8], name[48];
    size_t n = 0;
    struct part_reader reader = {m, d};
    if (disk_open(m, d) < 0)
        return false;
    int r = part_list(read_part, &reader, d->stream->size_bytes, parts, &n, table, &err);
    if (r < 0)
        n = 0; /* a disk without a table that can be understood has no parts */
    for (size_t i = 0; i < n; i++) {
        if (parts[i].is_outside || parts[i].is_extended)
            continue;
        (void)snprintf(name, sizeof(name), "%sp%u.img", d->prefix, parts[i].number); /* fits */
        struct mount_node *node = add(m, dir, name, MOUNT_FILE, dir->time_s);
        if (node && !node->disk) {
            node->off = parts[i].off;
            node->size_bytes = parts[i].len;
            node->disk = d;
        }
    }
    disk_close(d);
    return r == 0 || r == -EBADMSG;
}

/* Once for each disk in the folder. */
static void need_parts(struct mount *m, struct mount_node *dir)
{
    pthread_mutex_lock(&m->lock);
    size_t n = dir->n;
    pthread_mutex_unlock(&m->lock);
    for (size_t i = 0; i < n; i++) {
        pthread_mutex_lock(&m->lock);
        struct mount_node *node = dir->children[i];
        pthread_mutex_unlock(&m->lock);
        struct disk *d = node->kind == MOUNT_FILE ? node->disk : NULL;
        if (!d)
            continue;
        pthread_mutex_lock(&d->parts_lock);
        if (!d->has_parts)
            d->has_parts = add_parts(m, dir, d);
        pthread_mutex_unlock(&d->parts_lock);
    }
}

/* --- names ------------------------------------------------------------------------------------------------------- */

static struct mount_node *child(struct mount *m, const struct mount_node *dir, const char *name, size_t len)
{
    pthread_mutex_lock(&m->lock);
    struct mount_node *n = child_locked(dir, name, len);
    pthread_mutex_unlock(&m->lock);
    return n;
}

const struct mount_node *mount_find(struct mount *m, const char *path)
{
    struct mount_node *n = m->root;
    while (n && *path) {
        path += strspn(path, "/");
        size_t len = strcspn(path, "/");
        if (len == 0)
            break;
        struct mount_node *next = n->kind == MOUNT_DIR ? child(m, n, path, len) : NULL;
        if (!next && n->kind == MOUNT_DIR && len > 4 && strncmp(path + len - 4, ".img", 4) == 0) {
            need_parts(m, n);
            next = child(m, n, path, len);
        }
        n = next;
        path += len;
    }
    return n;
}

void mount_stat(const struct mount_node *n, struct mount_info *ret)
{
    *ret = (struct mount_info){
        .kind = n->kind, .ino = n->ino, .size_bytes = n->size_bytes, .time_s = n->time_s, .target = n->target};
}

const struct mount_node *mount_entry(struct mount *m, const struct mount_node *dir, size_t i, const char **ret_name)
{
    if (i == 0)
        need_parts(m, (struct mount_node *)dir);
    pthread_mutex_lock(&m->lock);
    const struct mount_node *n = i < dir->n ? dir->children[i] : NULL;
    pthread_mutex_unlock(&m->lock);
    if (n)
        *ret_name = n->name;
    return n;
}

int mount_open(struct mount *m, const struct mount_node *n)
{
    return n->disk ? disk_open(m, n->disk) : -EISDIR;
}

void mount_close(struct mount *m, const struct mount_node *n)
{
    disk_close(n->disk);
}

int64_t mount_read(struct mount *m, const struct mount_node *n, void *buf, size_t len, uint64_t off)
{
    if (off >= n->size_bytes)
        return 0;
    len = (size_t)MIN((uint64_t)len, n->size_bytes - off);
    int r = disk_read(m, n->disk, buf, len, n->off + off);
    return r < 0 ? r : (int64_t)len;
}

int64_t mount_seek(const struct mount_node *n, uint64_t off, bool want_data)
{
    const struct chain *c = n->disk->chain; /* open: it stays */
    uint64_t chunk = chain_head(c)->chunk_bytes, at = n->off + off, end = n->off + n->size_bytes, count;
    struct chunk_name name;
    if (off >= n->size_bytes)
        return -ENXIO;
    while (at < end) {
        bool is_data = chain_find(c, at / chunk, &name, &count, NULL) == CHAIN_DATA;
        if (is_data == want_data)
            return (int64_t)(at - n->off);
        at = (at / chunk + (is_data ? 1 : count)) * chunk;
    }
    return want_data ? -ENXIO : (int64_t)n->size_bytes;
}
