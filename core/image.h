/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image files: what a file really is, where its disk bytes lie, and who it is (content identity).
 *
 * What a file is decides its content, never its name:
 *   raw   anything that has no magic of another format; the disk is the whole file
 *   vhd   fixed VHD: the disk, then a 512-byte footer with the cookie "conectix", type 2 and a valid check sum
 * All else is refused with a sentence that names the format and the way out: dynamic and differencing VHD, VHDX, VMDK, VDI,
 * qcow, qed, Parallels, Bochs, DMG, LUKS; gzip, xz, zstd, lz4, bzip2, zip, 7z, rar, tar, WIM; an empty file; a folder; a FIFO.
 * A VHD footer with a wrong check sum, or one that promises more than the file holds, is damage, never raw.
 *
 * A disk is a whole number of 512-byte sectors: the last one is padded with zeros where the file ends within it.
 *
 * Content identity, "xxh3s1:SIZE:HASH": SIZE = bytes of the disk as the file holds them, HASH = XXH3-128 in hex over fixed samples of
 * the disk: its first and last 64 KiB and 256 blocks of 4 KiB at equal distances (all of it when it is smaller than that). With S = SIZE
 * the blocks lie at 64 KiB + i * D, i = 0..255, D = (S - 128 KiB) / 256 rounded down to 4 KiB; hashed are first, blocks, last.
 * It finds a file again that was moved or renamed. It is no proof that nothing changed in between the samples; for that the
 * file's mtime is kept with it, and the full hash decides.
 *
 * Threads: any number at once, on different fds (finding holes moves the file offset of the fd).
 */
#ifndef DISKGATE_CORE_IMAGE_H
#define DISKGATE_CORE_IMAGE_H

#include <stdint.h>

#include "core/err.h"

enum image_format { IMAGE_RAW, IMAGE_VHD };
const char *image_format_name(enum image_format f); /* "raw", "vhd" */
int image_format_parse(const char *text, enum image_format *ret, struct err *err);

#define IDENTITY_LEN 79
#define HASH_LEN     32 /* hex digits of an XXH3-128 */

struct image_info {
    enum image_format format;
    uint64_t file_bytes; /* st_size */
    uint64_t data_bytes; /* bytes of the file that are the disk, from offset 0 */
    uint64_t size_bytes; /* of the disk: data_bytes rounded up to a sector */
    int64_t mtime_ns;    /* 0 for a block device */
    char note[256];      /* what the administrator should be told once, a sentence; empty = nothing */
};

/* Find out what the open file is. @path is for the sentences only (and for a note when
 * its ending promises another format). A block device is as good as a file. -EINVAL, -EBADMSG (damaged), -EOPNOTSUPP (another format),
 * -EIO, ... */
int image_probe(int fd, const char *path, struct image_info *ret, struct err *err);

/* Content identity into @ret (IDENTITY_LEN + 1 bytes). Reads about 1.1 MiB. */
int image_identity(int fd, const struct image_info *info, char *ret, struct err *err);

/* XXH3-128 of all @info->data_bytes into @ret (HASH_LEN + 1 bytes), holes read as the zeros they are. @progress may be NULL; it is called
 * with bytes done and total about every 16 MiB, and a negative return value ends the work with that value. */
int image_full_hash(int fd, const struct image_info *info, char *ret,
                    int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg, struct err *err);

/* What was recorded about a file, for image_verify(). Strings are borrowed during the call. */
struct image_record {
    const char *path, *format, *identity, *full_hash; /* full_hash: "" = none */
    uint64_t file_bytes;
    int64_t mtime_ns;
};

/* Is the open file still the one that was recorded? Format, size and identity must fit; with another mtime, the full hash decides, and
 * where none was recorded the answer is no. Fills @ret either way it can. 0; -ESTALE with a sentence that says what differs and the
 * way out (`image check`, `image repair`); errors of image_probe(). Reads little unless the full hash has to decide. */
int image_verify(int fd, const struct image_record *rec, struct image_info *ret, struct err *err);

#endif
