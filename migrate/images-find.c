/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which file a path of the old server means; see images-find.h.
 *
 * In this order: a rule of --map-path or of the mapping; the path itself where it is one of this machine; a file of that name below --search.
 * A file found by a rule is taken for what it is; of several found by name none is taken, unless they are the same file.
 *
 * CCBoot keeps changes of an image in numbered files beside it (NAME.001, ...). What is in them is not known to anybody but CCBoot, so
 * neither they nor the base below them can stand for the image.
 */
#include "migrate/images-find.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "core/root.h"
#include "core/util.h"
#include "core/vhd-chain.h"
#include "cli/output.h"
#include "migrate/normalise.h"
#include "migrate/text.h"

#define SEARCH_DEPTH   32
#define PROPOSAL_DEPTH 2

/* --- numbered differences ----------------------------------------------------------------------------------------- */

static bool is_numbered(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && name[n - 4] == '.' && isdigit((unsigned char)name[n - 3]) && isdigit((unsigned char)name[n - 2]) &&
           isdigit((unsigned char)name[n - 1]);
}

/* The first numbered difference beside @file: NAME.vhd.001 or NAME.001. */
static bool find_difference(const char *file, char *ret)
{
    char path[PATH_MAX];
    const char *dot = strrchr(path_name(file), '.');
    for (int with_ending = 1; with_ending >= 0; with_ending--)
        for (int n = 0; n <= 1; n++) {
            size_t len = with_ending || !dot ? strlen(file) : (size_t)(dot - file);
            if (snprintf(path, sizeof(path), "%.*s.%03d", (int)len, file, n) < (int)sizeof(path) &&
                path_find(path, ret) == 0)
                return true;
        }
    return false;
}

static void refuse_numbered(struct site_image *i)
{
    i->outcome = SITE_REFUSED;
    (void)snprintf(
        i->note, sizeof(i->note),
        "is one of CCBoot's numbered difference files, which only CCBoot can read: merge them into the image "
        "in CCBoot first, copy the merged image here and import again");
}

