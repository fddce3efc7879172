/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalog as a file: creation, damage, versions, transactions, several processes at once. */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/catalog-priv.h"
#include "core/root.h"
#include "tests/unit/catalog-fixture.h"

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

static void close_catalog(struct fixture *f)
{
    catalog_close(f->c);
    f->c = NULL;
}

static int64_t count(struct fixture *f, const char *sql)
{
    int64_t n = -1;
    OK(f, db_number(f->c, sql, ARGS(), &n, &f->err));
    return n;
}

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

static void test_catalog_create_by_several_processes_makes_one(void **state)
{
    struct fixture *f = *state;
    int made = 0, refused = 0;
    pid_t pids[6];
    for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            int r = catalog_create(f->dir, NULL);
            _exit(r == 0 ? 0 : r == -EEXIST ? 1 : 2);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        made += WEXITSTATUS(status) == 0;
        refused += WEXITSTATUS(status) == 1;
    }
    assert_int_equal(made, 1);
    assert_int_equal(refused, ARRAY_SIZE(pids) - 1);
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
}

/* --- open: what is missing, foreign or damaged ------------------------------------------------------------------- */

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
    assert_int_equal(count(f, "SELECT count(*) FROM overlay_dir"), 1);
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

/* --- several processes ------------------------------------------------------------------------------------------- */

#define PROCESSES 4
#define ROUNDS    12

/* One process: add, link, set, reset, rename and remove clients, each round in two transactions. Exits 0 when all of it went well. */
static int churn(struct fixture *f, int process, int round)
{
    char name[32], renamed[32], mac[32];
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    struct client_row row;
    (void)snprintf(name, sizeof(name), "p%d-%d", process, round);
    (void)snprintf(renamed, sizeof(renamed), "r%d-%d", process, round);
    (void)snprintf(mac, sizeof(mac), "5254000000%x%x", process, round);
    int r = catalog_open(f->dir, CATALOG_WRITE, &c, &f->err);
    if (r < 0 || (r = catalog_begin(c, &f->err)) < 0)
        return r;
    r = add_client(c, name, mac, &f->err);
    for (uint32_t slot = 0; slot < 3 && r == 0; slot++)
        r = link_set(c, name, slot, "img", 0, &f->err);
    if (r < 0 || (r = catalog_commit(c, &f->err)) < 0 || (r = catalog_begin(c, &f->err)) < 0)
        return r;
    r = client_get(c, name, &row, &f->err);
    row.mode = OVERLAY_KEPT;
    if (r < 0 || (r = client_set(c, &row, &f->err)) < 0 || (r = overlay_reset(c, name, -1, &f->err)) < 0)
        return r;
    r = round % 2 ? client_remove(c, name, &f->err) : client_rename(c, name, renamed, &f->err);
    return r < 0 ? r : catalog_commit(c, &f->err);
}

static int churn_all(struct fixture *f, int process)
{
    (void)alarm(50); /* never outlives its test */
    for (int round = 0; round < ROUNDS; round++)
        if (churn(f, process, round) < 0) {
            (void)fprintf(stderr, "process %d round %d: %s\n", process, round, f->err.msg);
            return 1;
        }
    return 0;
}

/* Every client has all of its three links and their overlays, and everything else adds up. */
static void expect_whole(struct fixture *f)
{
    int64_t clients = count(f, "SELECT count(*) FROM client");
    assert_int_equal(count(f, "SELECT count(*) FROM link"), 3 * clients);
    assert_int_equal(count(f, "SELECT count(*) FROM overlay"), 3 * clients);
    assert_int_equal(
        count(f, "SELECT count(*) FROM client WHERE 3 <> (SELECT count(*) FROM link WHERE client_id = client.id)"), 0);
}

static void test_catalog_processes_at_once_apply_all_or_nothing(void **state)
{
    struct fixture *f = *state;
    pid_t pids[PROCESSES];
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, add_image(f->c, "img", false, &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    close_catalog(f);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(churn_all(f, i));
    }
    int failed = 0;
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        (void)waitpid(pids[i], &status, 0);
        failed += status != 0;
    }
    assert_int_equal(failed, 0);
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
    expect_whole(f);
    assert_int_equal(count(f, "SELECT count(*) FROM client"), PROCESSES * ROUNDS / 2);
    assert_int_equal(count(f, "SELECT count(*) FROM client WHERE mode = 'kept' AND name LIKE 'r%'"),
                     PROCESSES * ROUNDS / 2);
    assert_int_equal(count(f, "SELECT count(*) FROM audit WHERE verb = 'client add'"), PROCESSES * ROUNDS);
    /* each reset leaves 3, each removal 3 more */
    assert_int_equal(count(f, "SELECT count(*) FROM garbage"), PROCESSES * ROUNDS * 3 + PROCESSES * ROUNDS / 2 * 3);
}

