/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Times of a schedule: as people write them, as systemd and cron do, and when the next one is. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "backup/schedule.h"
#include "core/util.h"

static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

static bool parse_clock(const char *text, struct when *w)
{
    char end;
    return strlen(text) <= 5 && sscanf(text, "%2u:%2u%c", &w->hour, &w->minute, &end) == 2 && w->hour < 24 &&
           w->minute < 60 && text[0] >= '0' && text[0] <= '9';
}

static bool parse_day(const char *text, struct when *w)
{
    for (unsigned i = 0; i < ARRAY_SIZE(days); i++)
        if (strncasecmp(text, days[i], 3) == 0) {
            w->day = i;
            return true;
        }
    return false;
}

int when_parse(const char *const *words, size_t n, struct when *ret, size_t *ret_used, struct err *err)
{
    struct when w = {0};
    if (n >= 1 && strcmp(words[0], "hourly") == 0) {
        w.kind = WHEN_HOURLY;
        *ret_used = 1;
    } else if (n >= 2 && strcmp(words[0], "daily") == 0 && parse_clock(words[1], &w)) {
        w.kind = WHEN_DAILY;
        *ret_used = 2;
    } else if (n >= 3 && strcmp(words[0], "weekly") == 0 && parse_day(words[1], &w) && parse_clock(words[2], &w)) {
        w.kind = WHEN_WEEKLY;
        *ret_used = 3;
    } else {
        return err_set(err, -EINVAL, "say when: 'daily 03:30', 'weekly Sun 03:30' or 'hourly'");
    }
    *ret = w;
    return 0;
}

void when_text(const struct when *w, char *ret)
{
    if (w->kind == WHEN_HOURLY)
        (void)snprintf(ret, WHEN_LEN + 1, "hourly");
    else if (w->kind == WHEN_DAILY)
        (void)snprintf(ret, WHEN_LEN + 1, "daily %02u:%02u", w->hour, w->minute);
    else
        (void)snprintf(ret, WHEN_LEN + 1, "weekly %s %02u:%02u", days[w->day % 7], w->hour, w->minute);
}

static struct when later(const struct when *w, unsigned hours)
{
    struct when l = *w;
    l.day = (w->day + (w->hour + hours) / 24) % 7;
    l.hour = (w->hour + hours) % 24;
    return l;
}

/* Prune and verify of an hourly backup are daily, in the night. */
void when_calendar(const struct when *w, unsigned later_h, char *ret)
{
    struct when l = later(w, later_h);
    if (w->kind == WHEN_HOURLY && later_h == 0)
        (void)snprintf(ret, 64, "hourly");
    else if (w->kind == WHEN_WEEKLY)
        (void)snprintf(ret, 64, "%s *-*-* %02u:%02u:00", days[l.day % 7], l.hour, l.minute);
    else
        (void)snprintf(ret, 64, "*-*-* %02u:%02u:00", l.hour, l.minute);
}

void when_cron(const struct when *w, unsigned later_h, char *ret)
{
    struct when l = later(w, later_h);
    if (w->kind == WHEN_HOURLY && later_h == 0)
        (void)snprintf(ret, 32, "0 * * * *");
    else if (w->kind == WHEN_WEEKLY)
        (void)snprintf(ret, 32, "%u %u * * %u", l.minute, l.hour, l.day);
    else
        (void)snprintf(ret, 32, "%u %u * * *", l.minute, l.hour);
}

int64_t when_next(const struct when *w, int64_t now_s)
{
    time_t now = (time_t)now_s, next;
    struct tm t;
    (void)localtime_r(&now, &t); /* cannot fail for times of our days */
    t.tm_sec = 0;
    t.tm_min = (int)w->minute;
    t.tm_isdst = -1;
    if (w->kind == WHEN_HOURLY)
        t.tm_hour++;
    else
        t.tm_hour = (int)w->hour;
    if (w->kind == WHEN_WEEKLY)
        t.tm_mday += ((int)w->day - t.tm_wday + 7) % 7;
    next = mktime(&t);
    if (next <= now) {
        (void)localtime_r(&next, &t); /* likewise */
        t.tm_mday += w->kind == WHEN_WEEKLY ? 7 : 1;
        t.tm_isdst = -1;
        next = mktime(&t);
    }
    return next;
}
