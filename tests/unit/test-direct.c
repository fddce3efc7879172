/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Direct reads, the side of diskgate-fs: what a store gets and when what it reads counts, with the views and overlays that clients have. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/rampool.h"
#include "core/util.h"
#include "fusefs/boards.h"
#include "fusefs/direct.h"
#include "fusefs/tape.h"
#include "tests/unit/store-client.h"

#define BLOCKS 4096ULL
#define DISK   (BLOCKS * BLOCK_BYTES - 5 * SECTOR_BYTES) /* the last block is short */
#define DATA   (DISK - 2 * BLOCK_BYTES - 100)            /* of the base; then zeros */

static const unsigned char id[16] = {0x11, 2, 3};

struct rig {
    char path[64], ram_path[64];
    int dir_fd, live_fd, run_fd, ram_fd;
    struct ram_pool *pool;
    struct base *base;
    struct view *view;
    struct direct *direct;
    char *noise; /* what the base holds, DISK bytes */
};

/* --- set-up ------------------------------------------------------------------------------------------------------ */

static void make_base(struct rig *r)
{
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/base.raw", r->path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (size_t i = 0; i < DATA; i++)
        r->noise[i] = (char)(i * 7 + i / 4096 + 1);
    assert_int_equal(pwrite_full(fd, r->noise, DATA, 0), 0);
    (void)close(fd);
    struct stat st;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    struct image_info info = {.file_bytes = DATA,
                              .data_bytes = DATA,
                              .size_bytes = DISK,
                              .mtime_ns = st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
    struct version_row row = {.number = 1, .size_bytes = DISK, .file_bytes = DATA};
    strcpy(row.identity, "base");
    r->base = base_open(fd, &info, &row);
    assert_non_null(r->base);
}

static struct overlay_place place_of(const struct rig *r)
{
    return (struct overlay_place){.dir_fd = r->dir_fd,
                                  .live_fd = r->live_fd,
                                  .has_ram = true,
                                  .ram_fd = r->ram_fd,
                                  .ram_pool = r->pool,
                                  .client_id = 7};
}

/* As attach.c does it. */
static struct view *make_view(struct rig *r, enum overlay_mode mode)
{
    struct overlay_place place = place_of(r);
    struct map_stamp stamp = {.base_identity = "base", .size_bytes = DISK};
    struct view_row row = {.client = "pc01", .mode = mode, .size_bytes = DISK};
    struct overlay *o = NULL;
    char found[UUID_LEN + 1];
    struct err err = {""};
    memcpy(stamp.overlay_id, id, sizeof(id));
    if (overlay_open(&place, &stamp, mode != OVERLAY_VOLATILE, false, r->base->blk, &o, found, &err) < 0)
        fail_msg("%s", err.msg);
    struct view *v = view_of_client(r->base, o, dup(r->dir_fd), &row);
    assert_non_null(v);
    assert_non_null(v->boards);
    return v;
}

static void attach(struct rig *r, enum overlay_mode mode)
{
    r->view = make_view(r, mode);
    direct_add(r->direct, r->view);
}

static void detach(struct rig *r)
{
    direct_forget(r->direct, r->view);
    view_unref(take_ptr(r->view));
}

static void start_threads(struct rig *r)
{
    struct err err;
    r->pool = ram_pool_create();
    if (ram_pool_start(r->pool) < 0 || direct_open(r->run_fd, &r->direct, &err) < 0 || direct_start(r->direct) < 0)
        abort(); /* in a child, too */
}

static void stop_threads(struct rig *r)
{
    direct_close(r->direct);
    ram_pool_stop(r->pool);
    ram_pool_destroy(r->pool);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    strcpy(r->path, "/var/tmp/test-direct-XXXXXX");
    strcpy(r->ram_path, "/dev/shm/test-direct-XXXXXX");
    assert_true(mkdtemp(r->path) && mkdtemp(r->ram_path));
    r->dir_fd = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(mkdirat(r->dir_fd, "live", 0700) == 0 && mkdirat(r->dir_fd, "run", 0755) == 0);
    r->live_fd = openat(r->dir_fd, "live", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->run_fd = openat(r->dir_fd, "run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->ram_fd = open(r->ram_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->noise = calloc(1, DISK);
    make_base(r);
    start_threads(r);
    *state = r;
    return 0;
}

static void clear(int dirfd)
{
    _cleanup_closedir_ DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            (void)unlinkat(dirfd, e->d_name, 0); /* what stays is a folder */
}

static int teardown(void **state)
{
    struct rig *r = *state;
    direct_stop(r->direct);
    if (r->view)
        detach(r);
    stop_threads(r);
    base_unref(r->base);
    clear(r->live_fd);
    clear(r->run_fd);
    clear(r->ram_fd);
    clear(r->dir_fd);
    (void)unlinkat(r->dir_fd, "live", AT_REMOVEDIR);
    (void)unlinkat(r->dir_fd, "run", AT_REMOVEDIR);
    (void)close(r->live_fd);
    (void)close(r->run_fd);
    (void)close(r->ram_fd);
    (void)close(r->dir_fd);
    assert_int_equal(rmdir(r->path), 0);
    assert_int_equal(rmdir(r->ram_path), 0);
    free(r->noise);
    free(r);
    return 0;
}

static struct store open_store(const struct rig *r)
{
    struct store s;
    assert_int_equal(store_open(r->run_fd, id, &s), 0);
    return s;
}

/* --- looks ------------------------------------------------------------------------------------------------------- */

static void put(struct view *v, uint64_t off, char byte, size_t len)
{
    _cleanup_free_ char *buf = malloc(len);
    memset(buf, byte, len);
    assert_int_equal(blk_write(v->blk, buf, len, off), 0);
}

static int get(struct store *s, uint64_t off, size_t len)
{
    _cleanup_free_ char *buf = malloc(len);
    bool ignored;
    return store_read(s, buf, len, off, &ignored);
}

static uint32_t flags(const struct store *s)
{
    return atomic_load(&s->board->flags);
}

static void await(const struct view *v, unsigned boards)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    for (int i = 0; i < 2500 && boards_count(v->boards).boards != boards; i++)
        (void)nanosleep(&pause, NULL);
    assert_int_equal(boards_count(v->boards).boards, boards);
}

/* What the store reads by itself is what the disk holds; how much of it was from the data file. */
static size_t assert_same(struct store *s, struct view *v, size_t *ret_refused)
{
    static char a[64 * KiB], b[64 * KiB];
    size_t data = 0;
    *ret_refused = 0;
    for (uint64_t off = 0; off < DISK; off += BLOCK_BYTES) {
        bool has_data;
        size_t len = (size_t)MIN(BLOCK_BYTES, DISK - off);
        assert_int_equal(blk_read(v->blk, a, len, off), 0);
        if (store_read(s, b, len, off, &has_data) < 0) {
            ++*ret_refused;
            continue;
        }
        data += has_data;
        assert_memory_equal(a, b, len);
    }
    return data;
}

static size_t recorded(struct view *v)
{
    boards_gather(v->boards);
    struct boot_record *rec = tape_take(v->tape, true);
    boards_refresh(v->boards);
    size_t n = rec ? boot_record_count(rec) : 0;
    boot_record_destroy(rec);
    return n;
}

/* A ring that fills would send reads the long way. */
static void record_no_more(struct view *v)
{
    for (uint64_t i = 0; i < TAPE_LEAST; i++)
        tape_note(v->tape, i * 64 * KiB, 1);
    assert_int_equal(recorded(v), TAPE_LEAST);
}

/* --- asks -------------------------------------------------------------------------------------------------------- */

static void test_direct_answer_holds_what_the_view_is(void **state)
{
    struct rig *r = *state;
    attach(r, OVERLAY_VOLATILE);
    struct store s = open_store(r);
    assert_int_equal(s.answer.size_bytes, DISK);
    assert_int_equal(s.answer.base_bytes, DATA);
    assert_int_equal(s.answer.generation, livemap_generation(s.map));
    assert_memory_equal(livemap_stamp(s.map)->overlay_id, id, sizeof(id));
    assert_int_equal(livemap_stamp(s.map)->size_bytes, DISK);
    for (int i = 0; i < DIRECT_FDS; i++) {
        struct stat st;
        assert_int_equal(fstat(s.fds[i], &st), 0);
        assert_true(S_ISREG(st.st_mode));
        assert_int_equal(fcntl(s.fds[i], F_GETFL) & O_ACCMODE, i == DIRECT_FD_BOARD ? O_RDWR : O_RDONLY);
    }
    int seals = fcntl(s.fds[DIRECT_FD_BOARD], F_GET_SEALS);
    assert_int_equal(seals & (F_SEAL_SHRINK | F_SEAL_GROW), F_SEAL_SHRINK | F_SEAL_GROW);
    assert_int_equal(s.board->magic, DIRECT_MAGIC);
    assert_int_equal(flags(&s), DIRECT_ON | DIRECT_DATA | DIRECT_RECORD);
    store_close(&s);
}

static void ask_badly(const struct rig *r, const void *bytes, size_t len, int want)
{
    struct direct_answer a;
    int fds[DIRECT_FDS];
    _cleanup_close_ int conn = store_connect(r->run_fd);
    assert_true(conn >= 0);
    assert_int_equal(send(conn, bytes, len, MSG_NOSIGNAL), len);
    assert_int_equal(store_receive(conn, &a, fds), sizeof(a));
    assert_int_equal(a.magic, DIRECT_MAGIC);
    assert_int_equal(a.error, want);
    assert_int_equal(fds[0], -1);
    assert_int_equal(store_receive(conn, &a, fds), 0);
}

static void test_direct_bad_asks_are_refused(void **state)
{
    struct rig *r = *state;
    attach(r, OVERLAY_VOLATILE);
    struct direct_ask ask = {.magic = DIRECT_MAGIC, .version = DIRECT_VERSION, .overlay_id = {9}};
    ask_badly(r, &ask, sizeof(ask), -ENOENT);
    memcpy(ask.overlay_id, id, sizeof(id));
    ask_badly(r, &ask, sizeof(ask) - 1, -EPROTO);
    char long_ask[sizeof(ask) + 1] = {0};
    memcpy(long_ask, &ask, sizeof(ask));
    ask_badly(r, long_ask, sizeof(long_ask), -EPROTO);
    ask.version++;
    ask_badly(r, &ask, sizeof(ask), -EOPNOTSUPP);
    ask.magic = 0;
    ask_badly(r, &ask, sizeof(ask), -EPROTO);
    assert_int_equal(boards_count(r->view->boards).boards, 0);
    struct store s = open_store(r);
    store_close(&s);
}

/* Image files are root's: who serves them must not hand them to any process of his own user. */
static void test_direct_other_users_are_not_served(void **state)
{
    struct rig *r = *state;
    if (geteuid() != 0)
        skip();
    attach(r, OVERLAY_VOLATILE);
    assert_int_equal(fchmodat(r->run_fd, DIRECT_SOCKET, 0666, 0), 0);
    assert_int_equal(chmod(r->path, 0755), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct store s;
        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
            _exit(2);
        _exit(store_open(r->run_fd, id, &s) == -EPROTO ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(boards_count(r->view->boards).boards, 0);
}

static void test_direct_second_message_ends_a_connection_and_its_board(void **state)
{
    struct rig *r = *state;
    attach(r, OVERLAY_VOLATILE);
    struct store s = open_store(r);
    assert_int_equal(get(&s, 0, 4096), 0);
    assert_int_equal(send(s.conn, "x", 1, MSG_NOSIGNAL), 1);
    await(r->view, 0);
    assert_int_equal(get(&s, 0, 4096), -EAGAIN);
    store_close(&s);
}

static void test_direct_luns_of_a_view_are_not_without_number(void **state)
{
    struct rig *r = *state;
    struct store s[BOARDS_MAX], more;
    attach(r, OVERLAY_VOLATILE);
    for (int i = 0; i < BOARDS_MAX; i++)
        s[i] = open_store(r);
    assert_int_equal(store_open(r->run_fd, id, &more), -EBUSY);
    store_close(&s[3]);
    await(r->view, BOARDS_MAX - 1);
    s[3] = open_store(r);
    for (int i = 0; i < BOARDS_MAX; i++)
        store_close(&s[i]);
    await(r->view, 0);
}

/* --- what may be read -------------------------------------------------------------------------------------------- */

static void test_direct_store_reads_what_the_disk_holds(void **state)
{
    struct rig *r = *state;
    size_t refused;
    attach(r, OVERLAY_KEPT);
    put(r->view, 10 * BLOCK_BYTES + 100, 'a', 5 * BLOCK_BYTES);
    assert_int_equal(blk_zero(r->view->blk, 12 * BLOCK_BYTES, 2 * BLOCK_BYTES), 0);
    put(r->view, DISK - 700, 'b', 700);
    record_no_more(r->view);
    struct store s = open_store(r);
    assert_int_equal(assert_same(&s, r->view, &refused), 5);
    assert_int_equal(refused, 0);
    store_close(&s);
}

static void test_direct_data_is_out_of_bounds_before_the_first_block_in_ram(void **state)
{
    struct rig *r = *state;
    attach(r, OVERLAY_VOLATILE);
    put(r->view, 0, 'a', 4096); /* no limit yet: to the data file */
    struct store s = open_store(r);
    assert_int_equal(get(&s, 0, 4096), 0);
    ram_pool_set_limits(r->pool, 8 * MiB, 0);
    put(r->view, 8192, 'b', 4096);
    assert_false(flags(&s) & DIRECT_DATA);
    assert_int_equal(get(&s, 0, 4096), -EAGAIN);
    assert_int_equal(get(&s, 8192, 4096), -EAGAIN);
    assert_int_equal(get(&s, 16384, 4096), 0); /* the base */
    struct store late = open_store(r);
    assert_int_equal(flags(&late) & (DIRECT_ON | DIRECT_DATA), DIRECT_ON);
    struct err err;
    assert_int_equal(overlay_set_kept(r->view->overlay, true, &err),
                     0); /* all of it moves to the data file; it stays so */
    assert_int_equal(get(&s, 0, 4096), -EAGAIN);
    store_close(&s);
    store_close(&late);
}

static void test_direct_data_stays_readable_where_no_ram_can_be_had(void **state)
{
    struct rig *r = *state;
    ram_pool_set_limits(r->pool, 8 * MiB, 0);
    attach(r, OVERLAY_VOLATILE);
    assert_int_equal(mkdirat(r->ram_fd, "11020300-0000-0000-0000-000000000000.ram", 0700), 0); /* in the way */
    put(r->view, 0, 'a', 4096);
    struct store s = open_store(r);
    assert_int_equal(overlay_ram_bytes(r->view->overlay), 0);
    assert_int_equal(get(&s, 0, 4096), 0);
    store_close(&s);
    assert_int_equal(unlinkat(r->ram_fd, "11020300-0000-0000-0000-000000000000.ram", AT_REMOVEDIR), 0);
}

static void test_direct_kept_disk_that_becomes_volatile_gets_ram_only_after_the_board_says_so(void **state)
{
    struct rig *r = *state;
    struct err err;
    ram_pool_set_limits(r->pool, 8 * MiB, 0);
    attach(r, OVERLAY_KEPT);
    put(r->view, 0, 'a', 4096);
    struct store s = open_store(r);
    assert_int_equal(get(&s, 0, 4096), 0);
    assert_int_equal(overlay_set_kept(r->view->overlay, false, &err), 0);
    assert_int_equal(get(&s, 0, 4096), 0); /* it lies where it lay */
    put(r->view, 0, 'b', 4096);
    assert_int_equal(overlay_ram_bytes(r->view->overlay), 4096);
    assert_int_equal(get(&s, 0, 4096), -EAGAIN);
    store_close(&s);
}

static void test_direct_revoked_view_is_read_by_nobody(void **state)
{
    struct rig *r = *state;
    attach(r, OVERLAY_VOLATILE);
    struct store s = open_store(r), more;
    assert_int_equal(get(&s, 0, 4096), 0);
    direct_forget(r->direct, r->view);
    assert_int_equal(flags(&s), 0);
    assert_int_equal(get(&s, 0, 4096), -EAGAIN);
    view_revoke(r->view);
    assert_int_equal(store_open(r->run_fd, id, &more), -ENOENT);
    view_unref(take_ptr(r->view)); /* the connection outlives it */
    assert_int_equal(get(&s, 0, 4096), -EAGAIN);
    store_close(&s);
    attach(r, OVERLAY_VOLATILE);
    s = open_store(r);
    assert_int_equal(get(&s, 0, 4096), 0);
    store_close(&s);
}

static void test_direct_view_that_is_revoked_without_a_word_is_off_too(void **state)
{
    struct rig *r = *state;
    attach(r, OVERLAY_KEPT);
    struct store s = open_store(r), more;
    view_revoke(r->view);
    assert_int_equal(get(&s, 0, 4096), -EAGAIN);
    assert_int_equal(store_open(r->run_fd, id, &more), -ESTALE);
    store_close(&s);
}

static void test_direct_base_that_changed_goes_the_long_way(void **state)
{
    struct rig *r = *state;
    attach(r, OVERLAY_VOLATILE);
    struct store s = open_store(r);
    boards_forbid(r->view->boards, DIRECT_ON);
    assert_int_equal(get(&s, 0, 4096), -EAGAIN);
    struct store late = open_store(r);
    assert_int_equal(get(&late, 0, 4096), -EAGAIN);
    boards_allow(r->view->boards, DIRECT_ON);
    assert_int_equal(get(&s, 0, 4096), 0);
    assert_int_equal(get(&late, 0, 4096), 0);
    store_close(&s);
    store_close(&late);
}

/* --- death ------------------------------------------------------------------------------------------------------- */

/* Another process attaches, gives us a store and dies. */
static struct store store_of_the_dead(struct rig *r, enum overlay_mode mode)
{
    int pipes[2];
    char c;
    stop_threads(r); /* none at a fork */
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        start_threads(r);
        attach(r, mode);
        put(r->view, 0, 'a', 3 * 4096);
        (void)write_full(pipes[1], "x", 1);
        for (;;)
            (void)pause();
    }
    (void)close(pipes[1]);
    assert_int_equal(read(pipes[0], &c, 1), 1);
    struct store s = open_store(r);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    (void)close(pipes[0]);
    start_threads(r);
    return s;
}

static void goes_on_until_somebody_may_write(struct rig *r, enum overlay_mode mode)
{
    char buf[4096];
    bool has_data;
    struct store s = store_of_the_dead(r, mode);
    assert_int_equal(store_read(&s, buf, sizeof(buf), 4096, &has_data), 0);
    assert_int_equal(buf[17], 'a');
    attach(r, mode);
    assert_int_equal(get(&s, 0, 8192), 0); /* nobody has opened it yet */
    view_begin(r->view);
    assert_int_equal(get(&s, 0, 8192), -EAGAIN);
    assert_int_equal(get(&s, MiB, 4096), -EAGAIN);
    struct store fresh = open_store(r);
    view_begin(r->view); /* the second open */
    assert_int_equal(get(&fresh, 0, 8192), 0);
    store_close(&s);
    store_close(&fresh);
}

static void test_direct_board_of_a_dead_process_goes_on_until_somebody_may_write_volatile(void **state)
{
    goes_on_until_somebody_may_write(*state, OVERLAY_VOLATILE);
}

static void test_direct_board_of_a_dead_process_goes_on_until_somebody_may_write_kept(void **state)
{
    goes_on_until_somebody_may_write(*state, OVERLAY_KEPT);
}

static void test_direct_board_of_a_dead_process_ends_with_a_new_ask(void **state)
{
    struct rig *r = *state;
    struct store s = store_of_the_dead(r, OVERLAY_VOLATILE);
    attach(r, OVERLAY_VOLATILE);
    struct store fresh = open_store(r);
    assert_int_equal(get(&s, 0, 4096), -EAGAIN);
    assert_int_equal(get(&fresh, 0, 4096), 0);
    store_close(&s);
    store_close(&fresh);
}

static void test_direct_board_of_a_dead_process_ends_with_its_overlay(void **state)
{
    struct rig *r = *state;
    struct overlay_place place = place_of(r);
    struct err err;
    char text[UUID_LEN + 1];
    uuid_encode(id, text);
    struct store s = store_of_the_dead(r, OVERLAY_VOLATILE);
    assert_int_equal(get(&s, 0, 4096), 0);
    assert_int_equal(overlay_delete(&place, text, &err), 0);
    assert_int_equal(get(&s, 0, 4096), -EAGAIN);
    store_close(&s);
}

static void test_direct_board_of_a_dead_process_ends_when_its_overlay_cannot_be_attached(void **state)
{
    struct rig *r = *state;
    char text[UUID_LEN + 1];
    uuid_encode(id, text);
    struct store s = store_of_the_dead(r, OVERLAY_KEPT);
    overlay_disown(r->live_fd, text);
    assert_int_equal(get(&s, 0, 4096), -EAGAIN);
    store_close(&s);
    attach(r, OVERLAY_KEPT); /* it can be after all */
    s = open_store(r);
    assert_int_equal(get(&s, 0, 4096), 0);
    store_close(&s);
}

static void test_direct_clean_end_turns_boards_off_and_ends_the_map(void **state)
{
    struct rig *r = *state;
    attach(r, OVERLAY_KEPT);
    struct store s = open_store(r);
    uint32_t generation = livemap_generation(s.map);
    detach(r);
    assert_int_equal(flags(&s), 0);
    assert_int_not_equal(livemap_generation(s.map), generation); /* whose name is gone, too */
    store_close(&s);
}

/* --- counts and notes -------------------------------------------------------------------------------------------- */

static void test_direct_reads_are_counted_and_kept_when_the_lun_closes(void **state)
{
    struct rig *r = *state;
    attach(r, OVERLAY_VOLATILE);
    struct store s = open_store(r), more = open_store(r);
    assert_int_equal(get(&s, 0, 4096), 0);
    assert_int_equal(get(&s, 4096, 8192), 0);
    assert_int_equal(get(&more, 0, 512), 0);
    struct board_counts c = boards_count(r->view->boards);
    assert_true(c.reads == 3 && c.read_bytes == 4096 + 8192 + 512 && c.boards == 2);
    store_close(&s);
    await(r->view, 1);
    c = boards_count(r->view->boards);
    assert_true(c.reads == 3 && c.read_bytes == 4096 + 8192 + 512);
    detach(r);
    assert_int_equal(atomic_load(&r->base->past_reads), 3);
    assert_int_equal(atomic_load(&r->base->past_read_bytes), 4096 + 8192 + 512);
    store_close(&more);
}

static void test_direct_reads_of_a_boot_are_recorded(void **state)
{
    struct rig *r = *state;
    attach(r, OVERLAY_VOLATILE);
    struct store s = open_store(r);
    size_t answered = 0;
    for (uint64_t i = 0; i < 60; i++) /* extents of a boot set are of 64 KiB */
        answered += get(&s, i * 64 * KiB, 4096) == 0;
    assert_int_equal(answered, 60);
    assert_int_equal(recorded(r->view), 60);
    assert_false(flags(&s) & DIRECT_RECORD);
    assert_int_equal(get(&s, 0, 4096), 0);
    tape_start(r->view->tape);
    boards_refresh(r->view->boards);
    assert_true(flags(&s) & DIRECT_RECORD);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(get(&s, i * 64 * KiB, 4096), 0);
    store_close(&s);
    await(r->view, 0); /* what it noted is not lost with it */
    assert_int_equal(recorded(r->view), 20);
}

static void test_direct_full_ring_is_emptied_by_a_read_the_long_way(void **state)
{
    struct rig *r = *state;
    attach(r, OVERLAY_VOLATILE);
    struct store s = open_store(r);
    for (uint64_t i = 0; i < DIRECT_RING; i++)
        assert_int_equal(get(&s, i % 50 * 64 * KiB, 4096), 0);
    assert_int_equal(get(&s, 50 * 64 * KiB, 4096), -EAGAIN);
    view_count_read(r->view, 50 * 64 * KiB, 4096); /* as the mount's read does */
    assert_int_equal(get(&s, 51 * 64 * KiB, 4096), 0);
    assert_int_equal(recorded(r->view), 52);
    store_close(&s);
}

static void test_direct_notes_of_a_mad_store_do_no_harm(void **state)
{
    struct rig *r = *state;
    attach(r, OVERLAY_VOLATILE);
    struct store s = open_store(r);
    struct direct_board *b = s.board;
    b->ring[0].off = DISK;
    b->ring[0].len = 1;
    b->ring[1].off = UINT64_MAX;
    b->ring[1].len = UINT64_MAX;
    atomic_store(&b->head, 2);
    assert_int_equal(recorded(r->view), 0);
    atomic_store(&b->head, UINT64_MAX / 2);
    atomic_store(&b->tail, 77);
    assert_int_equal(recorded(r->view), 0);
    assert_int_equal(atomic_load(&b->tail), UINT64_MAX / 2);
    atomic_store(&b->head, 0); /* backwards */
    boards_gather(r->view->boards);
    store_close(&s);
    await(r->view, 0);
}

/* --- everything at once ------------------------------------------------------------------------------------------
 *
 * Writers own their blocks. Each 4 KiB block holds a number that only grows; a zeroed one holds none. A reader knows what was answered before he
 * asked, and what may have been begun when he was done: he must find something in between.
 */

/* In any thread. */
static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args); /* what else */
    va_end(args);
    (void)fputc('\n', stderr);
    abort();
}

#define WRITERS    3
#define OWN_BLOCKS 64ULL
#define ROUNDS     (IS_SANITIZED ? 4000 : 8000)

struct crowd {
    struct rig *r;
    _Atomic uint64_t begun[WRITERS * OWN_BLOCKS], done[WRITERS * OWN_BLOCKS];
    _Atomic int zeroed[WRITERS * OWN_BLOCKS]; /* ever */
    _Atomic unsigned left;
    _Atomic bool must_stop;
    _Atomic uint64_t answered, from_data;
};

struct writer {
    struct crowd *crowd;
    unsigned n;
};

static void write_number(struct view *v, uint64_t blk, uint64_t number, unsigned how)
{
    uint64_t words[BLOCK_BYTES / 8];
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        words[i] = number;
    uint64_t off = blk << BLOCK_SHIFT;
    if (how % 4 != 0) {
        if (blk_write(v->blk, words, sizeof(words), off) < 0)
            die("write");
        return;
    }
    if (blk_write(v->blk, words, 1024, off) < 0)
        die("write"); /* parts of a block */
    if (blk_write(v->blk, words, sizeof(words) - 1024, off + 1024) < 0)
        die("write");
}

static void *write_on(void *arg)
{
    struct writer *w = arg;
    struct crowd *c = w->crowd;
    unsigned seed = w->n;
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        uint64_t mine = (uint64_t)rand_r(&seed) % OWN_BLOCKS, blk = w->n * OWN_BLOCKS + mine;
        if (rand_r(&seed) % 16 == 0) {
            atomic_store(&c->zeroed[blk], 1);
            if (blk_zero(c->r->view->blk, blk << BLOCK_SHIFT, BLOCK_BYTES) < 0)
                die("write");
            continue;
        }
        atomic_store(&c->begun[blk], i);
        write_number(c->r->view, blk, i, (unsigned)rand_r(&seed));
        atomic_store(&c->done[blk], i);
    }
    atomic_fetch_sub(&c->left, 1);
    return NULL;
}

