/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Streams and the head of a manifest: one "key value" a line. */
#include "backup/manifest-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/util.h"

/* --- streams ------------------------------------------------------------------------------------------------------- */

static const char *const kind_names[] = {"base", "layer", "overlay", "catalog"};

const char *stream_kind_name(enum stream_kind k)
{
    return (size_t)k < ARRAY_SIZE(kind_names) ? kind_names[k] : NULL;
}

static bool kind_parse(struct field f, enum stream_kind *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++)
        if (field_is(f, kind_names[i])) {
            *ret = (enum stream_kind)i;
            return true;
        }
    return false;
}

static enum stream_kind family(enum stream_kind k)
{
    return k == STREAM_LAYER ? STREAM_BASE : k;
}

bool stream_id_equal(const struct stream_id *a, const struct stream_id *b)
{
    return family(a->kind) == family(b->kind) && a->number == b->number && strcasecmp(a->name, b->name) == 0;
}

void stream_id_text(const struct stream_id *id, char *ret)
{
    if (id->kind == STREAM_CATALOG)
        (void)snprintf(ret, NAME_LEN + 16, "catalog");
    else
        (void)snprintf(ret, NAME_LEN + 16, "%s%c%" PRIu32, id->name, id->kind == STREAM_OVERLAY ? ':' : '@',
                       id->number);
}

void stream_file_name(const struct stream_id *id, char *ret)
{
    if (id->kind == STREAM_CATALOG)
        (void)snprintf(ret, MANIFEST_NAME_LEN + 1, "catalog.manifest.zst");
    else
        (void)snprintf(ret, MANIFEST_NAME_LEN + 1, "%s-%s-%" PRIu32 ".manifest.zst",
                       id->kind == STREAM_OVERLAY ? "client" : "image", id->name, id->number);
}

/* --- the head ------------------------------------------------------------------------------------------------------ */

enum key {
    REPO,
    SET,
    KIND,
    NAME,
    NUMBER,
    SIZE,
    CHUNK,
    BACKING,
    IDENTITY,
    OVERLAY,
    EPOCH_ID,
    EPOCH,
    SOURCE,
    LABEL,
    KEYS
};

static const char *const key_names[KEYS] = {"repo",     "set",   "kind",    "name",     "number",
                                            "size",     "chunk", "backing", "identity", "overlay-id",
                                            "epoch-id", "epoch", "source",  "label"};

static bool text_ok(const char *text)
{
    char copy[MANIFEST_TEXT_LEN + 1];
    return field_text((struct field){text, strlen(text)}, copy, sizeof(copy));
}

int head_check(const struct manifest_head *h, struct err *err)
{
    char text[NAME_LEN + 16];
    stream_id_text(&h->id, text);
    if (h->id.kind != STREAM_CATALOG && name_check(h->id.name, "name of a stream", err) < 0)
        return -EINVAL;
    if (h->size_bytes == 0 || h->size_bytes > MANIFEST_SIZE_MAX || !chunk_bytes_ok(h->chunk_bytes))
        return err_set(err, -EINVAL, "a disk of %" PRIu64 " bytes cannot be backed up (%s)", h->size_bytes, text);
    if (h->has_backing && (name_check(h->backing.name, "name of a backing stream", err) < 0 ||
                           h->backing.kind == STREAM_OVERLAY || h->backing.kind == STREAM_CATALOG))
        return err_set(err, -EINVAL, "'%s' cannot lie on what is no version of an image", text);
    if (h->has_backing != (h->id.kind == STREAM_LAYER || h->id.kind == STREAM_OVERLAY))
        return err_set(err, -EINVAL, "'%s' must %sbe backed by another stream", text, h->has_backing ? "not " : "");
    if (!text_ok(h->identity) || !text_ok(h->source) || !text_ok(h->label))
        return err_set(err, -EINVAL, "a text of '%s' has characters that a line cannot hold", text);
    return 0;
}

static void print_text(FILE *f, enum key k, const char *text)
{
    if (*text)
        (void)fprintf(f, "%s %s\n", key_names[k], text); /* memory only, as below */
}

