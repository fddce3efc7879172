/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of a RAM file and its accounts; see ramfile.h. */
#include "core/ramfile.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdatomic.h>
#include <string.h>

#include "core/blk.h"
#include "core/names.h"
#include "core/util.h"

struct names {
    char ram[UUID_LEN + 8], where[UUID_LEN + 8], where_new[UUID_LEN + 16], mark[UUID_LEN + 8];
};

struct ramfile {
    int fd;
    struct livemap *where;
    struct ram_pool *pool; /* NULL: read only */
    int64_t client_id;
    uint64_t size_bytes; /* of the disk */
    _Atomic uint64_t moves;
    _Atomic bool is_frozen;
    struct ram_member member;
    bool is_enlisted;
};

static struct names names_of(const unsigned char id[16])
{
    struct names n;
    char text[UUID_LEN + 1];
    uuid_encode(id, text);
    (void)snprintf(n.ram, sizeof(n.ram), "%s.ram", text);
    (void)snprintf(n.where, sizeof(n.where), "%s.where", text);
    (void)snprintf(n.where_new, sizeof(n.where_new), ".%s.where.new", text);
    (void)snprintf(n.mark, sizeof(n.mark), "%s.ram", text);
    return n;
}

/* --- open, make, delete ------------------------------------------------------------------------------------------ */

static struct ramfile *ramfile_new(const struct ramfile_place *place, const struct map_stamp *stamp)
{
    struct ramfile *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->fd = -1;
    f->pool = place->pool;
    f->client_id = place->client_id;
    f->size_bytes = stamp->size_bytes;
    return f;
}

static int gone(struct err *err)
{
    return err_set(
        err, -EOWNERDEAD,
        "what the client had written lay in memory (run/ram), and that was taken away; its disk stays closed "
        "until the client's next boot, or until 'diskgate client reset'");
}

