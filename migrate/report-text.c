/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report of an import on one page; see report.h. Long lists are cut, and rows of which nothing is to be said are only counted: -v and the
 * JSON have all of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/ctl.h"
#include "core/util.h"
#include "migrate/report.h"
#include "migrate/text.h"

#define LINES_MAX    12
#define IMAGES_SHOWN 40

struct lines {
    struct cmd *cmd;
    size_t n;
    const char *title;
    bool only_with_reason;
    const struct plan *plan;
};

/* How many lines of a list are shown. */
static size_t shown_of(const struct cmd *cmd, size_t max)
{
    return cmd->is_verbose ? SIZE_MAX : max;
}

/* Images of a client, which the plan has as "b3,d7": boot images and data disks by the number of their paths. */
static void images_text(const struct site_images *s, const char *list, char *ret, size_t size)
{
    char shown[200];
    size_t n = 0;
    ret[0] = 0;
    for (const char *p = list; *p && n + 1 < size; p += strcspn(p, ","), p += *p == ',') {
        int64_t id = strtoll(p + 1, NULL, 10);
        for (size_t i = 0; i < s->n; i++)
            if (s->list[i]->source_id == id && n + 1 < size) {
                const char *name = *s->list[i]->name ? s->list[i]->name : s->list[i]->raw;
                n += (size_t)snprintf(ret + n, size - n, "%s'%s'", n ? ", " : "",
                                      text_shown(name, shown, sizeof(shown)));
                break;
            }
    }
    if (!*ret)
        (void)snprintf(ret, size, "none");
}

/* Images of links, which the plan has as "0:12,1:7@3": slot, id, version. */
static void links_text(struct catalog *c, const char *links, char *ret, size_t size)
{
    char name[NAME_LEN + 1];
    size_t n = 0;
    ret[0] = 0;
    for (const char *p = links; *p && n + 1 < size; p += strcspn(p, ","), p += *p == ',') {
        const char *colon = strchr(p, ':');
        if (colon && import_image_name(c, strtoll(colon + 1, NULL, 10), name, sizeof(name), NULL) == 0 && *name)
            n += (size_t)snprintf(ret + n, size - n, "%s'%s'", n ? ", " : "", name);
    }
    if (!*ret)
        (void)snprintf(ret, size, "none");
}

/* "field: old -> new, ..." of a row. */
static void fields_text(const struct plan *p, const char *detail, char *ret, size_t size)
{
    size_t i, n = 0;
    json_t *o;
    char a[300], b[300], names[300];
    bool keeps_links = false, changes_links = false;
    _cleanup_json_ json_t *list = detail && *detail ? json_loads(detail, 0, NULL) : NULL;
    ret[0] = 0;
    json_array_foreach(list, i, o)
    {
        const char *field = json_string_value(json_object_get(o, "field"));
        const char *old = json_string_value(json_object_get(o, "old")),
                   *new = json_string_value(json_object_get(o, "new"));
        const char *here = json_string_value(json_object_get(o, "here"));
        const char *source = json_string_value(json_object_get(o, "source"));
        changes_links = changes_links || (field && strcmp(field, "links") == 0 && !here);
        if (!field || (strcmp(field, "links") == 0 && !here) || n + 16 > size)
            continue; /* what becomes of links follows from the images */
        if (strcmp(field, "links") == 0) {
            links_text(p->catalog, here, a, sizeof(a));
            links_text(p->catalog, source ? source : "", b, sizeof(b));
            n += (size_t)snprintf(ret + n, size - n, "%sits disks stay as they are here: %s (source: %s)",
                                  n ? ", " : "", a, b);
            keeps_links = true;
        } else if (strcmp(field, "images") == 0) {
            if (keeps_links && !changes_links) /* they were told as links */
                continue;
            images_text(&p->images, new ? new : "", names, sizeof(names));
            n += (size_t)snprintf(ret + n, size - n, "%simages are now %s", n ? ", " : "", names);
        } else if (here)
            n += (size_t)snprintf(ret + n, size - n, "%s%s stays '%s' (source: '%s')", n ? ", " : "", field,
                                  text_shown(here, a, 80), text_shown(source ? source : "", b, 80));
        else
            n += (size_t)snprintf(ret + n, size - n, "%s%s: '%s' -> '%s'", n ? ", " : "", field,
                                  text_shown(old ? old : "", a, 80), text_shown(new ? new : "", b, 80));
        n = MIN(n, size - 1);
    }
    text_mend(ret);
}

