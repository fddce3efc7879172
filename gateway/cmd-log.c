/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `log`: who changed what, from the audit rows of the catalog; with --boots which PC booted and what became of it.
 *
 * The text tells each change in short: the keys whose value differs, before -> after. A row whose JSON was cut by the catalog is
 * shown as it is. --json gives before and after in full.
 */
#include "gateway/cmd.h"

#include <errno.h>
#include <string.h>

#include "core/catalog-boot.h"
#include "core/catalog.h"
#include "core/json.h"
#include "core/util.h"
#include "gateway/change.h"

static json_t *parse_state(const char *text)
{
    if (!*text)
        return json_null();
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    return v ? v : out_string(text);
}

/* Short text of a value; a fresh string. */
static char *value_text(json_t *v)
{
    if (!v || json_is_null(v))
        return strdup("");
    return json_is_string(v) ? strdup(json_string_value(v)) : json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
}

/* Keys that tell an administrator nothing: ids always, fingerprints of files where there is nothing to compare them with. */
static bool is_noise(const char *key, bool is_alone)
{
    const char *const prints[] = {"mtime_ns", "identity", "file_bytes", "full_hash", "overlay_id"};
    size_t len = strlen(key);
    for (size_t i = 0; is_alone && i < ARRAY_SIZE(prints); i++)
        if (strcmp(key, prints[i]) == 0)
            return true;
    return strcmp(key, "id") == 0 || (len > 3 && strcmp(key + len - 3, "_id") == 0) || strcmp(key, "created_at") == 0;
}

/* "key: before -> after" for one key, nothing when both are the same. */
static void print_difference(FILE *f, const char *key, json_t *before, json_t *after)
{
    _cleanup_free_ char *b = value_text(before), *a = value_text(after);
    if (!a || !b || strcmp(a, b) == 0 || is_noise(key, !*a || !*b))
        return;
    const char *gap = ftell(f) > 0 ? ", " : "";
    if (!*b)
        (void)fprintf(f, "%s%s: %s", gap, key, a); /* memory only, here and below */
    else
        (void)fprintf(f, "%s%s: %s -> %s", gap, key, b, *a ? a : "nothing");
}

/* What changed, in short; a fresh string. */
static char *difference(json_t *before, json_t *after)
{
    char *text = NULL;
    size_t len = 0;
    const char *key;
    json_t *v;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return NULL;
    if (json_is_object(after) || json_is_object(before)) {
        json_object_foreach(before, key, v) print_difference(f, key, json_is_object(after) ? v : NULL,
                                                             json_is_object(after) ? json_object_get(after, key) : v);
        json_object_foreach(after, key, v) if (!json_object_get(before, key)) print_difference(f, key, NULL, v);
    } else {
        print_difference(f, "value", before, after);
    }
    (void)fclose(f);
    return text;
}

static const struct column log_columns[] = {{"id", NULL, COL_NUMBER},          {"time", NULL, COL_TEXT},
                                            {"shown_time", "TIME", COL_SHOWN}, {"who", "WHO", COL_TEXT},
                                            {"verb", "VERB", COL_TEXT},        {"object", "OBJECT", COL_TEXT},
                                            {"change", "CHANGE", COL_SHOWN},   {"before", NULL, COL_JSON},
                                            {"after", NULL, COL_JSON},         {0}};

/* "2026-01-31T12:00:00Z" as people read it: "2026-01-31 12:00:00". */
static json_t *shown_time(const char *at)
{
    char buf[TIME_LEN + 1];
    (void)snprintf(buf, sizeof(buf), "%.19s", at);
    char *t = strchr(buf, 'T');
    if (t)
        *t = ' ';
    return out_string(buf);
}

static json_t *log_row(const struct audit_row *a)
{
    json_t *before = parse_state(a->before), *after = parse_state(a->after);
    _cleanup_free_ char *change = difference(before, after);
    return json_pack("{s:I, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "id", (json_int_t)a->id, "time", a->at,
                     "shown_time", shown_time(a->at), "who", out_string(a->who), "verb", a->verb, "object",
                     out_string(a->object), "change", out_string(change), "before", before, "after", after);
}

/* --- boots ------------------------------------------------------------------------------------------------------- */

