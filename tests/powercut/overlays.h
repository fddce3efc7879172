/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the workload on kept overlays and its check share: the content of the disks, a root in use, and the notes in the log.
 *
 * Threads: one at a time per site, but its overlays are used by any number at once.
 */
#ifndef DISKGATE_TESTS_OVERLAYS_H
#define DISKGATE_TESTS_OVERLAYS_H

#include "core/journal-file.h"
#include "core/journal.h"
#include "core/overlay.h"
#include "core/util.h"
#include "tests/powercut/subject.h"

#define OVERLAYS 4
#define BLOCKS   48ULL
#define DISK     (BLOCKS * BLOCK_BYTES + 3 * SECTOR_BYTES) /* the last block is short */
#define SECTORS  (DISK / SECTOR_BYTES)
#define SLEEPER  1              /* rests for so long that areas of the journal which hold its commits are used again */
#define SWINGER  (OVERLAYS - 1) /* is volatile from time to time */

extern const char *const overlays_dirs[];

enum note { NOTE_WRITE, NOTE_ZERO, NOTE_ACK, NOTE_FLUSH, NOTE_FLUSHED, NOTE_MODE };

struct sector {
    uint64_t overlay, number, version, word[59];
    unsigned char sum[16];
};
_Static_assert(sizeof(struct sector) == SECTOR_BYTES, "one sector");

/* The content of sector @number of @overlay after write @version. Overlay OVERLAYS is what all of them lie on, in version 0. */
void make_sector(uint64_t overlay, uint64_t number, uint64_t version, struct sector *ret);

struct site {
    int overlays_fd, live_fd, kept_fd, journal_fd, dir_fd[OVERLAYS];
    struct blk *base;
    struct journal *journal;
    struct overlay *overlay[OVERLAYS];
    bool is_lost[OVERLAYS]; /* it says so itself */
    struct err err;
};

/* The descriptor of folder @name in @root. */
int open_folder(const char *root, const char *name);
void overlays_prepare(const char *root);
struct map_stamp stamp_of(unsigned i);

/* As diskgate-fs starts: recovery, journal, overlays. A failed one has its sentence in s->err and is to be closed all the same. */
int site_open(struct site *s, const char *root, bool swinger_is_kept);
int site_close(struct site *s);

/* As a restart of the machine does. */
void drop_live_maps(const char *root);

/* Subject's work: processes one after the other, most of them killed. */
void overlays_work(const char *root, struct rec_log *log, unsigned ops, uint64_t seed);

#endif
