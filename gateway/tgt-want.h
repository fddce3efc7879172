/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The targets that the catalog and the views ask for.
 *
 * Order of calls:
 *   want_read()          all clients that have a link, also those that get no LUN
 *   want_keep_session()  of each target that there is
 *   want_check_views()   takes out LUNs whose view does not serve, and targets without a LUN or without a possible ACL, and says why
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_GATEWAY_TGT_WANT_H
#define DISKGATE_GATEWAY_TGT_WANT_H

#include <jansson.h>

#include "core/catalog.h"
#include "core/err.h"
#include "gateway/mount.h"
#include "gateway/site.h"
#include "gateway/tgt-plan.h"

struct want_entry {
    struct client_row *client; /* in want.clients */
    unsigned shard;            /* where it is to be served */
    char initiator[256];       /* the name that the client logs in with: its iqn and ":initiator" */
    struct want_target target;
};

struct want {
    struct client_row *clients; /* all, also those without a link */
    size_t n_clients;
    struct view_row *views;
    size_t n_views;
    struct want_entry *entries;
    size_t n;
};

int want_read(const struct site *s, struct catalog *c, struct want *ret, struct err *err);
/* Where @t has a session whose LUN 1 is another boot disk of its client than the catalog says, that disk stays. True if it is so. */
bool want_keep_session(const struct site *s, struct want *w, const struct tgt_target *t);
void want_finish(struct want *w);

#define BOOT_LUN 1

/* The LUN that @slot of @client is; 0 = none: a boot slot that its PC did not choose. */
unsigned want_lun(const struct client_row *client, uint32_t slot);

/* The store of LUNs in a tgtd that has (@has_direct) or has not the one for direct reads. */
const char *want_store(const struct site *s, bool has_direct);

/* Name by which tgtd opens the view of overlay @id, relative to ROOT/run, into @ret (64 bytes). */
void want_path(const char *id, char *ret);

/* Prepare @status, an answer of diskgate-fs, for want_find_view(), which is slow without for many views. */
void want_index_views(json_t *status);

/* The row of overlay @id in diskgate-fs's status; NULL when it does not know it. */
const json_t *want_find_view(const json_t *status, const char *id);

/* True if what the client wrote in the overlay @id went with the machine's power: its target is closed until its next boot, which is as it
 * must be and no problem. */
bool want_is_lost(const json_t *status, const char *id);

/* True if diskgate-fs knows each view of the catalog: if not, the catalog has changed in between. */
bool want_knows_all(const struct want *w, const json_t *status);

/* Sentence into @ret why the view @v does not serve, "" if it does. */
void want_view_problem(const struct view_row *v, const json_t *status, char *ret, size_t max);

/* @acl_problem: a sentence why @e cannot have an ACL (no address), "" if it can. */
void want_acl_problem(const struct site *s, const struct client_row *client, char *ret, size_t max);

void want_check_views(const struct site *s, struct want *w, const json_t *status, json_t *report);

/* Targets of shard @k that have a LUN, with store @store, a fresh array whose pointers live as long as @w and @store. NULL without memory. */
struct want_target *want_of_shard(const struct want *w, unsigned k, const char *store, size_t *ret_n);

/* NULL when client id @tid has no link. */
struct want_entry *want_find(const struct want *w, int64_t tid);

#endif
