/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names, MAC addresses, ids and sizes as people write them.
 *
 * Text that a sentence quotes comes from outside: it is cut and bytes that would move a terminal's cursor are replaced, see
 * shown(). Character classes are written out, because isalpha() and its kin follow the locale.
 */
#include "core/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "core/util.h"

#define SHOWN_LEN 80

struct shown {
    char text[SHOWN_LEN + 4];
};

/* @text fit to be quoted in a sentence. */
static struct shown shown(const char *text)
{
    struct shown s;
    size_t n = 0;
    for (; text[n] && n < SHOWN_LEN; n++)
        s.text[n] = (unsigned char)text[n] < ' ' || text[n] == 0x7f ? '?' : text[n];
    strcpy(s.text + n, text[n] ? "..." : "");
    return s;
}

static bool is_digit(char ch)
{
    return ch >= '0' && ch <= '9';
}

static bool is_alnum(char ch)
{
    return is_digit(ch) || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

static bool is_blank(char ch)
{
    return ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r';
}

static int hex_value(char ch)
{
    if (is_digit(ch))
        return ch - '0';
    if (ch >= 'a' && ch <= 'f')
        return ch - 'a' + 10;
    if (ch >= 'A' && ch <= 'F')
        return ch - 'A' + 10;
    return -1;
}

/* --- names ------------------------------------------------------------------------------------------------------- */

int name_check(const char *name, const char *what, struct err *err)
{
    size_t len = strlen(name);
    if (len == 0)
        return err_set(err, -EINVAL, "%s is empty; give 1 to %d characters", what, NAME_LEN);
    if (len > NAME_LEN)
        return err_set(err, -EINVAL, "%s '%s' is longer than %d characters", what, shown(name).text, NAME_LEN);
    if (!is_alnum(name[0]))
        return err_set(err, -EINVAL, "%s '%s' does not begin with a letter A-Z or a digit", what, shown(name).text);
    for (const char *p = name; *p; p++)
        if (!is_alnum(*p) && !strchr("._-", *p))
            return err_set(err, -EINVAL, "%s '%s' holds a character other than A-Z a-z 0-9 . _ -", what,
                           shown(name).text);
    return 0;
}

int image_ref_parse(const char *text, char *ret_name, uint32_t *ret_version, struct err *err)
{
    const char *at = strchr(text, '@');
    size_t len = at ? (size_t)(at - text) : strlen(text);
    char name[NAME_LEN + 2]; /* one more than allowed, so that name_check() finds what is too long */
    (void)snprintf(name, sizeof(name), "%.*s", (int)MIN(len, sizeof(name)), text);
    int r = name_check(name, "image name", err);
    if (r < 0)
        return r;
    uint64_t version = 0;
    if (at) {
        for (const char *p = at + 1; is_digit(*p) && version <= UINT32_MAX; p++)
            version = version * 10 + (uint64_t)(*p - '0');
        bool is_number = at[1] && strspn(at + 1, "0123456789") == strlen(at + 1);
        if (!is_number || version == 0 || version > UINT32_MAX)
            return err_set(err, -EINVAL, "'%s' does not name a version: behind '@' stands its number, as in '%s@1'",
                           shown(text).text, name);
    }
    strcpy(ret_name, name);
    *ret_version = (uint32_t)version;
    return 0;
}

/* Compare two runs of digits by value; *a and *b are moved behind them. */
static int compare_numbers(const char **a, const char **b)
{
    while (**a == '0')
        (*a)++;
    while (**b == '0')
        (*b)++;
    size_t na = strspn(*a, "0123456789"), nb = strspn(*b, "0123456789");
    int r = na != nb ? (na < nb ? -1 : 1) : strncmp(*a, *b, na);
    *a += na;
    *b += nb;
    return r;
}

static int lower(char ch)
{
    return ch >= 'A' && ch <= 'Z' ? ch - 'A' + 'a' : (unsigned char)ch;
}

int name_compare(const char *a, const char *b)
{
    const char *p = a, *q = b;
    while (*p && *q) {
        if (is_digit(*p) && is_digit(*q)) {
            int r = compare_numbers(&p, &q);
            if (r != 0)
                return r;
            continue;
        }
        if (lower(*p) != lower(*q))
            return lower(*p) - lower(*q);
        p++;
        q++;
    }
    if (*p || *q)
        return *p ? 1 : -1;
    for (p = a, q = b; *p && lower(*p) == lower(*q); p++) /* the same but for leading zeros: pc01 is not pc1 */
        q++;
    return lower(*p) - lower(*q);
}

/* --- MAC addresses ----------------------------------------------------------------------------------------------- */

/* The spellings: how many groups, and how many digits in each. */
static const struct mac_form {
    unsigned groups, min_digits, max_digits;
} mac_forms[] = {
    {6, 1, 2},   /* 52:54:00:12:34:56, 52-54-0-12-34-56 */
    {3, 4, 4},   /* 5254.0012.3456 */
    {2, 6, 6},   /* 525400-123456 */
    {1, 12, 12}, /* 525400123456 */
};

static const struct mac_form *mac_form_of(const char *text, size_t len)
{
    char separator = 0;
    unsigned groups = 1;
    for (size_t i = 0; i < len; i++) {
        if (hex_value(text[i]) >= 0)
            continue;
        if (!strchr(":-. ", text[i]) || (separator && separator != text[i]))
            return NULL;
        separator = text[i];
        groups++;
    }
    for (size_t i = 0; i < ARRAY_SIZE(mac_forms); i++)
        if (mac_forms[i].groups == groups)
            return &mac_forms[i];
    return NULL;
}

static bool mac_digits(const char *text, size_t len, uint64_t *ret)
{
    const struct mac_form *form = mac_form_of(text, len);
    if (!form)
        return false;
    uint64_t mac = 0;
    const char *p = text, *end = text + len;
    for (unsigned group = 0; group < form->groups; group++, p++) {
        uint64_t value = 0;
        unsigned digits = 0;
        for (; p < end && hex_value(*p) >= 0; p++, digits++)
            value = value << 4 | (uint64_t)hex_value(*p);
        if (digits < form->min_digits || digits > form->max_digits)
            return false;
        mac = mac << 4 * form->max_digits | value;
    }
    *ret = mac;
    return true;
}

int mac_parse(const char *text, char *ret, struct err *err)
{
    const char *p = text + strspn(text, " \t\r\n");
    size_t len = strlen(p);
    while (len > 0 && is_blank(p[len - 1]))
        len--;
    uint64_t mac;
    if (len > MAC_LEN || !mac_digits(p, len, &mac))
        return err_set(err, -EINVAL, "'%s' is no MAC address; write it as 52:54:00:12:34:56", shown(text).text);
    if (mac == 0)
        return err_set(err, -EINVAL, "MAC '%s' is all zero and belongs to no network card", shown(text).text);
    if (mac == 0xffffffffffffULL)
        return err_set(err, -EINVAL, "MAC '%s' is the broadcast address and belongs to no network card",
                       shown(text).text);
    if (mac >> 40 & 1)
        return err_set(err, -EINVAL, "MAC '%s' is a group (multicast) address and belongs to no single network card",
                       shown(text).text);
    for (int i = 0; i < 6; i++)
        (void)snprintf(ret + i * 3, 4, "%02x%s", (unsigned)(mac >> (40 - 8 * i) & 0xff), i < 5 ? ":" : "");
    return 0;
}

/* --- ids and secrets --------------------------------------------------------------------------------------------- */

/* @len random bytes, at most 256: getrandom() gives these whole. */
static int random_bytes(unsigned char *buf, size_t len)
{
    ssize_t n;
    do
        n = getrandom(buf, len, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EIO;
}

int uuid_new(char *ret)
{
    unsigned char id[16];
    int r = random_bytes(id, sizeof(id));
    if (r < 0)
        return r;
    id[6] = (unsigned char)((id[6] & 0x0f) | 0x40); /* version 4: random */
    id[8] = (unsigned char)((id[8] & 0x3f) | 0x80); /* variant of RFC 9562 */
    uuid_encode(id, ret);
    return 0;
}

static bool uuid_has_dash(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

int uuid_decode(const char *text, unsigned char ret[16])
{
    unsigned char id[16];
    if (strlen(text) != UUID_LEN)
        return -EINVAL;
    for (size_t i = 0; i < sizeof(id); i++) {
        if (uuid_has_dash(i) && *text++ != '-')
            return -EINVAL;
        int high = hex_value(text[0]), low = hex_value(text[1]);
        if (high < 0 || low < 0)
            return -EINVAL;
        id[i] = (unsigned char)(high << 4 | low);
        text += 2;
    }
    memcpy(ret, id, sizeof(id));
    return 0;
}

void uuid_encode(const unsigned char id[16], char *ret)
{
    for (size_t i = 0; i < 16; i++) {
        if (uuid_has_dash(i))
            *ret++ = '-';
        (void)snprintf(ret, 3, "%02x", id[i]);
        ret += 2;
    }
}

int machine_boot_id(unsigned char ret[16])
{
    _cleanup_free_ char *text = NULL;
    int r = file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, NULL);
    if (r < 0)
        return r;
    text[strcspn(text, "\n")] = 0;
    return uuid_decode(text, ret);
}

int secret_next(struct secret_source *from, char *ret)
{
    static const char alphabet[] = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"; /* no i l o I O 0 1 */
    const unsigned letters = sizeof(alphabet) - 1;
    char secret[17] = "";
    for (size_t n = 0; n < 16;) {
        if (from->left == 0) {
            int r = random_bytes(from->bytes, sizeof(from->bytes));
            if (r < 0)
                return r;
            from->left = sizeof(from->bytes);
        }
        unsigned char *random = &from->bytes[--from->left];
        if (*random < 256 / letters * letters) /* else the first letters would come up more often */
            secret[n++] = alphabet[*random % letters];
        *random = 0;
    }
    memcpy(ret, secret, sizeof(secret));
    return 0;
}

int secret_new(char *ret)
{
    struct secret_source from = {.left = 0};
    return secret_next(&from, ret);
}

/* --- sizes ------------------------------------------------------------------------------------------------------- */

/* The unit at @text, "", "k", "MB", "GiB", ...: its bytes, or 0 when it is none. */
static uint64_t size_unit(const char *text)
{
    static const char letters[] = "kmgt";
    const char *letter = *text ? strchr(letters, lower(*text)) : NULL;
    uint64_t unit = letter ? 1ULL << 10 * (letter - letters + 1) : 1;
    if (letter)
        text++;
    bool is_end = *text == 0 || strcasecmp(text, "b") == 0 || (letter && strcasecmp(text, "ib") == 0);
    return is_end ? unit : 0;
}

int size_parse(const char *text, uint64_t *ret, struct err *err)
{
    const char *p = text + strspn(text, " \t");
    unsigned __int128 value = 0, scale = 1;
    size_t digits = strspn(p, "0123456789"), decimals = p[digits] == '.' ? strspn(p + digits + 1, "0123456789") : 0;
    const char *unit_text = p + digits + (p[digits] == '.' ? 1 + decimals : 0);
    uint64_t unit = size_unit(unit_text + strspn(unit_text, " "));
    bool is_fraction = p[digits] == '.';
    if (digits == 0 || unit == 0 || (is_fraction && (decimals == 0 || unit == 1)))
        return err_set(err, -EINVAL, "'%s' is no size; write bytes or a number with k, M, G or T, as in 512, 64k, 1.5G",
                       shown(text).text);
    if (digits > 19 || decimals > 9)
        return err_set(err, -EINVAL, "size '%s' has too many digits", shown(text).text);
    for (; *p != 0 && p < unit_text; p++) {
        if (*p == '.')
            continue;
        value = value * 10 + (unsigned)(*p - '0');
    }
    for (size_t i = 0; i < decimals; i++)
        scale *= 10;
    value = value * unit / scale;
    if (value > INT64_MAX)
        return err_set(err, -EINVAL, "size '%s' is 8 EiB or more", shown(text).text);
    *ret = (uint64_t)value;
    return 0;
}

void size_text(uint64_t bytes, char *ret)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t u = 0;
    uint64_t unit = 1, tenths = bytes < 1024 ? bytes * 10 : 10240;
    while (tenths >= 10240 && u + 1 < ARRAY_SIZE(units)) {
        u++;
        unit *= 1024;
        tenths = (uint64_t)(((unsigned __int128)bytes * 10 + unit / 2) / unit);
    }
    if (tenths % 10 == 0)
        (void)snprintf(ret, 32, "%llu %s", (unsigned long long)tenths / 10, units[u]);
    else
        (void)snprintf(ret, 32, "%llu.%llu %s", (unsigned long long)tenths / 10, (unsigned long long)tenths % 10,
                       units[u]);
}
