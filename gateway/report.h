/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report of service.h: what was changed and what could not be served. Memory that runs out loses entries of the report, no more.
 *
 * Threads: one at a time per report.
 */
#ifndef DISKGATE_GATEWAY_REPORT_H
#define DISKGATE_GATEWAY_REPORT_H

#include <jansson.h>
#include <stddef.h>

/* An empty report; NULL without memory. */
json_t *report_new(void);

/* Add {"what","problem"} or a line of "changes". @report may be NULL. The same problem is added once. */
void report_problem(json_t *report, const char *what, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void report_change(json_t *report, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

size_t report_problems(const json_t *report);

#endif
