/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening the index: which packs there are, and a table that fits them, from the cache or made anew; see index.h. */
#include "backup/index-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"

/* Numbers of packs in trash/ and quarantine/ are taken as well: they may come back. */
static void skip_numbers_in(struct index *x, int parent, const char *name, int depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
    for (const struct dirent *e; d && (e = readdir(d));) {
        struct pack_id id;
        char stem[PACK_STEM_LEN + 1];
        (void)snprintf(stem, sizeof(stem), "%.*s", (int)PACK_STEM_LEN, e->d_name); /* the ending does not matter */
        if (pack_id_parse(stem, "", &id) == 0)
            x->next_number = MAX(x->next_number, id.number + 1);
        else if (depth > 0 && e->d_name[0] != '.')
            skip_numbers_in(x, dirfd(d), e->d_name, depth - 1);
    }
}

static void find_next_number(struct index *x)
{
    for (size_t i = 0; i < x->n_packs; i++)
        x->next_number = MAX(x->next_number, x->packs[i].number + 1);
    skip_numbers_in(x, repo_dirfd(x->repo), "packs", 1); /* .toc files of packs that are gone */
    skip_numbers_in(x, repo_dirfd(x->repo), "trash", 2);
    skip_numbers_in(x, repo_dirfd(x->repo), "quarantine", 1);
}

/* Packs that are gone must be told of whether or not the cache could be used. */
static int note_gone(struct index *x, struct err *err)
{
    _cleanup_free_ struct pack_id *gone = NULL;
    size_t n = 0;
    int r = index_orphans(x->repo, x->packs, x->n_packs, &gone, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        size_t len = strlen(x->problems);
        (void)snprintf(x->problems + len, sizeof(x->problems) - len,
                       "%spack %s: it is gone, only its table of contents is there", len ? "; " : "", gone[i].stem);
    }
    return r;
}

/* A format file with another number in it than the packs would make a mess of both. The first, the middle and the last pack are asked, and one
 * that agrees is enough: a foreign one may lie among them. */
static int check_format(const struct index *x, struct err *err)
{
    struct repo_format f;
    const struct repo_format *mine = repo_format(x->repo);
    const size_t which[] = {0, x->n_packs - 1, x->n_packs / 2};
    bool has_other = false;
    for (size_t i = 0; i < x->n_packs && i < ARRAY_SIZE(which); i++) {
        if (pack_head_read(x->repo, &x->packs[which[i]], &f) < 0)
            continue;
        if (strcmp(f.id, mine->id) == 0 && f.chunk_bytes == mine->chunk_bytes)
            return 0;
        has_other = true;
    }
    return has_other ? err_set(err, -EBADMSG,
                               "the file '%s/format' says something else than the packs; 'diskgate backup repair' "
                               "writes it again from them",
                               repo_path(x->repo))
                     : 0;
}

static int load(struct index *x, struct err *err)
{
    char stamp[HASH_HEX_LEN + 1];
    int r = index_stamp(x->repo, stamp, err);
    if (r == 0)
        r = pack_list(x->repo, &x->packs, &x->n_packs, err);
    if (r < 0)
        return r;
    x->packs_room = x->n_packs;
    r = check_format(x, err);
    if (r < 0)
        return r;
    find_next_number(x);
    if (cache_load(x, stamp) == 0)
        return note_gone(x, err);
    x->was_rebuilt = x->n_packs > 0;
    r = index_read_packs(x, err);
    if (r == 0 && x->problems[0] == 0 && repo_can_write(x->repo))
        r = index_stamp(x->repo, stamp, err); /* .toc files may have come back */
    if (r == 0)
        r = cache_make(x, stamp, err);
    x->is_spilled = false;
    return r;
}

int index_open(struct repo *r, struct index **ret, struct err *err)
{
    _cleanup_(index_closep) struct index *x = calloc(1, sizeof(*x));
    if (!x)
        return err_set(err, -ENOMEM, "memory is out");
    x->repo = r;
    x->next_number = 1;
    lock_init(&x->lock, LOCK_INDEX);
    int e = load(x, err);
    if (e == 0)
        *ret = take_ptr(x);
    return e;
}

void index_close(struct index *x)
{
    if (!x)
        return;
    table_finish(&x->table);
    entries_finish(&x->fresh);
    lock_finish(&x->lock);
    free(x->heads);
    free(x->next);
    free(x->packs);
    free(x);
}
