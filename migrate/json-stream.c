/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON into a file; see json-stream.h. */
#include "migrate/json-stream.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"

#define PIECE_BYTES   1024 /* of a text that is put at once */
#define ESCAPED_BYTES 6    /* of a byte, at most */

int json_stream_begin(struct json_stream *s, int fd, uint64_t at)
{
    *s = (struct json_stream){.fd = fd, .at = at, .buf = malloc(JSON_STREAM_BYTES)};
    return s->buf ? 0 : -ENOMEM;
}

static void flush(struct json_stream *s)
{
    if (s->result == 0)
        s->result = pwrite_full(s->fd, s->buf, s->len, s->at);
    s->at += s->len;
    s->len = 0;
}

int json_stream_end(struct json_stream *s)
{
    flush(s);
    free(s->buf);
    s->buf = NULL;
    return s->result;
}

static inline void need(struct json_stream *s, size_t len)
{
    if (JSON_STREAM_BYTES - s->len < len)
        flush(s);
}

void json_put(struct json_stream *s, const char *bytes, size_t len)
{
    for (size_t n; len > 0; bytes += n, len -= n) {
        n = MIN(len, (size_t)JSON_STREAM_BYTES);
        need(s, n);
        memcpy(s->buf + s->len, bytes, n);
        s->len += n;
    }
}

static inline bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f;
}

#define EACH_BYTE(b)      (0x0101010101010101ULL * (b))
#define HAS_LESS(v, b)    (((v)-EACH_BYTE(b)) & ~(v)&EACH_BYTE(0x80))
#define HAS_BYTE(v, b)    HAS_LESS((v) ^ EACH_BYTE(b), 1)
#define HAS_SPECIAL(word) (HAS_LESS(word, 0x20) | HAS_BYTE(word, '"') | HAS_BYTE(word, '\\') | HAS_BYTE(word, 0x7f))

static char *escape_byte(char *to, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    if (is_plain(c)) {
        *to++ = (char)c;
    } else if (c == '"' || c == '\\') {
        *to++ = '\\';
        *to++ = (char)c;
    } else {
        to = mempcpy(to, "\\u00", 4);
        *to++ = digits[c >> 4];
        *to++ = digits[c & 15];
    }
    return to;
}

/* Eight bytes at once where all of them stand for themselves. Returns the end of what is at @to, which has room for the worst. */
static char *escape(char *to, const char *text, size_t len)
{
    const char *end = text + len;
    uint64_t word;
    while (end - text >= (ptrdiff_t)sizeof(word)) {
        memcpy(&word, text, sizeof(word));
        if (HAS_SPECIAL(word) == 0) {
            to = mempcpy(to, &word, sizeof(word));
            text += sizeof(word);
            continue;
        }
        for (size_t i = 0; i < sizeof(word); i++)
            to = escape_byte(to, (unsigned char)*text++);
    }
    while (text < end)
        to = escape_byte(to, (unsigned char)*text++);
    return to;
}

void json_put_text(struct json_stream *s, const char *text, size_t len)
{
    need(s, 2 + ESCAPED_BYTES * PIECE_BYTES);
    s->buf[s->len++] = '"';
    for (size_t n; len > 0; text += n, len -= n) {
        n = MIN(len, (size_t)PIECE_BYTES);
        need(s, 1 + ESCAPED_BYTES * n);
        s->len = (size_t)(escape(s->buf + s->len, text, n) - s->buf);
    }
    s->buf[s->len++] = '"';
}