static int print_row(void *arg, struct import_row *row, struct err *err)
{
    struct lines *l = arg;
    char fields[512], name[160], raw[160], reason[600], doubt[600];
    (void)err;
    bool is_missing =
        strncmp(row->reason, "not linked to ", 14) == 0; /* what is missing was said once, with the images */
    bool has_doubt = row->doubt && *row->doubt;
    if (l->only_with_reason && !has_doubt && (!*row->reason || is_missing))
        return 0;
    if (l->n++ == 0)
        out_line(&l->cmd->out, "\n%s", l->title);
    if (l->n > shown_of(l->cmd, LINES_MAX))
        return 0;
    const char *called = *row->want.f[IMPORT_NAME] ? row->want.f[IMPORT_NAME] : *row->raw_name ? row->raw_name : "-";
    fields_text(l->plan, row->detail, fields, sizeof(fields));
    const char *parts[] = {text_shown(row->reason, reason, sizeof(reason)), fields,
                           text_shown(has_doubt ? row->doubt : "", doubt, sizeof(doubt))};
    char all[2000] = "";
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (*parts[i])
            n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", n ? "; " : ": ", parts[i]);
    bool is_other = *row->raw_name && strcmp(row->raw_name, called) != 0; /* than in the source */
    out_line(&l->cmd->out, "  row %llu, %s%s%s%s%s%s%s", (unsigned long long)row->row + 1,
             text_shown(called, name, sizeof(name)), is_other ? " ('" : "",
             is_other ? text_shown(row->raw_name, raw, sizeof(raw)) : "", is_other ? "')" : "", *row->mac ? ", " : "",
             row->mac, all);
    return 0;
}

static int print_rows(const struct report *r, struct cmd *cmd, enum import_fate fate, bool only_with_reason,
                      const char *title, struct err *err)
{
    struct lines l = {cmd, 0, title, only_with_reason && !cmd->is_verbose, r->plan};
    if (r->counts[fate] == 0)
        return 0;
    int e = l.only_with_reason && r->plan->row_doubts == 0 /* the same rows, found faster */
                ? import_each_remark(r->plan->import, fate, "not linked to ", print_row, &l, err)
                : import_each(r->plan->import, fate, print_row, &l, err);
    if (e == 0 && l.n > shown_of(cmd, LINES_MAX))
        out_line(&cmd->out, "  and %zu more", l.n - LINES_MAX);
    return e;
}

static void print_head(const struct report *r, struct cmd *cmd)
{
    const struct source_info *i = source_info(r->plan->source);
    char file[300];
    out_line(&cmd->out, "%s of '%s' (%s%s%s)", r->is_dry_run ? "Plan of an import" : "Import",
             text_shown(r->file, file, sizeof(file)), i->format, *i->charset ? ", " : "", i->charset);
    out_line(&cmd->out,
             "%llu rows: %llu %s, %llu changed, %llu unchanged, %llu kept as edited here, %llu in conflict, %llu "
             "skipped; %zu gone",
             (unsigned long long)r->rows, (unsigned long long)r->counts[IMPORT_NEW], "new",
             (unsigned long long)r->counts[IMPORT_CHANGED], (unsigned long long)r->counts[IMPORT_UNCHANGED],
             (unsigned long long)r->counts[IMPORT_KEPT], (unsigned long long)r->counts[IMPORT_CONFLICT],
             (unsigned long long)r->counts[IMPORT_SKIPPED], r->n_gone);
}

static void print_mapping(const struct report *r, struct cmd *cmd)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return;
    mapping_print(r->plan->mapping, f);
    (void)fclose(f); /* memory only */
    out_line(&cmd->out, "\nWhat was taken for what (change it: --save-mapping FILE, edit, --mapping FILE)");
    char *rest = text;
    for (char *line; rest && (line = strsep(&rest, "\n"));)
        if (*line)
            out_line(&cmd->out, "  %s", line);
    free(text);
}

static void print_images(const struct report *r, struct cmd *cmd)
{
    const struct site_images *s = &r->plan->images;
    char raw[300], file[300], note[800];
    if (s->n)
        out_line(&cmd->out, "\nImages");
    for (size_t k = 0; k < MIN(s->n, shown_of(cmd, IMAGES_SHOWN)); k++) {
        const struct site_image *i = s->list[k];
        bool is_here = i->outcome == SITE_KNOWN || i->outcome == SITE_ADD;
        out_line(&cmd->out, "  %s: %s%s%s%s%s (%llu client%s%s)", text_shown(i->raw, raw, sizeof(raw)),
                 is_here ? "image " : site_outcome_name(i->outcome), is_here ? i->name : "",
                 is_here && *i->file ? ", " : "", is_here ? text_shown(i->file, file, sizeof(file)) : "",
                 is_here && *i->how ? (i->needs_file ? ", to be made in the root" : "") : "",
                 (unsigned long long)(i->boots + i->datas), i->boots + i->datas == 1 ? "" : "s",
                 i->is_data ? ", data disk" : "");
        if (*i->note)
            out_line(&cmd->out, "      %s", text_shown(i->note, note, sizeof(note)));
    }
    if (s->n > shown_of(cmd, IMAGES_SHOWN))
        out_line(&cmd->out, "  and %zu more", s->n - IMAGES_SHOWN);
    if (r->plan->unlinked)
        out_line(&cmd->out, "  %llu client%s without one of their images, and imported all the same",
                 (unsigned long long)r->plan->unlinked, r->plan->unlinked == 1 ? " is" : "s are");
}

