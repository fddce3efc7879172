/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The privileged half of diskgate-fs: reads the catalog and opens image files for the half that serves the clients.
 *
 *   opener (root)                         worker (user diskgate)
 *     catalog.db, image files      <--->    /dev/fuse, overlays, live maps, control socket
 *     mount and unmount                     every byte that a client reads or writes
 *
 * The worker can ask for nothing but: the catalog's rows, a read-only descriptor of a version that the catalog has (checked to be what
 * was recorded), and to forget garbage rows. So a fault in the worker cannot open any other file of the machine.
 * Both are one program, so rows cross the socket pair as they are in memory.
 *
 * Threads: opener_serve() is a process of its own; the calls of the worker: one at a time.
 */
#ifndef DISKGATE_FUSEFS_OPENER_H
#define DISKGATE_FUSEFS_OPENER_H

#include "core/catalog.h"
#include "core/image.h"
#include "fusefs/options.h"

/* The catalog as one look at it showed; lists are malloc()ed. */
struct snapshot {
    struct view_row *views;
    struct version_row *versions;
    struct image_row *images;
    struct garbage_row *garbage;
    uint64_t full_wait_s;                             /* setting fs.full_wait_s */
    uint64_t ram_read_bytes;                          /* setting of the RAM read cache, likewise */
    uint64_t ram_write_bytes, ram_client_write_bytes; /* settings of the RAM write cache, "auto" worked out */
    size_t view_count, version_count, image_count, garbage_count;
};

void snapshot_finish(struct snapshot *s);

/* Answer requests on @sock until the other side is gone. 0, or a negative errno when the socket fails. Each snapshot gives what root put
 * into ROOT/overlays (@overlays_fd) and ROOT/run/live (@live_fd) meanwhile, such as a file from a backup, to the user that serves. */
int opener_serve(int sock, const struct options *o, int overlays_fd, int live_fd);

/* --- the worker's calls; @sock is its end of the pair ------------------------------------------------------------ */

/* Fills @ret, to be finished with snapshot_finish(). Errors of the catalog with their sentence. */
int opener_snapshot(int sock, struct snapshot *ret, struct err *err);

/* Open the file of version @version_id read-only and check that it is what was recorded. Returns the fd and fills @ret.
 * -ESTALE, -ENOENT, ... with a sentence. */
int opener_open_version(int sock, int64_t version_id, struct image_info *ret, struct err *err);

int opener_garbage_done(int sock, const struct garbage_row *row, struct err *err);

#endif
