/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images and their versions. Links name them by id; this file never looks at an image's file. */
#include "core/catalog-priv.h"

#include <errno.h>
#include <string.h>

#include "core/util.h"

#define USERS_SHOWN 10

/* --- rows -------------------------------------------------------------------------------------------------------- */

#define IMAGE_SELECT                                                                                                   \
    "SELECT image.id, image.name, image.is_data, version.id, version.number, image.comment, image.created_at,"         \
    " is_hidden, ram_cache_bytes"                                                                                      \
    " FROM image JOIN version ON version.image_id = image.id AND version.number = image.current"

static void fill_image(sqlite3_stmt *st, void *row)
{
    struct image_row *i = row;
    i->id = sqlite3_column_int64(st, 0);
    COL_TEXT(st, 1, i->name);
    i->is_data = sqlite3_column_int(st, 2) != 0;
    i->current_id = sqlite3_column_int64(st, 3);
    i->current = (uint32_t)sqlite3_column_int64(st, 4);
    COL_TEXT(st, 5, i->comment);
    COL_TEXT(st, 6, i->created_at);
    i->is_hidden = sqlite3_column_int(st, 7) != 0;
    i->ram_cache_bytes = (uint64_t)sqlite3_column_int64(st, 8);
}

#define VERSION_SELECT                                                                                                 \
    "SELECT version.id, image_id, parent_id, number, image.name, format, path, is_adopted, size_bytes, file_bytes,"    \
    " mtime_ns, identity, full_hash, version.comment, version.created_at"                                              \
    " FROM version JOIN image ON image.id = version.image_id"

static void fill_version(sqlite3_stmt *st, void *row)
{
    struct version_row *v = row;
    v->id = sqlite3_column_int64(st, 0);
    v->image_id = sqlite3_column_int64(st, 1);
    v->parent_id = sqlite3_column_int64(st, 2); /* NULL reads as 0 */
    v->number = (uint32_t)sqlite3_column_int64(st, 3);
    COL_TEXT(st, 4, v->image);
    COL_TEXT(st, 5, v->format);
    COL_TEXT(st, 6, v->path);
    v->is_adopted = sqlite3_column_int(st, 7) != 0;
    v->size_bytes = (uint64_t)sqlite3_column_int64(st, 8);
    v->file_bytes = (uint64_t)sqlite3_column_int64(st, 9);
    v->mtime_ns = sqlite3_column_int64(st, 10);
    COL_TEXT(st, 11, v->identity);
    COL_TEXT(st, 12, v->full_hash);
    COL_TEXT(st, 13, v->comment);
    COL_TEXT(st, 14, v->created_at);
}

static json_t *image_json(const struct image_row *i)
{
    return json_pack("{s:s, s:b, s:b, s:I, s:I, s:o}", "name", i->name, "is_data", i->is_data, "is_hidden",
                     i->is_hidden, "ram_cache_bytes", (json_int_t)i->ram_cache_bytes, "current", (json_int_t)i->current,
                     "comment", audit_text(i->comment));
}

static json_t *version_json(const struct version_row *v)
{
    return json_pack("{s:I, s:s, s:o, s:b, s:I, s:I, s:I, s:o, s:o, s:o}", "version", (json_int_t)v->number, "format",
                     v->format, "path", audit_text(v->path), "is_adopted", v->is_adopted, "size_bytes",
                     (json_int_t)v->size_bytes, "file_bytes", (json_int_t)v->file_bytes, "mtime_ns",
                     (json_int_t)v->mtime_ns, "identity", audit_text(v->identity), "full_hash",
                     audit_text(v->full_hash), "comment", audit_text(v->comment));
}

/* --- readers ----------------------------------------------------------------------------------------------------- */

