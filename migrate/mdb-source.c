/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Access files as a source; see source.h. Here is the parent's side: it looks at the header, starts the jailed reader (mdb-main.c) once for the
 * list of tables and once for each walk over rows, and believes nothing that comes back.
 *
 * (1) The file is opened once. Each walk looks whether it is still what was opened: size, mtime, and the table's definition.
 * (2) The end of a reader counts: rows without a good end are no table. Any signal means that the file is damaged.
 * (3) What libmdb prints becomes notes that are doubts.
 */
#include <errno.h>
#include <fcntl.h>
#include <iconv.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "core/exe.h"
#include "core/util.h"
#include "migrate/mdb-child.h"
#include "migrate/frame.h"
#include "migrate/mdb-probe.h"
#include "migrate/mdb-text.h"
#include "migrate/source.h"
#include "migrate/text.h"

#define PROGRAM          "diskgate-mdb-reader"
#define TIME_S           30
#define MEMORY_MB        512
#define ANSWER_BYTES_MIN (64 * MiB)
#define ANSWER_BYTES_MAX (4 * GiB)
#define ANSWER_FACTOR    16 /* a cell of a byte and its head against a bit in the file */
#define WARNINGS_MAX     20

#ifndef DISKGATE_LIBEXECDIR
#define DISKGATE_LIBEXECDIR "/usr/libexec/diskgate"
#endif

struct access {
    int fd;
    struct stat st;
    struct mdb_header header;
    struct mdb_child_limits limits;
    char charset[32]; /* "-" = as the file says */
    char program[PATH_MAX];
    uint32_t *ids; /* of the tables, in the source's order */
    size_t id_count;
};

/* --- the program --------------------------------------------------------------------------------------------------- */

/* Installed, or in the build tree of the program that runs. */
static int find_program(char ret[PATH_MAX], struct err *err)
{
    static const char *const places[] = {PROGRAM, "../migrate/" PROGRAM, "../../migrate/" PROGRAM,
                                         "../../../migrate/" PROGRAM, "../libexec/diskgate/" PROGRAM};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (exe_beside(places[i], ret))
            return 0;
    (void)snprintf(ret, PATH_MAX, "%s", DISKGATE_LIBEXECDIR "/" PROGRAM);
    if (access(ret, X_OK) == 0)
        return 0;
    return err_set(err, -ENOENT, "reading Access files needs the program " PROGRAM ", which is not installed");
}

/* --- one run of the reader ------------------------------------------------------------------------------------------ */

/* One line of stderr each, as long as there are not too many. */
static void note_warnings(struct source *s, const char *text)
{
    char shown[400];
    unsigned n = 0;
    for (const char *line = text; *line; n++) {
        size_t len = strcspn(line, "\n");
        char piece[300];
        (void)snprintf(piece, sizeof(piece), "%.*s", (int)MIN(len, sizeof(piece) - 1), line);
        if (n < WARNINGS_MAX && len > 0)
            source_note(s, true, "the library that reads Access files warns: %s",
                        text_shown(piece, shown, sizeof(shown)));
        line += len + (line[len] == '\n');
    }
    if (n > WARNINGS_MAX)
        source_note(s, true, "the library that reads Access files has more than %d warnings", WARNINGS_MAX);
}

static int note_frame(struct source *s, struct frame *f)
{
    char shown[512];
    bool is_doubt = frame_take_u8(f) != 0;
    const char *text = frame_take_text(f, 4096, NULL);
    if (frame_done(f) < 0)
        return -EBADMSG;
    source_note(s, is_doubt, "%s", text_shown(text, shown, sizeof(shown)));
    return 0;
}

