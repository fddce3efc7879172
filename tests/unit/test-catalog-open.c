/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What opening a catalog refuses: what is missing, foreign, newer or damaged; and what the database itself refuses. */
#include <fcntl.h>
#include <sys/stat.h>

#include "core/root.h"
#include "tests/unit/catalog-look.h"

static void catalog_path(struct fixture *f, char *ret)
{
    assert_int_equal(root_path(f->dir, "catalog.db", ret, NULL), 0);
}

/* Overwrite bytes of the closed catalog. */
static void patch(struct fixture *f, uint64_t off, const void *bytes, size_t len)
{
    char path[PATH_MAX];
    catalog_path(f, path);
    _cleanup_close_ int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite_full(fd, bytes, len, off), 0);
}

static void test_catalog_open_says_how_to_make_a_missing_one(void **state)
{
    struct fixture *f = *state;
    char said[256];
    (void)snprintf(said, sizeof(said), "no Diskgate root in '%s'; make one with 'diskgate --root %s init'", f->dir,
                   f->dir);
    FAILS(f, catalog_open(f->dir, CATALOG_READ, &f->c, &f->err), -ENOENT, said);
    FAILS(f, catalog_open("/nonexistent-root", CATALOG_WRITE, &f->c, &f->err), -ENOENT, "no Diskgate root");
    assert_null(f->c);
}

static void write_catalog(struct fixture *f, const void *bytes, size_t len)
{
    char path[PATH_MAX];
    catalog_path(f, path);
    _cleanup_close_ int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write_full(fd, bytes, len), 0);
}

static void test_catalog_open_refuses_an_empty_file(void **state)
{
    struct fixture *f = *state;
    write_catalog(f, "", 0);
    FAILS(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err), -EBADMSG, "is an empty file");
}

static void test_catalog_open_refuses_a_text_file(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "This is a text that somebody has called catalog.db, and it is long enough to be looked at\n";
    char large[8192];
    write_catalog(f, text, sizeof(text));
    FAILS(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err), -EBADMSG, "is not a Diskgate catalog");
    memset(large, 'x', sizeof(large));
    write_catalog(f, large, sizeof(large));
    FAILS(f, catalog_open(f->dir, CATALOG_READ, &f->c, &f->err), -EBADMSG, "is not a Diskgate catalog");
}

static void test_catalog_open_refuses_a_folder(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    catalog_path(f, path);
    assert_int_equal(mkdir(path, 0755), 0);
    FAILS(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err), -EBADMSG, "is not a file");
}

static void test_catalog_open_refuses_a_foreign_database(void **state)
{
    struct fixture *f = *state;
    close_catalog(f);
    patch(f, 68, "\0\0\0\1", 4);
    FAILS(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err), -EBADMSG, "database of another program");
}

static void test_catalog_open_refuses_a_newer_version(void **state)
{
    struct fixture *f = *state;
    close_catalog(f);
    patch(f, 60, "\0\0\0\7", 4);
    FAILS(f, catalog_open(f->dir, CATALOG_READ, &f->c, &f->err), -EOPNOTSUPP, "has version 7");
    patch(f, 60, "\0\0\0\0", 4);
    FAILS(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err), -EBADMSG, "impossible version 0");
}

static void test_catalog_open_finds_damaged_pages(void **state)
{
    struct fixture *f = *state;
    char garbage[4096], path[PATH_MAX];
    struct stat st;
    close_catalog(f);
    catalog_path(f, path);
    assert_int_equal(stat(path, &st), 0);
    memset(garbage, 0xa5, sizeof(garbage));
    patch(f, 8192, garbage, sizeof(garbage));
    FAILS(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err), -EBADMSG, "is damaged");
    assert_int_equal(truncate(path, st.st_size / 2), 0);
    FAILS(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err), -EBADMSG, "is damaged");
    assert_int_equal(truncate(path, 700), 0);
    FAILS(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err), -EBADMSG, "catalog");
}

static void test_catalog_open_finds_broken_references(void **state)
{
    struct fixture *f = *state;
    OK(f, db_exec(f->c,
                  "PRAGMA foreign_keys = OFF;"
                  "INSERT INTO link (client_id, slot, image_id) VALUES (77, 0, 88)",
                  &f->err));
    close_catalog(f);
    FAILS(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err), -EBADMSG, "refers to a missing");
}

static void test_catalog_read_mode_changes_nothing(void **state)
{
    struct fixture *f = *state;
    close_catalog(f);
    OK(f, catalog_open(f->dir, CATALOG_READ, &f->c, &f->err));
    assert_int_equal(db_exec(f->c, "DELETE FROM root", &f->err), -EROFS);
}

static void test_catalog_constraints_refuse_what_writers_refuse(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {
        "INSERT INTO overlay_dir VALUES ('../x')",
        "INSERT INTO setting VALUES ('a', 1.5e300 || printf('%300d', 1))",
        "INSERT INTO root VALUES (2, '00000000', '')",
        "INSERT INTO image (name, is_data, current, comment, created_at) VALUES ('a/b', 0, 1, '', '')",
        "INSERT INTO image (name, is_data, current, comment, created_at) VALUES ('a', 2, 1, '', '')",
        "INSERT INTO link (client_id, slot, image_id) VALUES (1, 32, 1)",
        "UPDATE client SET boot_slot = 1",
        "UPDATE client SET boot_default = 15",
        "UPDATE client SET is_disabled = 2",
        "UPDATE client SET menu_timeout_s = 3601",
        "UPDATE client SET ram_write_bytes = -1",
        "UPDATE client SET netmask = '255.255.255.2555'",
        "UPDATE image SET is_hidden = 2",
        "UPDATE image SET ram_cache_bytes = -1",
        "UPDATE client SET mode = 'other'",
        "UPDATE client SET mac = '52:54:00:12:34:5G'",
        "UPDATE client SET overlay_dir = 'unknown'",
        "UPDATE image SET current = 2",
        "UPDATE version SET size_bytes = 511",
        "UPDATE version SET size_bytes = 'many'",
        "UPDATE link SET pinned = 9",
        "DELETE FROM image",
        "DELETE FROM version",
    };
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, add_image(f->c, "img", false, &f->err));
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    OK(f, link_set(f->c, "pc1", 0, "img", 0, &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (db_exec(f->c, bad[i], &f->err) != -EINVAL)
            fail_msg("the database accepts: %s", bad[i]);
    OK(f, db_exec(f->c, "UPDATE client SET mode = 'super'", &f->err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_catalog_open_says_how_to_make_a_missing_one),
        WITH_FOLDER(test_catalog_open_refuses_an_empty_file),
        WITH_FOLDER(test_catalog_open_refuses_a_text_file),
        WITH_FOLDER(test_catalog_open_refuses_a_folder),
        WITH_ROOT(test_catalog_open_refuses_a_foreign_database),
        WITH_ROOT(test_catalog_open_refuses_a_newer_version),
        WITH_ROOT(test_catalog_open_finds_damaged_pages),
        WITH_ROOT(test_catalog_open_finds_broken_references),
        WITH_ROOT(test_catalog_read_mode_changes_nothing),
        WITH_ROOT(test_catalog_constraints_refuse_what_writers_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
