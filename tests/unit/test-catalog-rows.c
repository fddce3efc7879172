/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the catalog holds: settings, images, clients, links, overlays, garbage and audit, and what each refuses. */
#include "tests/unit/catalog-fixture.h"

/* --- settings ---------------------------------------------------------------------------------------------------- */

static void expect_setting(struct fixture *f, const char *key, const char *value)
{
    char got[SETTING_LEN + 1];
    OK(f, setting_get(f->c, key, got, &f->err));
    assert_string_equal(got, value);
}

static void test_settings_defaults_fit_their_own_forms(void **state)
{
    struct fixture *f = *state;
    size_t n;
    const struct setting_def *defs = setting_defs(&n);
    assert_true(n >= 12);
    for (size_t i = 0; i < n; i++) {
        expect_setting(f, defs[i].key, defs[i].value);
        OK(f, setting_set(f->c, defs[i].key, defs[i].value, &f->err));
        expect_setting(f, defs[i].key, defs[i].value);
    }
}

static void test_settings_take_good_values_and_return_to_the_default(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *key, *value, *stored;
    } rows[] = {
        {"gateway.address", "192.168.1.2", "192.168.1.2"},
        {"gateway.address", "FD00:0:0:0:0:0:0:1", "fd00::1"},
        {"gateway.port", "65535", "65535"},
        {"gateway.port", "003261", "3261"},
        {"gateway.shards", "64", "64"},
        {"gateway.tcp_wmem", "off", "off"},
        {"gateway.tcp_wmem", "4096  65536\t131072", "4096 65536 131072"},
        {"auth.chap", "off", "off"},
        {"auth.acl", "name", "name"},
        {"auth.acl", "address", "address"},
        {"clients.unknown", "auto", "auto"},
        {"clients.template", "lab-{}", "lab-{}"},
        {"clients.template_client", "pc1", "pc1"},
        {"clients.template_image", "", ""},
        {"clients.template_image", "win@3", "win@3"},
        {"ram.read_bytes", "8G", "8G"},
        {"fs.user", "_disk-gate1", "_disk-gate1"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        OK(f, setting_set(f->c, rows[i].key, rows[i].value, &f->err));
        expect_setting(f, rows[i].key, rows[i].stored);
    }
    uint64_t bytes;
    OK(f, setting_get_u64(f->c, "ram.read_bytes", &bytes, &f->err));
    assert_int_equal(bytes, 8 * GiB);
    OK(f, setting_set(f->c, "auth.acl", NULL, &f->err));
    expect_setting(f, "auth.acl", "off");
}

static void test_settings_refuse_bad_values_with_key_value_and_form(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *key, *value;
    } rows[] = {
        {"gateway.address", ""},
        {"gateway.address", "0.0.0.0"},
        {"gateway.address", "gateway"},
        {"gateway.address", "10.0.0"},
        {"gateway.address", "224.0.0.1"},
        {"gateway.address", "::"},
        {"gateway.port", "0"},
        {"gateway.port", "65536"},
        {"gateway.port", "-1"},
        {"gateway.port", "80x"},
        {"gateway.port", ""},
        {"gateway.shards", "0"},
        {"gateway.shards", "65"},
        {"gateway.tcp_wmem", "4096"},
        {"gateway.tcp_wmem", "1 2 3"},
        {"gateway.tcp_wmem", "9000 8000 7000"},
        {"gateway.tcp_wmem", "4096 8192 16384 32768"},
        {"gateway.tcp_wmem", "4096 8192 99999999999"},
        {"auth.chap", "yes"},
        {"auth.chap", "o"},
        {"auth.chap", "on|off"},
        {"auth.chap", ""},
        {"auth.acl", "names"},
        {"clients.unknown", "nam"},
        {"clients.template", "a b"},
        {"clients.template", "PC"},
        {"clients.template", "PC{0}"},
        {"clients.template", "PC{}{}"},
        {"clients.template_image", "a/b"},
        {"wake.address", "host"},
        {"ram.read_bytes", "much"},
        {"ram.read_bytes", "-1"},
        {"fs.user", "Root User"},
        {"fs.user", ""},
        {"tgt.threads", "1000000000000000000000"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char said[128];
        (void)snprintf(said, sizeof(said), "%s cannot be '%s'; it takes: ", rows[i].key, rows[i].value);
        FAILS(f, setting_set(f->c, rows[i].key, rows[i].value, &f->err), -EINVAL, said);
    }
    char long_value[400];
    memset(long_value, 'x', sizeof(long_value) - 1);
    long_value[sizeof(long_value) - 1] = 0;
    FAILS(f, setting_set(f->c, "clients.template", long_value, &f->err), -EINVAL, "clients.template cannot be");
    expect_setting(f, "gateway.port", "3260");
}

