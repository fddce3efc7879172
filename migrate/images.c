/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The images of a source; see images.h. Finding their files is images-find.c. */
#include "migrate/images.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/output.h"
#include "cli/progress.h"
#include "core/ctl.h"
#include "core/util.h"
#include "migrate/child.h"
#include "migrate/images-find.h"
#include "migrate/staging.h"
#include "migrate/text.h"

static const char *const outcome_names[] = {
    [SITE_OPEN] = "open",       [SITE_KNOWN] = "known",     [SITE_ADD] = "added",
    [SITE_MISSING] = "missing", [SITE_REFUSED] = "refused", [SITE_REMOVED] = "removed",
};

const char *site_outcome_name(enum site_outcome o)
{
    return outcome_names[o];
}

void images_finish(struct site_images *s)
{
    for (size_t i = 0; i < s->n; i++) {
        json_decref(s->list[i]->parents);
        json_decref(s->list[i]->candidates);
        free(s->list[i]);
    }
    free(s->list);
    free(s->slots);
    *s = (struct site_images){0};
}

/* --- the set ------------------------------------------------------------------------------------------------------ */

static size_t place_of(const struct site_images *s, const char *key)
{
    size_t at = text_hash(key, strlen(key)) & (s->slot_count - 1);
    while (s->slots[at] && strcmp(s->list[s->slots[at] - 1]->key, key) != 0)
        at = (at + 1) & (s->slot_count - 1);
    return at;
}

static int grow(struct site_images *s)
{
    if (s->slot_count)
        return 0;
    s->slot_count = 16384; /* more than three times IMAGES_MAX: never grows */
    s->slots = calloc(s->slot_count, sizeof(*s->slots));
    s->list = calloc(IMAGES_MAX, sizeof(*s->list));
    return s->slots && s->list ? 0 : -ENOMEM;
}

static int add(struct site_images *s, const struct record_image *image, const char *key, size_t at, struct err *err)
{
    if (s->n == IMAGES_MAX)
        return err_set(err, -E2BIG,
                       "the source names more than %d different images: the column of the images is not what it "
                       "was taken for; give a mapping with --mapping",
                       IMAGES_MAX);
    struct site_image *i = calloc(1, sizeof(*i));
    if (!i)
        return err_set(err, -ENOMEM, "memory is out");
    strcpy(i->key, key);
    strcpy(i->raw, image->raw);
    strcpy(i->path, image->path);
    i->kind = image->kind;
    i->is_dangling = image->is_dangling;
    s->list[s->n++] = i;
    s->slots[at] = (uint32_t)s->n;
    return 0;
}

/* Number + 1 of the image, which is added when it is new; a negative errno. */
static int find_or_add(struct site_images *s, const struct record_image *image, struct err *err)
{
    char key[RECORD_RAW_MAX + 1];
    uint32_t *last = &s->last[text_hash(image->path, strlen(image->path)) % ARRAY_SIZE(s->last)];
    if (*image->path && *last && strcmp(s->list[*last - 1]->path, image->path) == 0)
        return (int)*last; /* the same path has the same key */
    if (grow(s) < 0)
        return err_set(err, -ENOMEM, "memory is out");
    text_fold(*image->path ? image->path : image->raw, key, sizeof(key));
    size_t at = place_of(s, key);
    int r = s->slots[at] ? 0 : add(s, image, key, at, err);
    if (r == 0)
        *last = s->slots[at];
    return r < 0 ? r : (int)s->slots[at];
}

