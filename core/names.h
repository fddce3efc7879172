/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names, MAC addresses, ids and sizes as people write them, brought into one spelling.
 *
 * A name of an image, a client or a group is 1..NAME_LEN bytes of [A-Za-z0-9._-], begins with a letter or a digit, and is
 * unique without regard to case: it becomes a file name in the mount and a part of an IQN.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CORE_NAMES_H
#define DISKGATE_CORE_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define NAME_LEN 63 /* bytes without the ending zero */
#define MAC_LEN  17 /* "52:54:00:12:34:56" */
#define UUID_LEN 36

/* 0, or -EINVAL with a sentence that begins with @what ("image name", "client name") and quotes the offending text. */
int name_check(const char *name, const char *what, struct err *err);

/* Accepts 52:54:00:12:34:56, 52-54-00-12-34-56, 5254.0012.3456, 525400123456, in any case, groups without leading zeros
 * ("0:1b:2:3:4:5") where six of them are separated by : - or a blank, 525400-123456, surrounding blanks. Refuses all zero, broadcast and group (multicast) addresses.
 * Writes lower case with colons into @ret (MAC_LEN + 1 bytes). -EINVAL with a sentence. */
int mac_parse(const char *text, char *ret, struct err *err);

/* A fresh random UUID (version 4, lower case) into @ret (UUID_LEN + 1 bytes). 0 or a negative errno of getrandom. */
int uuid_new(char *ret);
/* Text <-> 16 bytes. uuid_decode: -EINVAL when @text is no UUID. */
int uuid_decode(const char *text, unsigned char ret[16]);
void uuid_encode(const unsigned char id[16], char *ret);
/* The id that the machine has until it is started again. 0 or a negative errno. */
int machine_boot_id(unsigned char ret[16]);

/* A secret of 16 characters from an alphabet without look-alikes, for CHAP (Windows wants 12..16). @ret holds 17 bytes. */
int secret_new(char *ret);
/* Random bytes for many of them, one call of the system for several; begins as {0}. */
struct secret_source {
    unsigned char bytes[256];
    size_t left;
};
int secret_next(struct secret_source *from, char *ret);

/* "512", "64k", "1.5G" (powers of 1024; k M G T, an optional B or iB behind), below 8 EiB. -EINVAL with a sentence. */
int size_parse(const char *text, uint64_t *ret, struct err *err);
/* "1.5 GiB", "512 B" into @ret (32 bytes). */
void size_text(uint64_t bytes, char *ret);

/* IMG or IMG@V: name into @ret_name (NAME_LEN + 1 bytes), version number into @ret_version, 0 where there is none. */
int image_ref_parse(const char *text, char *ret_name, uint32_t *ret_version, struct err *err);

/* Compare names so that PC2 comes before PC10, without regard to case. As strcmp(). */
int name_compare(const char *a, const char *b);

#endif
