/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalog as a file: made whole or not at all, checked at every open, changed in transactions.
 *
 * Creation builds ".catalog.db.new" beside the final place under ROOT/run/init.lock, syncs it and links it to its name. A
 * process that dies before leaves a temporary file that the next `init` removes; catalog.db exists complete or not at all.
 *
 * Open: (1) The file is looked at with stat() only, never with open(): closing any fd of it would drop the POSIX locks that
 * SQLite holds in this process for another connection. (2) Readers open read-write too and are held back by query_only,
 * because a reader has to take part in the write-ahead log. Where the medium is read-only, the file is opened as immutable,
 * provided that no log lies beside it.
 *
 * A transaction begins with the write lock, so that what a writer reads stays true until it commits. Each writer works
 * inside a savepoint, see catalog-priv.h.
 */
#include "core/catalog-priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/root.h"
#include "core/util.h"

#define NEW_FILE     ".catalog.db.new"
#define INIT_WAIT_MS 10000

void catalog_now(char *ret)
{
    time_text(ret, TIME_LEN + 1, (int64_t)time(NULL));
}

int catalog_name_order(void *arg, int a_len, const void *a, int b_len, const void *b)
{
    char left[256], right[256];
    (void)snprintf(left, sizeof(left), "%.*s", a_len, (const char *)a);
    (void)snprintf(right, sizeof(right), "%.*s", b_len, (const char *)b);
    return name_compare(left, right);
}

/* --- open -------------------------------------------------------------------------------------------------------- */

/* @path as an SQLite URI with @query behind it. */
static int make_uri(const char *path, const char *query, char *ret, size_t size)
{
    size_t n = (size_t)snprintf(ret, size, "file:");
    for (const char *p = path; *p && n + 4 < size; p++) {
        bool is_plain = *p != '%' && *p != '?' && *p != '#';
        n += (size_t)snprintf(ret + n, size - n, is_plain ? "%c" : "%%%02x", (unsigned char)*p);
    }
    return n + strlen(query) < size ? (strcpy(ret + n, query), 0) : -ENAMETOOLONG;
}

/* Settings of a connection. None of them is stored in the file. */
static int configure(struct catalog *c, struct err *err)
{
    (void)sqlite3_extended_result_codes(c->db, 1);
    (void)sqlite3_busy_timeout(c->db, CATALOG_BUSY_TIMEOUT_MS);
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    int code = sqlite3_create_collation(c->db, "by_name", SQLITE_UTF8, NULL, catalog_name_order);
    if (code != SQLITE_OK)
        return db_error(c, code, err);
    int r = db_exec(c,
                    "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;"
                    "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
                    err);
    if (r == 0 && c->mode == CATALOG_READ)
        r = db_exec(c, "PRAGMA query_only = ON", err);
    return r;
}

static int connect_file(struct catalog *c, const char *name, int flags, struct err *err)
{
    int code = sqlite3_open_v2(name, &c->db, flags | SQLITE_OPEN_EXRESCODE, NULL);
    if (!c->db)
        return err_sys(err, -ENOMEM, "catalog '%.500s'", c->path);
    return code == SQLITE_OK ? configure(c, err) : db_error(c, code, err);
}

static bool has_beside(const struct catalog *c, const char *suffix)
{
    char path[PATH_MAX + 16];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s%s", c->path, suffix);
    return stat(path, &st) == 0 && st.st_size > 0;
}

/* On a read-only medium, or on a full one, no log can be made; without one beside it, or a journal, the file is complete as it is. */
static bool is_immutable(const struct catalog *c)
{
    if (c->mode != CATALOG_READ || has_beside(c, "-wal") || has_beside(c, "-journal"))
        return false;
    return (access(c->path, W_OK) < 0 && errno == EROFS) || db_disk_is_full(c);
}

static int connect_root(struct catalog *c, struct err *err)
{
    if (!is_immutable(c))
        return connect_file(c, c->path, SQLITE_OPEN_READWRITE, err);
    char uri[3 * PATH_MAX + 32];
    int r = make_uri(c->path, "?immutable=1", uri, sizeof(uri));
    if (r < 0)
        return err_sys(err, r, "cannot open catalog '%.500s'", c->path);
    return connect_file(c, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, err);
}

/* What can be said before SQLite sees the file. */
static int check_file(const struct catalog *c, struct err *err)
{
    struct stat st;
    if (stat(c->path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR))
        return err_set(err, -ENOENT, "no Diskgate root in '%.300s'; make one with 'diskgate --root %.300s init'",
                       c->root, c->root);
    if (access(c->path, c->mode == CATALOG_WRITE ? R_OK | W_OK : R_OK) < 0)
        return err_sys(
            err, -errno,
            errno == EACCES ? "cannot open catalog '%.500s' (only root may)" : "cannot open catalog '%.500s'", c->path);
    if (stat(c->path, &st) < 0)
        return err_sys(err, -errno, "cannot look at catalog '%.500s'", c->path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, -EBADMSG, "'%.500s' is not a file and so not a Diskgate catalog", c->path);
    if (st.st_size == 0)
        return err_set(err, -EBADMSG, "catalog '%.500s' is an empty file; put a good copy of it back", c->path);
    return 0;
}