/* Adds clients with three links each, one transaction a client, until it is killed. */
static void add_for_ever(struct fixture *f, int generation)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    (void)alarm(20); /* never outlives its test */
    if (catalog_open(f->dir, CATALOG_WRITE, &c, &f->err) < 0)
        _exit(1);
    for (unsigned i = 0;; i++) {
        char name[32], mac[32];
        (void)snprintf(name, sizeof(name), "g%d-%u", generation, i);
        (void)snprintf(mac, sizeof(mac), "5254%02x%06x", (unsigned)generation, i);
        if (catalog_begin(c, &f->err) < 0 || add_client(c, name, mac, &f->err) < 0)
            _exit(1);
        for (uint32_t slot = 0; slot < 3; slot++)
            if (link_set(c, name, slot, "img", 0, &f->err) < 0)
                _exit(1);
        if (catalog_commit(c, &f->err) < 0)
            _exit(1);
    }
}

static void test_catalog_killed_writers_leave_whole_transactions(void **state)
{
    struct fixture *f = *state;
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, add_image(f->c, "img", false, &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    for (int generation = 0; generation < 10; generation++) {
        close_catalog(f);
        pid_t pid = fork();
        if (pid == 0)
            add_for_ever(f, generation);
        int status;
        (void)usleep((useconds_t)(60000 + generation * 7919));
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
        expect_whole(f);
    }
    assert_true(count(f, "SELECT count(*) FROM client") > 0);
}

static void test_catalog_killed_in_mid_transaction_leaves_the_state_before(void **state)
{
    struct fixture *f = *state;
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    close_catalog(f);
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(20);
        if (catalog_open(f->dir, CATALOG_WRITE, &f->c, NULL) < 0 || catalog_begin(f->c, NULL) < 0 ||
            add_client(f->c, "half", "525400000001", NULL) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            (void)pause();
    }
    (void)close(ready[1]);
    ssize_t n = read(ready[0], &byte, 1);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    (void)close(ready[0]);
    assert_int_equal(n, 1);
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
    assert_int_equal(count(f, "SELECT count(*) FROM client"), 0);
    OK(f, catalog_begin(f->c, &f->err)); /* the lock died with its holder */
    OK(f, add_client(f->c, "half", "525400000001", &f->err));
    OK(f, catalog_commit(f->c, &f->err));
}

/* diskgate-fs drops its privileges after the mount and goes on reading. Exits 0 when it sees what came after. */
static int read_unprivileged(struct fixture *f, int go, int ready)
{
    int64_t n = 0;
    char byte;
    (void)alarm(20);
    if (catalog_open(f->dir, CATALOG_READ, &f->c, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 ||
        setresuid(65534, 65534, 65534) < 0 || write(ready, "x", 1) != 1 || read(go, &byte, 1) != 1)
        return 1;
    return db_number(f->c, "SELECT count(*) FROM client", ARGS(), &n, NULL) == 0 && n == 1 ? 0 : 2;
}

static void test_catalog_reader_goes_on_without_privileges(void **state)
{
    struct fixture *f = *state;
    int go[2], ready[2], status = -1;
    char byte;
    if (getuid() != 0)
        skip();
    close_catalog(f);
    assert_int_equal(pipe(go) | pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(read_unprivileged(f, go[0], ready[1]));
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    assert_int_equal(write(go[1], "x", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    (void)close(go[0]);
    (void)close(go[1]);
    (void)close(ready[0]);
}

static void test_catalog_second_writer_is_told_that_it_is_busy(void **state)
{
    struct fixture *f = *state;
    _cleanup_(catalog_closep) struct catalog *other = NULL;
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &other, &f->err));
    OK(f, catalog_begin(other, &f->err));
    (void)sqlite3_busy_timeout(f->c->db, 50); /* instead of half a minute */
    FAILS(f, catalog_begin(f->c, &f->err), -EBUSY, "is being changed by another program");
    OK(f, catalog_commit(other, &f->err));
    OK(f, catalog_begin(f->c, &f->err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_catalog_create_makes_a_whole_root),
        WITH_ROOT(test_catalog_create_refuses_a_second_one),
        WITH_FOLDER(test_catalog_create_refuses_the_log_of_a_lost_catalog),
        WITH_FOLDER(test_catalog_create_goes_on_after_a_killed_one),
        WITH_FOLDER(test_catalog_create_by_several_processes_makes_one),
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
        WITH_ROOT(test_catalog_migrates_step_by_step),
        WITH_ROOT(test_catalog_failed_migration_leaves_the_old_version),
        WITH_ROOT(test_catalog_rollback_leaves_nothing),
        WITH_ROOT(test_catalog_failed_writer_changes_nothing_in_a_commit),
        WITH_ROOT(test_catalog_lost_transaction_cannot_be_committed),
        WITH_ROOT(test_catalog_full_disk_changes_nothing),
        WITH_ROOT(test_catalog_processes_at_once_apply_all_or_nothing),
        WITH_ROOT(test_catalog_killed_writers_leave_whole_transactions),
        WITH_ROOT(test_catalog_killed_in_mid_transaction_leaves_the_state_before),
        WITH_ROOT(test_catalog_reader_goes_on_without_privileges),
        WITH_ROOT(test_catalog_second_writer_is_told_that_it_is_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
