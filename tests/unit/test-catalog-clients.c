/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clients in the catalog: what they are given and keep, and what is refused. */
#include "tests/unit/catalog-fixture.h"

static void test_clients_get_iqn_secret_and_one_mac_spelling(void **state)
{
    struct fixture *f = *state;
    struct client_row row = {.name = "Lab_PC.1",
                             .mac = "52-54-00-AB-CD-EF",
                             .ip = "10.0.0.7",
                             .group = "lab",
                             .mode = OVERLAY_KEPT,
                             .comment = "window seat"};
    char tag[9], iqn[128];
    OK(f, catalog_root_tag(f->c, tag, &f->err));
    (void)snprintf(iqn, sizeof(iqn), "iqn.2026-11.org.diskgate:%s:lab-pc.1", tag);
    OK(f, client_add(f->c, &row, &f->err));
    assert_true(row.id > 0);
    assert_string_equal(row.mac, "52:54:00:ab:cd:ef");
    assert_string_equal(row.iqn, iqn);
    assert_string_equal(row.chap_user, "lab-pc.1");
    assert_int_equal(strlen(row.chap_password), 16);
    struct client_row found;
    OK(f, client_get(f->c, "lab_pc.1", &found, &f->err));
    assert_memory_equal(&found, &row, sizeof(row));
}

static void test_clients_taken_macs_and_names_say_by_whom(void **state)
{
    struct fixture *f = *state;
    struct client_row row = {.name = "pc4", .mac = "525400000004", .ip = "10.0.0.3"};
    OK(f, add_client(f->c, "pc3", "52:54:00:12:34:56", &f->err));
    FAILS(f, add_client(f->c, "pc4", "5254.0012.3456", &f->err), -EEXIST,
          "MAC 52:54:00:12:34:56 already belongs to client 'pc3'; ");
    FAILS(f, add_client(f->c, "PC3", "525400000009", &f->err), -EEXIST, "a client called 'pc3' exists already");
    FAILS(f, add_client(f->c, "pc 5", "525400000009", &f->err), -EINVAL, "client name 'pc 5'");
    FAILS(f, add_client(f->c, "pc5", "nonsense", &f->err), -EINVAL, "'nonsense' is no MAC address");
    OK(f, client_add(f->c, &row, &f->err));
    strcpy(row.mac, "52:54:00:12:34:56");
    FAILS(f, client_set(f->c, &row, &f->err), -EEXIST, "already belongs to client 'pc3'");
    struct client_row other;
    OK(f, client_get(f->c, "pc3", &other, &f->err));
    strcpy(other.ip, "10.0.0.3");
    FAILS(f, client_set(f->c, &other, &f->err), -EEXIST, "IP address 10.0.0.3 already belongs to client 'pc4'");
    strcpy(other.ip, "10.0.0.300");
    FAILS(f, client_set(f->c, &other, &f->err), -EINVAL, "'10.0.0.300' is no IP address");
    FAILS(f, client_rename(f->c, "pc3", "PC4", &f->err), -EEXIST, "a client called 'pc4' exists already");
    FAILS(f, client_rename(f->c, "pc9", "pc10", &f->err), -ENOENT, "no client is called 'pc9'");
}

static void test_clients_are_set_and_renamed_without_changing_identity(void **state)
{
    struct fixture *f = *state;
    struct client_row before, after;
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    OK(f, client_get(f->c, "pc1", &before, &f->err));
    before.mode = OVERLAY_KEPT;
    strcpy(before.mac, "AABB.CC00.0001");
    strcpy(before.group, "room-2");
    strcpy(before.ip, "FD00::0:5");
    OK(f, client_set(f->c, &before, &f->err));
    OK(f, client_rename(f->c, "pc1", "PC1", &f->err));
    OK(f, client_rename(f->c, "pc1", "front", &f->err));
    OK(f, client_get(f->c, "front", &after, &f->err));
    assert_int_equal(after.id, before.id);
    assert_string_equal(after.iqn, before.iqn);
    assert_string_equal(after.chap_user, before.chap_user);
    assert_string_equal(after.chap_password, before.chap_password);
    assert_string_equal(after.mac, "aa:bb:cc:00:00:01");
    assert_string_equal(after.ip, "fd00::5");
    assert_string_equal(after.group, "room-2");
    assert_int_equal(after.mode, OVERLAY_KEPT);
    strcpy(after.group, "a b");
    FAILS(f, client_set(f->c, &after, &f->err), -EINVAL, "group name 'a b'");
}

