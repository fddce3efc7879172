/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INI text cut into lines. Nothing here fails: what is no section and has no "=" is a key without a value, and the caller says what he thinks. */
#include "migrate/ini-text.h"

#include <string.h>

#include "migrate/text.h"

/* Where the text begins behind its blanks, and how long it is before those at its end. */
static size_t text_at(const char *p, size_t *ret_len)
{
    const char *begin = p;
    *ret_len = text_trim(&begin, strlen(p));
    return (size_t)(begin - p);
}

/* @p without blanks at both ends; its end is moved. */
static char *trim(char *p)
{
    size_t len, skip = text_at(p, &len);
    p[skip + len] = 0;
    return p + skip;
}

/* Where a remark begins: ";" with a blank before it that is not the first of the value, outside of quotes. */
static void drop_remark(char *value)
{
    bool is_quoted = false;
    for (char *p = value; *p; p++) {
        if (*p == '"' && (p == value || p[-1] != '\\'))
            is_quoted = !is_quoted;
        if (*p == ';' && !is_quoted && p > value && (p[-1] == ' ' || p[-1] == '\t')) {
            *p = 0;
            return;
        }
    }
}

static char *next_line(char **rest)
{
    char *line = *rest;
    size_t n = strcspn(line, "\r\n");
    char *end = line + n;
    *rest = *end == '\r' && end[1] == '\n' ? end + 2 : *end ? end + 1 : end;
    *end = 0;
    return line;
}

int ini_lines(char *text, bool has_remarks, ini_each *each, void *arg)
{
    struct ini_line l = {0, "", NULL, NULL};
    int r = 0;
    while (*text && r >= 0) {
        char *line = trim(next_line(&text));
        size_t len = strlen(line);
        l.number++;
        if (len == 0 || *line == ';' || *line == '#')
            continue;
        if (*line == '[' && line[len - 1] == ']') {
            line[len - 1] = 0;
            l.section = trim(line + 1);
            l.key = l.value = NULL;
            r = each(arg, &l);
            continue;
        }
        char *equals = strchr(line, '=');
        if (equals) {
            *equals = 0;
            char *value = trim(equals + 1);
            if (has_remarks)
                drop_remark(value);
            l.value = trim(value);
        } else {
            l.value = NULL;
        }
        l.key = trim(line);
        r = each(arg, &l);
    }
    return r;
}