int image_get(struct catalog *c, const char *name, struct image_row *ret, struct err *err)
{
    struct image_row row = {0};
    int r = db_one(c, IMAGE_SELECT " WHERE image.name = ?", ARGS(T(name)), fill_image, &row, err);
    if (r == -ENOENT)
        return err_set(err, r, "no image is called '%.80s'; 'diskgate image list' lists them", name);
    if (r == 0)
        *ret = row;
    return r;
}

int image_list(struct catalog *c, struct image_row **ret, size_t *ret_n, struct err *err)
{
    return db_list(c, IMAGE_SELECT " ORDER BY image.name COLLATE by_name", ARGS(), fill_image, sizeof(struct image_row),
                   (void **)ret, ret_n, err);
}

int version_list(struct catalog *c, const char *name, struct version_row **ret, size_t *ret_n, struct err *err)
{
    struct image_row image;
    int r = name ? image_get(c, name, &image, err) : 0;
    if (r < 0)
        return r;
    return db_list(c, VERSION_SELECT " WHERE ?1 IS NULL OR image.name = ?1 ORDER BY image.name COLLATE by_name, number",
                   ARGS(name ? T(name) : NIL), fill_version, sizeof(struct version_row), (void **)ret, ret_n, err);
}

int version_get(struct catalog *c, int64_t id, struct version_row *ret, struct err *err)
{
    struct version_row row = {0};
    int r = db_one(c, VERSION_SELECT " WHERE version.id = ?", ARGS(N(id)), fill_version, &row, err);
    if (r == -ENOENT)
        return err_set(err, r, "the catalog holds no version with the id %lld", (long long)id);
    if (r == 0)
        *ret = row;
    return r;
}

int version_find(struct catalog *c, const char *name, uint32_t number, struct version_row *ret, struct err *err)
{
    struct image_row image;
    struct version_row row = {0};
    int r = image_get(c, name, &image, err);
    if (r < 0)
        return r;
    r = db_one(c, VERSION_SELECT " WHERE image_id = ? AND number = ?",
               ARGS(N(image.id), N(number ? number : image.current)), fill_version, &row, err);
    if (r == -ENOENT)
        return err_set(err, r, "image '%s' has no version %u; 'diskgate image versions %s' lists them", image.name,
                       number, image.name);
    if (r == 0)
        *ret = row;
    return r;
}

/* --- writers ----------------------------------------------------------------------------------------------------- */

static int check_name_free(struct catalog *c, const char *name, int64_t own_id, struct err *err)
{
    int64_t id;
    int r = name_check(name, "image name", err);
    if (r == 0)
        r = db_number(c, "SELECT id FROM image WHERE name = ? AND id <> ?", ARGS(T(name), N(own_id)), &id, err);
    if (r == -ENOENT)
        return 0;
    return r < 0 ? r : err_set(err, -EEXIST, "an image called '%s' exists already; choose another name", name);
}

/* What image files and importers say about themselves. */
static int check_version(const struct version_row *v, struct err *err)
{
    if (v->size_bytes == 0 || v->size_bytes % SECTOR_BYTES || v->size_bytes > INT64_MAX)
        return err_set(err, -EINVAL, "a disk of %llu bytes cannot be: it takes a multiple of %d, and not 0",
                       (unsigned long long)v->size_bytes, (int)SECTOR_BYTES);
    if (!*v->path || !*v->format || !*v->identity || v->file_bytes > INT64_MAX)
        return err_set(err, -EINVAL, "the image's file is recorded without its %s",
                       !*v->path       ? "path"
                       : !*v->format   ? "format"
                       : !*v->identity ? "identity"
                                       : "size");
    return comment_check(v->comment, err);
}

