/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sources: the bytes of a stream, and which of them need no reading.
 *
 *   a version    its file, checked to be what the catalog recorded; holes of the file are zeros
 *   an overlay   frozen (still.h); blocks that were never written are those of the version below
 *
 * A file that is read leaves the page cache as it found it where the kernel can do that: clients run from it.
 *
 * Threads: source_read() any number at once; the rest: one at a time.
 */
#ifndef DISKGATE_BACKUP_SOURCE_H
#define DISKGATE_BACKUP_SOURCE_H

#include "backup/still.h"
#include "core/image.h"

/* The open file of a version. */
struct version_file {
    struct version_row row;
    int fd;
    char path[PATH_MAX];
    struct image_info info;
    /* Content identity, device, inode, times: equal in two backups means that nothing was changed in between. Empty where that cannot be
     * told: a block device, a file that was changed a moment ago. */
    char identity[MANIFEST_TEXT_LEN + 1];
    int64_t mtime_ns, ctime_ns; /* when it was opened */
};

/* -ESTALE: it is not what was recorded; errors of opening; with a sentence that has the way out. */
int version_file_open(const char *root, const struct version_row *row, struct version_file *ret, struct err *err);
void version_file_close(struct version_file *v);
/* True if it was changed since it was opened. */
bool version_file_has_changed(const struct version_file *v);

enum source_run { SOURCE_DATA, SOURCE_ZERO, SOURCE_INHERIT };

struct source {
    uint64_t size_bytes;
    const struct version_file *file;     /* of the version, or of the one below */
    const struct still_overlay *overlay; /* NULL: a version */
    const struct still *still;
};

void source_of_version(struct source *s, const struct version_file *file);
void source_of_overlay(struct source *s, const struct still *still, const struct still_overlay *overlay,
                       const struct version_file *below);

/* What is at @off, and for how many bytes, at most @max (> 0)? Short runs of data may be joined with what is between them. 0 or a negative errno. */
int source_look(const struct source *s, uint64_t off, uint64_t max, enum source_run *ret, uint64_t *ret_len,
                struct err *err);

/* -ESTALE: the freeze is void; -EREMOTEIO: it cannot be read (so that nobody takes it for a fault of the repository); with a sentence. */
int source_read(const struct source *s, void *buf, size_t len, uint64_t off, struct err *err);

/* Bytes that will have to be read, as far as one can tell without looking closely. */
uint64_t source_estimate(const struct source *s);

#endif
