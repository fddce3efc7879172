/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs that import: `ccboot`, `csv`, `leases`. They differ in the reader of the file and in what of its options they have. */
#include "migrate/cmd.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/progress.h"
#include "core/ctl.h"
#include "core/root.h"
#include "core/util.h"
#include "migrate/apply.h"
#include "migrate/image-sizes.h"
#include "migrate/plan.h"
#include "migrate/text.h"

#define SEARCH_MAX 32

int migrate_open(struct cmd *cmd, struct catalog **ret, struct err *err)
{
    char db[PATH_MAX];
    int r = root_find_catalog(cmd->root, db, err);
    if (r < 0)
        return r;
    if (geteuid() != 0 && (access(db, R_OK | W_OK) < 0 || access(cmd->root, W_OK) < 0))
        return err_set(err, -EACCES, "'migrate %s' on '%s' must be run as root (try sudo)", cmd->verb->name, cmd->root);
    r = geteuid() == 0 ? root_check_trusted(cmd->root, err) : 0;
    return r < 0 ? r : catalog_open(cmd->root, CATALOG_WRITE, ret, err);
}

/* --- what one import holds ---------------------------------------------------------------------------------------- */

struct run {
    struct cmd *cmd;
    enum source_kind kind;
    const char *origin, *file;
    struct source *source;
    struct mapping *mapping;
    struct catalog *catalog;
    struct import *import;
    struct plan plan;
    struct image_search how;
    struct progress progress;
    const char *dirs[SEARCH_MAX + 1];
    char beside[PATH_MAX], charset[32];
};

static void run_finish(struct run *r)
{
    plan_finish(&r->plan);
    path_rules_finish(&r->how.rules);
    import_close(r->import);
    catalog_close(r->catalog);
    mapping_destroy(r->mapping);
    source_close(r->source);
}

/* --- source and mapping ------------------------------------------------------------------------------------------- */

/* What the command line says of the character set, else the mapping file, which is read once more with the tables known. */
static int find_charset(struct run *r, struct source_options *o, struct err *err)
{
    const char *path = cmd_option(r->cmd, "mapping");
    o->charset = cmd_option(r->cmd, "charset");
    if (o->charset || !path)
        return 0;
    int e = mapping_charset(path, r->charset, err);
    if (e == 0 && *r->charset)
        o->charset = r->charset;
    return e;
}

static int open_source(struct run *r, struct err *err)
{
    struct source_options o = {.dialect = cmd_option(r->cmd, "dialect")};
    const char *separator = cmd_option(r->cmd, "separator");
    if (separator && strcmp(separator, "tab") != 0 && strcmp(separator, "\\t") != 0 && strlen(separator) != 1)
        return err_set(err, -EINVAL,
                       "the separator '%s' must be one character of ASCII, as in --separator ';', or the word tab",
                       text_quote(separator));
    if (separator)
        o.separator = separator[1] ? '\t' : separator[0];
    int e = find_charset(r, &o, err);
    return e < 0 ? e : source_open(r->kind, r->file, &o, &r->source, err);
}

static int save_mapping(struct run *r, struct err *err)
{
    const char *path = cmd_option(r->cmd, "save-mapping");
    if (!path || !r->mapping)
        return 0;
    FILE *f = fopen(path, "we");
    int e = f ? mapping_save(r->mapping, f) : -errno;
    if (f && fclose(f) == EOF && e == 0)
        e = -errno;
    return e < 0 ? err_sys(err, e, "cannot write the mapping to '%s'", text_quote(path)) : 0;
}

/* A question is put to the administrator, with what is needed to answer it. */
static int ask(struct run *r, int e, struct err *err)
{
    struct err why = *err;
    const char *saved = cmd_option(r->cmd, "save-mapping");
    const struct source_table *first = source_table(r->source, 0);
    size_t n = strlen(why.msg);
    if (n && why.msg[n - 1] == '.')
        why.msg[n - 1] = 0;
    if (r->kind == SOURCE_CSV && e == -ENODATA && first && first->column_count == 1 &&
        !mapping_has_table(r->mapping)) /* there is nothing to map */
        return err_set(err, e,
                       "%.800s; its lines were not cut into columns: say with --separator what stands between the "
                       "values",
                       why.msg);
    if (!saved)
        return err_set(err, e,
                       "%.800s; --save-mapping FILE writes down what is known: say there what is what, and give it "
                       "back with --mapping",
                       why.msg);
    if (save_mapping(r, err) < 0)
        return -EIO;
    return err_set(err, e, "%.700s; what is known is in '%s': say there what is what, and give it back with --mapping",
                   why.msg, text_quote(saved));
}

