/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Catalogs of former releases, as they left them (tests/data/catalog-vN.sql), become what a new one is and lose nothing. */
#include "tests/unit/catalog-look.h"

#include <unistd.h>

#include "core/catalog-boot.h"
#include "core/catalog-import.h"

static char *read_text(const char *name)
{
    char path[512];
    size_t room = 64 * 1024;
    const char *folder = getenv("DISKGATE_TEST_DATA");
    (void)snprintf(path, sizeof(path), "%s/%s", folder ? folder : "tests/data", name);
    FILE *file = fopen(path, "r");
    char *text = calloc(room, 1);
    if (!file || !text)
        fail_msg("'%s' cannot be read", path);
    size_t n = fread(text, 1, room - 1, file);
    assert_in_range(n, 1, room - 2);
    assert_int_equal(fclose(file), 0);
    return text;
}

/* Put the catalog of a release into the place of the fresh one. */
static void load(struct fixture *f, const char *name)
{
    char path[128];
    sqlite3 *db;
    _cleanup_free_ char *text = read_text(name);
    catalog_close(f->c);
    f->c = NULL;
    (void)snprintf(path, sizeof(path), "%s/catalog.db", f->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", name, sqlite3_errmsg(db));
    assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* All objects of the database, without the blanks that differ between a created and an altered table. */
static void schema_of(struct fixture *f, const char *root, char *ret, size_t max)
{
    struct catalog *c;
    sqlite3_stmt *st;
    size_t n = 0;
    OK(f, catalog_open(root, CATALOG_READ, &c, &f->err));
    assert_int_equal(
        sqlite3_prepare_v2(c->db, "SELECT name, ifnull(sql, '') FROM sqlite_schema ORDER BY name", -1, &st, NULL),
        SQLITE_OK);
    while (sqlite3_step(st) == SQLITE_ROW)
        for (int col = 0; col < 2; col++)
            for (const char *p = (const char *)sqlite3_column_text(st, col); *p; p++)
                if (*p != ' ' && n + 1 < max)
                    ret[n++] = *p;
    assert_int_equal(sqlite3_finalize(st), SQLITE_OK);
    assert_true(n + 1 < max);
    ret[n] = 0;
    catalog_close(c);
}

static void check_rows(struct fixture *f)
{
    assert_int_equal(count(f, "PRAGMA user_version"), CATALOG_VERSION);
    assert_int_equal(count(f, "SELECT count(*) FROM client"), 3);
    assert_int_equal(count(f, "SELECT count(*) FROM image"), 3);
    assert_int_equal(count(f, "SELECT count(*) FROM link"), 5);
    assert_int_equal(count(f, "SELECT count(*) FROM overlay JOIN link ON link.id = link_id"), 5);
    assert_int_equal(count(f, "SELECT count(*) FROM garbage"), 4);
    assert_int_equal(count(f, "SELECT count(*) FROM audit"), 21);
    assert_int_equal(count(f, "SELECT count(*) FROM link WHERE pinned = 1 AND slot = 15"), 1);
    assert_int_equal(count(f, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_int_equal(count(f, "SELECT count(*) FROM sqlite_schema WHERE name GLOB 'old_*'"), 0);
    /* A link that was removed does not give its id to another one. */
    assert_int_equal(count(f, "SELECT seq FROM sqlite_sequence WHERE name = 'link'"), 7);
    assert_int_equal(count(f, "SELECT count(*) FROM sqlite_sequence WHERE name = 'link'"), 1);
}

static void check_views(struct fixture *f, const char *overlay_id)
{
    _cleanup_free_ struct view_row *views = NULL;
    size_t n;
    OK(f, view_list(f->c, "pc01", &views, &n, &f->err));
    assert_int_equal(n, 2);
    assert_string_equal(views[0].overlay_id, overlay_id);
    assert_string_equal(views[0].image, "win10");
    assert_int_equal(views[1].slot, 1);
}

static void check_new_fields(struct fixture *f)
{
    struct client_row cl;
    struct image_row i;
    OK(f, client_get(f->c, "pc03", &cl, &f->err));
    assert_int_equal(cl.mode, OVERLAY_KEPT);
    assert_false(cl.is_disabled);
    assert_int_equal(cl.boot_slot, 0);
    assert_string_equal(cl.dns, "");
    OK(f, image_get(f->c, "win10", &i, &f->err));
    assert_false(i.is_hidden);
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, link_set(f->c, "pc01", BOOT_SLOT_LAST, "old", 0, &f->err));
    cl.menu_timeout_s = 5;
    OK(f, client_set(f->c, &cl, &f->err));
    OK(f, overlay_reset(f->c, "pc01", BOOT_SLOT_LAST, &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    assert_int_equal(count(f, "SELECT max(id) FROM link"), 8);
}

static void migrate(struct fixture *f, const char *name, const char *reader_says, const char *overlay_id)
{
    static char fresh[32768], found[32768];
    schema_of(f, f->dir, fresh, sizeof(fresh));
    load(f, name);
    FAILS(f, catalog_open(f->dir, CATALOG_READ, &f->c, &f->err), -EOPNOTSUPP, reader_says);
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
    check_rows(f);
    check_views(f, overlay_id);
    schema_of(f, f->dir, found, sizeof(found));
    assert_string_equal(found, fresh);
    check_new_fields(f);
}

static void test_migrate_version_1_loses_nothing(void **state)
{
    migrate(*state, "catalog-v1.sql", "older version 1", "32011f5b-ba33-4e6d-b918-b88f75163eec");
}

static void test_migrate_version_2_loses_nothing(void **state)
{
    migrate(*state, "catalog-v2.sql", "older version 2", "a86b8dd9-8b7a-42c7-ae86-beea9874a860");
}

static void check_folders(struct fixture *f)
{
    static char fresh[32768], found[32768];
    char other[128];
    /* Of clients that are here only where garbage lies; the name of one that was removed stays. */
    assert_int_equal(count(f, "SELECT count(*) FROM overlay_dir"), 2);
    assert_int_equal(count(f, "SELECT count(*) FROM overlay_dir WHERE name IN ('gone', 'pc01')"), 2);
    assert_int_equal(count(f, "SELECT count(*) FROM garbage"), 2);
    assert_int_equal(count(f, "SELECT seq FROM sqlite_sequence WHERE name = 'client'"), 5);
    assert_int_equal(count(f, "SELECT seq FROM sqlite_sequence WHERE name = 'link'"), 4);
    assert_int_equal(count(f, "SELECT count(*) FROM sqlite_schema WHERE name GLOB 'old_*'"), 0);
    (void)snprintf(other, sizeof(other), "%s/other", f->dir);
    OK(f, catalog_create(other, &f->err));
    schema_of(f, other, fresh, sizeof(fresh));
    schema_of(f, f->dir, found, sizeof(found));
    assert_string_equal(found, fresh);
}

/* Imports of a former release can be taken back by this one. */
static void test_migrate_version_4_keeps_imports(void **state)
{
    struct fixture *f = *state;
    struct view_row *views = NULL;
    size_t n;
    load(f, "catalog-v4.sql");
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
    check_folders(f);
    OK(f, view_list(f->c, NULL, &views, &n, &f->err));
    free(views);
    assert_int_equal(n, 3);
    assert_int_equal(count(f, "SELECT count(*) FROM import_client"), 4);
    for (int run = 2; run > 0; run--) {
        json_t *obstacles, *files;
        OK(f, catalog_begin(f->c, &f->err));
        OK(f, import_undo(f->c, run, &obstacles, &files, &f->err));
        OK(f, catalog_commit(f->c, &f->err));
        json_decref(obstacles);
        json_decref(files);
        assert_int_equal(count(f, "SELECT count(*) FROM client"), run == 2 ? 3 : 1);
    }
    assert_int_equal(count(f, "SELECT count(*) FROM client WHERE name = 'pc01' AND ip = ''"), 1);
    assert_int_equal(count(f, "SELECT count(*) FROM import_client"), 0);
    assert_int_equal(count(f, "SELECT count(*) FROM overlay_dir"), 5); /* whoever had one keeps it from others */
}

static void test_migrate_a_client_s_name_is_no_rule_for_names(void **state)
{
    struct fixture *f = *state;
    char value[SETTING_LEN + 1];
    struct pending_row row;
    sqlite3 *db;
    char path[128];
    load(f, "catalog-v1.sql");
    (void)snprintf(path, sizeof(path), "%s/catalog.db", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "INSERT INTO setting VALUES ('clients.template', 'pc1')", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
    OK(f, setting_get(f->c, "clients.template", value, &f->err));
    assert_string_equal(value, "PC{03}");
    OK(f, setting_get(f->c, "boot.port", value, &f->err));
    assert_string_equal(value, "8081");
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, pending_note(f->c, "525400000077", "10.0.0.9", &row, &f->err));
    assert_int_equal(row.number, 1);
    OK(f, catalog_commit(f->c, &f->err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOT(test_migrate_version_1_loses_nothing),
        WITH_ROOT(test_migrate_version_2_loses_nothing),
        WITH_ROOT(test_migrate_version_4_keeps_imports),
        WITH_ROOT(test_migrate_a_client_s_name_is_no_rule_for_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
