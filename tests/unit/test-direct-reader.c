/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tgtd's store does with what it gets (fusefs/tgt/): reads against a model, answers of every kind, maps that are taken away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "core/blk.h"
#include "core/direct.h"
#include "core/livemap.h"
#include "core/names.h"
#include "core/util.h"
#include "fusefs/tgt/guard.h"
#include "fusefs/tgt/reader.h"

#define BLOCKS     512U
#define SIZE       (BLOCKS * BLOCK_BYTES - 512)
#define BASE_BYTES (BLOCKS * BLOCK_BYTES / 2 + 1536)

/* One disk, and who answers for it. Each byte of base and data file tells its place and its file. */
struct place {
    char dir[64], path[160], sock[96];
    unsigned char id[16];
    unsigned char *base, *data;
    struct livemap *map;
    struct direct_board *board;
    int fds[DIRECT_FDS];
    int listener, conn;
    pthread_t thread;
    /* what the server sends */
    unsigned char answer[256];
    size_t answer_len, answer_fds;
    uint64_t random;
};

static uint64_t next(struct place *p, uint64_t below)
{
    p->random ^= p->random << 13;
    p->random ^= p->random >> 7;
    p->random ^= p->random << 17;
    return p->random % below;
}

/* --- the other side ---------------------------------------------------------------------------------------------- */

