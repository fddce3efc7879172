/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which names there are for sets, streams and partitions; see mount.h. The tree of names is in mount-tree.c, the disks are in mount-disk.c. */
#include "backup/mount.h"

#include <errno.h>
#include <string.h>

#include "backup/mount-disk.h"
#include "backup/mount-tree.h"
#include "core/part.h"
#include "core/util.h"

struct mount {
    struct disk_source source;
    struct set_info *sets;
    size_t n_sets;
    struct mount_tree tree;
    struct disk **disks;
    size_t n_disks;
};

/* --- the tree ---------------------------------------------------------------------------------------------------- */

static struct disk *add_disk(struct mount *m, const struct set_info *s, const struct set_stream *st)
{
    struct disk **more = reallocarray(m->disks, m->n_disks + 1, sizeof(struct disk *));
    if (!more)
        return NULL;
    m->disks = more;
    struct disk *d = disk_create(&m->source, s, st);
    if (d)
        m->disks[m->n_disks++] = d;
    return d;
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
    struct mount_node *dir = mount_tree_add(&m->tree, top, is_client ? "clients" : st->id.name, MOUNT_DIR, s->time_s);
    dir = dir ? mount_tree_add(&m->tree, dir, is_client ? st->id.name : number, MOUNT_DIR, s->time_s) : NULL;
    struct mount_node *n = dir ? mount_tree_add(&m->tree, dir, file, MOUNT_FILE, s->time_s) : NULL;
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
        struct mount_node *top = mount_tree_add(&m->tree, m->tree.root, s->id, MOUNT_DIR, s->time_s);
        r = top ? add_set(m, top, s) : -ENOMEM;
        newest = s;
    }
    struct mount_node *n =
        r == 0 && newest ? mount_tree_add(&m->tree, m->tree.root, "latest", MOUNT_LINK, newest->time_s) : NULL;
    if (n)
        n->target = strdup(newest->id);
    return r;
}

/* What is signed, and by whom. */
static int check_signatures(const struct mount *m, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && m->source.key_file && i < m->n_sets; i++)
        if (!m->sets[i].problem)
            r = set_check_signature(reader_repo(m->source.reader), m->sets[i].id, m->source.key_file, err);
    return r;
}

int mount_create(struct reader *reader, const char *set, const char *key_file, struct mount **ret, struct err *err)
{
    struct mount *m = calloc(1, sizeof(*m));
    if (!m)
        return err_sys(err, -ENOMEM, "cannot mount");
    m->source = (struct disk_source){.reader = reader, .key_file = key_file};
    int r = mount_tree_init(&m->tree) == 0 ? 0 : err_sys(err, -ENOMEM, "cannot mount");
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
        m->tree.root->time_s = set ? m->sets[0].time_s : 0;
        r = set ? add_set(m, m->tree.root, &m->sets[0]) : add_sets(m);
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
    return chunk_cache_create(m->source.reader, MOUNT_CACHE_BYTES, &m->source.cache);
}

void mount_destroy(struct mount *m)
{
    if (!m)
        return;
    chunk_cache_destroy(m->source.cache);
    for (size_t i = 0; i < m->n_disks; i++)
        disk_destroy(m->disks[i]);
    free(m->disks);
    mount_tree_finish(&m->tree);
    set_list_free(m->sets, m->n_sets);
    free(m);
}

/* --- partitions -------------------------------------------------------------------------------------------------- */

static int read_part(void *arg, void *buf, size_t len, uint64_t off)
{
    return disk_read(arg, buf, len, off);
}

/* False: what cannot be read now is looked for again, for it may be healed by then. */
static bool add_parts(struct mount *m, struct mount_node *dir, struct disk *d)
{
    struct part parts[PART_MAX];
    struct err err;
    char table[8], name[48];
    size_t n = 0;
    if (disk_open(d) < 0)
        return false;
    int r = part_list(read_part, d, d->stream->size_bytes, parts, &n, table, &err);
    if (r < 0)
        n = 0; /* a disk without a table that can be understood has no parts */
    for (size_t i = 0; i < n; i++) {
        if (parts[i].is_outside || parts[i].is_extended)
            continue;
        (void)snprintf(name, sizeof(name), "%sp%u.img", d->prefix, parts[i].number); /* fits */
        struct mount_node *node = mount_tree_add(&m->tree, dir, name, MOUNT_FILE, dir->time_s);
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
    struct mount_node *node;
    for (size_t i = 0; (node = mount_tree_nth(&m->tree, dir, i)); i++) {
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

const struct mount_node *mount_find(struct mount *m, const char *path)
{
    struct mount_node *n = m->tree.root;
    while (n && *path) {
        path += strspn(path, "/");
        size_t len = strcspn(path, "/");
        if (len == 0)
            break;
        struct mount_node *next = n->kind == MOUNT_DIR ? mount_tree_child(&m->tree, n, path, len) : NULL;
        if (!next && n->kind == MOUNT_DIR && len > 4 && strncmp(path + len - 4, ".img", 4) == 0) {
            need_parts(m, n);
            next = mount_tree_child(&m->tree, n, path, len);
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
    const struct mount_node *n = mount_tree_nth(&m->tree, dir, i);
    if (n)
        *ret_name = n->name;
    return n;
}

int mount_open(const struct mount_node *n)
{
    return n->disk ? disk_open(n->disk) : -EISDIR;
}

void mount_close(const struct mount_node *n)
{
    disk_close(n->disk);
}

int64_t mount_read(const struct mount_node *n, void *buf, size_t len, uint64_t off)
{
    if (off >= n->size_bytes)
        return 0;
    len = (size_t)MIN((uint64_t)len, n->size_bytes - off);
    int r = disk_read(n->disk, buf, len, n->off + off);
    return r < 0 ? r : (int64_t)len;
}

int64_t mount_seek(const struct mount_node *n, uint64_t off, bool want_data)
{
    uint64_t end = n->off + n->size_bytes;
    if (off >= n->size_bytes)
        return -ENXIO;
    uint64_t at = disk_seek(n->disk, n->off + off, end, want_data);
    return at == end && want_data ? -ENXIO : (int64_t)(at - n->off);
}
