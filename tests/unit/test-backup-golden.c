/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/data/backup-v1: a repository as the first release wrote it. Every later version must restore it, and so must restore.sh and the tools
 * that it uses; docs/backup-format.md, reader and writer are held together by it.
 *
 *   test-backup-golden --make FOLDER     writes such a repository (a new one only for a new version of the format)
 *
 * In it: an image with zeros, a chunk that is there twice, two chunks with one XXH3-128 (NAME and NAME.1), a last chunk that is shorter; an
 * overlay that changes one chunk and has zeros where the image has none; the catalog; a small file.
 */
#include "tests/unit/backup-fixture.h"

#include "backup/badlist.h"

#define IMAGE_CHUNKS 8U
#define IMAGE_BYTES  (7ULL * CHUNK + 4608)

static const struct stream_id image_id = {.kind = STREAM_BASE, .name = "win11", .number = 1};
static const struct stream_id client_id = {.kind = STREAM_OVERLAY, .name = "pc01", .number = 0};
static const struct stream_id catalog_id = {.kind = STREAM_CATALOG};

/* --- what is in it ----------------------------------------------------------------------------------------------------- */

static void text_chunk(unsigned char *buf, unsigned n)
{
    for (size_t i = 0; i < CHUNK; i += 16) {
        char line[40];
        (void)snprintf(line, sizeof(line), "%07u %07zu\n", n, i);
        memcpy(buf + i, line, 16);
    }
}

/* The two chunks with one XXH3-128; see test-backup-store.c. */
static void twin_chunk(unsigned char *buf, bool is_second)
{
    static const unsigned char low[2][4] = {{0xb8, 0xfe, 0x6c, 0x39}, {0x7c, 0x01, 0x81, 0x2c}};
    text_chunk(buf, 77);
    memcpy(buf + 32768, low[0], 4);
    memcpy(buf + 32768 + 64, low[1], 4);
    buf[32768 + 4] = is_second ? 0x20 : 0x10;
    buf[32768 + 68] = is_second ? 0x30 : 0x40;
}

static void image_chunk(unsigned char *buf, uint64_t n)
{
    memset(buf, 0, CHUNK);
    if (n == 2 || n == 3)
        twin_chunk(buf, n == 3);
    else if (n != 1)
        text_chunk(buf, n == 5 ? 0 : (unsigned)n);
}

static void client_chunk(unsigned char *buf, uint64_t n)
{
    image_chunk(buf, n);
    if (n == 4)
        text_chunk(buf, 400);
    if (n == 6)
        memset(buf, 0, CHUNK);
}

static bool is_clients(uint64_t n)
{
    return n == 4 || n == 6;
}

/* --- making it --------------------------------------------------------------------------------------------------------- */

static int put(struct store *s, struct set_writer *w, const struct stream_id *id, bool over_image, struct err *err)
{
    static unsigned char buf[CHUNK];
    struct manifest_head head = {.id = *id, .size_bytes = id->kind == STREAM_CATALOG ? 4096 : IMAGE_BYTES};
    struct manifest_writer *m;
    struct store_worker *worker = store_worker_create(s);
    head.has_backing = over_image;
    head.backing = image_id;
    int r = set_manifest_begin(w, &head, &m, err);
    for (uint64_t n = 0; r >= 0 && n * CHUNK < head.size_bytes; n++) {
        struct chunk_ref ref;
        if (over_image && !is_clients(n)) {
            r = manifest_inherit(m, n, 1, err);
            continue;
        }
        (over_image ? client_chunk : image_chunk)(buf, n);
        r = store_put(worker, buf, (size_t)MIN((uint64_t)CHUNK, head.size_bytes - n * CHUNK), &ref, err);
        if (r > STORE_ZERO)
            r = manifest_add(m, n, &ref, err);
    }
    store_worker_destroy(worker);
    return r < 0 ? r : set_manifest_end(w, m, NULL, NULL, err);
}

