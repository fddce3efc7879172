/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How large the source says its images are: one more thing that tells two files of one name apart.
 *
 *   mapping: image_sizes = Images.ImagePath : SizeGB     the unit is in the column's name (GB, MB); without one values are bytes
 *
 * A source that says GB means 10^9 or 2^30 bytes, rounded: so a size is a range, and only a hint. A file whose path is known is never
 * refused because of it.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_IMAGE_SIZES_H
#define DISKGATE_MIGRATE_IMAGE_SIZES_H

#include "core/err.h"
#include "migrate/images.h"
#include "migrate/mapping.h"

/* Fill in size_min and size_max of the images that the source knows a size of. */
int image_sizes_read(struct source *s, const struct mapping *m, struct site_images *images, struct err *err);
/* The range that a text means in a column called @column; false when it is none. */
bool image_size_range(const char *column, const char *text, uint64_t *ret_min, uint64_t *ret_max);

#endif
