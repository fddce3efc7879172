/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes and entries of the mount; see tree.h. A node's number is its address; the root's is 1. */
#include "fusefs/tree-priv.h"

#include <errno.h>
#include <string.h>

#include "core/util.h"

/* --- nodes ------------------------------------------------------------------------------------------------------- */

static struct node *node_new_locked(struct tree *t, enum node_kind kind)
{
    struct node *n = calloc(1, sizeof(*n));
    if (!n)
        return NULL;
    n->kind = kind;
    n->ino = ++t->last_ino;
    n->next = t->nodes;
    if (n->next)
        n->next->prev = &n->next;
    n->prev = &t->nodes;
    t->nodes = n;
    return n;
}

/* Free the node if nobody holds it. Returns a view to be let go after the lock, or NULL. */
static struct view *node_drop_locked(struct node *n)
{
    if (n->refs > 0 || n->lookups > 0)
        return NULL;
    assert(!n->entries);
    struct view *v = n->view;
    *n->prev = n->next;
    if (n->next)
        n->next->prev = n->prev;
    free(n);
    return v;
}

struct node *tree_node_of(const struct tree *t, uint64_t id)
{
    return id == 1 ? t->root : (struct node *)(uintptr_t)id;
}

uint64_t tree_id_of(const struct tree *t, const struct node *n)
{
    return n == t->root ? 1 : (uint64_t)(uintptr_t)n;
}

void tree_info_locked(const struct tree *t, const struct node *n, struct node_info *ret)
{
    *ret = (struct node_info){.id = tree_id_of(t, n), .ino = n->ino, .kind = n->kind};
    if (n->kind == NODE_LINK)
        ret->size = strlen(n->target);
    if (!n->view)
        return;
    ret->size = n->view->blk->size;
    ret->is_read_only = n->view->is_read_only;
    const struct view *whole = n->view->whole ? n->view->whole : n->view;
    ret->is_client = whole->kind == VIEW_CLIENT;
}

/* --- entries ----------------------------------------------------------------------------------------------------- */

static struct entry *find_locked(const struct node *dir, const char *name)
{
    for (struct entry *e = dir->entries; e; e = e->next)
        if (strcmp(e->name, name) == 0)
            return e;
    return NULL;
}

static struct entry *entry_new_locked(struct tree *t, struct node *dir, const char *name, struct node *n)
{
    struct entry *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    (void)snprintf(e->name, sizeof(e->name), "%s", name); /* names are shorter, see NAME_LEN */
    e->node = n;
    e->round = t->round;
    e->next = dir->entries;
    dir->entries = e;
    n->refs++;
    return e;
}

/* The folder @name in @dir, made if needed. NULL when memory is out. */
static struct node *dir_need_locked(struct tree *t, struct node *dir, const char *name)
{
    struct entry *e = find_locked(dir, name);
    if (e && e->node->kind == NODE_DIR) {
        e->round = t->round;
        return e->node;
    }
    struct node *n = node_new_locked(t, NODE_DIR);
    if (!n)
        return NULL;
    if (entry_new_locked(t, dir, name, n))
        return n;
    (void)node_drop_locked(n); /* a folder has no view */
    return NULL;
}

static struct node *view_node_locked(const struct tree *t, const struct view *v)
{
    for (struct node *n = t->nodes; n; n = n->next)
        if (n->view == v)
            return n;
    return NULL;
}

/* An entry for @v; an older one of that name for another view stays behind it, out of the round, until tree_end(). */
static int file_put_locked(struct tree *t, struct node *dir, const char *name, struct view *v)
{
    struct entry *e = find_locked(dir, name);
    if (e && e->node->view == v) {
        e->round = t->round;
        return 0;
    }
    struct node *n = view_node_locked(t, v);
    if (!n) {
        n = node_new_locked(t, NODE_FILE);
        if (!n)
            return -ENOMEM;
        n->view = view_ref(v);
    }
    if (entry_new_locked(t, dir, name, n))
        return 0;
    view_unref(node_drop_locked(n)); /* the caller has a reference as well, so this one is not the last */
    return -ENOMEM;
}

