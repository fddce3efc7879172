/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads and writes that are served at once, without the FUSE library: it allocates memory for every request and takes a lock of the whole
 * session twice. All else, and whatever does not work at once, goes to the library and fusefs/ops-io.c, which know how to wait, to hold
 * and to complain.
 *
 *   read    all of it in memory: one writev(), from the page cache where core/filemap.h knows it to be there
 *   write   done and answered, unless it fails
 *
 * On this path, from the read() of a request to the writev() of its answer, there is no lock but the disk's own
 * (core/rangelock.h) and no allocation but that of a map's leaf: once for 128 MiB (core/livemap.h).
 *
 * Threads: any number at once, each with requests and buffers of its own.
 */
#ifndef DISKGATE_FUSEFS_QUICK_H
#define DISKGATE_FUSEFS_QUICK_H

#include <stdbool.h>
#include <stddef.h>

#define QUICK_BUF_BYTES (1024UL * 1024) /* the largest read */

/* Serve the request @in of @len bytes that was read from @fd, and answer by @fd. @buf has room for QUICK_BUF_BYTES. False when it is not
 * for us: then nothing was answered, and a write may have been done in part. */
bool quick_serve(int fd, const void *in, size_t len, void *buf);

#endif