static void *serve(void *arg)
{
    struct place *p = arg;
    struct direct_ask ask;
    union {
        char bytes[CMSG_SPACE(16 * sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    int fds[16];
    p->conn = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    if (p->conn < 0 || recv(p->conn, &ask, sizeof(ask), 0) != sizeof(ask) || memcmp(ask.overlay_id, p->id, 16) != 0)
        return (void *)1;
    struct iovec iov = {p->answer, p->answer_len};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    for (size_t i = 0; i < p->answer_fds; i++)
        fds[i] = p->fds[i % DIRECT_FDS];
    if (p->answer_fds > 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(p->answer_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(p->answer_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, p->answer_fds * sizeof(int));
    }
    (void)sendmsg(p->conn, &m, MSG_NOSIGNAL); /* a test looks at what arrives */
    return NULL;
}

static int open_reader(struct place *p, struct reader **ret, struct err *err)
{
    void *failed;
    assert_int_equal(0, pthread_create(&p->thread, NULL, serve, p));
    unsigned char sector[512];
    int r = reader_open(p->sock, p->path, SIZE, ret, err);
    assert_int_equal(0, pthread_join(p->thread, &failed));
    assert_null(failed);
    if (r == 0)
        (void)reader_read(*ret, sector, sizeof(sector), 0); /* takes an answer that was late */
    return r;
}

static void hang_up(struct place *p)
{
    closep(&p->conn);
    p->conn = -1;
}

/* --- files ------------------------------------------------------------------------------------------------------- */

static int make_file(const struct place *p, const char *name, const void *bytes, size_t len)
{
    char path[160];
    (void)snprintf(path, sizeof(path), "%s/%s", p->dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    if (len > 0)
        assert_int_equal(0, pwrite_full(fd, bytes, len, 0));
    return fd;
}

static int read_only(int fd)
{
    char path[40];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int ret = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(ret >= 0);
    return ret;
}

static int make_board(struct place *p)
{
    int fd = memfd_create("board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0 && ftruncate(fd, DIRECT_BOARD_BYTES) == 0);
    p->board = mmap(NULL, DIRECT_BOARD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(MAP_FAILED, p->board);
    assert_int_equal(0, fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
    p->board->magic = DIRECT_MAGIC;
    p->board->version = DIRECT_VERSION;
    atomic_store(&p->board->flags, DIRECT_ON | DIRECT_DATA);
    return fd;
}

static void good_answer(struct place *p)
{
    struct direct_answer a = {
        .magic = DIRECT_MAGIC, .version = DIRECT_VERSION, .size_bytes = SIZE, .base_bytes = BASE_BYTES};
    memcpy(p->answer, &a, sizeof(a));
    p->answer_len = sizeof(a);
    p->answer_fds = DIRECT_FDS;
}

static void make_contents(struct place *p)
{
    p->base = malloc(SIZE);
    p->data = malloc(SIZE);
    assert_true(p->base && p->data);
    for (size_t i = 0; i < SIZE; i++) {
        p->base[i] = (unsigned char)(next(p, 127) + 1);
        p->data[i] = p->base[i] | 0x80;
    }
    _cleanup_close_ int base = make_file(p, "base", p->base, BASE_BYTES), data = make_file(p, "data", p->data, SIZE);
    p->fds[DIRECT_FD_BASE] = read_only(base);
    p->fds[DIRECT_FD_DATA] = read_only(data);
}

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    char id[UUID_LEN + 1];
    struct map_stamp stamp = {.base_identity = "xxh3:1", .size_bytes = SIZE};
    const char *tmp = getenv("DISKGATE_TEST_TMP");
    assert_non_null(p);
    p->random = 88172645463325252ULL;
    p->listener = p->conn = -1;
    (void)snprintf(p->dir, sizeof(p->dir), "%s/diskgate-reader-XXXXXX",
                   tmp && *tmp && strlen(tmp) < 30 ? tmp : "/var/tmp");
    assert_non_null(mkdtemp(p->dir));
    assert_int_equal(0, uuid_new(id));
    assert_int_equal(0, uuid_decode(id, p->id));
    (void)snprintf(p->sock, sizeof(p->sock), "%s/direct.sock", p->dir);
    (void)snprintf(p->path, sizeof(p->path), "%s/mnt/by-id/%s.img", p->dir, id);
    memcpy(stamp.overlay_id, p->id, sizeof(p->id));
    assert_int_equal(0, livemap_create(make_file(p, "map", NULL, 0), &stamp, &p->map, NULL));
    p->fds[DIRECT_FD_MAP] = read_only(livemap_fd(p->map));
    p->fds[DIRECT_FD_BOARD] = make_board(p);
    make_contents(p);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, p->sock);
    p->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_true(bind(p->listener, (const struct sockaddr *)&a, sizeof(a)) == 0 && listen(p->listener, 8) == 0);
    good_answer(p);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    static const char *const names[] = {"base", "data", "map", "direct.sock", ""};
    char path[160];
    livemap_close(p->map);
    (void)munmap(p->board, DIRECT_BOARD_BYTES);
    for (size_t i = 0; i < DIRECT_FDS; i++)
        closep(&p->fds[i]);
    closep(&p->listener);
    hang_up(p);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", p->dir, names[i]);
        assert_int_equal(0, remove(path));
    }
    free(p->base);
    free(p->data);
    free(p);
    return 0;
}

/* --- reads ------------------------------------------------------------------------------------------------------- */

static void set(struct place *p, uint64_t blk, uint64_t n, enum block_state state)
{
    assert_int_equal(0, livemap_prepare(p->map, blk, n, state));
    if (state == BLOCK_ZERO)
        livemap_set_zero(p->map, blk, n);
    else
        livemap_set_present(p->map, blk, n);
}

/* What [off, off + len) should be; a piece of it, in @ret: its length is returned. */
static size_t expect(const struct place *p, uint64_t off, size_t len, unsigned char *ret)
{
    enum block_state s;
    size_t n = MIN(len, SECTOR_BYTES); /* the base ends with a sector */
    (void)livemap_run(p->map, off / BLOCK_BYTES, 1, &s);
    memset(ret, 0, n);
    if (s == BLOCK_PRESENT)
        memcpy(ret, p->data + off, n);
    else if (s == BLOCK_ABSENT && off < BASE_BYTES)
        memcpy(ret, p->base + off, n);
    return n;
}

static void check_read(struct place *p, struct reader *d, uint64_t off, size_t len)
{
    unsigned char buf[16 * BLOCK_BYTES], sector[SECTOR_BYTES];
    uint64_t before = atomic_load(&p->board->reads);
    assert_true(reader_read(d, buf, len, off));
    for (size_t i = 0, n; i < len; i += n) {
        n = expect(p, off + i, len - i, sector);
        if (memcmp(buf + i, sector, n) != 0)
            fail_msg("byte %zu of %zu at %llu is wrong, or one behind it", i, len, (unsigned long long)off);
    }
    assert_int_equal(before + 1, atomic_load(&p->board->reads));
}

static void test_reader_agrees_with_a_model_while_the_map_changes(void **state)
{
    struct place *p = *state;
    struct reader *d;
    assert_int_equal(0, open_reader(p, &d, NULL));
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t blk = next(p, BLOCKS), n = next(p, 6) + 1;
        if (next(p, 4) == 0)
            set(p, blk, MIN(n, BLOCKS - blk), next(p, 2) ? BLOCK_ZERO : BLOCK_PRESENT);
        uint64_t off = next(p, SIZE / 512) * 512, len = (next(p, 64) + 1) * 512;
        check_read(p, d, off, MIN(len, SIZE - off)); /* at most 9 blocks and the base's end: no 16 pieces */
    }
    reader_close(d);
}

static void test_reader_refuses_ranges_that_are_none(void **state)
{
    struct place *p = *state;
    struct reader *d;
    static unsigned char buf[READER_MAX_BYTES + 512];
    assert_int_equal(0, open_reader(p, &d, NULL));
    assert_false(reader_read(d, buf, 0, 0));
    assert_false(reader_read(d, buf, 512, SIZE));
    assert_false(reader_read(d, buf, 1024, SIZE - 512));
    assert_false(reader_read(d, buf, 512, UINT64_MAX - 511));
    assert_false(reader_read(d, buf, READER_MAX_BYTES + 512, 0));
    assert_true(reader_read(d, buf, READER_MAX_BYTES, 0));
    reader_close(d);
}

static void test_reader_of_too_many_pieces_gives_up(void **state)
{
    struct place *p = *state;
    struct reader *d;
    unsigned char buf[18 * BLOCK_BYTES];
    assert_int_equal(0, open_reader(p, &d, NULL));
    for (uint64_t blk = 0; blk < 18; blk += 2)
        set(p, blk, 1, BLOCK_PRESENT);
    assert_true(reader_read(d, buf, 16 * BLOCK_BYTES, 0));
    assert_false(reader_read(d, buf, 16 * BLOCK_BYTES + 512, 0));
    reader_close(d);
}

/* --- the board --------------------------------------------------------------------------------------------------- */

static void test_flags_and_generation_decide(void **state)
{
    struct place *p = *state;
    struct reader *d;
    unsigned char buf[BLOCK_BYTES];
    assert_int_equal(0, open_reader(p, &d, NULL));
    set(p, 1, 1, BLOCK_PRESENT);
    for (uint32_t flags = 0; flags < 4; flags++) {
        atomic_store(&p->board->flags, flags);
        assert_int_equal((flags & DIRECT_ON) != 0, reader_read(d, buf, sizeof(buf), 0));
        assert_int_equal(flags == (DIRECT_ON | DIRECT_DATA), reader_read(d, buf, sizeof(buf), BLOCK_BYTES));
    }
    livemap_end(p->map);
    assert_false(reader_read(d, buf, sizeof(buf), 0));
    reader_close(d);
}

static void test_recorded_reads_are_in_the_ring_and_a_full_one_stops_them(void **state)
{
    struct place *p = *state;
    struct reader *d;
    unsigned char buf[512];
    assert_int_equal(0, open_reader(p, &d, NULL));
    atomic_store(&p->board->flags, DIRECT_ON | DIRECT_RECORD);
    for (uint64_t n = 0; n < 5000; n++) {
        uint64_t tail = atomic_load(&p->board->tail), off = next(p, SIZE / 512) * 512;
        bool is_full = n - tail == DIRECT_RING;
        assert_int_equal(!is_full, reader_read(d, buf, sizeof(buf), off));
        if (!is_full) {
            const struct direct_note *last = &p->board->ring[n % DIRECT_RING];
            assert_true(atomic_load(&last->off) == off && atomic_load(&last->len) == sizeof(buf));
            assert_int_equal(n + 1, atomic_load(&p->board->head));
            continue;
        }
        n--;
        atomic_store(&p->board->tail, tail + next(p, DIRECT_RING) + 1);
    }
    atomic_store(&p->board->tail, UINT64_MAX);
    assert_false(reader_read(d, buf, sizeof(buf), 0));
    reader_close(d);
}

/* --- answers ----------------------------------------------------------------------------------------------------- */

static size_t open_files(void)
{
    _cleanup_closedir_ DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    return n;
}

static void check_refused(struct place *p)
{
    struct reader *d = NULL;
    struct err err = {0};
    size_t before = open_files();
    unsigned char sector[512];
    int r = open_reader(p, &d, &err);
    assert_true(r > -4096 && (r < 0 ? !d && err.msg[0] : !reader_read(d, sector, sizeof(sector), 0)));
    reader_close(d);
    hang_up(p);
    assert_int_equal(before, open_files());
}

static void test_each_changed_byte_of_an_answer_is_refused(void **state)
{
    struct place *p = *state;
    for (size_t i = 0; i < sizeof(struct direct_answer); i++) {
        if (i >= offsetof(struct direct_answer, generation) && i < offsetof(struct direct_answer, size_bytes))
            continue; /* a number that is only compared */
        good_answer(p);
        p->answer[i] ^= 0x80;
        if (i >= offsetof(struct direct_answer, base_bytes) && i < offsetof(struct direct_answer, base_bytes) + 3)
            p->answer[offsetof(struct direct_answer, base_bytes) + 3] = 0xff; /* fewer bytes would be right, too */
        check_refused(p);
    }
}

static void test_answers_of_other_lengths_and_other_numbers_of_files_are_refused(void **state)
{
    struct place *p = *state;
    static const size_t counts[] = {0, 1, 3, 5, 16};
    for (size_t len = 0; len < sizeof(p->answer); len++) {
        good_answer(p);
        p->answer_len = len;
        if (len != sizeof(struct direct_answer))
            check_refused(p);
    }
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        good_answer(p);
        p->answer_fds = counts[i];
        check_refused(p);
    }
}

static void test_half_of_the_files_are_left_for_others(void **state)
{
    struct place *p = *state;
    struct reader *d;
    struct rlimit old, low;
    assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &old));
    low = old;
    low.rlim_cur = 2 * open_files();
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &low));
    check_refused(p);
    low.rlim_cur = 4 * open_files();
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &low));
    assert_int_equal(0, open_reader(p, &d, NULL));
    reader_close(d);
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &old));
}

