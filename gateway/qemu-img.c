/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running qemu-img; see qemu-img.h.
 *
 *   stdin /dev/null    3 = the source    4 = the target of an import
 *   stdout             -> info: JSON; convert -p: "    (12.34/100%)\r"
 *   stderr             -> its last line becomes part of the sentence
 *
 * The disk of a dynamic VHD has the size that its footer tells, not the rounded one of its geometry (force_size_calc): so it is with a
 * fixed VHD that is adopted.
 */
#include "gateway/qemu-img.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core/ctl.h"
#include "core/util.h"
#include "gateway/copy.h"
#include "gateway/jail.h"
#include "gateway/proc.h"

#define SOURCE_FD     3
#define TARGET_FD     4
#define OUTPUT_MAX    ((size_t)1 << 20) /* of JSON; what comes behind is left out and makes it invalid */
#define INFO_MS       60000
#define INFO_CPU_S    60
#define CONVERT_CPU_S (48 * 3600)
#define POLL_MS       200

struct job {
    char *const *argv;
    int in, out; /* become 3 and 4; -1 = none */
    int dirfd;   /* working folder; -1 = "/" */
    const struct jail *jail;
    int64_t timeout_ms; /* 0 = none */
    struct progress *progress;
    uint64_t total; /* bytes that 100 % are */
};

struct result {
    char *out; /* of stdout, zero-terminated, OUTPUT_MAX at most; NULL with progress */
    char error[512];
    int status; /* as waitpid() tells it */
};

/* --- the program ------------------------------------------------------------------------------------------------- */

static int find_program(char *ret, size_t size, struct err *err)
{
    static const char *const folders[] = {"/usr/bin", "/usr/local/bin", "/bin"};
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        (void)snprintf(ret, size, "%s/qemu-img", folders[i]);
        if (access(ret, X_OK) == 0)
            return 0;
    }
    return err_set(err, -ENOENT,
                   "this needs the program qemu-img, which is not installed: run 'apt install qemu-utils'");
}

/* In the child, between fork() and exec(): only system calls. */
static void run_child(const struct job *j, const char *program, int out_w, int err_w)
{
    sigset_t none;
    int in = j->in < 0 ? -1 : fcntl(j->in, F_DUPFD, 16), out = j->out < 0 ? -1 : fcntl(j->out, F_DUPFD, 16);
    int null = open("/dev/null", O_RDONLY);
    int so = fcntl(out_w, F_DUPFD, 16), se = fcntl(err_w, F_DUPFD, 16);
    if (null < 0 || so < 0 || se < 0 || dup2(null, 0) < 0 || dup2(so, 1) < 0 || dup2(se, 2) < 0)
        _exit(126);
    if ((j->dirfd >= 0 ? fchdir(j->dirfd) : chdir("/")) < 0)
        _exit(126);
    if ((in >= 0 && dup2(in, SOURCE_FD) < 0) || (out >= 0 && dup2(out, TARGET_FD) < 0))
        _exit(126);
    (void)syscall(SYS_close_range,
                  out >= 0  ? TARGET_FD + 1
                  : in >= 0 ? SOURCE_FD + 1
                            : 3,
                  ~0U, 0); /* they end with us */
    (void)sigemptyset(&none);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || (j->jail && jail_enter(j->jail) < 0))
        _exit(125);
    (void)execv(program, j->argv); /* returns only on failure */
    _exit(127);
}

/* --- its output -------------------------------------------------------------------------------------------------- */

struct stream {
    int fd;
    char *buf;
    size_t len, max;
};

/* Take what is there. False at the end. What does not fit is dropped. */
static bool stream_take(struct stream *s)
{
    char piece[4096];
    ssize_t n = read(s->fd, piece, sizeof(piece));
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    size_t take = MIN((size_t)n, s->max - s->len);
    memcpy(s->buf + s->len, piece, take);
    s->len += take;
    s->buf[s->len] = 0;
    return n > 0;
}

/* The last "(12.34/100%)" of the text. */
static void show_progress(const struct job *j, struct stream *s)
{
    char *at = strrchr(s->buf, '(');
    double percent;
    if (at && strchr(at, ')') && sscanf(at, "(%lf/100%%)", &percent) == 1 && percent >= 0 && percent <= 100)
        progress_update(j->progress, (uint64_t)((double)j->total * percent / 100), j->total);
    size_t keep = at && !strchr(at, ')') ? s->len - (size_t)(at - s->buf) : 0;
    memmove(s->buf, at ? at : s->buf, keep);
    s->len = keep;
    s->buf[keep] = 0;
}

