/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names and heads of packs, tables of contents, the list of what there is; see pack.h. */
#include "backup/pack-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backup/repo-priv.h"
#include "core/bytes.h"
#include "core/util.h"

/* --- names --------------------------------------------------------------------------------------------------------- */

void pack_path(const struct pack_id *id, const char *ending, char *ret)
{
    (void)snprintf(ret, 64, "packs/%02u/%s%s", id->number / 256, id->stem, ending); /* at most 50 */
}

int pack_id_parse(const char *name, const char *ending, struct pack_id *ret)
{
    uint32_t number = 0;
    if (strlen(name) < PACK_STEM_LEN || strcmp(name + PACK_STEM_LEN, ending) != 0 || name[6] != '-')
        return -EINVAL;
    for (int i = 0; i < 6; i++) {
        if (name[i] < '0' || name[i] > '9')
            return -EINVAL;
        number = number * 10 + (uint32_t)(name[i] - '0');
    }
    unsigned char rest[8];
    if (hex_parse(name + 7, 16, rest, sizeof(rest)) < 0)
        return -EINVAL;
    ret->number = number;
    memcpy(ret->stem, name, PACK_STEM_LEN);
    ret->stem[PACK_STEM_LEN] = 0;
    return 0;
}

/* --- the head ------------------------------------------------------------------------------------------------------ */

void pack_head_encode(const struct repo_format *f, const struct pack_id *id, unsigned char *ret)
{
    char text[REPO_FORMAT_LEN];
    memset(ret, '\n', PACK_HEAD_BYTES);
    put_u32(ret, SKIPPABLE_HEAD_MAGIC);
    put_u32(ret + 4, PACK_HEAD_BYTES - 8);
    int n = snprintf((char *)ret + 8, PACK_HEAD_BYTES - 8, "diskgate-pack 1\npack %s\n", id->stem); /* 41 bytes */
    repo_format_encode(f, text);
    size_t room = PACK_HEAD_BYTES - 8 - (size_t)n;
    memcpy(ret + 8 + n, text, MIN(strlen(text), room)); /* about 150 bytes */
}

int pack_head_decode(const unsigned char *bytes, size_t len, struct repo_format *ret_format, struct pack_id *ret_id,
                     struct err *err)
{
    struct field line, word;
    char stem[PACK_STEM_LEN + 1];
    if (len < PACK_HEAD_BYTES || get_u32(bytes) != SKIPPABLE_HEAD_MAGIC || get_u32(bytes + 4) != PACK_HEAD_BYTES - 8)
        return err_set(err, -EBADMSG, "it does not begin as a pack");
    struct text t = {(const char *)bytes + 8, (const char *)bytes + PACK_HEAD_BYTES, 0};
    while (t.end > t.p && t.end[-1] == '\n')
        t.end--; /* filled up with them */
    if (!text_next(&t, &line) || text_check_first(line, "diskgate-pack", "the head of the pack", err) < 0)
        return -EBADMSG;
    if (!text_next(&t, &line) || !field_take(&line, &word) || !field_is(word, "pack") ||
        !field_text(line, stem, sizeof(stem)) || pack_id_parse(stem, "", ret_id) < 0)
        return err_set(err, -EBADMSG, "the head of the pack is damaged");
    return repo_format_decode(t.p, (size_t)(t.end - t.p), "the head of the pack", ret_format, err);
}

/* --- tables of contents -------------------------------------------------------------------------------------------- */

int toc_begin(struct toc_out *t, const char *repo_id, const struct pack_id *id)
{
    int r = text_out_init(&t->text);
    if (r == 0)
        (void)fprintf(t->text.f, "diskgate-toc 1\nrepo %s\npack %s\n", repo_id, id->stem); /* found by text_seal() */
    return r;
}

void toc_line(struct toc_out *t, const struct pack_entry *e)
{
    char name[CHUNK_NAME_LEN + 1], sha256[SHA256_HEX_LEN + 1];
    (void)chunk_name_text(&e->ref.name, name);
    hex_text(e->ref.sha256, sizeof(e->ref.sha256), sha256);
    (void)fprintf(t->text.f, "%s %s %" PRIu64 " %" PRIu32 " %" PRIu32 "\n", name, sha256, e->off, e->clen,
                  e->ref.len); /* likewise */
}

static bool take_key(struct text *t, const char *key, struct field *ret)
{
    struct field word;
    return text_next(t, ret) && field_take(ret, &word) && field_is(word, key);
}

