/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values of a JSON file with the place that a sentence names; see config-place.h. */
#include "gateway/config-place.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "core/names.h"

/* --- places ------------------------------------------------------------------------------------------------------ */

int place_refuse(const struct place *p, const char *key, struct err *err, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* a cut sentence is still a sentence */
    va_end(ap);
    const char *dot = p->where[0] && key[0] ? "." : "", *colon = p->where[0] || key[0] ? ": " : "";
    return err_set(err, -EINVAL, "'%s': %s%s%.80s%s%s", p->file, p->where, dot, key, colon, text);
}

/* The sentence of a check of core, behind the place. */
int place_refuse_as(const struct place *p, const char *key, const struct err *why, struct err *err)
{
    return place_refuse(p, key, err, "%s", why->msg);
}

/* @item as an object at "LIST[i]". */
int place_enter(const struct place *above, const char *list, size_t i, json_t *item, struct place *ret, struct err *err)
{
    ret->file = above->file;
    ret->o = item;
    (void)snprintf(ret->where, sizeof(ret->where), "%.60s%s%s[%zu]", above->where, above->where[0] ? "." : "", list, i);
    return json_is_object(item) ? 0 : place_refuse(ret, "", err, "this must be an object in { }");
}

/* Refuse keys that are not among @keys (ended by NULL). */
int place_check_keys(const struct place *p, const char *const *keys, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(p->o, key, value)
    {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (!keys[i])
            return place_refuse(p, key, err, "there is no such key here");
    }
    return 0;
}

/* --- values ------------------------------------------------------------------------------------------------------ */

/* Text of @key into @ret (@size bytes), "" where an optional one is not there. */
int place_text(const struct place *p, const char *key, int need, char *ret, size_t size, struct err *err)
{
    json_t *v = json_object_get(p->o, key);
    ret[0] = 0;
    if (!v)
        return need == REQUIRED ? place_refuse(p, key, err, "this key is missing") : 0;
    if (!json_is_string(v))
        return place_refuse(p, key, err, "this must be text in quotes");
    if (json_string_length(v) >= size)
        return place_refuse(p, key, err, "this text is too long: at most %zu bytes", size - 1);
    if (need == REQUIRED && json_string_length(v) == 0)
        return place_refuse(p, key, err, "this must not be empty");
    memcpy(ret, json_string_value(v), json_string_length(v) + 1);
    return 0;
}

int place_number(const struct place *p, const char *key, uint64_t low, uint64_t high, uint64_t standard, uint64_t *ret,
                 struct err *err)
{
    json_t *v = json_object_get(p->o, key);
    *ret = standard;
    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return place_refuse(p, key, err, "this must be a whole number");
    uint64_t n = (uint64_t)json_integer_value(v);
    if (n < low || n > high)
        return place_refuse(p, key, err, "%" PRIu64 " must be from %" PRIu64 " to %" PRIu64, n, low, high);
    *ret = n;
    return 0;
}

/* A list of at least @min items; *ret is borrowed. */
int place_bool(const struct place *p, const char *key, bool *ret, struct err *err)
{
    const json_t *v = json_object_get(p->o, key);
    *ret = json_is_true(v);
    return !v || json_is_boolean(v) ? 0 : place_refuse(p, key, err, "this must be true or false");
}

int place_list(const struct place *p, const char *key, size_t min, json_t **ret, struct err *err)
{
    *ret = json_object_get(p->o, key);
    if (!*ret)
        return place_refuse(p, key, err, "this key is missing");
    if (!json_is_array(*ret))
        return place_refuse(p, key, err, "this must be a list in [ ]");
    if (json_array_size(*ret) < min || json_array_size(*ret) > CONFIG_LIST_MAX)
        return place_refuse(p, key, err, "this list has %zu items; it takes %zu to %d", json_array_size(*ret), min,
                            CONFIG_LIST_MAX);
    return 0;
}

int place_name(const struct place *p, const char *key, int need, const char *what, char *ret, struct err *err)
{
    struct err why;
    int r = place_text(p, key, need, ret, NAME_LEN + 1, err);
    if (r == 0 && ret[0] && name_check(ret, what, &why) < 0)
        r = place_refuse_as(p, key, &why, err);
    return r;
}

int place_comment(const struct place *p, char *ret, struct err *err)
{
    int r = place_text(p, "comment", OPTIONAL, ret, COMMENT_LEN + 1, err);
    for (const char *c = ret; r == 0 && *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            r = place_refuse(p, "comment", err, "a comment holds no control characters; write plain text");
    return r;
}
