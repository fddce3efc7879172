/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The dnsmasq of a root: start, look, stop. It serves what boot_render_files() wrote.
 *
 * It is found by its command line, which names ROOT/run/dnsmasq.conf; so no other dnsmasq of the machine is ever taken for it.
 *
 * Threads: one at a time per root.
 */
#ifndef DISKGATE_GATEWAY_DNSMASQ_H
#define DISKGATE_GATEWAY_DNSMASQ_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/catalog.h"
#include "core/err.h"
#include "gateway/site.h"

/* Its pid, or 0. */
pid_t dnsmasq_find(const struct site *s);

/* Write its files and make it run with them, or stop it, as the setting boot.dhcp says. Started anew when its files are younger than it is. */
int dnsmasq_ensure(const struct site *s, struct catalog *c, json_t *report, struct err *err);

/* 0 also when it does not run. */
int dnsmasq_stop(const struct site *s, json_t *report, struct err *err);

/* Become it, in the foreground: for a unit of systemd. Returns only when that fails. */
int dnsmasq_exec(const struct site *s, struct catalog *c, struct err *err);

/* True when the setting wants it. */
bool dnsmasq_is_wanted(struct catalog *c);

#endif
