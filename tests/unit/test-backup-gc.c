/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A collection never takes what a set needs. */
#include "backup/badlist.h"
#include "tests/unit/backup-fixture.h"

#define NOON 1795003200 /* in 2026 */

static const struct disk disks[] = {
    {.size = 30 * CHUNK, .seed = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                  16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30}},
    {.size = 30 * CHUNK, .seed = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 41, 42, 43, 44, 45,
                                  46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60}},
    {.size = 30 * CHUNK, .seed = {1,  2,  3,  71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82,
                                  83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97}},
};

/* A repository with @n sets, one of each disk. */
static char *repo_of_sets(int n, char id[][SET_ID_LEN + 1])
{
    char *path = new_repo();
    for (int i = 0; i < n; i++)
        backup(path, "win", &disks[i], NOON + i, id[i]);
    return path;
}

static int prune(struct repo *r, bool is_now, struct gc_counts *ret, struct err *err, const char *id)
{
    struct marks marks;
    int e = marks_load(r, &marks, err);
    if (e < 0)
        return e;
    if (id)
        e = prune_drop(r, &marks, &id, 1, err);
    if (e == 0)
        e = gc_run(r, &marks, false, is_now, ret, err);
    marks_finish(&marks);
    return e;
}

static void test_collection_frees_in_three_steps(void **state)
{
    (void)state;
    struct err err = {""};
    struct gc_counts c;
    char id[3][SET_ID_LEN + 1], *path = repo_of_sets(3, id);
    struct repo *r = open_repo(path, REPO_WRITE);
    ok(prune(r, false, &c, &err, id[1]));
    assert_int_equal(c.packs_trashed + c.packs_rewritten, 0);
    assert_int_equal(c.sets, 3); /* the one in trash/ counts */
    ok(prune(r, false, &c, &err, NULL));
    assert_int_equal(c.sets, 2);
    assert_true(c.packs_trashed + c.packs_rewritten > 0);
    ok(prune(r, false, &c, &err, NULL));
    assert_true(c.freed_bytes > 10 * 4096);
    repo_close(r);
    expect_disk(path, id[0], "win", &disks[0]);
    expect_disk(path, id[2], "win", &disks[2]);
    assert_int_equal(shell("zstd -tq %s/packs/*/*.tar.zst", path), 0);
    backup(path, "win", &disks[1], NOON + 9, NULL);
    expect_disk(path, "latest", "win", &disks[1]);
    remove_folder(path);
}

static void test_collection_at_once_leaves_what_is_needed(void **state)
{
    (void)state;
    struct err err = {""};
    struct gc_counts c;
    char id[3][SET_ID_LEN + 1], *path = repo_of_sets(3, id);
    struct repo *r = open_repo(path, REPO_WRITE);
    ok(prune(r, true, &c, &err, id[0]));
    assert_true(c.packs_rewritten > 0); /* chunks 1..10 are needed by others */
    assert_true(c.freed_bytes > 0);
    repo_close(r);
    assert_int_equal(shell("[ -z \"$(ls %s/trash)\" ]", path), 0);
    expect_disk(path, id[1], "win", &disks[1]);
    expect_disk(path, id[2], "win", &disks[2]);
    remove_folder(path);
}

static int count_files(const char *path)
{
    return shell("exit $(ls %s/packs/*/*.tar.zst %s/trash 2>/dev/null | wc -l)", path, path);
}

static void test_collection_ends_at_what_it_cannot_read(void **state)
{
    (void)state;
    struct err err = {""};
    struct gc_counts c;
    char id[3][SET_ID_LEN + 1], *path = repo_of_sets(3, id);
    struct repo *r = open_repo(path, REPO_WRITE);
    ok(prune(r, false, &c, &err, NULL)); /* it knows the sets now */
    int before = count_files(path);
    assert_int_equal(
        shell("cp -a %s/sets %s/keep && printf x >>%s/sets/%s/image-win-1.manifest.zst", path, path, path, id[0]), 0);
    assert_int_equal(prune(r, true, &c, &err, NULL), -EBADMSG);
    assert_non_null(strstr(err.msg, "nothing was deleted"));
    assert_int_equal(shell("rm -r %s/sets/%s", path, id[0]), 0);
    assert_int_equal(prune(r, true, &c, &err, NULL), -EBADMSG); /* a set that was there is not listed */
    assert_non_null(strstr(err.msg, id[0]));
    assert_int_equal(shell("rm -r %s/sets && mv %s/keep %s/sets", path, path, path), 0);
    assert_int_equal(count_files(path), before);
    repo_close(r);
    for (int i = 0; i < 3; i++)
        expect_disk(path, id[i], "win", &disks[i]);
    remove_folder(path);
}

