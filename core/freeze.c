/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The side of a freeze that the writers see; see freeze.h for the files and the order.
 *
 * The map is copied leaf by leaf, by whoever comes first: a writer that is about to change a leaf, or freeze_complete(). So the gate
 * is closed for as long as it takes to set one pointer, however large the disks are.
 */
#include "core/freeze.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "core/blk.h"
#include "core/lock.h"
#include "core/util.h"

#define COPY_BYTES (64 * KiB)

struct freeze {
    struct freeze *next;
    struct freeze_set *set;
    const struct livemap *live;
    int data_fd, side_fd;
    uint64_t size;
    struct livemap *map, *saved;
    struct lock lock;       /* protects the copying of leaves */
    _Atomic uint8_t *taken; /* for each leaf: it is in `map` */
    _Atomic uint64_t side_bytes;
};

/* --- names ------------------------------------------------------------------------------------------------------- */

void freeze_holder_name(const char *id, char *ret)
{
    (void)snprintf(ret, FREEZE_NAME_LEN + 1, "%.*s.holder", UUID_LEN, id); /* fits */
}

static void file_name(const struct freeze *f, const char *suffix, char *ret)
{
    char overlay[UUID_LEN + 1];
    uuid_encode(livemap_stamp(f->live)->overlay_id, overlay);
    (void)snprintf(ret, FREEZE_NAME_LEN + 1, "%s-%s.%s", f->set->id, overlay, suffix); /* fits */
}

/* The name goes first: a writer that finds the set broken must not overwrite anything that a reader still trusts. */
void freeze_break(struct freeze_set *set, int why)
{
    char name[FREEZE_NAME_LEN + 1];
    int good = 0;
    freeze_holder_name(set->id, name);
    if (unlinkat(set->dir_fd, name, 0) < 0 && errno != ENOENT)
        atomic_store(&set->stuck, -errno);
    (void)atomic_compare_exchange_strong(&set->broken, &good, why); /* the first reason stays */
}

static bool is_broken(const struct freeze *f)
{
    return atomic_load(&f->set->broken) != 0;
}

static bool is_holder(const char *name)
{
    size_t len = strlen(name);
    return len > 7 && strcmp(name + len - 7, ".holder") == 0;
}

/* Holders first, so that nobody reads what is half gone. */
static int sweep(int dir_fd, bool holders)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int r = -errno;
        closep(&fd);
        return r;
    }
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        if (e->d_name[0] != '.' && is_holder(e->d_name) == holders && unlinkat(dir_fd, e->d_name, 0) < 0 &&
            errno != ENOENT)
            return -errno;
    return 0;
}

int freeze_sweep(int dir_fd)
{
    int r = sweep(dir_fd, true);
    return r < 0 ? r : sweep(dir_fd, false);
}

/* --- map --------------------------------------------------------------------------------------------------------- */

/* The zero plane before the present plane, as livemap_run() does. */
static int copy_leaf_locked(struct freeze *f, uint64_t dir)
{
    static const enum map_plane order[] = {PLANE_ZERO, PLANE_PRESENT};
    uint64_t bits[LEAF_WORDS];
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        if (!livemap_leaf_get(f->live, dir, order[i], bits) || is_zero(bits, sizeof(bits)))
            continue;
        int r = livemap_leaf_put(f->map, dir, order[i], bits);
        if (r < 0)
            return r;
    }
    return 0;
}

static int take_leaf(struct freeze *f, uint64_t dir)
{
    if (atomic_load_explicit(&f->taken[dir], memory_order_acquire))
        return 0;
    LOCK_SCOPE(&f->lock);
    if (atomic_load(&f->taken[dir]))
        return 0;
    int r = copy_leaf_locked(f, dir);
    if (r == 0)
        atomic_store_explicit(&f->taken[dir], 1, memory_order_release);
    return r;
}

static int take_leaves(struct freeze *f, uint64_t blk, uint64_t n)
{
    for (uint64_t dir = blk / LEAF_BLOCKS; dir <= (blk + n - 1) / LEAF_BLOCKS; dir++) {
        int r = take_leaf(f, dir);
        if (r < 0)
            return r;
    }
    return 0;
}

int freeze_complete(struct freeze *f)
{
    int r = is_broken(f) ? atomic_load(&f->set->broken) : take_leaves(f, 0, livemap_block_count(f->live));
    if (r < 0)
        freeze_break(f->set, r);
    return r;
}

/* --- blocks ------------------------------------------------------------------------------------------------------ */

uint64_t freeze_unsaved(const struct freeze *f, uint64_t blk, uint64_t max, bool *ret)
{
    enum block_state then, saved = BLOCK_ABSENT;
    uint64_t n = livemap_run(f->map, blk, max, &then);
    if (then == BLOCK_PRESENT)
        n = livemap_run(f->saved, blk, n, &saved);
    *ret = then == BLOCK_PRESENT && saved == BLOCK_ABSENT;
    return n;
}