void check_differences(struct site_image *i, const struct image_search *how)
{
    char other[PATH_MAX];
    if (how->with_differences || !find_difference(i->file, other))
        return;
    i->outcome = SITE_REFUSED;
    text_format(i->note, sizeof(i->note),
                "beside '%s' lies '%s': CCBoot's newer state of the image, which only CCBoot can read; merge it in "
                "CCBoot first, or take the old base as it is with --ignore-differences",
                path_name(i->file), path_name(other));
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

struct found {
    struct site_image *image;
    char path[PATH_MAX]; /* the first */
    struct stat st;
    size_t n; /* different files */
};

static int take_candidate(void *arg, const char *path)
{
    struct found *f = arg;
    struct stat st;
    if (stat(path, &st) < 0 || (f->n && st.st_dev == f->st.st_dev && st.st_ino == f->st.st_ino))
        return 0;
    if (f->n++ == 0) {
        (void)snprintf(f->path, sizeof(f->path), "%s", path);
        f->st = st;
    }
    if (!f->image->candidates)
        f->image->candidates = json_array();
    if (json_array_size(f->image->candidates) < PROPOSALS_MAX)
        (void)json_array_append_new(f->image->candidates, out_string(path)); /* a shorter list is a list */
    return 0;
}

static void forget_candidates(struct site_image *i)
{
    json_decref(i->candidates);
    i->candidates = NULL;
}

/* It is taken when no other image of the source is called so, or when it lies in a folder of the right name. */
static bool may_take(struct site_image *i, const char *file)
{
    char wanted[RECORD_RAW_MAX + 1], is[PATH_MAX], shown[300];
    if (!i->rival)
        return true;
    path_folder(i->path, wanted);
    path_folder(file, is);
    if (text_same(wanted, is))
        return true;
    text_format(i->note, sizeof(i->note), "the source has another image of this name, '%s'",
                text_shown(i->rival, shown, sizeof(shown)));
    return false;
}

static int search_by_name(struct site_image *i, const struct image_search *how, struct err *err)
{
    char real[PATH_MAX], skip[PATH_MAX];
    struct found *f = calloc(1, sizeof(*f));
    const char *name = path_name(i->path);
    int r = f ? root_path(how->root, "run", skip, err) : err_set(err, -ENOMEM, "memory is out");
    if (f)
        f->image = i;
    for (const char *const *dir = how->dirs; r == 0 && *dir; dir++) {
        if (!realpath(*dir, real))
            r = err_sys(err, -errno, "cannot search the folder '%s'", *dir);
        else
            (void)path_search(real, name, SEARCH_DEPTH, skip, take_candidate, f); /* the callback ends nothing */
    }
    if (r == 0 && f->n == 1 && may_take(i, f->path)) {
        strcpy(i->file, f->path);
        forget_candidates(i);
    }
    free(f);
    return r;
}

static void say_missing(struct site_image *i, const char *why)
{
    i->outcome = SITE_MISSING;
    (void)snprintf(i->note, sizeof(i->note), "%s", why);
}

/* By rule or as it is. True when the question is answered. */
static bool find_by_path(struct site_image *i, const struct image_search *how)
{
    char wanted[PATH_MAX];
    struct stat st;
    bool is_mapped = path_map(&how->rules, i->path, wanted);
    if (!is_mapped && i->kind == PATH_POSIX)
        is_mapped = snprintf(wanted, sizeof(wanted), "%s", i->path) < (int)sizeof(wanted);
    if (!is_mapped)
        return false;
    int r = path_find(wanted, i->file);
    if (r == 0 && stat(i->file, &st) == 0 && S_ISREG(st.st_mode))
        return true;
    i->file[0] = 0;
    if (r == -EEXIST) {
        i->outcome = SITE_MISSING;
        text_format(i->note, sizeof(i->note),
                    "'%s' fits two files whose names differ in upper and lower case only: rename one of them", wanted);
        return true;
    }
    i->is_mapped = true;
    text_format(i->note, sizeof(i->note), "'%s' is not there", wanted);
    return false;
}

int find_file(struct site_image *i, const struct image_search *how, struct err *err)
{
    char real[PATH_MAX];
    if (i->is_dangling) {
        say_missing(i, "is no image of the source: its clients point at something that is not in the table of images");
        return 0;
    }
    if (i->kind == PATH_BROKEN || i->kind == PATH_DOTS || !*path_name(i->path)) {
        say_missing(i, i->kind == PATH_DOTS ? "a path with '..' in it is never followed" : "is no path of an image");
        return 0;
    }
    if (is_numbered(path_name(i->path))) {
        refuse_numbered(i);
        return 0;
    }
    bool is_answered = find_by_path(i, how);
    int r = is_answered ? 0 : search_by_name(i, how, err);
    if (r < 0 || i->outcome != SITE_OPEN)
        return r;
    if (!*i->file) {
        i->outcome = SITE_MISSING;
        return 0;
    }
    i->note[0] = 0;
    if (realpath(i->file, real))
        strcpy(i->file, real);
    check_differences(i, how);
    return 0;
}

int find_in_catalog(const char *root, struct catalog *c, const char *file, int64_t *ret_id, struct err *err)
{
    _cleanup_free_ struct version_row *rows = NULL;
    size_t n = 0;
    struct stat ours, st;
    char path[PATH_MAX];
    *ret_id = 0;
    if (stat(file, &ours) < 0)
        return err_sys(err, -errno, "cannot examine '%s'", file);
    int r = version_list(c, NULL, &rows, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (rows[i].path[0] == '/')
            strcpy(path, rows[i].path);
        else if (root_path(root, rows[i].path, path, NULL) < 0)
            continue;
        if (stat(path, &st) == 0 && st.st_dev == ours.st_dev && st.st_ino == ours.st_ino)
            *ret_id = rows[i].image_id;
    }
    return r;
}

/* --- parents ------------------------------------------------------------------------------------------------------ */

static bool read_link(const char *path, struct vhd_link *ret)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 && vhd_link_read(fd, path, ret, NULL) == 0;
}

struct parent_search {
    const struct vhd_link *child;
    struct vhd_link *scratch;
    char path[PATH_MAX]; /* found */
};

