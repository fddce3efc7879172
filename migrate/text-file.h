/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text files of unknown character set, read as UTF-8.
 *
 *   text_file_open(path, charset or NULL) -> f     finds the character set out
 *   text_file_read(f, buf, size)                   the next decoded bytes, never half a character; 0 at the end
 *   text_file_rewind(f)
 *   text_file_close(f)
 *
 * The guess looks at the first megabytes: a byte order mark; zero bytes at every second place (UTF-16); valid UTF-8; then GBK, Big5, windows-1251,
 * KOI8-R or CP866 where the bytes are distributed so; else windows-1252. What cannot be decoded becomes U+FFFD and is counted.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_MIGRATE_TEXT_FILE_H
#define DISKGATE_MIGRATE_TEXT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct source;
struct text_file;

int text_file_open(const char *path, const char *charset, struct text_file **ret, struct err *err);
/* Bytes, or a negative errno of read(). @size is at least 16. */
long text_file_read(struct text_file *f, char *buf, size_t size);
int text_file_rewind(struct text_file *f);
void text_file_close(struct text_file *f); /* NULL is allowed */
static inline void text_file_closep(struct text_file **f)
{
    text_file_close(*f);
}

const char *text_file_charset(const struct text_file *f);
/* A note when the character set could be another one. */
void text_file_say_guess(const struct text_file *f, struct source *s);
uint64_t text_file_damaged(const struct text_file *f); /* characters that could not be decoded since the last rewind */

/* True when the file was written since it was opened. */
bool text_file_has_changed(const struct text_file *f);

/* All of a file of at most @max bytes, decoded, into a fresh zero-terminated buffer. Zero bytes in it become "?" and count as damaged. */
int text_file_load(struct text_file *f, const char *path, size_t max, char **ret, struct err *err);

/* The character set of bytes; *ret_is_guess as above. For the tests and the above. */
const char *charset_guess(const unsigned char *p, size_t len, bool *ret_is_guess);

#endif