static int migrate_old(struct catalog *c, int version, struct err *err)
{
    if (version == CATALOG_VERSION)
        return 0;
    if (c->mode == CATALOG_READ)
        return err_set(err, -EOPNOTSUPP,
                       "catalog '%.500s' has the older version %d; any command that changes something brings it to %d",
                       c->path, version, CATALOG_VERSION);
    size_t n;
    const struct schema_step *steps = schema_steps(&n);
    return schema_migrate(c, steps, n, err);
}

static int catalog_new(const char *root, const char *file, enum catalog_mode mode, struct catalog **ret,
                       struct err *err)
{
    _cleanup_free_ struct catalog *c = calloc(1, sizeof(*c));
    if (!c)
        return err_sys(err, -ENOMEM, "catalog of '%.500s'", root);
    int r = root_path(root, file, c->path, err);
    if (r < 0)
        return r;
    c->mode = mode;
    (void)snprintf(c->root, sizeof(c->root), "%s", root);
    audit_default_who(c->who, sizeof(c->who));
    *ret = take_ptr(c);
    return 0;
}

int catalog_open(const char *root, enum catalog_mode mode, struct catalog **ret, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    int version = 0;
    int r = catalog_new(root, CATALOG_FILE, mode, &c, err);
    if (r == 0)
        r = check_file(c, err);
    if (r == 0)
        r = connect_root(c, err);
    if (r == 0)
        r = schema_check(c, &version, err);
    if (r == 0)
        r = migrate_old(c, version, err);
    if (r == 0 && mode == CATALOG_WRITE)
        bulk_mend(c);
    if (r == 0)
        *ret = take_ptr(c);
    return r;
}

void catalog_close(struct catalog *c)
{
    if (!c)
        return;
    catalog_rollback(c);
    int code = sqlite3_close(c->db);
    assert(code == SQLITE_OK); /* every statement ends within its call */
    (void)code;
    free(c);
}

void catalog_set_actor(struct catalog *c, const char *who)
{
    (void)snprintf(c->who, sizeof(c->who), "%s", who);
}

/* --- transactions ------------------------------------------------------------------------------------------------ */

/* Invariant (2) of catalog-priv.h: true after SQLite has ended the transaction by itself. */
static int transaction_check(struct catalog *c, struct err *err)
{
    if (!sqlite3_get_autocommit(c->db))
        return 0;
    return err_set(err, -EIO, "catalog '%.500s': the change was given up after an error; nothing was changed", c->path);
}

int catalog_begin(struct catalog *c, struct err *err)
{
    assert(c->mode == CATALOG_WRITE && !c->is_in_transaction);
    int r = db_exec(c, "BEGIN IMMEDIATE", err);
    if (r == 0)
        c->is_in_transaction = true;
    return r;
}

int catalog_begin_read(struct catalog *c, struct err *err)
{
    assert(c->mode == CATALOG_READ && !c->is_in_transaction);
    int r = db_exec(c, "BEGIN", err); /* the state is that of the first statement */
    if (r == 0)
        c->is_in_transaction = true;
    return r;
}

int catalog_commit(struct catalog *c, struct err *err)
{
    assert(c->is_in_transaction);
    int r = transaction_check(c, err);
    if (r == 0)
        r = db_exec(c, "COMMIT", err);
    if (r < 0)
        catalog_rollback(c);
    c->is_in_transaction = false;
    bulk_end(c);
    return r;
}

void catalog_rollback(struct catalog *c)
{
    if (c->is_in_transaction && !sqlite3_get_autocommit(c->db))
        (void)db_exec(c, "ROLLBACK", NULL); /* what fails here is rolled back by the next open */
    c->is_in_transaction = false;
    bulk_end(c);
}

int writer_begin(struct catalog *c, struct err *err)
{
    assert(c->is_in_transaction);
    int r = transaction_check(c, err);
    return r < 0 ? r : db_exec(c, "SAVEPOINT writer", err);
}

int writer_end(struct catalog *c, int r, struct err *err)
{
    if (r < 0) {
        if (!sqlite3_get_autocommit(c->db))
            (void)db_exec(c, "ROLLBACK TO writer; RELEASE writer", NULL); /* the first failure is the one to report */
        return r;
    }
    int end = db_exec(c, "RELEASE writer", err);
    return end < 0 ? end : r;
}

/* --- creation ---------------------------------------------------------------------------------------------------- */

/* A folder of the root with exactly this mode; one that is there already keeps its own. */
static int make_folder(const char *root, const char *name, unsigned mode, struct err *err)
{
    char path[PATH_MAX];
    int r = root_path(root, name, path, err);
    if (r < 0)
        return r;
    if (mkdir(path, mode) < 0)
        return errno == EEXIST ? 0 : err_sys(err, -errno, "cannot make folder '%.500s'", path);
    return chmod(path, mode) < 0 ? err_sys(err, -errno, "cannot make folder '%.500s'", path) : 0;
}

