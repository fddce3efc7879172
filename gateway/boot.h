/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Booting: what a PC that asks for its boot script gets, and what that request means.
 *
 *   GET /boot/52:54:00:12:34:56   the boot event: an iPXE script, always with status 200, so that the PC's screen shows the sentence
 *   GET /boot/52:54:00:12:34:56/16   the same, of a client whose boot menu was answered: slot 16 was chosen
 *   GET /boot/                    a script that asks with the MAC of the first card: iPXE before 2014 leaves the MAC out
 *   GET /status                   {"program","version","tag","pid"} for a look whether it runs and whose it is
 *
 * The boot event of a client without a live session begins a new boot: its volatile overlays are dropped and the link's current version is
 * taken, kept ones stay; targets are reconciled; the script carries initiator name, target, LUN and CHAP secret.
 * With a live session: a script that waits and asks again, and says so. A client with several boot disks gets a menu first, which changes
 * nothing; the answer is the boot event, and what was not chosen stays as it is.
 *
 * Threads: boot_event() one at a time per catalog.
 */
#ifndef DISKGATE_GATEWAY_BOOT_H
#define DISKGATE_GATEWAY_BOOT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/catalog-boot.h"

/* --- scripts (boot-script.c): pure, no catalog ------------------------------------------------------------------- */

struct boot_target {
    const char *client, *mac, *portal_address, *iqn, *initiator, *chap_user,
        *chap_password; /* chap_user NULL: without CHAP */
    unsigned portal_port, lun;
};

struct boot_choice {
    uint32_t slot;
    char text[NAME_LEN + COMMENT_LEN + 32]; /* the image, its version if it is pinned, and its comment */
};

/* What a client may start from. */
struct boot_choices {
    struct boot_choice rows[BOOT_SLOT_LAST - BOOT_SLOT_FIRST + 2]; /* by slot */
    size_t n;
    uint32_t standard;  /* the slot that it takes when nobody chooses */
    unsigned timeout_s; /* 0 = it waits until somebody does */
};

/* Each writes a whole iPXE script, "#!ipxe\n...", into a malloc()ed *ret. Text that goes into a script is cut down to what cannot end a line or
 * begin a command. 0 or -ENOMEM. */
int boot_script_disk(const struct boot_target *t, char **ret);
/* A menu of @ch that asks for the disk that was chosen. */
int boot_script_menu(const char *client, const char *mac, const struct boot_choices *ch, char **ret);
/* Shows the sentence, a line for each of its lines; @retry_s > 0: asks again after that time, for @mac (NULL: for the card that iPXE used
 * last). */
int boot_script_refuse(const char *sentence, const char *mac, unsigned retry_s, char **ret);

/* For an iPXE of before 2014, which knows no netX and so asks without a MAC: it asks again with its first card's. */
int boot_script_first_card(char **ret);

/* --- choices (boot-choice.c) ------------------------------------------------------------------------------------- */

/* What @client may start from. */
int boot_choices_read(struct catalog *c, const struct client_row *client, struct boot_choices *ret, struct err *err);
bool boot_choices_have(const struct boot_choices *ch, uint32_t slot);

/* --- the event (boot-event.c) ------------------------------------------------------------------------------------ */

/* Answer the request of a PC with @what, its MAC or MAC/SLOT, as it came (hostile), from @address. Gives a script whatever happens; an error (-ENOMEM) only
 * when there is no memory for one. @err has the sentence for the log where the script is a refusal, "" otherwise. */
int boot_event(const char *root, const char *what, const char *address, char **ret_script, struct err *err);

/* --- phases (boot-watch.c) --------------------------------------------------------------------------------------- */

/* Look at sessions and counters of the views and bring the boots' rows up to date: login, first read, last read, bytes, end.
 * Called about once a second by diskgated; @w keeps what was seen the last time. */
struct boot_watch;
struct boot_watch *boot_watch_create(const char *root); /* NULL without memory */
void boot_watch_destroy(struct boot_watch *w);
int boot_watch_look(struct boot_watch *w, struct catalog *c, struct err *err);

/* --- lines for other DHCP servers (boot-options.c) ---------------------------------------------------------------- */

/* Lines for @server ("dnsmasq", "isc-dhcpd", "kea", "windows", "mikrotik", "openwrt") into a malloc()ed *ret. -EINVAL lists the names. */
int boot_options(struct catalog *c, const char *server, char **ret, struct err *err);

/* --- in words (boot-why.c) --------------------------------------------------------------------------------------- */

/* What became of @client's last boot, where it stopped and the likely cause, one or more sentences, into a malloc()ed *ret. */
int boot_why(const char *root, struct catalog *c, const char *client, char **ret, struct err *err);

#endif
