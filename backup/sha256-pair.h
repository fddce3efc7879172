/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA-256 of two pieces at once.
 *
 * The processor's instruction for two rounds takes four cycles, and the next one needs its result; a second message fills the gaps. Two chunks
 * together take little more time than one.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_BACKUP_SHA256_PAIR_H
#define DISKGATE_BACKUP_SHA256_PAIR_H

#include <stdbool.h>
#include <stddef.h>

/* Does this processor have the instructions, and do they give what libcrypto gives? Otherwise sha256_pair() must not be called. */
bool sha256_pair_works(void);

/* Both have @len bytes. */
void sha256_pair(const void *a, const void *b, size_t len, unsigned char ret_a[32], unsigned char ret_b[32]);

#endif