/* The block as the base has it: no number that a writer uses. */
static bool is_like_base(const struct rig *r, uint64_t blk, const uint64_t *words, size_t i)
{
    return memcmp((const char *)&words[i], r->noise + (blk << BLOCK_SHIFT) + i * 8, 8) == 0;
}

static void check_block(struct crowd *c, uint64_t blk, const uint64_t *words, uint64_t done)
{
    uint64_t begun = atomic_load(&c->begun[blk]);
    bool may_be_zero = atomic_load(&c->zeroed[blk]);
    for (size_t i = 0; i < BLOCK_BYTES / 8; i++) {
        if (words[i] == 0 && may_be_zero)
            continue;
        if (done == 0 && is_like_base(c->r, blk, words, i))
            continue;
        if (words[i] < done || words[i] > begun)
            die("block %llu word %zu: %llu, where %llu was answered and %llu begun", (unsigned long long)blk, i,
                (unsigned long long)words[i], (unsigned long long)done, (unsigned long long)begun);
    }
}

static void *read_on(void *arg)
{
    struct crowd *c = arg;
    struct store s = open_store(c->r);
    unsigned seed = 99;
    while (!atomic_load(&c->must_stop)) {
        uint64_t words[4][BLOCK_BYTES / 8], done[4];
        uint64_t blk = (uint64_t)rand_r(&seed) % (WRITERS * OWN_BLOCKS - 4);
        bool has_data;
        for (int i = 0; i < 4; i++)
            done[i] = atomic_load(&c->done[blk + (uint64_t)i]);
        if (store_read(&s, words, sizeof(words), blk << BLOCK_SHIFT, &has_data) < 0)
            continue;
        atomic_fetch_add(&c->answered, 1);
        atomic_fetch_add(&c->from_data, has_data);
        for (int i = 0; i < 4; i++)
            check_block(c, blk + (uint64_t)i, words[i], done[i]);
    }
    store_close(&s);
    return NULL;
}

