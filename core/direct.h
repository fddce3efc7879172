/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Direct reads: what diskgate-fs and the store of a LUN in tgtd (fusefs/tgt/) share, so that tgtd reads what lies in memory by itself,
 * without the way through FUSE and without another thread.
 *
 *   store in tgtd ── struct direct_ask ──> ROOT/run/direct.sock (SOCK_SEQPACKET) ──> worker of diskgate-fs
 *                 <── struct direct_answer + DIRECT_FDS descriptors ──
 *
 * One connection for each LUN, open as long as the LUN is: its end tells diskgate-fs that the LUN is closed. If diskgate-fs dies first, the store goes
 * on with what it has: base and live map stay what they are, and nobody writes. One that ends in order turns its boards off before.
 *
 * A read may be answered by the store when each of its blocks is, by the live map, ABSENT (then it is read from the base; zeros from base_bytes on),
 * ZERO, or PRESENT (then from the data file), and all of that lies in memory (RWF_NOWAIT). What was read counts only if afterwards, behind a fence,
 *
 *   DIRECT_ON is set, DIRECT_DATA too if a block was PRESENT, and livemap_generation() is still direct_answer.generation.
 *
 * Asked before the look at the map they would prove nothing: a block may have gone to RAM in between, and PRESENT would mean something else.
 * Everything else goes the way through FUSE.
 *
 * (1) A write is answered after its bits are in the live map, and the store looks at the map after the read has come: so a read sees every
 *     write that was answered before. Of one that runs at the same time it sees old or new bytes.
 * (2) diskgate-fs clears DIRECT_ON before a view is revoked or ends, and DIRECT_DATA, for good, before the first block of an overlay goes to RAM.
 * (3) With DIRECT_RECORD each read that the store answers is noted in the ring, before it is answered; while the ring is full it answers none,
 *     unless the connection has ended. Each read that comes through FUSE empties the ring: nothing of what a boot reads is missing from its record.
 * (4) The generation of a live map goes up before another process lets anybody write through it, and before the map loses its name. So a board that
 *     a dead diskgate-fs has left behind is worth nothing from then on.
 *
 * The board is shared memory that cannot shrink. Its numbers are changed by atomic operations; whoever reads it believes nothing: an
 * index is taken modulo the size of the ring.
 */
#ifndef DISKGATE_CORE_DIRECT_H
#define DISKGATE_CORE_DIRECT_H

#include <stdatomic.h>
#include <stdint.h>

#define DIRECT_SOCKET  "direct.sock" /* below ROOT/run */
#define DIRECT_MAGIC   0x44524744U   /* "DGRD" */
#define DIRECT_VERSION 1U

enum { DIRECT_FD_BOARD, DIRECT_FD_MAP, DIRECT_FD_BASE, DIRECT_FD_DATA, DIRECT_FDS }; /* all but the board read-only */

struct direct_ask {
    uint32_t magic, version;
    unsigned char overlay_id[16];
};

struct direct_answer {
    uint32_t magic, version;
    int32_t error;       /* 0; else a negative errno, and there are no descriptors: such a LUN is read through FUSE */
    uint32_t generation; /* of the live map (core/livemap.h) */
    uint64_t size_bytes; /* of the disk */
    uint64_t
        base_bytes; /* so many bytes from the base's offset 0 on are the disk's, at the same offsets; <= size_bytes */
};

enum {
    DIRECT_ON = 1U << 0,     /* the store may answer */
    DIRECT_DATA = 1U << 1,   /* PRESENT blocks are in the data file */
    DIRECT_RECORD = 1U << 2, /* reads are to be noted in the ring */
};

#define DIRECT_RING        248U
#define DIRECT_BOARD_BYTES 4096U

struct direct_note {
    _Atomic uint64_t off, len; /* bytes */
};

/* The memfd's only page. The store writes reads, read_bytes, head and the notes; diskgate-fs the rest. */
struct direct_board {
    uint32_t magic, version;
    _Atomic uint32_t flags;
    uint32_t zero;
    _Atomic uint64_t reads, read_bytes; /* answered by the store since it opened the LUN */
    _Atomic uint64_t head, tail;        /* notes written, notes taken; both only grow, head - tail <= DIRECT_RING */
    uint64_t spare[9];
    struct direct_note ring[DIRECT_RING];
};
_Static_assert(sizeof(struct direct_board) <= DIRECT_BOARD_BYTES, "the board is one page");

#endif
