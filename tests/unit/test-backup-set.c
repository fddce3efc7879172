/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Repositories and sets: bad input, the lock, layers, signatures, restore.sh, damage of each file. */
#include "tests/unit/backup-fixture.h"

#include "backup/code.h"
#include "backup/mend.h"

static const struct disk base = {.size = 12 * CHUNK + 512, .seed = {1, 2, 0, 4, 5, 5, 1, 0, 9, 10, 11, 0, 13}};
/* Over base: 1 and 9 changed, 3 became zeros, the rest is inherited. */
static const struct disk overlay = {.size = 12 * CHUNK + 512,
                                    .seed = {UINT_MAX, 102, UINT_MAX, 0, UINT_MAX, UINT_MAX, UINT_MAX, UINT_MAX,
                                             UINT_MAX, 110, UINT_MAX, UINT_MAX, UINT_MAX}};
static const struct stream_id base_id = {.kind = STREAM_BASE, .name = "win11", .number = 1};
static const struct stream_id overlay_id = {.kind = STREAM_OVERLAY, .name = "pc01", .number = 0};

static struct disk seen_by_client(void)
{
    struct disk d = overlay;
    for (size_t i = 0; i < 13; i++)
        d.seed[i] = d.seed[i] == UINT_MAX ? base.seed[i] : d.seed[i];
    return d;
}

/* A set with an image, an overlay over it, and a file. */
static void backup_both(const char *path, const char *key, char *ret_id)
{
    struct err err = {""};
    struct repo *r = open_repo(path, REPO_WRITE);
    struct store *s;
    struct set_writer *w;
    struct set_params params = {
        .now_s = 1795000000, .host = "gate", .root = "/var/lib/diskgate", .comment = "a\ncomment", .sign_key = key};
    ok(store_open(r, 0, &s, &err));
    ok(set_begin(s, &params, &w, NULL, &err));
    ok(put_disk(s, w, &overlay, &overlay_id, &base_id, &err));
    ok(put_disk(s, w, &base, &base_id, NULL, &err));
    ok(set_file(w, "settings.json", "{}\n", 3, &err));
    assert_int_equal(set_file(w, "set.txt", "x", 1, &err), -EINVAL);
    ok(set_commit(w, &err));
    (void)snprintf(ret_id, SET_ID_LEN + 1, "%s", set_writer_id(w));
    set_abort(w);
    store_close(s);
    repo_close(r);
}

static void test_set_holds_image_overlay_and_file(void **state)
{
    (void)state;
    struct err err = {""};
    char *path = new_repo(), id[SET_ID_LEN + 1];
    backup_both(path, NULL, id);
    struct repo *r = open_repo(path, REPO_READ);
    struct set_info s;
    const struct set_stream *st;
    struct store *store;
    unsigned char *bytes;
    uint64_t size;
    struct disk d = seen_by_client();
    _cleanup_free_ char *text = NULL;
    size_t len;
    ok(set_find(r, id, &s, &err));
    assert_string_equal(s.comment, "a comment");
    ok(set_find_stream(&s, "pc01", &st, &err));
    ok(store_open(r, 0, &store, &err));
    ok(restore(store, &s, &st->id, &bytes, &size, &err));
    assert_true(is_disk(bytes, size, &d));
    free(bytes);
    ok(set_file_read(r, &s, "settings.json", 100, &text, &len, &err));
    assert_string_equal(text, "{}\n");
    assert_int_equal(set_find_stream(&s, "win11@2", &st, &err), -ENOENT);
    ok(set_find_stream(&s, "WIN11", &st, &err));
    assert_true(stream_id_equal(&st->id, &base_id));
    set_info_finish(&s);
    store_close(store);
    repo_close(r);
    remove_folder(path);
}

static void write_file(const char *folder, const char *name, const struct disk *d)
{
    char path[PATH_MAX];
    static unsigned char buf[CHUNK];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (uint64_t n = 0; n < disk_chunks(d); n++) {
        size_t len = disk_chunk(d, n, buf);
        assert_int_equal(pwrite_full(fd, buf, len, n * CHUNK), 0);
    }
}

