/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The note of the last backup in its root; see last-backup.h. */
#include "backup/last-backup.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#include "cli/output.h"
#include "core/root.h"
#include "core/util.h"

int last_backup_note(const char *root, const char *repo, const char *set, uint64_t warnings, struct err *err)
{
    char real[PATH_MAX];
    _cleanup_close_ int dir = root_open_dir(root, ".", err);
    if (dir < 0)
        return dir;
    json_t *note = json_pack("{ss so sI sI}", "set", set, "repository", out_string(realpath(repo, real) ? real : repo),
                             "time_s", (json_int_t)time(NULL), "warnings", (json_int_t)warnings);
    _cleanup_free_ char *text = note ? json_dumps(note, JSON_INDENT(2)) : NULL;
    json_decref(note);
    int r = text ? file_replace(dir, "backup-state.json", text, strlen(text), 0644) : -ENOMEM;
    return r < 0 ? err_sys(err, r, "cannot note the backup in '%s'", root) : 0;
}
