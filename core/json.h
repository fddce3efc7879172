/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON objects in memory: what every user of jansson here needs beside it.
 *
 * Threads: as jansson's objects.
 */
#ifndef DISKGATE_CORE_JSON_H
#define DISKGATE_CORE_JSON_H

#include <jansson.h>

/* jansson.h itself defines json_decrefp() for this use. */
#define _cleanup_json_ __attribute__((cleanup(json_decrefp)))

/* The text of @key in @object, borrowed; "" where there is none, or no object. */
static inline const char *json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

#endif