/* Until both streams end. -EINTR, -ETIMEDOUT: the child is still there. */
static int follow(const struct job *j, struct stream *out, struct stream *errs)
{
    int64_t start = proc_now_ms();
    struct pollfd p[2] = {{out->fd, POLLIN, 0}, {errs->fd, POLLIN, 0}};
    while (p[0].fd >= 0 || p[1].fd >= 0) {
        if (interrupts_came())
            return -EINTR;
        if (j->timeout_ms && proc_now_ms() - start > j->timeout_ms)
            return -ETIMEDOUT;
        if (poll(p, 2, POLL_MS) <= 0)
            continue;
        if (p[0].revents && !stream_take(out))
            p[0].fd = -1;
        if (p[1].revents && !stream_take(errs))
            p[1].fd = -1;
        if (j->progress)
            show_progress(j, out);
    }
    return 0;
}

/* The last line that says something, fit for a terminal. */
static void last_line(const struct stream *s, char *ret, size_t max)
{
    const char *end = s->buf + s->len;
    while (end > s->buf && (end[-1] == '\n' || end[-1] == ' '))
        end--;
    const char *begin = end;
    while (begin > s->buf && begin[-1] != '\n')
        begin--;
    size_t n = MIN((size_t)(end - begin), max - 1);
    for (size_t i = 0; i < n; i++)
        ret[i] = (unsigned char)begin[i] < ' ' || begin[i] == 127 ? '?' : begin[i];
    ret[n] = 0;
}

static int supervise(const struct job *j, pid_t pid, int out_fd, int err_fd, struct result *ret, struct err *err)
{
    _cleanup_free_ char *out_buf = malloc(OUTPUT_MAX + 1), *err_buf = malloc(4096 + 1);
    struct stream out = {out_fd, out_buf, 0, OUTPUT_MAX}, errs = {err_fd, err_buf, 0, 4096};
    int r = -ENOMEM;
    if (out_buf && err_buf) {
        out_buf[0] = err_buf[0] = 0;
        r = follow(j, &out, &errs);
    }
    if (r < 0)
        (void)kill(pid, SIGKILL); /* our child, not yet reaped */
    while (waitpid(pid, &ret->status, 0) < 0 && errno == EINTR)
        ;
    if (r == -EINTR || interrupts_came())
        return err_set(err, -EINTR, "interrupted, nothing was made");
    if (r == -ETIMEDOUT)
        return err_set(err, r, "qemu-img did not end within %d s", (int)(j->timeout_ms / 1000));
    if (r < 0)
        return err_sys(err, r, "cannot run qemu-img");
    last_line(&errs, ret->error, sizeof(ret->error));
    ret->out = take_ptr(out_buf);
    return 0;
}

