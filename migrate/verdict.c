/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What one value could be; see verdict.h. */
#include "migrate/verdict.h"

#include <string.h>

#include "migrate/normalise.h"
#include "migrate/text.h"

#define LONG_TEXT 1000 /* bytes; longer texts are prose and only counted */
#define MAC_TEXT  100
#define MEMO_TEXT 128

/* --- texts ---------------------------------------------------------------------------------------------------------- */

static bool is_guid(const char *p, size_t len)
{
    if (len == 38 && *p == '{' && p[37] == '}') {
        p++;
        len -= 2;
    }
    if (len != 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool is_hex = (p[i] >= '0' && p[i] <= '9') || ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'f');
        if (is_dash ? p[i] != '-' : !is_hex)
            return false;
    }
    return true;
}

static bool is_int(const char *p, size_t len)
{
    size_t i = len > 1 && *p == '-';
    for (size_t k = i; k < len; k++)
        if (p[k] < '0' || p[k] > '9')
            return false;
    return len > i && len < 19;
}

/* Also with decimals: money, sizes. */
static bool is_number(const char *p, size_t len)
{
    size_t digits = 0, marks = 0;
    for (size_t i = len > 1 && *p == '-'; i < len; i++) {
        digits += p[i] >= '0' && p[i] <= '9';
        marks += p[i] == '.' || p[i] == ',';
    }
    return digits > 0 && digits + marks + (*p == '-') == len;
}

static bool has_control(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)p[i] < ' ')
            return true;
    return false;
}

static bool is_host(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z') ||
              (p[i] && strchr("._-", p[i]))))
            return false;
    return len > 0;
}

/* All parts between @separator are paths of disks, and there are two or more. */
static bool splits(const char *p, size_t len, char separator)
{
    unsigned parts = 0;
    for (;;) {
        const char *at = memchr(p, separator, len);
        size_t n = at ? (size_t)(at - p) : len;
        if (n > 0 && !(path_looks_so(p, n) && path_ending(p, n) > 0))
            return false;
        parts += n > 0;
        if (!at)
            return parts >= 2;
        p += n + 1;
        len -= n + 1;
    }
}

static unsigned path_bits(const char *p, size_t len)
{
    unsigned is = 0;
    if (memchr(p, ';', len) && splits(p, len, ';'))
        is = IS_PATH | IS_SEMICOLON_LIST;
    else if (memchr(p, '|', len) && splits(p, len, '|'))
        is = IS_PATH | IS_PIPE_LIST;
    else if (path_looks_so(p, len))
        is = IS_PATH;
    int ending = is ? path_ending(p, len) : 0;
    return is | (ending > 0 ? IS_IMAGE : ending < 0 ? IS_ALIEN : 0);
}

/* All that ip_is_none() knows begin so and are short. */
static bool says_no_address(const char *p, size_t len)
{
    return len > 0 && len <= 15 && *p && strchr("0:-naNAdD", *p) && ip_is_none(p, len);
}

static unsigned text_bits(const char *p, size_t len)
{
    char buf[46];
    len = text_trim(&p, len);
    if (is_guid(p, len))
        return IS_GUID;
    unsigned is = memchr(p, '.', len) && mask_from_text(p, len, buf) ? IS_MASK : ip_from_text(p, len, buf) ? IS_IP : 0;
    is |= is == 0 && says_no_address(p, len) ? IS_NO_ADDRESS : 0;
    is |= is_int(p, len) ? IS_INT : 0;
    is |= len > 0 && is_number(p, len) ? IS_NUMBER : 0;
    is |= text_chars(p, len) <= 63 && !has_control(p, len) ? IS_SHORT : 0;
    is |= is_host(p, len) ? IS_HOST : 0;
    return is | path_bits(p, len);
}

/* --- any value ------------------------------------------------------------------------------------------------------ */

static uint64_t hash_of(const char *p, size_t len)
{
    uint64_t h = text_hash(p, len);
    return h ? h : 1;
}

/* Of the MAC of a single card; 0 = it is none. */
static uint64_t mac_hash(const struct cell *c)
{
    char mac[MAC_LEN + 1];
    bool may_be = (c->kind == CELL_TEXT && c->len <= MAC_TEXT) || c->kind == CELL_BYTES;
    enum mac_status s = may_be ? mac_from_cell(c, mac) : MAC_EMPTY;
    return s == MAC_GOOD || s == MAC_LOCAL ? hash_of(mac, MAC_LEN) : 0;
}

/* Of numbers only 0, 1 and -1. */
static bool is_bool(const struct cell *c)
{
    bool truth;
    if (c->kind == CELL_INT)
        return c->integer >= -1 && c->integer <= 1;
    return bool_from_cell(c, &truth);
}

static void judge(const struct cell *c, struct verdict *v)
{
    char key[512];
    *v = (struct verdict){0};
    if (c->kind == CELL_TEXT && c->len <= LONG_TEXT)
        v->is |= text_bits(c->text, c->len);
    v->mac = mac_hash(c);
    v->is |= is_bool(c) ? IS_BOOL : 0;
    v->is |= c->kind == CELL_INT ? IS_INT | IS_NUMBER : c->kind == CELL_REAL ? IS_NUMBER : 0;
    if (c->len <= LONG_TEXT && cell_key(c, key, sizeof(key)))
        v->key = hash_of(key, strlen(key));
}

/* --- values that come again ----------------------------------------------------------------------------------------- */

static uint64_t raw_hash(const struct cell *c)
{
    uint64_t number = c->kind == CELL_REAL ? 0 : (uint64_t)c->integer;
    if (c->kind == CELL_REAL)
        memcpy(&number, &c->real, sizeof(number));
    uint64_t h = c->kind == CELL_INT || c->kind == CELL_BOOL || c->kind == CELL_REAL
                     ? text_hash((const char *)&number, sizeof(number))
                     : text_hash(c->text, c->len);
    h ^= (uint64_t)c->kind * 0x9e3779b97f4a7c15u;
    return h ? h : 1;
}

const struct verdict *verdict_of(struct memo *m, const struct cell *c)
{
    uint64_t hash = c->len <= MEMO_TEXT ? raw_hash(c) : 0;
    struct verdict *v = &m->verdicts[hash % MEMO_SLOTS];
    if (hash != 0 && m->hash[hash % MEMO_SLOTS] == hash)
        return v;
    m->hash[hash % MEMO_SLOTS] = hash;
    judge(c, v);
    return v;
}
