/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Views: what the mount shows as disk files, each a stack of layers with its counters.
 *
 *   client view   [overlay] -> [base]     read-write; clients/NAME/diskS.img and by-id/OVERLAY.img
 *   version view  [base]                  read-only; images/NAME/vN/disk.img
 *   part view     [slice] -> a view       read-only; .../diskS.pN.img, .../pN.img
 *
 * A base is opened once however many views lie on it, so its bytes are in the page cache once.
 *
 * Life: made with one reference, which the list of attached views holds; open handles, nodes of the tree and part views hold others.
 * The last one to let go closes the files. view_revoke() ends a view's use before that: every later request gets -ESTALE.
 *
 * Threads: reference counts, counters and I/O: any number at once. `row` changes under the tree's lock only.
 */
#ifndef DISKGATE_FUSEFS_VIEW_H
#define DISKGATE_FUSEFS_VIEW_H

#include <stdatomic.h>

#include "core/blk.h"
#include "core/catalog.h"
#include "core/image.h"
#include "core/overlay.h"

struct base {
    _Atomic unsigned refs;
    struct version_row row; /* as it was when the file was opened */
    int fd;                 /* belongs to blk */
    uint64_t data_bytes;    /* of the file's beginning are the disk's */
    struct blk *blk;
    int64_t opened_mtime_ns; /* of the file when it was checked */
    /* What clients read whose views are gone. */
    _Atomic uint64_t past_reads, past_read_bytes, past_waited_reads, past_waited_us;
};

/* Takes @fd. NULL when memory is out. */
struct base *base_open(int fd, const struct image_info *info, const struct version_row *row);
struct base *base_ref(struct base *b);
void base_unref(struct base *b); /* NULL is allowed */

/* True if the open file is no longer what it was when it was checked. */
bool base_has_changed(const struct base *b);

enum view_kind { VIEW_CLIENT, VIEW_VERSION, VIEW_PART };

struct view_counters {
    _Atomic uint64_t reads, read_bytes, writes, written_bytes, flushes, opens;
    _Atomic uint64_t waited_reads, waited_us; /* reads that had to wait for a disk, and for how long in all */
};

struct view {
    _Atomic unsigned refs;
    enum view_kind kind;
    bool is_read_only;
    _Atomic bool is_revoked;
    struct blk *blk; /* the stack's top */
    struct base *base;
    struct overlay *overlay; /* VIEW_CLIENT, NULL where a read-only mount found none */
    int dir_fd;              /* VIEW_CLIENT: ROOT/overlays/DIR, for the overlay's life */
    struct view *whole;      /* VIEW_PART: the view that it is a part of */
    struct view_row row;     /* VIEW_CLIENT */
    struct view_counters count;
    struct tape *tape;     /* VIEW_CLIENT of a boot disk: what it reads while it boots; else NULL */
    struct boards *boards; /* VIEW_CLIENT that can be written: what stores in tgtd may read by themselves; else NULL */
    _Atomic unsigned held; /* requests that wait for room now */
    _Atomic uint64_t errors; /* requests that failed because a file of ours could not be read or written */
    _Atomic int64_t error_s; /* time of the last line in the log about one, monotonic seconds */
};

/* A read-only view of @base, which gets a reference. NULL when memory is out. */
struct view *view_of_version(struct base *base);

/* A client's view over @base (gets a reference). @overlay and @dir_fd are taken; @overlay NULL = the base alone, read-only. */
struct view *view_of_client(struct base *base, struct overlay *overlay, int dir_fd, const struct view_row *row);

/* [off, off+len) of @whole (gets a reference), read-only. */
struct view *view_of_part(struct view *whole, uint64_t off, uint64_t len);

struct view *view_ref(struct view *v);
void view_unref(struct view *v); /* NULL is allowed */
static inline void view_unrefp(struct view **v)
{
    view_unref(*v);
}

/* Somebody opened the view: who had it from a diskgate-fs that is dead reads nothing more by himself (core/direct.h). */
void view_begin(struct view *v);

/* For the statistics; any thread. */
void view_count_read(struct view *v, uint64_t off, uint64_t bytes);
void view_count_wait(struct view *v, uint64_t microseconds);
void view_count_write(struct view *v, uint64_t bytes);

/* A request on [off, off+len) failed with @error: count it, and log which file and block it was, at most once a second for a view. */
void view_note_error(struct view *v, const char *what, uint64_t off, uint64_t len, int error);

/* No request reaches the layers any more from now on but for those that are inside already. */
void view_revoke(struct view *v);
bool view_is_revoked(const struct view *v);

/* At the end of the process, when no request comes any more: make a kept overlay durable and close its files, whoever still has
 * a handle of the view. */
void view_end(struct view *v);

#endif
