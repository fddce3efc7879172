/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Damaged copies of the Access fixtures, read in this process so that the sanitizers see it: whatever the bytes, reading ends, does not crash,
 * and what comes out are frames that hold what they say.
 *
 *   DISKGATE_SHARED      folder with data/mdb; without it the tests are skipped
 *   DISKGATE_MUTATIONS   damaged copies of each fixture (300)
 *   DISKGATE_SEED        of the random numbers (1); with DISKGATE_FIRST the number of the copy to begin with
 *
 * Copies are read by a child process each hundred, so that a crash or hang names the copy: the child writes its number into shared memory first.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/util.h"
#include "migrate/frame.h"
#include "migrate/mdb-reader.h"

#define BATCH       100
#define COPY_S      60 /* of one copy, also under a sanitizer on a busy machine */
#define FILE_MAX    (1u << 20)
#define TABLES_MAX  64
#define COPIES      300
#define SAMPLE_ROWS 500

/* Which sanitizer watches: gcc and clang tell it in different ways. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__
#endif
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define IS_TSAN true
#else
#define IS_TSAN false
#endif

static const char *shared_folder(void)
{
    const char *env = getenv("DISKGATE_SHARED");
    return env && *env ? env : DISKGATE_SHARED_DEFAULT;
}

static unsigned number_from(const char *name, unsigned otherwise)
{
    const char *env = getenv(name);
    return env && *env ? (unsigned)strtoul(env, NULL, 10) : otherwise;
}

/* --- random damage ------------------------------------------------------------------------------------------------- */

static uint32_t next(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 33);
}

static unsigned char odd_byte(uint64_t *s)
{
    static const unsigned char odd[] = {0, 1, 0x7f, 0x80, 0xff, 0x40, 0xc0, 0x0c};
    return next(s) % 2 ? odd[next(s) % sizeof(odd)] : (unsigned char)next(s);
}

/* A place where structures lie: heads of pages, tables of rows, definitions. */
static size_t odd_place(uint64_t *s, size_t len)
{
    size_t page = 2048 * (1 + next(s) % MAX(len / 2048 - 1, (size_t)1));
    page += next(s) % 128;
    return MIN(page, len - 1);
}

static void damage(uint64_t *s, unsigned char *p, size_t *len)
{
    size_t pages = MAX(*len / 2048, (size_t)2), at, n = 1 + next(s) % 8;
    switch (next(s) % 6) {
    case 0:
        for (; n > 0; n--)
            p[next(s) % *len] = odd_byte(s);
        break;
    case 1:
    case 2:
        for (; n > 0; n--)
            p[odd_place(s, *len)] = odd_byte(s);
        break;
    case 3:
        at = next(s) % *len;
        n = 64 + next(s) % 448;
        for (n = MIN(n, *len - at); n > 0; n--)
            p[at++] = (unsigned char)next(s);
        break;
    case 4:
        *len = 1 + next(s) % *len;
        break;
    default:
        memmove(p + 2048 * (next(s) % pages), p + 2048 * (next(s) % pages), 2048);
    }
}

/* --- one copy ------------------------------------------------------------------------------------------------------ */

struct stream {
    unsigned char *p;
    size_t len, at, size;
};

static int take_bytes(void *arg, const void *buf, size_t len)
{
    struct stream *s = arg;
    if (s->len + len > s->size) {
        s->size = 2 * (s->len + len);
        s->p = realloc(s->p, s->size);
    }
    memcpy(s->p + s->len, buf, len);
    s->len += len;
    return 0;
}

static ssize_t give_bytes(void *arg, void *buf, size_t max)
{
    struct stream *s = arg;
    size_t n = MIN(max, s->len - s->at);
    memcpy(buf, s->p + s->at, n);
    s->at += n;
    return (ssize_t)n;
}

struct seen {
    uint32_t ids[TABLES_MAX];
    bool is_linked[TABLES_MAX];
    size_t n, columns;
    uint64_t rows;
};

static void must(bool is_true)
{
    if (!is_true)
        abort();
}

static void check_table(struct frame *f, struct seen *seen)
{
    uint32_t id = frame_take_u32(f);
    (void)frame_take_u64(f);
    bool is_linked = frame_take_u8(f);
    (void)frame_take_text(f, SOURCE_NAME_MAX, NULL);
    (void)frame_take_text(f, 511, NULL);
    seen->columns = frame_take_u16(f);
    for (size_t i = 0; i < seen->columns; i++) {
        (void)frame_take_text(f, SOURCE_NAME_MAX, NULL);
        (void)frame_take_text(f, 23, NULL);
    }
    must(frame_done(f) == 0 && seen->columns <= SOURCE_COLUMNS_MAX);
    if (seen->n < TABLES_MAX) {
        seen->ids[seen->n] = id;
        seen->is_linked[seen->n++] = is_linked;
    }
}

