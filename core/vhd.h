/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHD footer: the 512 bytes behind the disk of a fixed VHD; a dynamic one has a copy of it at offset 0 as well.
 *
 * All numbers are big-endian. Source: "Virtual Hard Disk Image Format Specification", Microsoft, 2006 (documented), unless a line
 * says otherwise.
 *
 *   offset size  field
 *        0    8  cookie "conectix"
 *        8    4  features: bit 0 temporary, bit 1 always set, others reserved
 *       12    4  version, 0x00010000
 *       16    8  offset of the dynamic header; all ones in a fixed VHD
 *       24    4  seconds since 2000-01-01 UTC
 *       28    4  creator application, letters
 *       32    4  creator version
 *       36    4  creator system, "Wi2k" or "Mac "
 *       40    8  original size, bytes
 *       48    8  current size, bytes
 *       56    4  geometry: cylinders (2), heads (1), sectors per track (1)
 *       60    4  disk type: 2 fixed, 3 dynamic, 4 differencing
 *       64    4  check sum: one's complement of the sum of all other bytes
 *       68   16  unique id
 *       84    1  saved state: 1 when a suspended machine still refers to the disk
 *       85  427  reserved, zero
 *
 * Virtual PC before 2004 wrote 511 bytes only, without the last zero (documented).
 * The size of the disk is the current size. The geometry may describe less (it is rounded, and ends at 127 GiB) and decides nothing.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CORE_VHD_H
#define DISKGATE_CORE_VHD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define VHD_FOOTER_BYTES     512U
#define VHD_FOOTER_BYTES_OLD 511U

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

struct vhd_footer {
    enum vhd_type type;
    uint64_t original_bytes, current_bytes;
    uint64_t header_off; /* of the dynamic header; UINT64_MAX = none */
    uint32_t features, version, timestamp_s, creator_version;
    char creator[5], creator_system[5]; /* what cannot be printed is '?' */
    uint16_t cylinders;
    uint8_t heads, sectors;
    unsigned char id[16];
    bool is_saved_state;
};

/* True if the @len bytes begin with the cookie. */
bool vhd_has_cookie(const void *buf, size_t len);

/* Decode @len bytes (512 or 511) that begin with the cookie. 0; -EBADMSG when the check sum or a field cannot be; -EOPNOTSUPP for a
 * version, feature or type that we do not know. The sentence names the field, its offset and what was found, not the file. */
int vhd_footer_decode(const void *buf, size_t len, struct vhd_footer *ret, struct err *err);

/* Encode @f with a valid check sum into @ret (512 bytes). */
void vhd_footer_encode(const struct vhd_footer *f, void *ret);

#endif