static int open_where(struct ramfile *f, int dir, const char *name, const struct map_stamp *stamp, struct err *err)
{
    bool read_only = !f->pool;
    _cleanup_close_ int fd = openat(dir, name, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? gone(err) : err_sys(err, -errno, "cannot open 'run/ram/%s'", name);
    int r = livemap_open(fd, read_only, &f->where, err);
    if (r == -ESTALE)
        return gone(err);
    if (r < 0)
        return err_prefix(err, r, "'run/ram/%s'", name);
    (void)take_fd(&fd);
    const struct map_stamp *found = livemap_stamp(f->where);
    if (memcmp(found->overlay_id, stamp->overlay_id, sizeof(found->overlay_id)) != 0 ||
        found->size_bytes != stamp->size_bytes)
        return err_set(err, -EBADMSG, "'run/ram/%s' belongs to another overlay", name);
    return 0;
}

int ramfile_open(const struct ramfile_place *place, const struct map_stamp *stamp, struct ramfile **ret,
                 struct err *err)
{
    struct names n = names_of(stamp->overlay_id);
    if (faccessat(place->live_fd, n.mark, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? -ENOENT : err_sys(err, -errno, "cannot look for 'run/live/%s'", n.mark);
    if (place->ram_fd < 0)
        return gone(err);
    _cleanup_(ramfile_closep) struct ramfile *f = ramfile_new(place, stamp);
    if (!f)
        return err_sys(err, -ENOMEM, "cannot open the overlay's memory");
    f->fd = openat(place->ram_fd, n.ram, (f->pool ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (f->fd < 0)
        return errno == ENOENT ? gone(err) : err_sys(err, -errno, "cannot open 'run/ram/%s'", n.ram);
    int r = open_where(f, place->ram_fd, n.where, stamp, err);
    if (r < 0)
        return r;
    *ret = take_ptr(f);
    return 0;
}

static int make_where(struct ramfile *f, int dir, const struct names *n, const struct map_stamp *stamp, struct err *err)
{
    _cleanup_close_ int fd = openat(dir, n->where_new, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, -errno, "cannot make 'run/ram/%s'", n->where);
    int r = livemap_create(fd, stamp, &f->where, err);
    if (r < 0)
        return r;
    (void)take_fd(&fd);
    return renameat(dir, n->where_new, dir, n->where) < 0 ? err_sys(err, -errno, "cannot make 'run/ram/%s'", n->where)
                                                          : 0;
}

static int make_files(struct ramfile *f, const struct ramfile_place *place, const struct names *n,
                      const struct map_stamp *stamp, struct err *err)
{
    f->fd = openat(place->ram_fd, n->ram, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->fd < 0 || ftruncate(f->fd, (off_t)stamp->size_bytes) < 0)
        return err_sys(err, -errno, "cannot make 'run/ram/%s'", n->ram);
    int r = make_where(f, place->ram_fd, n, stamp, err);
    if (r < 0)
        return r;
    _cleanup_close_ int mark = openat(place->live_fd, n->mark, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return mark < 0 ? err_sys(err, -errno, "cannot make 'run/live/%s'", n->mark) : 0;
}

int ramfile_make(const struct ramfile_place *place, const struct map_stamp *stamp, struct ramfile **ret,
                 struct err *err)
{
    assert(place->pool);
    struct names n = names_of(stamp->overlay_id);
    _cleanup_(ramfile_closep) struct ramfile *f = ramfile_new(place, stamp);
    if (!f)
        return err_sys(err, -ENOMEM, "cannot make the overlay's memory");
    int r = make_files(f, place, &n, stamp, err);
    if (r < 0) {
        struct err ignored;
        (void)ramfile_delete(place, stamp->overlay_id, &ignored); /* what is left is deleted with the overlay */
        return r;
    }
    *ret = take_ptr(f);
    return 0;
}

void ramfile_close(struct ramfile *f)
{
    if (!f)
        return;
    assert(!f->is_enlisted);
    livemap_close(f->where);
    closep(&f->fd);
    free(f);
}

static int unlink_if_there(int dirfd, const char *folder, const char *name, struct err *err)
{
    if (dirfd >= 0 && unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
        return err_sys(err, -errno, "cannot delete 'run/%s/%s'", folder, name);
    return 0;
}

int ramfile_delete(const struct ramfile_place *place, const unsigned char id[16], struct err *err)
{
    struct names n = names_of(id);
    int r = unlink_if_there(place->live_fd, "live", n.mark, err);
    if (r == 0)
        r = unlink_if_there(place->ram_fd, "ram", n.where_new, err);
    if (r == 0)
        r = unlink_if_there(place->ram_fd, "ram", n.where, err);
    return r < 0 ? r : unlink_if_there(place->ram_fd, "ram", n.ram, err);
}

/* --- the pool ---------------------------------------------------------------------------------------------------- */

static uint64_t count_in_ram(const struct ramfile *f, uint64_t blk, uint64_t end)
{
    uint64_t sum = 0;
    while (blk < end) {
        bool in_ram;
        uint64_t n = ramfile_run(f, blk, end - blk, &in_ram);
        sum += in_ram ? n : 0;
        blk += n;
    }
    return sum;
}

int ramfile_enlist(struct ramfile *f, int64_t (*spill)(void *arg, size_t max), void *arg)
{
    uint64_t used = count_in_ram(f, 0, livemap_block_count(f->where)) << BLOCK_SHIFT;
    f->member.spill = spill;
    f->member.arg = arg;
    int r = ram_pool_join(f->pool, &f->member, f->client_id, used);
    f->is_enlisted = r == 0;
    return r;
}

void ramfile_retire(struct ramfile *f)
{
    if (f->is_enlisted)
        ram_pool_leave(&f->member);
    f->is_enlisted = false;
}

int ramfile_fd(const struct ramfile *f)
{
    return f->fd;
}

const _Atomic uint64_t *ramfile_moves(const struct ramfile *f)
{
    return &f->moves;
}

uint64_t ramfile_bytes(const struct ramfile *f)
{
    return f->is_enlisted ? atomic_load(&f->member.used_bytes) : 0;
}

/* --- blocks ------------------------------------------------------------------------------------------------------ */

uint64_t ramfile_run(const struct ramfile *f, uint64_t blk, uint64_t max, bool *ret_in_ram)
{
    enum block_state s;
    uint64_t n = livemap_run(f->where, blk, max, &s);
    *ret_in_ram = s == BLOCK_PRESENT;
    return n;
}

/* Leaves of both planes, so that taking any of the blocks out again cannot fail. */
static int prepare(struct ramfile *f, uint64_t blk, uint64_t n)
{
    int r = livemap_prepare(f->where, blk, n, BLOCK_PRESENT);
    for (uint64_t at = blk; r == 0 && at < blk + n; at = (at / LEAF_BLOCKS + 1) * LEAF_BLOCKS)
        r = livemap_prepare(f->where, at, 1, BLOCK_ZERO); /* of one block: a leaf, never ALL */
    return r;
}

int ramfile_reserve(struct ramfile *f, uint64_t blk, uint64_t n)
{
    uint64_t fresh = n - count_in_ram(f, blk, blk + n);
    if (fresh == 0)
        return 0;
    if (atomic_load(&f->is_frozen) || !ram_take(&f->member, fresh << BLOCK_SHIFT))
        return -ENOSPC;
    int r = prepare(f, blk, n);
    if (r < 0)
        ram_give(&f->member, fresh << BLOCK_SHIFT);
    return r < 0 ? -ENOSPC : 0;
}

void ramfile_unreserve(struct ramfile *f, uint64_t blk, uint64_t n)
{
    ram_give(&f->member, (n - count_in_ram(f, blk, blk + n)) << BLOCK_SHIFT);
}

void ramfile_set(struct ramfile *f, uint64_t blk, uint64_t n)
{
    livemap_set_present(f->where, blk, n);
}

void ramfile_freeze(struct ramfile *f, bool is_frozen)
{
    atomic_store(&f->is_frozen, is_frozen);
}

bool ramfile_find(const struct ramfile *f, uint64_t blk, uint64_t max, uint64_t *ret_blk, uint64_t *ret_n)
{
    uint64_t end = livemap_block_count(f->where);
    while (blk < end) {
        bool in_ram;
        uint64_t n = ramfile_run(f, blk, end - blk, &in_ram);
        if (in_ram) {
            *ret_blk = blk;
            *ret_n = MIN(n, max);
            return true;
        }
        blk += n;
    }
    return false;
}

/* [blk, blk + n) are in RAM: no longer. */
static void forget(struct ramfile *f, uint64_t blk, uint64_t n)
{
    livemap_set_zero(f->where, blk, n);
    atomic_fetch_add(&f->moves, 1);
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t off = blk << BLOCK_SHIFT;
    while (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)(n << BLOCK_SHIFT)) < 0 &&
           errno == EINTR) /* a hole in a tmpfs cannot fail otherwise */
        ;
    ram_give(&f->member, n << BLOCK_SHIFT);
}

void ramfile_drop(struct ramfile *f, uint64_t blk, uint64_t n)
{
    uint64_t at, run, end = blk + n;
    while (blk < end && ramfile_find(f, blk, end - blk, &at, &run) && at < end) {
        run = MIN(run, end - at);
        forget(f, at, run);
        blk = at + run;
    }
}

int ramfile_move(struct ramfile *f, uint64_t blk, uint64_t n, int data_fd, void *buf)
{
    uint64_t off = blk << BLOCK_SHIFT;
    size_t len = (size_t)(MIN(off + (n << BLOCK_SHIFT), f->size_bytes) - off);
    int r = pread_full(f->fd, buf, len, off);
    if (r == 0)
        r = pwrite_full(data_fd, buf, len, off);
    if (r == 0)
        forget(f, blk, n);
    return r;
}
