/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plan of an import; see plan.h.
 *
 * While rows are staged, IMPORT_IMAGES holds numbers of the image list ("b0,d2"); plan_decide() turns them into ids of the catalog and
 * into links. Slots: the first boot image that is here is slot 0, further ones are choices of the boot menu, data disks follow from slot 1 on.
 */
#include "migrate/plan.h"

#include <errno.h>
#include <string.h>

#include "cli/output.h"
#include "core/ctl.h"
#include "core/util.h"
#include "migrate/plan-merge.h"
#include "migrate/text.h"

void plan_finish(struct plan *p)
{
    images_finish(&p->images);
    json_decref(p->rest);
    json_decref(p->online);
}

/* --- stage -------------------------------------------------------------------------------------------------------- */

struct staging_rows {
    struct plan *plan;
    struct import_row *row;
    struct err *err;
};

/* Text without control characters, which would break tables and are refused by the catalog. */
static void clean(const char *text, char *ret, size_t size)
{
    text_copy(text, strlen(text), ret, size);
    for (char *p = ret; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
}

static void put(struct plan *p, struct import_row *row, enum import_field f, const char *value)
{
    if (!*value)
        return;
    p->is_seen[f] = true;
    size_t len = MIN(strlen(value), (size_t)IMPORT_FIELD_LEN);
    memcpy(row->src.f[f], value, len); /* not stpncpy(), which fills up the rest with zeros */
    row->src.f[f][len] = 0;
}

static int put_images(struct plan *p, struct import_row *row, const struct record *r, struct err *err)
{
    char *to = row->src.f[IMPORT_IMAGES];
    size_t len = 0;
    for (unsigned i = 0; i < r->image_count && i < RECORD_IMAGES_MAX; i++) {
        int n = images_intern(&p->images, &r->images[i], err);
        if (n < 0)
            return n;
        if (i > 0)
            to[len++] = ',';
        to[len++] = r->images[i].is_data ? 'd' : 'b';
        len += text_number(n, to + len); /* at most 16 short numbers */
        p->is_seen[IMPORT_IMAGES] = p->is_seen[IMPORT_LINKS] = true;
    }
    return 0;
}

/* A name that is not accepted as it is stays readable in the comment. */
static void put_comment(struct plan *p, struct import_row *row, const struct record *r)
{
    char text[COMMENT_LEN + 1];
    bool is_other = *r->raw_name && strcmp(r->raw_name, r->name) != 0;
    clean(*r->comment ? r->comment : is_other ? r->raw_name : "", text, sizeof(text));
    put(p, row, IMPORT_COMMENT, text);
}

static const char *mac_words(enum mac_status s)
{
    switch (s) {
    case MAC_ZERO:
        return "is all zero";
    case MAC_BROADCAST:
        return "is the broadcast address";
    case MAC_MULTICAST:
        return "is a group address";
    default:
        return "is no MAC address";
    }
}

static void judge_row(const struct plan *p, struct import_row *row, const struct record *r)
{
    char shown[160];
    if (r->mac_status == MAC_EMPTY) {
        row->fate = IMPORT_SKIPPED;
        (void)snprintf(row->reason, sizeof(row->reason), "no MAC address");
    } else if (!*r->mac) {
        row->fate = IMPORT_CONFLICT;
        text_format(row->reason, sizeof(row->reason), "bad MAC: '%s' %s", text_shown(r->raw_mac, shown, sizeof(shown)),
                    mac_words(r->mac_status));
    } else if (r->is_disabled && p->policy.disabled == DISABLED_SKIP) {
        row->fate = IMPORT_SKIPPED;
        (void)snprintf(row->reason, sizeof(row->reason),
                       "disabled in the source, and the mapping says to leave such out");
    } else if (r->mac_status == MAC_LOCAL) {
        (void)snprintf(row->reason, sizeof(row->reason), "its MAC is a locally administered one");
    }
}

/* Names of columns without a place, of which one more was seen. */
static void note_rest(struct plan *p, const struct record *r)
{
    if (r->rest_count == p->rest_count)
        return;
    p->rest_count = r->rest_count;
    for (size_t i = 0; i < r->table->column_count; i++)
        if (r->is_rest[i])
            (void)json_object_set_new(p->rest, r->table->columns[i].name,
                                      json_true()); /* without memory the list is shorter */
}

static int stage_record(void *arg, const struct record *r)
{
    struct staging_rows *s = arg;
    struct plan *p = s->plan;
    struct import_row *row = s->row;
    row->row = r->row;
    row->rest = r->rest;
    row->doubt = r->doubt;
    p->row_doubts += *r->doubt != 0;
    row->fate = IMPORT_OPEN;
    row->reason[0] = 0;
    import_values_clear(&row->src); /* a row is large: what is not staged is left as it was */
    strcpy(row->mac, r->mac);
    strcpy(row->source_id, r->source_id); /* of the same size */
    text_copy(r->raw_mac, strlen(r->raw_mac), row->raw_mac, sizeof(row->raw_mac));
    text_copy(r->raw_name, strlen(r->raw_name), row->raw_name, sizeof(row->raw_name));
    put(p, row, IMPORT_NAME, r->name);
    put(p, row, IMPORT_IP, r->ip);
    put(p, row, IMPORT_NETMASK, strchr(r->netmask, ':') ? "" : r->netmask);
    put(p, row, IMPORT_GATEWAY, strchr(r->gateway, ':') ? "" : r->gateway);
    put(p, row, IMPORT_DNS, strchr(r->dns, ':') ? "" : r->dns);
    put(p, row, IMPORT_GROUP, r->group);
    put(p, row, IMPORT_DISABLED, r->is_disabled ? "1" : "");
    put_comment(p, row, r);
    judge_row(p, row, r);
    note_rest(p, r);
    int err_code = put_images(p, row, r, s->err);
    return err_code < 0 ? err_code : import_row_add(p->import, row, s->err);
}

int plan_stage(struct plan *p, struct err *err)
{
    static const enum import_duplicates duplicates[] = {
        [DUPLICATE_SKIP_ALL] = IMPORT_DUP_CONFLICT,
        [DUPLICATE_STOP] = IMPORT_DUP_CONFLICT,
        [DUPLICATE_FIRST] = IMPORT_DUP_FIRST,
        [DUPLICATE_LAST] = IMPORT_DUP_LAST,
    };
    _cleanup_free_ struct import_row *row = calloc(1, sizeof(*row));
    struct staging_rows s = {p, row, err};
    p->rest = json_object();
    if (!row || !p->rest)
        return err_set(err, -ENOMEM, "memory is out");
    int r = records_read(p->source, p->mapping, stage_record, &s, &p->rows, err);
    if (r == 0)
        r = site_record_read(p->source, p->mapping, &p->site, err);
    return r < 0 ? r : import_stage_end(p->import, duplicates[p->policy.duplicate_mac], err);
}

/* --- links -------------------------------------------------------------------------------------------------------- */

struct linking {
    struct import_row *row;
    char links[SLOTS][32], ids[IMPORT_FIELD_LEN + 1];
    size_t ids_len;
    unsigned next_boot, next_data;
    bool has_missing;
};

static void say(struct import_row *row, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct import_row *row, const char *fmt, ...)
{
    size_t n = strlen(row->reason);
    va_list ap;
    if (n > 0 && n + 3 < sizeof(row->reason)) {
        strcpy(row->reason + n, "; ");
        n += 2;
    }
    va_start(ap, fmt);
    (void)vsnprintf(row->reason + n, sizeof(row->reason) - n, fmt, ap);
    va_end(ap);
    text_mend(row->reason);
}

/* Without a format, for it may be said of each row. */
static void say_not_linked(struct import_row *row, const char *image, const char *why)
{
    const char *const parts[] = {*row->reason ? "; " : "", "not linked to '", image, "', which is ", why};
    char *to = row->reason + strlen(row->reason), *end = row->reason + sizeof(row->reason) - 1;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        to = stpncpy(to, parts[i], MIN(strlen(parts[i]), (size_t)(end - to)));
    *to = 0;
    if (to == end)
        text_mend(row->reason);
}

/* A slot for one more image of this sort; SLOTS when they are all taken. */
static unsigned next_slot(struct linking *l, bool is_data)
{
    if (is_data)
        return l->next_data <= SLOT_MAX ? l->next_data++ : SLOTS;
    unsigned slot = l->next_boot;
    l->next_boot = slot == 0 ? BOOT_SLOT_FIRST : slot + 1;
    return slot <= BOOT_SLOT_LAST ? slot : SLOTS;
}

static void link_image(struct linking *l, const struct site_image *i, bool is_data)
{
    char shown[200];
    if (i->outcome != SITE_KNOWN && i->outcome != SITE_ADD) {
        l->has_missing = l->has_missing || i->outcome != SITE_REMOVED;
        say_not_linked(l->row, text_shown(i->raw, shown, sizeof(shown)),
                       i->outcome == SITE_REFUSED   ? "refused"
                       : i->outcome == SITE_REMOVED ? "removed here"
                                                    : "missing");
        return;
    }
    unsigned slot = next_slot(l, is_data || i->is_data);
    if (slot == SLOTS)
        say(l->row, "not linked to '%s': it has too many disks", text_shown(i->raw, shown, sizeof(shown)));
    else
        (void)snprintf(l->links[slot], sizeof(l->links[slot]), "%u:%lld", slot, (long long)i->image_id);
}

/* What becomes of a list of images: many rows have the same one. */
struct resolved {
    char list[IMPORT_FIELD_LEN + 1]; /* as it is staged */
    char ids[IMPORT_FIELD_LEN + 1], links[IMPORT_FIELD_LEN + 1];
    char reason[512]; /* what is said of it */
    bool is_there, has_missing;
};

#define RESOLVED 16

static void resolve_list(const struct plan *p, const char *list, struct resolved *ret)
{
    struct import_row row = {0};
    struct linking l = {.row = &row, .next_data = 1};
    size_t len = 0;
    for (const char *at = list; *at; at += *at == ',') {
        bool is_data = *at == 'd';
        char *end;
        size_t n = strtoul(at + 1, &end, 10);
        at = end;
        if (n >= p->images.n)
            break; /* cannot be: we wrote it */
        const struct site_image *i = p->images.list[n];
        if (l.ids_len + 24 > sizeof(l.ids))
            break; /* cannot be: 16 short numbers */
        if (l.ids_len > 0)
            l.ids[l.ids_len++] = ',';
        l.ids[l.ids_len++] = is_data ? 'd' : 'b';
        l.ids_len += text_number(i->source_id, l.ids + l.ids_len);
        link_image(&l, i, is_data);
    }
    *ret = (struct resolved){.is_there = true, .has_missing = l.has_missing};
    strcpy(ret->list, list);
    strcpy(ret->ids, l.ids);
    strcpy(ret->reason, row.reason);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (*l.links[slot] && len < IMPORT_FIELD_LEN)
            len +=
                (size_t)snprintf(ret->links + len, IMPORT_FIELD_LEN + 1 - len, "%s%s", len ? "," : "", l.links[slot]);
}

static void add_reason(struct import_row *row, const char *reason)
{
    char *to = row->reason + strlen(row->reason), *end = row->reason + sizeof(row->reason) - 1;
    if (*row->reason && end - to > 2)
        to = stpcpy(to, "; ");
    size_t n = strnlen(reason, (size_t)(end - to));
    *(char *)mempcpy(to, reason, n) = 0;
    if (reason[n])
        text_mend(row->reason);
}

/* The row's images: ids of their paths into src, links into src. */
static void resolve_images(const struct plan *p, struct resolved *known, struct import_row *row, bool *ret_has_missing)
{
    const char *list = row->src.f[IMPORT_IMAGES];
    unsigned place = 0;
    for (const char *at = list; *at; at++)
        place = place * 31 + (unsigned char)*at;
    struct resolved *r = &known[place % RESOLVED];
    if (!r->is_there || strcmp(r->list, list) != 0)
        resolve_list(p, list, r);
    strcpy(row->src.f[IMPORT_IMAGES], r->ids);
    strcpy(row->src.f[IMPORT_LINKS], r->links);
    if (*r->reason)
        add_reason(row, r->reason);
    *ret_has_missing = r->has_missing;
}

/* --- decide ------------------------------------------------------------------------------------------------------- */

struct deciding {
    struct plan *plan;
    bool knows_none; /* all rows become new clients */
    struct import_known known;
    struct resolved resolved[RESOLVED];
};

/* A relink would drop what a client keeps, or take a disk away from under it. */
static void spare_disks(const struct plan *p, struct import_row *row, const struct import_known *known)
{
    if (row->fate != IMPORT_CHANGED || strcmp(known->now.f[IMPORT_LINKS], row->want.f[IMPORT_LINKS]) == 0)
        return;
    if (json_object_get(p->online, known->now.f[IMPORT_NAME])) {
        row->fate = IMPORT_CONFLICT;
        say(row, "its images changed in the source, but it is running: shut it down first");
        return;
    }
    if (known->mode == OVERLAY_VOLATILE)
        return;
    row->fate = IMPORT_CONFLICT;
    say(row,
        "its images changed in the source, but it keeps its changes here (mode %s), which another link would destroy: "
        "link it with 'diskgate client link --force'",
        overlay_mode_name(known->mode));
}

/* Against what the catalog has of it. */
static int decide_known(struct deciding *d, struct import_row *row, bool has_missing, struct err *err)
{
    _cleanup_json_ json_t *detail = NULL;
    int r = import_known(d->plan->import, row->mac, &d->known, err);
    if (r < 0)
        return r;
    if (row->fate == IMPORT_SKIPPED)
        return import_row_plan(d->plan->import, row, &d->known, err);
    if (has_missing && d->known.is_tracked) /* what it boots from today is better than nothing */
        strcpy(row->src.f[IMPORT_LINKS], d->known.src.f[IMPORT_LINKS]);
    plan_merge(row, &d->known, d->plan->is_seen, &detail);
    spare_disks(d->plan, row, &d->known);
    _cleanup_free_ char *text = detail ? json_dumps(detail, JSON_COMPACT) : NULL;
    row->detail = text;
    return import_row_plan(d->plan->import, row, &d->known, err);
}

static int decide_row(void *arg, struct import_row *row, struct err *err)
{
    struct deciding *d = arg;
    bool has_missing;
    resolve_images(d->plan, d->resolved, row, &has_missing);
    if (has_missing && d->plan->policy.missing_image == MISSING_SKIP)
        row->fate = IMPORT_SKIPPED;
    else
        d->plan->unlinked += has_missing;
    if (!d->knows_none || row->fate == IMPORT_SKIPPED)
        return decide_known(d, row, has_missing, err);
    plan_name_new(row);
    return import_row_plan_new(d->plan->import, row, err);
}

int plan_begin(struct plan *p, struct err *err)
{
    p->unlinked = 0;
    return import_plan_begin(p->import, err);
}

int plan_decide(struct plan *p, struct err *err)
{
    _cleanup_free_ struct deciding *d = calloc(1, sizeof(*d));
    if (!d)
        return err_set(err, -ENOMEM, "memory is out");
    d->plan = p;
    d->knows_none = import_knows_none(p->import);
    int r = import_each(p->import, IMPORT_OPEN, decide_row, d, err);
    return r < 0 ? r : import_names(p->import, err);
}
