/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which sets are kept, and the way out of the others.
 *
 * Rules are as in other programs: --keep-last N, --keep-hourly/daily/weekly/monthly/yearly N (the newest set of each of the newest N
 * periods that have one; local time, ISO weeks), --keep-within SPAN (before the newest set). They are applied to each stream's name on its
 * own: a set is kept when one of its images or clients needs it. And whatever the rules say, kept are
 *
 *   pinned sets; the newest usable set of each stream (the last good one); sets that cannot be read or that verify found damaged, for a person
 *   to decide on; sets whose time is not above that of an earlier one (a clock jumped when they were made): these fill no period.
 *
 * A set of the future refuses all of it: then this clock or the one back then is wrong, and nothing is deleted by a wrong clock.
 *
 * A pruned set goes to trash/, where the next collection still counts its chunks as needed; see gc.h.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_BACKUP_PRUNE_H
#define DISKGATE_BACKUP_PRUNE_H

#include "backup/marks.h"

struct keep_rules {
    unsigned last, hourly, daily, weekly, monthly, yearly; /* 0 = no such rule */
    int64_t within_s;                                      /* likewise */
};

struct prune_row {
    const struct set_info *set; /* borrowed */
    bool is_kept;
    char why[160]; /* "daily 3 (win11), last 1 (catalog)"; "" for those that go */
};

/* One row for each set, oldest first, into @ret (n rows). -EINVAL when there is no rule; -ETIME with a sentence: a set of the future. */
int prune_plan(const struct set_info *sets, size_t n, const struct marks *marks, const struct keep_rules *rules,
               int64_t now_s, struct prune_row *ret, struct err *err);
/* Move the sets of @ids to trash/. */
int prune_drop(struct repo *r, struct marks *marks, const char *const *ids, size_t n, struct err *err);
/* "30d", "12h", "6w", "8m", "2y" -> seconds (a month has 31 days, a year 366). -EINVAL with a sentence. */
int span_parse(const char *text, int64_t *ret_s, struct err *err);

#endif