/* The reader says that it cannot go on. Always negative. */
static int failed_frame(struct source *s, struct frame *f, struct err *err)
{
    char shown[512];
    unsigned why = frame_take_u8(f);
    const char *text = frame_take_text(f, 4096, NULL);
    int code = why == FRAME_WHY_TOO_LARGE ? -EFBIG : why == FRAME_WHY_UNSUPPORTED ? -EOPNOTSUPP : -EBADMSG;
    if (frame_done(f) < 0)
        return -EPROTO;
    return err_set(err, code, "'%s' cannot be read: %s%s", s->path, text_shown(text, shown, sizeof(shown)),
                   code == -EBADMSG
                       ? "; copy it again while CCBoot is stopped, or let Access repair it (Database Tools, "
                         "Compact and Repair Database)"
                       : "");
}

/* What frames of one run are given to. */
struct run {
    struct source *s;
    /* For each frame that is not dealt with below: 0; 1 enough; a negative errno, -EPROTO for one that may not be. */
    int (*frame)(struct run *r, struct frame *f, struct err *err);
    uint64_t tables, rows;
    bool has_database, has_ended;
    /* of a walk over rows */
    const struct source_table *table;
    struct cell *cells;
    source_each *each;
    void *arg;
    int each_said;
};

static int end_frame(struct run *r, struct frame *f)
{
    uint64_t tables = frame_take_u64(f), rows = frame_take_u64(f);
    if (frame_done(f) < 0 || tables != r->tables || rows != r->rows || !r->has_database)
        return -EPROTO;
    r->has_ended = true;
    return 0;
}

static int database_frame(struct run *r, struct frame *f)
{
    const char *library = frame_take_text(f, sizeof(r->s->info.library) - 1, NULL);
    if (frame_done(f) < 0 || r->has_database)
        return -EPROTO;
    (void)snprintf(r->s->info.library, sizeof(r->s->info.library), "%s", library);
    r->has_database = true;
    return 0;
}

static int take_frame(struct run *r, struct frame *f, struct err *err)
{
    if (r->has_ended)
        return -EPROTO;
    switch (f->kind) {
    case FRAME_NOTE:
        return note_frame(r->s, f) < 0 ? -EPROTO : 0;
    case FRAME_FAILED:
        return failed_frame(r->s, f, err);
    case FRAME_END:
        return end_frame(r, f);
    case FRAME_DATABASE:
        return database_frame(r, f);
    case FRAME_TABLE:
    case FRAME_ROW:
        return r->has_database ? r->frame(r, f, err) : -EPROTO;
    }
    return -EPROTO;
}

/* All frames. 0 at the end of the stream, 1 enough, negative: what went wrong. */
static int take_frames(struct run *r, struct mdb_child *c, struct err *err)
{
    struct frame_in in;
    struct frame f;
    frame_in_init(&in, mdb_child_read, c);
    int n;
    while ((n = frame_next(&in, &f)) > 0) {
        n = take_frame(r, &f, err);
        if (n != 0)
            break;
    }
    frame_in_finish(&in);
    return n == -EBADMSG && !err->msg[0] ? -EPROTO : n;
}

/* A sentence for the ends of a run that have none yet. */
static int judge_run(const struct run *r, const struct access *a, int n, int ended, const char *how, struct err *err)
{
    const char *path = r->s->path;
    if (n == -ETIMEDOUT)
        return err_set(err, n, "'%s' could not be read within %u s: it is damaged or very large", path,
                       a->limits.time_s);
    if (n == -EFBIG && !err->msg[0])
        return err_set(err, n, "'%s' says more than a file of its size can hold: it is damaged", path);
    if (n == -EPROTO || (n == 0 && (ended < 0 || !r->has_ended)))
        return err_set(err, -EBADMSG, "'%s' is damaged: the reader %s", path, ended < 0 ? how : "gave a wrong answer");
    if (n < 0 && !err->msg[0])
        return err_sys(err, n, "cannot read '%s'", path);
    return n;
}

static int check_unchanged(const struct source *s, const struct access *a, struct err *err)
{
    struct stat st;
    if (fstat(a->fd, &st) < 0)
        return err_sys(err, -errno, "cannot read '%s'", s->path);
    if (st.st_size == a->st.st_size && st.st_mtim.tv_sec == a->st.st_mtim.tv_sec &&
        st.st_mtim.tv_nsec == a->st.st_mtim.tv_nsec)
        return 0;
    return err_set(err, -EBADMSG, "'%s' was changed while it was read: close Access and CCBoot, or import a copy of it",
                   s->path);
}

