/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Retention; see prune.h. For each name of an image or client (versions and slots together) and the catalog, the rules walk over the sets that have it,
 * newest first.
 */
#include "backup/prune.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/util.h"

/* --- periods ------------------------------------------------------------------------------------------------------- */

/* Which hour, day, ISO week, month or year a time lies in, as a number that differs between any two. Local time. */
static int64_t hour_of(const struct tm *t)
{
    return (((int64_t)t->tm_year * 366 + t->tm_yday) * 24 + t->tm_hour) * 2 +
           (t->tm_isdst > 0); /* the hour that comes twice */
}

static int64_t day_of(const struct tm *t)
{
    return (int64_t)t->tm_year * 366 + t->tm_yday;
}

static int64_t week_of(const struct tm *t)
{
    char text[32];
    return strftime(text, sizeof(text), "%G%V", t) ? strtoll(text, NULL, 10) : 0; /* digits only */
}

static int64_t month_of(const struct tm *t)
{
    return (int64_t)t->tm_year * 12 + t->tm_mon;
}

static int64_t year_of(const struct tm *t)
{
    return t->tm_year;
}

struct period {
    const char *name;
    int64_t (*number)(const struct tm *t); /* NULL: each set is one of its own */
    size_t rule;                           /* where its count is in struct keep_rules */
};

static const struct period periods[] = {
    {"last", NULL, offsetof(struct keep_rules, last)},
    {"hourly", hour_of, offsetof(struct keep_rules, hourly)},
    {"daily", day_of, offsetof(struct keep_rules, daily)},
    {"weekly", week_of, offsetof(struct keep_rules, weekly)},
    {"monthly", month_of, offsetof(struct keep_rules, monthly)},
    {"yearly", year_of, offsetof(struct keep_rules, yearly)},
};

static unsigned count_of(const struct keep_rules *rules, const struct period *p)
{
    unsigned n;
    memcpy(&n, (const char *)rules + p->rule, sizeof(n));
    return n;
}

/* --- one name ------------------------------------------------------------------------------------------------------ */

struct plan {
    const struct set_info *sets;
    size_t n;
    const struct marks *marks;
    const struct keep_rules *rules;
    struct prune_row *rows;
    bool *counts; /* of each set: it can be used and its time is in order */
};

