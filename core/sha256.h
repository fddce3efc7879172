/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA-256 by libcrypto, which uses the processor's instructions for it; and hex digits. Where somebody may have chosen the content, or compares with
 * what `sha256sum` prints; all else is hashed with core/hash.h.
 *
 * Threads: one at a time per object; any number of objects.
 */
#ifndef DISKGATE_CORE_SHA256_H
#define DISKGATE_CORE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_HEX_LEN 64 /* digits, without the ending zero */

/* -ENOMEM or -EIO when libcrypto fails; as below. */
int sha256_buf(const void *buf, size_t len, unsigned char ret[32]);

/* Over many pieces. */
struct sha256;
struct sha256 *sha256_create(void); /* NULL without memory */
void sha256_destroy(struct sha256 *s);
static inline void sha256_destroyp(struct sha256 **s)
{
    sha256_destroy(*s);
}
int sha256_update(struct sha256 *s, const void *buf, size_t len); /* 0 or -EIO */
/* Ends it: the object can only be destroyed afterwards. 0 or -EIO. */
int sha256_finish(struct sha256 *s, unsigned char ret[32]);

/* Of an open file from its beginning, and its length (@ret_bytes may be NULL). 0, an errno of pread, -ENOMEM or -EIO. */
int sha256_file(int fd, unsigned char ret[32], uint64_t *ret_bytes);

void hex_text(const unsigned char *bytes, size_t n, char *ret); /* 2 * n + 1 bytes, lower case */
/* Exactly 2 * @n lower-case digits. 0 or -EBADMSG. */
int hex_parse(const char *text, size_t len, unsigned char *ret, size_t n);

#endif
