/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Store, packs, index: what goes in comes out, under collisions, threads and damage; and packs are what tar and zstd say they are. */
#include "tests/unit/backup-fixture.h"

#include <pthread.h>

#include "backup/badlist.h"
#include "core/hash.h"

static const struct disk disk1 = {.size = 20 * CHUNK + 1536,
                                  .seed = {1, 2, 0, 4, 5, 5, 1, 0, 9, 10, 11, 12, 13, 14, 15, 16, 17, 0, 19, 20, 21}};

static void corrupt(const char *path, const char *pattern, long long off)
{
    assert_int_equal(
        shell("f=$(ls %s/%s) && printf '\\377\\001\\377\\376' | dd of=\"$f\" bs=1 seek=%lld conv=notrunc 2>/dev/null",
              path, pattern, off),
        0);
}

static void test_store_returns_what_was_put(void **state)
{
    (void)state;
    char *path = new_repo();
    backup(path, "win", &disk1, 1795000000, NULL);
    expect_disk(path, "latest", "win", &disk1);
    remove_folder(path);
}

static void test_store_knows_zero_duplicate_and_new(void **state)
{
    (void)state;
    struct err err;
    char *path = new_repo();
    struct repo *r = open_repo(path, REPO_WRITE);
    struct store *s;
    static unsigned char a[CHUNK], zeros[CHUNK];
    struct chunk_ref ref, again;
    struct store_counts counts;
    ok(store_open(r, 0, &s, &err));
    struct store_worker *w = store_worker_create(s);
    (void)disk_chunk(&disk1, 0, a);
    assert_int_equal(store_put(w, zeros, CHUNK, &ref, &err), STORE_ZERO);
    assert_int_equal(store_put(w, a, CHUNK, &ref, &err), STORE_NEW);
    assert_int_equal(store_put(w, a, CHUNK, &again, &err), STORE_KNOWN);
    assert_true(chunk_name_equal(&ref.name, &again.name));
    store_counts(s, &counts);
    assert_int_equal(counts.zero, 1);
    assert_int_equal(counts.known, 1);
    assert_int_equal(counts.fresh, 1);
    assert_true(counts.stored_bytes > 0);
    ok(store_get(w, &ref.name, zeros, &again, &err)); /* out of the pack that is not finished */
    assert_memory_equal(zeros, a, CHUNK);
    ok(store_flush(s, &err));
    memset(zeros, 0, sizeof(zeros));
    ok(store_get(w, &ref.name, zeros, NULL, &err));
    assert_memory_equal(zeros, a, CHUNK);
    store_worker_destroy(w);
    store_close(s);
    repo_close(r);
    remove_folder(path);
}

/* Two chunks with one XXH3-128, made by the recipe in docs/backup-format.md: in two words of one lane the low half becomes zero against
 * the secret, so only their sum counts. */
static void make_collision(unsigned char *a, unsigned char *b)
{
    static const unsigned char secret[16] = {0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe,
                                             0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c};
    const struct disk noise = {.size = CHUNK, .seed = {77}};
    size_t at = 32 * 1024; /* the beginning of a block of 1024 bytes, where the secret begins anew */
    (void)disk_chunk(&noise, 0, a);
    memcpy(a + at, secret, 4);
    memcpy(a + at + 64, secret + 8, 4);
    memcpy(b, a, CHUNK);
    uint32_t x, high;
    x = 0x12345;
    memcpy(&high, b + at + 4, 4);
    high += x;
    memcpy(b + at + 4, &high, 4);
    memcpy(&high, b + at + 68, 4);
    high -= x;
    memcpy(b + at + 68, &high, 4);
}

static void test_store_keeps_crafted_collision_apart(void **state)
{
    (void)state;
    struct err err;
    static unsigned char a[CHUNK], b[CHUNK], out[CHUNK];
    unsigned char xa[16], xb[16];
    struct chunk_ref ra, rb, again;
    make_collision(a, b);
    hash128(a, CHUNK, xa);
    hash128(b, CHUNK, xb);
    assert_memory_not_equal(a, b, CHUNK);
    assert_memory_equal(xa, xb, 16);
    char *path = new_repo();
    struct repo *r = open_repo(path, REPO_WRITE);
    struct store *s;
    ok(store_open(r, 0, &s, &err));
    struct store_worker *w = store_worker_create(s);
    assert_int_equal(store_put(w, a, CHUNK, &ra, &err), STORE_NEW);
    assert_int_equal(store_put(w, b, CHUNK, &rb, &err), STORE_COLLISION);
    assert_int_equal(store_put(w, b, CHUNK, &again, &err), STORE_KNOWN);
    assert_int_equal(again.name.suffix, 1);
    ok(store_flush(s, &err));
    ok(store_get(w, &ra.name, out, NULL, &err));
    assert_memory_equal(out, a, CHUNK);
    ok(store_get(w, &rb.name, out, NULL, &err));
    assert_memory_equal(out, b, CHUNK);
    store_worker_destroy(w);
    store_close(s);
    repo_close(r);
    remove_folder(path);
}

