/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames: what the jailed reader of a foreign file tells its parent, one record after the other over a pipe.
 *
 *   u32 length of what follows, u8 kind, payload (little-endian)
 *
 *   kind             payload
 *   FRAME_DATABASE   str library
 *   FRAME_TABLE      u32 id, i64 stored rows (-1 = not said), u8 is_linked, str name, str linked to, u16 columns, each str name, str type
 *   FRAME_ROW        as many cells as the table has columns, each u8 kind and: nothing | u8 | i64 | u64 bits of a double | str
 *   FRAME_NOTE       u8 is_doubt, str sentence
 *   FRAME_FAILED     u8 why (enum frame_why), str sentence; the last one
 *   FRAME_END        u64 tables, u64 rows; the last one
 *
 *   str = u32 length, bytes, one zero byte that the length does not count
 *
 * (1) The decoder believes nothing: a length over its limit, a count that does not fit, text that is not UTF-8 or has a zero byte in it, bytes that
 *     are left over, are all -EBADMSG. It says so; what became of the sender is its caller's business.
 * (2) What a frame holds stays valid until the next frame_next().
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_MIGRATE_FRAME_H
#define DISKGATE_MIGRATE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "migrate/source.h"

/* Of length: a row with a few cells of the greatest size. */
#define FRAME_BYTES_MAX (64u << 20)

enum frame_kind { FRAME_DATABASE = 1, FRAME_TABLE, FRAME_ROW, FRAME_NOTE, FRAME_FAILED, FRAME_END };
enum frame_why { FRAME_WHY_DAMAGED = 1, FRAME_WHY_UNSUPPORTED, FRAME_WHY_TOO_LARGE };

/* --- the sender -------------------------------------------------------------------------------------------------- */

/* Takes all bytes: 0 or a negative errno, then nothing more is sent. */
typedef int frame_sink(void *arg, const void *buf, size_t len);

struct frame_out {
    frame_sink *sink;
    void *arg;
    unsigned char *buf;
    size_t len, size;
    size_t begun_at; /* of the frame that is being made */
    int error;       /* the first one; everything is dropped from then on */
};

void frame_out_init(struct frame_out *o, frame_sink *sink, void *arg);
void frame_out_finish(struct frame_out *o);

void frame_begin(struct frame_out *o, enum frame_kind kind);
void frame_u8(struct frame_out *o, unsigned v);
void frame_u16(struct frame_out *o, unsigned v);
void frame_u32(struct frame_out *o, uint32_t v);
void frame_u64(struct frame_out *o, uint64_t v);
void frame_str(struct frame_out *o, const void *p, size_t len);
/* A cell of a row. One for which the frame has no room left becomes CELL_BAD; false then. */
bool frame_cell(struct frame_out *o, const struct cell *c);
/* 0 or the first error. */
int frame_commit(struct frame_out *o);
int frame_flush(struct frame_out *o);

/* --- the receiver ------------------------------------------------------------------------------------------------ */

/* Up to @max bytes: their number, 0 at the end, or a negative errno, which frame_next() returns. */
typedef ssize_t frame_fill(void *arg, void *buf, size_t max);

struct frame_in {
    frame_fill *fill;
    void *arg;
    unsigned char *buf;
    size_t begin, end, size;
};

struct frame {
    enum frame_kind kind;
    const unsigned char *p, *end; /* what is left of its payload */
    bool is_bad;                  /* something was taken that is not there */
};

void frame_in_init(struct frame_in *in, frame_fill *fill, void *arg);
void frame_in_finish(struct frame_in *in);

/* 1 and *ret; 0 at the end between two frames; -EBADMSG; -ENOMEM; what fill said. */
int frame_next(struct frame_in *in, struct frame *ret);

/* Each takes the next piece; after one that is not there frame_done() is -EBADMSG and values are 0 or "". */
unsigned frame_take_u8(struct frame *f);
unsigned frame_take_u16(struct frame *f);
uint32_t frame_take_u32(struct frame *f);
uint64_t frame_take_u64(struct frame *f);
/* Text; borrowed. */
const char *frame_take_text(struct frame *f, size_t max, size_t *ret_len);
/* 0 if all of it was there and nothing is left. */
int frame_done(const struct frame *f);
/* All cells of a FRAME_ROW. 0 or -EBADMSG. */
int frame_take_row(struct frame *f, struct cell *cells, size_t n);

#endif