static void test_settings_refuse_unknown_keys_and_impossible_ports(void **state)
{
    struct fixture *f = *state;
    char value[SETTING_LEN + 1];
    FAILS(f, setting_set(f->c, "gateway.prot", "1", &f->err), -ENOENT, "no setting is called 'gateway.prot'");
    FAILS(f, setting_get(f->c, "", value, &f->err), -ENOENT, "no setting is called ''");
    OK(f, setting_set(f->c, "gateway.shards", "4", &f->err));
    FAILS(f, setting_set(f->c, "gateway.port", "65533", &f->err), -EINVAL, "leave the last shard without a port");
    expect_setting(f, "gateway.port", "3260");
    OK(f, setting_set(f->c, "gateway.port", "65532", &f->err));
}

/* --- images ------------------------------------------------------------------------------------------------------ */

static void test_images_are_stored_whole(void **state)
{
    struct fixture *f = *state;
    struct image_row i = {.name = "win11", .comment = "Büro"};
    struct version_row v = {.format = "vhd",
                            .path = "images/win11/v1.raw",
                            .size_bytes = 64 * GiB,
                            .file_bytes = 64 * GiB + 512,
                            .mtime_ns = -1,
                            .identity = "xxh3s1:1:2",
                            .full_hash = "00112233445566778899aabbccddeeff",
                            .comment = "first"};
    struct version_row found;
    OK(f, image_add(f->c, &i, &v, &f->err));
    assert_int_equal(i.current, 1);
    assert_int_equal(i.current_id, v.id);
    OK(f, version_find(f->c, "WIN11", 0, &found, &f->err));
    assert_memory_equal(&found, &v, sizeof(v));
    assert_string_equal(found.image, "win11");
    assert_int_equal(found.number, 1);
    assert_int_equal(found.parent_id, 0);
    assert_int_equal(found.size_bytes, 64 * GiB);
    assert_int_equal(found.mtime_ns, -1);
    assert_string_equal(found.comment, "first");
    assert_int_equal(strlen(found.created_at), 20);
}

static void test_images_refuse_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    struct image_row i = {.name = "x"};
    struct version_row v = {.format = "raw", .path = "p", .size_bytes = 1024, .identity = "i"};
    OK(f, add_image(f->c, "Win11", false, &f->err));
    FAILS(f, add_image(f->c, "win11", false, &f->err), -EEXIST, "an image called 'win11' exists already");
    FAILS(f, add_image(f->c, "a/b", false, &f->err), -EINVAL, "image name 'a/b'");
    FAILS(f, image_rename(f->c, "Win11", "-x", &f->err), -EINVAL, "image name '-x'");
    v.size_bytes = 1000;
    FAILS(f, image_add(f->c, &i, &v, &f->err), -EINVAL, "1000 bytes");
    v.size_bytes = 0;
    FAILS(f, image_add(f->c, &i, &v, &f->err), -EINVAL, "multiple of 512");
    v.size_bytes = 512;
    strcpy(i.comment, "a\nb");
    FAILS(f, image_add(f->c, &i, &v, &f->err), -EINVAL, "control character");
    strcpy(i.comment, "\xff");
    FAILS(f, image_add(f->c, &i, &v, &f->err), -EINVAL, "UTF-8");
    i.comment[0] = 0;
    v.identity[0] = 0;
    FAILS(f, image_add(f->c, &i, &v, &f->err), -EINVAL, "identity");
    struct image_row row;
    FAILS(f, image_get(f->c, "x", &row, &f->err), -ENOENT, "no image is called 'x'");
    FAILS(f, version_find(f->c, "Win11", 3, &v, &f->err), -ENOENT, "image 'Win11' has no version 3");
}

