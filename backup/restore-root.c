/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The course of a restore of everything; see restore-root.h. */
#include "backup/restore-root-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "core/root.h"
#include "core/util.h"

#define STAGING ".restore"

const struct set_stream *root_stream(const struct root_work *w, enum stream_kind kind, const char *name,
                                     uint32_t number)
{
    struct stream_id wanted = {.kind = kind, .number = number};
    (void)snprintf(wanted.name, sizeof(wanted.name), "%s", name); /* of one size */
    for (size_t i = 0; i < w->set.n_streams; i++)
        if (stream_id_equal(&w->set.streams[i].id, &wanted))
            return &w->set.streams[i];
    return NULL;
}

/* --- the folder -------------------------------------------------------------------------------------------------- */

static int sync_folder(const char *path, struct err *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? err_sys(err, -errno, "cannot write to '%s'", path) : 0;
}

/* 1: a catalog is there; 0: it may be used; -EEXIST: it is something else's. */
static int look_at_folder(const struct root_work *w, bool *ret_is_ours, struct err *err)
{
    _cleanup_closedir_ DIR *d = opendir(w->root);
    bool is_empty = true, has_catalog = false;
    *ret_is_ours = false;
    if (!d)
        return err_sys(err, -errno, "cannot open '%s'", w->root);
    for (const struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, "lost+found") == 0)
            continue;
        is_empty = false;
        has_catalog |= strcmp(e->d_name, "catalog.db") == 0;
        *ret_is_ours |= strcmp(e->d_name, STAGING) == 0;
    }
    if (has_catalog && !*ret_is_ours)
        return err_set(err, -EEXIST, "'%s' is a Diskgate root already: restore into an empty folder, or move it away",
                       w->root);
    if (!is_empty && !*ret_is_ours)
        return err_set(err, -EEXIST, "'%s' holds other files: name an empty folder, or one that does not exist yet",
                       w->root);
    return has_catalog;
}

/* Take ROOT/.restore/set, and see that it is of this set. */
static int claim(struct root_work *w, struct err *err)
{
    char text[SET_ID_LEN + 2] = "", path[PATH_MAX + 8];
    (void)snprintf(path, sizeof(path), "%s/set", w->staging); /* fits */
    w->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (w->lock_fd < 0)
        return err_sys(err, -errno, "cannot make '%s'", path);
    if (flock(w->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, -EBUSY, "another restore works on '%s'", w->root);
    ssize_t n = pread(w->lock_fd, text, sizeof(text) - 1, 0);
    if (n < 0)
        return err_sys(err, -errno, "cannot read '%s'", path);
    if (n > 0 && strcmp(text, w->set.id) != 0)
        return err_set(err, -EEXIST,
                       "'%s' is half restored from another set (%.40s): name that set to go on with it, or empty the "
                       "folder",
                       w->root, text);
    int r = n > 0 ? 0 : pwrite_full(w->lock_fd, w->set.id, strlen(w->set.id), 0);
    if (r < 0 || fsync(w->lock_fd) < 0)
        return err_sys(err, r < 0 ? r : -errno, "cannot write '%s'", path);
    r = sync_folder(w->staging, err);
    return r < 0 ? r : sync_folder(w->root, err);
}

/* 0; 1: an earlier run got to the end but for the tidying. */
static int prepare(struct root_work *w, struct err *err)
{
    static const char *const folders[] = {"images", "overlays", "run"};
    bool is_ours;
    char path[PATH_MAX];
    int r = make_dirs(w->root, 0755);
    if (r < 0)
        return err_sys(err, r, "cannot make the folder '%s'", w->root);
    int has_catalog = look_at_folder(w, &is_ours, err);
    if (has_catalog < 0)
        return has_catalog;
    if (mkdir(w->staging, 0700) < 0 && errno != EEXIST)
        return err_sys(err, -errno, "cannot make the folder '%s'", w->staging);
    r = claim(w, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(folders); i++) {
        r = root_path(w->root, folders[i], path, err);
        if (r == 0 && mkdir(path, strcmp(folders[i], "overlays") == 0 ? 0700 : 0755) < 0 && errno != EEXIST)
            r = err_sys(err, -errno, "cannot make the folder '%s'", path);
    }
    return r < 0 ? r : has_catalog;
}

/* --- the catalog ------------------------------------------------------------------------------------------------- */

static void drop_staged(const struct root_work *w)
{
    static const char *const names[] = {"catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.db-journal",
                                        "catalog.db.partial"};
    char path[PATH_MAX + 32];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", w->staging, names[i]); /* fits */
        (void)unlink(path);                                                /* most are not there */
    }
}

