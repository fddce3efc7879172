/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Durable state, what came after, and a choice of it; see disk.h. */
#include "tests/powercut/disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/util.h"

#define SECTOR 512ULL

struct image {
    unsigned char *bytes;
    uint64_t len, room;
};

/* A name of a folder; file 0 = there is none. */
struct name {
    char name[REC_NAME_LEN + 1];
    uint64_t file;
};

struct names {
    struct name *name;
    size_t count;
};

struct pending {
    const struct rec *rec;
    size_t at;     /* in the log */
    uint64_t file; /* of a change of a name */
};

struct object {
    uint64_t id;
    bool is_dir, may_garble;
    struct image image;      /* durable */
    struct names names, now; /* durable; as the processes see it */
    struct pending *pending;
    size_t count, room;
};

struct disk {
    struct object *object;
    size_t count, room;
    const char *no_garbage;
    size_t at; /* position in the log: counted in bytes of records */
};

/* --- images ------------------------------------------------------------------------------------------------------- */

static void image_size(struct image *i, uint64_t len)
{
    if (len > i->room) {
        i->room = MAX(len, 2 * i->room);
        i->bytes = realloc(i->bytes, i->room);
        CHECK(i->bytes, "out of memory");
    }
    if (len > i->len)
        memset(i->bytes + i->len, 0, len - i->len);
    i->len = len;
}

static void image_put(struct image *i, uint64_t off, const void *data, uint64_t len)
{
    if (off + len > i->len)
        image_size(i, off + len);
    if (data)
        memcpy(i->bytes + off, data, len);
    else
        memset(i->bytes + off, 0, len);
}

static void image_apply(struct image *i, const struct rec *r)
{
    if (r->kind == REC_WRITE)
        image_put(i, r->off, r->data, r->len);
    else if (r->kind == REC_SIZE)
        image_size(i, r->len);
    else if (r->kind == REC_PUNCH && r->off < i->len)
        image_put(i, r->off, NULL, MIN(r->len, i->len - r->off));
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static struct name *name_of(struct names *n, const char *name)
{
    for (size_t i = 0; i < n->count; i++)
        if (strcmp(n->name[i].name, name) == 0)
            return &n->name[i];
    n->name = reallocarray(n->name, n->count + 1, sizeof(*n->name));
    CHECK(n->name, "out of memory");
    struct name *ret = &n->name[n->count++];
    memset(ret, 0, sizeof(*ret));
    strcpy(ret->name, name);
    return ret;
}

static void names_copy(struct names *to, const struct names *from)
{
    to->count = from->count;
    to->name = malloc((from->count + 1) * sizeof(*to->name));
    CHECK(to->name, "out of memory");
    if (from->count)
        memcpy(to->name, from->name, from->count * sizeof(*to->name));
}

/* Change @n, the names of folder @dir, as the record says. */
static void names_apply(struct names *n, uint64_t dir, const struct pending *p)
{
    const struct rec *r = p->rec;
    if (r->kind == REC_CREATE || r->kind == REC_MKDIR)
        name_of(n, r->name)->file = p->file;
    if (r->kind == REC_UNLINK || (r->kind == REC_RENAME && r->dir == dir))
        name_of(n, r->name)->file = 0;
    if ((r->kind == REC_RENAME || r->kind == REC_LINK) && r->dir2 == dir)
        name_of(n, r->name2)->file = p->file;
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

static struct object *object_of(const struct disk *d, uint64_t id)
{
    for (size_t i = d->count; i-- > 0;)
        if (d->object[i].id == id)
            return &d->object[i];
    return NULL;
}

static struct object *add_object(struct disk *d, uint64_t id, bool is_dir, const char *name)
{
    if (d->count == d->room) {
        d->room = d->room ? 2 * d->room : 64;
        d->object = reallocarray(d->object, d->room, sizeof(*d->object));
        CHECK(d->object, "out of memory");
    }
    struct object *o = &d->object[d->count++];
    *o = (struct object){.id = id, .is_dir = is_dir};
    o->may_garble = !d->no_garbage || !strstr(name, d->no_garbage);
    return o;
}

static void add_pending(const struct disk *d, struct object *o, const struct rec *r, uint64_t file)
{
    if (o->count == o->room) {
        o->room = o->room ? 2 * o->room : 64;
        o->pending = reallocarray(o->pending, o->room, sizeof(*o->pending));
        CHECK(o->pending, "out of memory");
    }
    struct pending p = {.rec = r, .at = d->at, .file = file};
    o->pending[o->count++] = p;
    if (o->is_dir)
        names_apply(&o->now, o->id, &p);
}

/* All that was done before @at is durable. */
static void settle(struct object *o, size_t at)
{
    size_t n = 0;
    for (; n < o->count && o->pending[n].at < at; n++) {
        if (o->is_dir)
            names_apply(&o->names, o->id, &o->pending[n]);
        else
            image_apply(&o->image, o->pending[n].rec);
    }
    if (n > 0)
        memmove(o->pending, o->pending + n, (o->count - n) * sizeof(*o->pending));
    o->count -= n;
}

void disk_step(struct disk *d, const struct rec *r)
{
    struct object *o = object_of(d, r->file), *dir = object_of(d, r->dir), *dir2 = object_of(d, r->dir2);
    switch ((enum rec_kind)r->kind) {
    case REC_CREATE:
    case REC_MKDIR:
        (void)add_object(d, r->file, r->kind == REC_MKDIR, r->name);
        add_pending(d, object_of(d, r->dir), r, r->file); /* the array may have moved */
        break;
    case REC_RENAME:
    case REC_LINK: {
        uint64_t file = name_of(&dir->now, r->name)->file;
        if (dir2 != dir)
            add_pending(d, dir2, r, file);
        if (dir2 == dir || r->kind == REC_RENAME)
            add_pending(d, dir, r, file);
        break;
    }
    case REC_UNLINK:
        add_pending(d, dir, r, 0);
        break;
    case REC_WRITE:
    case REC_PUNCH:
    case REC_SIZE:
        add_pending(d, o, r, 0);
        break;
    case REC_SYNC_END:
        settle(o, r->off);
        break;
    case REC_SYNC_BEGIN:
    case REC_NOTE:
        break;
    }
    d->at += r->bytes;
}

size_t disk_pending(const struct disk *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->count; i++)
        n += d->object[i].count;
    return n;
}

/* --- import ------------------------------------------------------------------------------------------------------- */

static void import_file(struct disk *d, uint64_t dir, int dirfd, const char *name, struct rec_log *log)
{
    _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    CHECK(fd >= 0 && fstat(fd, &st) == 0, "cannot import '%s'", name);
    if (!S_ISREG(st.st_mode))
        return;
    uint64_t id = rec_track(log, fd, name);
    struct object *o = add_object(d, id, false, name);
    image_size(&o->image, (uint64_t)st.st_size);
    CHECK(pread_full(fd, o->image.bytes, o->image.len, 0) == 0, "cannot import '%s'", name);
    name_of(&object_of(d, dir)->names, name)->file = id;
    name_of(&object_of(d, dir)->now, name)->file = id;
}

static int open_folder(const char *root, const char *dir)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", root, dir);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0, "cannot open '%s'", path);
    return fd;
}

