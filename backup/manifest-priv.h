/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files manifest*.c share: the head's lines, both ways.
 *
 * Threads: see manifest.h.
 */
#ifndef DISKGATE_BACKUP_MANIFEST_PRIV_H
#define DISKGATE_BACKUP_MANIFEST_PRIV_H

#include "backup/manifest.h"
#include "backup/text.h"

#define MANIFEST_LINE_MAX 512U

/* 0, or -EINVAL with a sentence for a head that cannot be. */
int head_check(const struct manifest_head *h, struct err *err);
/* The lines between the first one and "--". */
void head_print(const struct manifest_head *h, FILE *f);
/* One "key value" line. *have: bits of the keys so far. 0; -EBADMSG; -EOPNOTSUPP for an unknown key. */
int head_take(struct manifest_head *h, struct field line, unsigned *have);
/* All that must be there is. */
bool head_is_complete(const struct manifest_head *h, unsigned have);

/* Number of chunks of the disk, and the length of chunk @n. */
static inline uint64_t head_chunks(const struct manifest_head *h)
{
    return (h->size_bytes + h->chunk_bytes - 1) / h->chunk_bytes;
}

#endif
