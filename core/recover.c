/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Map files of a root, sorted by overlay; runs of the journal applied to those that lack them. See recover.h. */
#include "core/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "core/journal.h"
#include "core/livemap.h"
#include "core/log.h"
#include "core/mapfile.h"
#include "core/util.h"

struct item {
    unsigned char id[16];
    char dir[NAME_MAX + 1], name[32];
    struct mapfile_info info;
    struct livemap *map; /* loaded when the first run for it is found */
    uint64_t number;     /* last commit applied */
    bool is_damaged;
};

struct items {
    int overlays_fd;
    struct item *item;
    size_t count, room;
    struct recovery *ret;
};

static void items_finish(struct items *l)
{
    for (size_t i = 0; i < l->count; i++)
        livemap_close(l->item[i].map);
    free(l->item);
}

/* --- which map files are there ----------------------------------------------------------------------------------- */

static bool is_mapfile_name(const char *name)
{
    size_t digits = strspn(name, "0123456789");
    return digits > 0 && digits < 8 && strcmp(name + digits, ".map") == 0;
}

/* What is wrong with one map file is its overlay's affair alone, which will be refused when it is opened. */
static bool is_damage(int r)
{
    return r < 0 && !journal_may_retry(r);
}

static int add_item(struct items *l, int dir_fd, const char *dir, const char *name)
{
    struct err err;
    struct item it = {0};
    int r = mapfile_info(dir_fd, name, &it.info, &err);
    if (r < 0) {
        log_error("'overlays/%s': %s", dir, err.msg);
        l->ret->damaged++;
        return is_damage(r) ? 0 : r;
    }
    memcpy(it.id, it.info.stamp.overlay_id, sizeof(it.id));
    (void)snprintf(it.dir, sizeof(it.dir), "%s", dir); /* both are names of a folder's entries */
    (void)snprintf(it.name, sizeof(it.name), "%.31s", name);
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 64;
        struct item *more = reallocarray(l->item, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        l->item = more;
        l->room = room;
    }
    l->item[l->count++] = it;
    return 0;
}

static int open_dir_at(int fd, const char *name, DIR **ret)
{
    int sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    *ret = sub < 0 ? NULL : fdopendir(sub);
    return *ret ? 0 : -errno;
}

/* The last process may have ended between the rename of a map file and the sync of its folder. What is read here is the new file then; after
 * a power cut it would be the old one, and the commits behind that are about to be given up. */
static int scan_dir(struct items *l, const char *dir)
{
    _cleanup_closedir_ DIR *d = NULL;
    int r = open_dir_at(l->overlays_fd, dir, &d);
    if (r < 0)
        return r == -ENOTDIR || r == -ELOOP ? 0 : r; /* no folder of an overlay */
    if (fsync(dirfd(d)) < 0)
        return -errno;
    for (const struct dirent *e; r == 0 && (e = readdir(d));)
        if (is_mapfile_name(e->d_name))
            r = add_item(l, dirfd(d), dir, e->d_name);
    return r;
}

static int compare_items(const void *a, const void *b)
{
    return memcmp(((const struct item *)a)->id, ((const struct item *)b)->id, 16);
}

static int scan(struct items *l, struct err *err)
{
    _cleanup_closedir_ DIR *d = NULL;
    int r = open_dir_at(l->overlays_fd, ".", &d);
    if (r < 0)
        return err_sys(err, r, "cannot list the overlays");
    for (const struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        r = scan_dir(l, e->d_name);
        if (r < 0)
            return err_sys(err, r, "cannot read 'overlays/%s'", e->d_name);
    }
    if (l->count)
        qsort(l->item, l->count, sizeof(*l->item), compare_items);
    return 0;
}

/* --- runs -------------------------------------------------------------------------------------------------------- */