static void import_files(struct disk *d, size_t i, const char *root, const char *dir, struct rec_log *log)
{
    int fd = open_folder(root, dir);
    DIR *files = fdopendir(fd);
    CHECK(files, "cannot list '%s'", dir);
    for (const struct dirent *e; (e = readdir(files));)
        import_file(d, d->object[i].id, fd, e->d_name, log);
    (void)closedir(files); /* it was read only */
}

/* The folders come first, in the order of @dirs: disk_cut() finds them so. */
struct disk *disk_import(const char *root, const char *const *dirs, struct rec_log *log, const char *no_garbage)
{
    struct disk *d = calloc(1, sizeof(*d));
    CHECK(d, "out of memory");
    d->no_garbage = no_garbage;
    for (size_t i = 0; dirs[i]; i++) {
        _cleanup_close_ int fd = open_folder(root, dirs[i]);
        (void)add_object(d, rec_track(log, fd, dirs[i]), true, dirs[i]);
    }
    for (size_t i = 0; dirs[i]; i++)
        import_files(d, i, root, dirs[i], log);
    return d;
}

void disk_destroy(struct disk *d)
{
    for (size_t i = 0; i < d->count; i++) {
        struct object *o = &d->object[i];
        free(o->image.bytes);
        free(o->names.name);
        free(o->now.name);
        free(o->pending);
    }
    free(d->object);
    free(d);
}

/* --- the cut ------------------------------------------------------------------------------------------------------ */

enum fate { ALL, NONE, SOME, TORN, GARBLED, PREFIX, FATES };

