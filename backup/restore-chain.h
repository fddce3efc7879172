/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chain: a stream of a set with all that it lies over, as one disk of chunks.
 *
 *   overlay   . c . 0 .        . = inherit, c = chunk, 0 = zeros
 *   layer     c . . c .
 *   base      c c 0 c c
 *             ---------
 *   the disk  c c 0 0 c
 *
 * When it is opened, every manifest is read to its end, every chunk looked up in the index, and the tree of SHA-256 computed from that and
 * compared with the manifest's. So a set that is not complete is known before a byte is written, and a chunk whose SHA-256 is the index's is the
 * chunk that was backed up.
 *
 * Memory: 28 bytes a chunk that is not zero, for each manifest.
 *
 * Threads: any number at once, but for open and close.
 */
#ifndef DISKGATE_BACKUP_RESTORE_CHAIN_H
#define DISKGATE_BACKUP_RESTORE_CHAIN_H

#include "backup/restore-reader.h"
#include "backup/set.h"

#define CHAIN_MAX 256U /* streams on top of each other */

struct chain;

enum chain_kind { CHAIN_ZERO, CHAIN_DATA };

/* -EBADMSG with a sentence: a manifest or a chunk is missing or damaged. With @ret_missing (may be NULL), missing chunks are counted there
 * and are no error, and the trees are not compared: for a look at what is left. */
int chain_open(struct reader *r, const struct set_info *s, const struct stream_id *id, uint64_t *ret_missing,
               struct chain **ret, struct err *err);
void chain_close(struct chain *c);
static inline void chain_closep(struct chain **c)
{
    chain_close(*c);
}

const struct manifest_head *chain_head(const struct chain *c); /* of the topmost stream */
const struct manifest_tail *chain_tail(const struct chain *c);
uint64_t chain_chunks(const struct chain *c);
/* Bytes of the disk that are chunks and no zeros. */
uint64_t chain_data_bytes(const struct chain *c);
/* How long chunk @n of the disk is. */
size_t chain_len(const struct chain *c, uint64_t n);

/* What is chunk @n < chain_chunks(), and for how many chunks from there on are there zeros (1 for CHAIN_DATA)? @ret_depth (may be
 * NULL): 0 when the topmost stream itself says so, else how far below. */
enum chain_kind chain_find(const struct chain *c, uint64_t n, struct chunk_name *ret_name, uint64_t *ret_count,
                           unsigned *ret_depth);
/* Chunk @n into @buf (room for a whole chunk), chain_len() bytes, hashed; with @is_strict also by SHA-256. CHAIN_ZERO: @buf is zeros. Or a
 * negative errno with a sentence. */
int chain_read(const struct chain *c, struct reader_worker *w, uint64_t n, void *buf, bool is_strict, struct err *err);
/* Are the chain_len() bytes at @buf chunk @n, by its XXH3-128, with @is_strict also by SHA-256? Nothing is read from the repository. */
bool chain_matches(const struct chain *c, struct reader *r, uint64_t n, const void *buf, bool is_strict);

#endif