static void test_files_in_another_order_are_refused(void **state)
{
    struct place *p = *state;
    for (size_t a = 0; a < DIRECT_FDS; a++)
        for (size_t b = a + 1; b < DIRECT_FDS; b++) {
            bool is_harmless = a == DIRECT_FD_BASE && b == DIRECT_FD_DATA; /* one file is as good as another */
            int fd = p->fds[a];
            p->fds[a] = p->fds[b];
            p->fds[b] = fd;
            if (!is_harmless)
                check_refused(p);
            p->fds[b] = p->fds[a];
            p->fds[a] = fd;
        }
}

static void test_each_changed_byte_of_the_map_is_refused_or_harmless(void **state)
{
    struct place *p = *state;
    set(p, 3, 5, BLOCK_PRESENT);
    set(p, 7, 9, BLOCK_ZERO);
    unsigned char head[4096 + 64], buf[BLOCK_BYTES];
    int fd = livemap_fd(p->map);
    assert_int_equal(0, pread_full(fd, head, sizeof(head), 0));
    for (size_t i = 0; i < sizeof(head); i += i < 256 || i >= 4096 - 8 ? 1 : 64) {
        unsigned char other = head[i] ^ 0xff;
        struct reader *d = NULL;
        assert_int_equal(0, pwrite_full(fd, &other, 1, i));
        if (open_reader(p, &d, NULL) == 0)
            for (uint64_t blk = 0; blk < BLOCKS - 1; blk += 3)
                (void)reader_read(d, buf, sizeof(buf), blk * BLOCK_BYTES); /* what it says is another question */
        reader_close(d);
        hang_up(p);
        assert_int_equal(0, pwrite_full(fd, &head[i], 1, i));
    }
}

