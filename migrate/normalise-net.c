/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses, masks and yes-or-no of foreign tables. */
#include "migrate/normalise.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "migrate/text.h"

#define NUMBER_BYTES 21 /* of text_number() */

/* The trimmed, unquoted text with wide characters made narrow into @ret; false when it is too long to be one of ours. */
static bool narrow(const char *text, size_t len, char *ret, size_t size)
{
    len = text_trim(&text, len);
    if (len >= 2 && (*text == '"' || *text == '\'') && text[len - 1] == *text) {
        text++;
        len -= 2;
        len = text_trim(&text, len);
    }
    if (len + 1 > size || memchr(text, 0, len))
        return false;
    text_nfkc(text, len, ret, size);
    return true;
}

/* "192.168.001.010" -> "192.168.1.10". */
static void drop_padding(char *text)
{
    unsigned a, b, c, d;
    char end;
    if (strlen(text) == 15 && text[3] == '.' && text[7] == '.' && text[11] == '.' &&
        strspn(text, "0123456789.") == 15 && sscanf(text, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &end) == 4)
        (void)snprintf(text, 16, "%u.%u.%u.%u", a, b, c, d);
}

/* Nearly every address is written as inet_pton() takes it and nothing around it: four numbers without leading zeros. */
static bool plain_v4(const char *p, size_t len, uint32_t *ret)
{
    size_t i = 0;
    *ret = 0;
    for (int part = 0; part < 4; part++) {
        size_t begin = i;
        unsigned n = 0;
        for (; i < len && i < begin + 3 && p[i] >= '0' && p[i] <= '9'; i++)
            n = n * 10 + (unsigned)(p[i] - '0');
        if (i == begin || n > 255 || (p[begin] == '0' && i > begin + 1))
            return false;
        *ret = *ret << 8 | n;
        if (part < 3 && (i == len || p[i++] != '.'))
            return false;
    }
    return i == len;
}

static bool keep(const char *text, size_t len, char *ret)
{
    memcpy(ret, text, len);
    ret[len] = 0;
    return true;
}

static bool is_mask(uint32_t mask)
{
    uint32_t holes = ~mask & (~mask + 1);
    return mask != 0 && holes == 0;
}

/* What inet_pton() takes for IPv4 is in the one spelling already: it refuses leading zeros. */
static bool take_v4(const char *text, char *ret)
{
    strcpy(ret, text);
    return true;
}

/* Most texts are no address, and that is seen sooner: one has a dot or a colon, though perhaps a wide one. */
static bool may_be_ip(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] == '.' || text[i] == ':' || (unsigned char)text[i] >= 0x80)
            return true;
    return false;
}

/* A mask has no letters. */
static bool may_be_mask(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((text[i] | 0x20) >= 'a' && (text[i] | 0x20) <= 'z')
            return false;
    return true;
}

bool ip_from_text(const char *text, size_t len, char *ret)
{
    char buf[80];
    struct in_addr v4;
    struct in6_addr v6;
    uint32_t plain;
    ret[0] = 0;
    if (plain_v4(text, len, &plain))
        return plain != 0 && keep(text, len, ret);
    if (!may_be_ip(text, len) || !narrow(text, len, buf, sizeof(buf)))
        return false;
    drop_padding(buf);
    if (inet_pton(AF_INET, buf, &v4) == 1)
        return v4.s_addr != INADDR_ANY && take_v4(buf, ret);
    if (strchr(buf, ':') && inet_pton(AF_INET6, buf, &v6) == 1)
        return !IN6_IS_ADDR_UNSPECIFIED(&v6) && inet_ntop(AF_INET6, &v6, ret, 46);
    return false;
}

bool ip_is_none(const char *text, size_t len)
{
    static const char *const words[] = {"0.0.0.0",         "::", "-", "none", "null", "auto", "dhcp", "automatic",
                                        "000.000.000.000", "n/a"};
    char buf[40], folded[40];
    uint32_t plain;
    if (plain_v4(text, len, &plain))
        return plain == 0;
    if (!narrow(text, len, buf, sizeof(buf)))
        return false;
    text_fold(buf, folded, sizeof(folded));
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcmp(folded, words[i]) == 0)
            return true;
    return folded[0] == 0;
}

static bool mask_from_bits(const char *digits, char *ret)
{
    unsigned bits = 0;
    char end;
    if (strlen(digits) > 2 || sscanf(digits, "%2u%c", &bits, &end) != 1 || bits < 1 || bits > 32)
        return false;
    struct in_addr a = {htonl((uint32_t)(0xffffffffULL << (32 - bits)))};
    return inet_ntop(AF_INET, &a, ret, 46) != NULL;
}

bool mask_from_text(const char *text, size_t len, char *ret)
{
    char buf[40];
    struct in_addr a;
    uint32_t plain;
    ret[0] = 0;
    if (plain_v4(text, len, &plain))
        return is_mask(plain) && keep(text, len, ret);
    if (!may_be_mask(text, len) || !narrow(text, len, buf, sizeof(buf)) || !*buf)
        return false;
    const char *digits = buf + (*buf == '/');
    if (*digits && strspn(digits, "0123456789") == strlen(digits))
        return mask_from_bits(digits, ret);
    drop_padding(buf);
    if (inet_pton(AF_INET, buf, &a) != 1)
        return false;
    return is_mask(ntohl(a.s_addr)) && take_v4(buf, ret);
}

static void dns_put(char *list, const char *ip)
{
    size_t len = strlen(list), n = strlen(ip);
    char *comma = strchr(list, ',');
    size_t first = comma ? (size_t)(comma - list) : len;
    if (comma || (first == n && strncmp(list, ip, n) == 0) || len + n + 2 > 96)
        return;
    if (len > 0)
        list[len++] = ',';
    memcpy(list + len, ip, n + 1);
}

