/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of the frames that the jailed reader of foreign files sends: whatever bytes a reader that was taken over may send, the parent takes text
 * for text and no count for more than it is.
 *
 * Input: one byte, the number of columns of a row; one byte, how much a read gives at a time; the rest is the stream.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "migrate/frame.h"
#include "migrate/utf8.h"

struct stream {
    struct input in;
    size_t piece;
};

static ssize_t fill(void *arg, void *buf, size_t max)
{
    struct stream *s = arg;
    size_t n = MIN(MIN(max, s->piece), s->in.left);
    input_take(&s->in, buf, n);
    return (ssize_t)n;
}

static void check_row(struct frame *f, size_t columns)
{
    struct cell cells[SOURCE_COLUMNS_MAX];
    if (frame_take_row(f, cells, columns) < 0)
        return;
    for (size_t i = 0; i < columns; i++) {
        const struct cell *c = &cells[i];
        must(c->kind >= CELL_NONE && c->kind <= CELL_BAD && c->len <= SOURCE_CELL_MAX && c->text[c->len] == 0);
        must(c->kind == CELL_BYTES || utf8_is_text(c->text, c->len));
        must(c->kind != CELL_DATE || c->len == 19);
    }
}

static void check_others(struct frame *f)
{
    size_t len;
    (void)frame_take_u8(f);
    const char *text = frame_take_text(f, 255, &len);
    must(len <= 255 && strlen(text) == len);
    (void)frame_take_u16(f);
    (void)frame_take_u32(f);
    (void)frame_take_u64(f);
    must(frame_done(f) == 0 || frame_done(f) == -EBADMSG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct stream s = {.in = {data, len}};
    struct frame_in in;
    struct frame f;
    int r;
    size_t columns = input_byte(&s.in);
    s.piece = 1 + input_byte(&s.in);
    frame_in_init(&in, fill, &s);
    while ((r = frame_next(&in, &f)) > 0)
        if (f.kind == FRAME_ROW)
            check_row(&f, MIN(columns, (size_t)SOURCE_COLUMNS_MAX));
        else
            check_others(&f);
    must(r == 0 || r == -EBADMSG || r == -ENOMEM);
    frame_in_finish(&in);
    return 0;
}
