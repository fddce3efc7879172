/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A LUN's disk as it lies in memory: what may be read of it without diskgate-fs, by the rules of core/direct.h.
 *
 * (1) A read is answered whole or not at all, and never waits for a disk.
 * (2) Whatever is not as it should be, at any time, ends in "not answered": then diskgate-fs is asked in the ordinary way.
 *
 * Threads: one at a time for all of it.
 */
#ifndef DISKGATE_FUSEFS_TGT_READER_H
#define DISKGATE_FUSEFS_TGT_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define READER_MAX_BYTES (256UL << 10) /* of one read: longer ones would keep the other clients waiting */

struct reader;

/* Open the disk of @size bytes whose view is @path ("DIR/mnt/by-id/OVERLAY_ID.img" for a @socket "DIR/..."). Asks diskgate-fs, and waits a fifth of a
 * second at most, and not again for some seconds after it did not answer. An answer that comes later is taken when the disk is read.
 * -ENOENT: it is no such path; else what ask_send() and ask_receive() say, or -EBADMSG for an answer that contradicts itself. With a sentence. */
int reader_open(const char *socket, const char *path, uint64_t size, struct reader **ret, struct err *err);
void reader_close(struct reader *d); /* NULL is allowed */

/* Read [off, off + len) into @buf. True: done. False: not answered, and @buf holds anything. */
bool reader_read(struct reader *d, void *buf, size_t len, uint64_t off);

#endif
