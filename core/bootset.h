/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Boot set: which parts of a version its clients read when they boot, learnt from real boots. What is in it is loaded into memory at start
 * and stays there (fusefs/preload.h).
 *
 *   recording   one client's boot: extents of 64 KiB in the order of their first read
 *   boot set    many of them merged: how many boots read an extent, and how early
 *
 * (1) Boots are forgotten by halves: at 16 boots all counts are halved, and what nobody reads any more falls out.
 * (2) An extent is worth loading when at least two of the boots that are remembered read it, or when there was only one.
 *
 * docs/boot-set-format.md has the file. A damaged one costs speed until the next boots, never bytes of a disk.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_CORE_BOOTSET_H
#define DISKGATE_CORE_BOOTSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define BOOTSET_EXTENT_BYTES 65536ULL
#define BOOTSET_EXTENTS_MAX  65536U /* 4 GiB: of one recording and of a set */
#define BOOTSET_BOOTS_MAX    16U

/* --- recording ----------------------------------------------------------------------------------------------------- */

struct boot_record;

struct boot_record *boot_record_create(void);    /* NULL without memory */
void boot_record_destroy(struct boot_record *r); /* NULL is allowed */
/* [off, off + len) was read. Beyond BOOTSET_EXTENTS_MAX and without memory it is passed over. */
void boot_record_add(struct boot_record *r, uint64_t off, uint64_t len);
size_t boot_record_count(const struct boot_record *r); /* extents */

/* --- set ----------------------------------------------------------------------------------------------------------- */

struct boot_extent {
    uint32_t number; /* off = number * BOOTSET_EXTENT_BYTES */
    uint16_t boots;  /* that read it, of those remembered */
    uint16_t rank;   /* 0 = read first .. 65535 = read last; over the boots */
};

struct bootset;

struct bootset *bootset_create(void);    /* empty; NULL without memory */
void bootset_destroy(struct bootset *s); /* NULL is allowed */
static inline void bootset_destroyp(struct bootset **s)
{
    bootset_destroy(*s);
}

/* One more boot. 0; -ENOMEM and nothing changed. An empty recording is no boot. */
int bootset_merge(struct bootset *s, const struct boot_record *r);

unsigned bootset_boots(const struct bootset *s);
size_t bootset_count(const struct bootset *s);
const struct boot_extent *bootset_extent(const struct bootset *s, size_t i); /* by rising number */

/* What to load within @budget_bytes: what most boots read first, and of those what is read earliest; by rising number, so that the disk is
 * read forward. A fresh array; *ret_n may be 0. -ENOMEM. */
int bootset_choose(const struct bootset *s, uint64_t budget_bytes, uint64_t disk_bytes, uint32_t **ret, size_t *ret_n);

/* --- file ---------------------------------------------------------------------------------------------------------- */

/* Name of the file for a version with this content identity, into @ret (BOOTSET_NAME_LEN + 1 bytes): an image that is renamed, moved or
 * added again keeps what was learnt. */
#define BOOTSET_NAME_LEN 40
void bootset_name(const char *identity, char *ret);

/* -ENOENT; -EBADMSG, -EOPNOTSUPP with a sentence. */
int bootset_load(int dirfd, const char *name, struct bootset **ret, struct err *err);
int bootset_store(int dirfd, const char *name, const struct bootset *s); /* replaces the file; 0 or a negative errno */
/* The bytes of the file, for tests and other readers. */
int bootset_decode(const void *buf, size_t len, struct bootset **ret, struct err *err);

#endif