static int stage_catalog(struct root_work *w, struct err *err)
{
    _cleanup_(chain_closep) struct chain *c = NULL;
    const struct set_stream *st = root_stream(w, STREAM_CATALOG, "", 0);
    char path[PATH_MAX + 16];
    struct target t;
    if (!st)
        return err_set(err, -EBADMSG, "the set %s has no catalog: only single disks can be restored from it",
                       w->set.id);
    drop_staged(w);
    int r = chain_open(w->reader, &w->set, &st->id, NULL, &c, err);
    if (r < 0)
        return r;
    (void)snprintf(path, sizeof(path), "%s/catalog.db", w->staging); /* fits */
    const struct target_params params = {.dest = path,
                                         .size_bytes = chain_head(c)->size_bytes,
                                         .data_bytes = chain_data_bytes(c),
                                         .set_time_s = w->set.time_s};
    r = target_open(&params, &t, err);
    if (r < 0)
        return r;
    r = restore_fill(w->work, w->reader, c, &t, &w->report->counts, err);
    if (r == 0)
        r = restore_check(w->work, w->reader, c, &t, &w->report->counts, err);
    if (r == 0)
        r = target_commit(&t, err);
    target_close(&t);
    return r < 0 ? r : catalog_open(w->staging, CATALOG_WRITE, &w->catalog, err);
}

static int store_rows(struct root_work *w, struct err *err)
{
    int r = catalog_begin(w->catalog, err);
    for (size_t i = 0; r == 0 && i < w->n_versions; i++)
        if (w->is_there[i])
            r = version_update(w->catalog, &w->versions[i], err);
    if (r == 0)
        r = catalog_commit(w->catalog, err);
    catalog_close(w->catalog); /* brings its log into the file */
    w->catalog = NULL;
    return r;
}

static int remove_staging(struct root_work *w, struct err *err)
{
    char path[PATH_MAX + 8];
    drop_staged(w);
    (void)snprintf(path, sizeof(path), "%s/set", w->staging); /* fits */
    if ((unlink(path) < 0 && errno != ENOENT) || (rmdir(w->staging) < 0 && errno != ENOENT))
        return err_sys(err, -errno, "the root is restored, but '%s' cannot be deleted", w->staging);
    return sync_folder(w->root, err);
}

/* The one moment in which the folder becomes a root. */
static int publish(struct root_work *w, struct err *err)
{
    char from[PATH_MAX + 16], to[PATH_MAX];
    struct stat st;
    (void)snprintf(from, sizeof(from), "%s/catalog.db-wal", w->staging); /* fits */
    if (lstat(from, &st) == 0 && st.st_size > 0)
        return err_set(err, -EIO, "the catalog's log '%s' could not be closed", from);
    (void)snprintf(from, sizeof(from), "%s/catalog.db", w->staging); /* fits */
    int r = root_path(w->root, "catalog.db", to, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0 || rename(from, to) < 0)
        return err_sys(err, -errno, "cannot put the catalog in place at '%s'", to);
    return sync_folder(w->root, err);
}

/* --- files ------------------------------------------------------------------------------------------------------- */

static void tell_missing(struct root_work *w, const char *sentence)
{
    w->report->missing++;
    work_warn(w->work, "%s", sentence);
}

