/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalog's part for booting: waiting PCs, names by a rule, boots. */
#include "tests/unit/catalog-look.h"

#include <time.h>

#include "core/catalog-boot.h"

static const char *mac_of(unsigned i)
{
    static char mac[MAC_LEN + 1];
    (void)snprintf(mac, sizeof(mac), "52:54:00:%02x:%02x:%02x", i >> 16 & 255, i >> 8 & 255, i & 255);
    return mac;
}

static struct pending_row note(struct fixture *f, unsigned i)
{
    struct pending_row row;
    OK(f, pending_note(f->c, mac_of(i), "10.0.0.9", &row, &f->err));
    return row;
}

/* --- unknown PCs ------------------------------------------------------------------------------------------------- */

static void test_pending_keeps_its_number_and_counts(void **state)
{
    struct fixture *f = *state;
    struct pending_row row;
    assert_int_equal(note(f, 7).number, 1);
    assert_int_equal(note(f, 8).number, 2);
    OK(f, pending_note(f->c, "52-54-00-00-00-07", "10.0.0.77", &row, &f->err));
    assert_int_equal(row.number, 1);
    assert_int_equal(row.requests, 2);
    assert_string_equal(row.address, "10.0.0.77");
    assert_string_equal(row.mac, "52:54:00:00:00:07");
}

static void test_pending_uses_free_numbers_again(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 4; i++)
        (void)note(f, i);
    OK(f, pending_remove(f->c, mac_of(3), &f->err));
    OK(f, pending_remove(f->c, mac_of(1), &f->err));
    OK(f, pending_remove(f->c, mac_of(1), &f->err));
    assert_int_equal(note(f, 10).number, 1);
    assert_int_equal(note(f, 11).number, 3);
    assert_int_equal(note(f, 12).number, 5);
}

static void test_pending_flood_is_bounded_and_spares_who_waits(void **state)
{
    struct fixture *f = *state;
    struct pending_row row;
    for (int i = 0; i < 5; i++)
        row = note(f, 0xffffff);
    for (unsigned i = 1; i <= PENDING_MAX + 50; i++)
        (void)note(f, i);
    assert_int_equal(count(f, "SELECT count(*) FROM pending"), PENDING_MAX);
    assert_int_equal(count(f, "SELECT max(number) FROM pending"), PENDING_MAX);
    OK(f, pending_get(f->c, mac_of(0xffffff), &row, &f->err));
    assert_int_equal(row.number, 1);
}

static void test_pending_forgets_first_who_has_gone(void **state)
{
    struct fixture *f = *state;
    struct pending_row row;
    for (int i = 0; i < 5; i++)
        (void)note(f, 0xffffff);
    OK(f, db_exec(f->c, "UPDATE pending SET last_at = '2020-01-01T00:00:00Z'", &f->err));
    for (unsigned i = 1; i <= PENDING_MAX; i++)
        (void)note(f, i);
    FAILS(f, pending_get(f->c, mac_of(0xffffff), &row, &f->err), -ENOENT, "client pending");
}

static void test_pending_refuses_what_is_no_mac(void **state)
{
    struct fixture *f = *state;
    struct pending_row row;
    FAILS(f, pending_note(f->c, "'; DROP TABLE client", "10.0.0.9", &row, &f->err), -EINVAL, "MAC");
    assert_int_equal(count(f, "SELECT count(*) FROM pending"), 0);
}

/* --- names ------------------------------------------------------------------------------------------------------- */

static void expect_names(struct fixture *f, const char *rule, const char *first, const char *second)
{
    char name[NAME_LEN + 1], mac[MAC_LEN + 1];
    static unsigned next = 1;
    OK(f, client_name_next(f->c, rule, name, &f->err));
    assert_string_equal(name, first);
    (void)snprintf(mac, sizeof(mac), "5254000000%02x", next++);
    OK(f, add_client(f->c, name, mac, &f->err));
    OK(f, client_name_next(f->c, rule, name, &f->err));
    assert_string_equal(name, second);
}

static void test_name_rules_count(void **state)
{
    struct fixture *f = *state;
    expect_names(f, "PC{03}", "PC001", "PC002");
    expect_names(f, "a{3}", "a001", "a002");
    expect_names(f, "lab-{}-x", "lab-1-x", "lab-2-x");
    expect_names(f, "{n}", "1", "2");
}

