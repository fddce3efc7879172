/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plan of an import: what becomes of each row of the source.
 *
 *   plan_stage()     reads the source once: rows wait beside the catalog, images are known by their paths; no lock is held
 *   plan_begin()     inside a transaction: what the catalog has
 *   plan_decide()    compares each row with it
 *
 * Three states are compared field by field for a client that this origin imported before:
 *
 *   the source            the client here        then
 *   as it was             anything               the client stays; kept-local where it differs from what was imported
 *   says something else   as it was imported     changed
 *   says something else   says the same          nothing to do, remembered
 *   says something else   edited here            kept-local, both values are told
 *
 * A client that came from elsewhere is met for the first time: what is empty here is filled, what differs stays and is told.
 * A field that no row of the source has a value for is not there (another export, other columns): it says nothing.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_PLAN_H
#define DISKGATE_MIGRATE_PLAN_H

#include <jansson.h>

#include "core/catalog-import.h"
#include "migrate/images.h"
#include "migrate/mapping.h"
#include "migrate/record.h"
#include "migrate/source.h"

struct plan {
    struct source *source;
    const struct mapping *mapping;
    struct catalog *catalog;
    struct import *import;
    struct site_images images;
    struct site_record site;
    struct mapping_policy policy;
    bool is_seen[IMPORT_FIELDS]; /* fields that the source has */
    uint64_t rows;               /* read from the source */
    uint64_t row_doubts;         /* rows with a value that was left out */
    uint64_t unlinked;           /* clients without one of their images, of the last plan_decide() */
    json_t *rest;                /* names of columns that have no place here */
    unsigned rest_count;         /* number of them */
    json_t *online;              /* names of clients that run now: their links are left alone */
};

int plan_stage(struct plan *p, struct err *err);
int plan_begin(struct plan *p, struct err *err);
int plan_decide(struct plan *p, struct err *err);
void plan_finish(struct plan *p);

#endif
