/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The part of the reader that understands images and their versions; see configuration.h and config-read.c. */
#include "gateway/config-place.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "core/image.h"
#include "core/names.h"
#include "core/util.h"

static int check_path(const struct place *p, const char *path, struct err *err)
{
    static const char own[] = "images/";
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return place_refuse(p, "path", err, "a path holds no control characters");
    if (path[0] == '/')
        return 0;
    if (strncmp(path, own, sizeof(own) - 1) != 0 || strstr(path, "/../") || strstr(path, "//"))
        return place_refuse(p, "path", err,
                            "'%.200s' must begin with '/', or with 'images/' for a file inside of the root", path);
    return 0;
}

static int read_version(const struct place *p, struct config_version *v, struct err *err)
{
    static const char *const keys[] = {"version",  "path",      "format",  "size_bytes",
                                       "identity", "full_hash", "comment", NULL};
    uint64_t number;
    int r = place_check_keys(p, keys, err);
    if (r == 0)
        r = place_number(p, "version", 1, UINT32_MAX, 1, &number, err);
    if (r == 0)
        r = place_text(p, "path", REQUIRED, v->path, sizeof(v->path), err);
    if (r == 0)
        r = check_path(p, v->path, err);
    if (r == 0)
        r = place_text(p, "format", OPTIONAL, v->format, sizeof(v->format), err);
    if (r == 0)
        r = place_number(p, "size_bytes", SECTOR_BYTES, INT64_MAX, 0, &v->size_bytes, err);
    if (r == 0)
        r = place_text(p, "identity", OPTIONAL, v->identity, sizeof(v->identity), err);
    if (r == 0)
        r = place_text(p, "full_hash", OPTIONAL, v->full_hash, sizeof(v->full_hash), err);
    if (r == 0)
        r = place_comment(p, v->comment, err);
    if (r < 0)
        return r;
    v->number = (uint32_t)number;
    if (v->size_bytes % SECTOR_BYTES)
        return place_refuse(p, "size_bytes", err, "%" PRIu64 " must be a multiple of %llu", v->size_bytes,
                            SECTOR_BYTES);
    if (v->full_hash[0] && (strlen(v->full_hash) != HASH_LEN || v->full_hash[strspn(v->full_hash, "0123456789abcdef")]))
        return place_refuse(p, "full_hash", err, "this must be %d hex digits in lower case", HASH_LEN);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const struct config_version *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static int read_versions(const struct place *p, struct config_image *i, struct err *err)
{
    json_t *list, *item;
    size_t k;
    int r = place_list(p, "versions", 1, &list, err);
    if (r < 0)
        return r;
    i->versions = calloc(json_array_size(list), sizeof(*i->versions));
    if (!i->versions)
        return err_set(err, -ENOMEM, "memory is out");
    json_array_foreach(list, k, item)
    {
        struct place at;
        struct config_version *v = &i->versions[k];
        r = place_enter(p, "versions", k, item, &at, err);
        if (r == 0)
            r = read_version(&at, v, err);
        if (r == 0 && config_find_version(i, v->number))
            r = place_refuse(&at, "version", err, "the number %u is there twice", v->number);
        if (r < 0)
            return r;
        i->n_versions++;
    }
    qsort(i->versions, i->n_versions, sizeof(*i->versions), by_number);
    return 0;
}

static int read_image(const struct place *p, struct config_image *i, struct err *err)
{
    static const char *const keys[] = {"name",     "kind", "hidden", "ram_cache_bytes", "comment", "current_version",
                                       "versions", NULL};
    char kind[16];
    uint64_t current;
    int r = place_check_keys(p, keys, err);
    if (r == 0)
        r = place_name(p, "name", REQUIRED, "image name", i->name, err);
    if (r == 0)
        r = place_text(p, "kind", OPTIONAL, kind, sizeof(kind), err);
    if (r == 0 && kind[0] && strcmp(kind, "boot") != 0 && strcmp(kind, "data") != 0)
        r = place_refuse(p, "kind", err, "'%s' must be boot or data", kind);
    if (r == 0)
        r = place_bool(p, "hidden", &i->is_hidden, err);
    if (r == 0)
        r = place_number(p, "ram_cache_bytes", 0, INT64_MAX, 0, &i->ram_cache_bytes, err);
    if (r == 0)
        r = place_comment(p, i->comment, err);
    if (r == 0)
        r = read_versions(p, i, err);
    if (r == 0)
        r = place_number(p, "current_version", 1, UINT32_MAX, i->versions[i->n_versions - 1].number, &current, err);
    if (r < 0)
        return r;
    i->is_data = strcmp(kind, "data") == 0;
    i->current = (uint32_t)current;
    if (!config_find_version(i, i->current))
        return place_refuse(p, "current_version", err, "there is no version %u in the list of versions", i->current);
    return 0;
}

/* Two images cannot have one name or lie in one file. */
static int check_image_alone(const struct place *p, const struct config *f, const struct config_image *i,
                             struct err *err)
{
    const struct config_image *same = config_find_image(f, i->name);
    if (same)
        return place_refuse(p, "name", err, "the name '%s' is there twice", i->name);
    for (size_t k = 0; k < f->n_images; k++)
        for (size_t a = 0; a < f->images[k].n_versions; a++)
            for (size_t b = 0; b < i->n_versions; b++)
                if (strcmp(f->images[k].versions[a].path, i->versions[b].path) == 0)
                    return place_refuse(p, "versions", err, "the path '%.200s' is that of image '%s' too",
                                        i->versions[b].path, f->images[k].name);
    return 0;
}

static int by_image_name(const void *a, const void *b)
{
    return name_compare(((const struct config_image *)a)->name, ((const struct config_image *)b)->name);
}

int config_read_images(const struct place *top, struct config *f, struct err *err)
{
    json_t *list, *item;
    size_t k;
    int r = place_list(top, "images", 0, &list, err);
    if (r < 0)
        return r;
    f->images = calloc(json_array_size(list) + 1, sizeof(*f->images));
    if (!f->images)
        return err_set(err, -ENOMEM, "memory is out");
    json_array_foreach(list, k, item)
    {
        struct place at;
        struct config_image *i = &f->images[k];
        r = place_enter(top, "images", k, item, &at, err);
        if (r == 0)
            r = read_image(&at, i, err);
        if (r == 0)
            r = check_image_alone(&at, f, i, err);
        if (r < 0) {
            free(i->versions);
            return r;
        }
        f->n_images++;
    }
    qsort(f->images, f->n_images, sizeof(*f->images), by_image_name);
    return 0;
}
