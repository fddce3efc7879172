/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single values of Access files; see mdb-value.h. */
#include "migrate/mdb-value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"

#define DAY_S      86400
#define ACCESS_DAY 693593  /* 1899-12-30, counted from 0001-01-01 */
#define FIRST_DAY  36159   /* 0100-01-01, likewise */
#define BEHIND_DAY 3652059 /* 10000-01-01, likewise */
#define SCALE_MAX  28
#define TICKS_A_S  10000000 /* of 100 ns */

/* --- dates ------------------------------------------------------------------------------------------------------- */

static void put_two(char *to, int64_t v)
{
    to[0] = (char)('0' + v / 10);
    to[1] = (char)('0' + v % 10);
}

/* @day counted from 0001-01-01, Gregorian throughout, as Access does. */
static bool put_date(int64_t day, int64_t second, char ret[VALUE_TEXT_MAX])
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    if (day < FIRST_DAY || day >= BEHIND_DAY)
        return false;
    int64_t year = 1 + day / 146097 * 400;
    day %= 146097;
    int64_t centuries = MIN(day / 36524, 3);
    day -= centuries * 36524;
    int64_t fours = day / 1461;
    day -= fours * 1461;
    int64_t ones = MIN(day / 365, 3);
    day -= ones * 365;
    year += centuries * 100 + fours * 4 + ones;
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    int month = 11;
    while (before[month] + (month > 1 && is_leap) > day)
        month--;
    day -= before[month] + (month > 1 && is_leap);
    memcpy(ret, "0000-00-00T00:00:00", 20);
    put_two(ret, year / 100);
    put_two(ret + 2, year % 100);
    put_two(ret + 5, month + 1);
    put_two(ret + 8, day + 1);
    put_two(ret + 11, second / 3600);
    put_two(ret + 14, second / 60 % 60);
    put_two(ret + 17, second % 60);
    return true;
}

bool value_date(double days, char ret[VALUE_TEXT_MAX])
{
    if (!(fabs(days) < 4e6)) /* also what is no number */
        return false;
    int64_t day = (int64_t)days, second = llround(fabs(days - (double)day) * DAY_S);
    if (second >= DAY_S) {
        day++;
        second -= DAY_S;
    }
    return put_date(day + ACCESS_DAY, second, ret);
}

static bool take_digits(const unsigned char *p, uint64_t *ret)
{
    *ret = 0;
    for (int i = 0; i < 19; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *ret = *ret * 10 + (p[i] - '0');
    }
    return true;
}

bool value_ext_date(const unsigned char *p, char ret[VALUE_TEXT_MAX])
{
    uint64_t day, ticks;
    if (!take_digits(p, &day) || p[19] != ':' || !take_digits(p + 20, &ticks) || p[39] != ':')
        return false;
    if (ticks / TICKS_A_S >= DAY_S || day >= BEHIND_DAY)
        return false;
    return put_date((int64_t)day, (int64_t)(ticks / TICKS_A_S), ret);
}

/* --- decimals ---------------------------------------------------------------------------------------------------- */

static void put_decimal(bool is_negative, unsigned __int128 v, unsigned scale, char ret[VALUE_TEXT_MAX])
{
    char digits[48]; /* 2^128 has 39, and up to 29 zeros stand before a small number */
    unsigned n = 0;
    do {
        digits[n++] = (char)('0' + (int)(v % 10));
        v /= 10;
    } while (v > 0 || n <= scale);
    size_t at = 0;
    if (is_negative)
        ret[at++] = '-';
    while (n > 0) {
        ret[at++] = digits[--n];
        if (n == scale && n > 0)
            ret[at++] = '.';
    }
    ret[at] = 0;
}

void value_money(int64_t ten_thousandths, char ret[VALUE_TEXT_MAX])
{
    uint64_t v = ten_thousandths < 0 ? 0 - (uint64_t)ten_thousandths : (uint64_t)ten_thousandths;
    put_decimal(ten_thousandths < 0, v, 4, ret);
}

bool value_numeric(const unsigned char *p, unsigned scale, char ret[VALUE_TEXT_MAX])
{
    unsigned __int128 v = 0;
    if (scale > SCALE_MAX)
        return false;
    for (int i = 0; i < 4; i++)
        v = v << 32 | get_u32(p + 1 + 4 * i);
    put_decimal(p[0] != 0 && v != 0, v, scale, ret);
    return true;
}

void value_guid(const unsigned char *p, char ret[VALUE_TEXT_MAX])
{
    (void)snprintf(ret, VALUE_TEXT_MAX, "{%08X-%04X-%04X-%02X%02X-%02X%02X%02X%02X%02X%02X}", get_u32(p),
                   p[4] | (unsigned)p[5] << 8, p[6] | (unsigned)p[7] << 8, p[8], p[9], p[10], p[11], p[12], p[13],
                   p[14], p[15]);
}
