/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of chunks that cannot be read; see badlist.h. */
#include "backup/badlist.h"

#include <errno.h>
#include <string.h>

#include "backup/text.h"
#include "core/util.h"

#define BAD_TEXT_MAX (64ULL << 20)

static int compare_rows(const void *a, const void *b)
{
    const struct bad_chunk *x = a, *y = b;
    int r = chunk_name_compare(&x->name, &y->name);
    return r ? r : strcmp(x->pack.stem, y->pack.stem);
}

/* In order, each once: thousands of them are looked for millions of times. */
static void put_in_order(struct badlist *b)
{
    size_t kept = 0;
    if (b->n > 0)
        qsort(b->rows, b->n, sizeof(*b->rows), compare_rows);
    for (size_t i = 0; i < b->n; i++)
        if (kept == 0 || compare_rows(&b->rows[kept - 1], &b->rows[i]) != 0)
            b->rows[kept++] = b->rows[i];
    b->n = kept;
}

bool badlist_has(const struct badlist *b, const struct chunk_name *name, const char *stem)
{
    struct bad_chunk key = {.name = *name};
    if (b->n == 0 || strlen(stem) >= sizeof(key.pack.stem))
        return false;
    memcpy(key.pack.stem, stem, strlen(stem) + 1);
    return bsearch(&key, b->rows, b->n, sizeof(key), compare_rows) != NULL;
}

int badlist_add(struct badlist *b, const struct chunk_name *name, const struct pack_id *pack)
{
    if (b->n == b->room) {
        size_t room = 2 * b->room + 16;
        struct bad_chunk *more = reallocarray(b->rows, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        b->rows = more;
        b->room = room;
    }
    b->rows[b->n++] = (struct bad_chunk){*name, *pack};
    return 0;
}

void badlist_keep(struct badlist *b, const struct pack_id *packs, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->n; i++)
        for (size_t k = 0; k < n; k++)
            if (strcmp(b->rows[i].pack.stem, packs[k].stem) == 0) {
                b->rows[kept++] = b->rows[i];
                break;
            }
    b->n = kept;
}

void badlist_finish(struct badlist *b)
{
    free(b->rows);
    *b = (struct badlist){0};
}

static int take_row(struct badlist *b, struct field line)
{
    struct chunk_name name;
    struct pack_id pack;
    struct field f;
    char stem[PACK_STEM_LEN + 1];
    if (!field_take(&line, &f) || chunk_name_parse(f.p, f.len, &name) < 0 || !field_text(line, stem, sizeof(stem)) ||
        pack_id_parse(stem, "", &pack) < 0)
        return -EBADMSG;
    return badlist_add(b, &name, &pack);
}

static int decode(struct badlist *b, const char *text, size_t len)
{
    struct text t;
    struct field line;
    int r = text_open(text, len, "diskgate-bad", "bad.txt", &t, NULL);
    if (r == 0 && !text_next(&t, &line)) /* the repository's id, for people */
        r = -EBADMSG;
    while (r == 0 && text_next(&t, &line))
        r = take_row(b, line);
    return r;
}

int badlist_load(struct repo *r, struct badlist *ret, struct err *err)
{
    struct badlist b = {0};
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    int e = file_read(repo_dirfd(r), "bad.txt", BAD_TEXT_MAX, &text, &len);
    if (e == 0)
        e = decode(&b, text, len);
    if (e == -ENOENT || e == -EBADMSG || e == -EOPNOTSUPP || e == -EFBIG) {
        badlist_finish(&b);
        e = 0;
    }
    put_in_order(&b);
    hash_buf(text ? text : "", len, b.stamp);
    if (e < 0) {
        badlist_finish(&b);
        return err_sys(err, e, "cannot read '%s/bad.txt'", repo_path(r));
    }
    *ret = b;
    return 0;
}

int badlist_store(struct repo *r, struct badlist *b, struct err *err)
{
    struct text_out o;
    char name[CHUNK_NAME_LEN + 1];
    put_in_order(b);
    int e = text_out_init(&o);
    if (e == 0)
        (void)fprintf(o.f, "diskgate-bad 1\nrepo %s\n", repo_format(r)->id); /* memory only, as below */
    for (size_t i = 0; e == 0 && i < b->n; i++) {
        (void)chunk_name_text(&b->rows[i].name, name);
        (void)fprintf(o.f, "%s %s\n", name, b->rows[i].pack.stem);
    }
    if (e == 0)
        e = text_seal(&o);
    e = e < 0 ? err_set(err, e, "memory is out") : repo_file_put(r, "bad.txt", o.buf, o.len, err);
    text_out_finish(&o);
    return e;
}
