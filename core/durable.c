/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Difference, commit, map file; see durable.h. */
#include "core/durable.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "core/lock.h"
#include "core/mapfile.h"
#include "core/util.h"

struct durable {
    int dir_fd;
    char name[16];
    struct journal *journal;
    struct journal_member member;
    _Atomic int failed;  /* first error that cost somebody's flush */
    struct lock lock;    /* protects all below; held over the writing of the map file */
    struct livemap *map; /* in memory */
    uint64_t number;     /* last commit of ours that `map` holds */
    _Atomic bool has_mapfile;
    bool is_abandoned;
};

/* --- map file ---------------------------------------------------------------------------------------------------- */

/* @number: up to which the map is complete. */
static int save_locked(struct durable *d, uint64_t number)
{
    if (d->is_abandoned)
        return -ESTALE;
    _cleanup_free_ void *buf = NULL;
    size_t len;
    int r = mapfile_encode(d->map, number, &buf, &len);
    if (r == 0)
        r = mapfile_write(d->dir_fd, d->name, buf, len);
    if (r < 0)
        return r;
    d->has_mapfile = true;
    d->number = number;
    return 0;
}

/* The journal's thread wants its area back. A commit of ours may be under way; it is not in the map then. */
static int checkpoint(void *arg, uint64_t *ret_number)
{
    struct durable *d = arg;
    LOCK_SCOPE(&d->lock);
    int r = save_locked(d, d->number);
    if (r < 0 && r != -ESTALE && !journal_may_retry(r))
        atomic_store(&d->failed, r);
    *ret_number = d->number;
    return r;
}

int durable_save(struct durable *d)
{
    uint64_t number = d->journal ? journal_last(d->journal) : 0; /* no commit of ours is under way */
    {
        LOCK_SCOPE(&d->lock);
        number = d->journal ? number : d->number + 1;
        int r = save_locked(d, number);
        if (r < 0)
            return r;
    }
    if (d->journal)
        journal_saved(d->journal, &d->member, number);
    return 0;
}

/* --- difference -------------------------------------------------------------------------------------------------- */

struct runs {
    struct map_run *run;
    size_t count, room;
};

