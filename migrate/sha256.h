/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA-256 (FIPS 180-4): names a file in a report so that anybody can compare it with what `sha256sum` prints.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_MIGRATE_SHA256_H
#define DISKGATE_MIGRATE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_HEX_LEN 64 /* digits, without the ending zero */

struct sha256 {
    uint32_t h[8];
    uint64_t bytes;
    unsigned char block[64];
    bool is_fast; /* by the processor's own instructions */
};

void sha256_init(struct sha256 *s);
/* That never uses them, which gives the same. */
void sha256_init_plain(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *buf, size_t len);
/* Ends it: nothing may follow. @ret: SHA256_HEX_LEN + 1 bytes. */
void sha256_hex(struct sha256 *s, char *ret);

/* Of a whole open file, from its beginning. 0 or a negative errno of pread. */
int sha256_file(int fd, char *ret);

#endif
