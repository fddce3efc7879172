/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `image export`: one version of an image becomes a file of its own, for another hypervisor or another place.
 *
 *   FILE's folder/.NAME.diskgate-PID/NAME    written, synced, compared; then renamed to FILE
 *
 * (1) FILE is either what it was or complete. Without --force it is never replaced (RENAME_NOREPLACE). An interrupt or a failure
 *     removes the folder.
 * (2) FILE is never a file of an image of this root, under whatever name.
 * (3) What is written was verified against the catalog's record before. A raw copy is read again and its full hash compared.
 *
 * The folder of its own lets qemu-img make FILE under its final name, which a VMDK holds inside.
 */
#include "gateway/cmd-image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "core/catalog.h"
#include "core/image.h"
#include "core/names.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/cmd.h"
#include "gateway/copy.h"
#include "gateway/qemu-img.h"
#include "gateway/version-file.h"

struct exporting {
    const char *format;
    struct version_row version;
    char source[PATH_MAX];
    int in;
    struct image_info info;
    char folder[PATH_MAX], name[NAME_MAX + 1]; /* of FILE; the folder is a real path */
    char path[PATH_MAX];                       /* both together */
    int dirfd;                                 /* the folder */
    char temp[NAME_MAX + 1];                   /* folder in it */
    int tempfd;
};

/* --- what ------------------------------------------------------------------------------------------------------- */