uint64_t freeze_run(const struct freeze *f, uint64_t blk, uint64_t max, bool *ret_needed)
{
    *ret_needed = false;
    return is_broken(f) ? max : freeze_unsaved(f, blk, max, ret_needed);
}

static int copy_bytes(struct freeze *f, uint64_t off, uint64_t len)
{
    char buf[COPY_BYTES];
    while (len > 0) {
        size_t piece = (size_t)MIN(len, sizeof(buf));
        int r = pread_full(f->data_fd, buf, piece, off);
        if (r == 0)
            r = pwrite_full(f->side_fd, buf, piece, off);
        if (r < 0)
            return r;
        off += piece;
        len -= piece;
    }
    return 0;
}

static int save_run(struct freeze *f, uint64_t blk, uint64_t n)
{
    uint64_t off = blk << BLOCK_SHIFT, len = MIN(n << BLOCK_SHIFT, f->size - off);
    int r = livemap_prepare(f->saved, blk, n, BLOCK_PRESENT);
    if (r == 0)
        r = copy_bytes(f, off, len);
    if (r < 0)
        return r;
    livemap_set_present(f->saved, blk, n);
    atomic_fetch_add(&f->side_bytes, len);
    return 0;
}

static int save(struct freeze *f, uint64_t blk, uint64_t n)
{
    int r = take_leaves(f, blk, n);
    while (r == 0 && n > 0) {
        bool is_needed;
        uint64_t run = freeze_run(f, blk, n, &is_needed);
        r = is_needed ? save_run(f, blk, run) : 0;
        blk += run;
        n -= run;
    }
    return r;
}

void freeze_save(struct freeze *f, uint64_t blk, uint64_t n)
{
    int r = is_broken(f) ? 0 : save(f, blk, n);
    if (r < 0)
        freeze_break(f->set, r);
    atomic_thread_fence(memory_order_seq_cst); /* the bits, or the missing name, before the caller's bytes */
}

void freeze_touch(struct freeze *f, uint64_t blk, uint64_t n)
{
    int r = is_broken(f) ? 0 : take_leaves(f, blk, n);
    if (r < 0)
        freeze_break(f->set, r);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static int make_file(const struct freeze *f, const char *suffix, struct err *err)
{
    char name[FREEZE_NAME_LEN + 1];
    file_name(f, suffix, name);
    int fd = openat(f->set->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? err_sys(err, -errno, "cannot make 'run/frozen/%s'", name) : fd;
}

static int make_map(const struct freeze *f, const char *suffix, struct livemap **ret, struct err *err)
{
    _cleanup_close_ int fd = make_file(f, suffix, err);
    if (fd < 0)
        return fd;
    int r = livemap_create(fd, livemap_stamp(f->live), ret, err);
    if (r == 0)
        (void)take_fd(&fd);
    return r;
}

static int make_files(struct freeze *f, struct err *err)
{
    int r = make_map(f, "map", &f->map, err);
    if (r == 0)
        r = make_map(f, "saved", &f->saved, err);
    if (r == 0)
        r = f->side_fd = make_file(f, "side", err);
    if (r >= 0 && ftruncate(f->side_fd, (off_t)f->size) < 0)
        r = err_sys(err, -errno, "cannot make a file of %llu bytes in 'run/frozen'", (unsigned long long)f->size);
    return MIN(r, 0);
}

int freeze_create(struct freeze_set *set, const struct livemap *live, int data_fd, struct freeze **ret, struct err *err)
{
    struct freeze *f = calloc(1, sizeof(*f));
    if (!f)
        return err_sys(err, -ENOMEM, "cannot freeze the overlay");
    lock_init(&f->lock, LOCK_FREEZE);
    f->set = set;
    f->live = live;
    f->data_fd = data_fd;
    f->side_fd = -1;
    f->size = livemap_stamp(live)->size_bytes;
    f->taken = calloc(livemap_dir_count(live), sizeof(*f->taken));
    int r = f->taken ? make_files(f, err) : err_sys(err, -ENOMEM, "cannot freeze the overlay");
    if (r < 0) {
        freeze_destroy(f);
        return r;
    }
    *ret = f;
    return 0;
}

uint64_t freeze_side_bytes(const struct freeze *f)
{
    return atomic_load(&f->side_bytes);
}

void freeze_destroy(struct freeze *f)
{
    static const char *const suffix[] = {"map", "saved", "side"};
    char name[FREEZE_NAME_LEN + 1];
    if (!f)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(suffix); i++) {
        file_name(f, suffix[i], name);
        (void)unlinkat(f->set->dir_fd, name, 0); /* what stays goes with the next sweep */
    }
    livemap_close(f->map);
    livemap_close(f->saved);
    closep(&f->side_fd);
    lock_finish(&f->lock);
    free((void *)f->taken);
    free(f);
}

struct freeze **freeze_next(struct freeze *f)
{
    return &f->next;
}