static int restore_versions(struct root_work *w, struct err *err)
{
    int r = version_list(w->catalog, NULL, &w->versions, &w->n_versions, err);
    w->is_there = calloc(w->n_versions + 1, sizeof(*w->is_there));
    if (r == 0 && !w->is_there)
        r = err_sys(err, -ENOMEM, "cannot restore the images");
    for (size_t i = 0; r == 0 && i < w->n_versions; i++) {
        const struct version_row *v = &w->versions[i];
        const struct set_stream *st = root_stream(w, STREAM_BASE, v->image, v->number);
        if (!st) {
            struct err e;
            (void)err_set(&e, 0, "image '%s' version %u is not in the set; its file is expected at '%.500s'", v->image,
                          v->number, v->path);
            tell_missing(w, e.msg);
            continue;
        }
        r = root_restore_version(w, i, st, err);
        w->is_there[i] = r == 0;
        w->report->versions += r == 0;
    }
    return r;
}

static int restore_view(struct root_work *w, const struct view_row *view, struct err *err)
{
    const struct set_stream *st = root_stream(w, STREAM_OVERLAY, view->client, view->slot);
    size_t i = 0;
    struct err e;
    if (view->mode == OVERLAY_VOLATILE)
        return 0;
    while (i < w->n_versions && w->versions[i].id != view->version_id)
        i++;
    if (st && i < w->n_versions) {
        int r = root_restore_overlay(w, view, i, st, err);
        w->report->overlays += r == 0;
        return r;
    }
    (void)err_set(&e, 0, "what client '%s' kept in slot %u is not in the set: the disk begins fresh", view->client,
                  view->slot);
    tell_missing(w, e.msg);
    return 0;
}

static int restore_overlays(struct root_work *w, struct err *err)
{
    _cleanup_free_ struct view_row *views = NULL;
    size_t n = 0;
    int r = view_list(w->catalog, NULL, &views, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = restore_view(w, &views[i], err);
    return r;
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

static int restore_all(struct root_work *w, struct err *err)
{
    struct err ignored;
    int r = stage_catalog(w, err);
    if (r == 0 && setting_get(w->catalog, "gateway.address", w->report->address, &ignored) < 0)
        w->report->address[0] = 0;
    if (r == 0)
        r = restore_versions(w, err);
    if (r == 0)
        r = restore_overlays(w, err);
    if (r == 0)
        r = store_rows(w, err);
    if (r == 0)
        r = publish(w, err);
    return r;
}

static int find_set(struct root_work *w, struct err *err)
{
    int r = reader_open(w->p->repo, "restore", w->p->wait_ms, &w->reader, err);
    if (r == 0)
        r = set_find(reader_repo(w->reader), w->p->set, &w->set, err);
    if (r == 0)
        r = set_check_sums(reader_repo(w->reader), w->set.id, err);
    if (r == 0 && w->p->key_file)
        r = set_check_signature(reader_repo(w->reader), w->set.id, w->p->key_file, err);
    if (r == 0)
        reader_unlock(w->reader);
    return r;
}

/* The staging folder is a path of its own. */
static int name_places(struct root_work *w, struct err *err)
{
    int r = root_resolve(w->p->into, w->root, err);
    const char *repo = r == 0 ? repo_path(reader_repo(w->reader)) : "";
    size_t len = strlen(repo);
    if (r == 0 && strncmp(w->root, repo, len) == 0 && (w->root[len] == 0 || w->root[len] == '/'))
        r = err_set(err, -EINVAL, "'%s' lies inside of the repository; choose another place", w->root);
    return r < 0 ? r : root_path(w->root, STAGING, w->staging, err);
}

int restore_root(const struct work *work, const struct restore_root_params *p, struct restore_root_report *ret,
                 struct err *err)
{
    struct root_work w = {.work = work, .p = p, .report = ret, .lock_fd = -1};
    *ret = (struct restore_root_report){0};
    int r = find_set(&w, err);
    if (r == 0)
        r = name_places(&w, err);
    if (r == 0)
        r = prepare(&w, err);
    if (r == 0)
        r = restore_all(&w, err);
    if (r >= 0)
        r = remove_staging(&w, err);
    memcpy(ret->set, w.set.id, sizeof(ret->set));
    memcpy(ret->root, w.root, sizeof(ret->root));
    catalog_close(w.catalog);
    free(w.versions);
    free(w.is_there);
    closep(&w.lock_fd);
    set_info_finish(&w.set);
    reader_close(w.reader);
    return r;
}
