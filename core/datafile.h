/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Data file of an overlay: blocks at the same offsets as on the disk, then a tail that tells whose they are.
 *
 * The tail lies where no block of the disk can be, so that a data file is never taken for another overlay's, neither to be read nor
 * to be deleted. docs/map-file-format.md has the layout.
 *
 * Threads: one at a time per file.
 */
#ifndef DISKGATE_CORE_DATAFILE_H
#define DISKGATE_CORE_DATAFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/livemap.h"

#define DATAFILE_TAIL_BYTES 4096ULL

/* Make an empty data file @name; one that lies there is replaced and not truncated: whoever still has it open must not see it
 * change. Returns the fd, or a negative errno with a sentence. */
int datafile_create(int dirfd, const char *name, const struct map_stamp *stamp, struct err *err);

/* Open the data file of the overlay @stamp->overlay_id. Returns the fd, or -EBADMSG when it is missing, has another size or
 * belongs to another overlay; -EIO, ... All with a sentence. */
int datafile_open(int dirfd, const char *name, const struct map_stamp *stamp, bool read_only, struct err *err);

/* Whose data file is this? False where there is none or its tail does not tell. */
bool datafile_owner(int dirfd, const char *name, unsigned char ret_id[16]);

/* Note durably, before the first change of the disk counts, that there was one. 0 or a negative errno. */
int datafile_mark_used(int fd, int dirfd);

/* Was the data file @name changed since it was made: is it marked, or does it hold any block? */
bool datafile_is_used(int dirfd, const char *name);

#endif
