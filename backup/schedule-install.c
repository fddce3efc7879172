/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Units and their timers; see schedule-install.h. */
#include "backup/schedule-install.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/output.h"
#include "core/util.h"

extern char **environ;

bool schedule_has_systemd(void)
{
    struct stat st;
    return stat("/run/systemd/system", &st) == 0; /* sd_booted(3) */
}

/* systemctl with @words; 0, or -EIO with a sentence. */
static int systemctl(const char *const *words, struct err *err)
{
    pid_t pid;
    int status = 0, r = posix_spawnp(&pid, "systemctl", NULL, NULL, (char *const *)words, environ);
    if (r > 0 || waitpid(pid, &status, 0) < 0)
        return err_sys(err, r > 0 ? -r : -errno, "cannot run systemctl");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(err, -EIO, "'systemctl %s' failed", words[1]);
    return 0;
}

/* The timers of @s that lie in @dir: systemctl refuses a whole command for one name that it does not know. */
static int for_timers(const char *dir, const struct schedule *s, const char *verb, bool only_prune, struct err *err)
{
    static const char *const parts[] = {"", "-prune", "-verify"};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        char timer[UNIT_LEN + 32], path[PATH_MAX];
        const char *words[] = {"systemctl", verb, "--now", timer, NULL};
        (void)snprintf(timer, sizeof(timer), "%s%s.timer", s->unit, parts[i]); /* fits */
        int n = snprintf(path, sizeof(path), "%s/%s", dir, timer);
        if (n < 0 || n >= (int)sizeof(path) || access(path, F_OK) < 0 || (only_prune && i != 1))
            continue;
        int r = systemctl(words, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int reload(struct err *err)
{
    const char *const words[] = {"systemctl", "daemon-reload", NULL};
    return systemctl(words, err);
}

/* What was scheduled by that name before; false: nothing. */
static bool find(const char *dir, const char *unit, struct schedule *ret, struct err *err)
{
    _cleanup_free_ struct schedule *all = NULL;
    size_t n = 0;
    bool found = false;
    if (schedule_list(dir, &all, &n, err) < 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].unit, unit) == 0) {
            *ret = all[i];
            found = true;
        }
    return found;
}

/* After a failure: the units as they were. */
static void put_back(const char *dir, const char *program, const struct schedule *s, const struct schedule *old,
                     bool is_live)
{
    struct err why = {""};
    if (is_live && !old)
        (void)for_timers(dir, s, "disable", false, &why); /* those that run already; the others do not */
    int r = old ? schedule_write(dir, program, old, &why) : schedule_drop(dir, s->unit, &why);
    if (r == 0 && is_live && (r = reload(&why)) == 0 && old)
        r = for_timers(dir, old, "enable", false, &why);
    if (r < 0)
        warn_line("%s", why.msg); /* the first failure is the one that counts */
}

int schedule_install(const char *dir, bool is_live, const char *program, const struct schedule *s, struct err *err)
{
    _cleanup_free_ struct schedule *old = malloc(sizeof(*old));
    if (!old)
        return err_sys(err, -ENOMEM, "cannot write units");
    bool has_old = find(dir, s->unit, old, err);
    int r = 0;
    if (is_live && has_old && !s->keep[0]) /* its rules are gone: nothing may be deleted by them any more */
        r = for_timers(dir, s, "disable", true, err);
    if (r == 0)
        r = schedule_write(dir, program, s, err);
    if (r == 0 && is_live)
        r = reload(err);
    if (r == 0 && is_live)
        r = for_timers(dir, s, "enable", false, err);
    if (r < 0)
        put_back(dir, program, s, has_old ? old : NULL, is_live);
    return r < 0 ? err_prefix(err, r, has_old ? "the schedule stays as it was" : "nothing is scheduled") : 0;
}

int schedule_remove(const char *dir, bool is_live, const char *unit, struct err *err)
{
    _cleanup_free_ struct schedule *s = calloc(1, sizeof(*s));
    struct err why = {""};
    if (!s)
        return err_sys(err, -ENOMEM, "cannot remove a schedule");
    if (!find(dir, unit, s, &why))
        return why.msg[0] ? err_set(err, -EIO, "%s", why.msg)
                          : err_set(err, -ENOENT,
                                    "there is no schedule '%s'; 'diskgate backup schedule list' has their names", unit);
    if (is_live && for_timers(dir, s, "disable", false, &why) < 0)
        return err_set(err, -EIO, "%s; nothing was removed", why.msg);
    int r = schedule_drop(dir, s->unit, err);
    if (r == 0 && is_live && reload(&why) < 0)
        warn_line("%s", why.msg); /* the timers are stopped, and gone at the next start */
    return r;
}