static void test_images_are_renamed_without_regard_to_links(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct link_row *links = NULL;
    size_t n;
    OK(f, add_image(f->c, "win11", false, &f->err));
    OK(f, add_image(f->c, "other", false, &f->err));
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    OK(f, link_set(f->c, "pc1", 0, "win11", 1, &f->err));
    FAILS(f, image_rename(f->c, "win11", "OTHER", &f->err), -EEXIST, "an image called 'OTHER' exists already");
    OK(f, image_rename(f->c, "win11", "Win11", &f->err));
    OK(f, image_rename(f->c, "win11", "win12", &f->err));
    OK(f, link_list(f->c, "pc1", &links, &n, &f->err));
    assert_int_equal(n, 1);
    assert_string_equal(links[0].image, "win12");
    assert_int_equal(links[0].pinned, 1);
}

static void test_images_in_use_are_not_removed(void **state)
{
    struct fixture *f = *state;
    OK(f, add_image(f->c, "win11", false, &f->err));
    for (int i = 1; i <= 12; i++) {
        char name[16], mac[16];
        (void)snprintf(name, sizeof(name), "pc%d", i);
        (void)snprintf(mac, sizeof(mac), "5254000000%02x", (unsigned)i & 0xff);
        OK(f, add_client(f->c, name, mac, &f->err));
        OK(f, link_set(f->c, name, 0, "win11", 0, &f->err));
        OK(f, link_set(f->c, name, 1, "win11", 0, &f->err));
        if (i == 1)
            FAILS(f, image_remove(f->c, "win11", &f->err), -EBUSY, "is used by 1 client: pc1; unlink it first");
    }
    FAILS(f, image_remove(f->c, "win11", &f->err), -EBUSY,
          "image 'win11' is used by 12 clients: pc1, pc2, pc3, pc4, pc5, pc6, pc7, pc8, pc9, pc10 and 2 more; unlink "
          "them");
    for (int i = 1; i <= 12; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "pc%d", i);
        OK(f, client_remove(f->c, name, &f->err));
    }
    OK(f, image_remove(f->c, "win11", &f->err));
    FAILS(f, image_remove(f->c, "win11", &f->err), -ENOENT, "no image is called 'win11'");
    OK(f, add_image(f->c, "win11", false, &f->err));
    OK(f, catalog_commit(f->c, &f->err)); /* the deferred references hold too */
}

static void test_versions_are_updated_by_repair(void **state)
{
    struct fixture *f = *state;
    struct version_row v, found;
    OK(f, add_image(f->c, "win11", false, &f->err));
    OK(f, version_find(f->c, "win11", 1, &v, &f->err));
    strcpy(v.path, "/mnt/else/where.raw");
    strcpy(v.full_hash, "ffeeddccbbaa99887766554433221100");
    v.mtime_ns++;
    OK(f, version_update(f->c, &v, &f->err));
    OK(f, version_get(f->c, v.id, &found, &f->err));
    assert_memory_equal(&found, &v, sizeof(v));
    v.id = 99;
    FAILS(f, version_update(f->c, &v, &f->err), -ENOENT, "id 99");
}

static void test_lists_count_as_people_do(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct client_row *clients = NULL;
    _cleanup_free_ struct image_row *images = NULL;
    _cleanup_free_ struct version_row *versions = NULL;
    size_t n;
    OK(f, client_list(f->c, &clients, &n, &f->err));
    assert_int_equal(n, 0);
    assert_non_null(clients);
    free(take_ptr(clients));
    for (int i = 30; i > 0; i--) { /* more than the first room of a list */
        char name[16], mac[16];
        (void)snprintf(name, sizeof(name), "%s%d", i % 2 ? "pc" : "PC", i);
        (void)snprintf(mac, sizeof(mac), "5254000000%02x", (unsigned)i & 0xff);
        OK(f, add_client(f->c, name, mac, &f->err));
        OK(f, add_image(f->c, name, false, &f->err));
    }
    OK(f, client_list(f->c, &clients, &n, &f->err));
    assert_int_equal(n, 30);
    assert_string_equal(clients[1].name, "PC2");
    assert_string_equal(clients[9].name, "PC10");
    OK(f, image_list(f->c, &images, &n, &f->err));
    assert_int_equal(n, 30);
    assert_string_equal(images[29].name, "PC30");
    OK(f, version_list(f->c, NULL, &versions, &n, &f->err));
    assert_int_equal(n, 30);
    assert_string_equal(versions[10].image, "pc11");
    free(take_ptr(versions));
    OK(f, version_list(f->c, "pc7", &versions, &n, &f->err));
    assert_int_equal(n, 1);
    FAILS(f, version_list(f->c, "none", &versions, &n, &f->err), -ENOENT, "no image is called 'none'");
}

