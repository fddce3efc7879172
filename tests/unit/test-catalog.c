/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalog as a file: creation, versions, transactions. */
#include <fcntl.h>
#include <sys/stat.h>

#include "core/root.h"
#include "tests/unit/catalog-look.h"

/* --- creation ---------------------------------------------------------------------------------------------------- */

static void expect_mode(struct fixture *f, const char *name, unsigned mode)
{
    char path[PATH_MAX];
    struct stat st;
    assert_int_equal(root_path(f->dir, name, path, NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, mode);
}

static void test_catalog_create_makes_a_whole_root(void **state)
{
    struct fixture *f = *state;
    struct fixture below = {0};
    char tag[9];
    strcpy(below.dir, f->dir);
    strcat(below.dir, "/a/root");
    mode_t old = umask(077);
    int r = catalog_create(below.dir, &f->err);
    (void)umask(old);
    assert_int_equal(r, 0);
    expect_mode(&below, "", 0755);
    expect_mode(&below, "catalog.db", 0600);
    expect_mode(&below, "images", 0755);
    expect_mode(&below, "overlays", 0700);
    expect_mode(&below, "run", 0755);
    OK(f, catalog_open(below.dir, CATALOG_READ, &f->c, &f->err));
    OK(f, catalog_root_tag(f->c, tag, &f->err));
    assert_int_equal(strspn(tag, "0123456789abcdef"), 8);
}

static void test_catalog_create_refuses_a_second_one(void **state)
{
    struct fixture *f = *state;
    char before[9], after[9];
    OK(f, catalog_root_tag(f->c, before, &f->err));
    FAILS(f, catalog_create(f->dir, &f->err), -EEXIST, "is a Diskgate root already");
    OK(f, catalog_root_tag(f->c, after, &f->err));
    assert_string_equal(before, after);
}

static void test_catalog_create_refuses_the_log_of_a_lost_catalog(void **state)
{
    struct fixture *f = *state;
    char log[PATH_MAX];
    assert_int_equal(root_path(f->dir, "catalog.db-wal", log, NULL), 0);
    _cleanup_close_ int fd = open(log, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    FAILS(f, catalog_create(f->dir, &f->err), -EEXIST, "belongs to a catalog that is gone");
}

static void test_catalog_create_goes_on_after_a_killed_one(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    assert_int_equal(root_path(f->dir, ".catalog.db.new", path, NULL), 0);
    _cleanup_close_ int fd = open(path, O_CREAT | O_WRONLY, 0644);
    assert_int_equal(write_full(fd, "half", 4), 0);
    OK(f, catalog_create(f->dir, &f->err));
    assert_int_equal(access(path, F_OK), -1);
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
}

/* --- migrations -------------------------------------------------------------------------------------------------- */

static const struct schema_step good_steps[] = {
    {CATALOG_VERSION, "not run: the catalog has this version"},
    {CATALOG_VERSION + 1, "CREATE TABLE two (a INTEGER) STRICT; INSERT INTO two VALUES (2)"},
    {CATALOG_VERSION + 2, "ALTER TABLE two ADD COLUMN b TEXT"},
};

static void test_catalog_migrates_step_by_step(void **state)
{
    struct fixture *f = *state;
    OK(f, schema_migrate(f->c, good_steps, ARRAY_SIZE(good_steps), &f->err));
    assert_int_equal(count(f, "PRAGMA user_version"), CATALOG_VERSION + 2);
    assert_int_equal(count(f, "SELECT a FROM two WHERE b IS NULL"), 2);
    OK(f, schema_migrate(f->c, good_steps, ARRAY_SIZE(good_steps), &f->err)); /* nothing left to do */
}

static void test_catalog_failed_migration_leaves_the_old_version(void **state)
{
    struct fixture *f = *state;
    static const struct schema_step bad_steps[] = {
        {CATALOG_VERSION + 1, "CREATE TABLE two (a INTEGER) STRICT"},
        {CATALOG_VERSION + 2, "CREATE TABLE two (a INTEGER) STRICT"},
    };
    FAILS(f, schema_migrate(f->c, bad_steps, ARRAY_SIZE(bad_steps), &f->err), -EIO, "to version");
    assert_int_equal(count(f, "PRAGMA user_version"), CATALOG_VERSION);
    assert_int_equal(count(f, "SELECT count(*) FROM sqlite_schema WHERE name = 'two'"), 0);
}

/* --- transactions ------------------------------------------------------------------------------------------------ */

static void test_catalog_rollback_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    int64_t audit = count(f, "SELECT count(*) FROM audit");
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    catalog_rollback(f->c);
    assert_int_equal(count(f, "SELECT count(*) FROM client"), 0);
    assert_int_equal(count(f, "SELECT count(*) FROM overlay_dir"), 0);
    assert_int_equal(count(f, "SELECT count(*) FROM audit"), audit);
}

static void test_catalog_failed_writer_changes_nothing_in_a_commit(void **state)
{
    struct fixture *f = *state;
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, db_exec(f->c,
                  "CREATE TEMP TRIGGER t BEFORE INSERT ON main.audit WHEN new.object = 'pc2'"
                  " BEGIN SELECT RAISE(ABORT, 'no'); END",
                  &f->err));
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    assert_int_equal(add_client(f->c, "pc2", "525400000002", &f->err), -EINVAL); /* fails at its last step */
    OK(f, catalog_commit(f->c, &f->err));
    assert_int_equal(count(f, "SELECT count(*) FROM client"), 1);
    assert_int_equal(count(f, "SELECT count(*) FROM overlay_dir"), 0);
}

