/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading an overlay's files; see overlay-look.h. */
#include "gateway/overlay-look.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/datafile.h"
#include "core/keptmark.h"
#include "core/root.h"
#include "core/util.h"

#define JOURNAL_TRIES 5 /* while diskgate-fs writes it, a reader may find pieces of two times */

static int open_sub(const char *root, const char *dir, struct look_code *ret)
{
    char path[PATH_MAX];
    ret->code = root_path(root, dir, path, &ret->err);
    if (ret->code < 0)
        return -1;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        ret->code = err_sys(&ret->err, -errno, "cannot open '%s'", path);
    return fd;
}

static void look_at_map(struct overlay_look *l, int dir_fd)
{
    struct look_code *c = &l->map_file;
    _cleanup_close_ int fd = memfd_create("diskgate-map", MFD_CLOEXEC);
    c->code = mapfile_info(dir_fd, l->map_name, &l->info, &c->err);
    if (c->code < 0)
        return;
    c->code = fd < 0 ? err_sys(&c->err, -errno, "cannot read '%s'", l->map_name)
                     : livemap_create(fd, &l->info.stamp, &l->map, &c->err);
    if (c->code < 0)
        return;
    (void)take_fd(&fd);
    c->code = mapfile_load(dir_fd, l->map_name, l->map, &l->info, &c->err);
    if (c->code < 0) {
        livemap_close(l->map);
        l->map = NULL;
    }
}

static void look_at_data(struct overlay_look *l, int dir_fd)
{
    struct look_code *c = &l->data_file;
    struct stat st;
    if (fstatat(dir_fd, l->data_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        c->code = err_sys(&c->err, -errno, "cannot read '%s'", l->data_name);
        return;
    }
    _cleanup_close_ int fd = datafile_open(dir_fd, l->data_name, &l->stamp, true, &c->err);
    c->code = fd < 0 ? fd : 0;
    l->data_bytes = (uint64_t)st.st_blocks * 512;
    l->is_used = c->code == 0 && datafile_is_used(dir_fd, l->data_name);
}

static void look_at_live(struct overlay_look *l, const char *root)
{
    struct look_code *c = &l->live_map;
    _cleanup_close_ int dir_fd = open_sub(root, "run/live", c);
    if (dir_fd < 0)
        return;
    _cleanup_close_ int fd = openat(dir_fd, l->live_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    c->code =
        fd < 0 ? err_sys(&c->err, -errno, "cannot open '%s'", l->live_name) : livemap_open(fd, true, &l->live, &c->err);
    if (c->code == 0)
        (void)take_fd(&fd);
}

static void look_at_mark(struct overlay_look *l, const char *root)
{
    struct look_code ignored; /* a root of an earlier version has no such folder */
    _cleanup_close_ int fd = open_sub(root, "kept", &ignored);
    l->is_marked = fd >= 0 && kept_mark_is_set(fd, l->stamp.overlay_id) > 0;
}

/* --- journal ------------------------------------------------------------------------------------------------------ */

static void forget_commits(struct overlay_look *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->commits[i].runs);
    free(l->commits);
    l->commits = NULL;
    l->count = 0;
}

static int take_commit(void *arg, const unsigned char id[16], uint64_t number, const struct map_run *runs, size_t n,
                       struct err *err)
{
    struct overlay_look *l = arg;
    if (memcmp(id, l->stamp.overlay_id, 16) != 0)
        return 0;
    struct look_commit *more = reallocarray(l->commits, l->count + 1, sizeof(*more));
    if (more)
        l->commits = more;
    struct map_run *copy = more ? reallocarray(NULL, n, sizeof(*copy)) : NULL;
    if (!copy)
        return err_set(err, -ENOMEM, "memory is out");
    memcpy(copy, runs, n * sizeof(*copy));
    l->commits[l->count++] = (struct look_commit){number, copy, n};
    return 0;
}

static int read_journal(struct overlay_look *l, int fd, const char *tag)
{
    forget_commits(l);
    return journal_replay(fd, tag, take_commit, l, &l->found, &l->journal.err);
}

static void look_at_journal(struct overlay_look *l, const char *root, const char *tag)
{
    struct look_code *c = &l->journal;
    char path[PATH_MAX];
    c->code = root_path(root, "journal", path, &c->err);
    if (c->code < 0)
        return;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        c->code = err_sys(&c->err, -errno, "cannot open '%s'", path);
        return;
    }
    c->code = read_journal(l, fd, tag);
    for (int i = 1; i < JOURNAL_TRIES && c->code == -EBADMSG && l->is_served; i++) {
        (void)usleep(100000); /* the next look is a new one in any case */
        c->code = read_journal(l, fd, tag);
    }
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static int fill_names(struct catalog *c, const struct view_row *view, struct overlay_look *l, struct err *err)
{
    struct version_row v;
    int r = version_get(c, view->version_id, &v, err);
    if (r < 0)
        return r;
    if (uuid_decode(view->overlay_id, l->stamp.overlay_id) < 0)
        return err_set(err, -EINVAL, "the catalog has a bad overlay id '%s'", view->overlay_id);
    l->stamp.size_bytes = v.size_bytes;
    (void)snprintf(l->stamp.base_identity, sizeof(l->stamp.base_identity), "%s",
                   v.identity); /* as long as the column */
    (void)snprintf(l->dir, sizeof(l->dir), "overlays/%s", view->overlay_dir);
    (void)snprintf(l->map_name, sizeof(l->map_name), "%u.map", view->slot % 1000);
    (void)snprintf(l->data_name, sizeof(l->data_name), "%u.data", view->slot % 1000);
    (void)snprintf(l->live_name, sizeof(l->live_name), "%s.live", view->overlay_id);
    return 0;
}

int overlay_look(const char *root, struct catalog *c, const struct view_row *view, struct overlay_look *ret,
                 struct err *err)
{
    *ret = (struct overlay_look){0};
    char tag[9];
    int r = fill_names(c, view, ret, err);
    if (r == 0)
        r = catalog_root_tag(c, tag, err);
    if (r < 0)
        return r;
    int pid;
    ret->is_served = root_locked(root, "fs.lock", &pid);
    _cleanup_close_ int dir_fd = open_sub(root, ret->dir, &ret->map_file);
    if (dir_fd < 0) {
        ret->data_file = ret->map_file;
    } else {
        look_at_map(ret, dir_fd);
        look_at_data(ret, dir_fd);
    }
    look_at_mark(ret, root);
    look_at_journal(ret, root, tag);
    look_at_live(ret, root);
    return 0;
}

void overlay_look_finish(struct overlay_look *l)
{
    forget_commits(l);
    livemap_close(l->map);
    livemap_close(l->live);
}
