/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What keeps an import from being undone.
 *
 * Threads: one at a time per catalog.
 */
#ifndef DISKGATE_CORE_CATALOG_IMPORT_OBSTACLES_H
#define DISKGATE_CORE_CATALOG_IMPORT_OBSTACLES_H

#include "core/catalog-import.h"

/* Append a sentence for each to @ret, an array; each says the way out. Inside a transaction, and when all of the run is in tables (no packs). */
int import_find_obstacles(struct catalog *c, int64_t run, json_t *ret, struct err *err);

#endif