static int open_mapping(struct run *r, struct err *err)
{
    const char *path = cmd_option(r->cmd, "mapping");
    int e = path ? mapping_load(path, r->source, &r->mapping, err) : mapping_detect(r->source, &r->mapping, err);
    if (!path && r->mapping && cmd_option(r->cmd, "charset"))
        mapping_set_charset(r->mapping, cmd_option(r->cmd, "charset"));
    if (e == -ENODATA && !path && r->kind == SOURCE_INI && mapping_is_site_only(r->mapping)) {
        source_note(r->source, false, "no key in it holds a MAC, so no clients are taken from it, only settings");
        e = 0;
    }
    if (e == -EAMBIG || e == -ENODATA)
        return path ? e : ask(r, e, err);
    if (e == 0)
        e = save_mapping(r, err);
    if (e == 0)
        r->plan.policy = *mapping_policy(r->mapping);
    return e;
}

/* --- options ------------------------------------------------------------------------------------------------------ */

/* Of two rules for one folder neither counts more; one of the command line, from number @first on, counts more than the mapping file's. */
static int check_last_rule(const struct path_rules *rules, size_t first, struct err *err)
{
    const struct path_rule *last = &rules->rules[rules->n - 1];
    for (size_t k = first; k + 1 < rules->n; k++)
        if (text_same(rules->rules[k].from, last->from) && strcmp(rules->rules[k].to, last->to) != 0)
            return err_set(err, -EINVAL, "'%s' is mapped twice, to '%s' and to '%s': leave one of the rules out",
                           text_quote(last->from), rules->rules[k].to, last->to);
    return 0;
}

static int add_rules(struct run *r, struct err *err)
{
    size_t n = 0;
    struct path_rule *rule = malloc(sizeof(*rule));
    const struct path_rule *given = mapping_paths(r->mapping, &n);
    const char *text;
    int e = rule ? 0 : -ENOMEM;
    for (size_t i = 0; e == 0 && i < n; i++)
        e = path_rules_add(&r->how.rules, &given[i]);
    for (size_t i = 0; e == 0 && (text = cmd_option_nth(r->cmd, "map-path", i)); i++) {
        e = path_rule_parse(text, rule, err);
        if (e == 0)
            e = path_rules_add(&r->how.rules, rule);
        if (e == 0)
            e = check_last_rule(&r->how.rules, n, err);
    }
    free(rule);
    return e == -ENOMEM ? err_set(err, e, "memory is out") : e;
}

static int read_options(struct run *r, struct err *err)
{
    struct stat st;
    size_t n = 0;
    const char *dir;
    for (; n < SEARCH_MAX && (dir = cmd_option_nth(r->cmd, "search", n)); n++) {
        if (stat(dir, &st) < 0)
            return err_sys(err, -errno, "cannot search the folder '%s'", text_quote(dir));
        if (!S_ISDIR(st.st_mode))
            return err_set(err, -EINVAL, "cannot search '%s': it is no folder", text_quote(dir));
        r->dirs[n] = dir;
    }
    if (cmd_option_nth(r->cmd, "search", n))
        return err_set(err, -E2BIG, "more than %d folders to search: name one above several of them", SEARCH_MAX);
    r->how.root = r->cmd->root;
    r->how.dirs = r->dirs;
    r->how.is_quiet = r->cmd->is_quiet || r->cmd->is_json;
    r->how.with_differences = cmd_has(r->cmd, "ignore-differences");
    r->how.progress = &r->progress;
    progress_init(&r->progress, "making images", r->how.is_quiet);
    int e = progress_to_fd(&r->progress, cmd_option(r->cmd, "progress"), err);
    if (e < 0)
        return e;
    (void)snprintf(r->beside, sizeof(r->beside), "%s", r->source->path); /* a real path */
    char *slash = strrchr(r->beside, '/');
    if (slash && slash > r->beside) {
        *slash = 0;
        r->how.beside = r->beside;
    }
    return add_rules(r, err);
}

/* --- the verb ----------------------------------------------------------------------------------------------------- */

/* What is in the file, for a decision. */
static int read_all(struct run *r, struct err *err)
{
    int e = open_mapping(r, err);
    if (e == 0)
        e = read_options(r, err);
    if (e == 0)
        e = migrate_open(r->cmd, &r->catalog, err);
    if (e == 0)
        e = import_open(r->catalog, r->origin, &r->import, err);
    if (e < 0)
        return e;
    r->plan.source = r->source;
    r->plan.mapping = r->mapping;
    r->plan.catalog = r->catalog;
    r->plan.import = r->import;
    e = plan_stage(&r->plan, err);
    if (e == 0)
        e = apply_online(r->cmd->root, &r->plan.online, err);
    return e < 0 ? e : image_sizes_read(r->source, r->mapping, &r->plan.images, err);
}

