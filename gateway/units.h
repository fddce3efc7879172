/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of a root as systemd's units (contrib/systemd): PREFIX-fs, PREFIX-tgtd@K, PREFIX-dnsmasq, PREFIXd.
 *
 * A root whose parts were started by units has ROOT/run/units. From then until `down` a part that has to be started is started as its unit, so
 * that it runs in its own cgroup with its own limits, whoever noticed that it is missing.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_UNITS_H
#define DISKGATE_GATEWAY_UNITS_H

#include <stdbool.h>

#include "core/err.h"
#include "gateway/site.h"

/* True if units run this root's parts since the machine's start. */
bool units_manage(const struct site *s);

/* Say so, when we were started by a unit (DISKGATE_UNITS has its prefix). */
int units_mark(const struct site *s, struct err *err);

/* `systemctl start` or `restart` of the unit with @suffix ("-fs", "-tgtd@0", "-dnsmasq", "d"); returns when it is ready. */
int units_start(const struct site *s, const char *suffix, struct err *err);
int units_restart(const struct site *s, const char *suffix, struct err *err);

/* Stop all of them and forget the mark. What systemd cannot stop is left to the caller. */
void units_stop(const struct site *s);

#endif
