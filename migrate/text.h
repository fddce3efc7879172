/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text that came from foreign files: compared without regard to width, case and accents, and shown without danger.
 *
 * All input is UTF-8; what is not is treated as U+FFFD.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_MIGRATE_TEXT_H
#define DISKGATE_MIGRATE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NFKC and case folding, for names that a person would call the same; cut at @size. Returns the length. */
size_t text_fold(const char *text, char *ret, size_t size);

/* As text_fold(), and accents are dropped too ("Endereço" = "endereco"), for the hints. */
size_t text_plain(const char *text, char *ret, size_t size);

/* NFKC alone, cut at @size between two characters. */
size_t text_nfkc(const char *text, size_t len, char *ret, size_t size);

/* True when the two are the same after text_fold(). */
bool text_same(const char *a, const char *b);

/* Copy of @text that may go to a terminal or log: control characters, direction marks, invisible characters and line separators become
 * \n, \t, \xNN or \u{NNNN}; cut with "..." after about @size bytes. Returns @ret. */
char *text_shown(const char *text, char *ret, size_t size);

/* @text in the buffer of a compound literal, for arguments of err_set(): text_quote(name). */
#define text_quote(text) text_shown(text, (char[160]){0}, 160)

/* Copy at most @size - 1 bytes, cut between two characters; "..." at its end says that it was cut. Returns whether it was. */
bool text_copy(const char *text, size_t len, char *ret, size_t size);

/* @n in decimal digits into @ret (21 bytes). Returns the length. */
size_t text_number(int64_t n, char *ret);

/* snprintf() that never cuts a character in two. */
void text_format(char *ret, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Take away an incomplete character at the end of a text that was cut. */
void text_mend(char *text);

size_t text_trim_blanks(const char **text, size_t len);
/* @text (@len bytes) without blanks at both ends, also wide ones; moves *text. Returns the new length. */
static inline size_t text_trim(const char **text, size_t len)
{
    const unsigned char *p = (const unsigned char *)*text;
    bool is_bare = len > 0 && p[0] > ' ' && p[0] < 0x7f && p[len - 1] > ' ' && p[len - 1] < 0x7f; /* nearly always */
    return is_bare ? len : text_trim_blanks(text, len);
}

/* Number of characters. */
size_t text_chars(const char *text, size_t len);

/* Columns of a terminal that it takes: Chinese characters take two. */
size_t text_columns(const char *text);

/* A hash of bytes for sets in memory; not stable between versions. */
uint64_t text_hash(const char *text, size_t len);

/* --- growing text --------------------------------------------------------------------------------------------------- */

/* A text in a buffer of fixed size that is complete or marked as cut. */
struct text_out {
    char *buf;
    size_t size, len;
    bool is_full; /* something did not fit and was left out whole */
};

/* Append "key":"value" to a JSON object without its brackets; whole or not at all. @max bytes of the value are kept, and "..." behind them says that
 * there were more. False when something of the value was left out. */
bool text_json_member(struct text_out *o, const char *key, const char *value, size_t len, size_t max);
/* The same with a key that text_json_key() has made, for many values. */
bool text_json_member_of(struct text_out *o, const char *key, size_t key_len, const char *value, size_t len,
                         size_t max);
/* "key": as it stands in an object, malloc()ed, and its length; NULL when memory is out. */
char *text_json_key(const char *key, size_t *ret_len);
/* Begin with "{"; end with a member "..." when something was left out, and "}". @o->buf holds a JSON object in any case. */
void text_json_begin(struct text_out *o, char *buf, size_t size);
void text_json_end(struct text_out *o);

/* Add a sentence to others in @buf, with a blank between; one that does not fit is left out and "..." says so. */
void text_add_sentence(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
