/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Marks: which kept overlays have had files.
 *
 *   ROOT/kept/OVERLAY-ID   an empty file
 *
 * Without files an overlay is fresh, or it has lost them: all of ROOT/overlays may have been deleted, or its disk is not mounted. A kept
 * overlay's mark, which lies elsewhere, tells the one from the other.
 *
 * (1) A mark is made after the overlay's first files are durable, so a power cut leaves no mark without files.
 * (2) It goes, durably, after the map file of an overlay that becomes volatile, and after the files of one that is deleted.
 *
 * An overlay's id is never given out again, so a mark that stays behind is in nobody's way. Without any marks (a root that was restored
 * from a backup, or one of an earlier version) all is as if each overlay had had no files yet; opening it makes its mark.
 *
 * Threads: any number at once for different overlays.
 */
#ifndef DISKGATE_CORE_KEPTMARK_H
#define DISKGATE_CORE_KEPTMARK_H

/* @kept_fd: ROOT/kept. All return 0 or a negative errno; kept_mark_is_set() 1 where there is a mark. */
int kept_mark_set(int kept_fd, const unsigned char id[16]);
int kept_mark_is_set(int kept_fd, const unsigned char id[16]);
int kept_mark_clear(int kept_fd, const unsigned char id[16]);

#endif