static int load_item(const struct items *l, struct item *it, struct err *err)
{
    _cleanup_close_ int dir_fd = openat(l->overlays_fd, it->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    _cleanup_close_ int fd = memfd_create("diskgate-map", MFD_CLOEXEC);
    if (dir_fd < 0 || fd < 0)
        return err_sys(err, -errno, "cannot read 'overlays/%s'", it->dir);
    int r = livemap_create(fd, &it->info.stamp, &it->map, err);
    if (r < 0)
        return r;
    (void)take_fd(&fd);
    r = mapfile_load(dir_fd, it->name, it->map, &it->info, err);
    return r < 0 ? err_prefix(err, r, "'overlays/%s'", it->dir) : 0;
}

static int apply_runs(const struct item *it, const struct map_run *runs, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!range_ok(runs[i].blk, runs[i].n, livemap_block_count(it->map)))
            return err_set(err, -EBADMSG, "the journal names blocks beyond the end of overlay 'overlays/%s/%s'",
                           it->dir, it->name);
        int r = livemap_prepare(it->map, runs[i].blk, runs[i].n, (enum block_state)runs[i].state);
        if (r < 0)
            return err_sys(err, r, "cannot bring 'overlays/%s/%s' up to date", it->dir, it->name);
        if (runs[i].state == BLOCK_PRESENT)
            livemap_set_present(it->map, runs[i].blk, runs[i].n);
        else
            livemap_set_zero(it->map, runs[i].blk, runs[i].n);
    }
    return 0;
}

static int apply_to(const struct items *l, struct item *it, uint64_t number, const struct map_run *runs, size_t n,
                    struct err *err)
{
    if (it->is_damaged || number <= it->info.sequence)
        return 0;
    struct err why = {""};
    int r = it->map ? 0 : load_item(l, it, &why);
    if (is_damage(r)) {
        log_error("%s", why.msg);
        it->is_damaged = true;
        l->ret->damaged++;
        return 0;
    }
    if (r < 0) {
        if (err)
            *err = why;
        return r;
    }
    it->number = number;
    return apply_runs(it, runs, n, err);
}

/* Runs of an overlay without a map file are of one that was dropped or made volatile since. Two map files of one overlay are there when
 * somebody copied a folder within the root; which of them is meant is not known here, so both get the runs. */
static int apply(void *arg, const unsigned char id[16], uint64_t number, const struct map_run *runs, size_t n,
                 struct err *err)
{
    struct items *l = arg;
    struct item key;
    memcpy(key.id, id, sizeof(key.id));
    struct item *it = l->count ? bsearch(&key, l->item, l->count, sizeof(*l->item), compare_items) : NULL;
    while (it && it > l->item && compare_items(it - 1, &key) == 0)
        it--;
    int r = 0;
    for (; r == 0 && it && it < l->item + l->count && compare_items(it, &key) == 0; it++)
        r = apply_to(l, it, number, runs, n, err);
    return r;
}

/* --- the end ----------------------------------------------------------------------------------------------------- */

static int save_item(const struct items *l, const struct item *it, struct err *err)
{
    _cleanup_close_ int dir_fd = openat(l->overlays_fd, it->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    _cleanup_free_ void *buf = NULL;
    size_t len;
    int r = dir_fd < 0 ? -errno : mapfile_encode(it->map, it->number, &buf, &len);
    if (r == 0)
        r = mapfile_write(dir_fd, it->name, buf, len);
    if (r < 0)
        return err_sys(err, r, "cannot bring 'overlays/%s/%s' up to date from the journal", it->dir, it->name);
    l->ret->overlays++;
    return 0;
}

int recover(int overlays_fd, int journal_fd, const char *root, struct recovery *ret, struct err *err)
{
    *ret = (struct recovery){0};
    _cleanup_(items_finish) struct items l = {.overlays_fd = overlays_fd, .ret = ret};
    struct journal_found found = {0};
    int r = scan(&l, err);
    if (r == 0)
        r = journal_replay(journal_fd, root, apply, &l, &found, err);
    uint64_t greatest = found.last_number;
    for (size_t i = 0; i < l.count && r == 0; i++) {
        greatest = MAX(greatest, l.item[i].info.sequence);
        if (l.item[i].number > 0 && !l.item[i].is_damaged)
            r = save_item(&l, &l.item[i], err);
    }
    ret->commits = found.commits;
    ret->next_number = greatest + 1;
    return r;
}
