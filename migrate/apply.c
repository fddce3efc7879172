/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a staged plan to the catalog; see apply.h. */
#include "migrate/apply.h"

#include <errno.h>
#include <string.h>

#include "core/ctl.h"
#include "core/root.h"
#include "core/util.h"
#include "migrate/child.h"
#include "migrate/images.h"
#include "migrate/report-file.h"
#include "migrate/report.h"
#include "migrate/staging.h"

/* --- what runs ---------------------------------------------------------------------------------------------------- */

static bool is_up(const char *root)
{
    int pid;
    return root_locked(root, "fs.lock", &pid);
}

int apply_online(const char *root, json_t **ret, struct err *err)
{
    static const char *const args[] = {"target", "list", NULL};
    _cleanup_json_ json_t *answer = NULL;
    json_t *row, *online = json_object();
    size_t i;
    int r = is_up(root) ? child_diskgate(root, args, &answer, err) : 0;
    if (r < 0) {
        json_decref(online);
        return r;
    }
    json_array_foreach(json_object_get(answer, "targets"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "client"));
        if (name && json_array_size(json_object_get(row, "sessions")))
            (void)json_object_set_new(online, name, json_true()); /* without memory the catalog's rules still hold */
    }
    *ret = online;
    return 0;
}

void apply_follow(struct cmd *cmd)
{
    static const char *const args[] = {"target", "sync", NULL};
    _cleanup_json_ json_t *answer = NULL;
    struct err err;
    if (is_up(cmd->root) && child_diskgate(cmd->root, args, &answer, &err) < 0)
        warn_line("the import is stored, but what is running could not follow it: %s; then run 'diskgate target sync'",
                  err.msg);
}

/* --- settings of the site ----------------------------------------------------------------------------------------- */

/* Only what nobody has set here. */
static int set_one(struct catalog *c, json_t *settings, const char *key, const char *value)
{
    char now[SETTING_LEN + 1];
    struct err err;
    if (!*value || setting_get(c, key, now, &err) < 0 || *now || setting_set(c, key, value, &err) < 0)
        return 0; /* what the setting does not accept stays in the report */
    return json_object_set_new(settings, key, json_string(value));
}

static int set_site(struct apply *a, struct report *r)
{
    const struct site_record *s = &a->plan->site;
    struct catalog *c = a->plan->catalog;
    char range[128] = "";
    if (*s->range_first && *s->range_last)
        (void)snprintf(range, sizeof(range), "%s-%s", s->range_first, s->range_last);
    r->settings = json_object();
    import_audit_off(c, true);
    int e = set_one(c, r->settings, "boot.dhcp_router", s->gateway);
    e = e ? e : set_one(c, r->settings, "boot.dhcp_dns", s->dns);
    e = e ? e : set_one(c, r->settings, "boot.dhcp_range", range);
    import_audit_off(c, false);
    return e < 0 ? -ENOMEM : 0;
}

/* --- one pass ----------------------------------------------------------------------------------------------------- */

/* Inside the transaction, up to the decision. @file is NULL for a pass that is rolled back. */
static int decide(struct apply *a, struct report *r, struct report_file *file, struct err *err)
{
    struct plan *p = a->plan;
    *r = (struct report){.plan = p, .file = a->file, .origin = a->origin, .is_dry_run = a->cmd->is_dry_run};
    int e = import_run_begin(p->import, p->source->path, source_info(p->source)->sha256, &r->run_id, err);
    if (e == 0)
        e = images_store(&p->images, p->import, p->catalog, err);
    if (e == 0)
        e = set_site(a, r);
    if (e == 0)
        e = plan_begin(p, err);
    if (e == 0 && file)
        e = report_file_begin(file, r, err);
    if (e == 0)
        e = plan_decide(p, err);
    return e < 0 ? e : report_count(r, err);
}

static size_t count_doubts(const struct plan *p)
{
    size_t n = 0, doubts = 0;
    const struct source_note *notes = source_notes(p->source, &n);
    for (size_t i = 0; i < n; i++)
        doubts += notes[i].is_doubt;
    return doubts;
}

static const struct site_image *without_room(const struct plan *p)
{
    for (size_t i = 0; i < p->images.n; i++)
        if (p->images.list[i]->has_no_room)
            return p->images.list[i];
    return NULL;
}

/* A sentence when the plan must not be applied as it is. */
static bool must_stop(const struct apply *a, const struct report *r, struct err *why)
{
    size_t doubts = count_doubts(a->plan);
    if (doubts && !a->accept_doubts) {
        err_set(why, -EBADMSG,
                "nothing was imported: the file could not be read without doubt (%zu remark%s above); if that is all "
                "right, use --accept-doubts",
                doubts, doubts > 1 ? "s" : "");
        return true;
    }
    const struct site_image *image = without_room(a->plan);
    if (image) {
        err_set(why, -ENOSPC, "nothing was imported: %.900s", image->note);
        return true;
    }
    if (!r->counts[IMPORT_CONFLICT])
        return false;
    if (a->plan->policy.duplicate_mac == DUPLICATE_STOP && a->skip_conflicts)
        err_set(why, -EEXIST,
                "nothing was imported: the mapping says to stop at duplicate MACs, and there are conflicts");
    else if (!a->skip_conflicts)
        err_set(why, -EEXIST,
                "nothing was imported: %llu row%s in conflict; correct %s in the source, or take all others with "
                "--skip-conflicts",
                (unsigned long long)r->counts[IMPORT_CONFLICT], r->counts[IMPORT_CONFLICT] == 1 ? " is" : "s are",
                r->counts[IMPORT_CONFLICT] == 1 ? "it" : "them");
    else
        return false;
    return true;
}

