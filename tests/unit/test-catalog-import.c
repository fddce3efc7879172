/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an import stores by ways of its own: rows that are checked here instead of by CHECK constraints, and packs of what the next import needs. */
#include "tests/unit/catalog-look.h"

#include "core/catalog-import-priv.h"

/* --- checks ------------------------------------------------------------------------------------------------------- */

#define X10 "xxxxxxxxxx"
#define X60 X10 X10 X10 X10 X10 X10

enum { NAME = 1, MAC, IP, GROUP, IQN, USER, SECRET, FOLDER, COMMENT, DISABLED, NETMASK, GATEWAY, DNS };

/* A row that is all right but for one column. */
static const struct {
    int column;
    const char *text;
    bool is_good;
} cases[] = {
    {NAME, "a", true},
    {NAME, "A.b_c-9", true},
    {NAME, X60 "xxx", true},
    {NAME, X60 "xxxx", false},
    {NAME, "", false},
    {NAME, "-a", false},
    {NAME, ".a", false},
    {NAME, "a b", false},
    {NAME, "a/b", false},
    {NAME, "a\n", false},
    {NAME, "\xc3\xa4", false},
    {NAME, "a\xc3\xa4", false},
    {MAC, "52:54:00:12:ab:cf", true},
    {MAC, "52:54:00:12:ab:cF", false},
    {MAC, "52:54:00:12:ab:cg", false},
    {MAC, "52-54:00:12:ab:cf", false},
    {MAC, "52:54:00:12:ab:c", false},
    {MAC, "52:54:00:12:ab:cf:", false},
    {MAC, "", false},
    {IP, X10 X10 X10 X10 "xxxxx", true},
    {IP, X10 X10 X10 X10 "xxxxxx", false},
    {GROUP, "", true},
    {GROUP, X60 "x\xc3\xa4", true},
    {GROUP, X60 "xx\xc3\xa4", false},
    {IQN, "iqn.", true},
    {IQN, "IQN.x", false},
    {IQN, "xiqn.x", false},
    {IQN, "", false},
    {IQN, "iqn." X60 X60 X60 X10 X10 X10 "xxxxxxxxx", true},
    {IQN, "iqn." X60 X60 X60 X10 X10 X10 X10, false},
    {USER, "", false},
    {USER, X60 "xxx", true},
    {USER, X60 "xxxx", false},
    {SECRET, "12345678901", false},
    {SECRET, "123456789012", true},
    {SECRET, "abcdefghijkl3456", true},
    {SECRET, "12345678901234567", false},
    {SECRET, "", false},
    {FOLDER, "pc1.2", true},
    {FOLDER, X60 X10 "xxxxxxxxx", true},
    {FOLDER, X60 X10 X10, false},
    {FOLDER, "", false},
    {FOLDER, "../x", false},
    {FOLDER, "a/b", false},
    {FOLDER, "a\x7f", false},
    {COMMENT, "", true},
    {COMMENT, X60 X60 X60 X60 X10 "xxxxx", true},
    {COMMENT, X60 X60 X60 X60 X10 "xxxxxx", false},
    {COMMENT, X60 X60 X60 X60 X10 "xxxx\xc3\xa4", false},
    {DISABLED, "1", true},
    {DISABLED, "2", false},
    {DISABLED, "-1", false},
    {NETMASK, "255.255.255.255", true},
    {NETMASK, "255.255.255.2555", false},
    {GATEWAY, "255.255.255.255", true},
    {GATEWAY, "255.255.255.2555", false},
    {DNS, X60 X60 X60 X60 X10 "xxxxx", true},
    {DNS, X60 X60 X60 X60 X10 "xxxxxx", false},
};

static struct import_cell text_cell(const char *text)
{
    return (struct import_cell){text, (int64_t)strlen(text)};
}

static struct import_cell number_cell(int64_t n)
{
    return (struct import_cell){NULL, n};
}