/* 0; 1 when the caller had enough; a negative errno with a sentence. */
static int run_reader(struct run *r, const struct access *a, const char *const *args, struct err *err)
{
    _cleanup_(mdb_child_destroyp) struct mdb_child *c = NULL;
    struct err how = {0}, own = {0};
    int n = check_unchanged(r->s, a, err);
    if (n < 0)
        return n;
    n = mdb_child_start(a->program, args, a->fd, &a->limits, &c, err);
    if (n < 0)
        return n;
    n = take_frames(r, c, &own);
    int ended = n == 0 || n == -EPROTO || n == -EBADMSG ? mdb_child_end(c, &how) : 0; /* and its last warnings */
    note_warnings(r->s, mdb_child_stderr(c));
    if (r->each_said < 0) {
        if (err && own.msg[0])
            *err = own;
        return r->each_said;
    }
    n = judge_run(r, a, n, ended, how.msg, &own);
    if (n >= 0 && check_unchanged(r->s, a, &own) < 0)
        n = -EBADMSG;
    if (n < 0 && err)
        *err = own;
    return n;
}

/* --- open ----------------------------------------------------------------------------------------------------------- */

/* The columns of a FRAME_TABLE behind its count. */
static bool take_columns(struct frame *f, struct source_column *columns, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *name = frame_take_text(f, sizeof(columns[i].name) - 1, NULL);
        const char *type = frame_take_text(f, sizeof(columns[i].type) - 1, NULL);
        (void)snprintf(columns[i].name, sizeof(columns[i].name), "%s", name);
        (void)snprintf(columns[i].type, sizeof(columns[i].type), "%s", type);
    }
    return frame_done(f) == 0;
}

static bool add_id(struct access *a, uint32_t id)
{
    uint32_t *bigger = reallocarray(a->ids, a->id_count + 1, sizeof(*bigger));
    if (!bigger)
        return false;
    a->ids = bigger;
    a->ids[a->id_count++] = id;
    return true;
}

static void say_linked(struct source *s, const struct source_table *t)
{
    char name[160], file[240];
    source_note(s, false, "the table '%s' is only a link to %s, and its rows are not read: import that file too",
                text_shown(t->name, name, sizeof(name)), text_shown(t->linked_to, file, sizeof(file)));
}

static int table_frame(struct run *r, struct frame *f, struct err *err)
{
    char name[SOURCE_NAME_MAX + 1];
    if (f->kind != FRAME_TABLE)
        return -EPROTO;
    uint32_t id = frame_take_u32(f);
    int64_t stored = (int64_t)frame_take_u64(f);
    bool is_linked = frame_take_u8(f) != 0;
    (void)snprintf(name, sizeof(name), "%s", frame_take_text(f, SOURCE_NAME_MAX, NULL));
    struct source_table *t = NULL;
    char linked_to[sizeof(t->linked_to)];
    (void)snprintf(linked_to, sizeof(linked_to), "%s", frame_take_text(f, sizeof(linked_to) - 1, NULL));
    unsigned columns = frame_take_u16(f);
    if (f->is_bad || columns > SOURCE_COLUMNS_MAX || stored < -1 || !name[0])
        return -EPROTO;
    t = source_add_table(r->s, name, columns);
    if (!t || !add_id(r->s->priv, id))
        return err_set(err, -ENOMEM, "memory is out, or there are too many tables");
    t->stored_rows = stored;
    t->is_linked = is_linked;
    (void)snprintf(t->linked_to, sizeof(t->linked_to), "%s", linked_to);
    if (is_linked)
        say_linked(r->s, t);
    r->tables++;
    return take_columns(f, (struct source_column *)t->columns, columns) ? 0 : -EPROTO;
}