static int make_folders(const char *root, struct err *err)
{
    struct stat st;
    bool is_new = stat(root, &st) < 0;
    int r = make_dirs(root, 0755);
    if (r == 0 && is_new && chmod(root, 0755) < 0) /* whatever the umask says */
        r = -errno;
    if (r < 0)
        return err_sys(err, r, "cannot make the root '%.500s'", root);
    r = make_folder(root, "images", 0755, err);
    if (r == 0)
        r = make_folder(root, "overlays", 0700, err);
    if (r == 0)
        r = make_folder(root, "run", 0755, err);
    return r;
}

/* -EEXIST when there is a catalog, or the log or journal of one that is gone: SQLite would replay it into the new file. */
static int check_absent(const char *root, struct err *err)
{
    static const char *const names[] = {CATALOG_FILE, CATALOG_FILE "-wal", CATALOG_FILE "-journal"};
    char path[PATH_MAX];
    struct stat st;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        int r = root_path(root, names[i], path, err);
        if (r < 0)
            return r;
        if (lstat(path, &st) < 0)
            continue;
        return i == 0
                   ? err_set(err, -EEXIST, "'%.500s' is a Diskgate root already", root)
                   : err_set(err, -EEXIST,
                             "'%.500s' belongs to a catalog that is gone; move it away or put the catalog back", path);
    }
    return 0;
}

static void remove_new(int dirfd)
{
    static const char *const names[] = {NEW_FILE, NEW_FILE "-wal", NEW_FILE "-shm", NEW_FILE "-journal"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        (void)unlinkat(dirfd, names[i], 0); /* most of them never exist */
}

/* First rows: the tag of the root, and who made it. */
static int fill_new(struct catalog *c, struct err *err)
{
    char id[UUID_LEN + 1], now[TIME_LEN + 1];
    int r = uuid_new(id);
    if (r < 0)
        return err_sys(err, r, "cannot get random bytes");
    id[8] = 0; /* the first group of a UUID: 8 hex digits */
    catalog_now(now);
    r = catalog_begin(c, err);
    if (r == 0)
        r = db_run(c, "INSERT INTO root (id, tag, created_at) VALUES (1, ?, ?)", ARGS(T(id), T(now)), err);
    if (r == 0)
        r = audit_add(c, "init", c->root, NULL, json_pack("{s:s}", "tag", id), err);
    return r < 0 ? r : catalog_commit(c, err);
}

static int build_new(const char *root, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    char pragma[96];
    size_t n;
    const struct schema_step *steps = schema_steps(&n);
    (void)snprintf(pragma, sizeof(pragma),
                   "PRAGMA page_size = 8192; PRAGMA application_id = %d; PRAGMA journal_mode = WAL;",
                   CATALOG_APPLICATION_ID);
    int r = catalog_new(root, NEW_FILE, CATALOG_WRITE, &c, err);
    if (r == 0)
        r = connect_file(c, c->path, SQLITE_OPEN_READWRITE, err);
    if (r == 0)
        r = db_exec(c, pragma, err);
    if (r == 0)
        r = schema_migrate(c, steps, n, err);
    return r < 0 ? r : fill_new(c, err);
}

/* Sync the built file, which SQLite has closed by now and so freed of its log, and give it its name. */
static int publish_new(int dirfd, const char *root, struct err *err)
{
    _cleanup_close_ int fd = openat(dirfd, NEW_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fsync(fd) < 0)
        return err_sys(err, -errno, "cannot write the catalog of '%.500s'", root);
    if (linkat(dirfd, NEW_FILE, dirfd, CATALOG_FILE, 0) < 0)
        return err_sys(err, -errno, "cannot make '%.500s/" CATALOG_FILE "'", root);
    if (unlinkat(dirfd, NEW_FILE, 0) < 0 || fsync(dirfd) < 0)
        return err_sys(err, -errno, "cannot sync folder '%.500s'", root);
    return 0;
}

int catalog_create(const char *root, struct err *err)
{
    int r = check_absent(root, err);
    if (r == 0)
        r = make_folders(root, err);
    if (r < 0)
        return r;
    _cleanup_close_ int lock = root_lock(root, "init.lock", INIT_WAIT_MS, err);
    if (lock < 0)
        return lock;
    _cleanup_close_ int dirfd = root_open_dir(root, "", err);
    if (dirfd < 0)
        return dirfd;
    r = check_absent(root, err);
    if (r < 0)
        return r;
    remove_new(dirfd);
    /* SQLite gives its log the mode of the database, so the file begins its life with the right one. */
    _cleanup_close_ int fd = openat(dirfd, NEW_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, -errno, "cannot write into '%.500s'", root);
    r = build_new(root, err);
    if (r == 0)
        r = publish_new(dirfd, root, err);
    remove_new(dirfd);
    return r;
}
