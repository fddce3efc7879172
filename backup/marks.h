/* SPDX-License-Identifier: GPL-2.0-or-later */
/* marks.txt: what is known of sets and packs beside their content: pins, and what verify found when.
 *
 *   diskgate-marks 1
 *   repo 2f1c...
 *   gc 7                                                     successful collections so far
 *   set 2026-11-22T130000Z-9a3e 1 1790000000 data pinned     was seen; time (0 = never) and level of the last verify, flags "pinned", "bad"
 *   pack 000017-1f0c9a3be2d44c01 1790000000 good             last read completely by verify
 *   end 5 c0ff...
 *
 * It also remembers which sets there were: a listing that lacks one of them is an error of the disk, not a reason to collect its chunks.
 * The file is replaced as a whole, by writers only. When it is missing it begins empty (pins are lost, which is said).
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_BACKUP_MARKS_H
#define DISKGATE_BACKUP_MARKS_H

#include "backup/set.h"

enum verify_level { VERIFY_NEVER, VERIFY_QUICK, VERIFY_DATA, VERIFY_IMAGE, VERIFY_RESTORE };

struct set_mark {
    char id[SET_ID_LEN + 1];
    int64_t verified_s; /* 0 = never */
    enum verify_level level;
    bool is_pinned, is_bad;
};

struct pack_mark {
    struct pack_id id;
    int64_t verified_s; /* 0 = never */
    bool is_bad;
};

struct marks {
    uint64_t gc; /* successful collections */
    struct set_mark *sets;
    size_t n_sets;
    struct pack_mark *packs;
    size_t n_packs;
    bool was_missing; /* there was no file */
};

/* "never", "quick", ... */
const char *verify_level_name(enum verify_level l);

/* -EBADMSG, -EOPNOTSUPP with a sentence; @ret, which begins as zeros, is to be finished in any case. */
int marks_decode(const char *buf, size_t len, const char *repo_id, struct marks *ret, struct err *err);
int marks_load(struct repo *r, struct marks *ret, struct err *err); /* -EBADMSG, -EOPNOTSUPP with a sentence */
int marks_store(struct repo *r, const struct marks *m, struct err *err);
void marks_finish(struct marks *m);

/* The mark of a set or pack; NULL when there is none. _need: made if missing; NULL without memory. */
struct set_mark *marks_set(const struct marks *m, const char *id);
struct set_mark *marks_set_need(struct marks *m, const char *id);
void marks_set_drop(struct marks *m, const char *id);
struct pack_mark *marks_pack(const struct marks *m, const char *stem);
struct pack_mark *marks_pack_need(struct marks *m, const struct pack_id *id);

/* Bring the list of sets up to the folder: those that are new become known. *ret_lost: a set that is known and not there, or "". */
int marks_learn(struct marks *m, const struct set_info *sets, size_t n, char *ret_lost);

#endif
