/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Look at memory that another process may take away: a file that is cut while it is mapped is a SIGBUS for whoever reads it there.
 *
 * Threads: any number at once; calls do not nest. The process' handlers of SIGBUS and SIGSEGV are put aside at the first call, and get whatever did
 * not happen within one.
 */
#ifndef DISKGATE_FUSEFS_TGT_GUARD_H
#define DISKGATE_FUSEFS_TGT_GUARD_H

/* f(arg) and its result, or -EFAULT when it touched memory that is not there: then it was left in the middle, so it must hold no lock, and what
 * it had allocated is lost. */
int guard_call(int (*f)(void *arg), void *arg);

#endif