static void run_crowd(struct rig *r, enum overlay_mode mode, void (*meanwhile)(struct crowd *c))
{
    struct crowd c = {.r = r, .left = WRITERS};
    struct writer w[WRITERS];
    pthread_t writers[WRITERS], readers[2];
    attach(r, mode);
    record_no_more(r->view);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_on, &c), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){&c, i};
        assert_int_equal(pthread_create(&writers[i], NULL, write_on, &w[i]), 0);
    }
    meanwhile(&c);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(writers[i], NULL), 0);
    atomic_store(&c.must_stop, true);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    assert_true(c.answered > 0 && c.from_data > 0);
    await(r->view, 0);
}

static void wait_for_answers(struct crowd *c, uint64_t n)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    while (atomic_load(&c->from_data) < n && atomic_load(&c->left) > 0)
        (void)nanosleep(&pause, NULL);
}

static void do_nothing(struct crowd *c)
{
}

static void get_ram(struct crowd *c)
{
    wait_for_answers(c, 200);
    ram_pool_set_limits(c->r->pool, 256 * KiB, 0); /* so little that it spills all the time */
}

static void change_mode(struct crowd *c)
{
    struct err err;
    ram_pool_set_limits(c->r->pool, 256 * KiB, 0);
    wait_for_answers(c, 200);
    for (int i = 0; atomic_load(&c->left) > 0 && i < 50; i++) {
        if (overlay_set_kept(c->r->view->overlay, i % 2, &err) < 0)
            fail_msg("%s", err.msg);
        if (i % 2) /* a flush would not find what is in memory */
            assert_int_equal(overlay_ram_bytes(c->r->view->overlay), 0);
    }
}

