/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the boot event share: one request on its way.
 *
 * Threads: one at a time per event.
 */
#ifndef DISKGATE_GATEWAY_BOOT_EVENT_H
#define DISKGATE_GATEWAY_BOOT_EVENT_H

#include <jansson.h>

#include "core/catalog.h"
#include "gateway/boot.h"

struct event {
    const char *root;
    const char *address;
    struct catalog *c;
    char mac[MAC_LEN + 1];
    int choice; /* the slot that was asked for, -1 = none */
    struct client_row client;
    uint32_t slot; /* that it boots from */
    /* An overlay was exchanged, or another disk chosen: another boot than the one before, whether that was seen to log in or not. */
    bool is_renewed;
    bool has_new_secret;
    unsigned retry_s; /* after a refusal */
    struct err why;   /* the refusal, "" = none */
};

/* A refusal that is no error of ours. Returns a negative errno, so that the steps end. */
#define REFUSE(e, retry, ...) ((e)->retry_s = (retry), err_set(&(e)->why, -EACCES, __VA_ARGS__))

/* boot-who.c: 0 and e->client when the PC with e->mac is a client, or becomes one. */
int event_identify(struct event *e);

/* boot-event.c: the refusal of a PC whose disk is in use from @address, "" where that is not known. */
int event_refuse_session(struct event *e, const char *address);

/* boot-begin.c: a new boot, its steps (1) to (3). *@ret is the open target, a row of service_targets() borrowed from *@list, which is the
 * caller's to free, after a failure, too. */
int event_prepare(struct event *e, json_t **list, const json_t **ret);

#endif