static int prepare(struct run *r, struct err *err)
{
    struct err changed = {""};
    int e = open_source(r, err);
    if (e < 0)
        return e;
    e = read_all(r, err);
    int verified = source_verify(r->source, &changed); /* tells why reading failed, too */
    if (verified < 0)
        *err = changed;
    if (e < 0 || verified < 0)
        return verified < 0 ? verified : e;
    return images_resolve(&r->plan.images, r->catalog, &r->how, err);
}

static int run_kind(struct cmd *cmd, enum source_kind kind, const char *origin, struct err *err)
{
    struct run *r = calloc(1, sizeof(*r));
    if (!r)
        return err_set(err, -ENOMEM, "memory is out");
    r->cmd = cmd;
    r->kind = kind;
    r->origin = origin;
    r->file = cmd_arg(cmd, 0);
    int e = prepare(r, err);
    if (e == 0) {
        struct apply a = {
            cmd, &r->plan, &r->how, r->file, r->origin, cmd_has(cmd, "skip-conflicts"), cmd_has(cmd, "accept-doubts")};
        e = apply_run(&a, err);
    }
    run_finish(r);
    free(r);
    return e;
}

/* CCBoot.ini is another origin than the database: neither says anything about what only the other one has. */
static int run_ccboot(struct cmd *cmd, struct err *err)
{
    const char *dot = strrchr(cmd_arg(cmd, 0), '.');
    bool is_ini = dot && strcasecmp(dot, ".ini") == 0;
    return run_kind(cmd, is_ini ? SOURCE_INI : SOURCE_ACCESS, is_ini ? "ini" : "ccboot", err);
}

static int run_csv(struct cmd *cmd, struct err *err)
{
    return run_kind(cmd, SOURCE_CSV, "csv", err);
}

static int run_leases(struct cmd *cmd, struct err *err)
{
    return run_kind(cmd, SOURCE_LEASES, "leases", err);
}

#define MAPPING_OPTIONS                                                                                                \
    {"mapping", 0, "FILE", "which table and column means what, instead of finding it out"},                            \
        {"save-mapping", 0, "FILE", "write that down, to be edited and given back"},                                   \
    {                                                                                                                  \
        "charset", 0, "NAME", "encoding of the text, as in GBK or windows-1251, instead of finding it out"             \
    }
#define IMAGE_OPTIONS                                                                                                  \
    {"map-path", 0, "FROM=TO", "where a folder of the old server lies here, as in 'D:\\Images=/srv/images'",           \
     OPT_MANY},                                                                                                        \
        {"search", 0, "DIR", "look for images by their names in DIR and below", OPT_MANY},                             \
        {"ignore-differences", 0, NULL,                                                                                \
         "take the base of an image although CCBoot's numbered differences lie beside it"},                            \
        PROGRESS_OPTION
#define IMPORT_OPTIONS                                                                                                 \
    {"skip-conflicts", 0, NULL, "leave rows in conflict out and take all others"},                                     \
    {                                                                                                                  \
        "accept-doubts", 0, NULL, "go on although the file could not be read without doubt"                            \
    }

static const struct option_def ccboot_options[] = {MAPPING_OPTIONS, IMAGE_OPTIONS, IMPORT_OPTIONS, {0}};
static const struct option_def csv_options[] = {
    MAPPING_OPTIONS,
    IMAGE_OPTIONS,
    IMPORT_OPTIONS,
    {"separator", 0, "C", "what stands between the columns, or tab, instead of finding it out"},
    {0}};
static const struct option_def leases_options[] = {
    MAPPING_OPTIONS, IMPORT_OPTIONS, {"dialect", 0, "D", "dnsmasq, isc, kea or netsh, instead of finding it out"}, {0}};

#define MORE                                                                                                           \
    "All of it is done, or nothing. With -n only the plan is shown, with -v row by row. Importing again changes "      \
    "nothing, and what was\n"                                                                                          \
    "edited here since is never overridden. Exit status 1 when conflicts, doubts or an open question stop it."

const struct verb cmd_import_verbs[] = {
    {"", "ccboot", "FILE", "Import the client database of a CCBoot server (an Access file), or its CCBoot.ini", MORE,
     ccboot_options, run_ccboot, VERB_DRY_RUN},
    {"", "csv", "FILE", "Import a table of clients as text", MORE, csv_options, run_csv, VERB_DRY_RUN},
    {"", "leases", "FILE", "Import clients from the leases of a DHCP server", MORE, leases_options, run_leases,
     VERB_DRY_RUN},
    {0},
};
