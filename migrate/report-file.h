/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ROOT/imports/ID.json, before the commit: there is no run without its report.
 *
 *   report_file_begin(&f, ...)     a thread writes it where that needs nothing of the catalog
 *     import_apply(...)            meanwhile
 *   report_file_end(&f, ...)       it is written and synced, or says why not
 *
 * Threads: one at a time. Between the two calls the plan of the import and the report do not change.
 */
#ifndef DISKGATE_MIGRATE_REPORT_FILE_H
#define DISKGATE_MIGRATE_REPORT_FILE_H

#include <pthread.h>

#include "migrate/report.h"
#include "migrate/staging.h"

struct report_file {
    const struct report *report;
    const char *root;
    FILE *f;
    char *buffer;
    pthread_t thread;
    bool has_thread;
    int result; /* of the thread, with its sentence */
    struct err err;
};

/* After a failure nothing is to be ended. */
int report_file_begin(struct report_file *s, const char *root, const struct report *r, struct staging *st,
                      struct err *err);
/* @is_wanted: false when the import failed already; then the file is only closed. */
int report_file_end(struct report_file *s, bool is_wanted, struct err *err);

#endif
