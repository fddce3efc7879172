/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names and what is called by them; see mount-tree.h. */
#include "backup/mount-tree.h"

#include <errno.h>
#include <string.h>

#include "core/hash.h"
#include "core/names.h"
#include "core/util.h"

static uint64_t ino_of(uint64_t parent, const char *name)
{
    unsigned char text[NAME_LEN + 64], hash[16];
    uint64_t n = 0;
    memcpy(text, &parent, sizeof(parent));
    size_t len = strnlen(name, sizeof(text) - sizeof(parent));
    memcpy(text + sizeof(parent), name, len);
    hash128(text, sizeof(parent) + len, hash);
    memcpy(&n, hash, sizeof(n));
    return n | 2; /* neither 0 nor 1 */
}

static void node_destroy(struct mount_node *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->n; i++)
        node_destroy(n->children[i]);
    free(n->children);
    free(n->target);
    free(n->name);
    free(n);
}

int mount_tree_init(struct mount_tree *t)
{
    pthread_mutex_init(&t->lock, NULL);
    t->root = calloc(1, sizeof(*t->root));
    if (!t->root)
        return -ENOMEM;
    t->root->ino = 1;
    return 0;
}

void mount_tree_finish(struct mount_tree *t)
{
    node_destroy(t->root);
    pthread_mutex_destroy(&t->lock);
}

static struct mount_node *child_locked(const struct mount_node *dir, const char *name, size_t len)
{
    for (size_t i = 0; i < dir->n; i++)
        if (strncmp(dir->children[i]->name, name, len) == 0 && !dir->children[i]->name[len])
            return dir->children[i];
    return NULL;
}

/* One more has room in @dir. */
static bool make_room_locked(struct mount_node *dir)
{
    if (dir->n < dir->room)
        return true;
    struct mount_node **more = reallocarray(dir->children, 2 * dir->room + 4, sizeof(struct mount_node *));
    if (!more)
        return false;
    dir->children = more;
    dir->room = 2 * dir->room + 4;
    return true;
}

static struct mount_node *add_locked(struct mount_node *dir, const char *name, enum mount_kind kind, int64_t time_s)
{
    struct mount_node *n = make_room_locked(dir) ? calloc(1, sizeof(*n)) : NULL;
    if (!n)
        return NULL;
    *n = (struct mount_node){.name = strdup(name), .kind = kind, .ino = ino_of(dir->ino, name), .time_s = time_s};
    if (n->name)
        return dir->children[dir->n++] = n;
    free(n);
    return NULL;
}

struct mount_node *mount_tree_add(struct mount_tree *t, struct mount_node *dir, const char *name, enum mount_kind kind,
                                  int64_t time_s)
{
    pthread_mutex_lock(&t->lock);
    struct mount_node *n = child_locked(dir, name, strlen(name));
    if (!n)
        n = add_locked(dir, name, kind, time_s);
    pthread_mutex_unlock(&t->lock);
    return n;
}

struct mount_node *mount_tree_child(struct mount_tree *t, const struct mount_node *dir, const char *name, size_t len)
{
    pthread_mutex_lock(&t->lock);
    struct mount_node *n = child_locked(dir, name, len);
    pthread_mutex_unlock(&t->lock);
    return n;
}

struct mount_node *mount_tree_nth(struct mount_tree *t, const struct mount_node *dir, size_t i)
{
    pthread_mutex_lock(&t->lock);
    struct mount_node *n = i < dir->n ? dir->children[i] : NULL;
    pthread_mutex_unlock(&t->lock);
    return n;
}