static int check_charset(const char *name, struct err *err)
{
    iconv_t i = iconv_open("UTF-8", name);
    bool is_wide =
        strncasecmp(name, "UTF-16", 6) == 0 || strncasecmp(name, "UTF-32", 6) == 0 || strncasecmp(name, "UCS", 3) == 0;
    if (i != (iconv_t)-1)
        (void)iconv_close(i); /* nothing is held there */
    if (i == (iconv_t)-1 || is_wide || name[0] == '-' || strlen(name) >= 32 || strchr(name, '/'))
        return err_set(
            err, -EINVAL,
            "'%s' is no character set for --charset: GBK, BIG5, CP932, CP1251, CP1252 and so on are, see 'iconv -l'",
            name);
    return 0;
}

static int probe(struct source *s, struct access *a, struct err *err)
{
    unsigned char page[MDB_HEADER_BYTES];
    size_t len = 0;
    a->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (a->fd < 0 || fstat(a->fd, &a->st) < 0)
        return err_sys(err, -errno, "cannot read '%s'", s->path);
    while (len < sizeof(page)) {
        ssize_t n = pread(a->fd, page + len, sizeof(page) - len, (off_t)len);
        if (n < 0 && errno != EINTR)
            return err_sys(err, -errno, "cannot read '%s'", s->path);
        if (n == 0)
            break;
        len += (size_t)MAX(n, 0);
    }
    return mdb_probe(page, len, (uint64_t)a->st.st_size, s->path, &a->header, err);
}

/* Access, and what opens a file as Access does, keeps NAME.ldb or NAME.laccdb beside a file that it has open. */
static void note_lock_file(struct source *s)
{
    static const char *const endings[] = {".ldb", ".laccdb", ".LDB"};
    char path[PATH_MAX], shown[400];
    const char *slash = strrchr(s->path, '/'), *dot = strrchr(s->path, '.');
    size_t len = dot && slash && dot > slash ? (size_t)(dot - s->path) : strlen(s->path);
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++)
        if (snprintf(path, sizeof(path), "%.*s%s", (int)len, s->path, endings[i]) < (int)sizeof(path) &&
            access(path, F_OK) == 0) {
            source_note(s, false,
                        "beside it lies '%s': the database was open, and what was not written yet is missing; to be "
                        "sure copy it while CCBoot is stopped",
                        text_shown(slash ? path + (slash - s->path) + 1 : path, shown, sizeof(shown)));
            return;
        }
}

static void fill_info(struct source *s, const struct access *a)
{
    const char *by_file = charset_of_code_page(a->header.code_page);
    (void)snprintf(s->info.format, sizeof(s->info.format), "%s", a->header.format);
    (void)snprintf(s->info.charset, sizeof(s->info.charset), "%s",
                   !a->header.is_jet3             ? "UTF-16"
                   : strcmp(a->charset, "-") != 0 ? a->charset
                   : by_file                      ? by_file
                                                  : "CP1252");
    s->info.has_password = a->header.has_password;
    s->info.was_encoded = a->header.is_encoded;
    if (a->header.has_password)
        source_note(s, false, "the database has a password; it is not needed to read the data");
    if (a->header.is_encoded)
        source_note(s, false, "the database is encoded; it was decoded");
    note_lock_file(s);
}

static void set_limits(struct access *a, const struct source_options *o)
{
    uint64_t bytes;
    if (!mul_ok((uint64_t)a->st.st_size, ANSWER_FACTOR, &bytes))
        bytes = ANSWER_BYTES_MAX;
    a->limits = (struct mdb_child_limits){
        .time_s = o->time_limit_s ? o->time_limit_s : TIME_S,
        .memory_mb = o->memory_limit_mb ? o->memory_limit_mb : MEMORY_MB,
        .bytes = MIN(bytes + ANSWER_BYTES_MIN, ANSWER_BYTES_MAX),
    };
}