static int run(const struct job *j, struct result *ret, struct err *err)
{
    char program[64];
    int o[2] = {-1, -1}, e[2] = {-1, -1};
    int r = find_program(program, sizeof(program), err);
    if (r < 0)
        return r;
    if (pipe2(o, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot run qemu-img");
    _cleanup_close_ int out_fd = o[0], out_w = o[1];
    if (pipe2(e, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot run qemu-img");
    _cleanup_close_ int err_fd = e[0], err_w = e[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_sys(err, -errno, "cannot run qemu-img");
    if (pid == 0)
        run_child(j, program, out_w, err_w);
    closep(&out_w), out_w = -1;
    closep(&err_w), err_w = -1;
    return supervise(j, pid, out_fd, err_fd, ret, err);
}

/* Without the names that only we and qemu-img know the file by. */
static const char *plain_error(const char *text)
{
    static const char *const prefixes[] = {"Could not open 'driver=", "Could not open '/dev/fd/"};
    if (strncmp(text, "qemu-img: ", 10) == 0)
        text += 10;
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        const char *rest = strncmp(text, prefixes[i], strlen(prefixes[i])) == 0 ? strstr(text, "': ") : NULL;
        if (rest)
            text = rest + 3;
    }
    return text;
}

/* What its end means for @path: 0, or a sentence. */
static int judge_end(const struct result *res, const char *deed, const char *path, struct err *err)
{
    if (WIFEXITED(res->status) && WEXITSTATUS(res->status) == 0)
        return 0;
    if (WIFSIGNALED(res->status))
        return err_set(err, -EIO, "cannot %s '%s': qemu-img was ended by signal %d%s", deed, path,
                       WTERMSIG(res->status), WTERMSIG(res->status) == SIGXFSZ ? " (it wrote too much)" : "");
    if (WEXITSTATUS(res->status) == 125)
        return err_set(err, -EPERM, "cannot %s '%s': qemu-img cannot be run without privileges here", deed, path);
    const char *text = plain_error(res->error);
    return err_set(err, -EIO, "cannot %s '%s': %s", deed, path, *text ? text : "qemu-img failed and does not say why");
}

/* --- info -------------------------------------------------------------------------------------------------------- */

const char *qemu_format_name(const char *driver)
{
    return strcmp(driver, "vpc") == 0 ? "vhd" : driver;
}

static void source_options(const struct qemu_source *s, char *ret, size_t size)
{
    (void)snprintf(ret, size, "driver=%s%s,file.driver=file,file.filename=/dev/fd/%d", s->driver,
                   strcmp(s->driver, "vpc") == 0 ? ",force_size_calc=current_size" : "", SOURCE_FD);
}

static int refuse_part(const struct qemu_source *s, const char *other, struct err *err)
{
    char shown[256];
    size_t n = 0;
    for (; other[n] && n + 1 < sizeof(shown); n++)
        shown[n] = (unsigned char)other[n] < ' ' || other[n] == 127 ? '?' : other[n];
    shown[n] = 0;
    return err_set(
        err, -EOPNOTSUPP,
        "'%s' is only a part of a disk: it refers to another file%s%s%s, which is not followed; make one whole "
        "disk of it where all its parts are, with 'qemu-img convert -O raw %s NEW', and add that",
        s->path, *shown ? " ('" : "", shown, *shown ? "')" : "", s->path);
}

static uint64_t be64(const unsigned char *p)
{
    uint64_t n = 0;
    for (int i = 0; i < 8; i++)
        n = n << 8 | p[i];
    return n;
}

/* What a qcow2's own header says, before anybody else reads the file. Source: qemu, docs/interop/qcow2.txt (documented). */
static int check_qcow2(const struct qemu_source *s, struct err *err)
{
    unsigned char head[104] = {0};
    int r = pread_full(s->fd, head, sizeof(head), 0);
    if (r < 0)
        return err_sys(err, r, "cannot read '%s'", s->path);
    bool is_v3 = head[7] >= 3;
    if (be64(head + 8) != 0 || (is_v3 && (be64(head + 72) & 4)))
        return refuse_part(s, "", err);
    if (head[32] || head[33] || head[34] || head[35])
        return err_set(err, -EOPNOTSUPP, "'%s' is encrypted: decrypt it with qemu-img convert first and add that",
                       s->path);
    return 0;
}

static const char *text_of(json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* Refuse what refers to other files. */
static int check_alone(const struct qemu_source *s, json_t *info, struct err *err)
{
    static const char *const keys[] = {"backing-filename", "full-backing-filename", "data-file"};
    json_t *data = json_object_get(json_object_get(info, "format-specific"), "data"), *extent;
    char own[32];
    size_t i;
    (void)snprintf(own, sizeof(own), "/dev/fd/%d", SOURCE_FD);
    for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
        json_t *a = json_object_get(info, keys[k]), *b = json_object_get(data, keys[k]);
        if (a || b)
            return refuse_part(s, json_string_value(a ? a : b) ?: "", err);
    }
    json_array_foreach(json_object_get(data, "extents"), i, extent)
    {
        const char *file = text_of(extent, "filename");
        if (!file || strcmp(file, own) != 0)
            return refuse_part(s, file ? file : "", err);
    }
    if (json_is_true(json_object_get(info, "encrypted")))
        return err_set(err, -EOPNOTSUPP, "'%s' is encrypted: decrypt it with qemu-img convert first and add that",
                       s->path);
    return 0;
}

static int take_info(const struct qemu_source *s, const char *text, uint64_t *ret_size, uint64_t *ret_used,
                     struct err *err)
{
    json_error_t where;
    _cleanup_json_ json_t *info = json_loads(text, 0, &where);
    const char *format = text_of(info, "format");
    json_int_t size = json_integer_value(json_object_get(info, "virtual-size"));
    json_int_t used = json_integer_value(json_object_get(info, "actual-size"));
    if (!format || strcmp(format, s->driver) != 0)
        return err_set(err, -EIO, "qemu-img does not tell about '%s' what is expected of it", s->path);
    int r = check_alone(s, info, err);
    if (r < 0)
        return r;
    if (size <= 0 || size % (json_int_t)SECTOR_BYTES || used < 0)
        return err_set(err, -EBADMSG, "'%s' holds a disk of %lld bytes, which cannot be", s->path, (long long)size);
    *ret_size = (uint64_t)size;
    *ret_used = (uint64_t)used;
    return 0;
}

static int add_advice(struct err *err)
{
    struct err was = *err;
    return err_set(err, -EBADMSG, "%.900s; if it is damaged or cut short, copy it again from its source", was.msg);
}

int qemu_info(const struct qemu_source *s, uint64_t *ret_size_bytes, uint64_t *ret_used_bytes, struct err *err)
{
    char options[128];
    struct result res = {0};
    struct jail jail = {.file_bytes_max = 0, .cpu_s_max = INFO_CPU_S, .read_fd = SOURCE_FD, .write_fd = -1};
    source_options(s, options, sizeof(options));
    char *argv[] = {(char *)"qemu-img", (char *)"info", (char *)"--output=json", (char *)"--image-opts", options, NULL};
    struct job j = {.argv = argv, .in = s->fd, .out = -1, .dirfd = -1, .jail = &jail, .timeout_ms = INFO_MS};
    int r = strcmp(s->driver, "qcow2") == 0 ? check_qcow2(s, err) : 0;
    if (r == 0)
        r = jail_pick_user(&jail, s->user, s->fd, s->path, err);
    if (r == 0)
        r = run(&j, &res, err);
    if (r == 0)
        r = judge_end(&res, "read", s->path, err);
    if (r == -EIO)
        r = add_advice(err);
    if (r == 0)
        r = take_info(s, res.out, ret_size_bytes, ret_used_bytes, err);
    free(res.out);
    return r;
}

/* --- check ------------------------------------------------------------------------------------------------------- */

enum { CHECK_SOUND = 0, CHECK_LEAKS = 3, CHECK_UNKNOWN = 63 }; /* qemu-img(1): exit status of check */

static uint32_t le32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int refuse_damaged(const struct qemu_source *s, const char *why, struct err *err)
{
    return err_set(err, -EBADMSG, "'%s' is damaged or cut short%s%s: copy it again from its source", s->path,
                   *why ? ": " : "", why);
}

/* qemu-img looks at the tables of a VDI only. Source: qemu, block/vdi.c, struct VdiHeader (seen in its source). */
static int check_vdi(const struct qemu_source *s, struct err *err)
{
    unsigned char head[0x188];
    struct stat st;
    uint64_t bytes;
    int r = pread_full(s->fd, head, sizeof(head), 0);
    if (r < 0 || fstat(s->fd, &st) < 0)
        return err_sys(err, r < 0 ? r : -errno, "cannot read '%s'", s->path);
    if (!mul_ok(le32(head + 0x178), le32(head + 0x184), &bytes) || bytes > INT64_MAX / 2 ||
        (S_ISREG(st.st_mode) && bytes + le32(head + 0x158) > (uint64_t)st.st_size))
        return refuse_damaged(s, "it has fewer blocks than its header tells", err);
    return 0;
}

int qemu_check(const struct qemu_source *s, struct err *err)
{
    char options[128];
    struct result res = {0};
    struct jail jail = {.file_bytes_max = 0, .cpu_s_max = CONVERT_CPU_S, .read_fd = SOURCE_FD, .write_fd = -1};
    source_options(s, options, sizeof(options));
    char *argv[] = {(char *)"qemu-img", (char *)"check", (char *)"--image-opts", options, NULL};
    struct job j = {.argv = argv, .in = s->fd, .out = -1, .dirfd = -1, .jail = &jail};
    int r = strcmp(s->driver, "vdi") == 0 ? check_vdi(s, err) : 0;
    if (r == 0)
        r = jail_pick_user(&jail, s->user, s->fd, s->path, err);
    if (r == 0)
        r = run(&j, &res, err);
    free(res.out);
    if (r < 0)
        return r;
    int status = WIFEXITED(res.status) ? WEXITSTATUS(res.status) : -1;
    if (status == CHECK_SOUND || status == CHECK_LEAKS || status == CHECK_UNKNOWN)
        return 0;
    return refuse_damaged(s, "", err);
}

/* --- import ------------------------------------------------------------------------------------------------------ */

int qemu_import(const struct qemu_source *s, int out, uint64_t size_bytes, struct progress *p, struct err *err)
{
    char options[128], target[32];
    struct result res = {0};
    struct stat st;
    struct jail jail = {
        .file_bytes_max = size_bytes, .cpu_s_max = CONVERT_CPU_S, .read_fd = SOURCE_FD, .write_fd = TARGET_FD};
    source_options(s, options, sizeof(options));
    (void)snprintf(target, sizeof(target), "/dev/fd/%d", TARGET_FD);
    char *argv[] = {(char *)"qemu-img",
                    (char *)"convert",
                    (char *)"-p",
                    (char *)"-n",
                    (char *)"--target-is-zero",
                    (char *)"--image-opts",
                    (char *)"-O",
                    (char *)"raw",
                    options,
                    target,
                    NULL};
    struct job j = {
        .argv = argv, .in = s->fd, .out = out, .dirfd = -1, .jail = &jail, .progress = p, .total = size_bytes};
    int r = jail_pick_user(&jail, s->user, s->fd, s->path, err);
    if (r < 0)
        return r;
    if (fstat(out, &st) < 0 || ftruncate(out, (off_t)size_bytes) < 0)
        return err_sys(err, -errno, "cannot make a disk of %" PRIu64 " bytes in the root", size_bytes);
    bool is_given = jail.uid != geteuid();
    if (is_given && fchown(out, jail.uid, jail.gid) < 0)
        return err_sys(err, -errno, "cannot give the new file to the user that converts");
    r = run(&j, &res, err);
    if (r == 0)
        r = judge_end(&res, "convert", s->path, err);
    if (r == 0 && is_given && fchown(out, st.st_uid, st.st_gid) < 0)
        r = err_sys(err, -errno, "cannot take the new file back");
    free(res.out);
    return r;
}

/* --- export ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *format, *driver, *options;
} exports[] = {
    {"vhd", "vpc", "subformat=fixed,force_size=on"},
    {"vhdx", "vhdx", NULL},
    {"vmdk", "vmdk", NULL},
    {"vdi", "vdi", NULL},
    {"qcow2", "qcow2", NULL},
};

bool qemu_can_export(const char *format)
{
    for (size_t i = 0; i < ARRAY_SIZE(exports); i++)
        if (strcmp(exports[i].format, format) == 0)
            return true;
    return false;
}

int qemu_export(int in, uint64_t len, bool is_whole_file, int dirfd, const char *name, const char *format,
                struct progress *p, struct err *err)
{
    char source[128], size[32] = "", target[NAME_MAX + 8];
    struct result res = {0};
    size_t i = 0, n = 0;
    while (strcmp(exports[i].format, format) != 0) /* the caller asked qemu_can_export() */
        i++;
    if (!is_whole_file)
        (void)snprintf(size, sizeof(size), ",size=%" PRIu64, len);
    (void)snprintf(source, sizeof(source), "driver=raw%s,file.driver=file,file.filename=/dev/fd/%d", size, SOURCE_FD);
    (void)snprintf(target, sizeof(target), "./%s", name); /* never an option, never "nbd:..." */
    char *argv[16] = {(char *)"qemu-img", (char *)"convert", (char *)"-p", (char *)"--image-opts", (char *)"-O"};
    n = 5;
    argv[n++] = (char *)(uintptr_t)exports[i].driver;
    if (exports[i].options) {
        argv[n++] = (char *)"-o";
        argv[n++] = (char *)(uintptr_t)exports[i].options;
    }
    argv[n++] = source;
    argv[n++] = target;
    struct job j = {.argv = argv, .in = in, .out = -1, .dirfd = dirfd, .progress = p, .total = len};
    int r = run(&j, &res, err);
    if (r == 0)
        r = judge_end(&res, "write", name, err);
    free(res.out);
    return r;
}