static void fill_case(size_t i, struct import_cell row[IMPORT_FEED_COLUMNS])
{
    static const char *const good[IMPORT_FEED_COLUMNS] = {NULL,
                                                          "pc1",
                                                          "52:54:00:00:00:01",
                                                          "10.0.0.1",
                                                          "hall",
                                                          "iqn.2026-11.org.diskgate:x:pc1",
                                                          "pc1",
                                                          "123456789012",
                                                          "pc1",
                                                          "",
                                                          NULL,
                                                          "",
                                                          "",
                                                          ""};
    for (int k = 0; k < IMPORT_FEED_COLUMNS; k++)
        row[k] = good[k] ? text_cell(k == cases[i].column ? cases[i].text : good[k]) : number_cell(k == 0 ? 7 : 0);
    if (cases[i].column == DISABLED)
        row[DISABLED] = number_cell(atoi(cases[i].text));
}

/* What the schema says of it: 0 or -EINVAL. */
static int insert(struct fixture *f, const struct import_cell *row)
{
    struct arg args[IMPORT_FEED_COLUMNS + 1] = {0};
    for (int i = 0; i < IMPORT_FEED_COLUMNS; i++)
        args[i] = row[i].text ? T(row[i].text) : N(row[i].number);
    OK(f, db_exec(f->c, "SAVEPOINT one", &f->err));
    int r = db_run(f->c,
                   "INSERT INTO client (id, name, mac, ip, \"group\", mode, iqn, chap_user, chap_password, overlay_dir,"
                   " comment, created_at, is_disabled, netmask, gateway, dns)"
                   " VALUES (?1, ?2, ?3, ?4, ?5, 'volatile', ?6, ?7, ?8, ?9, ?10, '', ?11, ?12, ?13, ?14)",
                   args, &f->err);
    OK(f, db_exec(f->c, "ROLLBACK TO one; RELEASE one", NULL));
    return r;
}

static void test_import_checks_are_those_of_the_schema(void **state)
{
    struct fixture *f = *state;
    struct import *im;
    OK(f, import_open(f->c, "test", &im, &f->err));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct import_cell row[IMPORT_FEED_COLUMNS];
        int want = cases[i].is_good ? 0 : -EINVAL;
        fill_case(i, row);
        int by_schema = insert(f, row), by_check = import_check_client(im, row, &f->err);
        if (by_schema != want || by_check != want)
            fail_msg("column %d '%s': schema %d, check %d", cases[i].column, cases[i].text, by_schema, by_check);
    }
    import_close(im);
}

struct feeding {
    struct import_cell row[IMPORT_FEED_COLUMNS];
    int left;
};

static int feed_row(void *arg, struct import_batch *to, struct import_cell *columns, struct err *err)
{
    struct feeding *g = arg;
    (void)to;
    (void)err;
    memcpy(columns, g->row, sizeof(g->row));
    return g->left-- > 0;
}

/* The row that is refused takes the statement with it, and the constraints are back in force behind it. */
static void test_import_feed_refuses_a_bad_row(void **state)
{
    static const char sql[] =
        "INSERT INTO client (id, name, mac, ip, \"group\", mode, iqn, chap_user, chap_password, overlay_dir, comment,"
        " created_at) SELECT c0, c1, c2, c3, c4, 'volatile', c5, c6, c7, c8, c9, '' FROM import_feed";
    struct fixture *f = *state;
    struct import *im;
    struct feeding g = {.left = 1};
    const struct import_maker maker = {.make = feed_row, .check = import_check_client, .is_apart = true, .arg = &g};
    OK(f, import_open(f->c, "test", &im, &f->err));
    fill_case(5, g.row); /* "-a" */
    FAILS(f, import_feed_run(im, sql, ARGS(), &maker, &f->err), -EINVAL, "CHECK constraint failed: name");
    assert_int_equal(count(f, "SELECT count(*) FROM client"), 0);
    FAILS(f, db_exec(f->c, "INSERT INTO overlay_dir VALUES ('../x')", &f->err), -EINVAL, "CHECK");
    fill_case(0, g.row);
    g.left = 1;
    OK(f, import_feed_run(im, sql, ARGS(), &maker, &f->err));
    assert_int_equal(count(f, "SELECT count(*) FROM client"), 1);
    FAILS(f, db_exec(f->c, "UPDATE client SET name = '-a'", &f->err), -EINVAL, "CHECK");
    g.left = 2;
    g.row[0] = number_cell(8);
    FAILS(f, import_feed_run(im, sql, ARGS(), &maker, &f->err), -EINVAL, "UNIQUE");
    assert_int_equal(count(f, "SELECT count(*) FROM client"), 1);
    import_close(im);
}

