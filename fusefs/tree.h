/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The names of the mount.
 *
 *   /clients/NAME/disk0.img, disk0.p1.img, ...     a client's disks and, read-only, their partitions
 *   /images/NAME/vN/disk.img, p1.img, ...          versions, read-only
 *   /images/NAME/current -> vN
 *   /by-id/OVERLAY_ID.img                          the same files as clients/..., under a name that a rename does not change;
 *                                                  hidden from listings, for tgt
 *
 * Nodes are what the kernel knows by number (inode); entries are names in a folder that point to nodes, and one file may have two.
 * A node lives while an entry or a look-up of the kernel holds it. Partition files have no entries: they are made when somebody looks
 * them up, from the partition table as it is at that moment.
 *
 * Changes come in rounds: tree_begin(), any number of tree_put_*(), tree_end(): what was not put again is gone.
 * Names that vanished or changed are reported, so that the kernel can be told to forget them.
 *
 * Threads: any number at once; rounds one at a time. The lock is never held over I/O.
 */
#ifndef DISKGATE_FUSEFS_TREE_H
#define DISKGATE_FUSEFS_TREE_H

#include "core/part.h"
#include "fusefs/view.h"

enum node_kind { NODE_DIR, NODE_FILE, NODE_LINK };

struct tree;

/* What the kernel wants to know about a node. */
struct node_info {
    uint64_t id;  /* for the kernel's look-ups; 1 = the mount's root */
    uint64_t ino; /* st_ino: unique in the life of the process */
    enum node_kind kind;
    uint64_t size;
    bool is_read_only;
    bool is_client; /* a client's disk or a part of one: its content changes */
};

struct tree *tree_create(void);
void tree_destroy(struct tree *t);

/* --- rounds ------------------------------------------------------------------------------------------------------ */

void tree_begin(struct tree *t);
/* A disk under "clients/CLIENT/diskS.img" and "by-id/ID.img", and "images/IMAGE/vN/disk.img". The tree takes references of its own.
 * 0 or -ENOMEM. */
int tree_put_client(struct tree *t, struct view *v);
int tree_put_version(struct tree *t, struct view *v, bool is_current);
/* Folders exist also for images and clients without a disk that can be shown. */
int tree_put_client_dir(struct tree *t, const char *client);
/* @gone is called for every name that is no more, outside of the lock. */
void tree_end(struct tree *t, void (*gone)(void *arg, uint64_t parent_id, const char *name), void *arg);

/* --- look-ups ---------------------------------------------------------------------------------------------------- */

/* Find @name in folder @parent and count one look-up of the kernel. -ENOENT, -ENOTDIR, errors of reading a partition table. */
int tree_lookup(struct tree *t, uint64_t parent, const char *name, struct node_info *ret);
void tree_forget(struct tree *t, uint64_t id, uint64_t count);
int tree_info(struct tree *t, uint64_t id, struct node_info *ret); /* -ESTALE when the node is unknown */

/* The view behind a file with a reference for the caller; NULL for other nodes. */
struct view *tree_view(struct tree *t, uint64_t id);

/* Target of a link into @ret (@room bytes). -EINVAL. */
int tree_readlink(struct tree *t, uint64_t id, char *ret, size_t room);

struct tree_entry {
    char name[NAME_LEN + 24];
    struct node_info info;
};

/* What a listing of @id shows, partitions included, without "." and "..". *ret is malloc()ed. -ENOTDIR, -ENOMEM. A disk whose partition
 * table cannot be read is listed without partitions. */
int tree_list(struct tree *t, uint64_t id, struct tree_entry **ret, size_t *ret_n);

/* Copy of a client view's row, taken under the lock. */
void tree_row(struct tree *t, const struct view *v, struct view_row *ret);
/* Replace it (names, mode). */
void tree_set_row(struct tree *t, struct view *v, const struct view_row *row);

#endif
