/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `status` says about the RAM that diskgate-fs uses for clients, and when it becomes scarce. */
#include "gateway/service-memory.h"

#include <stdio.h>

#include "core/names.h"
#include "core/util.h"

#define SCARCE_PERCENT 85 /* the thread that spills begins at 70: above this it does not keep up */

static uint64_t number(const json_t *o, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(o, key));
    return n > 0 ? (uint64_t)n : 0;
}

static void add(json_t *list, const char *kind, const char *text)
{
    (void)json_array_append_new(list,
                                json_pack("{s:s, s:s}", "what", "memory", kind, text)); /* without memory: missing */
}

void memory_report(const json_t *fs, json_t *problems, json_t *notices, json_t *into)
{
    json_t *ram = json_object_get(fs, "ram_write");
    const char *error = json_string_value(json_object_get(ram, "error"));
    uint64_t used = number(ram, "used_bytes"), limit = number(ram, "limit_bytes");
    char text[512], size[32];
    if (!ram)
        return;
    (void)json_object_set(into, "ram_write", ram); /* without memory: missing */
    size_text(used, size);
    if (error) {
        (void)snprintf(
            text, sizeof(text),
            "%s that clients have written lie in RAM and cannot be moved to the overlays' disk: %s; make room "
            "there before the RAM is full too",
            size, error);
        add(problems, "problem", text);
    } else if (limit > 0 && used / SCARCE_PERCENT >= limit / 100) {
        (void)snprintf(text, sizeof(text),
                       "the RAM for writes is nearly full (%s): clients write at the speed of the overlays' disk; more "
                       "with 'diskgate set ram.write_bytes SIZE'",
                       size);
        add(notices, "notice", text);
    }
}

void memory_lines(const json_t *figures, void (*print)(void *arg, const char *line), void *arg)
{
    json_t *ram = json_object_get(figures, "ram_write");
    char line[256], used[32], limit[32], spilled[32], refused[32];
    if (!ram)
        return;
    size_text(number(ram, "used_bytes"), used);
    size_text(number(ram, "limit_bytes"), limit);
    size_text(number(ram, "spilled_bytes"), spilled);
    size_text(number(ram, "refused_bytes"), refused);
    (void)snprintf(line, sizeof(line), "RAM for writes: %s of %s used; %s moved to disk, %s written straight to disk",
                   used, limit, spilled, refused);
    print(arg, line);
}
