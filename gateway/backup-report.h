/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How old the last backup of the root is, as a sentence of `status`; backup.max_age_h says how old it may be.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_BACKUP_REPORT_H
#define DISKGATE_GATEWAY_BACKUP_REPORT_H

#include <jansson.h>

#include "core/catalog.h"

/* Add {"what","problem"} to @problems, and "last_backup" to @status, where there was one. */
void backup_report(const char *root, struct catalog *c, json_t *problems, json_t *status);

#endif
