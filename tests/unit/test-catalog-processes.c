/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalog in several processes at once: who creates it, who changes it, who is killed, who only reads. */
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/unit/catalog-look.h"

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
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlives its test */
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

/* Adds clients with three links each, one transaction a client, until it is killed; counts them in @done. */
static void add_for_ever(struct fixture *f, int generation, _Atomic unsigned *done)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlives its test */
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
        atomic_fetch_add(done, 1);
    }
}

static void test_catalog_killed_writers_leave_whole_transactions(void **state)
{
    struct fixture *f = *state;
    _Atomic unsigned *done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(done != MAP_FAILED);
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, add_image(f->c, "img", false, &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    for (int generation = 0; generation < 10; generation++) {
        close_catalog(f);
        pid_t pid = fork();
        if (pid == 0)
            add_for_ever(f, generation, done);
        int status;
        while (generation == 0 && atomic_load(done) == 0)
            (void)usleep(1000); /* one at least has got so far, however slow the machine is */
        (void)usleep((useconds_t)(60000 + generation * 7919));
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
        expect_whole(f);
    }
    assert_true(count(f, "SELECT count(*) FROM client") >= (int64_t)atomic_load(done));
    (void)munmap((void *)done, 4096);
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
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
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
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
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
        WITH_FOLDER(test_catalog_create_by_several_processes_makes_one),
        WITH_ROOT(test_catalog_processes_at_once_apply_all_or_nothing),
        WITH_ROOT(test_catalog_killed_writers_leave_whole_transactions),
        WITH_ROOT(test_catalog_killed_in_mid_transaction_leaves_the_state_before),
        WITH_ROOT(test_catalog_reader_goes_on_without_privileges),
        WITH_ROOT(test_catalog_second_writer_is_told_that_it_is_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