static int link_put_locked(struct tree *t, struct node *dir, const char *name, const char *target)
{
    struct entry *e = find_locked(dir, name);
    if (e && e->node->kind == NODE_LINK && strcmp(e->node->target, target) == 0) {
        e->round = t->round;
        return 0;
    }
    struct node *n = node_new_locked(t, NODE_LINK);
    if (!n)
        return -ENOMEM;
    (void)snprintf(n->target, sizeof(n->target), "%s", target);
    if (entry_new_locked(t, dir, name, n))
        return 0;
    (void)node_drop_locked(n); /* a link has no view */
    return -ENOMEM;
}

/* --- rounds ------------------------------------------------------------------------------------------------------ */

struct tree *tree_create(void)
{
    struct tree *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    lock_init(&t->lock, LOCK_TREE);
    LOCK_SCOPE(&t->lock);
    t->root = node_new_locked(t, NODE_DIR);
    if (!t->root)
        abort(); /* nothing runs yet */
    t->root->refs = 1;
    t->clients = dir_need_locked(t, t->root, "clients");
    t->images = dir_need_locked(t, t->root, "images");
    t->by_id = dir_need_locked(t, t->root, "by-id");
    if (!t->clients || !t->images || !t->by_id)
        abort();
    find_locked(t->root, "by-id")->is_hidden = true;
    return t;
}

void tree_destroy(struct tree *t)
{
    if (!t)
        return;
    while (t->nodes) {
        struct node *n = t->nodes;
        while (n->entries) {
            struct entry *e = n->entries;
            n->entries = e->next;
            free(e);
        }
        n->refs = 0;
        n->lookups = 0;
        view_unref(node_drop_locked(n));
    }
    lock_finish(&t->lock);
    free(t);
}

void tree_begin(struct tree *t)
{
    LOCK_SCOPE(&t->lock);
    t->round++;
    find_locked(t->root, "clients")->round = t->round;
    find_locked(t->root, "images")->round = t->round;
    find_locked(t->root, "by-id")->round = t->round;
}

int tree_put_client_dir(struct tree *t, const char *client)
{
    LOCK_SCOPE(&t->lock);
    return dir_need_locked(t, t->clients, client) ? 0 : -ENOMEM;
}

int tree_put_client(struct tree *t, struct view *v)
{
    LOCK_SCOPE(&t->lock);
    char disk[32], id[UUID_LEN + 8];
    (void)snprintf(disk, sizeof(disk), "disk%u.img", v->row.slot);
    (void)snprintf(id, sizeof(id), "%s.img", v->row.overlay_id);
    struct node *dir = dir_need_locked(t, t->clients, v->row.client);
    int r = dir ? file_put_locked(t, dir, disk, v) : -ENOMEM;
    return r < 0 ? r : file_put_locked(t, t->by_id, id, v);
}

int tree_put_version(struct tree *t, struct view *v, bool is_current)
{
    LOCK_SCOPE(&t->lock);
    char version[16];
    (void)snprintf(version, sizeof(version), "v%u", v->base->row.number);
    struct node *image = dir_need_locked(t, t->images, v->base->row.image);
    struct node *dir = image ? dir_need_locked(t, image, version) : NULL;
    int r = dir ? file_put_locked(t, dir, "disk.img", v) : -ENOMEM;
    return r < 0 || !is_current ? r : link_put_locked(t, image, "current", version);
}

/* Names and views that left the tree, to be dealt with after the lock. */
struct gone {
    struct gone *next;
    uint64_t parent_id;
    struct view *view;
    char name[NAME_LEN + 24];
};

static void sweep_locked(struct tree *t, struct node *dir, bool all, struct gone **gone)
{
    for (struct entry **p = &dir->entries; *p;) {
        struct entry *e = *p;
        bool is_old = all || e->round != t->round;
        if (e->node->kind == NODE_DIR)
            sweep_locked(t, e->node, is_old, gone);
        if (!is_old) {
            p = &e->next;
            continue;
        }
        *p = e->next;
        e->node->refs--;
        struct view *v = node_drop_locked(e->node);
        struct gone *g = calloc(1, sizeof(*g));
        if (g) { /* without memory the kernel's copy of the name ends by its time-out */
            *g = (struct gone){.next = *gone, .parent_id = tree_id_of(t, dir), .view = v};
            memcpy(g->name, e->name, sizeof(g->name));
            *gone = g;
        }
        free(e);
    }
}

