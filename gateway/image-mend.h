/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mending an image's file where it lies: only the protective MBR's end, see core/bootcheck.h.
 *
 * Threads: one at a time per struct cmd.
 */
#ifndef DISKGATE_GATEWAY_IMAGE_MEND_H
#define DISKGATE_GATEWAY_IMAGE_MEND_H

#include "core/catalog.h"
#include "cli/verb.h"

/* Mend version @v if it needs it. Volatile overlays over it begin anew. Refused with a sentence: a file of the administrator's (adopted), a file
 * that is not as it was recorded, a client that runs from it, kept overlays with data over it.
 * An exit status, or a negative errno. */
int image_mend_chs(struct cmd *cmd, const struct version_row *v, struct err *err);

#endif
