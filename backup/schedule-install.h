/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Schedules come and go: their units in a folder (schedule.h), and their timers with systemctl where systemd reads that folder (@is_live).
 *
 * Threads: one.
 */
#ifndef DISKGATE_BACKUP_SCHEDULE_INSTALL_H
#define DISKGATE_BACKUP_SCHEDULE_INSTALL_H

#include "backup/schedule.h"

/* Does it run here? */
bool schedule_has_systemd(void);

/* All timers are there and run, or it is as before. @program is the path of diskgate-backup. */
int schedule_install(const char *dir, bool is_live, const char *program, const struct schedule *s, struct err *err);
/* -ENOENT, with a sentence: there is none of that name. */
int schedule_remove(const char *dir, bool is_live, const char *unit, struct err *err);

#endif
