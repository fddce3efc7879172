/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The names that a mount shows: folders, files, links. The tree only grows.
 *
 * Threads: any number at once, but for create and destroy. A node that was found stays.
 */
#ifndef DISKGATE_BACKUP_MOUNT_TREE_H
#define DISKGATE_BACKUP_MOUNT_TREE_H

#include <pthread.h>

#include "backup/mount.h"

struct disk;

struct mount_node {
    char *name;
    enum mount_kind kind;
    uint64_t ino, off, size_bytes;
    int64_t time_s;
    char *target;
    struct disk *disk;            /* MOUNT_FILE */
    struct mount_node **children; /* the tree's lock protects these */
    size_t n, room;
};

struct mount_tree {
    struct mount_node *root;
    pthread_mutex_t lock; /* held over nothing */
};

/* A root and nothing in it. -ENOMEM: then it is to be finished as well. */
int mount_tree_init(struct mount_tree *t);
void mount_tree_finish(struct mount_tree *t);

/* A node called @name in @dir; one that is there already is taken. NULL without memory. */
struct mount_node *mount_tree_add(struct mount_tree *t, struct mount_node *dir, const char *name, enum mount_kind kind,
                                  int64_t time_s);
/* The node in @dir that is called by the @len bytes at @name; number @i. NULL: there is none. */
struct mount_node *mount_tree_child(struct mount_tree *t, const struct mount_node *dir, const char *name, size_t len);
struct mount_node *mount_tree_nth(struct mount_tree *t, const struct mount_node *dir, size_t i);

#endif
