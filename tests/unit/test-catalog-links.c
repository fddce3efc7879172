/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Links in the catalog, the overlays that they give, and what becomes garbage. */
#include "tests/unit/catalog-fixture.h"

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
    FAILS(f, image_set(f->c, &i, &f->err), -EBUSY, "is a boot disk of 1 client");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LINKS(test_links_give_views_with_fresh_overlays),
        WITH_LINKS(test_links_refuse_what_cannot_be),
        WITH_LINKS(test_relinked_slot_keeps_its_overlay_over_the_same_version_only),
        WITH_LINKS(test_resets_in_a_row_leave_every_id_as_garbage),
        WITH_LINKS(test_removed_links_and_clients_leave_garbage),
        WITH_LINKS(test_links_boot_slots_are_for_boot_disks_and_leave_with_their_link),
        WITH_LINKS(test_images_that_a_menu_has_do_not_become_data_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