static void test_catalog_lost_transaction_cannot_be_committed(void **state)
{
    struct fixture *f = *state;
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    OK(f, db_exec(f->c, "ROLLBACK", &f->err)); /* as SQLite does by itself when the disk is full */
    assert_int_equal(add_client(f->c, "pc2", "525400000002", &f->err), -EIO);
    FAILS(f, catalog_commit(f->c, &f->err), -EIO, "nothing was changed");
    assert_int_equal(count(f, "SELECT count(*) FROM client"), 0);
    OK(f, catalog_begin(f->c, &f->err));
    catalog_rollback(f->c);
}

static void test_catalog_full_disk_changes_nothing(void **state)
{
    struct fixture *f = *state;
    char mac[MAC_LEN + 1], name[16], limit[64];
    int r = 0;
    (void)snprintf(limit, sizeof(limit), "PRAGMA max_page_count = %d", (int)count(f, "PRAGMA page_count"));
    OK(f, db_exec(f->c, limit, &f->err));
    OK(f, catalog_begin(f->c, &f->err));
    for (int i = 1; i < 2000 && r == 0; i++) {
        (void)snprintf(name, sizeof(name), "pc%d", i);
        (void)snprintf(mac, sizeof(mac), "5254000%05x", (unsigned)i);
        r = add_client(f->c, name, mac, &f->err);
    }
    assert_int_equal(r, -ENOSPC);
    if (!strstr(f->err.msg, "is full"))
        fail_msg("%s", f->err.msg);
    (void)catalog_commit(f->c, &f->err);
    close_catalog(f);
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_catalog_create_makes_a_whole_root),
        WITH_ROOT(test_catalog_create_refuses_a_second_one),
        WITH_FOLDER(test_catalog_create_refuses_the_log_of_a_lost_catalog),
        WITH_FOLDER(test_catalog_create_goes_on_after_a_killed_one),
        WITH_ROOT(test_catalog_migrates_step_by_step),
        WITH_ROOT(test_catalog_failed_migration_leaves_the_old_version),
        WITH_ROOT(test_catalog_rollback_leaves_nothing),
        WITH_ROOT(test_catalog_failed_writer_changes_nothing_in_a_commit),
        WITH_ROOT(test_catalog_lost_transaction_cannot_be_committed),
        WITH_ROOT(test_catalog_full_disk_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
