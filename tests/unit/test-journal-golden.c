/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal's format: the golden files are read and written as docs/journal-format.md says; journals of other roots and of version 1. */
#include "tests/unit/journal-fixture.h"

/* Runs of the commits in tests/data/journal-v*.bin, as make-journal-v*.py says; there is a file for each version. */
static int apply_golden(void *arg, const unsigned char id[16], uint64_t number, const struct map_run *runs, size_t n,
                        struct err *err)
{
    char *text = arg;
    size_t at = strlen(text);
    at += (size_t)snprintf(text + at, 1000 - at, "%llu %02x:", (unsigned long long)number, id[15]);
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, 1000 - at, " %llu+%u%c", (unsigned long long)runs[i].blk, runs[i].n,
                               runs[i].state == BLOCK_PRESENT ? 'p' : 'z');
    (void)snprintf(text + at, 1000 - at, "\n");
    return 0;
}

#define GOLDEN_ROOT "0badcafe" /* in version 2 */

static char *read_golden(const char *name)
{
    const char *dir = getenv("DISKGATE_TEST_DATA");
    int dirfd = open(dir ? dir : "tests/data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char *golden;
    size_t len;
    assert_true(dirfd >= 0);
    assert_int_equal(file_read(dirfd, name, 1 << 20, &golden, &len), 0);
    (void)close(dirfd);
    assert_int_equal(len, 2 * 16384);
    return golden;
}

/* Make @fd the journal that the golden file @name is the beginning of. */
static void put_golden(int fd, const char *name)
{
    _cleanup_free_ char *golden = read_golden(name);
    /* The file in the tree is one area's beginning and the other's; the rest of each is zeros. */
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(ftruncate(fd, 2 * (off_t)AREA), 0);
    assert_int_equal(pwrite_full(fd, golden, 16384, 0), 0);
    assert_int_equal(pwrite_full(fd, golden + 16384, 16384, AREA), 0);
}

static void assert_golden_is_read(struct rig *r, const char *root)
{
    struct journal_found found;
    char text[1000] = "";
    if (journal_replay(r->fd, root, apply_golden, text, &found, &r->err) < 0)
        fail_msg("%s", r->err.msg);
    assert_string_equal(text, "41 01: 7+3p 100+1z\n"
                              "41 02: 0+32768z\n"
                              "42 01: 9+1z\n"
                              "43 02: 4294967296+4294967295p\n");
    assert_int_equal(found.commits, 3);
    assert_int_equal(found.last_number, 43);
    assert_int_equal(found.area[0].commits, 1);
    assert_int_equal(found.area[1].commits, 2);
    assert_int_equal(found.area[0].generation, 7);
    assert_int_equal(found.area[1].generation, 6);
}

static void test_journal_golden_files_are_read_as_the_page_says(void **state)
{
    struct rig *r = *state;
    put_golden(r->fd, "journal-v1.bin");
    assert_golden_is_read(r, "");
    assert_golden_is_read(r, GOLDEN_ROOT); /* it tells no root, so it is taken for ours */
    put_golden(r->fd, "journal-v2.bin");
    assert_golden_is_read(r, "");
    assert_golden_is_read(r, GOLDEN_ROOT);
}

static int apply_nothing(void *arg, const unsigned char id[16], uint64_t number, const struct map_run *runs, size_t n,
                         struct err *err)
{
    (void)arg, (void)id, (void)number, (void)runs, (void)n, (void)err;
    fail_msg("a commit of another root was applied");
    return -EINVAL;
}

static void assert_is_foreign(struct rig *r, const char *root)
{
    struct journal_found found;
    r->err.msg[0] = 0;
    assert_int_equal(journal_replay(r->fd, root, apply_nothing, NULL, &found, &r->err), -EEXIST);
    assert_non_null(strstr(r->err.msg, GOLDEN_ROOT));
    assert_non_null(strstr(r->err.msg, root));
    assert_int_equal(found.commits, 0);
    assert_true(strcmp(found.area[0].root, GOLDEN_ROOT) == 0 || strcmp(found.area[1].root, GOLDEN_ROOT) == 0);
}

static void test_journal_of_another_root_is_refused(void **state)
{
    struct rig *r = *state;
    put_golden(r->fd, "journal-v2.bin");
    assert_is_foreign(r, "0badcaff");
    flip(r, 16, 1); /* the one header is torn, the other one tells */
    assert_is_foreign(r, "0badcaff");
    flip(r, 16, 1);
    flip(r, AREA + 16, 1);
    assert_is_foreign(r, "0badcaff");
}

/* Also without commits: ours may have been moved away for it. */
static void test_journal_of_another_root_is_refused_when_it_is_empty(void **state)
{
    struct rig *r = *state;
    if (journal_start(dup(r->fd), GOLDEN_ROOT, 1, AREA, &r->journal, &r->err) < 0)
        fail_msg("%s", r->err.msg);
    stop(r);
    assert_is_foreign(r, "12345678");
}

/* A start gives an old journal the newest version and our root, one header after the other. */
static void test_journal_of_version_1_becomes_ours(void **state)
{
    struct rig *r = *state;
    unsigned char block[JOURNAL_BLOCK];
    struct journal_found found;
    struct seen s;
    struct area_head h = {.generation = 8, .area_bytes = AREA, .index = 1, .root = GOLDEN_ROOT};
    put_golden(r->fd, "journal-v1.bin");
    area_head_encode(&h, block);
    assert_int_equal(pwrite_full(r->fd, block, sizeof(block), AREA), 0); /* a power cut between the two */
    s = (struct seen){.n = 0};
    int e = journal_replay(r->fd, GOLDEN_ROOT, apply, &s, &found, &r->err);
    assert_int_equal(e, 0);
    assert_int_equal(found.last_number, 43);
    assert_int_equal(found.area[0].version, 1);
    assert_int_equal(found.area[1].version, 2);
    put_golden(r->fd, "journal-v1.bin");
    if (journal_start(dup(r->fd), GOLDEN_ROOT, 44, AREA, &r->journal, &r->err) < 0)
        fail_msg("%s", r->err.msg);
    assert_int_equal(journal_replay(r->fd, GOLDEN_ROOT, apply_nothing, NULL, &found, &r->err), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(found.area[i].version, 2);
        assert_string_equal(found.area[i].root, GOLDEN_ROOT);
        assert_true(found.area[i].generation > 7);
    }
    assert_is_foreign(r, "0badcaff");
}

static void test_journal_writes_what_the_golden_file_has(void **state)
{
    _cleanup_free_ char *golden = read_golden("journal-v2.bin");
    unsigned char block[JOURNAL_BLOCK] = {0}, id[16] = {0};
    area_head_encode(&(struct area_head){.generation = 6, .area_bytes = AREA, .index = 1, .root = GOLDEN_ROOT}, block);
    assert_memory_equal(block, golden + 16384, sizeof(block));
    memset(block, 0, sizeof(block));
    id[15] = 1;
    entry_encode(block + COMMIT_HEAD_BYTES, id, (struct map_run[]){{7, 3, BLOCK_PRESENT}, {100, 1, BLOCK_ZERO}}, 2);
    id[15] = 2;
    entry_encode(block + COMMIT_HEAD_BYTES + ENTRY_HEAD_BYTES + 2 * RUN_BYTES, id,
                 (struct map_run[]){{0, 32768, BLOCK_ZERO}}, 1);
    commit_seal(&(struct commit_head){.generation = 6, .number = 41, .bytes = JOURNAL_BLOCK, .entries = 2}, block);
    assert_memory_equal(block, golden + 16384 + JOURNAL_BLOCK, sizeof(block));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_journal_golden_files_are_read_as_the_page_says),
        TEST(test_journal_of_another_root_is_refused),
        TEST(test_journal_of_another_root_is_refused_when_it_is_empty),
        TEST(test_journal_of_version_1_becomes_ours),
        TEST(test_journal_writes_what_the_golden_file_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
