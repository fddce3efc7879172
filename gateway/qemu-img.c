/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What we ask qemu-img to do; see qemu-img.h.
 *
 * The disk of a dynamic VHD has the size that its footer tells, not the rounded one of its geometry (force_size_calc): so it is with a
 * fixed VHD that is adopted.
 */
#include "gateway/qemu-img.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/bytes.h"
#include "core/json.h"
#include "core/util.h"
#include "gateway/qemu-run.h"
#include "gateway/vhdx.h"

#define INFO_MS       60000
#define INFO_CPU_S    60
#define CONVERT_CPU_S (48 * 3600)

/* --- info -------------------------------------------------------------------------------------------------------- */

const char *qemu_format_name(const char *driver)
{
    return strcmp(driver, "vpc") == 0 ? "vhd" : driver;
}

static void source_options(const struct qemu_source *s, char *ret, size_t size)
{
    (void)snprintf(ret, size, "driver=%s%s,file.driver=file,file.filename=/dev/fd/%d", s->driver,
                   strcmp(s->driver, "vpc") == 0 ? ",force_size_calc=current_size" : "", QEMU_SOURCE_FD);
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

static int check_vhdx(const struct qemu_source *s, struct err *err)
{
    if (!vhdx_has_parent(s->fd))
        return 0;
    return err_set(err, -EOPNOTSUPP,
                   "'%s' is a differencing VHDX, only the changes over another disk: merge it into its parent first "
                   "(Merge-VHD, or Edit Disk in Hyper-V Manager), and take the parent",
                   s->path);
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
    (void)snprintf(own, sizeof(own), "/dev/fd/%d", QEMU_SOURCE_FD);
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
    struct qemu_result res = {0};
    struct jail jail = {.file_bytes_max = 0, .cpu_s_max = INFO_CPU_S, .read_fd = QEMU_SOURCE_FD, .write_fd = -1};
    source_options(s, options, sizeof(options));
    char *argv[] = {(char *)"qemu-img", (char *)"info", (char *)"--output=json", (char *)"--image-opts", options, NULL};
    struct qemu_job j = {.argv = argv, .in = s->fd, .out = -1, .dirfd = -1, .jail = &jail, .timeout_ms = INFO_MS};
    int r = strcmp(s->driver, "qcow2") == 0  ? check_qcow2(s, err)
            : strcmp(s->driver, "vhdx") == 0 ? check_vhdx(s, err)
                                             : 0;
    if (r == 0)
        r = jail_pick_user(&jail, s->user, s->fd, s->path, err);
    if (r == 0)
        r = qemu_run(&j, &res, err);
    if (r == 0)
        r = qemu_judge(&res, "read", s->path, err);
    if (r == -EIO)
        r = add_advice(err);
    if (r == 0)
        r = take_info(s, res.out, ret_size_bytes, ret_used_bytes, err);
    free(res.out);
    return r;
}

/* --- check ------------------------------------------------------------------------------------------------------- */

enum { CHECK_SOUND = 0, CHECK_LEAKS = 3, CHECK_UNKNOWN = 63 }; /* qemu-img(1): exit status of check */

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
    if (!mul_ok(get_u32(head + 0x178), get_u32(head + 0x184), &bytes) || bytes > INT64_MAX / 2 ||
        (S_ISREG(st.st_mode) && bytes + get_u32(head + 0x158) > (uint64_t)st.st_size))
        return refuse_damaged(s, "it has fewer blocks than its header tells", err);
    return 0;
}

int qemu_check(const struct qemu_source *s, struct err *err)
{
    char options[128];
    struct qemu_result res = {0};
    struct jail jail = {.file_bytes_max = 0, .cpu_s_max = CONVERT_CPU_S, .read_fd = QEMU_SOURCE_FD, .write_fd = -1};
    source_options(s, options, sizeof(options));
    char *argv[] = {(char *)"qemu-img", (char *)"check", (char *)"--image-opts", options, NULL};
    struct qemu_job j = {.argv = argv, .in = s->fd, .out = -1, .dirfd = -1, .jail = &jail};
    int r = strcmp(s->driver, "vdi") == 0 ? check_vdi(s, err) : 0;
    if (r == 0)
        r = jail_pick_user(&jail, s->user, s->fd, s->path, err);
    if (r == 0)
        r = qemu_run(&j, &res, err);
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
    struct qemu_result res = {0};
    struct stat st;
    struct jail jail = {.file_bytes_max = size_bytes,
                        .cpu_s_max = CONVERT_CPU_S,
                        .read_fd = QEMU_SOURCE_FD,
                        .write_fd = QEMU_TARGET_FD};
    source_options(s, options, sizeof(options));
    (void)snprintf(target, sizeof(target), "/dev/fd/%d", QEMU_TARGET_FD);
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
    struct qemu_job j = {
        .argv = argv, .in = s->fd, .out = out, .dirfd = -1, .jail = &jail, .progress = p, .total = size_bytes};
    int r = jail_pick_user(&jail, s->user, s->fd, s->path, err);
    if (r < 0)
        return r;
    if (fstat(out, &st) < 0 || ftruncate(out, (off_t)size_bytes) < 0)
        return err_sys(err, -errno, "cannot make a disk of %" PRIu64 " bytes in the root", size_bytes);
    bool is_given = jail.uid != geteuid();
    if (is_given && fchown(out, jail.uid, jail.gid) < 0)
        return err_sys(err, -errno, "cannot give the new file to the user that converts");
    r = qemu_run(&j, &res, err);
    if (r == 0)
        r = qemu_judge(&res, "convert", s->path, err);
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
    struct qemu_result res = {0};
    size_t i = 0, n = 0;
    while (strcmp(exports[i].format, format) != 0) /* the caller asked qemu_can_export() */
        i++;
    if (!is_whole_file)
        (void)snprintf(size, sizeof(size), ",size=%" PRIu64, len);
    (void)snprintf(source, sizeof(source), "driver=raw%s,file.driver=file,file.filename=/dev/fd/%d", size,
                   QEMU_SOURCE_FD);
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
    struct qemu_job j = {.argv = argv, .in = in, .out = -1, .dirfd = dirfd, .progress = p, .total = len};
    int r = qemu_run(&j, &res, err);
    if (r == 0)
        r = qemu_judge(&res, "write", name, err);
    free(res.out);
    return r;
}
