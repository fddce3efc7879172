/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options of diskgate-fs; see options.h. */
#include "fusefs/options.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/root.h"
#include "core/util.h"

#define THREADS_DEFAULT 16U
#define THREADS_MAX     256U

static const char help[] = "Usage: diskgate-fs [-f] [-o OPTIONS] ROOT MOUNTPOINT\n"
                           "Show the disks of the Diskgate installation in ROOT as files under MOUNTPOINT.\n"
                           "\n"
                           "  -f              stay in the foreground\n"
                           "  -o ro           look only: nothing is made or changed\n"
                           "  -o user=NAME    the user that serves (default: diskgate, or nobody where there is none)\n"
                           "  -o log=FILE     where messages go (default: stderr)\n"
                           "  -o threads=N    how many requests are served at once (default 16)\n"
                           "  -o allow_other  let other users than root in\n"
                           "  -o debug        say more\n"
                           "  -h, -V          this text; the version\n"
                           "\n"
                           "An unmount of MOUNTPOINT or SIGTERM ends it.\n";

static int parse_threads(const char *text, unsigned *ret, struct err *err)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || n < 2 || n > THREADS_MAX)
        return err_set(err, -EINVAL, "bad number of threads '%s', it must be 2..%u", text, THREADS_MAX);
    *ret = (unsigned)n;
    return 0;
}

static int copy_text(const char *from, char *to, size_t room, const char *what, struct err *err)
{
    if (snprintf(to, room, "%s", from) >= (int)room)
        return err_set(err, -EINVAL, "%s '%.64s...' is too long", what, from);
    return 0;
}

/* Options that mount(8) or fstab(5) know and that mean nothing here. */
static bool is_generic(const char *word)
{
    static const char *const words[] = {"rw",       "defaults", "auto",     "noauto",    "_netdev", "nofail",
                                        "nosuid",   "nodev",    "noexec",   "noatime",   "nouser",  "exec",
                                        "relatime", "loud",     "silent",   "dev",       "suid",    "atime",
                                        "sync",     "async",    "diratime", "nodiratime"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return strncmp(word, "x-", 2) == 0 || strncmp(word, "comment=", 8) == 0;
}

static int parse_word(const char *word, struct options *o, struct err *err)
{
    if (strcmp(word, "ro") == 0)
        o->is_read_only = true;
    else if (strcmp(word, "allow_other") == 0)
        o->allow_other = true;
    else if (strcmp(word, "debug") == 0)
        log_set_level(LOG_LEVEL_DEBUG);
    else if (strncmp(word, "user=", 5) == 0)
        return copy_text(word + 5, o->user, sizeof(o->user), "user", err);
    else if (strncmp(word, "log=", 4) == 0)
        return copy_text(word + 4, o->log_path, sizeof(o->log_path), "log file", err);
    else if (strncmp(word, "threads=", 8) == 0)
        return parse_threads(word + 8, &o->threads, err);
    else if (*word && !is_generic(word))
        return err_set(err, -EINVAL, "unknown mount option '%s'; 'diskgate-fs -h' lists them", word);
    return 0;
}

static int parse_list(const char *list, struct options *o, struct err *err)
{
    char copy[2 * PATH_MAX], *rest = copy, *word;
    int r = copy_text(list, copy, sizeof(copy), "option list", err);
    while (r == 0 && (word = strsep(&rest, ",")))
        r = parse_word(word, o, err);
    return r;
}

/* The user that serves: the one that was asked for must exist; without a wish, diskgate or else nobody. */
static int find_user(struct options *o, struct err *err)
{
    o->uid = geteuid();
    o->gid = getegid();
    if (o->uid != 0)
        return 0;
    const struct passwd *p = getpwnam(o->user[0] ? o->user : "diskgate");
    if (!p && o->user[0])
        return err_set(err, -EINVAL, "there is no user '%s'", o->user);
    if (!p)
        p = getpwnam("nobody");
    if (!p)
        return err_set(err, -EINVAL, "there is no user 'diskgate'; make one with 'useradd --system diskgate'");
    o->uid = p->pw_uid;
    o->gid = p->pw_gid;
    return copy_text(p->pw_name, o->user, sizeof(o->user), "user", err);
}

static bool is_mount_helper(const char *argv0)
{
    const char *base = strrchr(argv0, '/');
    return strncmp(base ? base + 1 : argv0, "mount.", 6) == 0;
}

static int parse_flags(int argc, char **argv, struct options *o, struct err *err)
{
    bool is_helper = is_mount_helper(argv[0]);
    int c;
    opterr = 0;
    while ((c = getopt(argc, argv, is_helper ? "sfnvN:o:t:" : "fho:V")) != -1) {
        int r = 0;
        if (c == 'o')
            r = parse_list(optarg, o, err);
        else if (c == 'f' && is_helper)
            o->is_fake = true;
        else if (c == 'f')
            o->is_foreground = true;
        else if (c == 'h' || c == 'V')
            return fputs(c == 'h' ? help : "diskgate-fs " DISKGATE_VERSION "\n", stdout) < 0 ? -EIO : 1;
        else if (c == '?')
            r = err_set(err, -EINVAL, "unknown option '-%c'; 'diskgate-fs -h' lists them", optopt);
        if (r < 0)
            return r;
    }
    return 0;
}

int options_parse(int argc, char **argv, struct options *ret, struct err *err)
{
    *ret = (struct options){.threads = THREADS_DEFAULT};
    int r = parse_flags(argc, argv, ret, err);
    if (r != 0)
        return r;
    if (argc - optind != 2)
        return err_set(err, -EINVAL, "a root and a mount point are needed; see 'diskgate-fs -h'");
    r = root_resolve(argv[optind], ret->root, err);
    if (r == 0 && !realpath(argv[optind + 1], ret->mountpoint))
        r = err_sys(err, -errno, "cannot use mount point '%s'", argv[optind + 1]);
    return r < 0 ? r : find_user(ret, err);
}
