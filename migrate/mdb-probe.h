/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the first page of an Access file says, or what the file is instead. Own code with every access bounded, so that the parent can ask it
 * before a child is started, and so that a wrong file gets a sentence that names it.
 *
 * The header, offsets in bytes (Source: mdbtools HACKING, Jackcess JetFormat; each *seen* in the fixtures unless marked):
 *
 *   0    00 01 00 00
 *   4    "Standard Jet DB\0" or "Standard ACE DB\0"; "MSISAM Database\0" is Microsoft Money (*documented*)
 *   20   version: 0 Jet 3, 1 Jet 4, 2 ACE 2007, 3 ACE 2010, 4 and 5 ACE 2013 and 2016, 6 ACE 2019
 *   24   from here 126 bytes (Jet 3) or 128 are RC4 with the key C7 DA 39 6B; in it
 *   60   code page, 2 bytes
 *   62   key of the pages' RC4, 4 bytes, 0 = not encoded. In ACE anything else is Office encryption (*documented*)
 *   66   password, 20 bytes (Jet 3) or 40; in Jet 4 and ACE XORed with the whole days of the date at 114
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_MIGRATE_MDB_PROBE_H
#define DISKGATE_MIGRATE_MDB_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define MDB_HEADER_BYTES 4096 /* as much of the file as mdb_probe() wants to see */

struct mdb_header {
    unsigned version;
    const char *format; /* "Access 2000-2003 (Jet 4)" */
    bool is_jet3, is_ace;
    size_t page_bytes;
    unsigned code_page;
    bool has_password, is_encoded;
};

/* @p: the first @len bytes of a file of @file_bytes. 0; -EOPNOTSUPP for what is no Access file, a version or an encryption that is not read;
 * -EBADMSG for a cut one. */
int mdb_probe(const unsigned char *p, size_t len, uint64_t file_bytes, const char *path, struct mdb_header *ret,
              struct err *err);
/* Of a file that was given as text, from its first bytes: -EOPNOTSUPP with a sentence that says what it is when it is known as something else. */
int mdb_probe_text(const unsigned char *p, size_t len, const char *path, struct err *err);

#endif
