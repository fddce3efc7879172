/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Look for regular files of one size in folders; each file is reported once, however many names lead to it.
 *
 *   file_search_init(s)  ->  file_search_flat(), file_search_tree()  ->  file_search_finish(s)
 *
 * Symbolic links are not followed. ROOT/run of @skip_root is left out: the files in its mount are views, not images.
 *
 * Threads: one at a time per struct file_search.
 */
#ifndef DISKGATE_GATEWAY_FILE_SEARCH_H
#define DISKGATE_GATEWAY_FILE_SEARCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/err.h"

struct file_search {
    uint64_t size; /* st_size */
    /* Called with the absolute path. A negative return value ends the search of that folder. */
    int (*found)(void *arg, const char *path, const struct stat *st);
    void *arg;
    const char *skip_root;

    struct file_id *seen; /* private */
    size_t n_seen;
};

void file_search_init(struct file_search *s); /* the public members are set */
void file_search_finish(struct file_search *s);

/* The folder itself; what cannot be read is left out. */
void file_search_flat(struct file_search *s, const char *dir);
/* The folder and all below it. -ENOENT, -ENOTDIR, ... with a sentence when @dir itself cannot be read. */
int file_search_tree(struct file_search *s, const char *dir, struct err *err);

#endif