static void check_frames(struct stream *s, struct seen *seen)
{
    struct frame_in in;
    struct frame f;
    struct cell cells[SOURCE_COLUMNS_MAX];
    bool has_ended = false;
    int r;
    frame_in_init(&in, give_bytes, s);
    while ((r = frame_next(&in, &f)) > 0) {
        must(!has_ended);
        has_ended = f.kind == FRAME_END || f.kind == FRAME_FAILED;
        if (f.kind == FRAME_TABLE) {
            check_table(&f, seen);
        } else if (f.kind == FRAME_ROW) {
            must(frame_take_row(&f, cells, seen->columns) == 0);
            seen->rows++;
        }
    }
    must(r == 0 && has_ended);
    frame_in_finish(&in);
}

static void run_job(const unsigned char *p, size_t len, struct mdb_job *job, struct seen *seen)
{
    struct stream s = {0};
    int fd = memfd_create("copy", MFD_CLOEXEC);
    must(fd >= 0 && pwrite_full(fd, p, len, 0) == 0);
    must(mdb_reader_run(fd, job, take_bytes, &s) == 0);
    check_frames(&s, seen);
    free(s.p);
}

static void read_copy(const unsigned char *p, size_t len)
{
    struct seen tables = {0};
    run_job(p, len, &(struct mdb_job){.kind = MDB_JOB_TABLES, .name = ""}, &tables);
    for (size_t i = 0; i < tables.n; i++) {
        struct seen rows = {0}, sample = {0};
        struct mdb_job job = {.kind = MDB_JOB_ROWS, .table = tables.ids[i], .name = "table"};
        if (tables.is_linked[i])
            continue;
        run_job(p, len, &job, &rows);
        job.kind = MDB_JOB_SAMPLE;
        job.rows = SAMPLE_ROWS;
        run_job(p, len, &job, &sample);
        must(sample.rows <= SAMPLE_ROWS);
    }
}

/* --- all copies ---------------------------------------------------------------------------------------------------- */

/* A failed allocation of glib and endless growth end here, not in the machine's memory. */
static void limit_memory(void)
{
#if !defined(__SANITIZE_ADDRESS__)
    struct rlimit l = {2 * GiB, 2 * GiB};
    must(setrlimit(RLIMIT_AS, &l) == 0);
#endif
}

static void run_batch(const unsigned char *good, size_t size, unsigned first, unsigned end, volatile unsigned *now)
{
    unsigned char *p = malloc(size);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    limit_memory();
    stderr = fopen("/dev/null", "w"); /* libmdb's warnings; sanitizers write to the descriptor */
    for (unsigned i = first; i < end; i++) {
        uint64_t s = ((uint64_t)number_from("DISKGATE_SEED", 1) << 32 | i) * 0x9e3779b97f4a7c15u;
        size_t len = size;
        memcpy(p, good, size);
        *now = i;
        damage(&s, p, &len);
        (void)alarm(COPY_S);
        read_copy(p, len);
    }
    free(p);
    _exit(0);
}

static void mutate_file(const char *path, volatile unsigned *now)
{
    _cleanup_free_ char *good = NULL;
    size_t size;
    unsigned first = number_from("DISKGATE_FIRST", 0), end = first + number_from("DISKGATE_MUTATIONS", COPIES);
    assert_int_equal(file_read(AT_FDCWD, path, FILE_MAX, &good, &size), 0);
    for (unsigned i = first; i < end; i += BATCH) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0)
            run_batch((const unsigned char *)good, size, i, MIN(i + BATCH, end), now);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("'%s', seed %u, copy %u: status %#x", path, number_from("DISKGATE_SEED", 1), *now,
                     (unsigned)status);
    }
}

static void test_mdb_damaged_files_are_read_without_harm(void **state)
{
    char pattern[4096];
    glob_t g;
    if (IS_TSAN) /* one thread */
        skip();
    (void)snprintf(pattern, sizeof(pattern), "%s/data/mdb/{s0[1-6],s1[3-6],s20,bad/c0[14],bad/b13}*.{mdb,accdb}",
                   shared_folder());
    if (glob(pattern, GLOB_BRACE, NULL, &g) != 0) {
        print_message("the Access fixtures are not here: set DISKGATE_SHARED to the folder that has data/mdb\n");
        skip();
    }
    volatile unsigned *now = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(now != MAP_FAILED);
    assert_true(g.gl_pathc >= 10);
    for (size_t i = 0; i < g.gl_pathc; i++)
        mutate_file(g.gl_pathv[i], now);
    globfree(&g);
    assert_int_equal(munmap((void *)now, 4096), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mdb_damaged_files_are_read_without_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
