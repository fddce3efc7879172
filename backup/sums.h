/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA256SUMS of a set: lines "HEX  NAME", as sha256sum writes and checks them, and the signature over that file.
 *
 * The signature is plain ed25519 by OpenSSL (no program is run, no key agent asked):
 *   openssl genpkey -algorithm ed25519 -out key.pem; openssl pkey -in key.pem -pubout -out public.pem
 *   openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_BACKUP_SUMS_H
#define DISKGATE_BACKUP_SUMS_H

#include <stddef.h>

#include "backup/chunk.h"
#include "core/err.h"

#define SUMS_NAME_LEN  127
#define SUMS_FILES_MAX 65536U
#define SUMS_TEXT_MAX  (SUMS_FILES_MAX * (SHA256_HEX_LEN + 2ULL + SUMS_NAME_LEN + 1))
#define SIGNATURE_LEN  64U

struct sum {
    unsigned char sha256[32];
    char name[SUMS_NAME_LEN + 1];
};

struct sums {
    struct sum *rows;
    size_t n;
};

int sums_add(struct sums *s, const char *name, const unsigned char sha256[32]); /* -ENOMEM, -EEXIST */
const struct sum *sums_find(const struct sums *s, const char *name);            /* NULL when it is not there */
void sums_drop(struct sums *s, const char *name);                               /* one that is not there is fine */
void sums_finish(struct sums *s);
/* *ret to be free()d. -ENOMEM. */
int sums_encode(const struct sums *s, char **ret, size_t *ret_len);
/* Strict; names are plain file names. -EBADMSG with a sentence. */
int sums_decode(const char *text, size_t len, const char *what, struct sums *ret, struct err *err);
/* SHA-256 of file @name in @dirfd, and its length. 0 or a negative errno. */
int sums_of_file(int dirfd, const char *name, unsigned char ret[32], uint64_t *ret_bytes);

struct sign_key;
/* An ed25519 private (@is_private) or public key in PEM. -EKEYREJECTED with a sentence. */
int sign_key_load(const char *file, bool is_private, struct sign_key **ret, struct err *err);
void sign_key_destroy(struct sign_key *k);
int sign_make(const struct sign_key *k, const void *buf, size_t len, unsigned char ret[SIGNATURE_LEN]); /* -EIO */
/* 0; -EKEYREJECTED. */
int sign_check(const struct sign_key *k, const void *buf, size_t len, const unsigned char *signature,
               size_t signature_len);

#endif
