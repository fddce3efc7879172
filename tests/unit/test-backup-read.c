/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading a repository: disks on top of each other, restores into files that are there, times of a schedule. */
#include "tests/unit/backup-fixture.h"

#include <time.h>
#include <unistd.h>

#include "backup/restore.h"
#include "backup/schedule.h"

#define NOW 1790000000

static const struct stream_id base_id = {.kind = STREAM_BASE, .name = "win", .number = 1};
static const struct stream_id overlay_id = {.kind = STREAM_OVERLAY, .name = "pc01", .number = 0};

/* 0 data, 1 data, 2 zeros, 3 data; the overlay: inherit, own, inherit, zeros, own (behind the end of the base). */
static const struct disk base = {.size = 3 * CHUNK + 1000, .seed = {1, 2, 0, 3}};
static const struct disk over = {.size = 5 * CHUNK - 512, .seed = {UINT_MAX, 7, UINT_MAX, 0, UINT_MAX}};
static const struct disk whole = {.size = 5 * CHUNK - 512, .seed = {1, 7, 0, 0, 0}};

static void backup_both(const char *path)
{
    struct err err = {""};
    struct repo *r = open_repo(path, REPO_WRITE);
    struct store *s = NULL;
    struct set_writer *w = NULL;
    struct set_params params = {.now_s = NOW, .host = "test"};
    ok(store_open(r, 0, &s, &err));
    ok(set_begin(s, &params, &w, NULL, &err));
    ok(put_disk(s, w, &base, &base_id, NULL, &err));
    ok(put_disk(s, w, &over, &overlay_id, &base_id, &err));
    ok(set_commit(w, &err));
    set_abort(w);
    store_close(s);
    repo_close(r);
}

static struct reader *open_reader(const char *path)
{
    struct reader *r = NULL;
    struct err err = {""};
    ok(reader_open(path, "test", 0, &r, &err));
    return r;
}

static struct chain *open_chain(struct reader *r, const struct stream_id *id)
{
    struct set_info s = {0};
    struct chain *c = NULL;
    struct err err = {""};
    ok(set_find(reader_repo(r), "latest", &s, &err));
    ok(chain_open(r, &s, id, NULL, &c, &err));
    set_info_finish(&s);
    return c;
}

static void test_disks_on_top_of_each_other_are_one(void **state)
{
    struct err err = {""};
    static unsigned char got[CHUNK], want[CHUNK];
    char *path = new_repo();
    backup_both(path);
    struct reader *r = open_reader(path);
    struct chain *c = open_chain(r, &overlay_id);
    struct reader_worker *w = reader_worker_create(r);
    assert_int_equal(chain_chunks(c), 5);
    for (uint64_t n = 0; n < chain_chunks(c); n++) {
        size_t len = disk_chunk(&whole, n, want);
        ok(chain_read(c, w, n, got, true, &err));
        assert_int_equal(chain_len(c, n), len);
        assert_memory_equal(got, want, len);
        assert_true(chain_matches(c, r, n, want, true));
        want[17] ^= 1;
        assert_false(chain_matches(c, r, n, want, true));
    }
    reader_worker_destroy(w);
    chain_close(c);
    reader_close(r);
    remove_folder(path);
}

static int to_file(const char *repo, const char *what, const char *dest, bool is_forced, struct restore_report *ret,
                   struct err *err)
{
    const struct work work = {.threads = 3};
    const struct restore_params p = {.repo = repo, .set = "latest", .what = what, .dest = dest, .is_forced = is_forced};
    return restore_disk(&work, &p, ret, err);
}

static void expect_file(const char *file, const struct disk *d)
{
    size_t len;
    char *bytes;
    assert_int_equal(file_read(AT_FDCWD, file, 1 << 20, &bytes, &len), 0);
    assert_true(is_disk((unsigned char *)bytes, len, d));
    free(bytes);
}

