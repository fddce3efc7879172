/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paths of the old server, brought into one spelling: forward slashes, an upper-case drive letter, nothing around them.
 *
 *   D:\Images\x.vhd  D:\\Images\\x.vhd  "d:/Images/x.vhd"  \\?\D:\Images\x.vhd     -> D:/Images/x.vhd      PATH_ABSOLUTE
 *   \\NAS\share\x.vhd  //NAS/share/x.vhd  \\?\UNC\NAS\share\x.vhd                  -> //NAS/share/x.vhd    PATH_UNC
 *   \Images\x.vhd -> /Images/x.vhd  PATH_ROOTED        D:x.vhd -> D:x.vhd  PATH_DRIVE_RELATIVE
 *   x.vhd -> x.vhd  PATH_RELATIVE                      /srv/x.img -> /srv/x.img  PATH_POSIX
 *   any with a part ".." -> PATH_DOTS, spelt as above
 *
 * Broken: control characters, a server without share or file, four backslashes before a server, devices (\\.\), a URL, no file name. Doubled
 * backslashes are taken for one only behind a drive letter, where nothing else can be meant: some program escaped them once too often.
 * The case of letters stays; comparing without regard to it is the planner's business.
 */
#include "migrate/normalise.h"

#include <string.h>
#include <strings.h>

#include "core/util.h"
#include "migrate/text.h"

static bool is_letter(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

static bool is_slash(char ch)
{
    return ch == '\\' || ch == '/';
}

static bool has_control(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)p[i] < ' ' || p[i] == 0x7f)
            return true;
    return false;
}

static bool has_drive(const char *p, size_t len)
{
    return len >= 2 && is_letter(p[0]) && p[1] == ':';
}

/* The text without blanks and quotes around it. */
static const char *bare(const char *p, size_t *len)
{
    *len = text_trim(&p, *len);
    while (*len >= 2 && (*p == '"' || *p == '\'') && p[*len - 1] == *p) {
        p++;
        *len -= 2;
        *len = text_trim(&p, *len);
    }
    return p;
}

/* Copy parts that slashes separate, one slash between them and @lead before; parts of "." are dropped. False when nothing is left, the
 * last part is empty, or an empty part stands between others and @may_double is false. */
static bool put_parts(const char *lead, const char *p, size_t len, bool may_double, char *ret, bool *ret_dots,
                      unsigned *ret_parts)
{
    size_t n = strlen(lead);
    unsigned parts = 0;
    memcpy(ret, lead, n);
    for (size_t i = 0; i <= len;) {
        size_t end = i;
        while (end < len && !is_slash(p[end]))
            end++;
        size_t part = end - i;
        if (part == 0 && (end == len || (!may_double && i > 0)))
            return false;
        if (part > 0 && !(part == 1 && p[i] == '.')) {
            *ret_dots |= part == 2 && memcmp(p + i, "..", 2) == 0;
            if (n + part + 2 > RECORD_RAW_MAX)
                return false;
            if (parts++ > 0)
                ret[n++] = '/';
            memcpy(ret + n, p + i, part);
            n += part;
        }
        i = end + 1;
    }
    ret[n] = 0;
    *ret_parts = parts;
    return parts > 0;
}

static enum path_kind unc(const char *p, size_t len, char *ret)
{
    bool dots = false;
    unsigned parts = 0;
    bool is_good =
        len > 0 && !is_slash(*p) && *p != '.' && *p != '?' && put_parts("//", p, len, false, ret, &dots, &parts);
    return !is_good || parts < 3 ? PATH_BROKEN : dots ? PATH_DOTS : PATH_UNC;
}

static enum path_kind with_drive(const char *p, size_t len, char *ret)
{
    char lead[4] = {(char)(p[0] & ~0x20), ':', '/', 0};
    bool is_rooted = len > 2 && is_slash(p[2]), dots = false;
    unsigned parts = 0;
    if (!is_rooted)
        lead[2] = 0;
    size_t skip = 2 + is_rooted;
    if (!put_parts(lead, p + skip, len - skip, true, ret, &dots, &parts))
        return PATH_BROKEN;
    return dots ? PATH_DOTS : is_rooted ? PATH_ABSOLUTE : PATH_DRIVE_RELATIVE;
}

