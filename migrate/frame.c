/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames; see frame.h. */
#include "migrate/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"
#include "migrate/utf8.h"

#define HEAD_BYTES  5     /* length and kind */
#define STR_BYTES   5     /* of a str beside its text */
#define FLUSH_BYTES 65536 /* a pipe's worth */
#define ROOM_BYTES  (128u << 10)
#define CELL_ROOM   (16u * SOURCE_COLUMNS_MAX) /* kept free in a row for the cells that follow a great one */

static const char too_large[] = "too large";

/* --- the sender -------------------------------------------------------------------------------------------------- */

void frame_out_init(struct frame_out *o, frame_sink *sink, void *arg)
{
    *o = (struct frame_out){.sink = sink, .arg = arg};
}

void frame_out_finish(struct frame_out *o)
{
    free(o->buf);
    o->buf = NULL;
}

/* Room for @n more bytes; NULL when memory is out or an error came before. */
static unsigned char *room(struct frame_out *o, size_t n)
{
    if (o->error < 0)
        return NULL;
    if (o->len + n > o->size) {
        size_t size = MAX(2 * o->size, MAX(o->len + n, (size_t)ROOM_BYTES));
        unsigned char *bigger = realloc(o->buf, size);
        if (!bigger) {
            o->error = -ENOMEM;
            return NULL;
        }
        o->buf = bigger;
        o->size = size;
    }
    o->len += n;
    return o->buf + o->len - n;
}

void frame_begin(struct frame_out *o, enum frame_kind kind)
{
    o->begun_at = o->len;
    unsigned char *p = room(o, HEAD_BYTES);
    if (p)
        p[4] = (unsigned char)kind;
}

void frame_u8(struct frame_out *o, unsigned v)
{
    unsigned char *p = room(o, 1);
    if (p)
        p[0] = (unsigned char)v;
}

void frame_u16(struct frame_out *o, unsigned v)
{
    frame_u8(o, v & 0xff);
    frame_u8(o, v >> 8);
}

void frame_u32(struct frame_out *o, uint32_t v)
{
    unsigned char *p = room(o, 4);
    if (p)
        put_u32(p, v);
}

void frame_u64(struct frame_out *o, uint64_t v)
{
    unsigned char *p = room(o, 8);
    if (p)
        put_u64(p, v);
}

static void put_str(unsigned char *p, const void *text, size_t len)
{
    put_u32(p, (uint32_t)len);
    if (len > 0)
        memcpy(p + 4, text, len);
    p[4 + len] = 0;
}

void frame_str(struct frame_out *o, const void *text, size_t len)
{
    unsigned char *p = room(o, STR_BYTES + len);
    if (p)
        put_str(p, text, len);
}

static size_t cell_bytes(const struct cell *c)
{
    switch (c->kind) {
    case CELL_NONE:
        return 1;
    case CELL_BOOL:
        return 2;
    case CELL_INT:
    case CELL_REAL:
        return 9;
    default:
        return 1 + STR_BYTES + c->len;
    }
}

bool frame_cell(struct frame_out *o, const struct cell *c)
{
    static const struct cell bad = {.kind = CELL_BAD, .text = too_large, .len = sizeof(too_large) - 1};
    bool fits = c->len <= SOURCE_CELL_MAX && o->len - o->begun_at + c->len + CELL_ROOM <= FRAME_BYTES_MAX;
    uint64_t bits;
    if (!fits)
        c = &bad;
    unsigned char *p = room(o, cell_bytes(c));
    if (!p)
        return fits;
    *p++ = (unsigned char)c->kind;
    switch (c->kind) {
    case CELL_NONE:
        break;
    case CELL_BOOL:
        *p = c->integer != 0;
        break;
    case CELL_INT:
        put_u64(p, (uint64_t)c->integer);
        break;
    case CELL_REAL:
        memcpy(&bits, &c->real, sizeof(bits));
        put_u64(p, bits);
        break;
    case CELL_TEXT:
    case CELL_BYTES:
    case CELL_DATE:
    case CELL_BAD:
        put_str(p, c->text, c->len);
        break;
    }
    return fits;
}

int frame_flush(struct frame_out *o)
{
    if (o->error == 0 && o->len > 0)
        o->error = o->sink(o->arg, o->buf, o->len);
    o->len = 0;
    return o->error;
}

int frame_commit(struct frame_out *o)
{
    if (o->error < 0)
        return o->error;
    put_u32(o->buf + o->begun_at, (uint32_t)(o->len - o->begun_at - 4));
    return o->len >= FLUSH_BYTES ? frame_flush(o) : 0;
}

/* --- the receiver ------------------------------------------------------------------------------------------------ */

void frame_in_init(struct frame_in *in, frame_fill *fill, void *arg)
{
    *in = (struct frame_in){.fill = fill, .arg = arg};
}

void frame_in_finish(struct frame_in *in)
{
    free(in->buf);
    in->buf = NULL;
}

