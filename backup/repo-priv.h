/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files repo*.c share.
 *
 * Threads: see repo.h.
 */
#ifndef DISKGATE_BACKUP_REPO_PRIV_H
#define DISKGATE_BACKUP_REPO_PRIV_H

#include <limits.h>

#include "backup/repo.h"

struct repo {
    int dirfd, lockfd, readfd; /* locks: of writers; of readers, and of who excludes them */
    enum repo_mode mode;
    bool is_locked;
    struct repo_format format;
    char path[PATH_MAX];
};

/* The folders of a repository, ended by NULL. */
extern const char *const repo_folders[];

/* The format file's text into @ret (REPO_FORMAT_LEN bytes), and back. @what names it. -EBADMSG, -EOPNOTSUPP with a sentence. */
#define REPO_FORMAT_LEN 512
void repo_format_encode(const struct repo_format *f, char *ret);
int repo_format_decode(const char *text, size_t len, const char *what, struct repo_format *ret, struct err *err);

/* Write README.txt, restore.sh and what else init makes but the format file; folders that are missing are made. */
int repo_furnish(int dirfd, const struct repo_format *f, const char *path, struct err *err);

/* The texts (repository-readme.txt, restore.sh), made by meson. */
extern const char repo_readme_text[], repo_restore_text[];

#endif