int images_intern(struct site_images *s, const struct record_image *image, struct err *err)
{
    int n = find_or_add(s, image, err);
    if (n < 0)
        return n;
    struct site_image *i = s->list[n - 1];
    if (!*i->label)
        strcpy(i->label, image->label);
    if (image->is_data)
        i->datas++;
    else
        i->boots++;
    return n - 1;
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static bool is_name_taken(const struct site_images *s, const struct site_image *but, struct catalog *c,
                          const char *name)
{
    struct image_row row;
    if (image_get(c, name, &row, NULL) == 0)
        return true;
    for (size_t i = 0; i < s->n; i++)
        if (s->list[i] != but && s->list[i]->outcome == SITE_ADD && strcasecmp(s->list[i]->name, name) == 0)
            return true;
    return false;
}

/* The label of the source, else the file's name without its ending, else "image"; with a number where that is taken. */
static void give_name(const struct site_images *s, struct site_image *i, struct catalog *c)
{
    char stem[NAME_MAX + 1], base[NAME_LEN + 1];
    (void)snprintf(stem, sizeof(stem), "%s", path_name(i->file));
    char *dot = strrchr(stem, '.');
    if (dot && dot > stem)
        *dot = 0;
    if (!name_from_raw(stem, base) && !(*i->label && name_from_raw(i->label, base)))
        strcpy(base, "image");
    strcpy(i->name, base);
    for (unsigned n = 2; is_name_taken(s, i, c, i->name) && n < 100000; n++) {
        char tail[16];
        (void)snprintf(tail, sizeof(tail), "-%u", n);
        (void)snprintf(i->name, sizeof(i->name), "%.*s%s", (int)(NAME_LEN - strlen(tail)), base, tail);
    }
}

/* --- what `diskgate image add` says ------------------------------------------------------------------------------- */

static size_t add_arguments(const struct site_image *i, const char **args)
{
    size_t n = 0, k;
    json_t *parent;
    args[n++] = "image";
    args[n++] = "add";
    args[n++] = i->name;
    args[n++] = i->file;
    args[n++] = "--file-only";
    json_array_foreach(i->parents, k, parent)
    {
        args[n++] = "--parent";
        args[n++] = json_string_value(parent);
    }
    return n;
}

static void take_text(json_t *o, const char *key, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%s", json_text(o, key));
}

/* The row that `image add --file-only` prints. */
static int take_file(struct site_image *i, json_t *answer, struct err *err)
{
    struct version_row *v = &i->version;
    json_t *o = json_object_get(answer, "file");
    const char *no_room = json_string_value(json_object_get(answer, "no_room"));
    if (no_room) {
        i->outcome = SITE_REFUSED;
        i->has_no_room = true;
        text_copy(no_room, strlen(no_room), i->note, sizeof(i->note));
        return 0;
    }
    if (!json_is_object(o))
        return err_set(err, -EIO,
                       "this diskgate does not know 'image add --file-only': install programs of one version");
    take_text(o, "format", v->format, sizeof(v->format));
    take_text(o, "path", v->path, sizeof(v->path));
    take_text(o, "identity", v->identity, sizeof(v->identity));
    take_text(o, "comment", v->comment, sizeof(v->comment));
    take_text(o, "how", i->how, sizeof(i->how));
    take_text(o, "note", i->note, sizeof(i->note));
    v->is_adopted = json_is_true(json_object_get(o, "is_adopted"));
    v->size_bytes = (uint64_t)json_integer_value(json_object_get(o, "size_bytes"));
    v->file_bytes = (uint64_t)json_integer_value(json_object_get(o, "file_bytes"));
    v->mtime_ns = json_integer_value(json_object_get(o, "mtime_ns"));
    i->needs_file = json_is_true(json_object_get(o, "is_made"));
    return 0;
}

/* What the file is, without making anything. A file that cannot be served is no failure of the import. */
static int look(struct site_image *i, const struct image_search *how, struct err *err)
{
    const char *args[16 + 2 * CHAIN_MAX] = {NULL};
    _cleanup_json_ json_t *answer = NULL;
    struct err why;
    size_t n = add_arguments(i, args);
    args[n++] = "-n";
    int r = child_diskgate(how->root, args, &answer, &why);
    if (r == -EIO && !answer) {
        i->outcome = SITE_REFUSED;
        text_copy(why.msg, strlen(why.msg), i->note, sizeof(i->note));
        return 0;
    }
    if (r < 0)
        return err_set(err, r, "%s", why.msg);
    return take_file(i, answer, err);
}

/* How far all files are: @before bytes of disks are done, and now one of @size bytes is made. */
struct making {
    struct progress *progress;
    uint64_t before, size, total;
};

static void show_making(void *arg, uint64_t done, uint64_t total)
{
    struct making *m = arg;
    double share = total ? (double)done / (double)total : 1;
    if (m->progress)
        progress_update(m->progress, m->before + (uint64_t)(share * (double)m->size), m->total);
}

static bool fits_size(const struct site_image *i, uint64_t bytes)
{
    return bytes >= i->size_min && bytes <= i->size_max;
}

/* Of several files of one name that whose disk, or file, has the size that the source says; none when more than one has. */
static int choose_by_size(const struct site_images *s, struct site_image *i, struct catalog *c,
                          const struct image_search *how, struct err *err)
{
    struct site_image *try = malloc(sizeof(*try));
    size_t k, n = json_array_size(i->candidates), fitting = 0;
    json_t *candidate;
    int r = try ? 0 : err_set(err, -ENOMEM, "memory is out");
    char file[PATH_MAX] = "";
    json_array_foreach(i->candidates, k, candidate)
    {
        struct stat st;
        if (r < 0)
            break;
        *try = *i;
        try->parents = NULL;
        (void)snprintf(try->file, sizeof(try->file), "%s", json_string_value(candidate));
        give_name(s, try, c); /* only asked about */
        r = look(try, how, err);
        if (r == 0 && ((try->outcome == SITE_OPEN && fits_size(i, try->version.size_bytes)) ||
                       (stat(try->file, &st) == 0 && fits_size(i, (uint64_t)st.st_size)))) {
            fitting++;
            strcpy(file, try->file);
        }
    }
    free(try);
    if (r < 0 || fitting != 1)
        return r;
    strcpy(i->file, file);
    i->outcome = SITE_OPEN;
    i->note[0] = 0;
    i->same_name = n;
    json_decref(i->candidates);
    i->candidates = NULL;
    check_differences(i, how);
    return 0;
}

/* A file that was found and has another size is taken: names and rules count more. It is worth a look. */
static void remark_size(struct site_image *i)
{
    char is[32], before[sizeof(i->note)];
    if (i->same_name && i->outcome == SITE_ADD && !*i->note)
        text_format(i->note, sizeof(i->note), "of %zu files of this name the only one of the size that the source says",
                    i->same_name);
    if (!i->size_max || i->outcome != SITE_ADD || fits_size(i, i->version.size_bytes) ||
        fits_size(i, i->version.file_bytes))
        return;
    size_text(i->version.size_bytes, is);
    (void)snprintf(before, sizeof(before), "%s", i->note);
    text_format(i->note, sizeof(i->note), "%s%sits disk has %s; the source says %s: see that it is the right file",
                before, *before ? "; " : "", is, i->size_said);
}

static int make(struct site_image *i, const struct image_search *how, struct staging *st, struct making *m,
                struct err *err)
{
    const char *args[20 + 2 * CHAIN_MAX] = {NULL};
    char folder[PATH_MAX];
    _cleanup_json_ json_t *answer = NULL;
    int r = staging_folder(st, i->name, folder, err);
    if (r < 0)
        return r;
    size_t n = add_arguments(i, args);
    args[n++] = "--folder";
    args[n++] = folder;
    if (!how->is_quiet)
        warn_line("note: making image '%s' from '%s' (%s)", i->name, i->file, i->how);
    m->size = i->version.size_bytes;
    r = child_diskgate_progress(how->root, args, show_making, m, &answer, err);
    if (m->progress)
        progress_finish(m->progress);
    show_making(m, 1, 1);
    m->before += m->size;
    return r < 0 ? r : take_file(i, answer, err);
}

static bool is_to_be_made(const struct site_image *i)
{
    return i->outcome == SITE_ADD && i->needs_file && !i->same;
}

int images_make(struct site_images *s, const struct image_search *how, struct staging *st, struct err *err)
{
    struct making m = {.progress = how->progress};
    int r = 0;
    for (size_t i = 0; i < s->n; i++)
        m.total += is_to_be_made(s->list[i]) ? s->list[i]->version.size_bytes : 0;
    for (size_t i = 0; r == 0 && i < s->n; i++)
        if (is_to_be_made(s->list[i]) && (r = make(s->list[i], how, st, &m, err)) < 0)
            (void)err_prefix(err, r, "nothing was imported, for the image '%s' cannot be made", s->list[i]->name);
    if (how->progress)
        progress_finish(how->progress);
    return r;
}

/* --- resolving ---------------------------------------------------------------------------------------------------- */

static int name_of_image(struct catalog *c, int64_t id, char *ret, bool *ret_is_data, struct err *err)
{
    _cleanup_free_ struct image_row *rows = NULL;
    size_t n = 0;
    int r = image_list(c, &rows, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (rows[i].id == id) {
            strcpy(ret, rows[i].name);
            *ret_is_data = rows[i].is_data;
        }
    return r;
}

/* An earlier import decided about this path. */
static int recall(struct site_image *i, struct catalog *c, struct err *err)
{
    struct import_source was;
    int r = import_source_get(c, i->key, &was, err);
    if (r == -ENOENT || (r == 0 && was.image_id == 0))
        return 0;
    if (r < 0)
        return r;
    i->image_id = was.image_id;
    i->outcome = was.is_image_here ? SITE_KNOWN : SITE_REMOVED;
    if (i->outcome == SITE_KNOWN)
        return name_of_image(c, i->image_id, i->name, &i->is_data, err);
    (void)snprintf(
        i->note, sizeof(i->note),
        "an earlier import made it an image, which was removed here since; to have it again: 'diskgate image add' and "
        "'diskgate client link'");
    return 0;
}

/* Another path of the source led to the same file. */
static struct site_image *same_file(const struct site_images *s, const struct site_image *but)
{
    for (size_t i = 0; i < s->n && s->list[i] != but; i++)
        if (s->list[i]->outcome == SITE_ADD && !s->list[i]->same && strcmp(s->list[i]->file, but->file) == 0)
            return s->list[i];
    return NULL;
}

static int settle(struct site_images *s, struct site_image *i, struct catalog *c, const struct image_search *how,
                  struct err *err)
{
    int64_t id = 0;
    int r = find_in_catalog(how->root, c, i->file, &id, err);
    if (r == 0 && id) {
        i->outcome = SITE_KNOWN;
        i->image_id = id;
        return name_of_image(c, id, i->name, &i->is_data, err);
    }
    if (r < 0)
        return r;
    i->outcome = SITE_ADD;
    i->same = same_file(s, i);
    if (i->same) {
        strcpy(i->name, i->same->name);
        i->same->boots += i->boots;
        i->same->datas += i->datas;
        return 0;
    }
    give_name(s, i, c);
    r = look(i, how, err);
    if (r == 0)
        remark_size(i);
    i->is_data = i->boots == 0;
    if (i->outcome == SITE_REFUSED)
        i->name[0] = 0;
    return r;
}

/* Another path that ends in the same name, but not in the same folder and name. One that says no folder may mean any. */
static const char *rival_of(const struct site_images *s, const struct site_image *i)
{
    const char *name = path_name(i->key);
    for (size_t k = 0; k < s->n && name > i->key; k++) {
        const struct site_image *o = s->list[k];
        const char *other = path_name(o->key);
        if (o == i || o->is_dangling || other == o->key || strcmp(other, name) != 0)
            continue;
        char a[RECORD_RAW_MAX + 1], b[RECORD_RAW_MAX + 1];
        path_folder(i->key, a);
        path_folder(o->key, b);
        if (strcmp(a, b) != 0)
            return o->raw;
    }
    return NULL;
}

static int resolve(struct site_images *s, struct site_image *i, struct catalog *c, const struct image_search *how,
                   struct err *err)
{
    int r = recall(i, c, err);
    if (r < 0 || i->outcome != SITE_OPEN)
        return r;
    i->rival = rival_of(s, i);
    r = find_file(i, how, err);
    size_t n = json_array_size(i->candidates);
    if (r == 0 && i->outcome == SITE_MISSING && i->size_max && n > 1 && n < PROPOSALS_MAX) /* else there may be more */
        r = choose_by_size(s, i, c, how, err);
    if (r < 0 || i->outcome != SITE_OPEN)
        return r;
    r = find_parents(i, how, err);
    return r < 0 || i->outcome != SITE_OPEN ? r : settle(s, i, c, how, err);
}

int images_resolve(struct site_images *s, struct catalog *c, const struct image_search *how, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->n; i++)
        r = resolve(s, s->list[i], c, how, err);
    for (size_t i = 0; r == 0 && i < s->n; i++) /* a path that came later may use the file in another way */
        if (s->list[i]->outcome == SITE_ADD) {
            const struct site_image *first = s->list[i]->same ? s->list[i]->same : s->list[i];
            s->list[i]->is_data = first->boots == 0;
        }
    for (size_t i = 0; r == 0 && i < s->n; i++)
        if (s->list[i]->outcome == SITE_MISSING)
            propose(s->list[i], s, how);
    return r;
}

/* --- storing ------------------------------------------------------------------------------------------------------ */

static int add_image(struct site_image *i, struct catalog *c, struct err *err)
{
    struct image_row row = {.is_data = i->is_data};
    strcpy(row.name, i->name);
    if (*i->label)
        text_copy(i->label, strlen(i->label), row.comment, sizeof(row.comment));
    int r = image_add(c, &row, &i->version, err);
    i->image_id = row.id;
    if (r == -EEXIST) /* its name was free when it was chosen */
        return err_set(err, r, "nothing was imported: another command made the image '%s' meanwhile; import again",
                       i->name);
    return r;
}

static int store(struct site_image *i, struct import *im, struct catalog *c, struct err *err)
{
    struct import_source was;
    int r = import_source_register(im, i->key, i->raw, &was, err);
    if (r < 0)
        return r;
    i->source_id = was.id;
    if (i->outcome == SITE_ADD && !i->same)
        r = add_image(i, c, err);
    else if (i->outcome == SITE_ADD)
        i->image_id = i->same->image_id;
    bool is_new = i->outcome == SITE_ADD || (i->outcome == SITE_KNOWN && was.image_id != i->image_id);
    if (r == 0 && is_new)
        r = import_source_link(im, i->source_id, i->image_id, i->outcome == SITE_ADD && !i->same, err);
    return r;
}

int images_store(struct site_images *s, struct import *im, struct catalog *c, struct err *err)
{
    int r = 0;
    import_audit_off(c, true);
    for (size_t i = 0; r == 0 && i < s->n; i++)
        r = store(s->list[i], im, c, err);
    import_audit_off(c, false);
    return r;
}

json_t *site_image_json(const struct site_image *i)
{
    return json_pack("{s:o, s:s, s:o, s:o, s:b, s:I, s:I, s:o, s:o, s:O?, s:O?}", "source_path", out_string(i->raw),
                     "result", site_outcome_name(i->outcome), "image", *i->name ? out_string(i->name) : json_null(),
                     "file", *i->file ? out_string(i->file) : json_null(), "is_data", i->is_data, "boots",
                     (json_int_t)i->boots, "data_disks", (json_int_t)i->datas, "how",
                     *i->how ? out_string(i->how) : json_null(), "note", *i->note ? out_string(i->note) : json_null(),
                     "parents", i->parents, "candidates", i->candidates);
}