static void test_restore_script_gives_image_and_overlay(void **state)
{
    (void)state;
    char *path = new_repo(), id[SET_ID_LEN + 1], *out = test_folder();
    struct disk d = seen_by_client();
    backup_both(path, NULL, id);
    write_file(out, "base.want", &base);
    write_file(out, "overlay.want", &d);
    assert_int_equal(shell("sh %s/restore.sh >/dev/null && sh %s/restore.sh latest >/dev/null", path, path), 0);
    assert_int_equal(shell("cd / && sh %s/restore.sh latest win11@1 %s/base >/dev/null && cmp %s/base %s/base.want",
                           path, out, out, out),
                     0);
    assert_int_equal(shell("sh %s/restore.sh %s pc01:0 %s/overlay >/dev/null && cmp %s/overlay %s/overlay.want", path,
                           id, out, out, out),
                     0);
    assert_int_equal(shell("sh %s/restore.sh latest win11@1 %s/base 2>/dev/null", path, out),
                     1); /* it is there already */
    assert_int_equal(
        shell(
            "rm %s/packs/*/*.toc && sh %s/restore.sh latest pc01:0 %s/again >/dev/null && cmp %s/again %s/overlay.want",
            path, path, out, out, out),
        0);
    remove_folder(out);
    remove_folder(path);
}

/* A folder with nothing but these four in it is all that it has. */
static void test_restore_script_needs_no_more_than_tar_zstd_dd_and_sh(void **state)
{
    (void)state;
    char *path = new_repo(), id[SET_ID_LEN + 1], *out = test_folder(), run[PATH_MAX + 64];
    struct disk d = seen_by_client();
    backup_both(path, NULL, id);
    write_file(out, "base.want", &base);
    write_file(out, "overlay.want", &d);
    assert_int_equal(shell("for p in tar zstd dd sh; do ln -s $(command -v $p) %s/$p || exit 1; done", out), 0);
    (void)snprintf(run, sizeof(run), "env -i PATH=%s %s/sh %s/restore.sh", out, out, path);
    assert_int_equal(shell("%s >%s/list && grep -q 'pc01:0  over win11@1' %s/list", run, out, out), 0);
    assert_int_equal(shell("%s latest win11@1 %s/base >/dev/null && cmp %s/base %s/base.want", run, out, out, out), 0);
    assert_int_equal(
        shell("%s %s pc01:0 %s/overlay >/dev/null && cmp %s/overlay %s/overlay.want", run, id, out, out, out), 0);
    assert_int_equal(shell("%s latest win11@1 %s/base 2>/dev/null", run, out), 1); /* it is there already */
    assert_int_equal(shell("%s latest nosuch@1 %s/none 2>/dev/null", run, out), 1);
    /* The .toc of a pack is lost: tar takes the one in it. */
    assert_int_equal(shell("mkdir %s/kept && mv %s/packs/*/*.toc %s/kept/ && %s latest pc01:0 %s/again >/dev/null && "
                           "cmp %s/again %s/overlay.want && mv %s/kept/*.toc %s/packs/00/",
                           out, path, out, run, out, out, out, out, path),
                     0);
    assert_int_equal(
        shell("printf '\\001\\002\\003\\004' | dd of=$(ls %s/packs/00/*.tar.zst | head -1) bs=1 seek=100000 "
              "conv=notrunc 2>/dev/null; %s latest win11@1 %s/x 2>/dev/null",
              path, run, out),
        1);
    remove_folder(out);
    remove_folder(path);
}

static void test_restore_script_refuses_damage(void **state)
{
    (void)state;
    char *path = new_repo(), id[SET_ID_LEN + 1], *out = test_folder();
    backup_both(path, NULL, id);
    assert_int_equal(
        shell("printf '\\001\\002\\003\\004' | dd of=$(ls %s/packs/00/*.tar.zst | head -1) bs=1 seek=100000 "
              "conv=notrunc 2>/dev/null; "
              "sh %s/restore.sh latest win11@1 %s/x 2>/dev/null",
              path, path, out),
        1);
    assert_int_equal(
        shell("echo >>%s/sets/%s/set.txt; sh %s/restore.sh latest win11@1 %s/y 2>/dev/null", path, id, path, out), 1);
    remove_folder(out);
    remove_folder(path);
}