struct crowd {
    struct store *s;
    unsigned first;
};

static void *put_many(void *arg)
{
    struct crowd *c = arg;
    struct err err = {""};
    unsigned char *buf = malloc(CHUNK), *back = malloc(CHUNK);
    struct store_worker *w = store_worker_create(c->s);
    struct chunk_ref ref;
    for (unsigned i = 0; i < 60; i++) {
        struct disk d = {.size = CHUNK, .seed = {1 + (c->first + i) % 90}}; /* threads meet on the same chunks */
        size_t len = disk_chunk(&d, 0, buf);
        if (store_put(w, buf, len, &ref, &err) <= 0 || store_get(w, &ref.name, back, &ref, &err) < 0 ||
            memcmp(buf, back, len) != 0)
            abort();
    }
    store_worker_destroy(w);
    free(buf);
    free(back);
    return NULL;
}

static void test_store_serves_threads(void **state)
{
    (void)state;
    struct err err;
    char *path = new_repo();
    struct repo *r = open_repo(path, REPO_WRITE);
    struct crowd c[4];
    pthread_t t[4];
    struct store *s;
    struct store_counts counts;
    ok(store_open(r, 0, &s, &err));
    for (unsigned i = 0; i < 4; i++) {
        c[i] = (struct crowd){s, i * 20};
        assert_int_equal(pthread_create(&t[i], NULL, put_many, &c[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    ok(store_flush(s, &err));
    store_counts(s, &counts);
    assert_int_equal(counts.fresh, 90); /* each once */
    assert_int_equal(counts.fresh + counts.known, 240);
    store_close(s);
    repo_close(r);
    assert_int_equal(shell("zstd -tq %s/packs/*/*.tar.zst", path), 0);
    remove_folder(path);
}

static void test_packs_are_read_by_tar_and_zstd(void **state)
{
    (void)state;
    char *path = new_repo();
    backup(path, "win", &disk1, 1795000000, NULL);
    assert_int_equal(shell("zstd -tq %s/packs/*/*.tar.zst", path), 0);
    assert_int_equal(shell("cd %s && for p in packs/*/*.tar.zst; do tar --zstd -tf $p; done | sort >names && "
                           "cat packs/*/*.toc | awk 'NF == 5 { print $1 }' >told && "
                           "for p in packs/*/*.tar.zst; do echo TOC; done >>told && sort told | cmp - names",
                           path),
                     0);
    assert_int_equal(
        shell(
            "cd %s && for p in packs/*/*.tar.zst; do tar --zstd -xOf $p TOC | cmp - ${p%%.tar.zst}.toc || exit 1; done",
            path),
        0);
    remove_folder(path);
}

static void test_index_is_made_again(void **state)
{
    (void)state;
    char *path = new_repo();
    backup(path, "win", &disk1, 1795000000, NULL);
    assert_int_equal(shell("rm %s/index.cache", path), 0);
    expect_disk(path, "latest", "win", &disk1);
    assert_int_equal(shell("printf garbage >%s/index.cache", path), 0);
    expect_disk(path, "latest", "win", &disk1);
    assert_int_equal(shell("rm -f %s/index.cache %s/packs/*/*.toc", path, path), 0);
    expect_disk(path, "latest", "win", &disk1); /* by the tables in the packs */
    assert_int_equal(shell("for p in %s/packs/*/*.tar.zst; do truncate -s -9 $p; done", path), 0);
    expect_disk(path, "latest", "win", &disk1); /* by a scan of the frames */
    remove_folder(path);
}

static void test_scan_finds_what_lies_before_a_cut(void **state)
{
    (void)state;
    struct err err;
    struct index *x;
    char *path = new_repo();
    backup(path, "win", &disk1, 1795000000, NULL);
    struct repo *r = open_repo(path, REPO_READ);
    ok(index_open(r, &x, &err));
    uint64_t all = index_count(x);
    index_close(x);
    repo_close(r);
    assert_int_equal(shell("rm -f %s/index.cache %s/packs/*/*.toc; for p in %s/packs/*/*.tar.zst; do truncate -s "
                           "$(($(stat -c %%s $p) / 2)) $p; done",
                           path, path, path),
                     0);
    r = open_repo(path, REPO_READ);
    ok(index_open(r, &x, &err));
    assert_true(index_count(x) > 0 && index_count(x) < all);
    assert_non_null(strstr(index_problems(x), "damaged"));
    index_close(x);
    repo_close(r);
    remove_folder(path);
}

/* The cache was made when the pack was whole. */
static void test_pack_that_was_cut_off_is_not_hidden_by_the_cache(void **state)
{
    (void)state;
    struct err err = {""};
    char *path = new_repo();
    backup(path, "win", &disk1, 1795000000, NULL);
    expect_disk(path, "latest", "win", &disk1);
    assert_int_equal(shell("test -s %s/index.cache && for p in %s/packs/*/*.tar.zst; do truncate -s "
                           "$(($(stat -c %%s $p) / 2)) $p; done",
                           path, path),
                     0);
    struct repo *r = open_repo(path, REPO_READ);
    struct index *x;
    ok(index_open(r, &x, &err));
    assert_true(index_was_rebuilt(x));
    assert_non_null(strstr(index_problems(x), "damaged"));
    index_close(x);
    repo_close(r);
    backup(path, "win", &disk1, 1795000100, NULL); /* it does not count on what is gone */
    expect_disk(path, "latest", "win", &disk1);
    remove_folder(path);
}

struct noting {
    struct store_worker *w;
    struct badlist *bad;
    const struct pack_id *pack;
};

static int note_bad(void *arg, const struct chunk_place *p)
{
    static unsigned char buf[CHUNK];
    struct noting *n = arg;
    struct err err;
    if (p->pack != n->pack->number || store_get(n->w, &p->ref.name, buf, NULL, &err) == 0)
        return 0;
    return badlist_add(n->bad, &p->ref.name, n->pack);
}

static void test_damaged_chunk_is_found_and_healed_by_the_next_backup(void **state)
{
    (void)state;
    struct err err = {""};
    char *path = new_repo(), first[SET_ID_LEN + 1];
    backup(path, "win", &disk1, 1795000000, first);
    corrupt(path, "packs/00/000001-*.tar.zst", 5000);
    struct repo *r = open_repo(path, REPO_WRITE);
    assert_int_equal(check_disk(r, "latest", "win", &disk1, &err), -EBADMSG);
    assert_non_null(strstr(err.msg, "is damaged"));
    /* What verify does: it notes each chunk of that pack that cannot be read. */
    struct pack_id id;
    struct badlist bad;
    struct store *s;
    struct noting n = {.bad = &bad, .pack = &id};
    ok(badlist_load(r, &bad, &err));
    ok(store_open(r, 0, &s, &err));
    n.w = store_worker_create(s);
    ok(index_pack(store_index(s), 1, &id));
    ok(index_each(store_index(s), note_bad, &n));
    assert_true(bad.n > 0);
    store_worker_destroy(n.w);
    ok(badlist_store(r, &bad, &err));
    badlist_finish(&bad);
    store_close(s);
    repo_close(r);
    backup(path, "win", &disk1, 1795000100, NULL);
    expect_disk(path, "latest", "win", &disk1);
    expect_disk(path, first, "win", &disk1);
    remove_folder(path);
}

static void test_lost_pack_is_named_and_healed_by_the_next_backup(void **state)
{
    (void)state;
    struct err err = {""};
    char *path = new_repo(), first[SET_ID_LEN + 1];
    backup(path, "win", &disk1, 1795000000, first);
    assert_int_equal(shell("rm %s/packs/00/000001-*.tar.zst", path), 0);
    struct repo *r = open_repo(path, REPO_READ);
    assert_int_equal(check_disk(r, first, "win", &disk1, &err), -EBADMSG);
    assert_non_null(strstr(err.msg, "000001-"));
    repo_close(r);
    backup(path, "win", &disk1, 1795000100, NULL);
    expect_disk(path, "latest", "win", &disk1);
    expect_disk(path, first, "win", &disk1); /* whole again, by the names */
    remove_folder(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_returns_what_was_put),
        cmocka_unit_test(test_store_knows_zero_duplicate_and_new),
        cmocka_unit_test(test_store_keeps_crafted_collision_apart),
        cmocka_unit_test(test_store_serves_threads),
        cmocka_unit_test(test_packs_are_read_by_tar_and_zstd),
        cmocka_unit_test(test_index_is_made_again),
        cmocka_unit_test(test_scan_finds_what_lies_before_a_cut),
        cmocka_unit_test(test_pack_that_was_cut_off_is_not_hidden_by_the_cache),
        cmocka_unit_test(test_damaged_chunk_is_found_and_healed_by_the_next_backup),
        cmocka_unit_test(test_lost_pack_is_named_and_healed_by_the_next_backup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
