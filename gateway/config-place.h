/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strict reading of values from a JSON file, with the place in each sentence: "'site.json': clients[3].mac: this key is missing".
 *
 * All return 0 or -EINVAL with a sentence. A key that is not there gives "" or the standard value, unless it is REQUIRED.
 *
 * Threads: one at a time per file.
 */
#ifndef DISKGATE_GATEWAY_CONFIG_PLACE_H
#define DISKGATE_GATEWAY_CONFIG_PLACE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "gateway/configuration.h"

#define WHERE_LEN 96

/* An object of the file. Everything is borrowed. */
struct place {
    const char *file;
    char where[WHERE_LEN]; /* "clients[3]", "" = the whole */
    json_t *o;
};

enum { OPTIONAL, REQUIRED };

/* A sentence about @key ("": the object itself). Returns -EINVAL. */
int place_refuse(const struct place *p, const char *key, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The sentence of a check of core, behind the place. */
int place_refuse_as(const struct place *p, const char *key, const struct err *why, struct err *err);

/* @item, which must be an object, as number @i of @list. */
int place_enter(const struct place *above, const char *list, size_t i, json_t *item, struct place *ret,
                struct err *err);

/* Refuse keys that are not among @keys (ended by NULL). */
int place_check_keys(const struct place *p, const char *const *keys, struct err *err);

int place_text(const struct place *p, const char *key, int need, char *ret, size_t size, struct err *err);
int place_number(const struct place *p, const char *key, uint64_t low, uint64_t high, uint64_t standard, uint64_t *ret,
                 struct err *err);
int place_bool(const struct place *p, const char *key, bool *ret, struct err *err); /* false where it is not there */
/* A list of @min items or more, which must be there; *ret is borrowed. */
int place_list(const struct place *p, const char *key, size_t min, json_t **ret, struct err *err);
/* As name_check() wants it; NAME_LEN + 1 bytes. */
int place_name(const struct place *p, const char *key, int need, const char *what, char *ret, struct err *err);
/* The key "comment"; COMMENT_LEN + 1 bytes. */
int place_comment(const struct place *p, char *ret, struct err *err);

/* config-read-image.c: the list "images" of the whole @top. */
int config_read_images(const struct place *top, struct config *f, struct err *err);

#endif
