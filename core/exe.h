/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the programs of one installation find each other: they lie in one folder, or in those of a build tree.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CORE_EXE_H
#define DISKGATE_CORE_EXE_H

#include <limits.h>
#include <stdbool.h>

/* @name, relative to the folder of the program that runs, into @ret (PATH_MAX bytes). False when nothing there can be run. */
bool exe_beside(const char *name, char *ret);
/* The same for a file that only has to be readable. */
bool exe_file_beside(const char *name, char *ret);

#endif
