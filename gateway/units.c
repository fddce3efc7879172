/* SPDX-License-Identifier: GPL-2.0-or-later */
/* systemctl, and the mark in ROOT/run/units: "PREFIX BOOT-ID\n". A mark of another start of the machine counts for nothing, so a root that is
 * no longer run by units needs no care. */
#include "gateway/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "gateway/spawn.h"

#define MARK        "units"
#define PREFIX_LEN  64
#define START_MS    (31 * 60 * 1000) /* an image whose file time changed is read once; the unit has a limit of its own */
#define STOP_MS     (6 * 60 * 1000)
#define PREFIX_SIGN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

static bool read_boot_id(char ret[64])
{
    _cleanup_fclose_ FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    return f && fscanf(f, "%63s", ret) == 1;
}

/* The prefix of today's mark. */
static bool read_mark(const struct site *s, char prefix[PREFIX_LEN])
{
    char text[256] = "", boot[64], now[64];
    _cleanup_close_ int fd = openat(s->run_fd, MARK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    return n > 0 && sscanf(text, "%63s %63s", prefix, boot) == 2 && read_boot_id(now) && strcmp(boot, now) == 0 &&
           prefix[strspn(prefix, PREFIX_SIGN)] == 0;
}

bool units_manage(const struct site *s)
{
    char prefix[PREFIX_LEN];
    return s->run_fd >= 0 && read_mark(s, prefix);
}

int units_mark(const struct site *s, struct err *err)
{
    const char *prefix = getenv("DISKGATE_UNITS");
    char text[256], boot[64];
    if (!prefix || !*prefix || units_manage(s))
        return 0;
    if (strlen(prefix) >= PREFIX_LEN || prefix[strspn(prefix, PREFIX_SIGN)] || !read_boot_id(boot))
        return err_set(err, -EINVAL, "DISKGATE_UNITS is '%.80s', which cannot begin the name of a unit", prefix);
    int len = snprintf(text, sizeof(text), "%s %s\n", prefix, boot); /* fits */
    int r = file_replace(s->run_fd, MARK, text, (size_t)len, 0644);
    return r < 0 ? err_sys(err, r, "cannot write '%s/run/%s'", s->root, MARK) : 0;
}

static int run(const struct site *s, const char *verb, const char *suffix, struct err *err)
{
    char prefix[PREFIX_LEN], unit[PREFIX_LEN + 64];
    if (!read_mark(s, prefix))
        return err_set(err, -ENOENT, "no units run '%s'", s->root);
    (void)snprintf(unit, sizeof(unit), "%s%s.service", prefix, suffix); /* fits */
    const char *const argv[] = {"systemctl", verb, unit, NULL};
    _cleanup_(spawn_output_finish) struct spawn_output o = {0};
    int r = spawn_run(&(struct spawn){argv, NULL, s->run_fd}, START_MS, &o, err);
    if (r < 0)
        return r;
    return o.status == 0
               ? 0
               : err_set(err, -ECHILD, "the unit %s does not start: %s; see 'journalctl -u %s'", unit, o.error, unit);
}

int units_start(const struct site *s, const char *suffix, struct err *err)
{
    return run(s, "start", suffix, err);
}

int units_restart(const struct site *s, const char *suffix, struct err *err)
{
    return run(s, "restart", suffix, err);
}

void units_stop(const struct site *s)
{
    char prefix[PREFIX_LEN], names[6][PREFIX_LEN + 32];
    static const char *const suffixes[] = {".target",          ".service",        "d.service",
                                           "-dnsmasq.service", "-tgtd@*.service", "-fs.service"};
    const char *argv[ARRAY_SIZE(suffixes) + 3] = {"systemctl", "stop"};
    struct err unused;
    if (!read_mark(s, prefix))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        (void)snprintf(names[i], sizeof(names[i]), "%s%s", prefix, suffixes[i]); /* fits */
        argv[i + 2] = names[i];
    }
    _cleanup_(spawn_output_finish) struct spawn_output o = {0};
    (void)spawn_run(&(struct spawn){argv, NULL, s->run_fd}, STOP_MS, &o, &unused); /* see the header */
    (void)unlinkat(s->run_fd, MARK, 0);
}