static int access_open(struct source *s, const char *path, const struct source_options *o, struct err *err)
{
    struct access *a = calloc(1, sizeof(*a));
    if (!a)
        return err_set(err, -ENOMEM, "memory is out");
    a->fd = -1;
    s->priv = a;
    int r = o->charset ? check_charset(o->charset, err) : 0;
    if (r == 0)
        r = probe(s, a, err);
    if (r == 0)
        r = find_program(a->program, err);
    if (r < 0)
        return r;
    (void)snprintf(a->charset, sizeof(a->charset), "%s", o->charset ? o->charset : "-");
    fill_info(s, a);
    set_limits(a, o);
    struct run run = {.s = s, .frame = table_frame};
    r = run_reader(&run, a, (const char *const[]){"tables", a->charset, NULL}, err);
    return MIN(r, 0);
}

static void access_close(struct source *s)
{
    struct access *a = s->priv;
    if (!a)
        return;
    closep(&a->fd);
    free(a->ids);
    free(a);
}

/* --- rows ----------------------------------------------------------------------------------------------------------- */

/* Is the definition that comes before the rows the one that was seen at the opening? */
static int same_table(struct run *r, struct frame *f)
{
    _cleanup_free_ struct source_column *columns = calloc(SOURCE_COLUMNS_MAX, sizeof(*columns));
    (void)frame_take_u32(f); /* we asked for it */
    (void)frame_take_u64(f); /* a changed count is a change of the file, which is looked for elsewhere */
    (void)frame_take_u8(f);
    (void)frame_take_text(f, SOURCE_NAME_MAX, NULL);
    (void)frame_take_text(f, sizeof(r->table->linked_to) - 1, NULL);
    if (!columns || r->tables++ > 0 || frame_take_u16(f) != r->table->column_count)
        return -EPROTO;
    if (!take_columns(f, columns, r->table->column_count))
        return -EPROTO;
    for (size_t i = 0; i < r->table->column_count; i++)
        if (strcmp(columns[i].name, r->table->columns[i].name) != 0 ||
            strcmp(columns[i].type, r->table->columns[i].type) != 0)
            return -EPROTO;
    return 0;
}

static int row_frame(struct run *r, struct frame *f, struct err *err)
{
    if (f->kind == FRAME_TABLE)
        return same_table(r, f);
    if (r->tables != 1 || r->rows >= SOURCE_ROWS_MAX || frame_take_row(f, r->cells, r->table->column_count) < 0)
        return -EPROTO;
    r->each_said = r->each(r->arg, r->rows, r->cells);
    if (r->each_said < 0)
        return r->each_said;
    r->rows++;
    return r->each_said > 0 ? 1 : 0;
}

/* @sample rows from all over the table, 0 = all. */
static int read_rows(struct source *s, size_t i, uint32_t sample, source_each *each, void *arg, uint64_t *ret_rows,
                     struct err *err)
{
    const struct access *a = s->priv;
    char id[16], number[16];
    _cleanup_free_ struct cell *cells = calloc(SOURCE_COLUMNS_MAX, sizeof(*cells));
    if (!cells)
        return err_set(err, -ENOMEM, "memory is out");
    (void)snprintf(id, sizeof(id), "%u", a->ids[i]);
    (void)snprintf(number, sizeof(number), "%u", sample);
    const char *kind = sample ? "sample" : "rows", *end = sample ? number : NULL;
    const char *const args[] = {kind, a->charset, id, s->tables[i].name, end, NULL};
    struct run run = {.s = s, .frame = row_frame, .table = &s->tables[i], .cells = cells, .each = each, .arg = arg};
    int r = run_reader(&run, a, args, err);
    *ret_rows = run.rows;
    return MIN(r, 0);
}

static int access_rows(struct source *s, size_t i, source_each *each, void *arg, uint64_t *ret_rows, struct err *err)
{
    return read_rows(s, i, 0, each, arg, ret_rows, err);
}

static int access_sample(struct source *s, size_t i, uint32_t rows, source_each *each, void *arg, uint64_t *ret_rows,
                         struct err *err)
{
    return read_rows(s, i, rows, each, arg, ret_rows, err);
}

const struct source_reader access_reader = {
    .open = access_open, .rows = access_rows, .sample = access_sample, .close = access_close};
