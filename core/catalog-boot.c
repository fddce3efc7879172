/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of what happened while PCs booted, and the numbering of new clients.
 *
 * (1) pending has at most PENDING_MAX rows and boot at most BOOT_MAX, whatever comes from the network.
 * (2) A PC keeps its number as long as it has a row; numbers stay small because free ones are used again.
 */
#include "core/catalog-boot.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "core/catalog-priv.h"
#include "core/util.h"

#define FORGOTTEN_S 3600 /* a PC that waits asks every few seconds */

/* --- unknown PCs ------------------------------------------------------------------------------------------------- */

#define PENDING_SELECT "SELECT mac, address, number, requests, first_at, last_at FROM pending"

/* A PC that was added as a client in another way waits no longer. */
#define IS_UNKNOWN "mac NOT IN (SELECT mac FROM client)"

static void fill_pending(sqlite3_stmt *st, void *row)
{
    struct pending_row *p = row;
    COL_TEXT(st, 0, p->mac);
    COL_TEXT(st, 1, p->address);
    p->number = (uint32_t)sqlite3_column_int64(st, 2);
    p->requests = (uint64_t)sqlite3_column_int64(st, 3);
    COL_TEXT(st, 4, p->first_at);
    COL_TEXT(st, 5, p->last_at);
}

int pending_get(struct catalog *c, const char *mac, struct pending_row *ret, struct err *err)
{
    char parsed[MAC_LEN + 1];
    int r = mac_parse(mac, parsed, err);
    if (r == 0)
        r = db_one(c, PENDING_SELECT " WHERE mac = ?", ARGS(T(parsed)), fill_pending, ret, err);
    if (r == -ENOENT)
        return err_set(err, r, "no PC with the MAC %s waits; 'diskgate client pending' lists those that do", parsed);
    return r;
}

int pending_list(struct catalog *c, struct pending_row **ret, size_t *ret_n, struct err *err)
{
    return db_list(c, PENDING_SELECT " WHERE " IS_UNKNOWN " ORDER BY number", ARGS(), fill_pending,
                   sizeof(struct pending_row), (void **)ret, ret_n, err);
}

static int make_room(struct catalog *c, struct err *err)
{
    char limit[TIME_LEN + 1];
    time_text(limit, sizeof(limit), (int64_t)time(NULL) - FORGOTTEN_S);
    int r = db_run(c, "DELETE FROM pending WHERE NOT " IS_UNKNOWN, ARGS(), err);
    return r < 0 ? r
                 : db_run(c,
                          "DELETE FROM pending WHERE mac IN (SELECT mac FROM pending"
                          " ORDER BY last_at < ?1 DESC, requests, last_at"
                          " LIMIT max(0, (SELECT count(*) FROM pending) - ?2))",
                          ARGS(T(limit), N(PENDING_MAX - 1)), err);
}

static int note_new(struct catalog *c, const char *mac, const char *address, const char *now, struct err *err)
{
    int64_t number = 1;
    int r = make_room(c, err);
    if (r == 0)
        r = db_number(c,
                      "SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM pending WHERE number = 1) THEN 1 ELSE"
                      " (SELECT min(number) + 1 FROM pending WHERE number + 1 NOT IN (SELECT number FROM pending)) END",
                      ARGS(), &number, err);
    return r < 0 ? r
                 : db_run(c,
                          "INSERT INTO pending (mac, address, number, requests, first_at, last_at)"
                          " VALUES (?1, ?2, ?3, 1, ?4, ?4)",
                          ARGS(T(mac), T(address), N(number), T(now)), err);
}

static int note_steps(struct catalog *c, const char *text, const char *address, struct pending_row *ret,
                      struct err *err)
{
    char now[TIME_LEN + 1], mac[MAC_LEN + 1];
    int r = mac_parse(text, mac, err);
    if (r < 0)
        return r;
    catalog_now(now);
    r = db_one(c, PENDING_SELECT " WHERE mac = ?", ARGS(T(mac)), fill_pending, ret, err);
    if (r == -ENOENT)
        r = note_new(c, mac, address, now, err);
    else if (r == 0)
        r = db_run(c, "UPDATE pending SET address = ?, requests = requests + 1, last_at = ? WHERE mac = ?",
                   ARGS(T(address), T(now), T(mac)), err);
    return r < 0 ? r : pending_get(c, mac, ret, err);
}

