/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The library's place, tgtd's version, and the environment. */
#include "gateway/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/direct.h"
#include "core/exe.h"
#include "core/util.h"
#include "gateway/spawn.h"

#ifndef DISKGATE_STORE_LIBRARY
#define DISKGATE_STORE_LIBRARY "/usr/lib/diskgate/libdiskgate-store.so"
#endif

#define VERSION_MS 5000
#define ENV_MAX    ((size_t)256 << 10)
#define SOCKET_ENV "DISKGATE_DIRECT_SOCKET="

static const char socket_entry[] =
    SOCKET_ENV DIRECT_SOCKET; /* relative: a socket's path is short, and it works in ROOT/run */

/* --- may it? ----------------------------------------------------------------------------------------------------- */

bool direct_knows_version(const char *text)
{
    unsigned major, minor, patch;
    int end = 0;
    if (sscanf(text, "%u.%u.%u%n", &major, &minor, &patch, &end) != 3 || text[end + (text[end] == '\n')] != 0)
        return false;
    return major == 1 && minor == 0 && patch >= 85 && patch <= 97; /* their structs are alike */
}

static int check_version(struct err *err)
{
    const char *const argv[] = {"tgtd", "-V", NULL};
    _cleanup_(spawn_output_finish) struct spawn_output o = {0};
    _cleanup_close_ int dirfd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int r = spawn_run(&(struct spawn){argv, NULL, dirfd}, VERSION_MS, &o, err);
    if (r < 0)
        return r;
    if (o.status == 0 && direct_knows_version(o.out))
        return 0;
    o.out[strcspn(o.out, "\n")] = 0;
    return err_set(err, -EOPNOTSUPP,
                   "the tgtd that is installed calls itself version '%.40s', and 1.0.85 to 1.0.97 are known", o.out);
}

static void find_library(char *ret)
{
    const char *named = getenv("DISKGATE_STORE_LIBRARY");
    if (named && *named)
        (void)snprintf(ret, PATH_MAX, "%s", named); /* a cut one is not there */
    else if (!exe_file_beside("../fusefs/tgt/libdiskgate-store.so", ret))
        (void)snprintf(ret, PATH_MAX, "%s", DISKGATE_STORE_LIBRARY); /* fits */
}

int direct_library(char *ret, struct err *err)
{
    char path[PATH_MAX];
    find_library(path);
    if (access(path, R_OK) < 0)
        return err_sys(err, -errno, "cannot open the library '%s'", path);
    if (path[0] != '/' || strpbrk(path, " :"))
        return err_set(err, -EINVAL, "the library's path '%s' must begin with / and have no blank and no colon", path);
    int r = check_version(err);
    if (r == 0)
        strcpy(ret, path);
    return r;
}

/* --- the environment --------------------------------------------------------------------------------------------- */

void direct_env(struct direct_env *ret, bool is_wanted)
{
    char library[PATH_MAX];
    const char *others = getenv("LD_PRELOAD");
    *ret = (struct direct_env){0};
    if (!is_wanted || direct_library(library, NULL) < 0) /* status says why */
        return;
    int n = snprintf(ret->preload, sizeof(ret->preload), "LD_PRELOAD=%s%s%s", library, others && *others ? ":" : "",
                     others ?: "");
    if (n < 0 || (size_t)n >= sizeof(ret->preload))
        return;
    ret->entries[0] = ret->preload;
    ret->entries[1] = socket_entry;
}

bool direct_was_given(pid_t pid)
{
    char path[64];
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid); /* fits */
    if (file_read(AT_FDCWD, path, ENV_MAX, &text, &len) < 0)
        return true; /* nobody starts it anew for what he cannot see */
    for (const char *entry = text; entry < text + len; entry += strlen(entry) + 1)
        if (strncmp(entry, SOCKET_ENV, strlen(SOCKET_ENV)) == 0)
            return true;
    return false;
}
