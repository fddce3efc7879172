/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of backup/ share: a small repository in a temp folder, disks made of numbered chunks, sets of them, and their way back.
 *
 * Threads: none.
 */
#ifndef DISKGATE_TESTS_BACKUP_FIXTURE_H
#define DISKGATE_TESTS_BACKUP_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backup/gc.h"
#include "backup/prune.h"
#include "core/util.h"

#define CHUNK 65536U

#define ok(call)                                                                                                       \
    do {                                                                                                               \
        int ok_result = (call);                                                                                        \
        if (ok_result < 0)                                                                                             \
            fail_msg("%s: %d: %s", #call, ok_result, err.msg);                                                         \
    } while (0)

/* A disk: what each chunk holds. 0 = zeros, else noise made from the number. */
struct disk {
    uint64_t size;
    unsigned seed[64];
};

static inline uint64_t disk_chunks(const struct disk *d)
{
    return (d->size + CHUNK - 1) / CHUNK;
}

static inline size_t disk_chunk(const struct disk *d, uint64_t n, unsigned char *buf)
{
    size_t len = (size_t)MIN((uint64_t)CHUNK, d->size - n * CHUNK);
    uint64_t x = d->seed[n] * 0x9e3779b97f4a7c15ULL;
    memset(buf, 0, CHUNK);
    for (size_t i = 0; d->seed[n] && i < len; i += 16) { /* half of it can be compressed */
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(buf + i, &x, MIN((size_t)8, len - i));
    }
    return len;
}

static inline char *test_folder(void)
{
    char path[] = "/tmp/diskgate-backup-XXXXXX";
    char *p = strdup(mkdtemp(path));
    assert_non_null(p);
    return p;
}

static inline void remove_folder(char *path)
{
    char command[PATH_MAX + 32];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
    free(path);
}

static inline char *new_repo(void)
{
    struct err err;
    char *path = test_folder();
    struct repo_params params = {.chunk_bytes = CHUNK, .pack_bytes = REPO_PACK_BYTES_MIN, .has_no_reserve = true};
    ok(repo_init(path, &params, &err));
    return path;
}

static inline struct repo *open_repo(const char *path, enum repo_mode mode)
{
    struct repo *r = NULL;
    struct err err;
    ok(repo_open(path, mode, 0, "test", &r, &err));
    return r;
}

/* Put disk @d into @w as @id over @below (NULL = none; then a chunk with seed UINT_MAX is inherited). A negative errno and *err. */
static inline int put_disk(struct store *s, struct set_writer *w, const struct disk *d, const struct stream_id *id,
                           const struct stream_id *below, struct err *err)
{
    static unsigned char buf[CHUNK];
    struct manifest_head head = {.id = *id, .size_bytes = d->size, .has_backing = below != NULL};
    struct manifest_writer *m;
    struct store_worker *worker = store_worker_create(s);
    if (below)
        head.backing = *below;
    (void)snprintf(head.source, sizeof(head.source), "scan");
    int r = set_manifest_begin(w, &head, &m, err);
    bool is_open = r == 0;
    for (uint64_t n = 0; r >= 0 && n < disk_chunks(d); n++) {
        struct chunk_ref ref;
        if (below && d->seed[n] == UINT_MAX) {
            r = manifest_inherit(m, n, 1, err);
            continue;
        }
        size_t len = disk_chunk(d, n, buf);
        r = store_put(worker, buf, len, &ref, err);
        if (r > STORE_ZERO)
            r = manifest_add(m, n, &ref, err);
    }
    store_worker_destroy(worker);
    if (!is_open)
        return r;
    int e = set_manifest_end(w, m, NULL, NULL, err); /* in any case: the writer is gone then */
    return r < 0 ? r : e;
}

/* One set of one image: @d as NAME@1. Its id into @ret_id. 0 or a negative errno. */
static inline int try_backup(struct repo *r, const char *name, const struct disk *d, int64_t now_s, char *ret_id,
                             struct err *err)
{
    struct store *s = NULL;
    struct set_writer *w = NULL;
    struct set_params params = {.now_s = now_s, .host = "test"};
    struct stream_id id = {.kind = STREAM_BASE, .number = 1};
    (void)snprintf(id.name, sizeof(id.name), "%s", name);
    int e = store_open(r, 0, &s, err);
    if (e == 0)
        e = set_begin(s, &params, &w, NULL, err);
    if (e == 0)
        e = put_disk(s, w, d, &id, NULL, err);
    if (e >= 0)
        e = set_commit(w, err);
    if (e == 0 && ret_id)
        (void)snprintf(ret_id, SET_ID_LEN + 1, "%s", set_writer_id(w));
    set_abort(w);
    store_close(s);
    return e;
}

static inline void backup(const char *path, const char *name, const struct disk *d, int64_t now_s, char *ret_id)
{
    struct err err = {""};
    struct repo *r = open_repo(path, REPO_WRITE);
    ok(try_backup(r, name, d, now_s, ret_id, &err));
    repo_close(r);
}

/* Restore @id of set @s into memory by the store. 0 or a negative errno; the tree is checked. @ret: d.size bytes, calloc'd by us. */
static inline int restore(struct store *store, const struct set_info *s, const struct stream_id *id,
                          unsigned char **ret, uint64_t *ret_size, struct err *err)
{
    struct manifest_reader *m = NULL;
    struct manifest_line line;
    unsigned char tree[32];
    int kind, r = set_manifest_open(store_repo(store), s, id, &m, err);
    if (r < 0)
        return r;
    const struct manifest_head *h = manifest_head(m);
    struct store_worker *w = store_worker_create(store);
    struct manifest_tree *t = manifest_tree_create();
    uint64_t room = round_up(h->size_bytes, CHUNK), have = 0;
    *ret = NULL;
    if (h->has_backing)
        r = restore(store, s, &h->backing, ret, &have, err);
    *ret = realloc(*ret, room);
    unsigned char *below = malloc(room);
    assert_true(*ret && below && w && t);
    memset(below, 0, room);
    memcpy(below, *ret, have);
    memset(*ret, 0, room);
    while (r == 0 && (kind = manifest_next(m, &line, err)) != MANIFEST_END) {
        struct chunk_ref ref;
        if (kind < 0) {
            r = kind;
        } else if (kind == MANIFEST_CHUNK) {
            r = store_get(w, &line.name, *ret + line.n * CHUNK, &ref, err);
            if (r == 0)
                (void)manifest_tree_chunk(t, line.n, ref.sha256);
        } else {
            memcpy(*ret + line.n * CHUNK, below + line.n * CHUNK, line.count * CHUNK);
            (void)manifest_tree_inherit(t, line.n, line.count);
        }
    }
    (void)manifest_tree_finish(t, tree);
    if (r == 0 && memcmp(tree, manifest_tail(m)->tree_sha256, 32) != 0)
        r = err_set(err, -EBADMSG, "the tree differs");
    *ret_size = h->size_bytes;
    free(below);
    manifest_tree_destroy(t);
    store_worker_destroy(w);
    manifest_close(m);
    return r;
}

static inline bool is_disk(const unsigned char *bytes, uint64_t size, const struct disk *d)
{
    static unsigned char buf[CHUNK];
    if (size != d->size)
        return false;
    for (uint64_t n = 0; n < disk_chunks(d); n++) {
        size_t len = disk_chunk(d, n, buf);
        if (memcmp(bytes + n * CHUNK, buf, len) != 0)
            return false;
    }
    return true;
}

/* The set @text gives @d back as NAME@1. */
static inline int check_disk(struct repo *r, const char *text, const char *name, const struct disk *d, struct err *err)
{
    struct store *store = NULL;
    struct set_info s = {0};
    struct stream_id id = {.kind = STREAM_BASE, .number = 1};
    unsigned char *bytes = NULL;
    uint64_t size = 0;
    (void)snprintf(id.name, sizeof(id.name), "%s", name);
    int e = store_open(r, 0, &store, err);
    if (e == 0)
        e = set_find(r, text, &s, err);
    if (e == 0)
        e = set_check_sums(r, s.id, err);
    if (e == 0)
        e = restore(store, &s, &id, &bytes, &size, err);
    if (e == 0 && !is_disk(bytes, size, d))
        e = err_set(err, -EUCLEAN, "the disk differs");
    free(bytes);
    set_info_finish(&s);
    store_close(store);
    return e;
}

static inline void expect_disk(const char *path, const char *text, const char *name, const struct disk *d)
{
    struct err err = {""};
    struct repo *r = open_repo(path, REPO_READ);
    ok(check_disk(r, text, name, d, &err));
    repo_close(r);
}

static inline int shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Exit status of a command of sh. */
static inline int shell(const char *fmt, ...)
{
    char command[4 * PATH_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
