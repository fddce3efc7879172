/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The audit of the catalog: who did what, and no password in it. */
#include "tests/unit/catalog-fixture.h"

static void test_audit_tells_who_what_before_and_after(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct audit_row *rows = NULL;
    size_t n;
    catalog_set_actor(f->c, "sudo:anna");
    OK(f, setting_set(f->c, "auth.acl", "name", &f->err));
    OK(f, client_rename(f->c, "pc1", "pc7", &f->err));
    OK(f, overlay_reset(f->c, "pc7", 0, &f->err));
    OK(f, link_remove(f->c, "pc7", 0, &f->err));
    OK(f, client_remove(f->c, "pc7", &f->err));
    OK(f, audit_list(f->c, 5, &rows, &n, &f->err));
    assert_int_equal(n, 5);
    assert_string_equal(rows[0].who, "sudo:anna");
    assert_string_equal(rows[0].verb, "set");
    assert_string_equal(rows[0].object, "auth.acl");
    assert_string_equal(rows[0].before, "{\"value\":\"off\"}");
    assert_string_equal(rows[0].after, "{\"value\":\"name\"}");
    assert_int_equal(strlen(rows[0].at), 20);
    assert_string_equal(rows[1].verb, "client rename");
    assert_non_null(strstr(rows[1].after, "\"name\":\"pc7\""));
    assert_string_equal(rows[2].verb, "client reset");
    assert_string_equal(rows[2].object, "pc7 slot 0");
    assert_string_not_equal(rows[2].before, rows[2].after);
    assert_string_equal(rows[3].verb, "client unlink");
    assert_string_equal(rows[3].after, "null");
    assert_string_equal(rows[4].verb, "client remove");
    assert_non_null(strstr(rows[4].before, "\"links\":{\"3\":\"games@1\"}"));
    assert_true(rows[0].id < rows[4].id);
}

static void test_audit_holds_no_password(void **state)
{
    struct fixture *f = *state;
    struct client_row row;
    _cleanup_free_ struct audit_row *rows = NULL;
    size_t n;
    OK(f, client_get(f->c, "pc1", &row, &f->err));
    OK(f, client_set(f->c, &row, &f->err));
    OK(f, client_remove(f->c, "pc1", &f->err));
    OK(f, audit_list(f->c, 0, &rows, &n, &f->err));
    assert_true(n >= 8); /* init, three images, the client, two links, set, remove */
    assert_string_equal(rows[0].verb, "init");
    for (size_t i = 0; i < n; i++) {
        assert_null(strstr(rows[i].before, row.chap_password));
        assert_null(strstr(rows[i].after, row.chap_password));
    }
}

static void test_audit_cuts_long_values_and_takes_any_path(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct audit_row *rows = NULL;
    struct version_row v;
    size_t n;
    OK(f, version_find(f->c, "win11", 1, &v, &f->err));
    v.path[0] = '/';
    memset(v.path + 1, 0xe4, 3000); /* Latin-1, no UTF-8 */
    v.path[3001] = 0;
    OK(f, version_update(f->c, &v, &f->err));
    OK(f, audit_list(f->c, 1, &rows, &n, &f->err));
    assert_non_null(strstr(rows[0].after, "\"path\":\"/???"));
    assert_non_null(strstr(rows[0].after, "?...\""));
    assert_int_equal(rows[0].after[strlen(rows[0].after) - 1], '}');
    struct version_row found;
    OK(f, version_get(f->c, v.id, &found, &f->err));
    assert_string_equal(found.path, v.path);
}

static void test_audit_knows_the_caller(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct audit_row *rows = NULL;
    size_t n;
    bool is_root = getuid() == 0;
    catalog_rollback(f->c);
    catalog_close(take_ptr(f->c));
    assert_int_equal(setenv("SUDO_USER", "anna", 1), 0);
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
    assert_int_equal(unsetenv("SUDO_USER"), 0);
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, setting_set(f->c, "auth.chap", "off", &f->err));
    OK(f, audit_list(f->c, 1, &rows, &n, &f->err));
    assert_int_equal(strcmp(rows[0].who, "sudo:anna") == 0, is_root); /* anyone but root could have made it up */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LINKS(test_audit_tells_who_what_before_and_after),
        WITH_LINKS(test_audit_holds_no_password),
        WITH_LINKS(test_audit_cuts_long_values_and_takes_any_path),
        WITH_LINKS(test_audit_knows_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