/* What stands between addresses. */
static bool is_between(char ch)
{
    static const bool is_one[256] = {
        [','] = true, [';'] = true, ['|'] = true, [' '] = true, ['\t'] = true, ['\r'] = true, ['\n'] = true, [0] = true,
    };
    return is_one[(unsigned char)ch];
}

bool dns_add(char *list, const char *text, size_t len)
{
    const char *p = text, *end = text + len;
    bool all = true;
    uint32_t plain;
    if (plain_v4(text, len, &plain)) {
        char ip[46];
        if (plain != 0 && keep(text, len, ip))
            dns_put(list, ip);
        return true;
    }
    while (p < end) {
        char ip[46];
        size_t n = 0;
        while (p + n < end && !is_between(p[n]))
            n++;
        if (n > 0 && ip_from_text(p, n, ip))
            dns_put(list, ip);
        else if (n > 0 && !ip_is_none(p, n))
            all = false;
        p += n + 1;
    }
    return all;
}

static bool dns_has(const char *list, const char *ip)
{
    for (size_t len = strlen(ip), n;; list += n + 1) {
        n = (size_t)(strchrnul(list, ',') - list);
        if (n == len && memcmp(list, ip, n) == 0)
            return true;
        if (!list[n])
            return false;
    }
}

bool dns_is_whole(const char *list, const char *text, size_t len)
{
    for (size_t i = 0, n; i < len; i += n + 1) {
        char ip[46];
        for (n = 0; i + n < len && !is_between(text[i + n]);)
            n++;
        if (n == 0 || !ip_from_text(text + i, n, ip))
            continue;
        if (!dns_has(list, ip))
            return false;
    }
    return !strchr(list, ':');
}

/* --- yes or no ----------------------------------------------------------------------------------------------------- */

bool bool_from_cell(const struct cell *c, bool *ret)
{
    static const char *const yes[] = {"1",       "-1",   "true",  "yes", "y",      "on",        "enabled",    "enable",
                                      "active",  "x",    "t",     "ok",  "是",     "真",        "启用",       "啟用",
                                      "开",      "有效", "да",    "вкл", "истина", "активен",   "sim",        "ativo",
                                      "ativado", "ya",   "aktif", "si",  "activo", "verdadero", "verdadeiro", "co",
                                      "bat",     "dung", "✓",     "√"};
    static const char *const no[] = {"0",          "false", "no",       "n",        "off",   "disabled", "disable",
                                     "inactive",   "f",     "否",       "假",       "禁用",  "停用",     "关",
                                     "無效",       "无效",  "нет",      "выкл",     "ложь",  "nao",      "inativo",
                                     "desativado", "tidak", "nonaktif", "inactivo", "falso", "khong",    "tat",
                                     "sai",        "-",     "×"};
    char buf[40], plain[40];
    if (c->kind == CELL_BOOL || c->kind == CELL_INT) {
        *ret = c->integer != 0;
        return true;
    }
    if (c->kind != CELL_TEXT || !narrow(c->text, c->len, buf, sizeof(buf)) || !*buf)
        return false;
    text_plain(buf, plain, sizeof(plain));
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
        if (*plain == *yes[i] && strcmp(plain, yes[i]) == 0)
            return *ret = true;
    for (size_t i = 0; i < ARRAY_SIZE(no); i++)
        if (*plain == *no[i] && strcmp(plain, no[i]) == 0) {
            *ret = false;
            return true;
        }
    return false;
}

/* --- any cell ------------------------------------------------------------------------------------------------------ */

const char *cell_text(const struct cell *c, char buf[64], size_t *ret_len)
{
    const char *text = c->text;
    buf[0] = 0;
    switch (c->kind) {
    case CELL_TEXT:
    case CELL_DATE:
    case CELL_BAD:
        *ret_len = c->len;
        return text;
    case CELL_INT:
        *ret_len = text_number(c->integer, buf);
        return buf;
    case CELL_BOOL:
        *ret_len = c->integer ? 4 : 5;
        strcpy(buf, c->integer ? "true" : "false");
        return buf;
    case CELL_REAL:
        (void)snprintf(buf, 64, "%.15g", c->real);
        break;
    case CELL_BYTES:
        for (size_t i = 0; i < MIN(c->len, (size_t)28); i++)
            (void)snprintf(buf + 2 * i, 3, "%02x", (unsigned char)text[i]);
        if (c->len > 28)
            strcat(buf, "...");
        break;
    case CELL_NONE:
        break;
    }
    *ret_len = strlen(buf);
    return buf;
}

bool cell_is_empty(const struct cell *c)
{
    const char *p = c->text;
    if (c->kind == CELL_TEXT && c->len > 0 && *p > ' ') /* nearly always */
        return false;
    return c->kind == CELL_NONE || (c->kind == CELL_TEXT && text_trim(&p, c->len) == 0) ||
           (c->kind == CELL_BYTES && c->len == 0);
}

bool cell_key(const struct cell *c, char *ret, size_t size)
{
    char buf[64], raw[512];
    size_t len;
    if (c->kind == CELL_INT && size > NUMBER_BYTES)
        return text_number(c->integer, ret) > 0;
    if (c->kind == CELL_BAD || c->kind == CELL_BYTES || cell_is_empty(c))
        return false;
    const char *text = cell_text(c, buf, &len);
    len = text_trim(&text, len);
    if (len == 0 || len >= sizeof(raw) || memchr(text, 0, len))
        return false;
    memcpy(raw, text, len);
    raw[len] = 0;
    return text_fold(raw, ret, size) < size - 1;
}
