/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Journal: one file in which the flushes of all kept overlays of a root become durable together.
 *
 * A flush of an overlay whose map changed hands in the runs of blocks that changed. Flushes that arrive while a commit is being written
 * wait for it and then share the next one: one write and one sync, however many clients flush.
 *
 *   file    [ area 0 ][ area 1 ]          one is written, the other is old or being given up
 *   area    [ header ][ commit ][ commit ] ...
 *   commit  number, then for each overlay its id and its runs; whole 4 KiB blocks, a check sum over all of it
 *
 * When an area is full the other one takes over, and a thread writes the map file of every overlay that has runs in the full one;
 * then that one may be used again. docs/journal-format.md has the layout.
 *
 * (1) A commit is written only after all earlier ones are durable. So whatever follows a bad commit is either nothing or damage.
 * (2) Commits are numbered for ever, over areas, restarts and new files. A map file holds the number up to which it is complete;
 *     a recovery applies what is above it and nothing else.
 * (3) An area is used again only when every overlay with runs in it has a map file with a number above them.
 * (4) After a write or sync of the journal failed, every later commit fails: nobody is told that his data is safe.
 * (5) A journal tells whose it is, and a recovery takes no other one's: the flushes that it should have would be missing in silence.
 * (6) While the disk is too full for map files, so that neither area can be written, a commit is refused with -ENOSPC or -EDQUOT and may
 *     be tried again: no thread waits inside of the journal for an administrator to make room.
 *
 * Threads: journal_commit() any number at once; join and leave: any thread, one at a time for a member.
 */
#ifndef DISKGATE_CORE_JOURNAL_H
#define DISKGATE_CORE_JOURNAL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define JOURNAL_AREA_BYTES (8ULL << 20)
#define JOURNAL_RUNS_MAX   32768U       /* in one commit of one overlay; more is a case for a map file */
#define JOURNAL_ROOT_LEN   16           /* bytes of a root's tag at most */
#define JOURNAL_NUMBER_MAX (1ULL << 62) /* a greater number of a commit is damage */

/* @n blocks from @blk on are in state @state, an enum block_state. */
struct map_run {
    uint64_t blk;
    uint32_t n, state;
};

struct journal;

/* An overlay that commits. The memory belongs to the overlay. */
struct journal_member {
    struct journal_member *next, **prev;
    uint64_t last[2]; /* number of its last commit in each area */
    uint64_t saved;   /* number up to which its map file is complete */
    bool is_busy;     /* the journal's thread is in `checkpoint` */
    bool is_waiting;  /* for the commit that it is in */
    int result;       /* of that commit, once it no longer waits */
    uint64_t number;  /* likewise */
    unsigned char id[16];
    /* Write the map file; *ret_number: up to which of the member's own commits it is complete. Called by the journal's thread, also while
     * a commit of this member waits for room. 0, or a negative errno: one that journal_may_retry() is tried again, any other is
     * final for this member, which must fail its own flushes from then on. */
    int (*checkpoint)(void *arg, uint64_t *ret_number);
    void *arg;
};

/* What a recovery does with each run that was found, in the order of the commits. 0 or a negative errno, which ends it. */
typedef int journal_apply(void *arg, const unsigned char id[16], uint64_t number, const struct map_run *runs, size_t n,
                          struct err *err);

/* Errors that pass: the disk is full, or memory or descriptors are short. */
static inline bool journal_may_retry(int r)
{
    return r == -ENOSPC || r == -EDQUOT || r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -EINTR;
}

/* One half of the file. */
struct journal_area {
    uint32_t version; /* 0: there is no good header */
    char root[JOURNAL_ROOT_LEN + 1];
    uint64_t generation, commits;
};

struct journal_found {
    struct journal_area area[2];
    uint64_t commits;     /* that were read */
    uint64_t last_number; /* the greatest one, 0 = none */
};

/* Read the journal in @fd. An empty file, or one that was never ready, counts as one without commits. @root: the tag of the root whose it must
 * be; one that tells none (an empty tag, version 1) is taken for ours; "": any.
 * -EBADMSG with a sentence when a commit is damaged that others follow, or both areas are no areas; -EOPNOTSUPP: another version; -EEXIST:
 * another root's, and nothing was applied. @ret->area tells what was found in any case. */
int journal_replay(int fd, const char *root, journal_apply *apply, void *arg, struct journal_found *ret,
                   struct err *err);

/* Start to write, as the journal of @root. Takes @fd. All commits that the file holds are given up: they must be in map files by now. @first_number is the number
 * of the first commit, above all that any map file holds. @area_bytes: JOURNAL_AREA_BYTES but in tests; a multiple of 4096. */
int journal_start(int fd, const char *root, uint64_t first_number, uint64_t area_bytes, struct journal **ret,
                  struct err *err);

/* All members have left. Where every map file is complete, the journal is left empty: what is put back from a backup later must not
 * meet commits from before. NULL is allowed. */
void journal_stop(struct journal *j);

void journal_join(struct journal *j, struct journal_member *m);
/* Waits for a checkpoint of @m that is under way; the caller holds no lock that this checkpoint needs. */
void journal_leave(struct journal *j, struct journal_member *m);

/* Make @runs of member @m durable; *ret_number: in which commit. Returns when they are, or a negative errno. One that journal_may_retry():
 * nothing was written, and the commit can be tried again; any other: nothing may be assumed, and it is final for the whole journal.
 * 0 < n <= JOURNAL_RUNS_MAX. One at a time for a member. */
int journal_commit(struct journal *j, struct journal_member *m, const struct map_run *runs, size_t n,
                   uint64_t *ret_number);

/* Number that is below every future commit and not below any that is done. */
uint64_t journal_last(struct journal *j);

/* The member wrote its map file by itself: it is complete up to @number. */
void journal_saved(struct journal *j, struct journal_member *m, uint64_t number);

/* How many commits and how many flushes they carried, for the status. */
void journal_stats(struct journal *j, uint64_t *ret_commits, uint64_t *ret_flushes);

#endif
