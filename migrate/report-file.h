/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ROOT/imports/ID.json, before the commit: there is no run without its report.
 *
 *   report_file_init(&f, root, staging)
 *     report_file_begin(&f, r)       behind plan_begin(): a thread writes the rows where that needs nothing of the catalog
 *       plan_decide()                meanwhile
 *     report_file_decided(&f)        all of the report is known
 *       import_apply()               meanwhile
 *     report_file_end(&f)            it is written and synced, or says why not
 *   report_file_finish(&f)           in any case; a thread that was not waited for gives up
 *
 * The file begins with what is known last, so room is left for it, which is filled up with blanks. Until then there are zero bytes, and it is no JSON.
 *
 * Threads: one at a time. Until the last call the import, the list of images and the report do not go away, and images do not change.
 */
#ifndef DISKGATE_MIGRATE_REPORT_FILE_H
#define DISKGATE_MIGRATE_REPORT_FILE_H

#include <pthread.h>

#include "migrate/report.h"
#include "migrate/staging.h"

struct report_file {
    const struct report *report;
    const char *root;
    struct staging *st;
    int fd;
    pthread_t thread;
    bool has_thread;
    size_t room; /* bytes of the file before the rows */
    char *head;  /* what comes there; the thread takes it when the plan is whole */
    int result;  /* of the thread, with its sentence */
    struct err err;
};

void report_file_init(struct report_file *s, const char *root, struct staging *st);
void report_file_finish(struct report_file *s);
int report_file_begin(struct report_file *s, const struct report *r, struct err *err);
int report_file_decided(struct report_file *s, struct err *err);
int report_file_end(struct report_file *s, struct err *err);

#endif
