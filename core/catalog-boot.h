/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalog's part for booting: unknown PCs that asked, and what became of each boot.
 *
 * Writers run inside a transaction as in catalog.h. They leave no audit row: they are what happened, not what somebody changed.
 * Both tables are bounded: the oldest rows go when a table has its greatest number, so that no flood of requests fills the disk.
 *
 * Threads: one at a time per catalog.
 */
#ifndef DISKGATE_CORE_CATALOG_BOOT_H
#define DISKGATE_CORE_CATALOG_BOOT_H

#include "core/catalog.h"

#define PENDING_MAX 1024 /* rows */
#define BOOT_MAX    20000

/* A PC that asked for its boot script and is no client. */
struct pending_row {
    char mac[MAC_LEN + 1];
    char address[46]; /* that it asked from */
    uint32_t number;  /* 1.., small, shown on the PC's screen; free numbers are used again */
    uint64_t requests;
    char first_at[TIME_LEN + 1], last_at[TIME_LEN + 1];
};

/* Count one request of @mac; a new row gets the smallest free number. Where the table is full, a PC that has not asked for an hour gives
 * way first, then one that has asked least: no flood pushes out those who wait. Fills @ret. */
int pending_note(struct catalog *c, const char *mac, const char *address, struct pending_row *ret, struct err *err);
int pending_get(struct catalog *c, const char *mac, struct pending_row *ret, struct err *err);
int pending_list(struct catalog *c, struct pending_row **ret, size_t *ret_n, struct err *err); /* by number */
int pending_remove(struct catalog *c, const char *mac, struct err *err); /* 0 also when it is not there */
int pending_clear(struct catalog *c, struct err *err);                   /* those that still ask come back */

/* 0 if @tmpl is a rule for names: one {} with nothing, "n" or a width of 1 to 9 digits in it, and a client's name around it. -EINVAL. */
int client_template_check(const char *tmpl, struct err *err);

/* The first name that @tmpl gives and no client has: "PC{03}" -> PC001, PC002, ...; {} and {n} = as short as possible. @ret holds
 * NAME_LEN + 1 bytes. In one transaction with client_add(), so that PCs that ask at the same moment get different names. -EINVAL for a
 * bad template. */
int client_name_next(struct catalog *c, const char *tmpl, char *ret, struct err *err);

/* The clients that there are. */
int client_count(struct catalog *c, uint64_t *ret, struct err *err);
/* How many @who (an audit row's) has added since @since_s, those that were removed again included. */
int client_count_added(struct catalog *c, const char *who, int64_t since_s, uint64_t *ret, struct err *err);

/* Give @client (by its row's id) a fresh CHAP password, and put it into @client: what a boot does where auth.rotate is on. -ENOENT when there is
 * no such client any more. */
int client_renew_secret(struct catalog *c, struct client_row *client, struct err *err);

/* One boot of a client, from its script request on. Times are Unix seconds, 0 = not reached. */
struct boot_row {
    int64_t id, client_id;
    char client[NAME_LEN + 1];
    char mac[MAC_LEN + 1];
    char address[46];
    char image[NAME_LEN + 1]; /* empty with an empty refusal: it got its boot menu and nobody has chosen yet */
    uint32_t version;
    int64_t script_s, login_s, first_read_s, last_read_s, end_s;
    uint64_t read_bytes, written_bytes;
    char refused[256]; /* the sentence on the PC's screen, empty = it got its disk */
};

/* Ends the client's former boot, should that still be open; an open menu's row goes. The oldest rows go when there are more than BOOT_MAX. */
int boot_add(struct catalog *c, struct boot_row *row, struct err *err); /* fills id */
/* Store the times, bytes and end of row @row->id. */
int boot_update(struct catalog *c, const struct boot_row *row, struct err *err);
/* The newest @limit boots (0 = all) of @client (NULL: of all, also of PCs that were no clients), oldest first. A client that was renamed
 * has its name of today. */
int boot_list(struct catalog *c, const char *client, size_t limit, struct boot_row **ret, size_t *ret_n,
              struct err *err);
/* The newest row of each client that got its disk in it, in no order. */
int boot_last(struct catalog *c, struct boot_row **ret, size_t *ret_n, struct err *err);

#endif
