/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The RAM that diskgate-fs uses for clients, as `status` tells it.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_SERVICE_MEMORY_H
#define DISKGATE_GATEWAY_SERVICE_MEMORY_H

#include <jansson.h>

/* @fs: what diskgate-fs told (core/ctl.h); NULL is allowed. Adds to the lists of problems and notices, and the figures to @into. */
void memory_report(const json_t *fs, json_t *problems, json_t *notices, json_t *into);

/* "RAM for writes: 12.0 MiB of 2.9 GiB, ..." as lines for people, from those figures; @print is called once a line. */
void memory_lines(const json_t *figures, void (*print)(void *arg, const char *line), void *arg);

#endif
