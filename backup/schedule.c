/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit files; see schedule.h. */
#include "backup/schedule.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "core/hash.h"
#include "core/util.h"

#define PREFIX   "diskgate-backup-"
#define UNIT_MAX (64U << 10)

static const struct part {
    const char *ending, *verb, *does;
    unsigned later_h;
} parts[] = {
    {"", "create", "Back up", 0},
    {"-prune", "prune", "Take out old backups", 2},
    {"-verify", "verify", "Verify backups", 4},
};

/* --- names ------------------------------------------------------------------------------------------------------- */

void schedule_name(const char *root, const char *repo, char *ret)
{
    char hash[HASH_HEX_LEN + 1], plain[33], both[2 * PATH_MAX];
    const char *slash = strrchr(repo, '/');
    size_t n = 0;
    for (const char *p = slash ? slash + 1 : repo; *p && n + 1 < sizeof(plain); p++)
        plain[n++] = isalnum((unsigned char)*p) ? *p : '_';
    plain[n] = 0;
    int len = snprintf(both, sizeof(both), "%s\n%s", root, repo);
    hash_buf(both, MIN((size_t)len, sizeof(both)), hash);
    (void)snprintf(ret, UNIT_LEN + 1, PREFIX "%s_%.6s", plain, hash); /* fits */
}

/* --- words of systemd -------------------------------------------------------------------------------------------- */

/* @text for a unit file: in quotes, specifiers doubled. Variables are written in another way in commands than elsewhere: there are none. -ENAMETOOLONG. */
static int quote(const char *text, char *ret, size_t room)
{
    size_t n = 0;
    ret[n++] = '"';
    for (const char *p = text; *p; p++) {
        if (n + 4 > room || (unsigned char)*p < ' ' || *p == '$')
            return -ENAMETOOLONG;
        if (*p == '%')
            ret[n++] = *p;
        else if (*p == '"' || *p == '\\')
            ret[n++] = '\\';
        ret[n++] = *p;
    }
    ret[n++] = '"';
    ret[n] = 0;
    return 0;
}

static int quote_all(const struct schedule *s, const char *program, char q[4][2 * PATH_MAX], struct err *err)
{
    const char *const words[] = {program, s->root, s->repo, s->sign};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (quote(words[i], q[i], 2 * PATH_MAX) < 0)
            return err_set(err, -EINVAL, "the path '%.200s' is too long or has characters that no unit file can hold",
                           words[i]);
    return 0;
}

static const char *options_of(const struct part *p, const struct schedule *s)
{
    return strcmp(p->verb, "prune") == 0 ? s->keep : strcmp(p->verb, "verify") == 0 ? "--max-time 1h" : "";
}

static void print_service(FILE *f, const struct part *p, const struct schedule *s, char q[4][2 * PATH_MAX])
{
    const char *options = options_of(p, s);
    bool is_signed = s->sign[0] && strcmp(p->verb, "create") == 0;
    fprintf(f,
            "# SPDX-License-Identifier: GPL-2.0-or-later\n"
            "# Made by 'diskgate backup schedule', which also removes it.\n"
            "[Unit]\n"
            "Description=Diskgate: %s (%s)\n"
            "Documentation=man:diskgate-backup(8)\n"
            "RequiresMountsFor=%s %s\n"
            "\n"
            "[Service]\n"
            "Type=oneshot\n"
            "ExecStart=%s --root %s %s %s%s%s%s%s --wait 21600\n"
            "Nice=10\n"
            "IOSchedulingClass=idle\n"
            "CPUSchedulingPolicy=batch\n"
            "ProtectSystem=strict\n"
            "ReadWritePaths=%s %s\n"
            "PrivateTmp=yes\n"
            "NoNewPrivileges=yes\n"
            "LockPersonality=yes\n"
            "RestrictRealtime=yes\n"
            "RestrictSUIDSGID=yes\n"
            "SystemCallArchitectures=native\n",
            p->does, s->unit, q[1], q[2], q[0], q[1], p->verb, q[2], *options ? " " : "", options,
            is_signed ? " --sign " : "", is_signed ? q[3] : "", q[1], q[2]);
}