/* --- clients ----------------------------------------------------------------------------------------------------- */

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
    assert_non_null(strstr(err.msg, "diskgate client super NAME on"));
    assert_int_equal(overlay_mode_parse("Kept", &m, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "use volatile or kept"));
}

/* --- links, overlays, garbage ------------------------------------------------------------------------------------ */

static struct view_row view_of(struct fixture *f, const char *client, size_t i)
{
    _cleanup_free_ struct view_row *views = NULL;
    size_t n;
    OK(f, view_list(f->c, client, &views, &n, &f->err));
    assert_true(i < n);
    return views[i];
}

static size_t garbage_of(struct fixture *f, struct garbage_row **ret)
{
    size_t n;
    OK(f, garbage_list(f->c, ret, &n, &f->err));
    return n;
}

static int setup_linked(void **state)
{
    if (setup_writer(state) < 0)
        return -1;
    struct fixture *f = *state;
    OK(f, add_image(f->c, "win11", false, &f->err));
    OK(f, add_image(f->c, "linux", false, &f->err));
    OK(f, add_image(f->c, "games", true, &f->err));
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    OK(f, link_set(f->c, "pc1", 0, "win11", 0, &f->err));
    OK(f, link_set(f->c, "pc1", 3, "games", 1, &f->err));
    return 0;
}

static void test_links_give_views_with_fresh_overlays(void **state)
{
    struct fixture *f = *state;
    struct view_row boot = view_of(f, "PC1", 0), data = view_of(f, NULL, 1);
    assert_string_equal(boot.client, "pc1");
    assert_string_equal(boot.image, "win11");
    assert_int_equal(boot.slot, 0);
    assert_int_equal(boot.version, 1);
    assert_int_equal(boot.current, 1);
    assert_int_equal(boot.size_bytes, GiB);
    assert_int_equal(boot.mode, OVERLAY_VOLATILE);
    assert_string_equal(boot.overlay_dir, "pc1");
    assert_int_equal(data.slot, 3);
    assert_int_equal(strlen(data.overlay_id), UUID_LEN);
    assert_string_not_equal(boot.overlay_id, data.overlay_id);
}

static void test_links_refuse_what_cannot_be(void **state)
{
    struct fixture *f = *state;
    FAILS(f, link_set(f->c, "pc1", 0, "games", 0, &f->err), -EINVAL, "image 'games' is a data image and slot 0");
    FAILS(f, link_set(f->c, "pc1", 16, "games", 0, &f->err), -EINVAL, "slot 16 of client 'pc1' is for boot disks");
    FAILS(f, link_set(f->c, "pc1", 32, "win11", 0, &f->err), -EINVAL, "slots 16 to 31 for its boot menu");
    FAILS(f, link_set(f->c, "pc9", 0, "win11", 0, &f->err), -ENOENT, "no client is called 'pc9'");
    FAILS(f, link_set(f->c, "pc1", 0, "win9", 0, &f->err), -ENOENT, "no image is called 'win9'");
    FAILS(f, link_set(f->c, "pc1", 0, "win11", 2, &f->err), -ENOENT, "image 'win11' has no version 2");
    FAILS(f, link_set(f->c, "pc1", 0, "WIN11", 0, &f->err), -EEXIST,
          "image 'win11' is already linked to slot 0 of client 'pc1'");
    FAILS(f, link_remove(f->c, "pc1", 7, &f->err), -ENOENT, "client 'pc1' has no image linked to slot 7");
    FAILS(f, overlay_reset(f->c, "pc1", 7, &f->err), -ENOENT, "no image linked to slot 7");
    FAILS(f, overlay_reset(f->c, "pc9", -1, &f->err), -ENOENT, "no client is called 'pc9'");
    struct view_row *views = NULL;
    struct link_row *links = NULL;
    size_t n;
    FAILS(f, view_list(f->c, "pc9", &views, &n, &f->err), -ENOENT, "no client is called 'pc9'");
    FAILS(f, link_list(f->c, "pc9", &links, &n, &f->err), -ENOENT, "no client is called 'pc9'");
}

