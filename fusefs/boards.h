/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Boards: the shared pages by which one view tells the stores of its LUNs what they may answer by themselves (core/direct.h), and by which they tell
 * what they have answered.
 *
 *   struct boards   of one client's view, as long as the view: what is allowed, what was read by stores that are closed
 *   struct board    the page of one LUN, as long as its store is connected (fusefs/direct.h)
 *
 *   flag           set while
 *   DIRECT_ON      the view is in use, and its base is what was recorded
 *   DIRECT_DATA    nothing of the overlay has ever been in RAM
 *   DIRECT_RECORD  the tape of the view records
 *
 * (1) All changes of flags are made under the lock, from the state as it is then: a board that is added at this moment misses none.
 * (2) When boards_forbid() or boards_end() returns, the flag is clear on each board there is and on each that comes.
 *
 * Threads: any number at once, but for create and destroy.
 */
#ifndef DISKGATE_FUSEFS_BOARDS_H
#define DISKGATE_FUSEFS_BOARDS_H

#include <stdbool.h>
#include <stdint.h>

#define BOARDS_MAX 16 /* of one view */

struct board;
struct boards;
struct tape;

/* A page with all flags clear. *ret_fd: its memory, sealed, the caller's. NULL when there is none. */
struct board *board_create(int *ret_fd);
void board_destroy(struct board *x); /* one that is in no list; NULL is allowed */

/* Of a disk of @size_bytes. @tape (borrowed; NULL = nothing is recorded) gets what stores note. @allowed: DIRECT_ON, DIRECT_DATA. */
struct boards *boards_create(uint64_t size_bytes, struct tape *tape, uint32_t allowed);
void boards_destroy(struct boards *b); /* with no board in it; NULL is allowed */

/* 0; -ESTALE after boards_end(); -EBUSY. The board belongs to the caller still. */
int boards_add(struct boards *b, struct board *x);
/* Its flags are clear afterwards and its counts kept. Nothing where boards_end() did it. */
void boards_remove(struct boards *b, struct board *x);

void boards_allow(struct boards *b, uint32_t flag);
void boards_forbid(struct boards *b, uint32_t flag); /* NULL is allowed, here and below */
/* For good: all are removed, and none comes. */
void boards_end(struct boards *b);

/* Bring what the stores have noted to the tape. Costs one load where there is no board. */
void boards_gather(struct boards *b);
/* The tape has begun or ended to record. */
void boards_refresh(struct boards *b);

/* What stores have answered, those included that are closed; how many there are. */
struct board_counts {
    uint64_t reads, read_bytes;
    unsigned boards;
};
struct board_counts boards_count(struct boards *b);

#endif