static void test_name_rules_fill_gaps_without_regard_to_case(void **state)
{
    struct fixture *f = *state;
    OK(f, add_client(f->c, "pc01", "525400000101", &f->err));
    OK(f, add_client(f->c, "Pc03", "525400000103", &f->err));
    expect_names(f, "PC{02}", "PC02", "PC04");
}

static void test_name_rules_outgrow_their_width(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 9; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "p%u", i);
        OK(f, add_client(f->c, name, mac_of(i), &f->err));
    }
    char name[NAME_LEN + 1];
    OK(f, client_name_next(f->c, "p{1}", name, &f->err));
    assert_string_equal(name, "p10");
}

static void test_name_rules_that_are_none(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"",        "PC",     "PC{",   "PC}",    "PC{x}",   "PC{0}", "PC{12}",
                                      "PC{03",   "{}{}",   "-{}",   "a b{}",  "PC{03}}", "{{}}",  "PC{-1}",
                                      "PC{03 }", "PC{n3}", "../{}", "PC{%s}", "ä{}",     "PC{00}"};
    char name[NAME_LEN + 1];
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (client_name_next(f->c, bad[i], name, &f->err) != -EINVAL)
            fail_msg("'%s' is taken for a rule and gives '%s'", bad[i], name);
}

/* --- counts ------------------------------------------------------------------------------------------------------ */

static uint64_t added(struct fixture *f, const char *who, int64_t since_s)
{
    uint64_t n = 0;
    OK(f, client_count_added(f->c, who, since_s, &n, &f->err));
    return n;
}

static void test_clients_are_counted_by_who_added_them_and_when(void **state)
{
    struct fixture *f = *state;
    const int64_t now_s = (int64_t)time(NULL);
    uint64_t n = 0;
    OK(f, add_client(f->c, "by-hand", mac_of(1), &f->err));
    catalog_set_actor(f->c, "boot");
    OK(f, add_client(f->c, "a", mac_of(2), &f->err));
    OK(f, add_client(f->c, "b", mac_of(3), &f->err));
    OK(f, add_client(f->c, "c", mac_of(4), &f->err));
    OK(f, client_rename(f->c, "c", "d", &f->err));
    OK(f, client_count(f->c, &n, &f->err));
    assert_int_equal(n, 4);
    assert_int_equal(added(f, "boot", now_s - 60), 3);
    OK(f, client_remove(f->c, "d", &f->err));
    assert_int_equal(added(f, "boot", now_s - 60), 3); /* a removal gives nobody another allowance */
    OK(f, db_exec(f->c,
                  "UPDATE audit SET at = '2020-01-01T00:00:00Z' WHERE id < (SELECT id FROM audit WHERE object = 'b')",
                  &f->err));
    assert_int_equal(added(f, "boot", now_s - 60), 2); /* without a */
    OK(f, db_exec(f->c, "UPDATE audit SET at = '2099-01-01T00:00:00Z'", &f->err));
    assert_int_equal(added(f, "boot", now_s - 60), 0); /* of a clock that was ahead: nobody waits for that day */
}

/* --- boots ------------------------------------------------------------------------------------------------------- */

static struct boot_row add_boot(struct fixture *f, const char *client, const char *refused)
{
    struct boot_row row = {.version = 3, .script_s = 1000};
    struct client_row cl;
    OK(f, client_get(f->c, client, &cl, &f->err));
    row.client_id = cl.id;
    strcpy(row.client, cl.name);
    strcpy(row.mac, cl.mac);
    strcpy(row.address, "10.0.0.7");
    strcpy(row.image, "win");
    strcpy(row.refused, refused);
    OK(f, boot_add(f->c, &row, &f->err));
    return row;
}

static void test_boots_are_kept_and_brought_up_to_date(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct boot_row *rows = NULL;
    size_t n = 0;
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    (void)add_boot(f, "pc1", "");
    struct boot_row b = add_boot(f, "pc1", "");
    b.login_s = 1001;
    b.first_read_s = 1002;
    b.last_read_s = 1003;
    b.end_s = 1004;
    b.read_bytes = UINT64_C(1) << 40;
    b.written_bytes = 5;
    OK(f, boot_update(f->c, &b, &f->err));
    OK(f, boot_list(f->c, "PC1", 1, &rows, &n, &f->err));
    assert_int_equal(n, 1);
    assert_memory_equal(&rows[0], &b, sizeof(b));
}

