/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The FUSE mount of a root from outside: is it there, does it answer, away with it.
 *
 * A FUSE whose server is gone or hangs blocks whoever touches it, and not even SIGKILL helps. So nothing here touches the mount in
 * this process: questions that reach the server are asked by a child with a time limit.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_MOUNT_H
#define DISKGATE_GATEWAY_MOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct file_id {
    uint64_t dev, ino; /* 0, 0 = there is no such file */
};

/* Count of mounts at @path, one upon the other; *ret_minor = minor device number of the topmost (names its FUSE connection). */
int mount_count(const char *path, unsigned *ret_minor);

/* Ask the mount at @path, and for the files @names (relative to @path), within @timeout_ms. 0 and @ret (@n entries);
 * -ENOENT nothing is mounted there, or no FUSE; -ENOTCONN its server is gone; -ETIMEDOUT its server does not answer. */
int mount_probe(const char *path, const char *const *names, size_t n, int timeout_ms, struct file_id *ret,
                struct err *err);

/* Take away all mounts at @path, though they are in use. With @abort, requests that wait in the topmost fail first.
 * Returns the count, or a negative errno with a sentence. */
int mount_remove(const char *path, bool abort, struct err *err);

#endif
