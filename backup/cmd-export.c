/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate backup export: a disk for other programs. */
#include <errno.h>
#include <string.h>

#include "backup/cmd-work.h"
#include "backup/export.h"
#include "core/util.h"

static const struct column columns[] = {
    {"message_type", NULL, COL_JSON},  {"set", "set", COL_TEXT},       {"stream", "disk", COL_TEXT},
    {"path", "exported to", COL_TEXT}, {"format", "format", COL_TEXT}, {"size_bytes", "size", COL_SIZE},
    {"seconds", NULL, COL_JSON},       {"warnings", NULL, COL_JSON},   {0},
};

static int parse_format(const char *text, enum export_format *ret, struct err *err)
{
    if (!text || strcmp(text, "raw") == 0)
        *ret = EXPORT_RAW;
    else if (strcmp(text, "qcow2") == 0)
        *ret = EXPORT_QCOW2;
    else
        return err_set(err, VERB_USAGE, "--format '%s' is neither raw nor qcow2", text);
    return 0;
}

static int run_export(struct cmd *cmd, struct err *err)
{
    struct cmd_work w;
    struct restore_report report;
    enum export_format format = EXPORT_RAW;
    long wait_s = WAIT_DEFAULT_S;
    int r = cmd_work_begin(&w, cmd, err);
    if (r == 0)
        r = parse_format(cmd_option(cmd, "format"), &format, err);
    if (r == 0)
        r = cmd_number(cmd, "wait", 0, 7 * 24 * 3600 / 4, &wait_s, err);
    const struct restore_params p = {.repo = cmd_arg(cmd, 0),
                                     .set = cmd_arg(cmd, 1),
                                     .what = cmd_arg(cmd, 2),
                                     .dest = cmd_arg(cmd, 3),
                                     .key_file = cmd_option(cmd, "key"),
                                     .wait_ms = (int)wait_s * 1000};
    if (r == 0)
        r = export_disk(&w.work, &p, format, &report, err);
    progress_finish(&w.bar);
    if (r == 0) {
        _cleanup_(json_decrefp) json_t *row = json_pack(
            "{ss ss ss so ss sI sf sO}", "message_type", "summary", "set", report.set, "stream", report.stream, "path",
            out_string(report.path), "format", format == EXPORT_RAW ? "raw" : "qcow2", "size_bytes",
            (json_int_t)report.size_bytes, "seconds", cmd_work_seconds(&w), "warnings", w.warnings);
        out_fields(&cmd->out, columns, row);
    }
    cmd_work_end(&w);
    return r < 0 ? r : EXIT_DONE;
}

static const struct option_def export_options[] = {
    {"format", 0, "FORMAT", "raw (default) or qcow2"},
    {"key", 0, "FILE", "the set must be signed by the owner of this public key (PEM)"},
    THREADS_OPTION,
    WAIT_OPTION,
    PROGRESS_OPTION,
    {0},
};

const struct verb cmd_export_verbs[] = {
    {"", "export", "REPO SET DISK FILE", "Write a disk of a set into a new file, for other programs",
     "DISK is IMAGE[@VERSION] or CLIENT[:SLOT]. qcow2 is made by qemu-img from a raw copy beside FILE, which goes "
     "again.",
     export_options, run_export, 0},
    {0},
};