/* --- rows that are made ahead --------------------------------------------------------------------------------------- */

struct making {
    struct err err;
    unsigned n, fails_at, bad_at, refused_at; /* numbers of rows, from 1; 0 = none */
    unsigned rows, taken;                     /* taken: rows of batches that came */
};

static int make_numbered(void *arg, struct import_batch *to, struct import_cell *columns, struct err *err)
{
    struct making *m = arg;
    if (m->n == m->rows)
        return 0;
    m->n++;
    if (m->n == m->fails_at)
        return err_set(err, -EIO, "row %u cannot be made", m->n);
    fill_case(m->n == m->bad_at ? 5 : 0, columns);
    columns[0] = number_cell(m->n == m->refused_at ? 1 : m->n);
    for (int k = NAME; k <= FOLDER; k++)
        if (k != GROUP && (k != NAME || m->n != m->bad_at)) {
            char *text = to->text + to->text_len;
            static const char *const heads[] = {
                [NAME] = "pc", [IP] = "", [IQN] = "iqn.", [USER] = "u", [SECRET] = "secret", [FOLDER] = "pc"};
            int len = k == MAC ? sprintf(text, "52:54:00:%02x:%02x:%02x", m->n >> 16, m->n >> 8 & 255, m->n & 255)
                               : sprintf(text, "%s%0*u", heads[k], k == SECRET ? 8 : 1, m->n);
            columns[k] = (struct import_cell){text, len};
            to->text_len += (size_t)len;
        }
    return 1;
}

static int count_taken(void *arg, const struct import_batch *from, struct err *err)
{
    struct making *m = arg;
    (void)err;
    m->taken += (unsigned)from->n;
    return 0;
}

static int feed_numbered(struct fixture *f, struct import *im, struct making *m, bool is_apart)
{
    const struct import_maker maker = {
        .make = make_numbered, .take = count_taken, .check = import_check_client, .is_apart = is_apart, .arg = m};
    OK(f, db_exec(f->c, "DELETE FROM client; DELETE FROM overlay_dir", &f->err));
    return import_feed_run(
        im,
        "INSERT INTO client (id, name, mac, ip, \"group\", mode, iqn, chap_user, chap_password,"
        " overlay_dir, comment, created_at) SELECT c0, c1, c2, c3, c4, 'volatile', c5, c6, c7, c8, c9,"
        " '' FROM import_feed",
        ARGS(), &maker, &m->err);
}

/* All rows come, in order, from another thread or from this one; and what goes wrong anywhere is told and leaves nothing. */
static void test_import_rows_made_ahead(void **state)
{
    static const unsigned sizes[] = {0, 1, 255, 256, 257, 3 * 256, 5000};
    struct fixture *f = *state;
    struct import *im;
    OK(f, import_open(f->c, "test", &im, &f->err));
    for (int is_apart = 0; is_apart < 2; is_apart++) {
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
            struct making m = {.rows = sizes[i]};
            assert_int_equal(feed_numbered(f, im, &m, is_apart), 0);
            assert_int_equal(count(f, "SELECT count(*) FROM client"), sizes[i]);
            assert_int_equal(count(f, "SELECT count(*) FROM client WHERE name = 'pc' || id AND ip = id"
                                      " AND chap_user = 'u' || id AND iqn = 'iqn.' || id AND overlay_dir = name"),
                             sizes[i]);
            assert_int_equal(m.taken, sizes[i]);
        }
        for (unsigned at = 1; at <= 5000; at += at < 300 ? 128 : 1900) {
            struct making fails = {.rows = 5000, .fails_at = at}, bad = {.rows = 5000, .bad_at = at};
            struct making refused = {.rows = 5000, .refused_at = at + 1};
            assert_int_equal(feed_numbered(f, im, &fails, is_apart), -EIO);
            assert_non_null(strstr(fails.err.msg, "cannot be made"));
            assert_int_equal(count(f, "SELECT count(*) FROM client"), 0);
            assert_int_equal(feed_numbered(f, im, &bad, is_apart), -EINVAL);
            assert_non_null(strstr(bad.err.msg, "CHECK constraint failed: name"));
            assert_int_equal(feed_numbered(f, im, &refused, is_apart), -EINVAL);
            assert_non_null(strstr(refused.err.msg, "UNIQUE"));
            assert_int_equal(count(f, "SELECT count(*) FROM client"), 0);
        }
    }
    import_close(im);
}

