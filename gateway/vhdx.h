/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHDX: whether a disk is only the changes over another one (.avhdx), which qemu refuses without a word.
 *
 *   192 KiB, 256 KiB   two copies of the table of regions: "regi", checksum, 4 bytes number of entries, at 16 entries of 32 bytes
 *                      (16 bytes id, 8 bytes offset, 4 bytes length)
 *   region 8B7CA206-.. "metadata", 2 bytes, 2 bytes number of entries, at 32 entries of 32 bytes (16 bytes id, 4 bytes offset in the region)
 *   item CAA16737-..   file parameters: 4 bytes block size, 4 bytes flags; bit 1 = has a parent
 *
 * All little-endian. Source: Microsoft, MS-VHDX 2.2.3, 2.6 (documented; offsets seen in files of qemu-img).
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_VHDX_H
#define DISKGATE_GATEWAY_VHDX_H

#include <stdbool.h>

/* False also when the file cannot be read so far: whoever reads all of it says why. */
bool vhdx_has_parent(int fd);

#endif
