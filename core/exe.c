/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The folder of the program that runs. */
#include "core/exe.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool is_beside(const char *name, int mode, char *ret)
{
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);
    if (n <= 0)
        return false;
    own[n] = 0;
    char *slash = strrchr(own, '/');
    if (!slash)
        return false;
    *slash = 0;
    return snprintf(ret, PATH_MAX, "%s/%s", own, name) < PATH_MAX && access(ret, mode) == 0;
}

bool exe_beside(const char *name, char *ret)
{
    return is_beside(name, X_OK, ret);
}

bool exe_file_beside(const char *name, char *ret)
{
    return is_beside(name, R_OK, ret);
}