static void test_an_answer_that_comes_late_is_taken_by_a_read(void **state)
{
    struct place *p = *state;
    struct reader *d[3];
    unsigned char buf[512];
    for (size_t i = 0; i < ARRAY_SIZE(d); i++) {
        assert_int_equal(0, reader_open(p->sock, p->path, SIZE, &d[i], NULL)); /* nobody serves: each is in the queue */
        assert_false(reader_read(d[i], buf, sizeof(buf), 0));
    }
    for (size_t i = 0; i < ARRAY_SIZE(d); i++) {
        p->answer[0] ^= i == 1; /* one that is none */
        assert_null(serve(p));
        p->answer[0] ^= i == 1;
        for (size_t k = 0; k < 2; k++)
            assert_int_equal(i != 1, reader_read(d[i], buf, sizeof(buf), 0));
        hang_up(p);
        reader_close(d[i]);
    }
}

static void test_reads_are_not_noted_for_the_dead(void **state)
{
    struct place *p = *state;
    struct reader *d;
    unsigned char buf[512];
    assert_int_equal(0, open_reader(p, &d, NULL));
    atomic_store(&p->board->flags, DIRECT_ON | DIRECT_RECORD);
    for (size_t i = 0; i < DIRECT_RING; i++)
        assert_true(reader_read(d, buf, sizeof(buf), 0));
    assert_false(reader_read(d, buf, sizeof(buf), 0));
    hang_up(p);
    for (size_t i = 0; i < 2; i++)
        assert_true(reader_read(d, buf, sizeof(buf), 0));
    assert_int_equal(DIRECT_RING, atomic_load(&p->board->head));
    reader_close(d);
}