static int try_parent(void *arg, const char *path)
{
    struct parent_search *p = arg;
    if (!read_link(path, p->scratch) || memcmp(p->scratch->id, p->child->parent_id, 16) != 0)
        return 0;
    (void)snprintf(p->path, sizeof(p->path), "%s", path);
    return -ECANCELED;
}

/* One name of the parent: beside the child, by the rules, below the folders to search. */
static bool try_name(struct parent_search *p, const char *child, const char *raw, const struct image_search *how)
{
    char path[RECORD_RAW_MAX + 1], wanted[PATH_MAX], file[PATH_MAX];
    if (path_from_text(raw, strlen(raw), path) == PATH_BROKEN || !*path_name(path))
        return false;
    const char *slash = strrchr(child, '/');
    if (snprintf(wanted, sizeof(wanted), "%.*s/%s", (int)(slash - child), child, path_name(path)) <
            (int)sizeof(wanted) &&
        path_find(wanted, file) == 0 && try_parent(p, file) < 0)
        return true;
    if (path_map(&how->rules, path, wanted) && path_find(wanted, file) == 0 && try_parent(p, file) < 0)
        return true;
    for (const char *const *dir = how->dirs; *dir; dir++)
        if (path_search(*dir, path_name(path), SEARCH_DEPTH, NULL, try_parent, p) == -ECANCELED)
            return true;
    return false;
}

/* The next parent's path into p->path. */
static bool next_parent(struct parent_search *p, const char *child, const struct image_search *how)
{
    for (size_t i = 0; i < p->child->n_names; i++)
        if (try_name(p, child, p->child->names[i], how))
            return true;
    return false;
}

int find_parents(struct site_image *i, const struct image_search *how, struct err *err)
{
    struct vhd_link *link = calloc(2, sizeof(*link));
    struct parent_search p = {.child = link, .scratch = link + 1};
    char child[PATH_MAX];
    if (!link)
        return err_set(err, -ENOMEM, "memory is out");
    strcpy(child, i->file);
    while (read_link(child, link) && link->is_differencing) {
        if (!i->parents)
            i->parents = json_array();
        if (json_array_size(i->parents) >= CHAIN_MAX || !next_parent(&p, child, how)) {
            i->outcome = SITE_REFUSED;
            text_format(
                i->note, sizeof(i->note),
                "is only the changes over '%.200s', and that file was not found by its id: name its folder with "
                "--search or --map-path",
                link->n_names ? link->names[0] : "another disk");
            break;
        }
        (void)json_array_append_new(i->parents, out_string(p.path)); /* diskgate checks the chain itself */
        strcpy(child, p.path);
    }
    free(link);
    return 0;
}

/* --- proposals ---------------------------------------------------------------------------------------------------- */

/* A drive letter behind ; or |: rather two paths in one text, which nobody said. */
static bool is_several(const char *path)
{
    for (const char *p = path; (p = strpbrk(p, ";|")); p++) {
        const char *next = p + 1 + strspn(p + 1, " ");
        if (isalpha((unsigned char)next[0]) && next[1] == ':')
            return true;
    }
    return false;
}

/* The folder part as Windows writes it, for a command line. */
static void folder_of(const struct site_image *i, char *ret, size_t size)
{
    text_format(ret, size, "%.*s", (int)(path_name(i->path) - i->path), i->path);
    for (char *p = ret; i->kind != PATH_POSIX && *p; p++)
        if (*p == '/')
            *p = '\\';
    size_t n = strlen(ret);
    while (n > 1 && (ret[n - 1] == '\\' || ret[n - 1] == '/') && ret[n - 2] != ':')
        ret[--n] = 0;
}

static void look_around(struct site_image *i, const struct site_images *all, const struct image_search *how)
{
    struct found *f = calloc(1, sizeof(*f));
    char dir[PATH_MAX];
    if (!f)
        return;
    f->image = i;
    if (how->beside)
        (void)path_search(how->beside, path_name(i->path), PROPOSAL_DEPTH, NULL, take_candidate, f); /* ends nothing */
    for (size_t k = 0; k < all->n; k++) {
        if (!*all->list[k]->file)
            continue;
        strcpy(dir, all->list[k]->file);
        *strrchr(dir, '/') = 0;
        (void)path_search(*dir ? dir : "/", path_name(i->path), 0, NULL, take_candidate, f); /* likewise */
    }
    free(f);
}

