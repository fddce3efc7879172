/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the file of a version is besides its disk: a raw file whose length is no multiple of a sector, the footer of a VHD. So that a restore gives
 * back the very same file.
 *
 *   sets/ID/image-NAME-N.file       only where there is something to say; sets of earlier programs have none
 *
 *   diskgate-file 1
 *   data 5243492                    bytes of the disk that the file has; zeros up to the disk's size are not in it
 *   tail 636f6e65637469...          what lies behind them, in hex
 *   end 3 c0ff...
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_BACKUP_FILE_SHAPE_H
#define DISKGATE_BACKUP_FILE_SHAPE_H

#include "backup/set.h"

#define FILE_TAIL_MAX 512U

struct file_shape {
    uint64_t data_bytes;
    size_t tail_len;
    unsigned char tail[FILE_TAIL_MAX];
};

/* Into the set that is being made, with the version's stream. */
int file_shape_put(struct set_writer *w, const struct stream_id *id, const struct file_shape *s, struct err *err);
/* 0; -ENOENT: the file is the disk and no more, as far as the set knows; -EBADMSG with a sentence. */
int file_shape_read(struct repo *r, const struct set_info *s, const struct stream_id *id, struct file_shape *ret,
                    struct err *err);

#endif