static void test_direct_reads_are_right_while_all_write_kept(void **state)
{
    run_crowd(*state, OVERLAY_KEPT, do_nothing);
}

static void test_direct_reads_are_right_while_all_write_volatile(void **state)
{
    run_crowd(*state, OVERLAY_VOLATILE, do_nothing);
}

static void test_direct_reads_are_right_when_writes_begin_to_go_to_ram(void **state)
{
    run_crowd(*state, OVERLAY_VOLATILE, get_ram);
}

static void test_direct_reads_are_right_while_the_mode_changes(void **state)
{
    run_crowd(*state, OVERLAY_KEPT, change_mode);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_direct_answer_holds_what_the_view_is),
        TEST(test_direct_bad_asks_are_refused),
        TEST(test_direct_other_users_are_not_served),
        TEST(test_direct_second_message_ends_a_connection_and_its_board),
        TEST(test_direct_luns_of_a_view_are_not_without_number),
        TEST(test_direct_store_reads_what_the_disk_holds),
        TEST(test_direct_data_is_out_of_bounds_before_the_first_block_in_ram),
        TEST(test_direct_data_stays_readable_where_no_ram_can_be_had),
        TEST(test_direct_kept_disk_that_becomes_volatile_gets_ram_only_after_the_board_says_so),
        TEST(test_direct_revoked_view_is_read_by_nobody),
        TEST(test_direct_view_that_is_revoked_without_a_word_is_off_too),
        TEST(test_direct_base_that_changed_goes_the_long_way),
        TEST(test_direct_board_of_a_dead_process_goes_on_until_somebody_may_write_volatile),
        TEST(test_direct_board_of_a_dead_process_goes_on_until_somebody_may_write_kept),
        TEST(test_direct_board_of_a_dead_process_ends_with_a_new_ask),
        TEST(test_direct_board_of_a_dead_process_ends_with_its_overlay),
        TEST(test_direct_board_of_a_dead_process_ends_when_its_overlay_cannot_be_attached),
        TEST(test_direct_clean_end_turns_boards_off_and_ends_the_map),
        TEST(test_direct_reads_are_counted_and_kept_when_the_lun_closes),
        TEST(test_direct_reads_of_a_boot_are_recorded),
        TEST(test_direct_full_ring_is_emptied_by_a_read_the_long_way),
        TEST(test_direct_notes_of_a_mad_store_do_no_harm),
        TEST(test_direct_reads_are_right_while_all_write_kept),
        TEST(test_direct_reads_are_right_while_all_write_volatile),
        TEST(test_direct_reads_are_right_when_writes_begin_to_go_to_ram),
        TEST(test_direct_reads_are_right_while_the_mode_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
