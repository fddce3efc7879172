/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing the journal: group commit, change of areas, and the thread that empties the full one. See journal.h.
 *
 *   gathering   flushes append their entries to `batch` under the lock
 *   writing     one of them, the leader, takes the batch, writes and syncs it without the lock; later ones gather the next
 *   done        the leader tells each member of the batch how it went, and wakes them
 *   refused     neither area has room and the disk is too full to empty one: no number is used up, and the members may try again
 *
 *   area states: current, full (members with its bit still have to write their map files), free (nobody has its bit)
 */
#include "core/journal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/journal-file.h"
#include "core/lock.h"
#include "core/log.h"
#include "core/util.h"

struct batch {
    unsigned char *buf; /* COMMIT_HEAD_BYTES, then entries */
    size_t len, room;
    uint32_t entries;
    struct journal_member **members; /* one for each entry */
    size_t member_room;
};

struct journal {
    int fd;
    char root[JOURNAL_ROOT_LEN + 1];
    uint64_t area_bytes;
    struct lock lock;       /* protects all below */
    pthread_cond_t changed; /* broadcast: a batch is done, an area is free, it stops */
    struct batch batch;     /* being gathered */
    uint64_t gathering;     /* number that the gathered batch will have */
    bool is_writing, must_stop;
    bool is_needed;      /* somebody left, or failed, whose map file lacks commits of his */
    int failed;          /* for ever */
    int full;            /* what the last checkpoint failed with, if it was for want of room */
    unsigned area;       /* current one */
    uint64_t generation; /* of the current one */
    uint64_t pos;        /* bytes of it that are used */
    struct journal_member *members;
    uint64_t commits, flushes;
    pthread_t thread;
};

/* --- batches ----------------------------------------------------------------------------------------------------- */

static void batch_finish(struct batch *b)
{
    free(b->buf);
    free(b->members);
    *b = (struct batch){0};
}

static int batch_reserve(struct batch *b, size_t bytes)
{
    size_t len = b->len ? b->len : COMMIT_HEAD_BYTES;
    size_t room = (size_t)round_up(len + bytes, JOURNAL_BLOCK);
    if (room > b->room) {
        room = MAX(room, 2 * b->room);
        unsigned char *more = realloc(b->buf, room);
        if (!more)
            return -ENOMEM;
        b->buf = more;
        b->room = room;
    }
    if (b->entries == b->member_room) {
        size_t n = b->member_room ? 2 * b->member_room : 16;
        struct journal_member **more = reallocarray(b->members, n, sizeof(*more));
        if (!more)
            return -ENOMEM;
        b->members = more;
        b->member_room = n;
    }
    b->len = len;
    return 0;
}

