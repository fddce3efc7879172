/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which file of this machine a path of the old server means. Inner interface of images*.c.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_IMAGES_FIND_H
#define DISKGATE_MIGRATE_IMAGES_FIND_H

#include "migrate/images.h"

/* Sets i->file, or outcome and note: missing, refused. */
int find_file(struct site_image *i, const struct image_search *how, struct err *err);
/* Refuses i->file when CCBoot's numbered differences lie beside it. */
void check_differences(struct site_image *i, const struct image_search *how);
/* Of a differencing VHD: its parents, by their ids, in i->parents. */
int find_parents(struct site_image *i, const struct image_search *how, struct err *err);
/* The image of the catalog that lies at this very file; *ret_id 0 = none. */
int find_in_catalog(const char *root, struct catalog *c, const char *file, int64_t *ret_id, struct err *err);
/* What the administrator may do about a missing one: adds to its note. */
void propose(struct site_image *i, const struct site_images *all, const struct image_search *how);

#endif
