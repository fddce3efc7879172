/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verbs for systemd's units: one part of a root in the foreground, as the process that was started.
 *
 *   part run fs|tgtd|dnsmasq [SHARD]      prepares and becomes the program (execve), so that its unit sees its end
 *   part wait tgtd|dnsmasq [SHARD]        returns when it serves; diskgate-fs and diskgated say that themselves (sd_notify)
 *   part stop fs|tgtd [SHARD]             tgtd ignores SIGTERM, and a file system that hangs needs more than a signal
 *   part wanted tgtd|dnsmasq [SHARD]      status 0 when the settings ask for it
 *
 * None of them takes ROOT/run/up.lock: `up` holds it while it waits for a unit that runs one of these.
 */
#include "gateway/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/catalog.h"
#include "core/clock.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/dnsmasq.h"
#include "gateway/fsproc.h"
#include "gateway/proc.h"
#include "gateway/shard.h"
#include "gateway/site.h"
#include "gateway/units.h"

#define WAIT_MS 20000

enum part { PART_FS, PART_TGTD, PART_DNSMASQ, PARTS };

static const char *const part_names[PARTS] = {"fs", "tgtd", "dnsmasq"};

struct work {
    enum part part;
    unsigned shard;
    struct site site;
    struct catalog *c;
};

static void work_finish(struct work *w)
{
    catalog_close(w->c);
    site_finish(&w->site);
}

/* "PART [SHARD]", @allowed a bit for each part. */
static int parse(struct cmd *cmd, unsigned allowed, struct work *w, struct err *err)
{
    const char *name = cmd_arg(cmd, 0), *number = cmd_arg(cmd, 1);
    char *end = NULL;
    for (w->part = PART_FS; w->part < PARTS && strcmp(part_names[w->part], name) != 0;)
        w->part++;
    if (w->part == PARTS || !(allowed >> w->part & 1)) {
        err_set(err, -EINVAL, "'%.80s' is no part that this is done with; the manual lists them with this verb", name);
        return VERB_USAGE;
    }
    unsigned long k = number ? strtoul(number, &end, 10) : 0;
    if ((w->part == PART_TGTD) != (number != NULL) || (number && (*end || end == number || k >= SHARDS_MAX))) {
        err_set(err, -EINVAL, "tgtd takes the number of its shard, from 0 to %d, and nothing else does",
                SHARDS_MAX - 1);
        return VERB_USAGE;
    }
    w->shard = (unsigned)k;
    return 0;
}

static int begin(struct cmd *cmd, unsigned allowed, struct work *w, struct err *err)
{
    *w = (struct work){.site.run_fd = -1};
    int r = parse(cmd, allowed, w, err);
    if (r < 0)
        return r;
    if (geteuid() != 0)
        return err_set(err, -EPERM, "'diskgate part' must be run as root");
    r = root_check_trusted(cmd->root, err);
    r = r ? r : read_open(cmd, &w->c, err);
    r = r ? r : site_open(&w->site, cmd->root, true, err);
    return r ? r : site_read(&w->site, w->c, err);
}

static int run_run(struct cmd *cmd, struct err *err)
{
    _cleanup_(work_finish) struct work w;
    int r = begin(cmd, 1 << PART_FS | 1 << PART_TGTD | 1 << PART_DNSMASQ, &w, err);
    r = r ? r : units_mark(&w.site, err);
    if (r < 0)
        return r;
    if (w.part == PART_FS) /* these come back with an error only */
        return fsproc_exec(&w.site, err);
    return w.part == PART_TGTD ? shard_exec(&w.site, w.shard, err) : dnsmasq_exec(&w.site, w.c, err);
}

static int check(struct work *w, struct err *err)
{
    pid_t pids[SHARDS_MAX];
    if (w->part == PART_DNSMASQ)
        return dnsmasq_find(&w->site) > 0 && proc_pid_file(w->site.run_fd, "dnsmasq.pid") > 0
                   ? 0
                   : err_set(err, -ENOENT, "dnsmasq does not serve");
    (void)shard_find(&w->site, pids);
    return pids[w->shard] ? shard_check(&w->site, w->shard, pids[w->shard], 2000, err)
                          : err_set(err, -ENOENT, "tgtd shard %u does not run", w->shard);
}

static int run_wait(struct cmd *cmd, struct err *err)
{
    _cleanup_(work_finish) struct work w;
    int r = begin(cmd, 1 << PART_TGTD | 1 << PART_DNSMASQ, &w, err);
    if (r < 0)
        return r;
    for (int64_t end_ms = clock_ms() + WAIT_MS; (r = check(&w, err)) < 0 && clock_ms() < end_ms;)
        proc_sleep_ms(50);
    return r < 0 ? r : EXIT_DONE;
}

static int run_stop(struct cmd *cmd, struct err *err)
{
    _cleanup_(work_finish) struct work w;
    pid_t pids[SHARDS_MAX];
    int r = begin(cmd, 1 << PART_FS | 1 << PART_TGTD, &w, err);
    if (r < 0)
        return r;
    if (w.part == PART_FS)
        return fsproc_stop(&w.site, NULL, err);
    (void)shard_find(&w.site, pids);
    if (!pids[w.shard])
        return EXIT_DONE;
    bool is_hung = shard_check(&w.site, w.shard, pids[w.shard], 3000, NULL) < 0;
    return shard_stop(&w.site, w.shard, pids[w.shard], is_hung, NULL, err);
}

static int run_wanted(struct cmd *cmd, struct err *err)
{
    _cleanup_(work_finish) struct work w;
    int r = begin(cmd, 1 << PART_TGTD | 1 << PART_DNSMASQ, &w, err);
    if (r < 0)
        return r;
    bool is_wanted = w.part == PART_DNSMASQ ? dnsmasq_is_wanted(w.c) : w.shard < w.site.shards;
    return is_wanted ? EXIT_DONE : err_set(err, -ENOENT, "the settings do not ask for %s", cmd_arg(cmd, 0));
}

const struct verb cmd_part_verbs[] = {
    {"part", "run", "PART [SHARD]", "Become one part of the root, for a unit of systemd",
     "PART is fs, tgtd with the number of its shard, or dnsmasq. 'diskgate up' does all of this by itself.", NULL,
     run_run},
    {"part", "wait", "PART [SHARD]", "Wait until a part serves", NULL, NULL, run_wait},
    {"part", "stop", "PART [SHARD]", "Stop one part of the root", NULL, NULL, run_stop},
    {"part", "wanted", "PART [SHARD]", "Tell by the exit status whether the settings ask for a part", NULL, NULL,
     run_wanted},
    {0},
};
