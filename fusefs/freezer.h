/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Freezes on request of a backup: all overlays of one at the same instant; core/freeze.h has how.
 *
 * Whoever asks has made and locked ROOT/run/frozen/ID.holder before. A freeze ends when it is thawed, when that lock is gone (the backup
 * was killed: looked for once a second), or when the process ends.
 *
 * A frozen view stays open until its freeze ends, also when its client is removed meanwhile.
 *
 * Threads: freezer_freeze(), freezer_thaw(), freezer_status(): any; create, start, stop, destroy: who starts and ends the process.
 */
#ifndef DISKGATE_FUSEFS_FREEZER_H
#define DISKGATE_FUSEFS_FREEZER_H

#include <jansson.h>

#include "fusefs/view.h"

struct freezer;

/* @dir_fd: ROOT/run/frozen, borrowed. What an earlier process left there is void from here on. NULL with a sentence. */
struct freezer *freezer_create(int dir_fd, struct err *err);
int freezer_start(struct freezer *f);    /* 0 or a negative errno */
void freezer_stop(struct freezer *f);    /* ends all freezes; NULL is allowed */
void freezer_destroy(struct freezer *f); /* likewise */

/* Freeze the overlays of @views (borrowed) as @id. *ret: {"overlays":[{"overlay_id","epoch_id","epoch"}]}. -EBUSY: nobody holds @id,
 * or it is there already; -ENOSPC, ... with a sentence: then nothing is frozen. */
int freezer_freeze(struct freezer *f, const char *id, struct view **views, size_t n, json_t **ret, struct err *err);

/* End @id. *ret: {"side_bytes":N,"broken":sentence where it was void}. -ENOENT. */
int freezer_thaw(struct freezer *f, const char *id, json_t **ret, struct err *err);

/* [{"id","overlays":N,"side_bytes":N,"age_s":N,"broken":sentence}]; NULL without memory. */
json_t *freezer_status(struct freezer *f);

#endif