static bool take_entry(struct field line, uint64_t pack_bytes, struct pack_entry *ret)
{
    struct field f;
    uint64_t clen, len;
    if (!field_take(&line, &f) || chunk_name_parse(f.p, f.len, &ret->ref.name) < 0 || !field_take(&line, &f) ||
        hex_parse(f.p, f.len, ret->ref.sha256, sizeof(ret->ref.sha256)) < 0)
        return false;
    if (!field_take(&line, &f) || !field_number(f, UINT64_MAX, &ret->off) || !field_take(&line, &f) ||
        !field_number(f, UINT32_MAX, &clen) || !field_number(line, CHUNK_BYTES_MAX, &len))
        return false;
    ret->clen = (uint32_t)clen;
    ret->ref.len = (uint32_t)len;
    return len > 0 && clen > 0 && clen <= ZSTD_compressBound(CHUNK_BYTES_MAX) && range_ok(ret->off, clen, pack_bytes);
}

int toc_decode(const char *text, size_t len, uint64_t pack_bytes, const char *repo_id, struct pack_id *ret_id,
               pack_entry_fn *fn, void *arg, struct err *err)
{
    const char *what = "the table of contents";
    char stem[PACK_STEM_LEN + 1];
    struct field f;
    struct text t;
    int r = text_open(text, len, "diskgate-toc", what, &t, err);
    if (r < 0)
        return r;
    if (!take_key(&t, "repo", &f) || !field_is(f, repo_id))
        return err_set(err, -EBADMSG, "%s is of another repository", what);
    if (!take_key(&t, "pack", &f) || !field_text(f, stem, sizeof(stem)) || pack_id_parse(stem, "", ret_id) < 0)
        return text_bad(&t, what, "no name of a pack", err);
    for (size_t n = 0; r == 0 && text_next(&t, &f); n++) {
        struct pack_entry e;
        if (n >= PACK_CHUNKS_MAX || !take_entry(f, pack_bytes, &e))
            return text_bad(&t, what, "no entry that can be", err);
        r = fn(arg, &e);
    }
    return r < 0 && r != -EBADMSG ? err_sys(err, r, "cannot keep %s", what) : r;
}

/* --- the list ------------------------------------------------------------------------------------------------------ */

struct list {
    struct pack_id *id;
    size_t n, room;
};

static int list_add(struct list *l, const struct pack_id *id)
{
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 64;
        struct pack_id *more = reallocarray(l->id, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        l->id = more;
        l->room = room;
    }
    l->id[l->n++] = *id;
    return 0;
}

static int list_folder(int dirfd, const char *name, const char *ending, struct list *l)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), r = 0;
    _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct pack_id id;
    char path[64];
    if (!d)
        return -errno;
    errno = 0;
    for (const struct dirent *e; r == 0 && (e = readdir(d)); errno = 0) {
        if (pack_id_parse(e->d_name, ending, &id) < 0)
            continue;
        pack_path(&id, "", path); /* in a folder where nobody would look for it, it does not count */
        if (strncmp(path + 6, name, strlen(name)) == 0 && path[6 + strlen(name)] == '/')
            r = list_add(l, &id);
    }
    return r ? r : -errno;
}

static int compare_ids(const void *a, const void *b)
{
    const struct pack_id *x = a, *y = b;
    int r = (x->number > y->number) - (x->number < y->number);
    return r ? r : strcmp(x->stem, y->stem);
}

static bool is_folder_name(const char *name)
{
    size_t n = strspn(name, "0123456789");
    return n >= 2 && n <= 4 && !name[n];
}

int pack_list(struct repo *r, struct pack_id **ret, size_t *ret_n, struct err *err)
{
    return pack_list_files(r, ".tar.zst", ret, ret_n, err);
}

int pack_list_files(struct repo *r, const char *ending, struct pack_id **ret, size_t *ret_n, struct err *err)
{
    int fd = openat(r->dirfd, "packs", O_RDONLY | O_DIRECTORY | O_CLOEXEC), e = 0;
    _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct list l = {0};
    if (!d)
        return err_sys(err, errno == ENOENT ? -EBADMSG : -errno, "cannot list the folder '%s/packs'", r->path);
    errno = 0;
    for (const struct dirent *n; e == 0 && (n = readdir(d)); errno = 0)
        if (is_folder_name(n->d_name))
            e = list_folder(dirfd(d), n->d_name, ending, &l);
    if (e == 0)
        e = -errno;
    if (e < 0) {
        free(l.id);
        return err_sys(err, e, "cannot list the folder '%s/packs'", r->path);
    }
    if (l.n)
        qsort(l.id, l.n, sizeof(*l.id), compare_ids);
    *ret = l.id;
    *ret_n = l.n;
    return 0;
}
