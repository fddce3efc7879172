/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes and entries behind tree.h, for tree.c and tree-list.c.
 *
 * Threads: what ends in _locked needs tree.lock.
 */
#ifndef DISKGATE_FUSEFS_TREE_PRIV_H
#define DISKGATE_FUSEFS_TREE_PRIV_H

#include "core/lock.h"
#include "fusefs/tree-part.h"
#include "fusefs/tree.h"

struct entry {
    struct entry *next;
    struct node *node; /* holds a reference */
    uint64_t round;    /* in which it was last put */
    bool is_hidden;
    char name[NAME_LEN + 24];
};

struct node {
    struct node *next, **prev; /* all nodes of the tree */
    enum node_kind kind;
    unsigned refs;    /* entries that point here */
    uint64_t lookups; /* that the kernel holds */
    uint64_t ino;
    struct entry *entries; /* NODE_DIR, newest first */
    struct view *view;     /* NODE_FILE, a reference */
    struct part_key part;  /* NODE_FILE of a partition: which one; number 0 = no partition */
    char target[16];       /* NODE_LINK */
};

struct tree {
    struct lock lock; /* protects all below, and the rows of client views */
    struct node *nodes;
    struct node *root, *clients, *images, *by_id;
    uint64_t round, last_ino;
};

/* A node's number for the kernel is its address; the root's is 1. */
struct node *tree_node_of(const struct tree *t, uint64_t id);
uint64_t tree_id_of(const struct tree *t, const struct node *n);

void tree_info_locked(const struct tree *t, const struct node *n, struct node_info *ret);

#endif
