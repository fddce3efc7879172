/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reader's last locks; see mdb-lock.h. */
#include "migrate/mdb-lock.h"

#include <errno.h>
#include <seccomp.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "core/util.h"

#define FILES_MAX 16

static int limit(int what, rlim_t max)
{
    struct rlimit l = {max, max};
    return setrlimit((__rlimit_resource_t)what, &l) < 0 ? -errno : 0;
}

int mdb_lock_early(void)
{
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    if (IS_SANITIZED)
        return 0;
    int r = limit(RLIMIT_NOFILE, FILES_MAX);
    if (r == 0)
        r = limit(RLIMIT_NPROC, 0);
    if (r == 0)
        r = limit(RLIMIT_CORE, 0);
    return r < 0 ? r : limit(RLIMIT_FSIZE, 0);
}

int mdb_lock_late(void)
{
    static const int allowed[] = {
        SCMP_SYS(read),   SCMP_SYS(write),   SCMP_SYS(lseek),      SCMP_SYS(_llseek),       SCMP_SYS(pread64),
        SCMP_SYS(fstat),  SCMP_SYS(fstat64), SCMP_SYS(newfstatat), SCMP_SYS(close),         SCMP_SYS(brk),
        SCMP_SYS(mmap),   SCMP_SYS(mmap2),   SCMP_SYS(munmap),     SCMP_SYS(mremap),        SCMP_SYS(madvise),
        SCMP_SYS(futex),  SCMP_SYS(exit),    SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn),  SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(gettid), SCMP_SYS(getpid),  SCMP_SYS(tgkill),     SCMP_SYS(clock_gettime), SCMP_SYS(restart_syscall),
    };
    if (IS_SANITIZED) /* its own system calls are not on the list */
        return 0;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS); /* other architectures are killed, too */
    if (!filter)
        return -ENOMEM;
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(allowed) && r == 0; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    return r;
}