/* --- output ------------------------------------------------------------------------------------------------------- */

static int copy_out(FILE *from, struct err *err)
{
    char buf[65536];
    size_t n;
    rewind(from);
    while ((n = fread(buf, 1, sizeof(buf), from)) > 0)
        if (fwrite(buf, 1, n, stdout) != n)
            return err_sys(err, -errno, "cannot write the result");
    return 0;
}

/* The report into memory or a file, to be shown when all is known. */
static int prepare_output(struct apply *a, const struct report *r, FILE **ret, struct err *err)
{
    *ret = NULL;
    if (!a->cmd->is_json)
        return a->cmd->is_quiet && !a->cmd->is_dry_run ? 0 : report_print(r, a->cmd, err);
    FILE *f = tmpfile();
    int e = f ? report_write(r, fileno(f), err) : err_sys(err, -errno, "cannot make a temporary file");
    if (e == 0)
        *ret = f;
    else if (f)
        (void)fclose(f); /* temporary */
    return e;
}

static int show(struct apply *a, FILE *json, struct err *err)
{
    if (!json)
        return 0;
    a->cmd->out.is_json = false; /* it is printed here */
    int e = copy_out(json, err);
    (void)fclose(json); /* temporary */
    return e;
}

/* --- apply -------------------------------------------------------------------------------------------------------- */

static int end_report(const struct apply *a, struct report_file *file, struct err *err)
{
    int e = report_file_end(file, err);
    return e == -ENOSPC || e == -EDQUOT
               ? err_prefix(err, e, "nothing was imported; make some room below '%s/imports'", a->cmd->root)
               : e;
}

static int finish(struct apply *a, const struct report *r, struct report_file *file, struct err *err)
{
    json_t *summary = report_summary(r);
    int e = summary ? report_file_decided(file, err) : err_set(err, -ENOMEM, "memory is out");
    if (e == 0)
        e = import_apply(a->plan->import, err);
    if (e == 0)
        e = end_report(a, file, err);
    if (e == 0)
        e = import_run_end(a->plan->import, summary, err);
    json_decref(summary);
    return e < 0 ? e : catalog_commit(a->plan->catalog, err);
}

static void say_done(struct apply *a, const struct report *r)
{
    if (a->cmd->is_json || a->cmd->is_quiet)
        return;
    out_line(
        &a->cmd->out,
        "\nThis was import %lld: all of it is in '%s/imports/%lld.json'; 'diskgate migrate undo %lld' takes it back.",
        (long long)r->run_id, a->cmd->root, (long long)r->run_id, (long long)r->run_id);
}

/* The transaction itself. @st is NULL for a pass that is rolled back. Returns an exit status or a negative errno. */
static int pass(struct apply *a, struct report *r, struct staging *st, bool is_shown, struct err *err)
{
    struct err why = {0};
    struct report_file file;
    FILE *json = NULL;
    int e = import_begin(a->plan->import, st != NULL, err);
    if (e < 0)
        return e;
    report_file_init(&file, a->cmd->root, st);
    e = decide(a, r, st ? &file : NULL, err);
    bool stops = e == 0 && must_stop(a, r, &why);
    if (e == 0 && (is_shown || stops))
        e = prepare_output(a, r, &json, err);
    if (e == 0 && !stops && st)
        e = finish(a, r, &file, err);
    report_file_finish(&file);
    if (e < 0 || stops || !st)
        catalog_rollback(a->plan->catalog);
    else
        staging_keep(st);
    if (e == 0 && !stops && st)
        say_done(a, r);
    if (e == 0)
        e = show(a, json, err);
    else if (json)
        (void)fclose(json); /* temporary */
    if (e == 0 && stops && !a->cmd->is_json && (e = out_flush(&a->cmd->out, stdout)) < 0)
        return err_sys(err, e, "cannot write the result");
    if (e < 0)
        return e;
    if (stops)
        warn_line("%s", why.msg); /* below the page, which may be long */
    return stops ? EXIT_FAILED : EXIT_DONE;
}

static bool needs_files(const struct plan *p)
{
    for (size_t i = 0; i < p->images.n; i++)
        if (p->images.list[i]->outcome == SITE_ADD && p->images.list[i]->needs_file)
            return true;
    return false;
}

static int pass_once(struct apply *a, struct staging *st, bool is_shown, struct err *err)
{
    struct report r = {0};
    int e = pass(a, &r, st, is_shown, err);
    report_end(&r);
    json_decref(r.settings);
    return e;
}

int apply_run(struct apply *a, struct err *err)
{
    struct staging st;
    if (a->cmd->is_dry_run)
        return pass_once(a, NULL, true, err);
    if (needs_files(a->plan)) {
        int e = pass_once(a, NULL, false, err);
        if (e != EXIT_DONE)
            return e;
    }
    int e = staging_open(&st, a->cmd->root, err);
    if (e == 0)
        e = images_make(&a->plan->images, a->how, &st, err);
    if (e == 0)
        e = pass_once(a, &st, true, err);
    staging_close(&st);
    if (e == EXIT_DONE)
        apply_follow(a->cmd);
    return e;
}
