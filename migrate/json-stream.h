/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON that is too long for memory, into a file: put together in a buffer, which is written when it is full.
 *
 *   json_stream_begin(s, fd, at)
 *     JSON_PUT(s, "{\"key\":"), json_put_text(s, text, len), ...
 *   json_stream_end(s)          says whether all of it was written
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_JSON_STREAM_H
#define DISKGATE_MIGRATE_JSON_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define JSON_STREAM_BYTES (256u << 10) /* of the buffer */

struct json_stream {
    int fd;      /* borrowed */
    uint64_t at; /* where in the file the buffer will lie */
    char *buf;
    size_t len;
    int result; /* of the first write that failed: nothing is written any more */
};

/* 0 or -ENOMEM; then there is nothing to be ended. */
int json_stream_begin(struct json_stream *s, int fd, uint64_t at);
/* Write what is left. 0 or a negative errno of any write since the begin. */
int json_stream_end(struct json_stream *s);

/* Bytes as they are. */
void json_put(struct json_stream *s, const char *bytes, size_t len);
/* Likewise of a literal, whose length the compiler knows. */
#define JSON_PUT(s, literal) json_put_few(s, literal, sizeof(literal) - 1)
static inline void json_put_few(struct json_stream *s, const char *bytes, size_t len)
{
    if (JSON_STREAM_BYTES - s->len < len) {
        json_put(s, bytes, len);
        return;
    }
    memcpy(s->buf + s->len, bytes, len);
    s->len += len;
}
/* A string with its quotes; @text is UTF-8. */
void json_put_text(struct json_stream *s, const char *text, size_t len);

#endif
