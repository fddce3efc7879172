/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Repair; see mend.h. The format file comes from the head of a pack: all packs must agree on it. */
#include "backup/mend.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backup/index.h"
#include "backup/pack-priv.h"
#include "backup/repo-priv.h"
#include "core/util.h"

static void say(json_t *done, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(json_t *done, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* a cut sentence is still a sentence */
    va_end(ap);
    (void)json_array_append_new(done, json_string(text)); /* missing without memory */
}

/* --- the format file ----------------------------------------------------------------------------------------------- */

static bool same_format(const struct repo_format *a, const struct repo_format *b)
{
    return strcmp(a->id, b->id) == 0 && a->chunk_bytes == b->chunk_bytes && a->pack_bytes == b->pack_bytes;
}

static int find_format(struct repo *r, struct repo_format *ret, struct err *err)
{
    _cleanup_free_ struct pack_id *packs = NULL;
    size_t n, found = 0;
    int e = pack_list(r, &packs, &n, err);
    if (e < 0)
        return e == -EBADMSG ? err_set(err, -ENOMEDIUM, "'%s' is no backup repository: it has no packs", r->path) : e;
    for (size_t i = 0; i < n; i++) {
        struct repo_format f;
        if (pack_head_read(r, &packs[i], &f) < 0)
            continue;
        if (found++ && !same_format(ret, &f))
            return err_set(err, -EBADMSG,
                           "packs of different repositories lie in '%s': %s is not of the same as the others", r->path,
                           packs[i].stem);
        *ret = f;
    }
    return found ? 0
                 : err_set(err, -EBADMSG, "no pack in '%s' can be read, so nobody knows what the format file said",
                           r->path);
}

/* It can be read, and all packs say something else. */
static bool is_of_other_packs(struct repo *r)
{
    struct repo_format f = {0};
    struct err ignored;
    return find_format(r, &f, &ignored) == 0 && !same_format(&f, &r->format);
}

static int mend_format(const char *path, bool is_dry, json_t *done, struct err *err)
{
    _cleanup_close_ int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct repo r = {.dirfd = dirfd, .lockfd = -1, .readfd = -1, .mode = REPO_WRITE};
    struct repo_format f = {0};
    char text[REPO_FORMAT_LEN];
    if (r.dirfd < 0)
        return err_set(err, -ENOMEDIUM, "there is no repository '%s'", path);
    (void)snprintf(r.path, sizeof(r.path), "%s", path);
    int e = find_format(&r, &f, err);
    if (e < 0)
        return e;
    say(done, "the file 'format' is written again: repository %s, chunks of %" PRIu32 " bytes", f.id, f.chunk_bytes);
    if (is_dry)
        return 0;
    repo_format_encode(&f, text);
    e = file_replace(r.dirfd, "format", text, strlen(text), 0600);
    return e < 0 ? err_sys(err, e, "cannot write '%s/format'", path) : 0;
}

/* --- the rest ------------------------------------------------------------------------------------------------------ */

static int ignore_entry(void *arg, const struct pack_entry *e)
{
    (void)arg;
    (void)e;
    return 0;
}

static int mend_tocs(struct repo *r, bool is_dry, json_t *done, struct err *err)
{
    _cleanup_free_ struct pack_id *packs = NULL;
    struct err why;
    size_t n;
    int how, e = pack_list(r, &packs, &n, err);
    for (size_t i = 0; e == 0 && i < n; i++) {
        int p = pack_entries(r, &packs[i], ignore_entry, NULL, &how, &why);
        if (p < 0)
            say(done, "pack %s cannot be read: %s", packs[i].stem, why.msg);
        else if (how == PACK_FROM_SCAN)
            say(done,
                "pack %s is damaged: the chunks that can be read were found one by one; 'verify --data' has the rest",
                packs[i].stem);
        else if (how != PACK_FROM_TOC_FILE)
            say(done, "the table of contents of pack %s is written again", packs[i].stem);
        if (p == 0 && how != PACK_FROM_TOC_FILE && !is_dry)
            e = pack_toc_restore(r, &packs[i], err);
    }
    return e;
}

static bool is_missing(const struct repo *r, const char *name)
{
    return faccessat(r->dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
}

static int mend_open(struct repo *r, bool is_dry, json_t *done, struct err *err)
{
    struct index *x = NULL;
    if (is_missing(r, "README.txt") || is_missing(r, "restore.sh"))
        say(done, "README.txt and restore.sh are written again");
    int e = is_dry ? 0 : repo_furnish(r->dirfd, &r->format, r->path, err);
    if (e == 0)
        e = mend_tocs(r, is_dry, done, err);
    if (e == 0)
        e = index_open(r, &x, err);
    if (e == 0 && index_was_rebuilt(x))
        say(done, "the index is made anew");
    if (e == 0 && *index_problems(x))
        say(done, "%s", index_problems(x));
    index_close(x);
    if (e == 0 && !is_dry)
        (void)repo_reserve_take(r); /* where there is no room, there is none */
    return e;
}

int mend_run(const char *path, bool is_dry, json_t *done, struct err *err)
{
    _cleanup_(repo_closep) struct repo *r = NULL;
    enum repo_mode mode = is_dry ? REPO_READ : REPO_WRITE;
    int e = repo_open(path, mode, 0, "repair", &r, err);
    if (e == 0 && is_of_other_packs(r)) {
        repo_close(take_ptr(r));
        e = -EBADMSG;
    }
    if (e == -EBADMSG) {
        e = mend_format(path, is_dry, done, err);
        if (e == 0 && is_dry)
            return 0;
        if (e == 0)
            e = repo_open(path, mode, 0, "repair", &r, err);
    }
    return e < 0 ? e : mend_open(r, is_dry, done, err);
}