static void test_relinked_slot_keeps_its_overlay_over_the_same_version_only(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct garbage_row *garbage = NULL;
    struct view_row before = view_of(f, "pc1", 0);
    OK(f, link_set(f->c, "pc1", 0, "win11", 1, &f->err)); /* now pinned, to the version that it has */
    assert_string_equal(view_of(f, "pc1", 0).overlay_id, before.overlay_id);
    assert_int_equal(garbage_of(f, &garbage), 0);
    free(take_ptr(garbage));
    OK(f, link_set(f->c, "pc1", 0, "linux", 0, &f->err));
    struct view_row after = view_of(f, "pc1", 0);
    assert_string_equal(after.image, "linux");
    assert_string_not_equal(after.overlay_id, before.overlay_id);
    assert_int_equal(garbage_of(f, &garbage), 1);
    assert_string_equal(garbage[0].overlay_id, before.overlay_id);
}

static void test_resets_in_a_row_leave_every_id_as_garbage(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct garbage_row *garbage = NULL;
    struct view_row first = view_of(f, "pc1", 0), other = view_of(f, "pc1", 1);
    OK(f, overlay_reset(f->c, "pc1", 0, &f->err));
    struct view_row second = view_of(f, "pc1", 0);
    OK(f, overlay_reset(f->c, "PC1", -1, &f->err));
    struct view_row third = view_of(f, "pc1", 0);
    assert_string_not_equal(second.overlay_id, third.overlay_id);
    assert_int_equal(garbage_of(f, &garbage), 3);
    assert_string_equal(garbage[0].overlay_id, first.overlay_id);
    assert_string_equal(garbage[1].overlay_id, second.overlay_id);
    assert_string_equal(garbage[2].overlay_id, other.overlay_id);
    assert_int_equal(garbage[2].slot, 3);
    assert_string_equal(garbage[2].overlay_dir, "pc1");
    OK(f, garbage_done(f->c, &garbage[1], &f->err));
    OK(f, garbage_done(f->c, &garbage[1], &f->err));
    free(take_ptr(garbage));
    assert_int_equal(garbage_of(f, &garbage), 2);
    assert_string_equal(garbage[1].overlay_id, other.overlay_id);
}

static void test_removed_links_and_clients_leave_garbage(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ struct garbage_row *garbage = NULL;
    struct view_row boot = view_of(f, "pc1", 0), data = view_of(f, "pc1", 1);
    OK(f, link_remove(f->c, "pc1", 3, &f->err));
    OK(f, client_rename(f->c, "pc1", "pc2", &f->err));
    OK(f, client_remove(f->c, "pc2", &f->err));
    assert_int_equal(garbage_of(f, &garbage), 2);
    assert_string_equal(garbage[0].overlay_id, data.overlay_id);
    assert_string_equal(garbage[1].overlay_id, boot.overlay_id);
    assert_string_equal(garbage[1].overlay_dir, "pc1");
    struct view_row *views = NULL;
    size_t n;
    OK(f, view_list(f->c, NULL, &views, &n, &f->err));
    assert_int_equal(n, 0);
    free(views);
    OK(f, catalog_commit(f->c, &f->err));
}

/* --- audit ------------------------------------------------------------------------------------------------------- */

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