int pending_note(struct catalog *c, const char *mac, const char *address, struct pending_row *ret, struct err *err)
{
    struct pending_row row = {0};
    int r = AS_WRITER(c, err, note_steps(c, mac, address, &row, err));
    if (r == 0)
        *ret = row;
    return r;
}

int pending_remove(struct catalog *c, const char *mac, struct err *err)
{
    char parsed[MAC_LEN + 1];
    int r = mac_parse(mac, parsed, err);
    return r < 0 ? r : AS_WRITER(c, err, db_run(c, "DELETE FROM pending WHERE mac = ?", ARGS(T(parsed)), err));
}

static int clear_steps(struct catalog *c, struct err *err)
{
    int64_t n = 0;
    int r = db_number(c, "SELECT count(*) FROM pending", ARGS(), &n, err);
    r = r ? r : db_run(c, "DELETE FROM pending", ARGS(), err);
    return r ? r
             : audit_add(c, "pending clear", "pending", json_pack("{s:I}", "waiting", (json_int_t)n),
                         json_pack("{s:i}", "waiting", 0), err);
}

int pending_clear(struct catalog *c, struct err *err)
{
    return AS_WRITER(c, err, clear_steps(c, err));
}

/* --- names by a rule --------------------------------------------------------------------------------------------- */

struct rule {
    int before;        /* bytes before the { */
    const char *after; /* behind the } */
    int width;
};

static bool rule_parse(const char *tmpl, struct rule *ret)
{
    const char *open = strchr(tmpl, '{'), *close = open ? strchr(open, '}') : NULL;
    if (!close || strpbrk(close + 1, "{}") || strlen(tmpl) > NAME_LEN)
        return false;
    const char *p = open + 1;
    *ret = (struct rule){(int)(open - tmpl), close + 1, 1};
    p += *p == '0'; /* "03" and "3" are the same width */
    if (*p >= '1' && *p <= '9' && p + 1 == close)
        ret->width = *p - '0';
    else if (p != open + 1 || (p != close && !(*p == 'n' && p + 1 == close)))
        return false;
    return true;
}

/* Name number @n into @ret; false when it is no possible name. */
static bool rule_name(const char *tmpl, const struct rule *rule, uint64_t n, char *ret)
{
    int len = snprintf(ret, NAME_LEN + 1, "%.*s%0*llu%s", rule->before, tmpl, rule->width, (unsigned long long)n,
                       rule->after);
    return len <= NAME_LEN && name_check(ret, "client name", NULL) == 0;
}

int client_template_check(const char *tmpl, struct err *err)
{
    struct rule rule = {0};
    char name[NAME_LEN + 1];
    if (rule_parse(tmpl, &rule) && rule_name(tmpl, &rule, 1, name))
        return 0;
    return err_set(err, -EINVAL,
                   "'%.80s' is no rule for names: write a name with one number in braces, as PC{03} for PC001, PC002",
                   tmpl);
}

static bool is_taken(const struct client_row *rows, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(rows[i].name, name) == 0)
            return true;
    return false;
}

int client_name_next(struct catalog *c, const char *tmpl, char *ret, struct err *err)
{
    _cleanup_free_ struct client_row *rows = NULL;
    struct rule rule = {0};
    size_t n;
    char name[NAME_LEN + 1];
    assert(c->is_in_transaction);
    int r = client_template_check(tmpl, err);
    if (r == 0)
        r = client_list(c, &rows, &n, err);
    if (r < 0)
        return r;
    (void)rule_parse(tmpl, &rule); /* was checked */
    for (uint64_t i = 1; i <= n + 1; i++) {
        if (!rule_name(tmpl, &rule, i, name))
            break;
        if (is_taken(rows, n, name))
            continue;
        strcpy(ret, name);
        return 0;
    }
    return err_set(err, -EINVAL, "the rule '%.80s' gives no further name that is short enough; set another one", tmpl);
}

