/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listings of the mount's folders, with the partitions that each disk has at that moment; see tree.h. */
#include "fusefs/tree-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"

struct listing {
    struct tree_entry *entries;
    size_t count, room;
};

static struct tree_entry *listing_add(struct listing *l)
{
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 64;
        struct tree_entry *more = reallocarray(l->entries, room, sizeof(*more));
        if (!more)
            return NULL;
        l->entries = more;
        l->room = room;
    }
    l->entries[l->count] = (struct tree_entry){0};
    return &l->entries[l->count++];
}

static int list_entries(struct tree *t, uint64_t id, struct listing *l)
{
    LOCK_SCOPE(&t->lock);
    const struct node *dir = tree_node_of(t, id);
    if (dir->kind != NODE_DIR)
        return -ENOTDIR;
    for (const struct entry *e = dir->entries; e; e = e->next) {
        if (e->is_hidden)
            continue;
        struct tree_entry *row = listing_add(l);
        if (!row)
            return -ENOMEM;
        memcpy(row->name, e->name, sizeof(row->name));
        tree_info_locked(t, e->node, &row->info);
    }
    return 0;
}

/* Partition files of the disk in row @i. */
static int list_parts(struct tree *t, size_t i, struct listing *l)
{
    struct part_key keys[PART_MAX];
    _cleanup_(view_unrefp) struct view *v = NULL;
    {
        LOCK_SCOPE(&t->lock);
        for (const struct node *n = t->nodes; n && !v; n = n->next)
            if (tree_id_of(t, n) == l->entries[i].info.id && n->view) /* it may have gone since the listing */
                v = view_ref(n->view);
    }
    size_t n = v ? part_keys(v, keys) : 0;
    for (size_t k = 0; k < n; k++) {
        struct tree_entry *row = listing_add(l);
        if (!row)
            return -ENOMEM;
        part_name(l->entries[i].name, keys[k].number, row->name, sizeof(row->name));
        row->info = (struct node_info){.kind = NODE_FILE, .size = keys[k].len, .is_read_only = true};
    }
    return 0;
}

int tree_list(struct tree *t, uint64_t id, struct tree_entry **ret, size_t *ret_n)
{
    struct listing l = {0};
    int r = list_entries(t, id, &l);
    size_t n = l.count;
    for (size_t i = 0; i < n && r == 0; i++)
        if (l.entries[i].info.kind == NODE_FILE && id != tree_id_of(t, t->by_id))
            r = list_parts(t, i, &l);
    if (r < 0) {
        free(l.entries);
        return r;
    }
    *ret = l.entries;
    *ret_n = l.count;
    return 0;
}