/* Killed in the middle of the deletion of trash/: what is left must not look like a damaged set. */
static void test_killed_deletion_of_trash_does_not_stop_the_next_collection(void **state)
{
    (void)state;
    struct err err = {""};
    struct gc_counts c;
    char id[2][SET_ID_LEN + 1], *path = repo_of_sets(2, id);
    struct repo *r = open_repo(path, REPO_WRITE);
    /* A file that cannot be deleted stands for the kill: the folder is half empty when the collection ends. */
    ok(prune(r, false, &c, &err, id[0]));
    if (shell("chattr +i %s/trash/*/%s/set.txt 2>/dev/null", path, id[0]) != 0) {
        repo_close(r);
        remove_folder(path);
        skip();
    }
    int stopped = prune(r, true, &c, &err, NULL);
    assert_int_equal(shell("find %s -name set.txt -exec chattr -i {} + 2>/dev/null", path), 0);
    assert_true(stopped < 0);
    repo_close(r);
    r = open_repo(path, REPO_WRITE);
    ok(prune(r, false, &c, &err, NULL));
    repo_close(r);
    expect_disk(path, id[1], "win", &disks[1]);
    remove_folder(path);
}

static void spoil_set_in_trash(const char *path, const char *id)
{
    assert_int_equal(shell("printf x >>%s/trash/000001/%s/image-win-1.manifest.zst", path, id), 0);
}

static void test_damaged_set_in_trash_has_a_way_out(void **state)
{
    (void)state;
    struct err err = {""};
    struct gc_counts c;
    char id[2][SET_ID_LEN + 1], *path = repo_of_sets(2, id);
    struct repo *r = open_repo(path, REPO_WRITE);
    struct marks marks;
    const char *first = id[0];
    ok(marks_load(r, &marks, &err));
    ok(prune_drop(r, &marks, &first, 1, &err));
    marks_finish(&marks);
    spoil_set_in_trash(path, first);
    assert_int_equal(prune(r, false, &c, &err, NULL), -EBADMSG);
    assert_non_null(strstr(err.msg, "--now"));
    ok(prune(r, true, &c, &err, NULL));
    repo_close(r);
    expect_disk(path, id[1], "win", &disks[1]);
    remove_folder(path);
}

/* All chunks of pack 1 are noted as damaged, as verify does it. */
static void spoil_pack(struct repo *r)
{
    struct err err;
    struct pack_id id;
    struct badlist bad;
    struct index *x;
    ok(index_open(r, &x, &err));
    ok(index_pack(x, 1, &id));
    index_close(x);
    ok(badlist_load(r, &bad, &err));
    static const struct disk *d = &disks[0];
    for (uint64_t n = 0; n < disk_chunks(d); n++) {
        static unsigned char buf[CHUNK];
        struct chunk_name name = {.suffix = 0};
        chunk_hash(buf, disk_chunk(d, n, buf), name.xxh);
        ok(badlist_add(&bad, &name, &id));
    }
    ok(badlist_store(r, &bad, &err));
    badlist_finish(&bad);
}

static void test_damaged_pack_goes_when_no_set_needs_it(void **state)
{
    (void)state;
    struct err err = {""};
    struct gc_counts c;
    if (strcmp(chunk_hash_name, "xxh3-128") != 0) /* names with suffixes are another test's */
        skip();
    char *path = new_repo(), id[2][SET_ID_LEN + 1];
    backup(path, "win", &disks[0], NOON, id[0]);
    struct repo *r = open_repo(path, REPO_WRITE);
    spoil_pack(r);
    repo_close(r);
    backup(path, "other", &disks[2], NOON + 1, id[1]);
    r = open_repo(path, REPO_WRITE);
    ok(prune(r, false, &c, &err, NULL));
    assert_int_equal(c.packs_trashed, 0); /* a set needs what is damaged in it: it may still be read somehow */
    ok(prune(r, true, &c, &err, id[0]));
    assert_int_equal(shell("ls %s/packs/00/000001-* >/dev/null 2>&1", path), 2);
    repo_close(r);
    expect_disk(path, id[1], "other", &disks[2]);
    remove_folder(path);
}

static void test_table_of_a_lost_pack_goes_when_its_chunks_are_back(void **state)
{
    (void)state;
    struct err err = {""};
    struct gc_counts c;
    char *path = new_repo(), id[2][SET_ID_LEN + 1];
    backup(path, "win", &disks[0], NOON, id[0]);
    assert_int_equal(shell("rm %s/packs/00/000001-*.tar.zst", path), 0);
    struct repo *r = open_repo(path, REPO_WRITE);
    ok(prune(r, false, &c, &err, NULL));
    assert_int_equal(shell("ls %s/packs/00/000001-*.toc >/dev/null 2>&1", path), 0);
    repo_close(r);
    backup(path, "win", &disks[0], NOON + 1, id[1]);
    r = open_repo(path, REPO_WRITE);
    ok(prune(r, false, &c, &err, NULL));
    assert_int_equal(shell("ls %s/packs/00/000001-*.toc >/dev/null 2>&1", path), 2);
    repo_close(r);
    expect_disk(path, id[0], "win", &disks[0]);
    remove_folder(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collection_frees_in_three_steps),
        cmocka_unit_test(test_killed_deletion_of_trash_does_not_stop_the_next_collection),
        cmocka_unit_test(test_damaged_set_in_trash_has_a_way_out),
        cmocka_unit_test(test_damaged_pack_goes_when_no_set_needs_it),
        cmocka_unit_test(test_table_of_a_lost_pack_goes_when_its_chunks_are_back),
        cmocka_unit_test(test_collection_at_once_leaves_what_is_needed),
        cmocka_unit_test(test_collection_ends_at_what_it_cannot_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
