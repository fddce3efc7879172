/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How many clients `clients.unknown auto` may make: whoever can send a request to the boot port can invent a MAC, and each one becomes a row, a
 * target and an overlay.
 *
 * Threads: one at a time per catalog.
 */
#ifndef DISKGATE_GATEWAY_AUTO_LIMIT_H
#define DISKGATE_GATEWAY_AUTO_LIMIT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/catalog.h"

#define AUTO_ACTOR "boot" /* who such a client's audit row names */

struct auto_limit {
    uint64_t clients, max;       /* that there are; clients.auto_max */
    uint64_t lately, per_minute; /* that were added by themselves within a minute; clients.auto_per_minute */
    bool is_full, is_fast;       /* none more, none more in this minute */
};

int auto_limit_read(struct catalog *c, struct auto_limit *ret, struct err *err);

/* With clients.unknown auto and the limit reached: {"what","problem"} where PCs were turned away lately, else {"what","notice"}. */
void auto_limit_report(struct catalog *c, json_t *problems, json_t *notices);

#endif