void tree_end(struct tree *t, void (*report)(void *arg, uint64_t parent_id, const char *name), void *arg)
{
    struct gone *gone = NULL;
    {
        LOCK_SCOPE(&t->lock);
        sweep_locked(t, t->root, false, &gone);
    }
    while (gone) {
        struct gone *g = gone;
        gone = g->next;
        report(arg, g->parent_id, g->name);
        view_unref(g->view);
        free(g);
    }
}

/* --- look-ups ---------------------------------------------------------------------------------------------------- */

/* The folder's file that partition name @name belongs to, with a reference; NULL when it is no such name. */
static struct view *whole_of_locked(const struct node *dir, const char *name, unsigned *ret_number)
{
    char disk[32];
    if (!part_name_parse(name, disk, sizeof(disk), ret_number))
        return NULL;
    struct entry *e = find_locked(dir, disk);
    return e && e->node->view ? view_ref(e->node->view) : NULL;
}

static struct node *part_node_locked(const struct tree *t, const struct view *whole, const struct part_key *key)
{
    for (struct node *n = t->nodes; n; n = n->next)
        if (n->part.number != 0 && n->view->whole == whole && part_key_equal(&n->part, key))
            return n;
    return NULL;
}

static int lookup_part(struct tree *t, struct view *whole, unsigned number, struct node_info *ret)
{
    struct part_key key;
    int r = part_find(whole, number, &key);
    if (r < 0)
        return r;
    _cleanup_(view_unrefp) struct view *v = view_of_part(whole, key.off, key.len);
    if (!v)
        return -ENOMEM;
    LOCK_SCOPE(&t->lock);
    struct node *n = part_node_locked(t, whole, &key);
    if (!n) {
        n = node_new_locked(t, NODE_FILE);
        if (!n)
            return -ENOMEM;
        n->view = take_ptr(v);
        n->part = key;
    }
    n->lookups++;
    tree_info_locked(t, n, ret);
    return 0;
}

int tree_lookup(struct tree *t, uint64_t parent, const char *name, struct node_info *ret)
{
    _cleanup_(view_unrefp) struct view *whole = NULL;
    unsigned number = 0;
    {
        LOCK_SCOPE(&t->lock);
        const struct node *dir = tree_node_of(t, parent);
        if (dir->kind != NODE_DIR)
            return -ENOTDIR;
        struct entry *e = find_locked(dir, name);
        if (e) {
            e->node->lookups++;
            tree_info_locked(t, e->node, ret);
            return 0;
        }
        whole = whole_of_locked(dir, name, &number);
    }
    return whole ? lookup_part(t, whole, number, ret) : -ENOENT;
}

void tree_forget(struct tree *t, uint64_t id, uint64_t count)
{
    struct view *v = NULL;
    {
        LOCK_SCOPE(&t->lock);
        struct node *n = tree_node_of(t, id);
        n->lookups -= MIN(count, n->lookups);
        v = node_drop_locked(n);
    }
    view_unref(v);
}

int tree_info(struct tree *t, uint64_t id, struct node_info *ret)
{
    LOCK_SCOPE(&t->lock);
    tree_info_locked(t, tree_node_of(t, id), ret);
    return 0;
}

struct view *tree_view(struct tree *t, uint64_t id)
{
    LOCK_SCOPE(&t->lock);
    struct node *n = tree_node_of(t, id);
    return n->view ? view_ref(n->view) : NULL;
}

int tree_readlink(struct tree *t, uint64_t id, char *ret, size_t room)
{
    LOCK_SCOPE(&t->lock);
    const struct node *n = tree_node_of(t, id);
    if (n->kind != NODE_LINK)
        return -EINVAL;
    (void)snprintf(ret, room, "%s", n->target);
    return 0;
}

void tree_row(struct tree *t, const struct view *v, struct view_row *ret)
{
    LOCK_SCOPE(&t->lock);
    *ret = v->row;
}

void tree_set_row(struct tree *t, struct view *v, const struct view_row *row)
{
    LOCK_SCOPE(&t->lock);
    v->row = *row;
}