static void keep(struct prune_row *row, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void keep(struct prune_row *row, const char *fmt, ...)
{
    size_t n = strlen(row->why);
    va_list ap;
    va_start(ap, fmt);
    if (n && n + 3 < sizeof(row->why))
        n += (size_t)snprintf(row->why + n, sizeof(row->why) - n, ", ");
    if (n + 1 < sizeof(row->why))
        (void)vsnprintf(row->why + n, sizeof(row->why) - n, fmt, ap); /* cut where there are too many reasons */
    va_end(ap);
    row->is_kept = true;
}

/* As in a reason: "win11", "pc01", "catalog". */
static const char *group_of(const struct stream_id *id)
{
    return id->kind == STREAM_CATALOG ? "catalog" : id->name;
}

static bool same_group(const struct stream_id *a, const struct stream_id *b)
{
    bool is_client = a->kind == STREAM_OVERLAY;
    return (b->kind == STREAM_OVERLAY) == is_client && (a->kind == STREAM_CATALOG) == (b->kind == STREAM_CATALOG) &&
           strcasecmp(group_of(a), group_of(b)) == 0;
}

static bool has_group(const struct set_info *s, const struct stream_id *id)
{
    for (size_t i = 0; i < s->n_streams; i++)
        if (same_group(&s->streams[i].id, id))
            return true;
    return false;
}

static void apply_period(struct plan *p, const struct stream_id *id, const struct period *period)
{
    unsigned left = count_of(p->rules, period), nth = 0;
    int64_t before = INT64_MIN;
    for (size_t i = p->n; i-- > 0 && left > 0;) {
        struct tm tm;
        time_t t = (time_t)p->sets[i].time_s;
        if (!p->counts[i] || !has_group(&p->sets[i], id) || !localtime_r(&t, &tm))
            continue;
        int64_t number = period->number ? period->number(&tm) : (int64_t)i;
        if (number == before)
            continue;
        before = number;
        left--;
        keep(&p->rows[i], "%s %u (%s)", period->name, ++nth, group_of(id));
    }
}

static void apply_within(struct plan *p, const struct stream_id *id)
{
    int64_t newest = INT64_MIN;
    for (size_t i = p->n; i-- > 0 && p->rules->within_s > 0;) {
        if (!p->counts[i] || !has_group(&p->sets[i], id))
            continue;
        newest = MAX(newest, p->sets[i].time_s);
        if (p->sets[i].time_s > newest - p->rules->within_s)
            keep(&p->rows[i], "within (%s)", group_of(id));
    }
}

/* The last good one stays whatever the rules say. */
static void apply_newest(struct plan *p, const struct stream_id *id)
{
    for (size_t i = p->n; i-- > 0;)
        if (p->counts[i] && has_group(&p->sets[i], id)) {
            if (!p->rows[i].is_kept)
                keep(&p->rows[i], "the last good one (%s)", group_of(id));
            return;
        }
}

static void apply_rules(struct plan *p, const struct stream_id *id)
{
    for (size_t k = 0; k < ARRAY_SIZE(periods); k++)
        apply_period(p, id, &periods[k]);
    apply_within(p, id);
    apply_newest(p, id);
}

/* Is stream @k of set @i the first of its group, over all sets? Then the rules are applied for it. */
static bool is_first(const struct plan *p, size_t i, size_t k)
{
    const struct stream_id *id = &p->sets[i].streams[k].id;
    for (size_t a = 0; a < i; a++)
        if (has_group(&p->sets[a], id))
            return false;
    for (size_t b = 0; b < k; b++)
        if (same_group(&p->sets[i].streams[b].id, id))
            return false;
    return true;
}

/* --- all ----------------------------------------------------------------------------------------------------------- */

#define AHEAD_S 300 /* what a clock may be ahead of another */

static int check_future(const struct set_info *sets, size_t n, int64_t now_s, struct err *err)
{
    char now[32], then[32];
    for (size_t i = 0; i < n; i++) {
        if (sets[i].problem || sets[i].time_s <= now_s + AHEAD_S)
            continue;
        time_text(now, sizeof(now), now_s);
        time_text(then, sizeof(then), sets[i].time_s);
        return err_set(
            err, -ETIME,
            "the set %s was made at %s, and it is %s now: one of the two clocks was wrong, and nothing is deleted by a "
            "wrong clock; set this one right, or take the set out by 'diskgate backup remove'",
            sets[i].id, then, now);
    }
    return 0;
}

static void keep_special(struct plan *p)
{
    int64_t newest = INT64_MIN;
    for (size_t i = 0; i < p->n; i++) {
        const struct set_info *s = &p->sets[i];
        const struct set_mark *m = marks_set(p->marks, s->id);
        p->rows[i] = (struct prune_row){.set = s};
        bool is_late = s->time_s < newest && !s->problem;
        if (s->problem)
            keep(&p->rows[i], "cannot be read");
        if (m && m->is_pinned)
            keep(&p->rows[i], "pinned");
        if (m && m->is_bad)
            keep(&p->rows[i], "damaged");
        if (is_late)
            keep(&p->rows[i], "made while the clock was wrong");
        newest = s->problem ? newest : MAX(newest, s->time_s);
        p->counts[i] = !s->problem && !is_late && !(m && m->is_bad);
    }
}

int prune_plan(const struct set_info *sets, size_t n, const struct marks *marks, const struct keep_rules *rules,
               int64_t now_s, struct prune_row *ret, struct err *err)
{
    bool has_rule = rules->within_s > 0;
    for (size_t k = 0; k < ARRAY_SIZE(periods); k++)
        has_rule |= count_of(rules, &periods[k]) > 0;
    if (!has_rule)
        return err_set(err, -EINVAL,
                       "say what to keep: --keep-last, --keep-daily, ... ; without a rule nothing is deleted");
    int r = check_future(sets, n, now_s, err);
    if (r < 0)
        return r;
    _cleanup_free_ bool *counts = calloc(n + 1, sizeof(*counts));
    if (!counts)
        return err_set(err, -ENOMEM, "memory is out");
    struct plan p = {sets, n, marks, rules, ret, counts};
    keep_special(&p);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sets[i].n_streams; k++)
            if (is_first(&p, i, k))
                apply_rules(&p, &sets[i].streams[k].id);
    return 0;
}

/* The list in marks.txt is shortened first: a crash in between leaves sets that are learned again. */
int prune_drop(struct repo *r, struct marks *marks, const char *const *ids, size_t n, struct err *err)
{
    char from[64], to[64], folder[32];
    (void)snprintf(folder, sizeof(folder), "trash/%06" PRIu64, marks->gc + 1);
    int e = repo_exclude_readers(r, REPO_READERS_MS, err);
    if (e < 0)
        return e;
    for (size_t i = 0; i < n; i++)
        marks_set_drop(marks, ids[i]);
    e = marks_store(r, marks, err);
    if (e == 0)
        e = repo_make_dir(r, folder, err);
    for (size_t i = 0; e == 0 && i < n; i++) {
        (void)snprintf(from, sizeof(from), "sets/%s", ids[i]);
        (void)snprintf(to, sizeof(to), "%s/%s", folder, ids[i]);
        e = repo_rename(r, from, to, err);
    }
    return e;
}

int span_parse(const char *text, int64_t *ret_s, struct err *err)
{
    static const struct {
        char letter;
        int64_t seconds;
    } units[] = {{'h', 3600}, {'d', 86400}, {'w', 7 * 86400}, {'m', 31 * 86400}, {'y', 366 * 86400}};
    char *end;
    errno = 0;
    unsigned long n = isdigit((unsigned char)text[0]) ? strtoul(text, &end, 10) : 0;
    for (size_t i = 0; n > 0 && n < 100000 && !errno && i < ARRAY_SIZE(units); i++)
        if (end[0] == units[i].letter && !end[1]) {
            *ret_s = (int64_t)n * units[i].seconds;
            return 0;
        }
    return err_set(err, -EINVAL, "'%s' is no span of time such as 12h, 30d, 6w, 8m or 2y", text);
}