static void test_only_chunks_that_differ_are_written(void **state)
{
    struct restore_report report;
    struct err err = {""};
    char file[PATH_MAX], *path = new_repo(), *folder = test_folder();
    backup_both(path);
    (void)snprintf(file, sizeof(file), "%s/disk.img", folder);
    ok(to_file(path, "pc01", file, false, &report, &err));
    expect_file(file, &whole);
    ok(to_file(path, "pc01", file, true, &report, &err));
    assert_int_equal(report.counts.written_bytes, 0);
    assert_int_equal(shell("printf x | dd of=%s bs=1 seek=%u conv=notrunc status=none", file, 3 * CHUNK + 5), 0);
    assert_int_equal(shell("printf x | dd of=%s bs=1 seek=%u conv=notrunc status=none", file, CHUNK + 5), 0);
    ok(to_file(path, "pc01", file, true, &report, &err));
    assert_int_equal(report.counts.written_bytes, 2 * CHUNK);
    expect_file(file, &whole);
    assert_int_equal(shell("test \"$(ls %s)\" = disk.img", folder), 0); /* no marks are left */
    remove_folder(folder);
    remove_folder(path);
}

static void test_nothing_is_written_when_a_pack_is_missing(void **state)
{
    struct restore_report report;
    struct err err = {""};
    char file[PATH_MAX], *path = new_repo(), *folder = test_folder();
    backup_both(path);
    assert_int_equal(shell("rm %s/packs/00/*.tar.zst", path), 0);
    (void)snprintf(file, sizeof(file), "%s/disk.img", folder);
    assert_int_equal(to_file(path, "win", file, false, &report, &err), -EBADMSG);
    assert_non_null(strstr(err.msg, "not complete"));
    assert_int_equal(shell("test -z \"$(ls %s)\"", folder), 0);
    remove_folder(folder);
    remove_folder(path);
}

static void test_partial_file_of_another_restore_is_put_right(void **state)
{
    struct restore_report report;
    struct err err = {""};
    char file[PATH_MAX], *path = new_repo(), *folder = test_folder();
    backup_both(path);
    (void)snprintf(file, sizeof(file), "%s/disk.img", folder);
    assert_int_equal(shell("head -c 300000 /dev/urandom > %s.partial", file), 0);
    ok(to_file(path, "win", file, false, &report, &err));
    expect_file(file, &base);
    remove_folder(folder);
    remove_folder(path);
}

static int64_t at(int year, int month, int day, int hour, int minute)
{
    struct tm t = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute};
    return timegm(&t);
}

static void test_times_of_a_schedule(void **state)
{
    static const struct {
        const char *words[3], *calendar, *cron, *later;
    } rows[] = {
        {{"daily", "03:30"}, "*-*-* 03:30:00", "30 3 * * *", "*-*-* 07:30:00"},
        {{"weekly", "Sat", "22:05"}, "Sat *-*-* 22:05:00", "5 22 * * 6", "Sun *-*-* 02:05:00"},
        {{"hourly"}, "hourly", "0 * * * *", "*-*-* 04:00:00"},
    };
    struct err err;
    struct when w;
    size_t used;
    char text[64];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        ok(when_parse(rows[i].words, 3 - (rows[i].words[2] == NULL) - (rows[i].words[1] == NULL), &w, &used, &err));
        when_calendar(&w, 0, text);
        assert_string_equal(text, rows[i].calendar);
        when_calendar(&w, 4, text);
        assert_string_equal(text, rows[i].later);
        when_cron(&w, 0, text);
        assert_string_equal(text, rows[i].cron);
    }
    assert_int_equal(setenv("TZ", "UTC", 1), 0);
    tzset();
    w = (struct when){.kind = WHEN_DAILY, .hour = 3, .minute = 30};
    assert_int_equal(when_next(&w, at(2026, 11, 22, 3, 29)), at(2026, 11, 22, 3, 30));
    assert_int_equal(when_next(&w, at(2026, 11, 22, 3, 30)), at(2026, 11, 23, 3, 30));
    w = (struct when){.kind = WHEN_WEEKLY, .hour = 3, .minute = 30, .day = 0}; /* the 22nd is a Sunday */
    assert_int_equal(when_next(&w, at(2026, 11, 22, 3, 31)), at(2026, 11, 29, 3, 30));
    assert_int_equal(when_next(&w, at(2026, 11, 25, 12, 0)), at(2026, 11, 29, 3, 30));
    w = (struct when){.kind = WHEN_HOURLY};
    assert_int_equal(when_next(&w, at(2026, 12, 31, 23, 10)), at(2027, 1, 1, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disks_on_top_of_each_other_are_one),
        cmocka_unit_test(test_only_chunks_that_differ_are_written),
        cmocka_unit_test(test_nothing_is_written_when_a_pack_is_missing),
        cmocka_unit_test(test_partial_file_of_another_restore_is_put_right),
        cmocka_unit_test(test_times_of_a_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
