/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single values of Access files as text.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_MIGRATE_MDB_VALUE_H
#define DISKGATE_MIGRATE_MDB_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VALUE_TEXT_MAX 64 /* bytes that any of them needs, with the ending zero */

#define VALUE_NUMERIC_BYTES  17
#define VALUE_GUID_BYTES     16
#define VALUE_EXT_DATE_BYTES 42

/* Days since 1899-12-30 00:00; the time of day is the fraction's magnitude, also before that day (-1.25 = the day before at 06:00). Rounded
 * to seconds. False outside the years 100 to 9999, which is what Access itself allows. "YYYY-MM-DDTHH:MM:SS". */
bool value_date(double days, char ret[VALUE_TEXT_MAX]);

/* "Extended date" of ACE 2019: 19 digits of days since 0001-01-01, ':', 19 digits of 100 ns since midnight, ':', "7", a zero byte.
 * Fractions of a second are dropped. */
bool value_ext_date(const unsigned char *p, char ret[VALUE_TEXT_MAX]);

/* Four decimals. */
void value_money(int64_t ten_thousandths, char ret[VALUE_TEXT_MAX]);

/* One byte of sign, four words of 32 bits, the highest first, each little-endian. False when the scale cannot be (more than 28). */
bool value_numeric(const unsigned char *p, unsigned scale, char ret[VALUE_TEXT_MAX]);

/* "{00112233-4455-6677-8899-AABBCCDDEEFF}" */
void value_guid(const unsigned char *p, char ret[VALUE_TEXT_MAX]);

#endif