static int open_version(struct cmd *cmd, struct catalog *c, struct exporting *x, struct err *err)
{
    char image[NAME_LEN + 1];
    uint32_t number;
    int r = image_ref_parse(cmd_arg(cmd, 0), image, &number, err);
    if (r == 0)
        r = version_find(c, image, number, &x->version, err);
    if (r == 0)
        r = version_path(cmd->root, &x->version, x->source, err);
    if (r < 0)
        return r;
    if (x->version.parent_id)
        return err_set(err, -EOPNOTSUPP,
                       "version %u of image '%s' is a layer over another one, which cannot be exported yet",
                       x->version.number, x->version.image);
    x->in = open(x->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (x->in < 0)
        return err_sys(err, -errno, "cannot open '%s' of image '%s'", x->source, x->version.image);
    const struct version_row *v = &x->version;
    const struct image_record rec = {x->source, v->format, v->identity, v->full_hash, v->file_bytes, v->mtime_ns};
    r = image_verify(x->in, &rec, &x->info, err);
    return r < 0 ? err_prefix(err, r, "image '%s'", v->image) : 0;
}

/* --- where ------------------------------------------------------------------------------------------------------- */

static int split_path(const char *file, struct exporting *x, struct err *err)
{
    char copy[PATH_MAX];
    if (strlen(file) >= sizeof(copy))
        return err_set(err, -ENAMETOOLONG, "the path '%.80s...' is too long", file);
    strcpy(copy, file);
    char *slash = strrchr(copy, '/');
    const char *name = slash ? slash + 1 : copy, *folder = !slash ? "." : slash == copy ? "/" : copy;
    if (strlen(name) > sizeof(x->name) - 32 || !*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return err_set(err, -EINVAL, "'%s' cannot be the name of a new file", file);
    strcpy(x->name, name);
    if (slash)
        *slash = 0;
    if (!realpath(folder, x->folder))
        return err_sys(err, -errno, "cannot find the folder of '%s'", file);
    if ((size_t)snprintf(x->path, sizeof(x->path), "%s/%s", strcmp(x->folder, "/") == 0 ? "" : x->folder, x->name) >=
        sizeof(x->path))
        return err_set(err, -ENAMETOOLONG, "the path '%.80s...' is too long", file);
    x->dirfd = open(x->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return x->dirfd < 0 ? err_sys(err, -errno, "cannot open the folder '%s'", x->folder) : 0;
}

/* The image whose file @st is, NULL when there is none. */
static const struct version_row *image_at(const char *root, const struct version_row *rows, size_t n,
                                          const struct stat *st)
{
    for (size_t i = 0; i < n; i++) {
        char path[PATH_MAX];
        struct stat own;
        if (version_path(root, &rows[i], path, NULL) == 0 && stat(path, &own) == 0 && own.st_dev == st->st_dev &&
            own.st_ino == st->st_ino)
            return &rows[i];
    }
    return NULL;
}

/* Folders of the root that hold our own files. */
static int refuse_root(const char *root, const struct exporting *x, struct err *err)
{
    size_t len = strlen(root);
    if (strncmp(x->path, root, len) == 0 && x->path[len] == '/')
        return err_set(err, -EINVAL,
                       "'%s' is inside of the root, which Diskgate keeps for itself: name a place outside of it",
                       x->path);
    return 0;
}

static int check_place(struct cmd *cmd, struct catalog *c, const struct exporting *x, struct err *err)
{
    _cleanup_free_ struct version_row *rows = NULL;
    size_t n = 0;
    struct stat st, target;
    int r = refuse_root(cmd->root, x, err);
    if (r == 0)
        r = version_list(c, NULL, &rows, &n, err);
    if (r < 0 || fstatat(x->dirfd, x->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return r; /* not there: fine */
    bool is_known = fstatat(x->dirfd, x->name, &target, 0) == 0;
    const struct version_row *v = is_known ? image_at(cmd->root, rows, n, &target) : NULL;
    if (v)
        return err_set(err, -EEXIST, "'%s' is the file of image '%s' (version %u): choose another name", x->path,
                       v->image, v->number);
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return err_set(err, -EINVAL, "'%s' is no file and cannot be replaced by one: choose another name", x->path);
    if (!cmd_has(cmd, "force"))
        return err_set(err, -EEXIST, "'%s' exists already: choose another name, or replace it with --force", x->path);
    return 0;
}

static int check_room(const struct exporting *x, struct err *err)
{
    struct statvfs fs;
    struct stat st;
    char need[32], room[32];
    if (fstatvfs(x->dirfd, &fs) < 0 || fstat(x->in, &st) < 0)
        return err_sys(err, -errno, "cannot examine the file system of '%s'", x->path);
    uint64_t used = S_ISREG(st.st_mode) ? MIN((uint64_t)st.st_blocks * 512, x->info.size_bytes) : 0;
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    size_text(used, need);
    size_text(free_bytes, room);
    if (free_bytes >= used)
        return 0;
    return err_set(err, -ENOSPC,
                   "'%s' needs about %s and only %s are free there: make room, or name a place on another disk",
                   x->path, need, room);
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static int hash_of(int fd, const struct image_info *info, struct progress *p, char *ret, struct err *err)
{
    int r = image_full_hash(fd, info, ret, progress_callback, p, err);
    progress_finish(p);
    return r;
}

/* Read the copy again. What was recorded counts; where nothing was, the source is read as well. */
static int compare(const struct exporting *x, int out, struct progress *p, struct err *err)
{
    char want[HASH_LEN + 1], have[HASH_LEN + 1];
    struct image_info info = x->info;
    struct stat st;
    int r = 0;
    strcpy(want, x->version.full_hash);
    if (!want[0])
        r = hash_of(x->in, &x->info, p, want, err);
    if (r < 0)
        return r;
    if (fstat(out, &st) < 0)
        return err_sys(err, -errno, "cannot examine '%s'", x->path);
    info.file_bytes = (uint64_t)st.st_size;
    info.mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    r = hash_of(out, &info, p, have, err);
    if (r == 0 && strcmp(want, have) != 0)
        r = err_set(err, -EIO, "what was written to '%s' does not read back as image '%s': nothing was exported",
                    x->path, x->version.image);
    return r;
}

static int write_raw(const struct exporting *x, struct progress *p, struct err *err)
{
    _cleanup_close_ int out = openat(x->tempfd, x->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (out < 0 || ftruncate(out, (off_t)x->info.size_bytes) < 0)
        return err_sys(err, -errno, "cannot make '%s'", x->path);
    int r = copy_sparse(x->in, out, x->info.data_bytes, p);
    progress_finish(p);
    if (r == -EINTR || interrupts_came())
        return err_set(err, -EINTR, "interrupted, nothing was exported");
    if (r < 0)
        return err_sys(err, r, "cannot write '%s'", x->path);
    if (fsync(out) < 0)
        return err_sys(err, -errno, "cannot write '%s'", x->path);
    return compare(x, out, p, err);
}

static int write_other(const struct exporting *x, struct progress *p, struct err *err)
{
    bool is_whole = x->info.data_bytes == x->info.file_bytes;
    if (!is_whole && x->info.data_bytes % SECTOR_BYTES)
        return err_set(err, -EOPNOTSUPP, "the disk of image '%s' ends within a sector: export it with --format raw",
                       x->version.image);
    int r = qemu_export(x->in, x->info.data_bytes, is_whole, x->tempfd, x->name, x->format, p, err);
    progress_finish(p);
    if (r < 0)
        return r;
    _cleanup_close_ int out = openat(x->tempfd, x->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (out < 0 || fchmod(out, 0640) < 0 || fsync(out) < 0)
        return err_sys(err, -errno, "cannot write '%s'", x->path);
    return 0;
}

static int put_in_place(const struct exporting *x, bool is_forced, struct err *err)
{
    unsigned flags = is_forced ? 0 : RENAME_NOREPLACE;
    if (interrupts_came())
        return err_set(err, -EINTR, "interrupted, nothing was exported");
    int r = renameat2(x->tempfd, x->name, x->dirfd, x->name, flags);
    if (r < 0 && errno == EINVAL && flags) /* a file system that cannot: a hard link never replaces */
        r = linkat(x->tempfd, x->name, x->dirfd, x->name, 0);
    if (r < 0 || fsync(x->dirfd) < 0)
        return err_sys(err, -errno, "cannot put '%s' in its place", x->path);
    return 0;
}

static int make_temp(struct exporting *x, struct err *err)
{
    (void)snprintf(x->temp, sizeof(x->temp), ".%.200s.diskgate-%d", x->name, (int)getpid());
    if (mkdirat(x->dirfd, x->temp, 0700) < 0)
        return err_sys(err, -errno, "cannot write into the folder '%s'", x->folder);
    x->tempfd = openat(x->dirfd, x->temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return x->tempfd < 0 ? err_sys(err, -errno, "cannot write into the folder '%s'", x->folder) : 0;
}

static int write_file(struct cmd *cmd, struct exporting *x, struct err *err)
{
    struct progress p;
    progress_init(&p, "exporting", cmd->is_quiet);
    int r = progress_to_fd(&p, cmd_option(cmd, "progress"), err);
    if (r == 0)
        r = make_temp(x, err);
    if (r == 0)
        r = strcmp(x->format, "raw") == 0 ? write_raw(x, &p, err) : write_other(x, &p, err);
    if (r == 0)
        r = put_in_place(x, cmd_has(cmd, "force"), err);
    if (x->tempfd >= 0)
        (void)unlinkat(x->tempfd, x->name, 0); /* gone already on success */
    if (x->temp[0])
        (void)unlinkat(x->dirfd, x->temp, AT_REMOVEDIR); /* what cannot be removed says by its name what it is */
    return r;
}

/* The name does not choose the format, and who reads it later may think that it does. */
static void note_name(const struct exporting *x)
{
    static const char *const endings[] = {"vhd", "vhdx", "vmdk", "vdi", "qcow2", "raw"};
    const char *dot = strrchr(x->name, '.');
    for (size_t i = 0; dot && i < ARRAY_SIZE(endings); i++)
        if (strcasecmp(dot + 1, endings[i]) == 0 && strcmp(endings[i], x->format) != 0)
            warn_line("note: '%s' is called .%s and becomes a %s disk; --format %s makes it what its name says",
                      x->path, endings[i], x->format, endings[i]);
}

/* --- the verb ---------------------------------------------------------------------------------------------------- */

static int prepare(struct cmd *cmd, struct exporting *x, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    x->format = cmd_option(cmd, "format") ?: "raw";
    if (strcmp(x->format, "raw") != 0 && !qemu_can_export(x->format))
        return err_set(err, -EINVAL, "image format '%s' is not one of raw, vhd, vhdx, vmdk, vdi, qcow2", x->format);
    int r = read_open(cmd, &c, err);
    if (r == 0)
        r = split_path(cmd_arg(cmd, 1), x, err);
    if (r == 0)
        r = open_version(cmd, c, x, err);
    if (r == 0)
        r = check_place(cmd, c, x, err);
    return r < 0 ? r : check_room(x, err);
}

static int export(struct cmd *cmd, struct exporting *x, struct err *err)
{
    char size[32], text[PATH_MAX + 256];
    sigset_t old;
    int r = prepare(cmd, x, err);
    if (r < 0)
        return r;
    if (!cmd->is_quiet)
        note_name(x);
    if (!cmd->is_dry_run) {
        interrupts_hold(&old);
        r = write_file(cmd, x, err);
        interrupts_release(&old);
    }
    if (r < 0)
        return r;
    size_text(x->info.size_bytes, size);
    (void)snprintf(text, sizeof(text), "version %u of image '%s' was exported to '%s': %s, %s", x->version.number,
                   x->version.image, x->path, x->format, size);
    if (!cmd->is_quiet)
        out_line(&cmd->out, "%s%s", text, cmd->is_dry_run ? " (dry run: nothing was written)" : "");
    out_set(&cmd->out, "message", out_string(text));
    out_set(&cmd->out, "image", out_string(x->version.image));
    out_set(&cmd->out, "version", json_integer(x->version.number));
    out_set(&cmd->out, "path", out_string(x->path));
    out_set(&cmd->out, "format", out_string(x->format));
    out_set(&cmd->out, "size_bytes", json_integer((json_int_t)x->info.size_bytes));
    out_set(&cmd->out, "is_dry_run", json_boolean(cmd->is_dry_run));
    return EXIT_DONE;
}

static int run_export(struct cmd *cmd, struct err *err)
{
    struct exporting *x = calloc(1, sizeof(*x));
    if (!x)
        return err_set(err, -ENOMEM, "memory is out");
    x->in = x->dirfd = x->tempfd = -1;
    int r = export(cmd, x, err);
    closep(&x->in);
    closep(&x->dirfd);
    closep(&x->tempfd);
    free(x);
    return r;
}

static const struct option_def export_options[] = {
    {"format", 0, "F", "raw (default), vhd (fixed), vhdx, vmdk, vdi or qcow2"},
    {"force", 0, NULL, "replace FILE if it exists"},
    PROGRESS_OPTION,
    {0}};

const struct verb cmd_image_export_verbs[] = {
    {"image", "export", "NAME[@N] FILE", "Write a version of an image into a file of its own",
     "Zeros take no space in FILE where its format and file system can do without. A raw file is read again and "
     "compared.",
     export_options, run_export, VERB_DRY_RUN},
    {0},
};
