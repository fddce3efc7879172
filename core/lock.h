/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mutexes with a rank: a thread takes them in rising order only, and debug builds abort when it does not.
 *
 *   rank  lock               protects
 *   1     freezer.lock       fusefs/freezer: the freezes that last; held over the making and deleting of their files
 *   2     tree.lock          fusefs: the names of the mount and the list of views
 *   3     flush_lock         core/overlay: order of one overlay's flushes; held over their disk I/O
 *   4     durable.lock       core/durable: what a kept overlay's map file will say; held over the writing of that file
 *   5     journal.lock       core/journal: the commit that is gathered, members, areas
 *   6     range_lock.lock    core/rangelock: ranges that are being written
 *   7     freeze.lock        core/freeze: copying of leaves into a frozen map
 *   8     livemap.lock       core/livemap: allocation of leaves
 *   9     hold.lock          fusefs/hold: requests that wait for room
 *   10    crew.lock          fusefs/crew: which of the threads that serve wait, which are parked
 *   11    ram_pool.lock      core/rampool: members and quotas of the RAM write cache; not held while one is spilled
 *   12    pipe.lock          backup/pipe: the ring of chunks that are being backed up
 *   13    store.lock         backup/store: the pack that is being written, counts; not held over I/O
 *   14    store.packs_lock   backup/store: packs that are open for reading
 *   15    index.lock         backup/index: what is where
 *   16    direct.lock        fusefs/direct: views that stores may ask for, and their connections
 *   17    boards.lock        fusefs/boards: what the stores of one view may answer, and have answered
 *   18    tape.lock          fusefs/tape: the recording of one client's boot
 *   19    preload.lock       fusefs/preload: what is to be loaded, and its figures; not held while anything is loaded
 *   20    spool.lock         core/spool: how far a spool that grows may be read by other threads; not held over I/O
 *   21    import_ahead.lock  core/catalog-import-ahead: how many batches of rows are made and taken; not held over either
 *
 * Threads: that is what it is for.
 */
#ifndef DISKGATE_CORE_LOCK_H
#define DISKGATE_CORE_LOCK_H

#include <assert.h>
#include <pthread.h>

enum lock_rank {
    LOCK_FREEZER = 1,
    LOCK_TREE,
    LOCK_FLUSH,
    LOCK_DURABLE,
    LOCK_JOURNAL,
    LOCK_RANGE,
    LOCK_FREEZE,
    LOCK_MAP,
    LOCK_HOLD,
    LOCK_CREW,
    LOCK_RAM,
    LOCK_PIPE,
    LOCK_STORE,
    LOCK_PACKS,
    LOCK_INDEX,
    LOCK_DIRECT,
    LOCK_BOARDS,
    LOCK_TAPE,
    LOCK_PRELOAD,
    LOCK_SPOOL,
    LOCK_AHEAD,
};

struct lock {
    pthread_mutex_t mutex;
    enum lock_rank rank;
};

#ifndef NDEBUG
extern _Thread_local unsigned lock_ranks_held; /* bit n = a lock of rank n is held by this thread */
#endif

static inline void lock_init(struct lock *l, enum lock_rank rank)
{
    pthread_mutex_init(&l->mutex, NULL);
    l->rank = rank;
}

static inline void lock_finish(struct lock *l)
{
    pthread_mutex_destroy(&l->mutex);
}

static inline void lock_take(struct lock *l)
{
#ifndef NDEBUG
    assert((lock_ranks_held >> l->rank) == 0);
    lock_ranks_held |= 1U << l->rank;
#endif
    pthread_mutex_lock(&l->mutex);
}

static inline void lock_release(struct lock *l)
{
    pthread_mutex_unlock(&l->mutex);
#ifndef NDEBUG
    lock_ranks_held &= ~(1U << l->rank);
#endif
}

static inline void lock_releasep(struct lock **l)
{
    lock_release(*l);
}

static inline struct lock *lock_taken(struct lock *l)
{
    lock_take(l);
    return l;
}

/* Hold @l until the end of the scope. */
#define LOCK_SCOPE(l)      LOCK_SCOPE_(l, __LINE__)
#define LOCK_SCOPE_(l, n)  LOCK_SCOPE__(l, n)
#define LOCK_SCOPE__(l, n) __attribute__((cleanup(lock_releasep), unused)) struct lock *lock_scope_##n = lock_taken(l)

#endif