static int batch_add(struct batch *b, struct journal_member *m, const struct map_run *runs, size_t n)
{
    size_t bytes = ENTRY_HEAD_BYTES + n * RUN_BYTES;
    int r = batch_reserve(b, bytes);
    if (r < 0)
        return r;
    entry_encode(b->buf + b->len, m->id, runs, n);
    b->len += bytes;
    b->members[b->entries++] = m;
    return 0;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static uint64_t area_off(const struct journal *j, unsigned area)
{
    return area * j->area_bytes;
}

static int write_head(const struct journal *j, unsigned area, uint64_t generation)
{
    unsigned char block[JOURNAL_BLOCK];
    struct area_head h = {.generation = generation, .area_bytes = j->area_bytes, .index = area};
    memcpy(h.root, j->root, sizeof(h.root));
    area_head_encode(&h, block);
    return pwrite_full(j->fd, block, sizeof(block), area_off(j, area));
}

static bool area_is_used_locked(const struct journal *j, unsigned area)
{
    for (const struct journal_member *m = j->members; m; m = m->next)
        if (m->last[area] > m->saved)
            return true;
    return false;
}

/* The end of it: invariant (4). */
static int fail_locked(struct journal *j, int r)
{
    log_error("journal of the kept overlays: %s; their flushes fail from now on", strerror(-r));
    return j->failed = journal_may_retry(r) ? -EIO : r;
}

static int write_head_synced(const struct journal *j, unsigned area, uint64_t generation)
{
    int r = write_head(j, area, generation);
    return r == 0 && fdatasync(j->fd) < 0 ? -errno : r;
}

/* The other area, which nobody needs, becomes the current one. Its header is durable before anything else in it changes: so where a
 * header is bad, the commits behind it are all of one generation (journal-replay.c). The lock is not held meanwhile, but nobody
 * else writes. */
static int change_area_locked(struct journal *j)
{
    unsigned other = !j->area;
    lock_release(&j->lock);
    int r = write_head_synced(j, other, j->generation + 1);
    lock_take(&j->lock);
    if (r < 0)
        return fail_locked(j, r);
    j->area = other;
    j->generation++;
    j->pos = JOURNAL_BLOCK;
    j->full = 0;
    pthread_cond_broadcast(&j->changed); /* there is a full area for the thread */
    return 0;
}

/* Make room for @bytes in the current area, which may have to change. */
static int need_room_locked(struct journal *j, size_t bytes)
{
    if (j->pos + bytes <= j->area_bytes)
        return 0;
    while (area_is_used_locked(j, !j->area) && !j->full)
        pthread_cond_wait(&j->changed, &j->lock.mutex);
    return area_is_used_locked(j, !j->area) ? j->full : change_area_locked(j);
}

static int write_batch(const struct journal *j, struct batch *b, uint64_t number, uint64_t generation, uint64_t off,
                       size_t bytes)
{
    memset(b->buf + b->len, 0, bytes - b->len);
    commit_seal(
        &(struct commit_head){
            .generation = generation, .number = number, .bytes = (uint32_t)bytes, .entries = b->entries},
        b->buf);
    int r = pwrite_full(j->fd, b->buf, bytes, off);
    if (r == 0 && fdatasync(j->fd) < 0)
        r = -errno;
    return r;
}

/* Write the batch @b, for which there is room. */
static int write_locked(struct journal *j, struct batch *b, uint64_t number, size_t bytes)
{
    uint64_t generation = j->generation, off = area_off(j, j->area) + j->pos;
    for (uint32_t i = 0; i < b->entries; i++)
        b->members[i]->last[j->area] = number;
    j->pos += bytes;
    j->commits++;
    j->flushes += b->entries;
    lock_release(&j->lock);
    int r = write_batch(j, b, number, generation, off, bytes);
    lock_take(&j->lock);
    return r < 0 ? fail_locked(j, r) : 0;
}

/* Take what was gathered and make it durable; others gather the next batch meanwhile. */
static void lead_locked(struct journal *j)
{
    j->is_writing = true;
    size_t bytes;
    int r;
    do { /* more may gather while it waits */
        bytes = (size_t)round_up(j->batch.len, JOURNAL_BLOCK);
        r = j->failed ? j->failed : need_room_locked(j, bytes);
    } while (r == 0 && bytes != round_up(j->batch.len, JOURNAL_BLOCK));
    struct batch b = j->batch;
    j->batch = (struct batch){0};
    uint64_t number = j->gathering;
    if (r == 0) {
        j->gathering++; /* a refused batch leaves its number to the next: there are no gaps */
        r = write_locked(j, &b, number, bytes);
    }
    for (uint32_t i = 0; i < b.entries; i++) {
        b.members[i]->result = r;
        b.members[i]->number = number;
        b.members[i]->is_waiting = false;
    }
    j->is_writing = false;
    batch_finish(&b);
    pthread_cond_broadcast(&j->changed);
}

/* The greatest batch that any area can hold, with room for one more of the largest entries. */
static bool batch_is_full_locked(const struct journal *j, size_t n)
{
    size_t len = j->batch.len + COMMIT_HEAD_BYTES + ENTRY_HEAD_BYTES + n * RUN_BYTES;
    return round_up(len, JOURNAL_BLOCK) > j->area_bytes - JOURNAL_BLOCK;
}

int journal_commit(struct journal *j, struct journal_member *m, const struct map_run *runs, size_t n,
                   uint64_t *ret_number)
{
    assert(n > 0 && n <= JOURNAL_RUNS_MAX);
    LOCK_SCOPE(&j->lock);
    while (!j->failed && batch_is_full_locked(j, n))
        pthread_cond_wait(&j->changed, &j->lock.mutex);
    if (j->failed)
        return j->failed;
    int r = batch_add(&j->batch, m, runs, n);
    if (r < 0)
        return r;
    m->is_waiting = true;
    while (m->is_waiting) {
        if (j->is_writing)
            pthread_cond_wait(&j->changed, &j->lock.mutex);
        else
            lead_locked(j);
    }
    *ret_number = m->number;
    return m->result;
}

/* --- emptying the full area -------------------------------------------------------------------------------------- */

static struct journal_member *next_to_save_locked(const struct journal *j)
{
    for (struct journal_member *m = j->members; m; m = m->next)
        if (m->last[!j->area] > m->saved)
            return m;
    return NULL;
}

static void pause_locked(struct journal *j, long ms)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += ms * 1000000;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    while (!j->must_stop && pthread_cond_timedwait(&j->changed, &j->lock.mutex, &at) == 0)
        ; /* each commit wakes us */
}

