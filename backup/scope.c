/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of the catalog -> what is backed up; see scope.h. */
#include "backup/scope.h"

#include <errno.h>
#include <string.h>

#include "core/util.h"

static bool is_kept(const struct view_row *v)
{
    return v->mode != OVERLAY_VOLATILE;
}

/* --- names ------------------------------------------------------------------------------------------------------- */

struct names {
    const char *const *name;
    size_t n;
    bool *is_image, *is_client; /* what each name is */
};

static void names_finish(struct names *n)
{
    free(n->is_image);
    free(n->is_client);
}

static int resolve(struct catalog *c, struct names *n, struct err *err)
{
    n->is_image = calloc(n->n + 1, sizeof(*n->is_image));
    n->is_client = calloc(n->n + 1, sizeof(*n->is_client));
    if (!n->is_image || !n->is_client)
        return err_sys(err, -ENOMEM, "cannot read the catalog");
    for (size_t i = 0; i < n->n; i++) {
        struct image_row image;
        struct client_row client;
        struct err ignored;
        int r = image_get(c, n->name[i], &image, &ignored);
        n->is_image[i] = r == 0;
        if (r == -ENOENT || r == -EINVAL)
            r = client_get(c, n->name[i], &client, &ignored);
        if (r < 0)
            return err_set(
                err, r == -EINVAL ? -ENOENT : r,
                "there is no image and no client '%.100s'; see 'diskgate image list' and 'diskgate client list'",
                n->name[i]);
        n->is_client[i] = !n->is_image[i];
    }
    return 0;
}

/* Names are unique without regard to case. */
static bool is_named(const struct names *n, const bool *kind, const char *name)
{
    for (size_t i = 0; i < n->n; i++)
        if (kind[i] && strcasecmp(n->name[i], name) == 0)
            return true;
    return false;
}

/* --- views ------------------------------------------------------------------------------------------------------- */

static void keep_views(struct scope *s, const struct names *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->n_views; i++) {
        const struct view_row *v = &s->views[i];
        if (n->n > 0 && !is_named(n, n->is_client, v->client))
            continue;
        if (is_kept(v))
            s->views[kept++] = *v;
        else
            s->n_volatile++;
    }
    s->n_views = kept;
}

/* Who asks for a client by name must not believe that there is a backup of it. */
static int check_clients(const struct scope *s, const struct names *n, struct err *err)
{
    for (size_t i = 0; i < n->n; i++) {
        bool has_view = !n->is_client[i];
        for (size_t k = 0; k < s->n_views; k++)
            has_view |= strcasecmp(s->views[k].client, n->name[i]) == 0;
        if (!has_view)
            return err_set(
                err, -EINVAL,
                "client '%.100s' has no kept overlay: what it writes is dropped at its next boot, so there is "
                "nothing to back up",
                n->name[i]);
    }
    return 0;
}

/* --- versions ---------------------------------------------------------------------------------------------------- */

static size_t index_of(const struct scope *s, int64_t id)
{
    size_t i = 0;
    while (i < s->n_versions && s->versions[i].id != id)
        i++;
    return i;
}

/* Mark @id and, where it is a layer, all that lies below it. */
static void want(const struct scope *s, int64_t id, bool *wanted)
{
    for (size_t i = index_of(s, id); i < s->n_versions && !wanted[i]; i = index_of(s, s->versions[i].parent_id))
        wanted[i] = true;
}

static int keep_versions(struct scope *s, const struct names *n, struct err *err)
{
    _cleanup_free_ bool *wanted = calloc(s->n_versions + 1, sizeof(*wanted));
    if (!wanted)
        return err_sys(err, -ENOMEM, "cannot read the catalog");
    for (size_t i = 0; i < s->n_versions; i++)
        if (n->n == 0 || is_named(n, n->is_image, s->versions[i].image))
            want(s, s->versions[i].id, wanted);
    for (size_t i = 0; i < s->n_views; i++)
        want(s, s->views[i].version_id, wanted);
    size_t kept = 0;
    for (size_t i = 0; i < s->n_versions; i++)
        if (wanted[i])
            s->versions[kept++] = s->versions[i];
    s->n_versions = kept;
    return 0;
}

/* --- scope ------------------------------------------------------------------------------------------------------- */

int scope_read(struct catalog *c, const char *const *names, size_t n, struct scope *ret, struct err *err)
{
    _cleanup_(names_finish) struct names asked = {.name = names, .n = n};
    struct scope s = {0};
    int r = resolve(c, &asked, err);
    if (r == 0)
        r = view_list(c, NULL, &s.views, &s.n_views, err);
    if (r == 0)
        r = version_list(c, NULL, &s.versions, &s.n_versions, err);
    if (r == 0) {
        keep_views(&s, &asked);
        r = check_clients(&s, &asked, err);
    }
    if (r == 0)
        r = keep_versions(&s, &asked, err);
    if (r < 0) {
        scope_finish(&s);
        return r;
    }
    *ret = s;
    return 0;
}

void scope_finish(struct scope *s)
{
    free(s->versions);
    free(s->views);
    *s = (struct scope){0};
}

bool scope_equal(const struct scope *a, const struct scope *b)
{
    if (a->n_views != b->n_views || a->n_versions != b->n_versions)
        return false;
    for (size_t i = 0; i < a->n_views; i++)
        if (strcmp(a->views[i].overlay_id, b->views[i].overlay_id) != 0 ||
            strcmp(a->views[i].client, b->views[i].client) != 0 || a->views[i].version_id != b->views[i].version_id)
            return false;
    for (size_t i = 0; i < a->n_versions; i++)
        if (a->versions[i].id != b->versions[i].id || strcmp(a->versions[i].image, b->versions[i].image) != 0 ||
            strcmp(a->versions[i].path, b->versions[i].path) != 0)
            return false;
    return true;
}

const struct version_row *scope_version(const struct scope *s, int64_t id)
{
    size_t i = index_of(s, id);
    return i < s->n_versions ? &s->versions[i] : NULL;
}

void scope_version_stream(const struct version_row *v, struct stream_id *ret)
{
    *ret = (struct stream_id){.kind = STREAM_BASE, .number = v->number};
    (void)snprintf(ret->name, sizeof(ret->name), "%s", v->image); /* of the same length */
}

void scope_view_stream(const struct view_row *v, struct stream_id *ret)
{
    *ret = (struct stream_id){.kind = STREAM_OVERLAY, .number = v->slot};
    (void)snprintf(ret->name, sizeof(ret->name), "%s", v->client); /* likewise */
}
