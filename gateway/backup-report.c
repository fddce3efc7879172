/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ROOT/backup-state.json, which `diskgate backup create` writes after each backup of the whole root. */
#include "gateway/backup-report.h"

#include <time.h>

#include "core/json.h"
#include "core/root.h"
#include "core/util.h"

#define STATE_MAX     65536U
#define CLOCK_SLACK_S 3600 /* the clock was set since */

static json_t *read_state(const char *root)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_close_ int dir = root_open_dir(root, ".", NULL);
    if (dir < 0 || file_read(dir, "backup-state.json", STATE_MAX, &text, NULL) < 0)
        return NULL;
    return json_loads(text, 0, NULL); /* a damaged one is none: the next backup writes it anew */
}

void backup_report(const char *root, struct catalog *c, json_t *problems, json_t *status)
{
    uint64_t max_h = 0;
    char sentence[256];
    _cleanup_json_ json_t *state = read_state(root);
    int64_t time_s = json_integer_value(json_object_get(state, "time_s")), now_s = time(NULL);
    if (time_s > 0)
        (void)json_object_set(status, "last_backup", state); /* missing without memory */
    if (setting_get_u64(c, "backup.max_age_h", &max_h, NULL) < 0 || max_h == 0)
        return;
    bool is_future = time_s > now_s + CLOCK_SLACK_S; /* it would look young for as long as the clock was ahead */
    if (time_s > 0 && !is_future && now_s - time_s <= (int64_t)max_h * 3600)
        return;
    if (is_future)
        (void)snprintf(
            sentence, sizeof(sentence),
            "the last backup of all of the root is from the future: the clock was wrong then, or is now, and "
            "nobody can tell how old it is; see 'date', then make another one"); /* fits */
    else if (time_s > 0)
        (void)snprintf(sentence, sizeof(sentence),
                       "the last backup of all of the root is %lld hours old, and backup.max_age_h allows %llu",
                       (long long)((now_s - time_s) / 3600), (unsigned long long)max_h); /* fits */
    else
        (void)snprintf(sentence, sizeof(sentence),
                       "the root was never backed up; 'diskgate backup create' does it, "
                       "'diskgate backup schedule' every night");
    (void)json_array_append_new(problems,
                                json_pack("{s:s, s:s}", "what", "backup", "problem", sentence)); /* likewise */
}