static void print_gone(const struct report *r, struct cmd *cmd)
{
    if (r->n_gone)
        out_line(&cmd->out, "\nGone from the source (they stay here; remove them with 'diskgate client remove')");
    for (size_t i = 0; i < MIN(r->n_gone, shown_of(cmd, LINES_MAX)); i++) {
        const struct import_gone *g = &r->gone[i];
        out_line(&cmd->out, "  %s, %s%s%s%s", g->name, g->mac,
                 *g->new_name ? ": another PC has its name now, called " : "", g->new_name,
                 g->loses_ip ? ", and its address" : "");
    }
    if (r->n_gone > shown_of(cmd, LINES_MAX))
        out_line(&cmd->out, "  and %zu more", r->n_gone - LINES_MAX);
}

static void print_site(const struct report *r, struct cmd *cmd)
{
    const char *key;
    json_t *value;
    bool has_title = false;
    json_object_foreach(r->settings, key, value)
    {
        if (!has_title)
            out_line(&cmd->out, "\nSettings of the whole site");
        has_title = true;
        out_line(&cmd->out, "  %s = %s", key, json_string_value(value));
    }
}

static void print_notes(const struct report *r, struct cmd *cmd)
{
    size_t n = 0;
    char text[600];
    const struct source_note *notes = source_notes(r->plan->source, &n);
    if (n)
        out_line(&cmd->out, "\nWhat the reader of the file says");
    for (size_t i = 0; i < MIN(n, shown_of(cmd, LINES_MAX)); i++)
        out_line(&cmd->out, "  %s%s", notes[i].is_doubt ? "doubtful: " : "",
                 text_shown(notes[i].text, text, sizeof(text)));
    if (n > shown_of(cmd, LINES_MAX))
        out_line(&cmd->out, "  and %zu more", n - LINES_MAX);
}

/* What the whole site has and Diskgate has no setting for, with its values: there are few. */
static void print_site_rest(const struct report *r, struct cmd *cmd)
{
    const char *key;
    json_t *value;
    size_t n = 0;
    char a[200], b[200];
    _cleanup_json_ json_t *rest = *r->plan->site.rest ? json_loads(r->plan->site.rest, 0, NULL) : NULL;
    json_object_foreach(rest, key, value)
    {
        const char *text = json_string_value(value);
        if (n++ == 0)
            out_line(&cmd->out, "\nOf the whole site, without a place in Diskgate, kept in the report");
        if (n <= shown_of(cmd, LINES_MAX))
            out_line(&cmd->out, "  %s = %s", text_shown(key, a, sizeof(a)), text_shown(text ? text : "", b, sizeof(b)));
    }
    if (n > shown_of(cmd, LINES_MAX))
        out_line(&cmd->out, "  and %zu more", n - LINES_MAX);
}

static void print_rest(const struct report *r, struct cmd *cmd)
{
    char text[640], shown[128];
    const char *key;
    json_t *value;
    size_t n = 0, said = 0, all = json_object_size(r->plan->rest);
    text[0] = 0;
    json_object_foreach(r->plan->rest, key, value)
    {
        if (n + 180 >= sizeof(text))
            break;
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n ? ", " : "", text_shown(key, shown, sizeof(shown)));
        said++;
    }
    if (n && said < all)
        (void)snprintf(text + n, sizeof(text) - n, " and %zu more", all - said);
    if (n)
        out_line(&cmd->out, "\nWithout a place in Diskgate, kept in the report: %s", text);
}

int report_print(const struct report *r, struct cmd *cmd, struct err *err)
{
    print_head(r, cmd);
    print_mapping(r, cmd);
    print_images(r, cmd);
    int e = print_rows(r, cmd, IMPORT_CONFLICT, false, "Conflicts", err);
    if (e == 0)
        e = print_rows(r, cmd, IMPORT_SKIPPED, false, "Skipped", err);
    if (e == 0)
        e = print_rows(r, cmd, IMPORT_CHANGED, false, "Changed", err);
    if (e == 0)
        e = print_rows(r, cmd, IMPORT_KEPT, false, "Edited here since, and left as it is", err);
    if (e == 0)
        e = print_rows(r, cmd, IMPORT_NEW, true, cmd->is_verbose ? "New" : "New, with a remark", err);
    if (e == 0 && cmd->is_verbose)
        e = print_rows(r, cmd, IMPORT_UNCHANGED, false, "Unchanged", err);
    if (e < 0)
        return e;
    print_gone(r, cmd);
    print_site(r, cmd);
    print_notes(r, cmd);
    print_site_rest(r, cmd);
    print_rest(r, cmd);
    if (r->is_dry_run)
        out_line(&cmd->out, "\nNothing was changed. %sEach row with its values: --json.",
                 cmd->is_verbose ? "" : "Each row with what becomes of it: -v. ");
    return 0;
}
