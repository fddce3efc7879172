/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal's bytes: areas, commits, entries. Little-endian; docs/journal-format.md has the tables.
 *
 * Threads: any number at once on different buffers.
 */
#ifndef DISKGATE_CORE_JOURNAL_FILE_H
#define DISKGATE_CORE_JOURNAL_FILE_H

#include "core/journal.h"

#define JOURNAL_BLOCK     4096U /* unit of everything that is written */
#define COMMIT_HEAD_BYTES 64U
#define ENTRY_HEAD_BYTES  32U
#define RUN_BYTES         16U
#define JOURNAL_AREA_MIN  (1ULL << 20)
#define JOURNAL_AREA_MAX  (1ULL << 30)

struct area_head {
    uint32_t version;
    char root[JOURNAL_ROOT_LEN + 1]; /* whose journal it is; empty in version 1 */
    uint64_t generation;             /* of the area, counts up with every use; the commits in it carry the same */
    uint64_t area_bytes;
    uint32_t index; /* 0 or 1 */
};

/* In the newest version, whatever @h says. */
void area_head_encode(const struct area_head *h, unsigned char block[JOURNAL_BLOCK]);
/* 0; -EBADMSG: no area, or damaged; -EOPNOTSUPP: of another version. */
int area_head_decode(const unsigned char block[JOURNAL_BLOCK], struct area_head *ret);

struct commit_head {
    uint64_t generation, number;
    uint32_t bytes;   /* of the commit, whole blocks */
    uint32_t entries; /* one for each overlay */
};

/* Fill in the head and the check sum of a commit whose entries are at @buf + COMMIT_HEAD_BYTES, zeros behind them up to bytes. */
void commit_seal(const struct commit_head *h, unsigned char *buf);
/* Is a commit at @buf, of which @room bytes may be read? 0; -EBADMSG. The entries are not looked at. */
int commit_open(const unsigned char *buf, size_t room, struct commit_head *ret);

/* Append an entry at @p; it takes ENTRY_HEAD_BYTES + n * RUN_BYTES. */
void entry_encode(unsigned char *p, const unsigned char id[16], const struct map_run *runs, size_t n);
/* Decode the entry at @p, of which @room bytes are left. *ret is malloc()ed. Returns its bytes, or -EBADMSG, -ENOMEM. */
int64_t entry_decode(const unsigned char *p, size_t room, unsigned char ret_id[16], struct map_run **ret,
                     size_t *ret_n);

#endif