static void print_timer(FILE *f, const struct part *p, const struct schedule *s)
{
    char calendar[64], when[WHEN_LEN + 1];
    when_calendar(&s->when, p->later_h, calendar);
    when_text(&s->when, when);
    fprintf(f,
            "# SPDX-License-Identifier: GPL-2.0-or-later\n"
            "# Made by 'diskgate backup schedule', which also removes it.\n"
            "[Unit]\n"
            "Description=Diskgate: %s (%s)\n"
            "Documentation=man:diskgate-backup(8)\n"
            "\n"
            "[Timer]\n"
            "OnCalendar=%s\n"
            "Persistent=true\n"
            "RandomizedDelaySec=10min\n"
            "\n"
            "[Install]\n"
            "WantedBy=timers.target\n"
            "\n"
            "[X-Diskgate]\n"
            "When=%s\n"
            "Root=%s\n"
            "Repository=%s\n"
            "Keep=%s\n",
            p->does, s->unit, calendar, when, s->root, s->repo, s->keep);
    if (s->sign[0])
        fprintf(f, "Sign=%s\n", s->sign);
}

/* --- files ------------------------------------------------------------------------------------------------------- */

/* A file that is there and not ours stays. */
static bool is_foreign(int dirfd, const char *name)
{
    _cleanup_free_ char *text = NULL;
    int r = file_read(dirfd, name, UNIT_MAX, &text, NULL);
    return r == 0 ? !strstr(text, "'diskgate backup schedule'") : r != -ENOENT;
}

static int put(int dirfd, const char *dir, const struct part *p, const struct schedule *s, bool is_timer,
               char q[4][2 * PATH_MAX], struct err *err)
{
    char name[UNIT_LEN + 32];
    char *text = NULL;
    size_t len = 0;
    (void)snprintf(name, sizeof(name), "%s%s.%s", s->unit, p->ending, is_timer ? "timer" : "service"); /* fits */
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return err_sys(err, -ENOMEM, "cannot write '%s/%s'", dir, name);
    if (is_timer)
        print_timer(f, p, s);
    else
        print_service(f, p, s, q);
    int r = fclose(f) != 0 ? -ENOMEM : file_replace(dirfd, name, text, len, 0644);
    free(text);
    return r < 0 ? err_sys(err, r, "cannot write '%s/%s'", dir, name) : 0;
}

static int open_dir(const char *dir, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, -errno, "cannot open the folder of units '%s'", dir) : fd;
}

static void drop_part(int dirfd, const char *unit, const struct part *p)
{
    static const char *const endings[] = {"timer", "service"};
    char name[UNIT_LEN + 32];
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
        (void)snprintf(name, sizeof(name), "%s%s.%s", unit, p->ending, endings[i]); /* fits */
        if (!is_foreign(dirfd, name))
            (void)unlinkat(dirfd, name, 0); /* one that is not there is as good */
    }
}

/* Before anything is written: none of the names is somebody else's. */
static int check_names(int dirfd, const char *dir, const char *unit, struct err *err)
{
    static const char *const endings[] = {"timer", "service"};
    char name[UNIT_LEN + 32];
    for (size_t i = 0; i < ARRAY_SIZE(parts) * ARRAY_SIZE(endings); i++) {
        (void)snprintf(name, sizeof(name), "%s%s.%s", unit, parts[i / 2].ending, endings[i % 2]); /* fits */
        if (is_foreign(dirfd, name))
            return err_set(err, -EEXIST, "'%s/%s' is there and was not made by 'diskgate backup schedule'", dir, name);
    }
    return 0;
}

