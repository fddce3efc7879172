/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scope: what of a root belongs into a set.
 *
 *   nothing named   all versions of all images, all kept and super overlays
 *   an image        all its versions
 *   a client        its kept and super overlays, and the versions that they lie over
 *
 * The catalog belongs to every set. Volatile overlays belong to none: they are dropped at the client's next boot anyway.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_BACKUP_SCOPE_H
#define DISKGATE_BACKUP_SCOPE_H

#include "backup/manifest.h"
#include "core/catalog.h"

struct scope {
    struct version_row *versions; /* by image and number */
    size_t n_versions;
    struct view_row *views; /* with an overlay to be backed up, by client and slot */
    size_t n_views;
    size_t n_volatile; /* views that are left out */
};

/* -ENOENT: no image or client has one of @names; -EINVAL: a named client has volatile overlays only; both with a sentence. */
int scope_read(struct catalog *c, const char *const *names, size_t n, struct scope *ret, struct err *err);
void scope_finish(struct scope *s); /* a struct out of all zeros is allowed */

/* The same overlays over the same versions? */
bool scope_equal(const struct scope *a, const struct scope *b);

const struct version_row *scope_version(const struct scope *s, int64_t id); /* NULL: not in it */

/* Streams of a version and an overlay. */
void scope_version_stream(const struct version_row *v, struct stream_id *ret);
void scope_view_stream(const struct view_row *v, struct stream_id *ret);

#endif