/* --- counts ------------------------------------------------------------------------------------------------------ */

static int count_rows(struct catalog *c, const char *sql, const struct arg *args, uint64_t *ret, struct err *err)
{
    int64_t n = 0;
    int r = db_number(c, sql, args, &n, err);
    if (r == 0)
        *ret = (uint64_t)n;
    return r;
}

int client_count(struct catalog *c, uint64_t *ret, struct err *err)
{
    return count_rows(c, "SELECT count(*) FROM client", ARGS(), ret, err);
}

/* The audit has no index by time: its end is walked up to the first row that is old enough. Rows of a clock that was ahead do not count. */
int client_count_added(struct catalog *c, const char *who, int64_t since_s, uint64_t *ret, struct err *err)
{
    char since[TIME_LEN + 1], now[TIME_LEN + 1];
    time_text(since, sizeof(since), since_s);
    catalog_now(now);
    return count_rows(c,
                      "SELECT count(*) FROM audit WHERE id > coalesce((SELECT id FROM audit WHERE at < ?1"
                      " ORDER BY id DESC LIMIT 1), 0) AND at BETWEEN ?1 AND ?2 AND who = ?3 AND verb = 'client add'",
                      ARGS(T(since), T(now), T(who)), ret, err);
}

/* --- boots ------------------------------------------------------------------------------------------------------- */

#define BOOT_COLUMNS                                                                                                   \
    "boot.id, client_id, coalesce(client.name, boot.client), boot.mac, address, image, version, script_s, login_s,"    \
    " first_read_s, last_read_s, end_s, read_bytes, written_bytes, refused"
#define BOOT_FROM " FROM boot LEFT JOIN client ON client.id = boot.client_id"

static void fill_boot(sqlite3_stmt *st, void *row)
{
    struct boot_row *b = row;
    b->id = sqlite3_column_int64(st, 0);
    b->client_id = sqlite3_column_int64(st, 1);
    COL_TEXT(st, 2, b->client);
    COL_TEXT(st, 3, b->mac);
    COL_TEXT(st, 4, b->address);
    COL_TEXT(st, 5, b->image);
    b->version = (uint32_t)sqlite3_column_int64(st, 6);
    b->script_s = sqlite3_column_int64(st, 7);
    b->login_s = sqlite3_column_int64(st, 8);
    b->first_read_s = sqlite3_column_int64(st, 9);
    b->last_read_s = sqlite3_column_int64(st, 10);
    b->end_s = sqlite3_column_int64(st, 11);
    b->read_bytes = (uint64_t)sqlite3_column_int64(st, 12);
    b->written_bytes = (uint64_t)sqlite3_column_int64(st, 13);
    COL_TEXT(st, 14, b->refused);
}

static int add_steps(struct catalog *c, const struct boot_row *b, int64_t *ret_id, struct err *err)
{
    int r = db_run(c,
                   "INSERT INTO boot (client_id, client, mac, address, image, version, script_s, login_s, first_read_s,"
                   " last_read_s, end_s, read_bytes, written_bytes, refused)"
                   " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                   ARGS(N(b->client_id), T(b->client), T(b->mac), T(b->address), T(b->image), N(b->version),
                        N(b->script_s), N(b->login_s), N(b->first_read_s), N(b->last_read_s), N(b->end_s),
                        N(b->read_bytes), N(b->written_bytes), T(b->refused)),
                   err);
    if (r == 0)
        r = db_number(c, "SELECT max(id) FROM boot", ARGS(), ret_id, err);
    if (r == 0) /* a menu that was answered is a part of the boot */
        r = db_run(
            c,
            "DELETE FROM boot WHERE client_id = ? AND client_id > 0 AND image = '' AND refused = '' AND end_s = 0"
            " AND id <> ?",
            ARGS(N(b->client_id), N(*ret_id)), err);
    if (r == 0) /* a PC that asks anew has ended what it did before */
        r = db_run(c,
                   "UPDATE boot SET end_s = max(script_s, login_s, last_read_s) WHERE client_id = ? AND client_id > 0"
                   " AND end_s = 0 AND id <> ?",
                   ARGS(N(b->client_id), N(*ret_id)), err);
    if (r == 0) /* ids have no gaps but those that this and menus leave */
        r = db_run(c, "DELETE FROM boot WHERE id <= ?", ARGS(N(*ret_id - BOOT_MAX)), err);
    return r;
}

