/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Direct reads, the side of diskgate-fs: what a store gets and when what it reads counts, with the views and overlays that clients have. */
#include "tests/unit/direct-fixture.h"

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
