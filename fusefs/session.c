/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FUSE session on libfuse's low-level API; see session.h.
 *
 * Requests of up to 1 MiB, 1024 in the background: the kernel's default of 12 is for the whole mount and would let one client's
 * queue hold up all others. Every thread has its own clone of the descriptor where the user that serves may open /dev/fuse (Debian's default).
 */
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#include "fusefs/session.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <string.h>
#include <sys/mount.h>

#include "core/log.h"
#include "core/util.h"

struct session {
    struct fuse_session *se;
    unsigned threads;
};

static int add_args(struct fuse_args *args, const struct session_options *o)
{
    char options[PATH_MAX + 128], escaped[PATH_MAX];
    size_t n = 0;
    for (const char *p = o->root; *p && n + 2 < sizeof(escaped); p++) { /* a comma would end the option */
        if (*p == ',' || *p == '\\')
            escaped[n++] = '\\';
        escaped[n++] = *p;
    }
    escaped[n] = 0;
    (void)snprintf(options, sizeof(options),
                   "fsname=%s,subtype=diskgate,default_permissions,nosuid,nodev,noexec,noatime%s%s", escaped,
                   o->is_read_only ? ",ro" : "", o->allow_other ? ",allow_other" : "");
    if (fuse_opt_add_arg(args, "diskgate-fs") < 0 || fuse_opt_add_arg(args, "-o") < 0 ||
        fuse_opt_add_arg(args, options) < 0)
        return -ENOMEM;
    return 0;
}

int session_open(const struct session_options *o, struct fs *fs, struct session **ret, struct err *err)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct session *s = calloc(1, sizeof(*s));
    if (!s || add_args(&args, o) < 0) {
        fuse_opt_free_args(&args);
        free(s);
        return err_sys(err, -ENOMEM, "cannot mount '%s'", o->mountpoint);
    }
    s->threads = o->threads;
    s->se = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), fs);
    fuse_opt_free_args(&args);
    if (!s->se) {
        free(s);
        return err_set(err, -EINVAL, "cannot make a FUSE session");
    }
    errno = 0;
    if (fuse_session_mount(s->se, o->mountpoint) < 0) {
        int r = errno ? -errno : -EIO;
        fuse_session_destroy(s->se);
        free(s);
        return err_sys(err, r, "cannot mount '%s' (is /dev/fuse there, and are you root?)", o->mountpoint);
    }
    *ret = s;
    return 0;
}

int session_fd(const struct session *s)
{
    return fuse_session_fd(s->se);
}

int session_run(struct session *s)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    if (!config)
        return -ENOMEM;
    if (fuse_set_signal_handlers(s->se) < 0) {
        fuse_loop_cfg_destroy(config);
        return -EINVAL;
    }
    fuse_loop_cfg_set_clone_fd(config,
                               access("/dev/fuse", R_OK | W_OK) == 0); /* the library opens it anew for each thread */
    fuse_loop_cfg_set_max_threads(config, s->threads);
    fuse_loop_cfg_set_idle_threads(config, s->threads);
    int r = fuse_session_loop_mt(s->se, config);
    fuse_remove_signal_handlers(s->se);
    fuse_loop_cfg_destroy(config);
    return r < 0 ? r : 0; /* > 0 is the number of the signal that ended it */
}

void session_exit(struct session *s)
{
    fuse_session_exit(s->se);
}

void session_forget_name(struct session *s, uint64_t parent, const char *name)
{
    int r = fuse_lowlevel_notify_inval_entry(s->se, parent, name, strlen(name));
    if (r < 0 && r != -ENOENT) /* the kernel does not know the name: fine */
        log_debug("session", "cannot make the kernel forget '%s': %s", name, strerror(-r));
}

void session_close(struct session *s)
{
    if (!s)
        return;
    fuse_session_destroy(s->se);
    free(s);
}