static void test_a_new_boot_ends_the_former_one(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct boot_row *rows = NULL;
    size_t n = 0;
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    OK(f, add_client(f->c, "pc2", "525400000002", &f->err));
    (void)add_boot(f, "pc2", "");
    (void)add_boot(f, "pc1", "");
    (void)add_boot(f, "pc1", "");
    OK(f, boot_list(f->c, NULL, 0, &rows, &n, &f->err));
    assert_int_equal(n, 3);
    assert_int_equal(rows[0].end_s, 0);
    assert_int_equal(rows[1].end_s, 1000);
    assert_int_equal(rows[2].end_s, 0);
}

static void test_boots_follow_a_rename_and_outlive_the_client(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct boot_row *rows = NULL, *left = NULL;
    size_t n = 0;
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    (void)add_boot(f, "pc1", "");
    OK(f, client_rename(f->c, "pc1", "pc9", &f->err));
    OK(f, boot_list(f->c, "pc9", 0, &rows, &n, &f->err));
    assert_int_equal(n, 1);
    assert_string_equal(rows[0].client, "pc9");
    OK(f, client_remove(f->c, "pc9", &f->err));
    OK(f, boot_list(f->c, NULL, 0, &left, &n, &f->err));
    assert_int_equal(n, 1);
    assert_string_equal(left[0].client, "pc1");
    FAILS(f, boot_list(f->c, "pc9", 0, &left, &n, &f->err), -ENOENT, "pc9");
}

static void test_last_boot_is_the_newest_that_was_not_refused(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct boot_row *rows = NULL;
    size_t n = 0;
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    OK(f, add_client(f->c, "pc2", "525400000002", &f->err));
    (void)add_boot(f, "pc1", "");
    struct boot_row b = add_boot(f, "pc1", "");
    (void)add_boot(f, "pc1", "the image is gone");
    (void)add_boot(f, "pc2", "the image is gone");
    OK(f, boot_last(f->c, &rows, &n, &f->err));
    assert_int_equal(n, 1);
    assert_int_equal(rows[0].id, b.id);
}

static void test_boots_are_bounded(void **state)
{
    struct fixture *f = *state;
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    (void)add_boot(f, "pc1", "");
    OK(f, db_exec(f->c, "UPDATE sqlite_sequence SET seq = seq + 20000 WHERE name = 'boot'", &f->err));
    (void)add_boot(f, "pc1", "");
    assert_int_equal(count(f, "SELECT count(*) FROM boot"), 1);
}

static void test_renewing_an_overlay_leaves_no_audit_row(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct view_row *before = NULL, *after = NULL;
    size_t n;
    OK(f, add_image(f->c, "win", false, &f->err));
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    OK(f, link_set(f->c, "pc1", 0, "win", 0, &f->err));
    OK(f, view_list(f->c, "pc1", &before, &n, &f->err));
    int64_t rows = count(f, "SELECT count(*) FROM audit");
    OK(f, overlay_renew(f->c, "pc1", 0, &f->err));
    OK(f, view_list(f->c, "pc1", &after, &n, &f->err));
    assert_string_not_equal(before[0].overlay_id, after[0].overlay_id);
    assert_int_equal(count(f, "SELECT count(*) FROM audit"), rows);
    assert_int_equal(count(f, "SELECT count(*) FROM garbage"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WRITER(test_clients_are_counted_by_who_added_them_and_when),
        WITH_WRITER(test_pending_keeps_its_number_and_counts),
        WITH_WRITER(test_pending_uses_free_numbers_again),
        WITH_WRITER(test_pending_flood_is_bounded_and_spares_who_waits),
        WITH_WRITER(test_pending_forgets_first_who_has_gone),
        WITH_WRITER(test_pending_refuses_what_is_no_mac),
        WITH_WRITER(test_name_rules_count),
        WITH_WRITER(test_name_rules_fill_gaps_without_regard_to_case),
        WITH_WRITER(test_name_rules_outgrow_their_width),
        WITH_WRITER(test_name_rules_that_are_none),
        WITH_WRITER(test_boots_are_kept_and_brought_up_to_date),
        WITH_WRITER(test_a_new_boot_ends_the_former_one),
        WITH_WRITER(test_boots_follow_a_rename_and_outlive_the_client),
        WITH_WRITER(test_last_boot_is_the_newest_that_was_not_refused),
        WITH_WRITER(test_boots_are_bounded),
        WITH_WRITER(test_renewing_an_overlay_leaves_no_audit_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
