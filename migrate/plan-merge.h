/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One row against the catalog: a pure function. See the table in plan.h.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_MIGRATE_PLAN_MERGE_H
#define DISKGATE_MIGRATE_PLAN_MERGE_H

#include <jansson.h>

#include "core/catalog-import.h"

/* In: @row's mac, raw_name, src; @known; @is_seen by field. Out: @row's src (fields that say nothing are what they were), want, given,
 * client_id, fate and reason; *ret_detail a new array, NULL when there is nothing to tell field by field. */
void plan_merge(struct import_row *row, const struct import_known *known, const bool *is_seen, json_t **ret_detail);

/* The name that a new client wants: its own, or one made of its MAC. Into @row's want. */
void plan_name_new(struct import_row *row);

#endif
