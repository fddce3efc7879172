/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What one value of a foreign table could be. For profile.c.
 *
 * Threads: any number at once; of a memo: one at a time.
 */
#ifndef DISKGATE_MIGRATE_VERDICT_H
#define DISKGATE_MIGRATE_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/source.h"

/* Bits. A value can be several. */
enum verdict_is {
    IS_IP = 1,
    IS_MASK = 1 << 1,
    IS_PATH = 1 << 2,
    IS_IMAGE = 1 << 3, /* a path with the ending of a disk image */
    IS_ALIEN = 1 << 4, /* a path with the ending of something else */
    IS_BOOL = 1 << 5,
    IS_INT = 1 << 6,
    IS_NUMBER = 1 << 7, /* also with decimals */
    IS_GUID = 1 << 8,
    IS_SHORT = 1 << 9,           /* at most 63 characters and no control characters */
    IS_HOST = 1 << 10,           /* [A-Za-z0-9._-] only */
    IS_SEMICOLON_LIST = 1 << 11, /* several paths with ; between them */
    IS_PIPE_LIST = 1 << 12,
    IS_NO_ADDRESS = 1 << 13, /* 0.0.0.0, auto: somebody says that there is none */
};

struct verdict {
    unsigned is;       /* of enum verdict_is */
    uint64_t key, mac; /* hashes of cell_key() and of the MAC of a single card; 0 = none */
};

/* The verdicts of one column's last values: most columns say the same again and again. Begins as zeros. */
#define MEMO_SLOTS 16
struct memo {
    uint64_t hash[MEMO_SLOTS]; /* of the value as it is; 0 = free */
    struct verdict verdicts[MEMO_SLOTS];
};

/* Of a cell that is not empty; borrowed until the next call. Two values are taken for one when a hash of 64 bits is the same. */
const struct verdict *verdict_of(struct memo *m, const struct cell *c);

#endif