static void test_clients_network_and_boot_fields_are_checked_and_kept(void **state)
{
    struct fixture *f = *state;
    struct client_row row = {.name = "pc1",
                             .mac = "525400000001",
                             .netmask = "255.255.254.0",
                             .gateway = "10.0.0.1",
                             .dns = "10.0.0.1, 10.0.0.2",
                             .is_disabled = true,
                             .menu_timeout_s = 3600,
                             .ram_write_bytes = 5 * GiB},
                      found;
    OK(f, client_add(f->c, &row, &f->err));
    OK(f, client_get(f->c, "pc1", &found, &f->err));
    assert_string_equal(found.dns, "10.0.0.1,10.0.0.2");
    assert_string_equal(found.netmask, "255.255.254.0");
    assert_true(found.is_disabled);
    assert_int_equal(found.ram_write_bytes, 5 * GiB);
    static const char *const bad_masks[] = {"255.0.255.0", "0.0.0.0", "24", "255.255.255"};
    for (size_t i = 0; i < ARRAY_SIZE(bad_masks); i++) {
        row = found;
        strcpy(row.netmask, bad_masks[i]);
        FAILS(f, client_set(f->c, &row, &f->err), -EINVAL, "is no netmask; write it as 255.255.255.0");
    }
    row = found;
    strcpy(row.gateway, "224.0.0.1");
    FAILS(f, client_set(f->c, &row, &f->err), -EINVAL, "the gateway '224.0.0.1' is no IPv4 address");
    row = found;
    strcpy(row.dns, "10.0.0.1 name.server");
    FAILS(f, client_set(f->c, &row, &f->err), -EINVAL, "must be IPv4 addresses with commas");
    row = found;
    row.menu_timeout_s = 3601;
    FAILS(f, client_set(f->c, &row, &f->err), -EINVAL, "cannot wait for 3601 s; at most 3600 s");
    row = found;
    row.ram_write_bytes = UINT64_MAX;
    FAILS(f, client_set(f->c, &row, &f->err), -EINVAL, "is too large");
}

static void test_clients_iqns_and_users_are_unique(void **state)
{
    struct fixture *f = *state;
    struct client_row a, b, c;
    char longest[NAME_LEN + 1];
    OK(f, add_client(f->c, "pc_1", "525400000001", &f->err));
    OK(f, add_client(f->c, "pc-1", "525400000002", &f->err));
    OK(f, client_rename(f->c, "pc_1", "old", &f->err));
    OK(f, add_client(f->c, "pc_1", "525400000003", &f->err));
    OK(f, client_get(f->c, "old", &a, &f->err));
    OK(f, client_get(f->c, "pc-1", &b, &f->err));
    OK(f, client_get(f->c, "pc_1", &c, &f->err));
    assert_string_equal(a.chap_user, "pc-1");
    assert_string_equal(b.chap_user, "pc-1-2");
    assert_string_equal(c.chap_user, "pc-1-3");
    assert_non_null(strstr(c.iqn, ":pc-1-3"));
    memset(longest, 'X', NAME_LEN);
    longest[NAME_LEN] = 0;
    OK(f, add_client(f->c, longest, "525400000004", &f->err));
    longest[NAME_LEN - 1] = 'Y';
    OK(f, add_client(f->c, longest, "525400000005", &f->err)); /* its label is cut to the same letters */
}

static void test_clients_ids_and_folders_are_never_used_again(void **state)
{
    struct fixture *f = *state;
    struct client_row first, second;
    _cleanup_free_ struct view_row *views = NULL;
    size_t n;
    OK(f, add_image(f->c, "img", false, &f->err));
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    OK(f, client_get(f->c, "pc1", &first, &f->err));
    OK(f, client_remove(f->c, "pc1", &f->err));
    OK(f, add_client(f->c, "PC1", "525400000001", &f->err));
    OK(f, client_get(f->c, "PC1", &second, &f->err));
    assert_true(second.id > first.id);
    OK(f, link_set(f->c, "pc1", 0, "img", 0, &f->err));
    OK(f, view_list(f->c, "pc1", &views, &n, &f->err));
    assert_string_equal(views[0].overlay_dir, "PC1.2");
    free(take_ptr(views));
    OK(f, client_rename(f->c, "pc1", "other", &f->err)); /* keeps its folder */
    OK(f, add_client(f->c, "pc1.2", "525400000002", &f->err));
    OK(f, link_set(f->c, "pc1.2", 0, "img", 0, &f->err));
    OK(f, view_list(f->c, "pc1.2", &views, &n, &f->err));
    assert_string_equal(views[0].overlay_dir, "pc1.2.2");
}

static void test_modes_have_names(void **state)
{
    enum overlay_mode m;
    struct err err;
    assert_int_equal(overlay_mode_parse("kept", &m, NULL), 0);
    assert_int_equal(m, OVERLAY_KEPT);
    assert_int_equal(overlay_mode_parse("volatile", &m, NULL), 0);
    assert_int_equal(m, OVERLAY_VOLATILE);
    assert_string_equal(overlay_mode_name(OVERLAY_SUPER), "super");
    assert_int_equal(overlay_mode_parse("super", &m, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "no super clients yet; use volatile or kept"));
    assert_int_equal(overlay_mode_parse("Kept", &m, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "use volatile or kept"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WRITER(test_clients_get_iqn_secret_and_one_mac_spelling),
        WITH_WRITER(test_clients_taken_macs_and_names_say_by_whom),
        WITH_WRITER(test_clients_are_set_and_renamed_without_changing_identity),
        WITH_WRITER(test_clients_network_and_boot_fields_are_checked_and_kept),
        WITH_WRITER(test_clients_iqns_and_users_are_unique),
        WITH_WRITER(test_clients_ids_and_folders_are_never_used_again),
        cmocka_unit_test(test_modes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
