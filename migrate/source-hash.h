/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SHA-256 of an open file, made by a thread while the file is read for something else.
 *
 *   source_hash_start(fd, &h)     what the file is now, and the thread
 *   source_hash_end(h, hex)       waits for it; is the file still what it was?
 *   source_hash_stop(h)           ends it at once, in any case
 *
 * (1) Size and times are compared on one and the same descriptor, before the first byte is read and after all was: who reads the same file (same
 *     device and inode) in between has read what was hashed. The time of change counts too, which no program can set back.
 * (2) Processes may be started meanwhile: the thread holds no lock that a child would need between fork() and exec(), where only system calls are
 *     made, and its descriptor is closed at the exec.
 *
 * Threads: one at a time; the one that is made here takes no signals.
 */
#ifndef DISKGATE_MIGRATE_SOURCE_HASH_H
#define DISKGATE_MIGRATE_SOURCE_HASH_H

#include <sys/stat.h>

#include "core/sha256.h"

struct source_hash;

/* Takes @fd, which must be closed at an exec. -EIO and other errnos of fstat, -ENOMEM. */
int source_hash_start(int fd, struct source_hash **ret);

/* The file as it was at the start; borrowed. */
const struct stat *source_hash_stat(const struct source_hash *h);

/* @ret (SHA256_HEX_LEN + 1 bytes). -ESTALE: the file was changed since the start; else what went wrong with reading it. Says the same when it is
 * called again, but for the file. */
int source_hash_end(struct source_hash *h, char *ret);

void source_hash_stop(struct source_hash *h); /* NULL is allowed */
static inline void source_hash_stopp(struct source_hash **h)
{
    source_hash_stop(*h);
}

#endif