static int insert_image(struct catalog *c, const struct image_row *i, const struct version_row *v, struct err *err)
{
    char now[TIME_LEN + 1];
    catalog_now(now);
    int r = db_run(c,
                   "INSERT INTO image (name, is_data, is_hidden, ram_cache_bytes, current, comment, created_at)"
                   " VALUES (?, ?, ?, ?, 1, ?, ?)",
                   ARGS(T(i->name), N(i->is_data), N(i->is_hidden), N(i->ram_cache_bytes), T(i->comment), T(now)), err);
    if (r < 0)
        return r;
    return db_run(c,
                  "INSERT INTO version (image_id, number, parent_id, format, path, is_adopted, size_bytes, file_bytes,"
                  " mtime_ns, identity, full_hash, comment, created_at)"
                  " VALUES (last_insert_rowid(), 1, NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                  ARGS(T(v->format), T(v->path), N(v->is_adopted), N(v->size_bytes), N(v->file_bytes), N(v->mtime_ns),
                       T(v->identity), T(v->full_hash), T(v->comment), T(now)),
                  err);
}

/* What add and set have in common. */
static int check_fields(const struct image_row *i, struct err *err)
{
    if (i->ram_cache_bytes > INT64_MAX)
        return err_set(err, -EINVAL, "the RAM cache of image '%s' is too large", i->name);
    return comment_check(i->comment, err);
}

static int add_steps(struct catalog *c, struct image_row *i, struct version_row *v, struct err *err)
{
    struct image_row image;
    struct version_row version;
    int r = check_name_free(c, i->name, 0, err);
    if (r == 0)
        r = check_fields(i, err);
    if (r == 0)
        r = check_version(v, err);
    if (r == 0)
        r = insert_image(c, i, v, err);
    if (r == 0)
        r = image_get(c, i->name, &image, err);
    if (r == 0)
        r = version_find(c, i->name, 1, &version, err);
    if (r < 0)
        return r;
    json_t *after = image_json(&image);
    (void)json_object_update_new(after, version_json(&version)); /* without memory the audit row is shorter */
    r = audit_add(c, "image add", image.name, NULL, after, err);
    if (r == 0) {
        *i = image;
        *v = version;
    }
    return r;
}

int image_add(struct catalog *c, struct image_row *i, struct version_row *v, struct err *err)
{
    return AS_WRITER(c, err, add_steps(c, i, v, err));
}

static int rename_steps(struct catalog *c, const char *old, const char *name, struct err *err)
{
    struct image_row before, after;
    int r = image_get(c, old, &before, err);
    if (r == 0)
        r = check_name_free(c, name, before.id, err);
    if (r == 0)
        r = db_run(c, "UPDATE image SET name = ? WHERE id = ?", ARGS(T(name), N(before.id)), err);
    if (r == 0)
        r = image_get(c, name, &after, err);
    return r < 0 ? r : audit_add(c, "image rename", before.name, image_json(&before), image_json(&after), err);
}

int image_rename(struct catalog *c, const char *old, const char *name, struct err *err)
{
    return AS_WRITER(c, err, rename_steps(c, old, name, err));
}

static int image_set_steps(struct catalog *c, const struct image_row *row, struct err *err)
{
    struct image_row before = {0}, after = {0};
    int64_t n = 0;
    int r = db_one(c, IMAGE_SELECT " WHERE image.id = ?", ARGS(N(row->id)), fill_image, &before, err);
    if (r == -ENOENT)
        return err_set(err, r, "the catalog holds no image with the id %lld", (long long)row->id);
    if (r == 0 && row->is_data)
        r = db_number(c, "SELECT count(DISTINCT client_id) FROM link WHERE image_id = ? AND (slot = 0 OR slot >= ?)",
                      ARGS(N(row->id), N(BOOT_SLOT_FIRST)), &n, err);
    if (r == 0 && n > 0)
        return err_set(err, -EBUSY,
                       "image '%s' is a boot disk of %lld client%s and cannot become a data image; unlink it there first",
                       before.name, (long long)n, n > 1 ? "s" : "");
    if (r == 0)
        r = check_fields(row, err);
    if (r == 0)
        r = db_run(c, "UPDATE image SET is_data = ?, is_hidden = ?, ram_cache_bytes = ?, comment = ? WHERE id = ?",
                   ARGS(N(row->is_data), N(row->is_hidden), N(row->ram_cache_bytes), T(row->comment), N(row->id)), err);
    if (r == 0)
        r = image_get(c, before.name, &after, err);
    return r < 0 ? r : audit_add(c, "image set", before.name, image_json(&before), image_json(&after), err);
}

