/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text of Access files made UTF-8.
 *
 *   Jet 4, ACE   UTF-16LE; or "compressed": FF FE, then one byte a character, where a zero byte turns to two bytes a character and back
 *   Jet 3        a code page
 *
 * What cannot be decoded, a lone surrogate, half a character at the end and a zero character become U+FFFD and are counted. libmdb itself
 * reads UCS-2 and makes two question marks of a character beyond U+FFFF.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_MIGRATE_MDB_TEXT_H
#define DISKGATE_MIGRATE_MDB_TEXT_H

#include <iconv.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that grow. A zero byte follows them. */
struct text_buf {
    char *p;
    size_t len, size;
};

void text_buf_finish(struct text_buf *t);
/* Room for @len bytes and a zero; false when memory is out. */
bool text_buf_reserve(struct text_buf *t, size_t len);
bool text_buf_add(struct text_buf *t, const void *p, size_t len);

/* Append what @src says. False when memory is out. *bad grows by the characters that were replaced. */
bool text_from_jet4(struct text_buf *t, const unsigned char *src, size_t len, uint64_t *bad);
bool text_from_charset(struct text_buf *t, iconv_t charset, const unsigned char *src, size_t len, uint64_t *bad);

/* Name for iconv of a Windows code page; NULL when it is not known. */
const char *charset_of_code_page(unsigned code_page);

/* Is a text that is said to be Western really Chinese? Counts over many texts: bytes from 0x80 on, and how many of them form pairs of GBK. */
struct gbk_guess {
    uint64_t high, paired;
};
void gbk_guess_add(struct gbk_guess *g, const unsigned char *src, size_t len);
bool gbk_guess_is_likely(const struct gbk_guess *g);

#endif
