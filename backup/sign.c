/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signatures by OpenSSL's ed25519; see sums.h. */
#include "backup/sums.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"

struct sign_key {
    EVP_PKEY *key;
};

int sign_key_load(const char *file, bool is_private, struct sign_key **ret, struct err *err)
{
    static char no_phrase[] = ""; /* a key that asks for one is refused instead of asking at night */
    _cleanup_fclose_ FILE *f = fopen(file, "re");
    if (!f)
        return err_sys(err, -errno, "cannot read the key '%s'", file);
    struct sign_key *k = calloc(1, sizeof(*k));
    if (!k)
        return err_set(err, -ENOMEM, "memory is out");
    k->key = is_private ? PEM_read_PrivateKey(f, NULL, NULL, no_phrase) : PEM_read_PUBKEY(f, NULL, NULL, no_phrase);
    if (k->key && EVP_PKEY_is_a(k->key, "ED25519")) {
        *ret = k;
        return 0;
    }
    sign_key_destroy(k);
    return err_set(err, -EKEYREJECTED, "'%s' is no %s ed25519 key in PEM without a passphrase", file,
                   is_private ? "private" : "public");
}

void sign_key_destroy(struct sign_key *k)
{
    if (k)
        EVP_PKEY_free(k->key);
    free(k);
}

int sign_make(const struct sign_key *k, const void *buf, size_t len, unsigned char ret[SIGNATURE_LEN])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t n = SIGNATURE_LEN;
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, k->key) == 1 &&
              EVP_DigestSign(ctx, ret, &n, buf, len) == 1 && n == SIGNATURE_LEN;
    EVP_MD_CTX_free(ctx);
    return ok ? 0 : -EIO;
}

int sign_check(const struct sign_key *k, const void *buf, size_t len, const unsigned char *signature,
               size_t signature_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && signature_len == SIGNATURE_LEN && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, k->key) == 1 &&
              EVP_DigestVerify(ctx, signature, signature_len, buf, len) == 1;
    EVP_MD_CTX_free(ctx);
    return ok ? 0 : -EKEYREJECTED;
}
