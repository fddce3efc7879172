/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One row against the catalog; see plan-merge.h. */
#include "migrate/plan-merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/output.h"

struct merge {
    struct import_row *row;
    const struct import_known *known;
    json_t *detail;
    bool has_changed, has_kept, keeps_links;
};

static void tell(struct merge *m, int f, const char *a, const char *a_value, const char *b, const char *b_value)
{
    if (!m->detail)
        m->detail = json_array();
    json_t *o = json_pack("{s:s, s:o, s:o}", "field", import_field_name((enum import_field)f), a, out_string(a_value),
                          b, out_string(b_value));
    if (o)
        (void)json_array_append_new(m->detail, o); /* without memory the report is shorter */
}

static void take(struct merge *m, int f)
{
    strcpy(m->row->want.f[f], m->row->src.f[f]);
    strcpy(m->row->given.f[f], m->row->src.f[f]);
    tell(m, f, "old", m->known->now.f[f], "new", m->row->src.f[f]);
    if (f != IMPORT_IMAGES || !m->keeps_links) /* the source's images changed, and the client's disks do not */
        m->has_changed = true;
}

static void keep(struct merge *m, int f, const char *given)
{
    strcpy(m->row->want.f[f], m->known->now.f[f]);
    strcpy(m->row->given.f[f], given);
    tell(m, f, "here", m->known->now.f[f], "source", m->row->src.f[f]);
    m->has_kept = true;
}

static void stay(struct merge *m, int f)
{
    strcpy(m->row->want.f[f], m->known->now.f[f]);
    strcpy(m->row->given.f[f], m->known->now.f[f]);
}

/* --- links: slot by slot ------------------------------------------------------------------------------------------ */

#define LINK_LEN 31 /* "12@3": image id and version */

typedef char links[SLOTS][LINK_LEN + 1];

/* "0:12,1:7@3" */
static void split(const char *text, links ret)
{
    memset(ret, 0, sizeof(links));
    while (*text) {
        char *end;
        unsigned long slot = strtoul(text, &end, 10);
        size_t n = strcspn(end, ",");
        if (*end == ':' && slot < SLOTS && n - 1 <= LINK_LEN) {
            memcpy(ret[slot], end + 1, n - 1);
            ret[slot][n - 1] = 0;
        }
        text = end + n + (end[n] == ',');
    }
}

static void join(links from, char *ret)
{
    size_t n = 0;
    ret[0] = 0;
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (*from[slot] && n < IMPORT_FIELD_LEN)
            n += (size_t)snprintf(ret + n, IMPORT_FIELD_LEN + 1 - n, "%s%u:%s", n ? "," : "", slot, from[slot]);
}

struct slots {
    links src, was, given, now, want, keep_here, keep_source;
    bool is_taken, is_kept;
};

/* A disk that was added here where the source has none says nothing against the source. */
static void merge_slot(struct slots *s, unsigned slot)
{
    const char *src = s->src[slot], *now = s->now[slot];
    bool is_new = strcmp(src, s->was[slot]) != 0, is_edited = strcmp(now, s->given[slot]) != 0;
    if (!is_edited && is_new) {
        s->is_taken = s->is_taken || strcmp(src, now) != 0;
        strcpy(s->want[slot], src);
        strcpy(s->given[slot], src);
        return;
    }
    strcpy(s->want[slot], now);
    if (!is_edited || strcmp(now, src) == 0) {
        strcpy(s->given[slot], now);
    } else if (*src || is_new) {
        s->is_kept = true;
        strcpy(s->keep_here[slot], now);
        strcpy(s->keep_source[slot], src);
    }
}

static void merge_links(struct merge *m)
{
    const struct import_known *k = m->known;
    struct slots s = {0};
    if (strcmp(k->now.f[IMPORT_LINKS], k->given.f[IMPORT_LINKS]) == 0 &&
        strcmp(m->row->src.f[IMPORT_LINKS], k->src.f[IMPORT_LINKS]) == 0) { /* most of them */
        stay(m, IMPORT_LINKS);
        return;
    }
    char here[IMPORT_FIELD_LEN + 1], source[IMPORT_FIELD_LEN + 1];
    split(m->row->src.f[IMPORT_LINKS], s.src);
    split(k->src.f[IMPORT_LINKS], s.was);
    split(k->given.f[IMPORT_LINKS], s.given);
    split(k->now.f[IMPORT_LINKS], s.now);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        merge_slot(&s, slot);
    join(s.want, m->row->want.f[IMPORT_LINKS]);
    join(s.given, m->row->given.f[IMPORT_LINKS]);
    join(s.keep_here, here);
    join(s.keep_source, source);
    if (s.is_taken)
        tell(m, IMPORT_LINKS, "old", k->now.f[IMPORT_LINKS], "new", m->row->want.f[IMPORT_LINKS]);
    if (s.is_kept)
        tell(m, IMPORT_LINKS, "here", here, "source", source);
    m->has_changed = m->has_changed || s.is_taken;
    m->has_kept = m->has_kept || s.is_kept;
    m->keeps_links = s.is_kept && !s.is_taken;
}