int boot_add(struct catalog *c, struct boot_row *row, struct err *err)
{
    int64_t id = 0;
    int r = AS_WRITER(c, err, add_steps(c, row, &id, err));
    if (r == 0)
        row->id = id;
    return r;
}

int boot_update(struct catalog *c, const struct boot_row *b, struct err *err)
{
    return AS_WRITER(c, err,
                     db_run(c,
                            "UPDATE boot SET address = ?, script_s = ?, login_s = ?, first_read_s = ?, last_read_s = ?,"
                            " end_s = ?, read_bytes = ?, written_bytes = ?, refused = ? WHERE id = ?",
                            ARGS(T(b->address), N(b->script_s), N(b->login_s), N(b->first_read_s), N(b->last_read_s),
                                 N(b->end_s), N(b->read_bytes), N(b->written_bytes), T(b->refused), N(b->id)),
                            err));
}

int boot_list(struct catalog *c, const char *client, size_t limit, struct boot_row **ret, size_t *ret_n,
              struct err *err)
{
    struct client_row row = {0};
    int64_t rows = limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit;
    int r = client ? client_get(c, client, &row, err) : 0;
    explicit_bzero(row.chap_password, sizeof(row.chap_password));
    if (r < 0)
        return r;
    return db_list(c,
                   "SELECT * FROM (SELECT " BOOT_COLUMNS BOOT_FROM " WHERE ?1 = 0 OR client_id = ?1"
                   " ORDER BY boot.id DESC LIMIT ?2) ORDER BY 1",
                   ARGS(N(row.id), N(rows)), fill_boot, sizeof(struct boot_row), (void **)ret, ret_n, err);
}

int boot_last(struct catalog *c, struct boot_row **ret, size_t *ret_n, struct err *err)
{
    return db_list(c,
                   "SELECT " BOOT_COLUMNS " FROM (SELECT max(id) AS newest FROM boot WHERE refused = '' AND image <> ''"
                   " AND client_id > 0 GROUP BY client_id) JOIN boot ON boot.id = newest JOIN client ON client.id = "
                   "boot.client_id",
                   ARGS(), fill_boot, sizeof(struct boot_row), (void **)ret, ret_n, err);
}

/* --- secrets ----------------------------------------------------------------------------------------------------- */

static int renew_steps(struct catalog *c, int64_t id, const char *secret, struct err *err)
{
    int64_t found;
    int r = db_number(c, "SELECT id FROM client WHERE id = ?", ARGS(N(id)), &found, err);
    if (r == -ENOENT)
        return err_set(err, r, "the catalog holds no client with the id %lld", (long long)id);
    return r < 0 ? r : db_run(c, "UPDATE client SET chap_password = ? WHERE id = ?", ARGS(T(secret), N(id)), err);
}

int client_renew_secret(struct catalog *c, struct client_row *client, struct err *err)
{
    char secret[sizeof(client->chap_password)];
    int r = secret_new(secret);
    if (r < 0)
        return err_sys(err, r, "cannot make a password for client '%s'", client->name);
    r = AS_WRITER(c, err, renew_steps(c, client->id, secret, err));
    if (r == 0)
        strcpy(client->chap_password, secret);
    explicit_bzero(secret, sizeof(secret));
    return r;
}
