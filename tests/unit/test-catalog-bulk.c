/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transactions without the write-ahead log: when there are some, what others see of them, and what a killed one leaves. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/catalog-look.h"

#define MANY 600 /* clients: more than the connection's cache holds, so that pages are in the file before the commit */

static void fill_word(sqlite3_stmt *st, void *row)
{
    col_text(st, 0, row, 16);
}

static const char *mode(struct fixture *f)
{
    static char word[16];
    OK(f, db_one(f->c, "PRAGMA journal_mode", ARGS(), fill_word, word, &f->err));
    return word;
}

static bool is_beside(const struct fixture *f, const char *suffix)
{
    char path[160];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/catalog.db%s", f->dir, suffix);
    return stat(path, &st) == 0;
}

static int add_many(struct catalog *c, struct err *err)
{
    int r = db_exec(c, "PRAGMA cache_size = 10", err);
    for (unsigned i = 0; r == 0 && i < MANY; i++) {
        char name[32], mac[32];
        (void)snprintf(name, sizeof(name), "pc-%u", i);
        (void)snprintf(mac, sizeof(mac), "525400%06x", i);
        r = add_client(c, name, mac, err);
    }
    return r;
}

static void expect_sound(struct fixture *f, int64_t clients)
{
    char word[16] = "";
    assert_int_equal(count(f, "SELECT count(*) FROM client"), clients);
    OK(f, db_one(f->c, "PRAGMA integrity_check", ARGS(), fill_word, word, &f->err));
    assert_string_equal(word, "ok");
}

/* --- alone -------------------------------------------------------------------------------------------------------- */

static void test_bulk_commits_and_is_in_wal_mode_again(void **state)
{
    struct fixture *f = *state;
    OK(f, catalog_begin_bulk(f->c, &f->err));
    assert_string_equal(mode(f), "delete");
    assert_false(is_beside(f, "-wal"));
    OK(f, add_many(f->c, &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    assert_string_equal(mode(f), "wal");
    assert_false(is_beside(f, "-journal"));
    assert_int_equal(count(f, "PRAGMA synchronous"), 2);
    close_catalog(f);
    OK(f, catalog_open(f->dir, CATALOG_READ, &f->c, &f->err));
    assert_string_equal(mode(f), "wal");
    expect_sound(f, MANY);
}

/* The descriptor that the disk is asked by is SQLite's own: no second one comes or goes, which would take the locks away. */
static void test_bulk_writes_soon_by_the_descriptor_of_sqlite(void **state)
{
    struct fixture *f = *state;
    struct stat file, st;
    char path[160];
    (void)snprintf(path, sizeof(path), "%s/catalog.db", f->dir);
    bulk_write_soon(f->c); /* nothing outside of such a transaction */
    OK(f, catalog_begin_bulk(f->c, &f->err));
    assert_int_equal(stat(path, &file) | fstat(f->c->bulk_fd, &st), 0);
    assert_true(st.st_dev == file.st_dev && st.st_ino == file.st_ino);
    OK(f, add_many(f->c, &f->err));
    bulk_write_soon(f->c);
    assert_int_equal(fstat(f->c->bulk_fd, &st), 0);
    OK(f, catalog_commit(f->c, &f->err));
    bulk_write_soon(f->c);
    expect_sound(f, MANY);
}

static void test_bulk_rolled_back_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    OK(f, catalog_begin_bulk(f->c, &f->err));
    OK(f, add_many(f->c, &f->err));
    catalog_rollback(f->c);
    assert_string_equal(mode(f), "wal");
    expect_sound(f, 0);
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    expect_sound(f, 1);
}

static void test_bulk_closed_in_the_middle_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    OK(f, catalog_begin_bulk(f->c, &f->err));
    OK(f, add_many(f->c, &f->err));
    close_catalog(f);
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
    assert_string_equal(mode(f), "wal");
    expect_sound(f, 0);
}

/* --- with others -------------------------------------------------------------------------------------------------- */

/* Who has it open may be anybody: nobody is thrown out or kept waiting. */
static void test_bulk_keeps_the_log_while_another_has_the_catalog_open(void **state)
{
    struct fixture *f = *state;
    _cleanup_(catalog_closep) struct catalog *other = NULL;
    int64_t n = -1;
    OK(f, catalog_open(f->dir, CATALOG_READ, &other, &f->err));
    OK(f, catalog_begin_bulk(f->c, &f->err));
    assert_string_equal(mode(f), "wal");
    OK(f, add_many(f->c, &f->err));
    OK(f, db_number(other, "SELECT count(*) FROM client", ARGS(), &n, &f->err));
    assert_int_equal(n, 0);
    OK(f, catalog_commit(f->c, &f->err));
    OK(f, db_number(other, "SELECT count(*) FROM client", ARGS(), &n, &f->err));
    assert_int_equal(n, MANY);
}