static const struct column boot_columns[] = {{"id", NULL, COL_NUMBER},
                                             {"time", NULL, COL_TEXT},
                                             {"shown_time", "TIME", COL_SHOWN},
                                             {"client", "CLIENT", COL_TEXT},
                                             {"mac", NULL, COL_TEXT},
                                             {"address", "ADDRESS", COL_TEXT},
                                             {"image", NULL, COL_TEXT},
                                             {"version", NULL, COL_NUMBER},
                                             {"shown_image", "IMAGE", COL_SHOWN},
                                             {"login_s", "LOGIN s", COL_NUMBER},
                                             {"first_read_s", "READ s", COL_NUMBER},
                                             {"last_read_s", NULL, COL_NUMBER},
                                             {"end_s", NULL, COL_NUMBER},
                                             {"read_bytes", "READ", COL_SIZE},
                                             {"written_bytes", "WRITTEN", COL_SIZE},
                                             {"ended_at", "ENDED", COL_TEXT},
                                             {"refused", "REFUSED", COL_TEXT},
                                             {0}};

/* Seconds from the script to @unix_s; null where that was not reached. */
static json_t *phase(const struct boot_row *b, int64_t unix_s)
{
    return unix_s == 0 ? json_null() : json_integer((json_int_t)(unix_s - b->script_s));
}

static json_t *boot_json(const struct boot_row *b)
{
    char at[TIME_LEN + 1], ended[TIME_LEN + 1];
    time_text(at, sizeof(at), b->script_s);
    time_text(ended, sizeof(ended), b->end_s);
    bool has_image = *b->image != 0, has_ended = b->end_s != 0;
    return json_pack("{s:I, s:s, s:o, s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:o}", "id",
                     (json_int_t)b->id, "time", at, "shown_time", shown_time(at), "client", b->client, "mac", b->mac,
                     "address", b->address, "image", b->image, "version", (json_int_t)b->version, "shown_image",
                     has_image     ? json_sprintf("%s@%u", b->image, b->version)
                     : *b->refused ? json_null()
                                   : json_string("menu"),
                     "login_s", phase(b, b->login_s), "first_read_s", phase(b, b->first_read_s), "last_read_s",
                     phase(b, b->last_read_s), "end_s", phase(b, b->end_s), "read_bytes", (json_int_t)b->read_bytes,
                     "written_bytes", (json_int_t)b->written_bytes, "ended_at",
                     has_ended ? json_string(ended) : json_null(), "refused", out_string(b->refused));
}

static int print_boots(struct cmd *cmd, struct catalog *c, size_t limit, struct err *err)
{
    _cleanup_free_ struct boot_row *rows = NULL;
    _cleanup_json_ json_t *list = json_array();
    size_t n = 0;
    int r = boot_list(c, NULL, limit, &rows, &n, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(list, boot_json(&rows[i]));
    out_table(&cmd->out, "boots", boot_columns, list, "no PC has booted yet");
    return EXIT_DONE;
}

static int run_log(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_free_ struct audit_row *rows = NULL;
    _cleanup_json_ json_t *list = json_array();
    const char *text = cmd_option(cmd, "lines");
    size_t n = 0;
    char *end = NULL;
    unsigned long limit = text ? strtoul(text, &end, 10) : 0;
    if (text && (*text < '0' || *text > '9' || *end || limit == 0))
        return err_set(err, -EINVAL, "-n takes a number of rows to show, 1 or more, not '%s'", text);
    int r = read_open(cmd, &c, err);
    if (r == 0 && cmd_has(cmd, "boots"))
        return print_boots(cmd, c, limit, err);
    if (r == 0)
        r = audit_list(c, limit, &rows, &n, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(list, log_row(&rows[i]));
    out_table(&cmd->out, "log", log_columns, list, "nothing was changed yet");
    return EXIT_DONE;
}

static const struct option_def log_options[] = {
    {"lines", 'n', "N", "the newest N rows only"},
    {"boots", 0, NULL, "which PC booted when, how far it came, and who was refused"},
    {0}};

const struct verb cmd_log_verbs[] = {
    {"", "log", "", "Show who changed what, the newest last (times in UTC)", NULL, log_options, run_log},
    {0},
};
