/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paths of the old server on this one; see paths.h. Components are compared one by one, folded: the rest of a path keeps its spelling. */
#include "migrate/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util.h"
#include "migrate/normalise.h"
#include "migrate/text.h"

const char *path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void path_folder(const char *path, char *ret)
{
    const char *name = path_name(path), *end = name > path ? name - 1 : path, *begin = end;
    while (begin > path && begin[-1] != '/')
        begin--;
    memcpy(ret, begin, (size_t)(end - begin));
    ret[end - begin] = 0;
}

/* --- rules -------------------------------------------------------------------------------------------------------- */

/* Forward slashes, one between two components but two where a UNC path begins, none at the end. */
static void one_spelling(char *path)
{
    char *to = path;
    for (const char *p = path; *p; p++) {
        char ch = *p == '\\' ? '/' : *p;
        if (ch == '/' && to > path && to[-1] == '/' && to - path != 1)
            continue;
        *to++ = ch;
    }
    while (to > path + 1 && to[-1] == '/')
        to--;
    *to = 0;
}

/* A file is mapped to a file: one that is called differently here. */
static bool is_file_rule(const char *from, size_t len)
{
    while (len > 0 && !strchr("/\\:.", from[len - 1]))
        len--;
    return len > 0 && from[len - 1] == '.';
}

int path_rule_parse(const char *text, struct path_rule *ret, struct err *err)
{
    char real[PATH_MAX];
    struct stat st;
    const char *at = strstr(text, "=/");
    if (!at)
        at = strchr(text, '=');
    if (!at || at == text || !at[1])
        return err_set(err, -EINVAL, "'%s' is no rule for paths: write it as 'D:\\Images=/srv/images'",
                       text_quote(text));
    if ((size_t)(at - text) >= sizeof(ret->from))
        return err_set(err, -EINVAL, "the rule for paths '%s' is too long", text_quote(text));
    if (!realpath(at + 1, real) || stat(real, &st) < 0)
        return err_sys(err, -errno, "cannot use the folder '%s' of the rule '%s'", text_quote(at + 1),
                       text_quote(text));
    bool is_right = S_ISDIR(st.st_mode) || (S_ISREG(st.st_mode) && is_file_rule(text, (size_t)(at - text)));
    if (!is_right || strlen(real) >= sizeof(ret->to))
        return err_set(err, -EINVAL, "'%s' in the rule '%s' is no folder", text_quote(at + 1), text_quote(text));
    memcpy(ret->from, text, (size_t)(at - text));
    ret->from[at - text] = 0;
    strcpy(ret->to, real);
    return 0;
}

