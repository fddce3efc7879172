/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Restrictions for a child; see jail.h.
 *
 * Ids, capabilities and limits must succeed. Network and Landlock are tried: a container may forbid the one and a kernel may lack the
 * other, and what they add is a second wall.
 */
#include "core/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/util.h"

#define MEMORY_BYTES_MAX (4ULL << 30)
#define FILES_MAX        64
#define OVERFLOW_ID      65534 /* the kernel's own "nobody" */
#define CAPS_MAX         63

static int become(uid_t uid, gid_t gid)
{
    if (geteuid() != 0)
        return 0;
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return -errno;
    return 0;
}

/* Without this uid 0 gets all capabilities back at the exec. */
static int drop_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    for (unsigned long cap = 0; cap <= CAPS_MAX; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL && errno != EPERM)
            return -errno; /* EINVAL: the kernel knows no such one; EPERM: we are not root and have none */
    if (syscall(SYS_capset, &head, none) < 0)
        return -errno;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* --- whom -------------------------------------------------------------------------------------------------------- */

/* Can @uid open the file again? Asked by a child that is it. */
static bool can_read(uid_t uid, gid_t gid, int fd)
{
    char path[48];
    int status = 0;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    pid_t pid = fork();
    if (pid == 0)
        _exit(become(uid, gid) == 0 && drop_capabilities() == 0 && open(path, O_RDONLY | O_CLOEXEC) >= 0 ? 0 : 1);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int jail_pick_user(struct jail *j, const char *name, int fd, const char *path, struct err *err)
{
    const char *const names[] = {name, "nobody"};
    struct stat st;
    j->uid = geteuid();
    j->gid = getegid();
    if (j->uid != 0)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct passwd *pw = getpwnam(names[i]);
        if (!pw || pw->pw_uid == 0 || !can_read(pw->pw_uid, pw->pw_gid, fd))
            continue;
        j->uid = pw->pw_uid;
        j->gid = pw->pw_gid;
        return 0;
    }
    if (fstat(fd, &st) == 0 && can_read(st.st_uid, st.st_gid, fd)) {
        j->uid = st.st_uid;
        j->gid = st.st_gid;
        return 0;
    }
    return err_set(
        err, -EACCES,
        "'%s' can be read neither by the user '%s' nor by its owner, and files of other formats are not read "
        "with more rights than that: run chmod a+r on it",
        path, name);
}

void jail_pick_nobody(struct jail *j)
{
    const struct passwd *pw = getpwnam("nobody");
    bool is_root = geteuid() == 0, is_usable = pw && pw->pw_uid != 0;
    j->uid = !is_root ? geteuid() : is_usable ? pw->pw_uid : OVERFLOW_ID;
    j->gid = !is_root ? getegid() : is_usable ? pw->pw_gid : OVERFLOW_ID;
}

/* --- Landlock ---------------------------------------------------------------------------------------------------- */

#define ALLOW_READ  (LANDLOCK_ACCESS_FS_READ_FILE)
#define ALLOW_TREE  (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE)
#define ALLOW_WRITE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)

static void allow_fd(int rules, int fd, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    if (fd >= 0)
        (void)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0); /* else it stays forbidden */
}

static void allow(int rules, const char *path, uint64_t access)
{
    _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
    allow_fd(rules, fd, access);
}

/* A second wall where there is one. */
static void close_file_systems(const struct jail *j)
{
    static const char *const trees[] = {"/usr", "/lib", "/lib64", "/bin", "/etc/ssl", "/proc/self"};
    static const char *const files[] = {"/etc/ld.so.cache", "/dev/urandom", "/proc/cpuinfo"};
    struct landlock_ruleset_attr attr = {.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1};
    _cleanup_close_ int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (rules < 0)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(trees); i++)
        allow(rules, trees[i], ALLOW_TREE);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        allow(rules, files[i], ALLOW_READ);
    allow(rules, "/dev/null", ALLOW_WRITE);
    allow_fd(rules, j->read_fd, ALLOW_READ);
    allow_fd(rules, j->write_fd, ALLOW_WRITE);
    if (j->program_fd > 0)
        allow_fd(rules, j->program_fd, ALLOW_READ | LANDLOCK_ACCESS_FS_EXECUTE);
    (void)syscall(SYS_landlock_restrict_self, rules, 0); /* tried */
}

/* --- enter ------------------------------------------------------------------------------------------------------- */

static int limit(int what, uint64_t max)
{
    struct rlimit l = {max, max}, now;
    if (getrlimit((__rlimit_resource_t)what, &now) == 0 && now.rlim_max < l.rlim_max)
        l.rlim_cur = l.rlim_max = now.rlim_max;
    return setrlimit((__rlimit_resource_t)what, &l) < 0 ? -errno : 0;
}

static int set_limits(const struct jail *j)
{
    int r = limit(RLIMIT_AS, j->memory_bytes_max ? j->memory_bytes_max : MEMORY_BYTES_MAX);
    if (r == 0)
        r = limit(RLIMIT_CPU, j->cpu_s_max);
    if (r == 0)
        r = limit(RLIMIT_FSIZE, j->file_bytes_max);
    if (r == 0)
        r = limit(RLIMIT_NOFILE, FILES_MAX);
    return r < 0 ? r : limit(RLIMIT_CORE, 0);
}

int jail_enter(const struct jail *j)
{
    (void)unshare(CLONE_NEWNET); /* tried */
    int r = set_limits(j);
    if (r == 0)
        r = become(j->uid, j->gid);
    if (r == 0)
        r = drop_capabilities();
    if (r < 0)
        return r;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -errno;
    close_file_systems(j);
    return 0;
}
