/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an import tells: one page for people, and all of it as JSON.
 *
 * Both are made from the stage while the transaction is open, so that they tell what was decided. The JSON is written row by row: memory does
 * not grow with their number.
 *
 * Threads: one at a time, but for report_rows() with is_behind.
 */
#ifndef DISKGATE_MIGRATE_REPORT_H
#define DISKGATE_MIGRATE_REPORT_H

#include "cli/verb.h"
#include "migrate/plan.h"

struct report {
    const struct plan *plan;
    const char *file;   /* as the caller named it */
    const char *origin; /* "ccboot", "csv", ... */
    int64_t run_id;
    bool is_dry_run;
    uint64_t counts[IMPORT_FATES], rows;
    struct import_gone *gone;
    size_t n_gone;
    json_t *settings; /* {"boot.dhcp_router": "192.168.1.1", ...}: what was set */
};

/* When all is decided: count, and check that every row has a fate: -EIO with a sentence otherwise. */
int report_count(struct report *r, struct err *err);
void report_end(struct report *r);

/* All of it as JSON into @fd, an empty file. */
int report_write(const struct report *r, int fd, struct err *err);
/* Its two parts. What precedes the rows, as a fresh text; NULL without memory. Counts and what is gone from the source are only right once
 * report_count() was called. */
char *report_head(const struct report *r);
/* The rows and the end, from byte @at of @fd on. With @is_behind for import_told_begin(): in a thread of its own, along with the decision. */
int report_rows(const struct plan *p, int fd, uint64_t at, bool is_behind, struct err *err);

int report_print(const struct report *r, struct cmd *cmd, struct err *err);
/* For the catalog: file, counts, images. A new object. */
json_t *report_summary(const struct report *r);

#endif
