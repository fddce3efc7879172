/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images and versions in the catalog, and the order of lists. */
#include "tests/unit/catalog-fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WRITER(test_images_are_stored_whole),
        WITH_WRITER(test_images_refuse_what_is_wrong),
        WITH_WRITER(test_images_are_renamed_without_regard_to_links),
        WITH_WRITER(test_images_in_use_are_not_removed),
        WITH_WRITER(test_versions_are_updated_by_repair),
        WITH_WRITER(test_lists_count_as_people_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