/* Have @n bytes in one piece. 1; 0 when the stream ends before; a negative errno. */
static int have(struct frame_in *in, size_t n)
{
    if (in->end - in->begin >= n)
        return 1;
    if (in->begin > 0)
        memmove(in->buf, in->buf + in->begin, in->end - in->begin);
    in->end -= in->begin;
    in->begin = 0;
    if (n > in->size) {
        size_t size = MAX(n, (size_t)ROOM_BYTES);
        unsigned char *bigger = realloc(in->buf, size);
        if (!bigger)
            return -ENOMEM;
        in->buf = bigger;
        in->size = size;
    }
    while (in->end < n) {
        ssize_t got = in->fill(in->arg, in->buf + in->end, in->size - in->end);
        if (got <= 0)
            return (int)got;
        in->end += (size_t)got;
    }
    return 1;
}

int frame_next(struct frame_in *in, struct frame *ret)
{
    int r = have(in, HEAD_BYTES);
    if (r == 0 && in->end > in->begin)
        return -EBADMSG; /* a piece of a frame */
    if (r <= 0)
        return r;
    uint32_t len = get_u32(in->buf + in->begin);
    unsigned kind = in->buf[in->begin + 4];
    if (len < 1 || len > FRAME_BYTES_MAX || kind < FRAME_DATABASE || kind > FRAME_END)
        return -EBADMSG;
    r = have(in, 4 + (size_t)len);
    if (r <= 0)
        return r < 0 ? r : -EBADMSG;
    const unsigned char *p = in->buf + in->begin;
    *ret = (struct frame){.kind = (enum frame_kind)kind, .p = p + HEAD_BYTES, .end = p + 4 + len};
    in->begin += 4 + (size_t)len;
    return 1;
}

static const unsigned char *take(struct frame *f, size_t n)
{
    if (f->is_bad || (size_t)(f->end - f->p) < n) {
        f->is_bad = true;
        return NULL;
    }
    f->p += n;
    return f->p - n;
}

unsigned frame_take_u8(struct frame *f)
{
    const unsigned char *p = take(f, 1);
    return p ? p[0] : 0;
}

unsigned frame_take_u16(struct frame *f)
{
    const unsigned char *p = take(f, 2);
    return p ? p[0] | (unsigned)p[1] << 8 : 0;
}

uint32_t frame_take_u32(struct frame *f)
{
    const unsigned char *p = take(f, 4);
    return p ? get_u32(p) : 0;
}

uint64_t frame_take_u64(struct frame *f)
{
    const unsigned char *p = take(f, 8);
    return p ? get_u64(p) : 0;
}

const char *frame_take_text(struct frame *f, size_t max, size_t *ret_len)
{
    size_t len = frame_take_u32(f);
    const char *p = len <= max ? (const char *)take(f, len + 1) : NULL;
    if (!p || p[len] != 0 || !utf8_is_text(p, len)) {
        f->is_bad = true;
        len = 0;
        p = "";
    }
    if (ret_len)
        *ret_len = len;
    return p;
}

int frame_done(const struct frame *f)
{
    return f->is_bad || f->p != f->end ? -EBADMSG : 0;
}

/* "YYYY-MM-DDTHH:MM:SS" */
static bool is_date(const char *p, size_t len)
{
    static const char form[] = "0000-00-00T00:00:00";
    if (len != sizeof(form) - 1)
        return false;
    for (size_t i = 0; i < len; i++)
        if (form[i] == '0' ? p[i] < '0' || p[i] > '9' : p[i] != form[i])
            return false;
    return true;
}

/* Are the bytes what this kind of cell may hold? */
static bool is_good(const struct cell *c)
{
    switch (c->kind) {
    case CELL_BYTES:
        return true;
    case CELL_DATE:
        return is_date(c->text, c->len);
    default:
        return utf8_is_text(c->text, c->len);
    }
}

/* The cell at @p of the bytes up to @end; returns what is behind it, NULL when it is none. Nearly all frames are rows of such, so this does not go
 * through take(). */
static const unsigned char *take_cell(const unsigned char *p, const unsigned char *end, struct cell *c)
{
    size_t left = (size_t)(end - p);
    uint64_t bits;
    if (left < 1)
        return NULL;
    *c = (struct cell){.kind = (enum cell_kind) * p++, .text = ""};
    left--;
    switch (c->kind) {
    case CELL_NONE:
        return p;
    case CELL_BOOL:
        if (left < 1 || *p > 1)
            return NULL;
        c->integer = *p;
        return p + 1;
    case CELL_INT:
    case CELL_REAL:
        if (left < 8)
            return NULL;
        bits = get_u64(p);
        if (c->kind == CELL_INT)
            c->integer = (int64_t)bits;
        else
            memcpy(&c->real, &bits, sizeof(bits));
        return p + 8;
    case CELL_TEXT:
    case CELL_BYTES:
    case CELL_DATE:
    case CELL_BAD:
        if (left < STR_BYTES)
            return NULL;
        c->len = get_u32(p);
        c->text = (const char *)p + 4;
        if (c->len > SOURCE_CELL_MAX || c->len > left - STR_BYTES || c->text[c->len] != 0 || !is_good(c))
            return NULL;
        return p + STR_BYTES + c->len;
    }
    return NULL;
}

int frame_take_row(struct frame *f, struct cell *cells, size_t n)
{
    for (size_t i = 0; i < n && !f->is_bad; i++) {
        const unsigned char *behind = take_cell(f->p, f->end, &cells[i]);
        f->is_bad = !behind;
        f->p = behind ? behind : f->p;
    }
    return frame_done(f);
}