int schedule_write(const char *dir, const char *program, const struct schedule *s, struct err *err)
{
    _cleanup_free_ char(*q)[2 * PATH_MAX] = calloc(4, sizeof(*q));
    if (!q)
        return err_sys(err, -ENOMEM, "cannot write units");
    int r = quote_all(s, program, q, err);
    _cleanup_close_ int fd = r < 0 ? r : open_dir(dir, err);
    if (fd < 0)
        return fd;
    r = check_names(fd, dir, s->unit, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
        if (strcmp(parts[i].verb, "prune") == 0 && !s->keep[0]) {
            drop_part(fd, s->unit, &parts[i]);
            continue;
        }
        r = put(fd, dir, &parts[i], s, false, q, err);
        if (r == 0)
            r = put(fd, dir, &parts[i], s, true, q, err);
    }
    return r;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static bool take_value(const char *text, const char *key, char *ret, size_t room)
{
    const char *p = strstr(text, key);
    size_t len = p ? strcspn(p + strlen(key), "\n") : room;
    if (len >= room)
        return false;
    memcpy(ret, p + strlen(key), len);
    ret[len] = 0;
    return true;
}

static bool decode_timer(const char *text, struct schedule *ret)
{
    char when[WHEN_LEN + 1];
    const char *words[3];
    char *rest, *word;
    struct err ignored;
    size_t n = 0, used;
    const char *ours = strstr(text, "\n[X-Diskgate]\n");
    if (!ours || !take_value(ours, "\nWhen=", when, sizeof(when)) ||
        !take_value(ours, "\nRoot=", ret->root, sizeof(ret->root)) ||
        !take_value(ours, "\nRepository=", ret->repo, sizeof(ret->repo)) ||
        !take_value(ours, "\nKeep=", ret->keep, sizeof(ret->keep)))
        return false;
    if (!take_value(ours, "\nSign=", ret->sign, sizeof(ret->sign)))
        ret->sign[0] = 0; /* most have none */
    for (word = strtok_r(when, " ", &rest); word && n < ARRAY_SIZE(words); word = strtok_r(NULL, " ", &rest))
        words[n++] = word;
    return when_parse(words, n, &ret->when, &used, &ignored) == 0;
}

static bool is_main_timer(const char *name, char *ret_unit)
{
    size_t len = strlen(name), end = strlen(".timer");
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 || len <= end || len - end > UNIT_LEN ||
        strcmp(name + len - end, ".timer") != 0)
        return false;
    memcpy(ret_unit, name, len - end);
    ret_unit[len - end] = 0;
    return !strchr(ret_unit + strlen(PREFIX), '-'); /* "-prune", "-verify" */
}

int schedule_list(const char *dir, struct schedule **ret, size_t *ret_n, struct err *err)
{
    struct schedule *list = NULL;
    size_t n = 0;
    int fd = open_dir(dir, err);
    _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return fd < 0 ? fd : err_sys(err, -errno, "cannot list '%s'", dir);
    for (const struct dirent *e; (e = readdir(d));) {
        _cleanup_free_ char *text = NULL;
        struct schedule s = {0};
        if (!is_main_timer(e->d_name, s.unit) || file_read(dirfd(d), e->d_name, UNIT_MAX, &text, NULL) < 0 ||
            !decode_timer(text, &s))
            continue;
        struct schedule *more = reallocarray(list, n + 1, sizeof(*more));
        if (!more) {
            free(list);
            return err_sys(err, -ENOMEM, "cannot list '%s'", dir);
        }
        list = more;
        list[n++] = s;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

int schedule_drop(const char *dir, const char *unit, struct err *err)
{
    _cleanup_close_ int fd = open_dir(dir, err);
    if (fd < 0)
        return fd;
    for (size_t i = ARRAY_SIZE(parts); i-- > 0;)
        drop_part(fd, unit, &parts[i]);
    return fsync(fd) < 0 ? err_sys(err, -errno, "cannot write to '%s'", dir) : 0;
}

/* --- for a shell ------------------------------------------------------------------------------------------------- */

static size_t shell_quote(const char *text, char *ret, size_t room)
{
    size_t n = 0;
    for (const char *p = text; n + 8 < room && (p == text || *p); p++) {
        if (p == text)
            ret[n++] = '\'';
        if (*p == '\'') {
            memcpy(ret + n, "'\\''", 4);
            n += 4;
        } else if (*p) {
            ret[n++] = *p;
        }
    }
    ret[n++] = '\'';
    ret[n] = 0;
    return n;
}

int schedule_command(const char *program, const struct schedule *s, const char *verb, char *ret, struct err *err)
{
    char root[PATH_MAX + 64], repo[PATH_MAX + 64], sign[PATH_MAX + 64] = "";
    const char *options = strcmp(verb, "prune") == 0 ? s->keep : strcmp(verb, "verify") == 0 ? "--max-time 1h" : "";
    (void)shell_quote(s->root, root, sizeof(root));
    (void)shell_quote(s->repo, repo, sizeof(repo));
    bool is_signed = s->sign[0] && strcmp(verb, "create") == 0;
    if (is_signed)
        (void)shell_quote(s->sign, sign, sizeof(sign));
    int n = snprintf(ret, 4 * PATH_MAX, "ionice -c 3 nice -n 10 %s --root %s %s %s%s%s%s%s --wait 21600", program, root,
                     verb, repo, *options ? " " : "", options, is_signed ? " --sign " : "", sign);
    return n < 4 * PATH_MAX ? 0 : err_set(err, -ENAMETOOLONG, "the paths are too long");
}
