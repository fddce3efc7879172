/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the readers of leases and reservations share: entries by key, the last one of a key counts, as all these formats have it.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_LEASES_H
#define DISKGATE_MIGRATE_LEASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/names.h"
#include "migrate/source.h"

#define LEASES_MAX          1000000
#define LEASES_SETTINGS_MAX 4000
#define LEASE_NEVER         INT64_MAX

struct lease {
    char key[80]; /* what a later entry replaces it by: address, or name of a host block */
    char raw_mac[64], mac[MAC_LEN + 1];
    char ip[46], name[256], comment[128];
    int64_t expires_s; /* Unix time; 0 = not said */
    bool is_reservation, is_expired, is_deleted;
};

struct lease_setting {
    char key[96], value[256], scope[64];
    bool is_option; /* it has no place here, and is kept in the report */
};

struct leases {
    struct lease *list;
    size_t n, size;
    uint32_t *slots; /* hash table of keys: number + 1 */
    size_t slot_count;
    struct lease_setting settings[LEASES_SETTINGS_MAX];
    size_t setting_count;
    uint64_t replaced, without_mac, without_meaning, v6, first_bad_line, lost_settings;
    int64_t now_s;
};

/* Later entries replace earlier ones with the same key. -EFBIG, -ENOMEM with a sentence. */
int leases_put(struct leases *l, const struct lease *lease, struct err *err);
void leases_set(struct leases *l, const char *key, const char *value, const char *scope);
/* What else the server gives out: @name is the number of a DHCP option, or what the server calls it. */
void leases_option(struct leases *l, const char *name, const char *value, const char *scope);
/* Both ends or none, so that two ranges never become one. */
void leases_range(struct leases *l, const char *first, const char *last, const char *scope);
void leases_bad_line(struct leases *l, uint64_t line);
void lease_set_mac(struct lease *lease, const char *text);
/* "pc01.cafe.local" -> "pc01". */
void lease_set_name(struct lease *lease, const char *text);

/* Each reads the whole text (which it may change). */
typedef int leases_parse(struct leases *l, char *text, struct err *err);
leases_parse leases_dnsmasq, leases_isc, leases_kea_csv, leases_kea_json, leases_netsh;

/* Next line of *rest, ended by a zero byte; NULL at the end. Counts *line. */
char *leases_line(char **rest, uint64_t *line);

#endif