void head_print(const struct manifest_head *h, FILE *f)
{
    (void)fprintf(f, "repo %s\nset %s\nkind %s\n", h->repo, h->set, stream_kind_name(h->id.kind));
    if (h->id.kind != STREAM_CATALOG)
        (void)fprintf(f, "name %s\nnumber %" PRIu32 "\n", h->id.name, h->id.number);
    (void)fprintf(f, "size %" PRIu64 "\nchunk %" PRIu32 "\n", h->size_bytes, h->chunk_bytes);
    if (h->has_backing)
        (void)fprintf(f, "backing %s %" PRIu32 "\n", h->backing.name, h->backing.number);
    print_text(f, IDENTITY, h->identity);
    print_text(f, OVERLAY, h->overlay_id);
    print_text(f, EPOCH_ID, h->epoch_id);
    if (h->epoch)
        (void)fprintf(f, "epoch %" PRIu64 "\n", h->epoch);
    print_text(f, SOURCE, h->source);
    print_text(f, LABEL, h->label);
}

static bool take_uuid(struct field f, char *ret)
{
    unsigned char id[16];
    return f.len == UUID_LEN && field_text(f, ret, UUID_LEN + 1) && uuid_decode(ret, id) == 0;
}

static bool take_name(struct field f, char *ret)
{
    return field_text(f, ret, NAME_LEN + 1) && name_check(ret, "name", NULL) == 0;
}

static bool take_u32(struct field f, uint32_t *ret)
{
    uint64_t n;
    bool ok = field_number(f, UINT32_MAX, &n);
    *ret = ok ? (uint32_t)n : 0;
    return ok;
}

static bool take_backing(struct field line, struct manifest_head *h)
{
    struct field name;
    h->has_backing = true;
    h->backing.kind = STREAM_BASE; /* or a layer: the same thing here */
    return field_take(&line, &name) && take_name(name, h->backing.name) && take_u32(line, &h->backing.number);
}

static bool take_value(struct manifest_head *h, enum key k, struct field v)
{
    switch (k) {
    case REPO:
        return take_uuid(v, h->repo);
    case SET:
        return field_text(v, h->set, sizeof(h->set)) && v.len == SET_ID_LEN;
    case KIND:
        return kind_parse(v, &h->id.kind);
    case NAME:
        return take_name(v, h->id.name);
    case NUMBER:
        return take_u32(v, &h->id.number);
    case SIZE:
        return field_number(v, MANIFEST_SIZE_MAX, &h->size_bytes) && h->size_bytes > 0;
    case CHUNK:
        return take_u32(v, &h->chunk_bytes) && chunk_bytes_ok(h->chunk_bytes);
    case BACKING:
        return take_backing(v, h);
    case IDENTITY:
        return field_text(v, h->identity, sizeof(h->identity));
    case OVERLAY:
        return take_uuid(v, h->overlay_id);
    case EPOCH_ID:
        return take_uuid(v, h->epoch_id);
    case EPOCH:
        return field_number(v, UINT64_MAX, &h->epoch);
    case SOURCE:
        return field_text(v, h->source, sizeof(h->source));
    case LABEL:
        return field_text(v, h->label, sizeof(h->label));
    case KEYS:
        break;
    }
    return false;
}

int head_take(struct manifest_head *h, struct field line, unsigned *have)
{
    struct field word;
    if (!field_take(&line, &word))
        return -EBADMSG;
    for (unsigned k = 0; k < KEYS; k++) {
        if (!field_is(word, key_names[k]))
            continue;
        if ((*have & 1U << k) || !take_value(h, (enum key)k, line))
            return -EBADMSG;
        *have |= 1U << k;
        return 0;
    }
    return -EOPNOTSUPP;
}

bool head_is_complete(const struct manifest_head *h, unsigned have)
{
    unsigned need = 1U << REPO | 1U << SET | 1U << KIND | 1U << SIZE | 1U << CHUNK;
    bool is_catalog = h->id.kind == STREAM_CATALOG;
    if (!is_catalog)
        need |= 1U << NAME | 1U << NUMBER;
    bool needs_backing = h->id.kind == STREAM_LAYER || h->id.kind == STREAM_OVERLAY;
    return (have & need) == need && h->has_backing == needs_backing &&
           !(is_catalog && (have & (1U << NAME | 1U << NUMBER)));
}
