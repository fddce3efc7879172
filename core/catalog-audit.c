/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The audit: one row for each change, in the transaction of the change.
 *
 * before and after are compact JSON objects, "null" where there was or is nothing. Strings longer than TEXT_MAX bytes are cut
 * and end in "...", so that the row stays JSON. Passwords never get here: the writers do not put them into their objects.
 */
#include "core/catalog-priv.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"

#define TEXT_MAX 300

/* --- who --------------------------------------------------------------------------------------------------------- */

void audit_default_who(char *ret, size_t size)
{
    const char *sudo = getenv("SUDO_USER");
    if (getuid() == 0 && sudo && *sudo) {
        (void)snprintf(ret, size, "sudo:%s", sudo);
        return;
    }
    char buf[4096];
    struct passwd pw, *found = NULL;
    if (getpwuid_r(getuid(), &pw, buf, sizeof(buf), &found) == 0 && found)
        (void)snprintf(ret, size, "%s", pw.pw_name);
    else
        (void)snprintf(ret, size, "%u", (unsigned)getuid());
}

/* --- JSON -------------------------------------------------------------------------------------------------------- */

/* Length of the UTF-8 character at @p, 0 when it is none. */
static size_t utf8_len(const char *p)
{
    unsigned char first = (unsigned char)*p;
    size_t len = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < len; i++)
        if (((unsigned char)p[i] & 0xc0) != 0x80)
            return 0;
    unsigned char second = len > 2 ? (unsigned char)p[1] : 0;
    bool is_overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
    bool is_outside = (first == 0xed && second > 0x9f) || (first == 0xf4 && second > 0x8f);
    return is_overlong || is_outside ? 0 : len;
}

json_t *audit_text(const char *text)
{
    char out[TEXT_MAX + 8];
    size_t n = 0;
    while (*text && n + 4 < TEXT_MAX) {
        size_t len = utf8_len(text);
        if (len == 0)
            out[n] = '?';
        else
            memcpy(out + n, text, len);
        n += MAX(len, (size_t)1);
        text += MAX(len, (size_t)1);
    }
    strcpy(out + n, *text ? "..." : "");
    return json_string(out);
}

int comment_check(const char *comment, struct err *err)
{
    size_t n = strlen(comment);
    if (n > COMMENT_LEN)
        return err_set(err, -EINVAL, "the comment has %zu bytes; at most %d are kept", n, COMMENT_LEN);
    for (const char *p = comment; *p; p += utf8_len(p))
        if ((unsigned char)*p < ' ' || *p == 0x7f || utf8_len(p) == 0)
            return err_set(err, -EINVAL, "the comment holds a control character or is no UTF-8; write plain text");
    return 0;
}

/* --- rows -------------------------------------------------------------------------------------------------------- */

static char *dump(json_t *state)
{
    return state ? json_dumps(state, JSON_COMPACT) : strdup("null");
}

int audit_add(struct catalog *c, const char *verb, const char *object, json_t *before, json_t *after, struct err *err)
{
    if (c->is_audit_off) {
        json_decref(before);
        json_decref(after);
        return 0;
    }
    _cleanup_free_ char *before_text = dump(before), *after_text = dump(after);
    json_decref(before);
    json_decref(after);
    if (!before_text || !after_text)
        return err_sys(err, -ENOMEM, "cannot note the change in the catalog");
    char now[TIME_LEN + 1];
    catalog_now(now);
    return db_run(c, "INSERT INTO audit (at, who, verb, object, before, after) VALUES (?, ?, ?, ?, ?, ?)",
                  ARGS(T(now), T(c->who), T(verb), T(object), T(before_text), T(after_text)), err);
}

/* As COL_TEXT, but what is too long ends in "...". */
static void col_cut(sqlite3_stmt *st, int col, char *buf, size_t size)
{
    col_text(st, col, buf, size);
    if ((size_t)sqlite3_column_bytes(st, col) < size)
        return;
    size_t end = size - 4;
    while (end > 0 && ((unsigned char)buf[end] & 0xc0) == 0x80) /* not within a character */
        end--;
    strcpy(buf + end, "...");
}

static void fill_audit(sqlite3_stmt *st, void *row)
{
    struct audit_row *a = row;
    a->id = sqlite3_column_int64(st, 0);
    COL_TEXT(st, 1, a->at);
    COL_TEXT(st, 2, a->who);
    COL_TEXT(st, 3, a->verb);
    col_cut(st, 4, a->object, sizeof(a->object));
    col_cut(st, 5, a->before, sizeof(a->before));
    col_cut(st, 6, a->after, sizeof(a->after));
}

int audit_list(struct catalog *c, size_t limit, struct audit_row **ret, size_t *ret_n, struct err *err)
{
    int64_t rows = limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit;
    return db_list(c,
                   "SELECT * FROM (SELECT id, at, who, verb, object, before, after FROM audit ORDER BY id DESC LIMIT ?)"
                   " ORDER BY id",
                   ARGS(N(rows)), fill_audit, sizeof(struct audit_row), (void **)ret, ret_n, err);
}