int path_rules_add(struct path_rules *p, const struct path_rule *rule)
{
    struct path_rule *more = reallocarray(p->rules, p->n + 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    p->rules = more;
    p->rules[p->n] = *rule;
    one_spelling(p->rules[p->n].from);
    p->n++;
    return 0;
}

void path_rules_finish(struct path_rules *p)
{
    free(p->rules);
    *p = (struct path_rules){0};
}

/* The next component of *@p into @ret; false at the end. */
static bool component(const char **p, char *ret, size_t size)
{
    *p += strspn(*p, "/");
    size_t n = strcspn(*p, "/");
    if (n == 0 || n >= size)
        return false;
    memcpy(ret, *p, n);
    ret[n] = 0;
    *p += n;
    return true;
}

static bool is_unc(const char *path)
{
    return strncmp(path, "//", 2) == 0;
}

/* How many components of @path the rule covers, 0 = it does not fit; *ret_rest is what follows. */
static unsigned rule_fits(const struct path_rule *rule, const char *path, const char **ret_rest)
{
    char a[NAME_MAX + 1], b[NAME_MAX + 1];
    const char *from = rule->from;
    unsigned n = 0;
    if (is_unc(from) != is_unc(path) || (*from == '/') != (*path == '/'))
        return 0;
    while (component(&from, a, sizeof(a))) {
        if (!component(&path, b, sizeof(b)) || !text_same(a, b))
            return 0;
        n++;
    }
    *ret_rest = path;
    return n;
}

static bool has_dots(const char *path)
{
    char part[NAME_MAX + 1];
    while (component(&path, part, sizeof(part)))
        if (strcmp(part, "..") == 0 || strcmp(part, ".") == 0)
            return true;
    return *path != 0; /* a component too long for any file */
}

bool path_map(const struct path_rules *p, const char *path, char *ret)
{
    unsigned best = 0;
    bool is_mapped = false;
    if (has_dots(path))
        return false;
    for (size_t i = 0; i < p->n; i++) {
        const char *rest;
        unsigned n = rule_fits(&p->rules[i], path, &rest);
        if (n == 0 || n < best)
            continue;
        rest += strspn(rest, "/");
        best = n;
        is_mapped = (size_t)snprintf(ret, PATH_MAX, "%s%s%s", p->rules[i].to, *rest ? "/" : "", rest) < PATH_MAX;
    }
    return is_mapped;
}

/* --- files -------------------------------------------------------------------------------------------------------- */

/* The entry of the folder @dir that @name means, into @ret. 0, -ENOENT, -EEXIST, ... */
static int find_entry(const char *dir, const char *name, char *ret)
{
    unsigned n = 0;
    _cleanup_closedir_ DIR *d = opendir(*dir ? dir : "/");
    if (!d)
        return -errno;
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, name) == 0) {
            strcpy(ret, e->d_name);
            return 0;
        }
        if (!text_same(e->d_name, name))
            continue;
        strcpy(ret, e->d_name);
        n++;
    }
    return n == 1 ? 0 : n ? -EEXIST : -ENOENT;
}

int path_find(const char *wanted, char *ret)
{
    char part[NAME_MAX + 1], found[NAME_MAX + 1];
    struct stat st;
    size_t len = 0;
    if (has_dots(wanted))
        return -ENOENT;
    if (stat(wanted, &st) == 0) {
        (void)snprintf(ret, PATH_MAX, "%s", wanted); /* stat() takes no longer ones */
        return 0;
    }
    ret[0] = 0;
    while (component(&wanted, part, sizeof(part))) {
        int r = find_entry(ret, part, found);
        if (r < 0)
            return r;
        int n = snprintf(ret + len, PATH_MAX - len, "/%s", found);
        if (n < 0 || (size_t)n >= PATH_MAX - len)
            return -ENAMETOOLONG;
        len += (size_t)n;
    }
    return len ? 0 : -ENOENT;
}

static bool fits_name(const char *entry, const char *name)
{
    char stem[NAME_MAX + 1];
    size_t len = strlen(name);
    const char *dot = strrchr(entry, '.');
    if (len < 3 || strcmp(name + len - 2, ".*") != 0)
        return text_same(entry, name);
    if (!dot || len >= sizeof(stem) || strspn(dot + 1, "0123456789") == strlen(dot + 1) ||
        path_ending(entry, strlen(entry)) <= 0)
        return false;
    (void)snprintf(stem, sizeof(stem), "%.*s.*", (int)(dot - entry), entry);
    return text_same(stem, name);
}

int path_search(const char *dir, const char *name, unsigned depth, const char *skip,
                int (*found)(void *arg, const char *path), void *arg)
{
    int r = 0;
    _cleanup_closedir_ DIR *d = opendir(dir);
    for (struct dirent *e; d && r >= 0 && (e = readdir(d));) {
        char path[PATH_MAX];
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            snprintf(path, sizeof(path), "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, e->d_name) >= (int)sizeof(path))
            continue;
        if (S_ISDIR(st.st_mode) && depth > 0 && (!skip || strcmp(path, skip) != 0))
            r = path_search(path, name, depth - 1, skip, found, arg);
        else if (S_ISREG(st.st_mode) && fits_name(e->d_name, name))
            r = found(arg, path);
    }
    return r;
}