/* Files of that name with the ending of another disk format: the image may have been converted. */
static void look_for_other_endings(struct site_image *i, const struct image_search *how)
{
    struct found *f = calloc(1, sizeof(*f));
    char name[NAME_MAX + 1], real[PATH_MAX];
    const char *own = path_name(i->path), *dot = strrchr(own, '.');
    if (f && dot && snprintf(name, sizeof(name), "%.*s.*", (int)(dot - own), own) < (int)sizeof(name)) {
        f->image = i;
        if (how->beside)
            (void)path_search(how->beside, name, PROPOSAL_DEPTH, NULL, take_candidate, f); /* ends nothing */
        for (const char *const *dir = how->dirs; *dir; dir++)
            if (realpath(*dir, real))
                (void)path_search(real, name, SEARCH_DEPTH, NULL, take_candidate, f); /* likewise */
    }
    free(f);
}

/* What was found has another name: a rule for the file as a whole. True when there is something. */
static bool propose_other_ending(struct site_image *i, const char *first, const char *folder)
{
    const char *found = json_string_value(json_array_get(i->candidates, 0));
    bool is_one = json_array_size(i->candidates) == 1;
    const char *slash = !*folder || folder[strlen(folder) - 1] == '\\' ? "" : i->kind == PATH_POSIX ? "/" : "\\";
    if (!found)
        return false;
    text_format(i->note, sizeof(i->note),
                "%s%sno file of this name was found, but '%s'%s: if it is the same, use --map-path '%s%s%s=%s'", first,
                *first ? "; " : "", found, is_one ? "" : " and others", folder, slash, path_name(i->path),
                is_one ? found : "FILE");
    return true;
}

void propose(struct site_image *i, const struct site_images *all, const struct image_search *how)
{
    char folder[RECORD_RAW_MAX + 1], dir[PATH_MAX], first[sizeof(i->note)];
    if (i->kind == PATH_BROKEN || i->kind == PATH_DOTS || i->is_dangling)
        return;
    if (is_several(i->path)) {
        text_format(i->note, sizeof(i->note),
                    "looks like several paths in one: if so, set image_separator in a mapping (--save-mapping FILE)");
        return;
    }
    strcpy(first, i->note);
    const char *sep = *first ? "; " : "";
    if (!i->candidates)
        look_around(i, all, how);
    folder_of(i, folder, sizeof(folder));
    if (!i->candidates) {
        look_for_other_endings(i, how);
        if (propose_other_ending(i, first, folder))
            return;
    }
    const char *found = json_string_value(json_array_get(i->candidates, 0));
    const char *second = json_string_value(json_array_get(i->candidates, 1));
    if (second) {
        text_format(i->note, sizeof(i->note),
                    "%s%s%zu files of this name were found and none was taken, '%s', '%s'%s: say which with "
                    "--map-path '%s=FOLDER'",
                    first, sep, json_array_size(i->candidates), found, second,
                    json_array_size(i->candidates) > 2 ? " and others" : "", folder);
    } else if (found) {
        text_format(dir, sizeof(dir), "%.*s", (int)(path_name(found) - found - 1), found);
        text_format(i->note, sizeof(i->note), "%s%sperhaps it is '%s': then use --map-path '%s=%s'", first, sep, found,
                    folder, dir);
    } else if (i->kind == PATH_RELATIVE || i->kind == PATH_DRIVE_RELATIVE) {
        text_format(i->note, sizeof(i->note),
                    "%s%sis without its folder, and no file was found: say where it is with --search FOLDER", first,
                    sep);
    } else {
        text_format(i->note, sizeof(i->note),
                    "%s%sno file was found: say where it is with --map-path '%s=FOLDER' or --search FOLDER", first, sep,
                    *folder ? folder : "D:\\Images");
    }
}