/* --- packs -------------------------------------------------------------------------------------------------------- */

#define ROWS 3000

static const char *const givens[] = {
    "",
    "pc1\x1f"
    "10.0.0.1\x1f\x1f\x1f\x1fhall\x1f\x1f\x1f"
    "0:1\x1f"
    "b1", /* as src */
    "pc1-2\x1f"
    "10.0.0.1\x1f\x1f\x1f\x1fhall\x1f\x1f\x1f"
    "0:1\x1f"
    "b1",
    "pc1\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f",
    "\x1f\x1f"
    "255.0.0.0\x1f\x1f\x1f\x1f\x1f\x1f"
    "0:1\x1f"
    "b2",
};

/* Longest fields: given differs in all of them. */
static void long_texts(char *src, char *given)
{
    struct import_values v;
    for (int n = 0; n < 2; n++) {
        for (int i = 0; i < IMPORT_FIELDS; i++) {
            memset(v.f[i], 'a' + n, IMPORT_FIELD_LEN);
            v.f[i][IMPORT_FIELD_LEN] = 0;
        }
        strcpy(n ? given : src, import_pack(&v).text);
    }
}

/* Full values as a row of the plan has them. */
static void beside(const char *text, const char *src, char *ret)
{
    struct import_values v, as;
    import_unpack(text, &v);
    import_unpack(src, &as);
    (void)import_pack_as(&v, &as, ret);
}

