/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Look for regular files of one size; see file-search.h. Depth is bounded by PATH_MAX. */
#include "gateway/file-search.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "core/util.h"

struct file_id {
    dev_t dev;
    ino_t ino;
};

void file_search_init(struct file_search *s)
{
    s->seen = NULL;
    s->n_seen = 0;
}

void file_search_finish(struct file_search *s)
{
    free(s->seen);
    file_search_init(s);
}

/* True the first time that this file comes by. */
static bool is_new(struct file_search *s, const struct stat *st)
{
    for (size_t i = 0; i < s->n_seen; i++)
        if (s->seen[i].dev == st->st_dev && s->seen[i].ino == st->st_ino)
            return false;
    struct file_id *more = realloc(s->seen, (s->n_seen + 1) * sizeof(*more));
    if (!more)
        return false;
    s->seen = more;
    s->seen[s->n_seen++] = (struct file_id){st->st_dev, st->st_ino};
    return true;
}

static bool is_skipped(const struct file_search *s, const char *path)
{
    size_t len = strlen(s->skip_root);
    return strncmp(path, s->skip_root, len) == 0 && strcmp(path + len, "/run") == 0;
}

static void visit_dir(struct file_search *s, const char *dir, bool is_deep);

static void visit(struct file_search *s, int dirfd, const char *dir, const char *name, bool is_deep)
{
    char path[PATH_MAX];
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (snprintf(path, sizeof(path), "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, name) >= (int)sizeof(path))
        return;
    if (S_ISDIR(st.st_mode) && is_deep && !is_skipped(s, path))
        visit_dir(s, path, true);
    else if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == s->size && is_new(s, &st))
        (void)s->found(s->arg, path, &st); /* one bad file ends no search */
}

static void visit_dir(struct file_search *s, const char *dir, bool is_deep)
{
    _cleanup_closedir_ DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            visit(s, dirfd(d), dir, e->d_name, is_deep);
}

void file_search_flat(struct file_search *s, const char *dir)
{
    visit_dir(s, dir, false);
}

int file_search_tree(struct file_search *s, const char *dir, struct err *err)
{
    char path[PATH_MAX];
    _cleanup_closedir_ DIR *d = opendir(dir);
    if (!d || !realpath(dir, path))
        return err_sys(err, -errno, "cannot search the folder '%s'", dir);
    visit_dir(s, path, true);
    return 0;
}