static void test_reused_stream_is_the_same(void **state)
{
    (void)state;
    struct err err = {""};
    char *path = new_repo(), first[SET_ID_LEN + 1];
    backup(path, "win11", &base, 1795000000, first);
    struct repo *r = open_repo(path, REPO_WRITE);
    struct store *s;
    struct set_writer *w;
    struct set_info from;
    struct set_params params = {.now_s = 1795000100};
    ok(store_open(r, 0, &s, &err));
    ok(set_newest_with(r, &base_id, &from, &err));
    ok(set_begin(s, &params, &w, NULL, &err));
    ok(set_reuse(w, &from, &base_id, &err));
    ok(set_commit(w, &err));
    assert_string_not_equal(set_writer_id(w), first);
    set_info_finish(&from);
    set_abort(w);
    store_close(s);
    repo_close(r);
    expect_disk(path, "latest", "win11", &base);
    remove_folder(path);
}

static void test_overlay_without_its_image_is_refused(void **state)
{
    (void)state;
    struct err err = {""};
    char *path = new_repo();
    struct repo *r = open_repo(path, REPO_WRITE);
    struct store *s;
    struct set_writer *w;
    struct set_params params = {.now_s = 1795000000};
    ok(store_open(r, 0, &s, &err));
    ok(set_begin(s, &params, &w, NULL, &err));
    ok(put_disk(s, w, &overlay, &overlay_id, &base_id, &err));
    assert_int_equal(set_commit(w, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "win11@1"));
    set_abort(w);
    store_close(s);
    repo_close(r);
    assert_int_equal(shell("[ -z \"$(ls %s/sets %s/tmp | grep 20)\" ]", path, path), 0);
    remove_folder(path);
}

static void test_signature_is_checked(void **state)
{
    (void)state;
    struct err err = {""};
    char *path = new_repo(), *keys = test_folder(), id[SET_ID_LEN + 1], key[PATH_MAX], public[PATH_MAX],
         other[PATH_MAX];
    assert_int_equal(shell("cd %s && for k in a b; do openssl genpkey -algorithm ed25519 -out $k.pem && openssl pkey "
                           "-in $k.pem -pubout -out $k.pub; done",
                           keys),
                     0);
    (void)snprintf(key, sizeof(key), "%s/a.pem", keys);
    (void)snprintf(public, sizeof(public), "%s/a.pub", keys);
    (void)snprintf(other, sizeof(other), "%s/b.pub", keys);
    backup_both(path, key, id);
    struct repo *r = open_repo(path, REPO_READ);
    ok(set_check_signature(r, id, public, &err));
    assert_int_equal(set_check_signature(r, id, other, &err), -EKEYREJECTED);
    assert_int_equal(set_check_signature(r, id, key, &err), -EKEYREJECTED); /* no public key */
    assert_int_equal(shell("cd %s/sets/%s && openssl pkeyutl -verify -pubin -inkey %s -rawin -in SHA256SUMS -sigfile "
                           "SHA256SUMS.sig >/dev/null",
                           path, id, public),
                     0);
    assert_int_equal(shell("cd %s/sets/%s && rm settings.json && sed -i /settings/d SHA256SUMS", path, id), 0);
    ok(set_check_sums(r, id, &err)); /* what an attacker would do */
    assert_int_equal(set_check_signature(r, id, public, &err), -EKEYREJECTED);
    assert_int_equal(backup_exit_status(-EKEYREJECTED), BACKUP_EXIT_SIGNATURE);
    repo_close(r);
    remove_folder(keys);
    remove_folder(path);
}

/* --- bad input ------------------------------------------------------------------------------------------------------- */

static int open_status(const char *path, enum repo_mode mode, struct err *err)
{
    struct repo *r = NULL;
    int e = repo_open(path, mode, 0, "test", &r, err);
    repo_close(r);
    return e;
}