/* A process with the transaction, which tells @ready when its rows are there and goes on. Exits 0 when all went well. */
static int write_bulk(struct fixture *f, int ready)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlives its test */
    if (catalog_open(f->dir, CATALOG_WRITE, &f->c, NULL) < 0 || catalog_begin_bulk(f->c, NULL) < 0 ||
        strcmp(mode(f), "delete") != 0 || add_many(f->c, NULL) < 0 || write(ready, "x", 1) != 1)
        return 1;
    (void)usleep(50000); /* mostly the other one waits by then; either way it sees all */
    int r = catalog_commit(f->c, NULL);
    close_catalog(f);
    return r < 0;
}

static void test_bulk_lets_others_wait_and_see_all_of_it(void **state)
{
    struct fixture *f = *state;
    int status = -1, ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    close_catalog(f);
    pid_t pid = fork();
    if (pid == 0)
        _exit(write_bulk(f, ready[1]));
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    OK(f, catalog_open(f->dir, CATALOG_READ, &f->c, &f->err));
    expect_sound(f, MANY);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(count(f, "SELECT count(*) FROM client"), MANY); /* whatever mode it is in now */
    (void)close(ready[0]);
}

/* --- killed ------------------------------------------------------------------------------------------------------- */

/* A process that is killed inside the transaction, when pages of it are in the file. */
static void kill_in_the_middle(struct fixture *f)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    close_catalog(f);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (catalog_open(f->dir, CATALOG_WRITE, &f->c, NULL) < 0 || catalog_begin_bulk(f->c, NULL) < 0 ||
            add_many(f->c, NULL) < 0 || write(ready[1], "x", 1) != 1)
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
    assert_true(is_beside(f, "-journal"));
}

static void test_bulk_killed_is_undone_by_a_reader_and_the_next_writer_has_the_log(void **state)
{
    struct fixture *f = *state;
    kill_in_the_middle(f);
    OK(f, catalog_open(f->dir, CATALOG_READ, &f->c, &f->err));
    assert_false(is_beside(f, "-journal"));
    assert_string_equal(mode(f), "delete");
    expect_sound(f, 0);
    close_catalog(f);
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
    assert_string_equal(mode(f), "wal");
    OK(f, catalog_begin_bulk(f->c, &f->err));
    OK(f, add_many(f->c, &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    expect_sound(f, MANY);
}

static void test_bulk_killed_is_undone_by_a_writer(void **state)
{
    struct fixture *f = *state;
    kill_in_the_middle(f);
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
    assert_string_equal(mode(f), "wal");
    expect_sound(f, 0);
}

/* A journal that lies beside a new catalog would be played into it. */
static void test_bulk_journal_of_a_catalog_that_is_gone_is_not_played_into_a_new_one(void **state)
{
    struct fixture *f = *state;
    char path[160];
    kill_in_the_middle(f);
    (void)snprintf(path, sizeof(path), "%s/catalog.db", f->dir);
    assert_int_equal(unlink(path), 0);
    FAILS(f, catalog_create(f->dir, &f->err), -EEXIST, "catalog.db-journal' belongs to a catalog that is gone");
    assert_true(is_beside(f, "-journal"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOT(test_bulk_commits_and_is_in_wal_mode_again),
        WITH_ROOT(test_bulk_writes_soon_by_the_descriptor_of_sqlite),
        WITH_ROOT(test_bulk_rolled_back_leaves_nothing),
        WITH_ROOT(test_bulk_closed_in_the_middle_leaves_nothing),
        WITH_ROOT(test_bulk_keeps_the_log_while_another_has_the_catalog_open),
        WITH_ROOT(test_bulk_lets_others_wait_and_see_all_of_it),
        WITH_ROOT(test_bulk_killed_is_undone_by_a_reader_and_the_next_writer_has_the_log),
        WITH_ROOT(test_bulk_killed_is_undone_by_a_writer),
        WITH_ROOT(test_bulk_journal_of_a_catalog_that_is_gone_is_not_played_into_a_new_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