static enum path_kind other(const char *p, size_t len, char *ret)
{
    bool is_rooted = is_slash(*p), dots = false;
    unsigned parts = 0;
    if (memmem(p, len, "://", 3) ||
        !put_parts(is_rooted ? "/" : "", p + is_rooted, len - is_rooted, *p == '/', ret, &dots, &parts))
        return PATH_BROKEN;
    return dots ? PATH_DOTS : *p == '/' ? PATH_POSIX : is_rooted ? PATH_ROOTED : PATH_RELATIVE;
}

enum path_kind path_from_text(const char *text, size_t len, char *ret_path)
{
    enum path_kind kind = PATH_BROKEN;
    const char *p = bare(text, &len);
    if (len >= 4 && is_slash(p[0]) && is_slash(p[1]) && p[2] == '?' && is_slash(p[3])) {
        p += 4;
        len -= 4;
        if (len > 4 && strncasecmp(p, "UNC", 3) == 0 && is_slash(p[3])) {
            p += 2; /* "C\server" becomes "\\server" below */
            len -= 2;
            kind =
                len > 2 && !has_control(p, len) && len <= RECORD_RAW_MAX ? unc(p + 2, len - 2, ret_path) : PATH_BROKEN;
            if (kind == PATH_BROKEN)
                ret_path[0] = 0;
            return kind;
        }
    }
    if (len > 0 && len <= RECORD_RAW_MAX && !has_control(p, len)) {
        if (has_drive(p, len))
            kind = with_drive(p, len, ret_path);
        else if (len > 2 && is_slash(p[0]) && is_slash(p[1]))
            kind = unc(p + 2, len - 2, ret_path);
        else
            kind = other(p, len, ret_path);
    }
    if (kind == PATH_BROKEN)
        ret_path[0] = 0;
    return kind;
}

/* Digits and dots only: an address, a price. */
static bool is_number(const char *p, size_t len)
{
    size_t n = 0;
    while (n < len && ((p[n] >= '0' && p[n] <= '9') || p[n] == '.'))
        n++;
    return n == len;
}

bool path_looks_so(const char *text, size_t len)
{
    const char *p = bare(text, &len);
    if (len < 3 || has_control(p, len))
        return false;
    if (has_drive(p, len) && is_slash(p[2]))
        return true;
    if (is_slash(p[0]))
        return is_slash(p[1]) || memchr(p + 1, p[0], len - 1) || path_ending(p, len) > 0;
    return path_ending(p, len) > 0;
}

int path_ending(const char *text, size_t len)
{
    static const char *const images[] = {"vhd", "vhdx", "avhd", "avhdx", "vmdk",  "vmdx",
                                         "img", "raw",  "iso",  "vdi",   "qcow2", "qcow"};
    static const char *const others[] = {"log", "txt", "exe", "dll", "ini", "bat",  "cmd",   "lnk", "doc",
                                         "xls", "jpg", "png", "bmp", "ico", "mdb",  "accdb", "db",  "zip",
                                         "rar", "7z",  "sys", "inf", "pxe", "kpxe", "efi",   "html"};
    char ending[8];
    const char *p = bare(text, &len);
    size_t n = 0;
    while (n < len && n < sizeof(ending) && p[len - 1 - n] != '.' && !is_slash(p[len - 1 - n]))
        n++;
    if (n == 0 || n >= sizeof(ending) || n >= len || p[len - 1 - n] != '.')
        return 0;
    for (size_t i = 0; i < n; i++) {
        char ch = p[len - n + i];
        ending[i] = ch >= 'A' && ch <= 'Z' ? (char)(ch - 'A' + 'a') : ch;
    }
    ending[n] = 0;
    if (n == 3 && strspn(ending, "0123456789") == 3)
        return !is_number(p, len); /* 192.168.1.100 is no numbered difference */
    for (size_t i = 0; i < ARRAY_SIZE(images); i++)
        if (*ending == *images[i] && strcmp(ending, images[i]) == 0)
            return 1;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        if (*ending == *others[i] && strcmp(ending, others[i]) == 0)
            return -1;
    return 0;
}