static void test_other_paths_are_not_asked_for(void **state)
{
    struct place *p = *state;
    static const char *const others[] = {"", "x", "/mnt/by-id/x.img", "mnt/by-id/.img"};
    struct reader *d;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_int_equal(-ENOENT, reader_open(p->sock, others[i], SIZE, &d, NULL));
    for (size_t i = 1; i < strlen(p->path); i++) {
        char path[sizeof(p->path)];
        memcpy(path, p->path, sizeof(path));
        path[i] = '!';
        assert_int_equal(-ENOENT, reader_open(p->sock, path, SIZE, &d, NULL));
        path[i] = 0;
        assert_int_equal(-ENOENT, reader_open(p->sock, path, SIZE, &d, NULL));
    }
}

/* --- what is taken away ------------------------------------------------------------------------------------------ */

/* The guard's handlers; cmocka puts its own there before each test. */
static struct sigaction guards[2];

static void arm(void)
{
    assert_int_equal(0, sigaction(SIGBUS, &guards[0], NULL));
    assert_int_equal(0, sigaction(SIGSEGV, &guards[1], NULL));
}

static void test_a_map_that_is_cut_ends_the_reader_alone(void **state)
{
    struct place *p = *state;
    struct reader *d;
    unsigned char buf[BLOCK_BYTES];
    struct stat st;
    assert_int_equal(0, open_reader(p, &d, NULL));
    assert_int_equal(0, fstat(livemap_fd(p->map), &st));
    assert_true(reader_read(d, buf, sizeof(buf), 0));
    arm();
    assert_int_equal(0, ftruncate(livemap_fd(p->map), 0));
    assert_false(reader_read(d, buf, sizeof(buf), 0));
    assert_int_equal(0, ftruncate(livemap_fd(p->map), st.st_size));
    assert_false(reader_read(d, buf, sizeof(buf), 0));
    reader_close(d);
}

static int touch(void *arg)
{
    return *(volatile unsigned char *)arg;
}

static void test_guard_returns_what_is_called_and_survives_what_is_not_there(void **state)
{
    if (IS_SANITIZED)
        skip(); /* ThreadSanitizer bears one handler that is left by a jump, not two */
    unsigned char there = 77;
    void *hole = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(MAP_FAILED, hole);
    arm();
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(-EFAULT, guard_call(touch, hole));
        assert_int_equal(77, guard_call(touch, &there));
    }
    assert_int_equal(0, munmap(hole, 4096));
}

int main(void)
{
    unsigned char byte = 0;
    if (guard_call(touch, &byte) != 0 || sigaction(SIGBUS, NULL, &guards[0]) < 0 ||
        sigaction(SIGSEGV, NULL, &guards[1]) < 0)
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_reader_agrees_with_a_model_while_the_map_changes),
        TEST(test_reader_refuses_ranges_that_are_none),
        TEST(test_reader_of_too_many_pieces_gives_up),
        TEST(test_flags_and_generation_decide),
        TEST(test_recorded_reads_are_in_the_ring_and_a_full_one_stops_them),
        TEST(test_each_changed_byte_of_an_answer_is_refused),
        TEST(test_answers_of_other_lengths_and_other_numbers_of_files_are_refused),
        TEST(test_half_of_the_files_are_left_for_others),
        TEST(test_files_in_another_order_are_refused),
        TEST(test_each_changed_byte_of_the_map_is_refused_or_harmless),
        TEST(test_an_answer_that_comes_late_is_taken_by_a_read),
        TEST(test_reads_are_not_noted_for_the_dead),
        TEST(test_other_paths_are_not_asked_for),
        TEST(test_a_map_that_is_cut_ends_the_reader_alone),
        cmocka_unit_test(test_guard_returns_what_is_called_and_survives_what_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
