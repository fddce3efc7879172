/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Schedule: systemd timers that back up, prune and verify by themselves.
 *
 *   DIR/diskgate-backup-NAME.service, .timer            create, at the time that was asked for
 *   DIR/diskgate-backup-NAME-prune.service, .timer      two hours later, where there are rules
 *   DIR/diskgate-backup-NAME-verify.service, .timer     four hours later, for an hour at most: it gets around in the course of days
 *
 * NAME comes from the repository's path, so several repositories have timers of their own. What was asked for stands in a section [X-Diskgate] of
 * the timer, which systemd leaves alone; only files with that section are ever listed, replaced or removed.
 *
 * Threads: one.
 */
#ifndef DISKGATE_BACKUP_SCHEDULE_H
#define DISKGATE_BACKUP_SCHEDULE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define SCHEDULE_DIR "/etc/systemd/system"
#define WHEN_LEN     31
#define UNIT_LEN     95
#define KEEP_LEN     255

/* hourly; daily 03:30; weekly Sun 03:30 */
struct when {
    enum { WHEN_HOURLY, WHEN_DAILY, WHEN_WEEKLY } kind;
    unsigned hour, minute, day; /* day: 0 = Sunday */
};

/* The first words of @words; *ret_used of them. -EINVAL with a sentence. */
int when_parse(const char *const *words, size_t n, struct when *ret, size_t *ret_used, struct err *err);
void when_text(const struct when *w, char *ret); /* WHEN_LEN + 1 bytes */
/* For OnCalendar= (64 bytes), @later_h hours later; for cron (32 bytes). */
void when_calendar(const struct when *w, unsigned later_h, char *ret);
void when_cron(const struct when *w, unsigned later_h, char *ret);
/* The next time after @now_s, local time. */
int64_t when_next(const struct when *w, int64_t now_s);

struct schedule {
    char unit[UNIT_LEN + 1];                                 /* "diskgate-backup-NAME" */
    char root[PATH_MAX], repo[PATH_MAX], keep[KEEP_LEN + 1]; /* keep: "--keep-daily 7 ..." or "" */
    char sign[PATH_MAX];                                     /* private key of `create`, or "" */
    struct when when;
};

/* "diskgate-backup-NAME" for that repository and root. */
void schedule_name(const char *root, const char *repo, char *ret);
/* Write the units into @dir; @program is the path of diskgate-backup. -EEXIST: a file that is not ours has such a name;
 * then nothing was written. */
int schedule_write(const char *dir, const char *program, const struct schedule *s, struct err *err);
/* All of them in @dir; *ret to be free()d. */
int schedule_list(const char *dir, struct schedule **ret, size_t *ret_n, struct err *err);
/* The units of that name that are ours go; those that are not there are as good. */
int schedule_drop(const char *dir, const char *unit, struct err *err);
/* The command of one of them: "create", "prune", "verify"; for a shell. @ret: 4 * PATH_MAX bytes. -ENAMETOOLONG. */
int schedule_command(const char *program, const struct schedule *s, const char *verb, char *ret, struct err *err);

#endif