static int make(const char *path)
{
    struct err err = {""};
    struct repo_params params = {.chunk_bytes = CHUNK, .has_no_reserve = true};
    struct repo *r = NULL;
    struct store *s = NULL;
    struct set_writer *w = NULL;
    struct set_params p = {.now_s = 1795000000, .host = "gate", .root = "/var/lib/diskgate", .comment = "golden"};
    int e = repo_init(path, &params, &err);
    if (e == 0)
        e = repo_open(path, REPO_WRITE, 0, "golden", &r, &err);
    if (e == 0)
        e = store_open(r, 0, &s, &err);
    if (e == 0)
        e = set_begin(s, &p, &w, NULL, &err);
    if (e == 0)
        e = put(s, w, &image_id, false, &err);
    if (e == 0)
        e = put(s, w, &client_id, true, &err);
    if (e == 0)
        e = put(s, w, &catalog_id, false, &err);
    if (e == 0)
        e = set_file(w, "settings.json", "{}\n", 3, &err);
    if (e == 0)
        e = set_commit(w, &err);
    set_abort(w);
    store_close(s);
    repo_close(r);
    (void)fprintf(stderr, "%s\n", e < 0 ? err.msg : "done");
    return e < 0;
}

/* --- tests ------------------------------------------------------------------------------------------------------------- */

static char *copy_of_golden(void)
{
    char *path = test_folder();
    assert_non_null(getenv("DISKGATE_TEST_DATA"));
    assert_int_equal(shell("cp -a %s/backup-v1/. %s/", getenv("DISKGATE_TEST_DATA"), path), 0);
    return path;
}

static void expect_stream(struct store *s, const struct set_info *set, const struct stream_id *id,
                          void (*chunk)(unsigned char *buf, uint64_t n))
{
    static unsigned char want[CHUNK];
    struct err err = {""};
    unsigned char *bytes;
    uint64_t size = 0;
    ok(restore(s, set, id, &bytes, &size, &err));
    for (uint64_t off = 0; off < size; off += CHUNK) {
        chunk(want, off / CHUNK);
        assert_memory_equal(bytes + off, want, MIN((uint64_t)CHUNK, size - off));
    }
    free(bytes);
}

static void test_golden_repository_is_restored(void **state)
{
    (void)state;
    struct err err = {""};
    char *path = copy_of_golden();
    struct repo *r = open_repo(path, REPO_WRITE);
    struct store *s;
    struct set_info set;
    struct chunk_ref ref;
    ok(store_open(r, 0, &s, &err));
    ok(set_find(r, "latest", &set, &err));
    ok(set_check_sums(r, set.id, &err));
    assert_int_equal(set.n_streams, 3);
    assert_string_equal(set.comment, "golden");
    expect_stream(s, &set, &image_id, image_chunk);
    expect_stream(s, &set, &client_id, client_chunk);
    expect_stream(s, &set, &catalog_id, image_chunk);
    /* The writer of today knows what is in it, and where: nothing is stored again. */
    static unsigned char buf[CHUNK];
    struct store_worker *w = store_worker_create(s);
    for (uint64_t n = 0; n < IMAGE_CHUNKS - 1; n++) {
        image_chunk(buf, n);
        assert_int_equal(store_put(w, buf, CHUNK, &ref, &err), n == 1 ? STORE_ZERO : STORE_KNOWN);
        assert_int_equal(n == 1 ? 0 : ref.name.suffix, n == 3);
    }
    store_worker_destroy(w);
    set_info_finish(&set);
    store_close(s);
    repo_close(r);
    remove_folder(path);
}

/* By its own restore.sh and by today's, with the tools of this system. */
static void test_golden_repository_is_restored_by_shell(void **state)
{
    (void)state;
    static const char *const streams[] = {"win11@1", "pc01:0", "catalog"};
    char *path = copy_of_golden();
    for (size_t i = 0; i < ARRAY_SIZE(streams); i++)
        assert_int_equal(shell("cd %s && sh ./restore.sh latest %s out-%s >/dev/null", path, streams[i], streams[i]),
                         0);
    assert_int_equal(shell("cd %s && sha256sum -c --quiet %s/backup-v1.sha256", path, getenv("DISKGATE_TEST_DATA")), 0);
    assert_int_equal(shell("cd %s/sets/* && sha256sum -c --quiet SHA256SUMS", path), 0);
    assert_int_equal(shell("zstd -tq %s/packs/*/*.tar.zst", path), 0);
    remove_folder(path);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--make") == 0)
        return make(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_repository_is_restored),
        cmocka_unit_test(test_golden_repository_is_restored_by_shell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