static void put_sectors(struct image *i, const struct rec *r, struct rng *rng, enum fate fate)
{
    for (uint64_t at = 0, n; at < r->len; at += n) {
        unsigned char garbage[SECTOR];
        uint64_t off = r->off + at, dice = rng_below(rng, 3);
        n = MIN(SECTOR - off % SECTOR, r->len - at);
        if (dice == 0)
            continue;
        if (dice == 1 && fate == GARBLED && r->kind == REC_WRITE)
            for (size_t k = 0; k < n; k++)
                garbage[k] = (unsigned char)rng_next(rng);
        else
            dice = 2;
        if (r->kind == REC_PUNCH && off >= i->len)
            return;
        image_put(i, off,
                  r->kind == REC_PUNCH ? NULL
                  : dice == 1          ? garbage
                                       : r->data + at,
                  r->kind == REC_PUNCH ? MIN(n, i->len - off) : n);
    }
}

static enum fate draw_fate(struct rng *rng, bool least)
{
    enum fate fate = (enum fate)rng_below(rng, FATES);
    return least ? NONE : fate;
}

static void cut_image(const struct object *o, struct rng *rng, bool least, struct image *ret)
{
    image_size(ret, o->image.len);
    if (o->image.len)
        memcpy(ret->bytes, o->image.bytes, o->image.len);
    enum fate fate = draw_fate(rng, least);
    if (fate == GARBLED && !o->may_garble)
        fate = TORN;
    uint64_t share = 1 + rng_below(rng, 9); /* of ten */
    size_t end = fate == NONE ? 0 : fate == PREFIX ? rng_below(rng, o->count + 1) : o->count;
    for (size_t i = 0; i < end; i++) {
        const struct rec *r = o->pending[i].rec;
        bool keep = fate == ALL || fate == PREFIX || rng_below(rng, 10) < share;
        if (r->kind == REC_SIZE && !keep)
            return;
        if (r->kind == REC_SIZE || (keep && fate != TORN && fate != GARBLED))
            image_apply(ret, r);
        else if (keep)
            put_sectors(ret, r, rng, fate);
    }
}

static void cut_names(const struct object *o, struct rng *rng, bool least, struct names *ret)
{
    enum fate fate = draw_fate(rng, least);
    names_copy(ret, &o->names);
    size_t end = fate == NONE ? 0 : fate == ALL ? o->count : rng_below(rng, o->count + 1);
    for (size_t i = 0; i < end; i++)
        names_apply(ret, o->id, &o->pending[i]);
    if (fate == ALL || fate == NONE || fate == PREFIX)
        return;
    struct names now; /* each name on its own: as it was after the first so many changes */
    for (size_t k = 0; k < ret->count; k++) {
        names_copy(&now, &o->names);
        end = rng_below(rng, o->count + 1);
        for (size_t i = 0; i < end; i++)
            names_apply(&now, o->id, &o->pending[i]);
        ret->name[k].file = name_of(&now, ret->name[k].name)->file;
        free(now.name);
    }
}

static void write_image(int dirfd, const char *name, const struct image *i)
{
    _cleanup_close_ int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)i->len) == 0, "cannot make '%s'", name);
    for (uint64_t at = 0, n; at < i->len; at += n) {
        n = MIN(65536ULL, i->len - at);
        if (!is_zero(i->bytes + at, n))
            CHECK(pwrite_full(fd, i->bytes + at, n, at) == 0, "cannot write '%s'", name);
    }
}

static void cut_dir(const struct disk *d, const struct object *dir, struct rng *rng, bool least, int dirfd);

/* A folder that was made on the way. */
static void cut_sub_dir(const struct disk *d, const struct object *dir, struct rng *rng, bool least, int dirfd,
                        const char *name)
{
    CHECK(mkdirat(dirfd, name, 0700) == 0, "cannot make '%s'", name);
    _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0, "cannot open '%s'", name);
    cut_dir(d, dir, rng, least, fd);
}

static void cut_dir(const struct disk *d, const struct object *dir, struct rng *rng, bool least, int dirfd)
{
    struct names names;
    cut_names(dir, rng, least, &names);
    for (size_t i = 0; i < names.count; i++) {
        const struct object *o = names.name[i].file ? object_of(d, names.name[i].file) : NULL;
        if (!o)
            continue;
        if (o->is_dir) {
            cut_sub_dir(d, o, rng, least, dirfd, names.name[i].name);
            continue;
        }
        struct image image = {0};
        cut_image(o, rng, least, &image);
        write_image(dirfd, names.name[i].name, &image);
        free(image.bytes);
    }
    free(names.name);
}

void disk_cut(const struct disk *d, struct rng *rng, bool least, const char *root, const char *const *dirs)
{
    for (size_t i = 0; dirs[i]; i++) {
        _cleanup_close_ int fd = open_folder(root, dirs[i]);
        cut_dir(d, &d->object[i], rng, least, fd);
    }
}