static void test_repository_of_another_kind_is_refused(void **state)
{
    (void)state;
    struct err err = {""};
    struct repo_params params = {.has_no_reserve = true};
    char *path = new_repo(), *foreign = test_folder();
    assert_int_equal(repo_init(path, &params, &err), -EEXIST);
    assert_int_equal(shell("touch %s/letter.txt", foreign), 0);
    assert_int_equal(repo_init(foreign, &params, &err), -EEXIST);
    assert_int_equal(open_status(foreign, REPO_READ, &err), -ENOMEDIUM);
    assert_int_equal(open_status("/nonexistent/repo", REPO_READ, &err), -ENOMEDIUM);
    assert_int_equal(shell("sed -i 's/^diskgate 1/diskgate 2/' %s/format", path), 0);
    assert_int_equal(open_status(path, REPO_READ, &err), -EOPNOTSUPP);
    assert_int_equal(shell("sed -i 's/^diskgate 2/diskgate 1/; s/^hash=.*/hash=blake3/' %s/format", path), 0);
    assert_int_equal(open_status(path, REPO_READ, &err), -EOPNOTSUPP);
    assert_int_equal(shell("echo compression=none >>%s/format", path), 0);
    assert_int_equal(open_status(path, REPO_READ, &err), -EOPNOTSUPP);
    remove_folder(foreign);
    remove_folder(path);
}

static void test_format_file_is_made_again_from_the_packs(void **state)
{
    (void)state;
    struct err err = {""};
    char *path = new_repo();
    backup(path, "win11", &base, 1795000000, NULL);
    assert_int_equal(shell("cp %s/format %s/format.old && echo x >%s/format", path, path, path), 0);
    assert_int_equal(open_status(path, REPO_READ, &err), -EBADMSG);
    assert_int_equal(shell("rm %s/format", path), 0);
    assert_int_equal(open_status(path, REPO_READ, &err), -EBADMSG);
    json_t *done = json_array();
    ok(mend_run(path, false, done, &err));
    assert_true(json_array_size(done) > 0);
    json_decref(done);
    assert_int_equal(
        shell("grep -v created %s/format.old >%s/a && grep -v created %s/format | cmp - %s/a", path, path, path, path),
        0);
    expect_disk(path, "latest", "win11", &base);
    remove_folder(path);
}

/* A number that is as good as any, but not the packs': the file is damaged all the same. */
static void test_format_file_that_differs_from_the_packs_is_refused(void **state)
{
    (void)state;
    struct err err = {""};
    struct index *x = NULL;
    char *path = new_repo();
    backup(path, "win11", &base, 1795000000, NULL);
    assert_int_equal(shell("sed -i 's/chunk=65536/chunk=131072/' %s/format", path), 0);
    struct repo *r = open_repo(path, REPO_READ);
    assert_int_equal(index_open(r, &x, &err), -EBADMSG);
    assert_non_null(strstr(err.msg, "repair"));
    repo_close(r);
    json_t *done = json_array();
    ok(mend_run(path, false, done, &err));
    json_decref(done);
    expect_disk(path, "latest", "win11", &base);
    remove_folder(path);
}

static void test_second_writer_is_told_who_is_first(void **state)
{
    (void)state;
    struct err err = {""};
    char *path = new_repo();
    struct repo *r = open_repo(path, REPO_WRITE);
    assert_int_equal(open_status(path, REPO_WRITE, &err), -EBUSY);
    assert_non_null(strstr(err.msg, "'test' by process"));
    assert_int_equal(open_status(path, REPO_READ, &err), 0); /* a backup disturbs no reader */
    ok(repo_exclude_readers(r, 0, &err));
    assert_int_equal(open_status(path, REPO_READ, &err), -EBUSY); /* prune does */
    repo_close(r);
    struct repo *a = open_repo(path, REPO_READ), *b = open_repo(path, REPO_READ);
    r = open_repo(path, REPO_WRITE);
    assert_int_equal(repo_exclude_readers(r, 0, &err), -EBUSY);
    repo_unlock(a);
    repo_unlock(b);
    ok(repo_exclude_readers(r, 0, &err));
    repo_close(r);
    repo_close(a);
    repo_close(b);
    remove_folder(path);
}

static void test_repository_that_went_away_is_no_success(void **state)
{
    (void)state;
    struct err err = {""};
    char *path = new_repo();
    struct repo *r = open_repo(path, REPO_WRITE);
    assert_int_equal(shell("mv %s %s.away && mkdir %s", path, path, path), 0);
    assert_int_equal(try_backup(r, "win11", &base, 1795000000, NULL, &err), -ENOMEDIUM);
    repo_close(r);
    assert_int_equal(shell("[ -z \"$(ls %s)\" ] && rmdir %s && mv %s.away %s", path, path, path, path), 0);
    r = open_repo(path, REPO_WRITE);
    struct set_info *sets;
    size_t n;
    ok(set_list(r, &sets, &n, &err));
    assert_int_equal(n, 0);
    set_list_free(sets, n);
    repo_close(r);
    remove_folder(path);
}