static int add_run(struct runs *r, uint64_t blk, uint64_t n, enum block_state state)
{
    struct map_run *last = r->count ? &r->run[r->count - 1] : NULL;
    if (last && last->state == (uint32_t)state && last->blk + last->n == blk && last->n + n <= UINT32_MAX) {
        last->n += (uint32_t)n;
        return 0;
    }
    if (r->count == r->room) {
        size_t room = r->room ? 2 * r->room : 64;
        struct map_run *more = reallocarray(r->run, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        r->run = more;
        r->room = room;
    }
    r->run[r->count++] = (struct map_run){.blk = blk, .n = (uint32_t)n, .state = (uint32_t)state};
    return 0;
}

static int compare_leaf(const struct livemap *live, const struct livemap *old, uint64_t dir, struct runs *ret)
{
    uint64_t blk = dir * LEAF_BLOCKS, end = MIN(blk + LEAF_BLOCKS, livemap_block_count(live));
    while (blk < end) {
        enum block_state now, before;
        uint64_t n = livemap_run(live, blk, end - blk, &now);
        n = livemap_run(old, blk, n, &before);
        if (now == BLOCK_ABSENT && before != BLOCK_ABSENT)
            return -EBADMSG; /* no change leads there: the map file is of another time than the live map */
        int r = now == before ? 0 : add_run(ret, blk, n, now);
        if (r < 0)
            return r;
        blk += n;
    }
    return 0;
}

static int collect(const struct durable *d, struct livemap *live, struct runs *ret)
{
    uint64_t dir = 0;
    while (livemap_take_dirty(live, &dir)) {
        int r = compare_leaf(live, d->map, dir, ret);
        if (r < 0) {
            livemap_mark_dirty(live); /* look at all of it next time */
            return r;
        }
        dir++;
    }
    return 0;
}

/* Room in the copy first, so that it can follow once the runs are durable. */
static int prepare(const struct durable *d, const struct runs *r)
{
    for (size_t i = 0; i < r->count; i++) {
        int e = livemap_prepare(d->map, r->run[i].blk, r->run[i].n, (enum block_state)r->run[i].state);
        if (e < 0)
            return e;
    }
    return 0;
}

static void follow_locked(const struct durable *d, const struct runs *r)
{
    for (size_t i = 0; i < r->count; i++) {
        if (r->run[i].state == BLOCK_PRESENT)
            livemap_set_present(d->map, r->run[i].blk, r->run[i].n);
        else
            livemap_set_zero(d->map, r->run[i].blk, r->run[i].n);
    }
}

/* --- flush ------------------------------------------------------------------------------------------------------- */

static int commit(struct durable *d, const struct runs *r)
{
    uint64_t number;
    int e = journal_commit(d->journal, &d->member, r->run, r->count, &number);
    if (e < 0)
        return e;
    LOCK_SCOPE(&d->lock);
    follow_locked(d, r);
    d->number = number;
    return 0;
}

static int follow_and_save(struct durable *d, const struct runs *r)
{
    {
        LOCK_SCOPE(&d->lock);
        follow_locked(d, r);
    }
    return durable_save(d);
}

/* For ever, invariant (3); so not by an error that somebody might wait out. */
static int fail(struct durable *d, int r)
{
    d->failed = journal_may_retry(r) ? -EIO : r;
    return d->failed;
}

static int flush_runs(struct durable *d, struct livemap *live, int data_fd, struct runs *runs)
{
    int r = collect(d, live, runs);
    if (r == 0)
        r = prepare(d, runs);
    if (r < 0) {
        livemap_mark_dirty(live);
        return r; /* nothing was promised, nothing is lost */
    }
    if (fdatasync(data_fd) < 0) {
        r = -errno;
        livemap_note_loss(live, r);
        return fail(d, r);
    }
    if (runs->count == 0 && d->has_mapfile)
        return 0;
    if (d->journal && d->has_mapfile && runs->count <= JOURNAL_RUNS_MAX) {
        r = commit(d, runs);
        if (journal_may_retry(r)) { /* the disk is full, and nothing was written: the next flush finds the same runs */
            livemap_mark_dirty(live);
            return r;
        }
        return r < 0 ? fail(d, r) : 0;
    }
    r = follow_and_save(d, runs);
    if (journal_may_retry(r)) { /* the old map file stands, the next flush tries again */
        d->has_mapfile = false;
        return r;
    }
    return r < 0 ? fail(d, r) : 0;
}

int durable_flush(struct durable *d, struct livemap *live, int data_fd)
{
    if (d->failed)
        return d->failed;
    if (livemap_loss(live) < 0) /* noted by an earlier process, or while it was volatile */
        return fail(d, livemap_loss(live));
    struct runs runs = {0};
    int r = flush_runs(d, live, data_fd, &runs);
    free(runs.run);
    return r;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static int new_map(const struct map_stamp *stamp, struct livemap **ret, struct err *err)
{
    _cleanup_close_ int fd = memfd_create("diskgate-map", MFD_CLOEXEC);
    if (fd < 0)
        return err_sys(err, -errno, "cannot make a map in memory");
    int r = livemap_create(fd, stamp, ret, err);
    if (r == 0)
        (void)take_fd(&fd);
    return r;
}

int durable_create(int dir_fd, const char *name, const struct map_stamp *stamp, struct journal *journal,
                   struct durable **ret, struct err *err)
{
    struct durable *d = calloc(1, sizeof(*d));
    int r = d ? new_map(stamp, &d->map, err) : err_sys(err, -ENOMEM, "cannot open the overlay");
    if (r < 0) {
        free(d);
        return r;
    }
    lock_init(&d->lock, LOCK_DURABLE);
    d->dir_fd = dir_fd;
    (void)snprintf(d->name, sizeof(d->name), "%s", name); /* "SLOT.map" */
    d->journal = journal;
    d->member = (struct journal_member){.checkpoint = checkpoint, .arg = d};
    memcpy(d->member.id, stamp->overlay_id, sizeof(d->member.id));
    if (journal)
        journal_join(journal, &d->member);
    *ret = d;
    return 0;
}

/* A map file from a backup or from another root may claim commits that this journal has still to make; a recovery would leave them
 * out then. So it gets a number of this journal first. */
int durable_load(int dir_fd, const char *name, const struct map_stamp *stamp, struct journal *journal,
                 struct durable **ret, struct err *err)
{
    struct durable *d;
    struct mapfile_info info;
    int r = durable_create(dir_fd, name, stamp, journal, &d, err);
    if (r < 0)
        return r;
    r = mapfile_load(dir_fd, name, d->map, &info, err);
    if (r < 0) {
        durable_destroy(d);
        return r;
    }
    d->number = info.sequence;
    d->has_mapfile = true;
    r = journal && info.sequence > journal_last(journal) ? durable_save(d) : 0;
    if (r < 0) {
        durable_destroy(d);
        return err_sys(err, r, "cannot bring the overlay's map '%s' up to date", name);
    }
    *ret = d;
    return 0;
}

void durable_abandon(struct durable *d)
{
    LOCK_SCOPE(&d->lock);
    d->is_abandoned = true;
}

void durable_destroy(struct durable *d)
{
    if (!d)
        return;
    if (d->journal && d->is_abandoned)
        journal_saved(d->journal, &d->member, UINT64_MAX); /* nobody needs its commits */
    if (d->journal)
        journal_leave(d->journal, &d->member);
    livemap_close(d->map);
    lock_finish(&d->lock);
    free(d);
}
