/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between changes.c (the map in use), changes-file.c (its saved form) and changes-look.c (the backup's look at either).
 *
 * Threads: as changes.h.
 */
#ifndef DISKGATE_CORE_CHANGES_PRIV_H
#define DISKGATE_CORE_CHANGES_PRIV_H

#include <stdatomic.h>

#include "core/blk.h"
#include "core/changes.h"

#define CHANGES_MAGIC     "DGCHANG"
#define CHANGES_VERSION   1U
#define CHANGES_PAGE      4096ULL
#define CHANGES_PAGE_TAGS (CHANGES_PAGE / sizeof(uint32_t))

/* The live form, in the machine's byte order: it never leaves the boot that it was made in. Tags follow at CHANGES_PAGE. */
struct changes_head {
    char magic[8];
    uint32_t version;
    _Atomic uint32_t is_void;
    unsigned char boot_id[16], overlay_id[16], id[16];
    uint64_t size_bytes;
    _Atomic uint32_t epoch;
};
_Static_assert(offsetof(struct changes_head, boot_id) == 16 && offsetof(struct changes_head, size_bytes) == 64 &&
                   offsetof(struct changes_head, epoch) == 72,
               "as docs/change-map-format.md says");

struct changes_names {
    char live[UUID_LEN + 16], live_new[UUID_LEN + 24], saved[16], data[16], map[16];
};

struct changes_names changes_names(const struct changes_place *p);
uint64_t changes_regions(uint64_t size_bytes);
uint64_t changes_pages(uint64_t size_bytes);

/* 0; -ESTALE: of another boot or overlay, or void; -EBADMSG: no change map. */
int changes_check_head(const struct changes_head *h, const struct map_stamp *stamp);

/* Head of a live form in the empty file @fd, no tags. */
int changes_new_file(int fd, const struct map_stamp *stamp, const unsigned char id[16], uint32_t epoch);

/* Saved form -> the empty file @fd as a live form. -ENOENT; -EBADMSG; -ESTALE: it does not fit data and map file. */
int changes_load_saved(const struct changes_place *p, int fd);
/* The live form in @fd -> saved form. */
int changes_write_saved(const struct changes_place *p, int fd);

#endif