static void test_import_values_beside_others(void **state)
{
    static const struct {
        const char *text, *as, *want;
    } pairs[] = {
        {"a\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f", "a\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f",
         "\x1e\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f"},
        {"ab\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1fz",
         "a\x1f"
         "b\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1fz",
         "ab\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1e"},
        {"\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f", "a\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f",
         "\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        struct import_values v, as;
        char text[IMPORT_PACKED_LEN];
        beside(pairs[i].text, pairs[i].as, text);
        assert_string_equal(text, pairs[i].want);
        import_unpack(pairs[i].as, &as);
        import_unpack_as(text, &as, &v);
        assert_string_equal(import_pack(&v).text, pairs[i].text);
        import_unpack_as(pairs[i].text, &as, &v); /* full values are read, too */
        assert_string_equal(import_pack(&v).text, pairs[i].text);
    }
}

static void check_texts(const struct import_text *texts, const char *packed)
{
    struct import_values v;
    import_unpack(packed, &v);
    for (int i = 0; i < IMPORT_FIELDS; i++) {
        assert_int_equal(texts[i].len, strlen(v.f[i]));
        assert_memory_equal(texts[i].text, v.f[i], texts[i].len);
    }
}

static void pack_rows(struct fixture *f, struct import *im, const char *src, const char *large, const char *other)
{
    struct import_packer p;
    OK(f, import_packer_begin(&p, im, &f->err));
    for (int i = 0; i < ROWS; i++) {
        char mac[MAC_LEN + 1], key[16];
        (void)snprintf(mac, sizeof(mac), "52:54:00:00:%02x:%02x", (ROWS - i) / 256, (ROWS - i) % 256);
        (void)snprintf(key, sizeof(key), "%d", i);
        char want[IMPORT_PACKED_LEN], given[IMPORT_PACKED_LEN] = "";
        struct import_planned row = {.mac = mac, .source_id = key, .src = src, .want = want, .given = given};
        if (i % 100 == 99)
            row.src = large;
        beside(src, row.src, want);
        if (i % 100 == 99 || *givens[i % 5])
            beside(i % 100 == 99 ? other : givens[i % 5], row.src, given);
        char buf[IMPORT_NEW_BYTES], record[IMPORT_NEW_BYTES];
        struct import_new sorted;
        size_t len;
        OK(f, import_new_put(&row, buf, &len, &f->err));
        OK(f, import_new_take(buf, len, &sorted, &f->err));
        assert_string_equal(sorted.mac, mac);
        check_texts(sorted.want, src);
        FAILS(f, import_new_take(buf, len - 1, &sorted, &f->err), -EIO, "temporary file");
        OK(f, import_new_take(buf, len, &sorted, &f->err));
        import_pack_record(1000 + i, buf, &sorted, record);
        OK(f, import_packer_put(&p, record, sorted.pack_len, &f->err));
    }
    OK(f, import_packer_flush(&p, &f->err));
    import_packer_finish(&p);
}

static int check_track(void *arg, sqlite3_stmt *st)
{
    const char *const *texts = arg; /* src, large, other */
    int i = (int)sqlite3_column_int64(st, 1) - 1000;
    bool is_large = i % 100 == 99;
    const char *given = is_large ? texts[2] : *givens[i % 5] ? givens[i % 5] : texts[0];
    char mac[MAC_LEN + 1];
    (void)snprintf(mac, sizeof(mac), "52:54:00:00:%02x:%02x", (ROWS - i) / 256, (ROWS - i) % 256);
    assert_string_equal((const char *)sqlite3_column_text(st, 0), mac);
    assert_int_equal(sqlite3_column_int(st, 2), i);
    assert_string_equal((const char *)sqlite3_column_text(st, 3), texts[is_large ? 1 : 0]);
    assert_string_equal((const char *)sqlite3_column_text(st, 4), given);
    return 0;
}

static void test_import_packs_hold_what_was_put(void **state)
{
    static char large[IMPORT_PACKED_LEN], other[IMPORT_PACKED_LEN];
    struct fixture *f = *state;
    struct import *im;
    int64_t run;
    const char *texts[] = {givens[1], large, other};
    long_texts(large, other);
    OK(f, import_open(f->c, "test", &im, &f->err));
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, import_run_begin(im, "file", "", &run, &f->err));
    pack_rows(f, im, texts[0], large, other);
    assert_in_range(count(f, "SELECT count(*) FROM import_pack"), 2, 100);
    OK(f, import_unpack_origin(f->c, "other", &f->err));
    assert_int_equal(count(f, "SELECT count(*) FROM import_client"), 0);
    OK(f, import_unpack_origin(f->c, "test", &f->err));
    assert_int_equal(count(f, "SELECT count(*) FROM import_pack"), 0);
    assert_int_equal(count(f, "SELECT count(*) FROM import_client WHERE run_id = 1 AND origin = 'test' AND is_created"
                              " AND NOT is_gone"),
                     ROWS);
    OK(f, db_each(f->c, "SELECT mac, client_id, source_id, src, given FROM import_client", ARGS(), check_track, texts,
                  &f->err));
    OK(f, import_unpack_origin(f->c, "test", &f->err)); /* nothing is left to do */
    catalog_rollback(f->c);
    import_close(im);
}

static void test_import_damaged_pack_is_said(void **state)
{
    static const char *const damage[] = {
        "UPDATE import_pack SET data = CAST(substr(data, 1, length(data) - 1) AS BLOB)", /* the last text has no end */
        "UPDATE import_pack SET data = CAST(data || x'0102030405' AS BLOB)",
        "UPDATE import_pack SET data = zeroblob(20000)",
    };
    struct fixture *f = *state;
    struct import *im;
    int64_t run;
    OK(f, import_open(f->c, "test", &im, &f->err));
    for (size_t i = 0; i < ARRAY_SIZE(damage); i++) {
        OK(f, catalog_begin(f->c, &f->err));
        OK(f, import_run_begin(im, "file", "", &run, &f->err));
        pack_rows(f, im, givens[1], givens[1], givens[2]);
        OK(f, db_exec(f->c, damage[i], &f->err));
        int r = import_unpack_origin(f->c, "test", &f->err);
        assert_true(r == -EBADMSG || r == -EINVAL); /* or a constraint of the rows does not hold */
        catalog_rollback(f->c);
    }
    import_close(im);
}

/* --- plans -------------------------------------------------------------------------------------------------------- */

static int plan_row(void *arg, struct import_row *row, struct err *err)
{
    struct import *im = arg;
    strcpy(row->want.f[IMPORT_NAME], row->src.f[IMPORT_NAME]);
    return import_row_plan_new(im, row, err);
}

