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

/* What the data plane tells of the versions that are open: size in RAM, hits, misses, rate, seconds saved. */
static json_t *cached_images(const json_t *fs)
{
    json_t *list = json_array(), *row;
    size_t i;
    static const char *const keys[] = {"image",      "version", "boots",  "boot_bytes",       "ram_bytes",
                                       "read_bytes", "hits",    "misses", "read_bytes_per_s", "saved_s"};
    json_array_foreach(json_object_get(fs, "images"), i, row)
    {
        json_t *one = json_object();
        for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
            (void)json_object_set(one, keys[k], json_object_get(row, keys[k])); /* without memory: missing */
        (void)json_array_append_new(list, one);                                 /* likewise */
    }
    return list;
}

static void report_read_cache(const json_t *fs, json_t *notices, json_t *into)
{
    json_t *ram = json_object_get(fs, "ram_read");
    const char *error = json_string_value(json_object_get(ram, "error"));
    char text[512];
    if (!ram)
        return;
    (void)json_object_set(into, "ram_read", ram); /* without memory: missing, as below */
    (void)json_object_set_new(into, "images", cached_images(fs));
    if (!error)
        return;
    (void)snprintf(
        text, sizeof(text),
        "what clients read when they boot cannot all be kept in RAM: %s; clients boot all the same, from disk; raise "
        "the limit of locked memory ('ulimit -l unlimited' before 'diskgate up'), or lower ram.read_bytes",
        error);
    add(notices, "notice", text);
}

void memory_report(const json_t *fs, json_t *problems, json_t *notices, json_t *into)
{
    json_t *ram = json_object_get(fs, "ram_write");
    const char *error = json_string_value(json_object_get(ram, "error"));
    uint64_t used = number(ram, "used_bytes"), limit = number(ram, "limit_bytes");
    char text[512], size[32];
    report_read_cache(fs, notices, into);
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

static void image_line(const json_t *row, void (*print)(void *arg, const char *line), void *arg)
{
    char line[256], in_ram[32], rate[32];
    uint64_t hits = number(row, "hits"), misses = number(row, "misses"), all = hits + misses;
    if (all == 0 && number(row, "ram_bytes") == 0)
        return;
    size_text(number(row, "ram_bytes"), in_ram);
    size_text(number(row, "read_bytes_per_s"), rate);
    (void)snprintf(
        line, sizeof(line),
        "  image %s version %llu: boot set %s in RAM; %llu reads, %.1f %% without a disk; %s/s; %.1f s saved",
        json_string_value(json_object_get(row, "image")), (unsigned long long)number(row, "version"), in_ram,
        (unsigned long long)all, all ? 100.0 * (double)hits / (double)all : 100.0, rate,
        json_number_value(json_object_get(row, "saved_s")));
    print(arg, line);
}

static void read_cache_lines(const json_t *figures, void (*print)(void *arg, const char *line), void *arg)
{
    json_t *ram = json_object_get(figures, "ram_read"), *row;
    char line[128], used[32], limit[32];
    size_t i;
    if (!ram)
        return;
    size_text(number(ram, "used_bytes"), used);
    size_text(number(ram, "limit_bytes"), limit);
    (void)snprintf(line, sizeof(line), "RAM for boot sets: %s of %s used", used, limit);
    print(arg, line);
    json_array_foreach(json_object_get(figures, "images"), i, row) image_line(row, print, arg);
}

void memory_lines(const json_t *figures, void (*print)(void *arg, const char *line), void *arg)
{
    read_cache_lines(figures, print, arg);
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