static void test_links_boot_slots_are_for_boot_disks_and_leave_with_their_link(void **state)
{
    struct fixture *f = *state;
    struct client_row row;
    OK(f, link_set(f->c, "pc1", BOOT_SLOT_FIRST, "win11", 0, &f->err));
    OK(f, link_set(f->c, "pc1", BOOT_SLOT_LAST, "win11", 1, &f->err));
    OK(f, client_get(f->c, "pc1", &row, &f->err));
    row.boot_default = BOOT_SLOT_LAST - 1;
    FAILS(f, client_set(f->c, &row, &f->err), -EINVAL, "has no image linked to slot 30");
    row.boot_default = 3;
    FAILS(f, client_set(f->c, &row, &f->err), -EINVAL,
          "slot 3 is no boot disk; boot disks are slot 0 and slots 16 to 31");
    row.boot_default = BOOT_SLOT_LAST;
    OK(f, client_set(f->c, &row, &f->err));
    FAILS(f, client_set_boot_slot(f->c, "pc1", 17, &f->err), -EINVAL, "has no image linked to slot 17");
    FAILS(f, client_set_boot_slot(f->c, "pc1", 3, &f->err), -EINVAL, "slot 3 is no boot disk");
    OK(f, client_set_boot_slot(f->c, "pc1", BOOT_SLOT_FIRST, &f->err));
    OK(f, link_remove(f->c, "pc1", BOOT_SLOT_LAST, &f->err));
    OK(f, client_get(f->c, "pc1", &row, &f->err));
    assert_int_equal(row.boot_slot, BOOT_SLOT_FIRST);
    assert_int_equal(row.boot_default, 0);
    OK(f, link_remove(f->c, "pc1", BOOT_SLOT_FIRST, &f->err));
    OK(f, client_get(f->c, "pc1", &row, &f->err));
    assert_int_equal(row.boot_slot, BOOT_SLOT_FIRST); /* until its next boot */
}

static void test_images_that_a_menu_has_do_not_become_data_images(void **state)
{
    struct fixture *f = *state;
    struct image_row i;
    OK(f, add_image(f->c, "tools", false, &f->err));
    OK(f, link_set(f->c, "pc1", BOOT_SLOT_FIRST, "tools", 0, &f->err));
    OK(f, image_get(f->c, "tools", &i, &f->err));
    i.is_hidden = true;
    i.ram_cache_bytes = GiB;
    OK(f, image_set(f->c, &i, &f->err));
    OK(f, image_get(f->c, "tools", &i, &f->err));
    assert_true(i.is_hidden);
    assert_int_equal(i.ram_cache_bytes, GiB);
    i.is_data = true;
    FAILS(f, image_set(f->c, &i, &f->err), -EBUSY, "is the boot disk of 1 client");
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

#define WITH_LINKS(test) cmocka_unit_test_setup_teardown(test, setup_linked, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WRITER(test_settings_defaults_fit_their_own_forms),
        WITH_WRITER(test_settings_take_good_values_and_return_to_the_default),
        WITH_WRITER(test_settings_refuse_bad_values_with_key_value_and_form),
        WITH_WRITER(test_settings_refuse_unknown_keys_and_impossible_ports),
        WITH_WRITER(test_images_are_stored_whole),
        WITH_WRITER(test_images_refuse_what_is_wrong),
        WITH_WRITER(test_images_are_renamed_without_regard_to_links),
        WITH_WRITER(test_images_in_use_are_not_removed),
        WITH_WRITER(test_versions_are_updated_by_repair),
        WITH_WRITER(test_lists_count_as_people_do),
        WITH_WRITER(test_clients_get_iqn_secret_and_one_mac_spelling),
        WITH_WRITER(test_clients_taken_macs_and_names_say_by_whom),
        WITH_WRITER(test_clients_are_set_and_renamed_without_changing_identity),
        WITH_WRITER(test_clients_network_and_boot_fields_are_checked_and_kept),
        WITH_WRITER(test_clients_iqns_and_users_are_unique),
        WITH_WRITER(test_clients_ids_and_folders_are_never_used_again),
        cmocka_unit_test(test_modes_have_names),
        WITH_LINKS(test_links_give_views_with_fresh_overlays),
        WITH_LINKS(test_links_refuse_what_cannot_be),
        WITH_LINKS(test_relinked_slot_keeps_its_overlay_over_the_same_version_only),
        WITH_LINKS(test_resets_in_a_row_leave_every_id_as_garbage),
        WITH_LINKS(test_removed_links_and_clients_leave_garbage),
        WITH_LINKS(test_links_boot_slots_are_for_boot_disks_and_leave_with_their_link),
        WITH_LINKS(test_images_that_a_menu_has_do_not_become_data_images),
        WITH_LINKS(test_audit_tells_who_what_before_and_after),
        WITH_LINKS(test_audit_holds_no_password),
        WITH_LINKS(test_audit_cuts_long_values_and_takes_any_path),
        WITH_LINKS(test_audit_knows_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