static void stage_clients(struct fixture *f, struct import *im, const char *head, unsigned n)
{
    struct import_row row = {.fate = IMPORT_OPEN};
    for (unsigned i = 0; i < n; i++) {
        row.row = i;
        (void)snprintf(row.source_id, sizeof(row.source_id), "%u", i);
        (void)snprintf(row.mac, sizeof(row.mac), "52:54:00:00:%02x:%02x", i / 256, i % 256);
        (void)snprintf(row.src.f[IMPORT_NAME], NAME_LEN + 1, "%s%u", head,
                       (i * 7919 + 1) % (n / 2)); /* each one twice */
        (void)snprintf(row.src.f[IMPORT_IP], 16, "10.0.%u.%u", i / 3 / 256, i / 3 % 256);
        (void)snprintf(row.src.f[IMPORT_COMMENT], 16, "comment %u", i);
        OK(f, import_row_add(im, &row, &f->err));
    }
    OK(f, import_stage_end(im, IMPORT_DUP_CONFLICT, &f->err));
}

static void apply_third_plan(struct fixture *f, const char *head, bool is_final)
{
    enum { CLIENTS = 20000 };
    struct import *im;
    int64_t run;
    OK(f, import_open(f->c, "test", &im, &f->err));
    stage_clients(f, im, head, CLIENTS);
    for (int pass = 0; pass < 3; pass++) {
        if (pass != 1)
            OK(f, import_begin(im, is_final || pass == 0, &f->err));
        if (pass != 1)
            OK(f, import_run_begin(im, "file", "", &run, &f->err));
        OK(f, import_plan_begin(im, &f->err));
        assert_true(import_knows_none(im));
        OK(f, import_each(im, IMPORT_OPEN, plan_row, im, &f->err));
        OK(f, import_names(im, &f->err));
        if (pass == 1)
            catalog_rollback(f->c);
    }
    OK(f, import_apply(im, &f->err));
    assert_int_equal(count(f, "SELECT count(*) FROM client"), CLIENTS);
    assert_int_equal(count(f, "SELECT max(id) - min(id) + 1 FROM client"), CLIENTS);
    assert_int_equal(count(f, "SELECT count(*) FROM client WHERE name GLOB 'PC[-_]*-2'"), CLIENTS / 2);
    assert_int_equal(count(f, "SELECT count(DISTINCT ip) FROM client WHERE ip <> ''"), (CLIENTS + 2) / 3);
    /* each client has the comment and the address of its own row */
    assert_int_equal(count(f, "SELECT count(*) FROM client WHERE comment <> 'comment ' ||"
                              " (256 * (instr('123456789abcdef', substr(mac, 13, 1)) * 16"
                              " + instr('123456789abcdef', substr(mac, 14, 1)))"
                              " + instr('123456789abcdef', substr(mac, 16, 1)) * 16"
                              " + instr('123456789abcdef', substr(mac, 17, 1)))"),
                     0);
    OK(f, import_unpack_origin(f->c, "test", &f->err));
    assert_int_equal(count(f, "SELECT count(*) FROM import_client t JOIN client ON client.id = t.client_id"
                              " AND client.mac = t.mac"
                              " AND substr(t.given, 1, instr(t.given, char(31)) - 1) = client.name"),
                     CLIENTS);
    catalog_rollback(f->c);
    import_close(im);
}

/* A plan that was made and thrown away, or made again, leaves nothing behind. */
static void test_import_applies_the_last_plan(void **state)
{
    apply_third_plan(*state, "PC-", true); /* rows are made ahead */
}

static void test_import_applies_the_last_plan_with_odd_labels(void **state)
{
    apply_third_plan(*state, "PC_", true); /* each label is looked for */
}

static void test_import_applies_a_plan_that_was_for_trial(void **state)
{
    apply_third_plan(*state, "PC-", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOT(test_import_checks_are_those_of_the_schema),
        WITH_ROOT(test_import_feed_refuses_a_bad_row),
        WITH_ROOT(test_import_rows_made_ahead),
        cmocka_unit_test(test_import_values_beside_others),
        WITH_ROOT(test_import_packs_hold_what_was_put),
        WITH_ROOT(test_import_damaged_pack_is_said),
        WITH_ROOT(test_import_applies_the_last_plan),
        WITH_ROOT(test_import_applies_the_last_plan_with_odd_labels),
        WITH_ROOT(test_import_applies_a_plan_that_was_for_trial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
