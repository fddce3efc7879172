/* SPDX-License-Identifier: GPL-2.0-or-later */
/* name_from_raw(): a name that Diskgate accepts from whatever the source calls a machine. */
#include <string.h>

#include "core/util.h"
#include "migrate/record.h"
#include "migrate/text.h"

static bool is_alnum(char ch)
{
    return (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

bool name_from_raw(const char *raw, char *ret)
{
    char wide[512];
    size_t n = 0;
    (void)text_nfkc(raw, strlen(raw), wide, sizeof(wide));
    for (const char *p = wide; *p && n < NAME_LEN; p++) {
        bool is_kept = is_alnum(*p) || (n > 0 && strchr("._-", *p));
        if (is_kept)
            ret[n++] = *p;
        else if (n > 0 && ret[n - 1] != '-')
            ret[n++] = '-'; /* one for any number of other characters */
    }
    while (n > 0 && !is_alnum(ret[n - 1]))
        n--;
    ret[n] = 0;
    return n > 0;
}
