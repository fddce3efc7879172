/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Word to systemd, for a service of Type=notify. Source: sd_notify(3).
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CORE_NOTIFY_H
#define DISKGATE_CORE_NOTIFY_H

/* Send lines such as "READY=1\nSTATUS=serving". Nothing where nobody asked for it (NOTIFY_SOCKET). 0 or a negative errno. */
int notify_systemd(const char *state);

#endif
