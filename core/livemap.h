/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Live map: the state of every 4 KiB block of an overlay, in a file that is mapped shared and so outlives the process.
 *
 *   state     present bit   zero bit
 *   ABSENT    0             0          ask the layer below
 *   PRESENT   1             0          in the data file, at the same offset
 *   ZERO      any           1          zeros
 *
 * Two levels: a directory entry covers 128 MiB and names a leaf for each of the two bits; a leaf is 4 KiB = 32768 bits and exists only
 * once a bit of it was set. A zero leaf may also be ALL (every bit set), which needs no storage: discarding a whole disk is cheap.
 *
 * (1) Each change of a block's state is one atomic store of one word: ABSENT -> PRESENT sets the present bit, any -> ZERO sets the
 *     zero bit, ZERO -> PRESENT clears it (the present bit is set before). There is no moment with a third meaning.
 * (2) A directory entry names a leaf only after the leaf is in the file and complete.
 * (3) Storage of a leaf is allocated before it is touched: a full disk is -ENOSPC, never a SIGBUS.
 * (4) livemap_set_*() cannot fail after livemap_prepare() for the same blocks returned 0.
 *
 * The file is stamped with the kernel's boot id, the overlay's id and the identity of what lies below. docs/live-map-format.md has the layout.
 *
 * Threads: readers any number at once; writers any number at once as long as their blocks do not overlap (range lock above).
 */
#ifndef DISKGATE_CORE_LIVEMAP_H
#define DISKGATE_CORE_LIVEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

enum block_state { BLOCK_ABSENT, BLOCK_PRESENT, BLOCK_ZERO };

#define LEAF_BLOCKS 32768ULL /* blocks that one leaf covers: 128 MiB */
#define LEAF_WORDS  (LEAF_BLOCKS / 64)

#define LIVEMAP_IDENTITY_LEN 79
#define LIVEMAP_SIZE_MAX     (1ULL << 50) /* bytes of a disk */

/* What a map belongs to. Strings are copied. */
struct map_stamp {
    unsigned char overlay_id[16];
    char base_identity[LIVEMAP_IDENTITY_LEN + 1]; /* content identity of the version below */
    uint64_t size_bytes;
};

struct livemap;

/* Make an empty map in the file @fd (which is truncated first), complete when this returns. Takes @fd. */
int livemap_create(int fd, const struct map_stamp *stamp, struct livemap **ret, struct err *err);

/* Open the map in @fd as it was left, by whichever process. Takes @fd.
 * -ESTALE when it was made before the machine's last boot; -EBADMSG when it is no complete map. */
int livemap_open(int fd, bool read_only, struct livemap **ret, struct err *err);

void livemap_close(struct livemap *m); /* NULL is allowed */

const struct map_stamp *livemap_stamp(const struct livemap *m); /* borrowed, as long as the map is open */

/* State of block @blk, and how many blocks from there on share it, at most @max. Returns the count, >= 1. */
uint64_t livemap_run(const struct livemap *m, uint64_t blk, uint64_t max, enum block_state *ret);

/* Make room for setting @state on [blk, blk + n). 0, -ENOSPC, -EIO, ... */
int livemap_prepare(struct livemap *m, uint64_t blk, uint64_t n, enum block_state state);

/* Set the state; prepared before. */
void livemap_set_present(struct livemap *m, uint64_t blk, uint64_t n);
void livemap_set_zero(struct livemap *m, uint64_t blk, uint64_t n);

/* Grows with every change: two equal readings mean that nothing changed in between. Counts on over processes. */
uint64_t livemap_changes(const struct livemap *m);

/* A sync of the data file failed with @code, a negative errno: blocks that the map counts may be missing there, and no later sync tells,
 * in this process or in the next. 0: none did. Any thread. */
void livemap_note_loss(struct livemap *m, int code);
int livemap_loss(const struct livemap *m);

/* Who uses the map: goes up when a process that opened it lets the first write come (livemap_begin(), any thread, as often as it likes), and when
 * the map is about to lose its name. Whoever reads the map from outside (core/direct.h) knows by it that the one who let him in is gone. */
uint32_t livemap_generation(const struct livemap *m);
void livemap_begin(struct livemap *m);
void livemap_end(struct livemap *m);
/* livemap_end() for the map @name in folder @dirfd, which nobody here has open. 0; -ENOENT; errors of
 * livemap_open(): then it is not touched. */
int livemap_end_file(int dirfd, const char *name);

/* Borrowed. */
int livemap_fd(const struct livemap *m);

uint64_t livemap_block_count(const struct livemap *m);

/* Directory entries that changed since they were last taken, for a flush. Finds the first one from *dir on, stores it there and takes it;
 * false when there is none. What a writer changed before he was answered is in it. After livemap_open() all count as changed. */
bool livemap_take_dirty(struct livemap *m, uint64_t *dir);
/* All count as changed again. */
void livemap_mark_dirty(struct livemap *m);

/* --- for the durable form ---------------------------------------------------------------------------------------- */

enum map_plane { PLANE_PRESENT, PLANE_ZERO };

uint64_t livemap_dir_count(const struct livemap *m); /* directory entries: one for each 128 MiB begun */

/* Copy of leaf @dir of @plane into @ret (LEAF_WORDS words, block n of the leaf = bit n % 64 of word n / 64).
 * False when there is none: all bits are clear. An ALL leaf is written out as ones. */
bool livemap_leaf_get(const struct livemap *m, uint64_t dir, enum map_plane plane, uint64_t *ret);

/* Store a leaf, into a map that nobody else uses yet. 0, -ENOSPC, ... */
int livemap_leaf_put(struct livemap *m, uint64_t dir, enum map_plane plane, const uint64_t *bits);

#endif