static void test_clock_that_jumped_is_told_and_loses_nothing(void **state)
{
    (void)state;
    struct err err = {""}, warning = {""};
    char *path = new_repo();
    backup(path, "win11", &base, 1995000000, NULL);
    struct repo *r = open_repo(path, REPO_WRITE);
    struct store *s;
    struct set_writer *w;
    struct set_params params = {.now_s = 1795000000};
    ok(store_open(r, 0, &s, &err));
    ok(set_begin(s, &params, &w, &warning, &err));
    assert_non_null(strstr(warning.msg, "one of the two was wrong"));
    ok(put_disk(s, w, &base, &base_id, NULL, &err));
    ok(set_commit(w, &err));
    char id[SET_ID_LEN + 1];
    (void)snprintf(id, sizeof(id), "%s", set_writer_id(w));
    set_abort(w);
    store_close(s);
    struct set_info latest;
    ok(set_find(r, "latest", &latest, &err)); /* by number, not by time */
    assert_string_equal(latest.id, id);
    set_info_finish(&latest);
    repo_close(r);
    remove_folder(path);
}

/* Each file of a set, changed, cut and deleted in turn. */
static void test_damaged_set_is_named(void **state)
{
    (void)state;
    static const char *const files[] = {"set.txt", "SHA256SUMS", "image-win11-1.manifest.zst"};
    static const char *const ways[] = {"printf '\\200' | dd of=%s bs=1 seek=40 conv=notrunc 2>/dev/null",
                                       "truncate -s -5 %s", "rm %s"};
    struct err err = {""};
    char *path = new_repo(), id[SET_ID_LEN + 1], file[PATH_MAX];
    backup(path, "win11", &base, 1795000000, id);
    struct repo *r = open_repo(path, REPO_READ);
    for (size_t f = 0; f < ARRAY_SIZE(files); f++)
        for (size_t k = 0; k < ARRAY_SIZE(ways); k++) {
            char command[2 * PATH_MAX];
            (void)snprintf(file, sizeof(file), "%s/sets/%s/%s", path, id, files[f]);
            assert_int_equal(shell("cp %s /tmp/diskgate-keep-%d", file, (int)getpid()), 0);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            (void)snprintf(command, sizeof(command), ways[k], file);
#pragma GCC diagnostic pop
            assert_int_equal(shell("%s", command), 0);
            err.msg[0] = 0;
            int e = set_check_sums(r, id, &err);
            if (e != -EBADMSG || !err.msg[0])
                fail_msg("%s by way %zu: %d %s", files[f], k, e, err.msg);
            assert_true(check_disk(r, id, "win11", &base, &err) < 0);
            assert_int_equal(shell("mv /tmp/diskgate-keep-%d %s", (int)getpid(), file), 0);
        }
    ok(check_disk(r, id, "win11", &base, &err));
    repo_close(r);
    remove_folder(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_holds_image_overlay_and_file),
        cmocka_unit_test(test_restore_script_gives_image_and_overlay),
        cmocka_unit_test(test_restore_script_needs_no_more_than_tar_zstd_dd_and_sh),
        cmocka_unit_test(test_restore_script_refuses_damage),
        cmocka_unit_test(test_reused_stream_is_the_same),
        cmocka_unit_test(test_overlay_without_its_image_is_refused),
        cmocka_unit_test(test_signature_is_checked),
        cmocka_unit_test(test_repository_of_another_kind_is_refused),
        cmocka_unit_test(test_format_file_is_made_again_from_the_packs),
        cmocka_unit_test(test_format_file_that_differs_from_the_packs_is_refused),
        cmocka_unit_test(test_second_writer_is_told_who_is_first),
        cmocka_unit_test(test_repository_that_went_away_is_no_success),
        cmocka_unit_test(test_clock_that_jumped_is_told_and_loses_nothing),
        cmocka_unit_test(test_damaged_set_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
