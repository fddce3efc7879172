/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The workload on the catalog, and what must hold after a cut in the middle of it.
 *
 * Two writers make transactions in turn, each of which adds two clients. After a cut the catalog opens, SQLite finds nothing wrong with
 * it, every transaction that was acknowledged is there, of the one under way both clients or none, and no later one.
 *
 * SQLite itself is asked for its check here, where core has no need for it.
 */
#include "tests/powercut/subject.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/catalog.h"
#include "core/log.h"
#include "core/util.h"

#define WRITERS 2

static const char *const dirs[] = {".", NULL};

enum note { NOTE_CREATED, NOTE_BEGIN, NOTE_DONE };

/* --- workload ----------------------------------------------------------------------------------------------------- */

struct writer {
    const char *root;
    unsigned number, first, count;
};

static int add_client(struct catalog *c, unsigned writer, unsigned n, unsigned half, struct err *err)
{
    struct client_row row = {.mode = OVERLAY_KEPT};
    (void)snprintf(row.name, sizeof(row.name), "pc-%u-%u-%u", writer, n, half);
    (void)snprintf(row.mac, sizeof(row.mac), "02:00:%02x:%02x:%02x:%02x", writer & 0xff, n / 256 & 0xff, n & 0xff,
                   half);
    return client_add(c, &row, err);
}

static void transaction(struct catalog *c, unsigned writer, unsigned n)
{
    struct err err;
    rec_note(NOTE_BEGIN, writer, n, 0, 0);
    int r = catalog_begin(c, &err);
    for (unsigned half = 0; half < 2 && r == 0; half++)
        r = add_client(c, writer, n, half, &err);
    if (r == 0)
        r = catalog_commit(c, &err);
    CHECK(r == 0, "a transaction failed: %s", err.msg);
    rec_note(NOTE_DONE, writer, n, 0, 0);
}

static void *write_clients(void *arg)
{
    const struct writer *w = arg;
    struct catalog *c = NULL;
    struct err err;
    for (unsigned i = 0; i < w->count; i++) {
        if (i % 6 == w->number) { /* the last one who closes brings the log into the database */
            catalog_close(c);
            c = NULL;
        }
        if (!c)
            CHECK(catalog_open(w->root, CATALOG_WRITE, &c, &err) == 0, "%s", err.msg);
        transaction(c, w->number, w->first + i);
    }
    catalog_close(c);
    return NULL;
}

static void life(const char *root, unsigned first, unsigned count)
{
    pthread_t t[WRITERS];
    struct writer w[WRITERS];
    struct err err;
    if (first == 0) {
        CHECK(catalog_create(root, &err) == 0, "%s", err.msg);
        rec_note(NOTE_CREATED, 0, 0, 0, 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){root, i, first, count};
        CHECK(pthread_create(&t[i], NULL, write_clients, &w[i]) == 0, "cannot make a thread");
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(t[i], NULL);
}

static void prepare(const char *root)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/run", root);
    CHECK((mkdir(root, 0700) == 0 || errno == EEXIST) && (mkdir(path, 0700) == 0 || errno == EEXIST),
          "cannot make '%s'", path);
}

static void work(const char *root, struct rec_log *log, unsigned ops, uint64_t seed)
{
    unsigned count = 2 + ops / 40;
    for (unsigned first = 0; first < 2 * count; first += count) {
        int status;
        pid_t pid = fork();
        CHECK(pid >= 0, "cannot fork");
        if (pid == 0) {
            rec_start(log);
            life(root, first, count);
            _exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid && status == 0, "the workload failed");
    }
}

/* --- what is expected --------------------------------------------------------------------------------------------- */

struct expected {
    bool is_created;
    unsigned begun[WRITERS], done[WRITERS]; /* counts of transactions */
};

static void *expect(void)
{
    struct expected *e = calloc(1, sizeof(*e));
    CHECK(e, "out of memory");
    return e;
}

static void step(void *expected, const struct rec *r)
{
    struct expected *e = expected;
    if (r->kind != REC_NOTE)
        return;
    unsigned writer = (unsigned)r->note[1], n = (unsigned)r->note[2];
    switch ((enum note)r->note[0]) {
    case NOTE_CREATED:
        e->is_created = true;
        break;
    case NOTE_BEGIN:
        e->begun[writer] = n + 1;
        break;
    case NOTE_DONE:
        e->done[writer] = n + 1;
        break;
    }
}

/* --- the check ---------------------------------------------------------------------------------------------------- */

static bool integrity_is_ok(const char *root)
{
    char path[512];
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    (void)snprintf(path, sizeof(path), "%s/catalog.db", root);
    bool ok = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
              sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &s, NULL) == SQLITE_OK &&
              sqlite3_step(s) == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(s, 0), "ok") == 0;
    (void)sqlite3_finalize(s); /* what went wrong is in ok */
    (void)sqlite3_close(db);
    return ok;
}

static bool check_client(struct catalog *c, unsigned writer, unsigned n, bool must, char *why, size_t len)
{
    struct client_row row;
    struct err err;
    char name[NAME_LEN + 1];
    bool there[2];
    for (unsigned half = 0; half < 2; half++) {
        (void)snprintf(name, sizeof(name), "pc-%u-%u-%u", writer, n, half);
        there[half] = client_get(c, name, &row, &err) == 0;
    }
    if (there[0] == there[1] && (there[0] || !must))
        return true;
    (void)snprintf(why, len, "transaction %u of writer %u is there %s", n, writer,
                   there[0] != there[1] ? "half" : "not");
    return false;
}

static bool check_rows(const struct expected *e, struct catalog *c, char *why, size_t len)
{
    _cleanup_free_ struct client_row *rows = NULL;
    _cleanup_free_ struct audit_row *audit = NULL;
    struct err err;
    size_t n = 0, audits = 0, most = 0, added = 0;
    for (unsigned w = 0; w < WRITERS; w++) {
        most += 2UL * e->begun[w];
        for (unsigned k = 0; k < e->begun[w]; k++)
            if (!check_client(c, w, k, k < e->done[w], why, len))
                return false;
    }
    if (client_list(c, &rows, &n, &err) < 0 || audit_list(c, 0, &audit, &audits, &err) < 0) {
        (void)snprintf(why, len, "cannot list: %.300s", err.msg);
        return false;
    }
    for (size_t i = 0; i < audits; i++)
        added += strcmp(audit[i].verb, "client add") == 0;
    if (n <= most && added == n)
        return true;
    (void)snprintf(why, len, "%zu clients and %zu audit rows where %zu clients were begun", n, added, most);
    return false;
}

static bool check(const void *expected, const char *root, struct rng *rng, char *why, size_t len)
{
    const struct expected *e = expected;
    struct catalog *c = NULL;
    struct err err;
    int r = catalog_open(root, CATALOG_WRITE, &c, &err);
    if (r == -ENOENT && !e->is_created)
        return true;
    if (r < 0) {
        (void)snprintf(why, len, "refused: %.300s", err.msg);
        return false;
    }
    bool ok = check_rows(e, c, why, len);
    catalog_close(c);
    if (ok && !integrity_is_ok(root)) {
        (void)snprintf(why, len, "SQLite's check found damage");
        ok = false;
    }
    return ok;
}

const struct subject catalog_subject = {
    .name = "catalog",
    .dirs = dirs,
    .makes_dirs = true,
    .prepare = prepare,
    .work = work,
    .expect = expect,
    .step = step,
    .forget = free,
    .check = check,
};
