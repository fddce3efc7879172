/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The notes of runs in their root; see run-note.h. */
#include "backup/run-note.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "backup/code.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "core/hash.h"
#include "core/util.h"

#define FOLDER   "backup-runs"
#define NOTE_MAX 65536U

/* The folder, where there is a root; with @can_make it is made. */
static int open_folder(const char *root, bool can_make)
{
    _cleanup_close_ int dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || faccessat(dir, "catalog.db", F_OK, 0) < 0)
        return -ENOENT;
    if (can_make && mkdirat(dir, FOLDER, 0755) < 0 && errno != EEXIST)
        return -errno;
    int fd = openat(dir, FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

/* A repository whose disk is not there is called what it was called. */
static const char *real_of(const char *repo, char *room)
{
    return realpath(repo, room) ? room : repo;
}

static void name_of(const char *repo, const char *verb, char *ret, size_t room)
{
    char real[PATH_MAX], hash[HASH_HEX_LEN + 1];
    repo = real_of(repo, real);
    hash_buf(repo, strlen(repo), hash);
    (void)snprintf(ret, room, "%s-%.12s.json", verb, hash); /* fits: the verbs are ours */
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static json_t *begun(const char *repo, const char *verb, int64_t started_s)
{
    char real[PATH_MAX];
    return json_pack("{ss so sI sI}", "verb", verb, "repository", out_string(real_of(repo, real)), "pid",
                     (json_int_t)getpid(), "started_s", (json_int_t)started_s);
}

static void put(const char *root, const char *repo, const char *verb, json_t *note)
{
    char name[64];
    _cleanup_close_ int dir = open_folder(root, true);
    _cleanup_free_ char *text = note ? json_dumps(note, JSON_INDENT(2)) : NULL;
    name_of(repo, verb, name, sizeof(name));
    if (dir >= 0 && text)
        (void)file_replace(dir, name, text, strlen(text), 0644); /* see the header */
    json_decref(note);
}

void run_note_begin(const char *root, const char *repo, const char *verb)
{
    put(root, repo, verb, begun(repo, verb, time(NULL)));
}

void run_note_end(const char *root, const char *repo, const char *verb, int code, const struct err *err)
{
    struct run_note n;
    int64_t started_s = run_note_read(root, repo, verb, &n) == 0 && n.pid == getpid() ? n.started_s : time(NULL);
    json_t *note = begun(repo, verb, started_s);
    (void)json_object_set_new(note, "ended_s", json_integer(time(NULL))); /* one that is not whole counts as cut off */
    (void)json_object_set_new(note, "sentence", code < 0 ? out_string(err->msg) : json_null());
    (void)json_object_set_new(note, "status", json_integer(code < 0 ? backup_exit_status(code) : code));
    put(root, repo, verb, note);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static void take(const json_t *note, struct run_note *ret)
{
    const char *sentence = json_string_value(json_object_get(note, "sentence"));
    const json_t *status = json_object_get(note, "status");
    *ret = (struct run_note){.pid = json_integer_value(json_object_get(note, "pid")),
                             .started_s = json_integer_value(json_object_get(note, "started_s")),
                             .ended_s = json_integer_value(json_object_get(note, "ended_s")),
                             .status = (int)json_integer_value(status),
                             .is_over = json_is_integer(status)};
    (void)snprintf(ret->sentence, sizeof(ret->sentence), "%s", sentence ? sentence : ""); /* cut is enough to look at */
}

int run_note_read(const char *root, const char *repo, const char *verb, struct run_note *ret)
{
    char name[64];
    size_t len = 0;
    _cleanup_free_ char *text = NULL;
    _cleanup_close_ int dir = open_folder(root, false);
    name_of(repo, verb, name, sizeof(name));
    if (dir < 0 || file_read(dir, name, NOTE_MAX, &text, &len) < 0)
        return -ENOENT;
    json_t *note = json_loadb(text, len, 0, NULL);
    if (note)
        take(note, ret);
    bool is_one = note && ret->started_s > 0;
    json_decref(note);
    return is_one ? 0 : -ENOENT;
}

/* A number may be somebody else's by now; the name tells as well as can be. */
static bool is_running(int64_t pid)
{
    char path[64];
    _cleanup_free_ char *comm = NULL;
    (void)snprintf(path, sizeof(path), "/proc/%lld/comm", (long long)pid); /* fits */
    return file_read(AT_FDCWD, path, 64, &comm, NULL) == 0 && strcmp(comm, "diskgate-backup\n") == 0;
}

void run_note_words(const struct run_note *n, char *ret)
{
    if (!n->is_over)
        (void)snprintf(ret, RUN_WORDS_LEN + 1, "%s", is_running(n->pid) ? "running" : "was cut off");
    else if (n->status == 0)
        (void)snprintf(ret, RUN_WORDS_LEN + 1, "done");
    else if (n->status == BACKUP_EXIT_WARNINGS)
        (void)snprintf(ret, RUN_WORDS_LEN + 1, "done, with warnings");
    else if (n->sentence[0])
        (void)snprintf(ret, RUN_WORDS_LEN + 1, "failed: %.200s", n->sentence);
    else
        (void)snprintf(ret, RUN_WORDS_LEN + 1, "ended with status %d%s", n->status,
                       n->status == BACKUP_EXIT_DAMAGE ? ": damage was found" : "");
}