/* --- one client --------------------------------------------------------------------------------------------------- */

/* Imported before. */
static void merge_again(struct merge *m, int f)
{
    const struct import_known *k = m->known;
    bool is_back = k->is_gone && (f == IMPORT_NAME || f == IMPORT_IP); /* it may have made way for another PC */
    bool is_new = strcmp(m->row->src.f[f], k->src.f[f]) != 0 || (is_back && strcmp(k->now.f[f], m->row->src.f[f]) != 0);
    bool is_edited = strcmp(k->now.f[f], k->given.f[f]) != 0;
    if (!is_edited && is_new)
        take(m, f);
    else if (!is_edited || strcmp(k->now.f[f], m->row->src.f[f]) == 0)
        stay(m, f);
    else
        keep(m, f, k->given.f[f]);
}

/* Met for the first time. The paths of the images are not the client's own: they are remembered. */
static void merge_first(struct merge *m, int f)
{
    const char *now = m->known->now.f[f], *src = m->row->src.f[f];
    if (f == IMPORT_IMAGES) {
        strcpy(m->row->want.f[f], src);
        strcpy(m->row->given.f[f], src);
    } else if (!*src || strcmp(now, src) == 0)
        stay(m, f);
    else if (!*now)
        take(m, f);
    else
        keep(m, f, src);
}

static void settle(struct merge *m, enum import_fate fate, const char *reason)
{
    m->row->fate = fate;
    if (!*reason)
        return;
    size_t n = strlen(m->row->reason);
    (void)snprintf(m->row->reason + n, sizeof(m->row->reason) - n, "%s%s", n ? "; " : "", reason);
}

/* The last six digits of the MAC stand for a name. */
void plan_name_new(struct import_row *row)
{
    char *name = row->want.f[IMPORT_NAME], *to;
    strcpy(name, row->src.f[IMPORT_NAME]);
    if (*name)
        return;
    size_t len = strlen(row->mac);
    to = stpcpy(name, "pc-");
    for (const char *p = row->mac + (len > 8 ? len - 8 : 0); *p; p++)
        if (*p != ':')
            *to++ = *p;
    *to = 0;
}

static void merge_new(struct merge *m)
{
    struct import_row *row = m->row;
    import_values_copy(&row->want, &row->src);
    plan_name_new(row);
    import_values_copy(&row->given, &row->want);
    settle(m, IMPORT_NEW, "");
}

static void merge_old(struct merge *m, const bool *is_seen)
{
    for (int f = 0; f < IMPORT_FIELDS; f++) {
        bool says_nothing = !is_seen[f] || (f == IMPORT_NAME && !*m->row->src.f[f]);
        if (m->known->is_tracked && says_nothing)
            strcpy(m->row->src.f[f], m->known->src.f[f]);
        if (m->known->is_tracked && f == IMPORT_LINKS)
            merge_links(m);
        else if (m->known->is_tracked)
            merge_again(m, f);
        else
            merge_first(m, f);
    }
    settle(m, m->has_changed ? IMPORT_CHANGED : m->has_kept ? IMPORT_KEPT : IMPORT_UNCHANGED, "");
}

/* The client was taken away here: it is not made again. */
static void merge_removed(struct merge *m)
{
    m->row->want = m->row->given = m->known->given;
    m->row->src = m->known->src;
    settle(m, IMPORT_KEPT,
           m->known->has_other_mac ? "this client got another MAC here since" : "this client was removed here since");
}

void plan_merge(struct import_row *row, const struct import_known *known, const bool *is_seen, json_t **ret_detail)
{
    struct merge m = {.row = row, .known = known};
    row->client_id = known->client_id;
    if (known->client_id)
        merge_old(&m, is_seen);
    else if (known->is_tracked)
        merge_removed(&m);
    else
        merge_new(&m);
    *ret_detail = m.detail;
}
