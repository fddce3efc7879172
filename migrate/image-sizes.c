/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes of images by their paths, read once; see image-sizes.h. */
#include "migrate/image-sizes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "migrate/lookup.h"
#include "migrate/mapping-priv.h"
#include "migrate/text.h"

#define SIZE_LIMIT 1e15 /* bytes; more than any disk has */

/* Bytes of one in a column called @column, decimal and binary; both 1 when it names no unit. */
static void unit_of(const char *column, double *ret_decimal, double *ret_binary)
{
    static const struct {
        const char *word;
        double decimal, binary;
    } units[] = {{"gb", 1e9, 0x1p30}, {"gib", 1e9, 0x1p30}, {"mb", 1e6, 0x1p20}, {"mib", 1e6, 0x1p20}};
    char folded[512];
    text_fold(column, folded, sizeof(folded));
    *ret_decimal = *ret_binary = 1;
    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (strstr(folded, units[i].word)) {
            *ret_decimal = units[i].decimal;
            *ret_binary = units[i].binary;
            return;
        }
}

bool image_size_range(const char *column, const char *text, uint64_t *ret_min, uint64_t *ret_max)
{
    double decimal, binary;
    char *end;
    double n = strtod(text, &end);
    unit_of(column, &decimal, &binary);
    double round = decimal > 1 ? 0.5 : 0;
    if (end == text || *end || !(n > 0) || n * binary > SIZE_LIMIT || (decimal == 1 && n < 0x1p20))
        return false; /* 60 of an unknown unit says nothing */
    *ret_min = (uint64_t)((n - round > 0 ? n - round : 0) * decimal);
    *ret_max = (uint64_t)((n + round) * binary);
    return true;
}

int image_sizes_read(struct source *s, const struct mapping *m, struct site_images *images, struct err *err)
{
    struct lookup_what what = {.table = m->sizes_table,
                               .key = m->sizes_path,
                               .value = m->sizes_value,
                               .label = -1,
                               .order = -1,
                               .key_is_path = true};
    struct lookup *l = NULL;
    int r = m->sizes_table >= 0 && images->n ? lookup_load(s, &what, &l, err) : 0;
    for (size_t i = 0; r == 0 && l && i < images->n; i++) {
        struct site_image *image = images->list[i];
        const struct lookup_row *row = lookup_find(l, image->key);
        const char *column = column_at(s, m->sizes_table, m->sizes_value)->name;
        if (row && image_size_range(column, row->value, &image->size_min, &image->size_max))
            text_format(image->size_said, sizeof(image->size_said), "%s (%s)", row->value, column);
    }
    lookup_destroy(l);
    return r;
}