int image_set(struct catalog *c, const struct image_row *row, struct err *err)
{
    return AS_WRITER(c, err, image_set_steps(c, row, err));
}

struct name_row {
    char name[NAME_LEN + 1];
};

static void fill_name(sqlite3_stmt *st, void *row)
{
    COL_TEXT(st, 0, ((struct name_row *)row)->name);
}

/* -EBUSY with the names of those who are linked to the image or have an overlay over one of its versions. */
static int check_unused(struct catalog *c, const struct image_row *image, struct err *err)
{
    _cleanup_free_ struct name_row *users = NULL;
    size_t n, len = 0;
    int r =
        db_list(c,
                "SELECT name FROM client WHERE id IN (SELECT client_id FROM link LEFT JOIN overlay ON link_id = link.id"
                " WHERE image_id = ?1 OR version_id IN (SELECT id FROM version WHERE image_id = ?1))"
                " ORDER BY name COLLATE by_name",
                ARGS(N(image->id)), fill_name, sizeof(*users), (void **)&users, &n, err);
    if (r < 0 || n == 0)
        return r;
    char names[USERS_SHOWN * (NAME_LEN + 2) + 32] = "";
    for (size_t i = 0; i < MIN(n, (size_t)USERS_SHOWN); i++)
        len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i ? ", " : "", users[i].name);
    if (n > USERS_SHOWN)
        (void)snprintf(names + len, sizeof(names) - len, " and %zu more", n - USERS_SHOWN);
    return err_set(err, -EBUSY, "image '%s' is used by %zu client%s: %s; unlink %s first", image->name, n,
                   n > 1 ? "s" : "", names, n > 1 ? "them" : "it");
}

static int remove_steps(struct catalog *c, const char *name, struct err *err)
{
    struct image_row image;
    int r = image_get(c, name, &image, err);
    if (r == 0)
        r = check_unused(c, &image, err);
    if (r == 0)
        r = db_run(c, "DELETE FROM version WHERE image_id = ?", ARGS(N(image.id)), err);
    if (r == 0)
        r = db_run(c, "DELETE FROM image WHERE id = ?", ARGS(N(image.id)), err);
    return r < 0 ? r : audit_add(c, "image remove", image.name, image_json(&image), NULL, err);
}

int image_remove(struct catalog *c, const char *name, struct err *err)
{
    return AS_WRITER(c, err, remove_steps(c, name, err));
}

static int update_steps(struct catalog *c, const struct version_row *v, struct err *err)
{
    struct version_row before, after;
    char object[NAME_LEN + 16];
    int r = version_get(c, v->id, &before, err);
    if (r == 0)
        r = check_version(v, err);
    if (r == 0)
        r = db_run(c,
                   "UPDATE version SET path = ?, is_adopted = ?, file_bytes = ?, mtime_ns = ?, identity = ?,"
                   " full_hash = ?, comment = ? WHERE id = ?",
                   ARGS(T(v->path), N(v->is_adopted), N(v->file_bytes), N(v->mtime_ns), T(v->identity),
                        T(v->full_hash), T(v->comment), N(v->id)),
                   err);
    if (r == 0)
        r = version_get(c, v->id, &after, err);
    if (r < 0)
        return r;
    (void)snprintf(object, sizeof(object), "%s@%u", before.image, before.number);
    return audit_add(c, "image update", object, version_json(&before), version_json(&after), err);
}

int version_update(struct catalog *c, const struct version_row *v, struct err *err)
{
    return AS_WRITER(c, err, update_steps(c, v, err));
}
