/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of a backup repository's files: any bytes are refused with a sentence or give values that can be.
 *
 * First byte: which file (low three bits: table of contents, head of a pack, manifest, set.txt, marks.txt, format, SHA256SUMS, a
 * manifest with its compression); 8: the last line with the check sum is put right.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <zstd.h>

#include "backup/marks.h"
#include "backup/pack.h"
#include "backup/repo-priv.h"
#include "backup/set-priv.h"
#include "backup/text.h"

#define TEXT_MAX 8192U
static const char repo_id[] = "2f1c0000-0000-4000-8000-000000000001";

/* 0, or one of the refusals, with a sentence. */
static void must_be_clear(int r, const struct err *err)
{
    must(r >= 0 || ((r == -EBADMSG || r == -EOPNOTSUPP) && err->msg[0]));
}

static size_t seal(const uint8_t *p, size_t n, bool is_fixed, char *ret)
{
    struct text_out o;
    must(text_out_init(&o) == 0);
    (void)fwrite(p, 1, n, o.f); /* memory only */
    must((is_fixed ? text_seal(&o) : text_out_flush(&o)) == 0 && o.len <= TEXT_MAX);
    memcpy(ret, o.buf, o.len);
    size_t len = o.len;
    text_out_finish(&o);
    return len;
}

static int check_entry(void *arg, const struct pack_entry *e)
{
    char name[CHUNK_NAME_LEN + 1];
    struct chunk_name again;
    (void)arg;
    must(e->clen > 0 && e->ref.len > 0 && range_ok(e->off, e->clen, 1 << 20));
    must(chunk_name_parse(name, chunk_name_text(&e->ref.name, name), &again) == 0 &&
         chunk_name_equal(&again, &e->ref.name));
    return 0;
}

static void check_manifest(const void *p, size_t n)
{
    struct manifest_map *m;
    struct err err = {""};
    struct chunk_name name;
    uint64_t count;
    int fd = new_memfd();
    must(pwrite_full(fd, p, n, 0) == 0);
    int r = manifest_map_load(fd, "manifest", &m, &err);
    must_be_clear(r, &err);
    if (r < 0)
        return;
    const struct manifest_head *h = manifest_map_head(m);
    uint64_t chunks = (h->size_bytes + h->chunk_bytes - 1) / h->chunk_bytes, seen = 0, at = 0;
    for (unsigned i = 0; at < chunks && i < 2 * TEXT_MAX; i++, at += count) {
        int kind = manifest_map_find(m, at, &name, &count);
        must(count > 0 && range_ok(at, count, chunks));
        seen += kind == MANIFEST_CHUNK;
    }
    must(at == chunks && seen == manifest_map_tail(m)->chunks);
    manifest_map_destroy(m);
}

static void check_compressed(const char *text, size_t len)
{
    static char frame[2 * TEXT_MAX];
    size_t n = ZSTD_compress(frame, sizeof(frame), text, len, 1);
    must(!ZSTD_isError(n));
    check_manifest(frame, n);
}

static void check_set(const char *text, size_t len)
{
    struct set_info s = {0};
    struct err err = {""};
    char *again;
    size_t n;
    int r = set_text_decode(text, len, "set.txt", repo_id, &s, &err);
    must_be_clear(r, &err);
    if (r == 0) {
        must(set_text_encode(&s, repo_id, &again, &n) == 0);
        free(again);
    }
    set_info_finish(&s);
}

static void check_marks(const char *text, size_t len)
{
    struct marks m = {0};
    struct err err = {""};
    must_be_clear(marks_decode(text, len, repo_id, &m, &err), &err);
    marks_finish(&m);
}

static void check_sums(const char *text, size_t len)
{
    struct sums s = {0};
    struct err err = {""};
    int r = sums_decode(text, len, "SHA256SUMS", &s, &err);
    must_be_clear(r, &err);
    for (size_t i = 0; r == 0 && i < s.n; i++)
        must(s.rows[i].name[0] != '.' && !strchr(s.rows[i].name, '/'));
    if (r == 0)
        sums_finish(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static char text[TEXT_MAX];
    struct repo_format format;
    struct pack_id id;
    struct err err = {""};
    struct input in = {data, len};
    unsigned flags = input_byte(&in);
    size_t n = seal(in.p, MIN(in.left, (size_t)TEXT_MAX / 2), flags & 8, text);
    switch (flags & 7) {
    case 0:
        must_be_clear(toc_decode(text, n, 1 << 20, repo_id, &id, check_entry, NULL, &err), &err);
        break;
    case 1:
        must_be_clear(pack_head_decode((unsigned char *)text, n, &format, &id, &err), &err);
        break;
    case 2:
        check_compressed(text, n);
        break;
    case 3:
        check_set(text, n);
        break;
    case 4:
        check_marks(text, n);
        break;
    case 5:
        must_be_clear(repo_format_decode(text, n, "format", &format, &err), &err);
        break;
    case 6:
        check_sums(text, n);
        break;
    default:
        check_manifest(in.p, in.left);
        break;
    }
    return 0;
}