/* Its flushes fail from now on, and nothing more is promised for it. What the areas still have may help its next recovery. */
static void give_up_locked(struct journal *j, struct journal_member *m, int r)
{
    m->saved = UINT64_MAX;
    j->is_needed |= r != -ESTALE;
}

static void save_member_locked(struct journal *j, struct journal_member *m)
{
    uint64_t number = 0;
    unsigned full = !j->area;
    m->is_busy = true;
    lock_release(&j->lock);
    int r = m->checkpoint(m->arg, &number);
    lock_take(&j->lock);
    m->is_busy = false;
    j->full = r == -ENOSPC || r == -EDQUOT ? r : 0;
    pthread_cond_broadcast(&j->changed);
    if (r == 0)
        m->saved = MAX(m->saved, number);
    else if (!journal_may_retry(r))
        give_up_locked(j, m, r);
    else
        log_warn("cannot write the map of a kept overlay: %s, retrying", strerror(-r));
    if (m->last[full] > m->saved) /* no room, or its last commit is about to be noted by the overlay */
        pause_locked(j, r == 0 ? 5 : 1000);
}

static void *run(void *arg)
{
    struct journal *j = arg;
    LOCK_SCOPE(&j->lock);
    while (!j->must_stop) {
        struct journal_member *m = next_to_save_locked(j);
        if (m)
            save_member_locked(j, m);
        else
            pthread_cond_wait(&j->changed, &j->lock.mutex);
    }
    return NULL;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

/* Zeros all over, so that later writes need no change of the file's layout. Without a header it counts as a journal without commits; the
 * headers themselves are not written here, so that a power cut can never leave two of them half-written. */
static int fill_file(const struct journal *j)
{
    _cleanup_free_ char *zeros = calloc(1, MiB);
    int r = zeros ? 0 : -ENOMEM;
    if (r == 0 && (ftruncate(j->fd, 0) < 0 || ftruncate(j->fd, (off_t)(2 * j->area_bytes)) < 0 || fsync(j->fd) < 0))
        r = -errno;
    for (unsigned area = 0; area < 2; area++)
        for (uint64_t at = JOURNAL_BLOCK; at < j->area_bytes && r == 0; at += MiB)
            r = pwrite_full(j->fd, zeros, (size_t)MIN(MiB, j->area_bytes - at), area_off(j, area) + at);
    if (r == 0 && fsync(j->fd) < 0)
        r = -errno;
    return r;
}

/* Generation that the areas have; 0 when the file cannot be taken over as it is. */
static uint64_t generation_of(const struct journal *j)
{
    uint64_t greatest = 0;
    struct stat st;
    if (fstat(j->fd, &st) < 0 || (uint64_t)st.st_size != 2 * j->area_bytes)
        return 0;
    for (unsigned i = 0; i < 2; i++) {
        unsigned char block[JOURNAL_BLOCK];
        struct area_head h;
        if (pread_full(j->fd, block, sizeof(block), area_off(j, i)) < 0 || area_head_decode(block, &h) < 0 ||
            h.area_bytes != j->area_bytes || h.index != i)
            return 0;
        greatest = MAX(greatest, h.generation);
    }
    return greatest;
}

/* Empty both areas by new generations, one after the other: one header is good at every moment. */
static int take_over(struct journal *j, uint64_t generation)
{
    int r = write_head_synced(j, 1, generation + 1);
    if (r == 0)
        r = write_head_synced(j, 0, generation + 2);
    j->generation = generation + 2;
    return r;
}

/* A process that was killed may have written a header and not synced it. Both of them would be on their way to the disk at once if the other one
 * were written now. */
static int make_durable(const struct journal *j)
{
    return fdatasync(j->fd) < 0 ? -errno : 0;
}

static int open_file(struct journal *j)
{
    uint64_t generation = generation_of(j);
    int r = generation == 0 ? fill_file(j) : make_durable(j);
    return r < 0 ? r : take_over(j, generation);
}

static void release(struct journal *j)
{
    batch_finish(&j->batch);
    pthread_cond_destroy(&j->changed);
    lock_finish(&j->lock);
    free(j);
}

int journal_start(int fd, const char *root, uint64_t first_number, uint64_t area_bytes, struct journal **ret,
                  struct err *err)
{
    assert(first_number > 0 && area_bytes % JOURNAL_BLOCK == 0 && area_bytes >= JOURNAL_AREA_MIN &&
           area_bytes <= JOURNAL_AREA_MAX && strlen(root) <= JOURNAL_ROOT_LEN);
    struct journal *j = calloc(1, sizeof(*j));
    if (!j)
        return err_sys(err, -ENOMEM, "cannot open the journal");
    lock_init(&j->lock, LOCK_JOURNAL);
    pthread_cond_init(&j->changed, NULL);
    j->fd = fd;
    memcpy(j->root, root, strlen(root));
    j->area_bytes = area_bytes;
    j->gathering = first_number;
    j->pos = JOURNAL_BLOCK;
    int r = open_file(j);
    if (r == 0)
        r = -pthread_create(&j->thread, NULL, run, j);
    if (r < 0) {
        release(j);
        return err_sys(err, r, "cannot open the journal");
    }
    *ret = j;
    return 0;
}

void journal_stop(struct journal *j)
{
    if (!j)
        return;
    {
        LOCK_SCOPE(&j->lock);
        assert(!j->members);
        j->must_stop = true;
        pthread_cond_broadcast(&j->changed);
    }
    pthread_join(j->thread, NULL);
    if (!j->failed && !j->is_needed)
        (void)take_over(j, j->generation); /* else the next recovery finds what the map files have already */
    (void)close(j->fd);                    /* every commit was synced */
    release(j);
}

void journal_join(struct journal *j, struct journal_member *m)
{
    LOCK_SCOPE(&j->lock);
    m->last[0] = m->last[1] = m->saved = 0;
    m->is_busy = m->is_waiting = false;
    m->next = j->members;
    if (m->next)
        m->next->prev = &m->next;
    m->prev = &j->members;
    j->members = m;
}

void journal_leave(struct journal *j, struct journal_member *m)
{
    LOCK_SCOPE(&j->lock);
    while (m->is_busy)
        pthread_cond_wait(&j->changed, &j->lock.mutex);
    j->is_needed |= m->last[0] > m->saved || m->last[1] > m->saved;
    *m->prev = m->next;
    if (m->next)
        m->next->prev = m->prev;
    pthread_cond_broadcast(&j->changed); /* an area may be free now */
}

uint64_t journal_last(struct journal *j)
{
    LOCK_SCOPE(&j->lock);
    return j->gathering - 1;
}

void journal_saved(struct journal *j, struct journal_member *m, uint64_t number)
{
    LOCK_SCOPE(&j->lock);
    m->saved = MAX(m->saved, number);
    pthread_cond_broadcast(&j->changed);
}

void journal_stats(struct journal *j, uint64_t *ret_commits, uint64_t *ret_flushes)
{
    LOCK_SCOPE(&j->lock);
    *ret_commits = j->commits;
    *ret_flushes = j->flushes;
}
