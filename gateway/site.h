/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A root that is being worked on: its folders and the settings that the running half needs.
 *
 * Threads: read-only after site_open() and site_read().
 */
#ifndef DISKGATE_GATEWAY_SITE_H
#define DISKGATE_GATEWAY_SITE_H

#include <limits.h>
#include <stdbool.h>

#include "core/catalog.h"
#include "core/err.h"

#define SHARDS_MAX 64

enum site_acl { ACL_OFF, ACL_NAME, ACL_ADDRESS };

struct site {
    char root[PATH_MAX];
    char mount[PATH_MAX]; /* ROOT/run/mnt */
    int run_fd;           /* ROOT/run; -1 when there is none */

    /* Of the catalog, by site_read(): */
    char address[64];
    unsigned port, shards, threads;
    bool has_chap;
    bool wants_direct; /* see direct.h */
    enum site_acl acl;
    char tcp_wmem[SETTING_LEN + 1];
    char fs_user[SETTING_LEN + 1];
    char tag[9];
};

/* Open the folders; with @make, ROOT/run and ROOT/run/mnt are made first. -ENOENT when there is no ROOT/run. */
int site_open(struct site *s, const char *root, bool make, struct err *err);
void site_finish(struct site *s);

int site_read(struct site *s, struct catalog *c, struct err *err);

/* "ADDRESS:PORT" of shard @k into @ret (80 bytes), IPv6 in brackets. */
void site_portal(const struct site *s, unsigned k, char *ret);

#endif
