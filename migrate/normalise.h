/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single values of foreign tables brought into our spelling. What is not certain is refused, never repaired (docs/importing.md).
 *
 * Texts are UTF-8 with a length; a zero byte in them makes them something that cannot be read.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_MIGRATE_NORMALISE_H
#define DISKGATE_MIGRATE_NORMALISE_H

#include <stdbool.h>
#include <stddef.h>

#include "migrate/record.h"
#include "migrate/source.h"

/* 12 hex digits; six groups of 1-2 with one and the same separator (- : blank); three groups of 4 with dots; two groups of 6. Around
 * them blanks, quotes, braces, 0x. @ret (MAC_LEN + 1 bytes) is empty unless MAC_GOOD or MAC_LOCAL. */
enum mac_status mac_from_text(const char *text, size_t len, char *ret);
/* Six bytes. */
enum mac_status mac_from_bytes(const unsigned char *bytes, char *ret);
/* A text, or a CELL_BYTES of 6. */
enum mac_status mac_from_cell(const struct cell *c, char *ret);
const char *mac_status_text(enum mac_status s); /* "is empty", "is all zero", ...: completes "the MAC" */

/* One address, IPv4 or IPv6, into @ret (46 bytes). "192.168.001.010" (three digits everywhere) is read as decimal; other leading zeros are
 * refused, because programs differ about what they mean. The unspecified address is refused, too: it means "none" (is_none). */
bool ip_from_text(const char *text, size_t len, char *ret);
/* "0.0.0.0", "-", "none", "auto", "dhcp": somebody said that there is none. */
bool ip_is_none(const char *text, size_t len);
/* 255.255.255.0, /24, 24 -> 255.255.255.0; the bits are in one run. */
bool mask_from_text(const char *text, size_t len, char *ret);
/* One address more for a list of at most two (@list holds 96 bytes). Several in one text, with , ; | or blanks between them, are taken one
 * by one. False when one of them is no address; one that is there already or does not fit any more is left out. */
bool dns_add(char *list, const char *text, size_t len);
/* True when all addresses of @text are in @list, which dns_add() made, and no other sort than IPv4 is. */
bool dns_is_whole(const char *list, const char *text, size_t len);

/* True and *ret for yes, on, 1, true, enabled, 是, да, sim, ya, ...; false when the cell is nothing of that sort. Numbers other than 0
 * are true in Access (-1). */
bool bool_from_cell(const struct cell *c, bool *ret);

/* A path of the old server. @ret_path (RECORD_RAW_MAX + 1 bytes) is empty when PATH_BROKEN. */
enum path_kind path_from_text(const char *text, size_t len, char *ret_path);
/* True when the text looks like a path of Windows or Unix with a name in it. */
bool path_looks_so(const char *text, size_t len);
/* By its ending: 1 a disk image (.vhd .vhdx .vmdk .vmdx .img .raw .iso .avhd .avhdx .vdi .qcow2, or .001 and so on behind one), -1 some
 * other known sort of file, 0 unknown. */
int path_ending(const char *text, size_t len);

/* The text of a cell as a person would write it; @buf holds 64 bytes for numbers. Borrowed as the cell is. CELL_BYTES: hex, cut. */
const char *cell_text(const struct cell *c, char buf[64], size_t *ret_len);
/* True for NULL and blank text. */
bool cell_is_empty(const struct cell *c);
/* The value as a key for looking it up: trimmed, folded; numbers as decimal text. False when there is none or it is too long. */
bool cell_key(const struct cell *c, char *ret, size_t size);

#endif
