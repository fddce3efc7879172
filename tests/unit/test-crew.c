/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The threads that serve requests: those that wait never keep others waiting, and few serve what does not wait.
 *
 * The requests are bytes in a pipe: 'a' waits until the gate opens and says so before, 's' waits without a word, 'q' does not wait, 'e' is
 * the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/util.h"
#include "fusefs/crew.h"

#define HOT  2
#define MOST 8

struct fixture {
    int pipe[2];
    char request[MOST];
    _Atomic unsigned served[MOST]; /* by thread */
    _Atomic unsigned quick, waiting;
    _Atomic bool is_open;
    struct crew *crew;
    pthread_t watch;
    int result;
};

static void pause_ms(long ms)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static int next(void *arg, unsigned thread)
{
    struct fixture *f = arg;
    ssize_t n = read(f->pipe[0], &f->request[thread], 1);
    if (n != 1)
        return n < 0 && errno == EINTR ? 0 : -EIO;
    return f->request[thread] == 'e' ? -ENODEV : 1;
}

static void serve(void *arg, unsigned thread)
{
    struct fixture *f = arg;
    atomic_fetch_add(&f->served[thread], 1);
    if (f->request[thread] == 'q') {
        atomic_fetch_add(&f->quick, 1);
        return;
    }
    if (f->request[thread] == 'a')
        crew_will_wait();
    atomic_fetch_add(&f->waiting, 1);
    while (!atomic_load(&f->is_open))
        pause_ms(1);
    atomic_fetch_sub(&f->waiting, 1);
}

static bool never(void *arg)
{
    return false;
}

static void *watch(void *arg)
{
    struct fixture *f = arg;
    f->result = crew_watch(f->crew, never);
    return NULL;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct crew_job job = {.next = next, .serve = serve, .arg = f};
    assert_int_equal(pipe(f->pipe), 0);
    assert_int_equal(crew_start(&job, HOT, MOST, &f->crew), 0);
    assert_int_equal(pthread_create(&f->watch, NULL, watch, f), 0);
    *state = f;
    return 0;
}

static void send_requests(const struct fixture *f, char what, unsigned n)
{
    while (n-- > 0)
        assert_int_equal(write(f->pipe[1], &what, 1), 1);
}

/* Tests have a time limit of their own; what never comes true ends there. */
static void await(const _Atomic unsigned *value, unsigned want)
{
    while (atomic_load(value) != want)
        pause_ms(1);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->is_open, true);
    crew_end(f->crew);
    pthread_join(f->watch, NULL);
    crew_stop(f->crew);
    close(f->pipe[0]);
    close(f->pipe[1]);
    free(f);
    return 0;
}

static void test_crew_announced_waits_do_not_hold_up_others(void **state)
{
    struct fixture *f = *state;
    send_requests(f, 'a', MOST - 1);
    await(&f->waiting, MOST - 1);
    send_requests(f, 'q', 100);
    await(&f->quick, 100);
    assert_int_equal(atomic_load(&f->waiting), MOST - 1);
}

static void test_crew_silent_waits_do_not_hold_up_others(void **state)
{
    struct fixture *f = *state;
    send_requests(f, 's', MOST - 1);
    await(&f->waiting, MOST - 1);
    send_requests(f, 'q', 100);
    await(&f->quick, 100);
}

static void test_crew_goes_on_after_all_waited(void **state)
{
    struct fixture *f = *state;
    for (unsigned round = 0; round < 20; round++) {
        unsigned quick = atomic_load(&f->quick);
        atomic_store(&f->is_open, false);
        send_requests(f, round % 2 ? 'a' : 's', MOST);
        await(&f->waiting, MOST);
        send_requests(f, 'q', 10);
        atomic_store(&f->is_open, true);
        await(&f->quick, quick + 10);
        await(&f->waiting, 0);
    }
}

static unsigned count_servers(struct fixture *f)
{
    unsigned n = 0;
    for (unsigned i = 0; i < MOST; i++)
        n += atomic_exchange(&f->served[i], 0) > 0;
    return n;
}

/* After a load that waits, the surplus goes back to sleep: sooner or later a burst is served by the few alone. */
static void test_crew_parks_who_is_not_wanted(void **state)
{
    struct fixture *f = *state;
    send_requests(f, 'a', MOST - 1);
    await(&f->waiting, MOST - 1);
    atomic_store(&f->is_open, true);
    await(&f->waiting, 0);
    (void)count_servers(f);
    do {
        unsigned quick = atomic_load(&f->quick);
        pause_ms(1);
        send_requests(f, 'q', 50);
        await(&f->quick, quick + 50);
    } while (count_servers(f) > HOT);
}

static void test_crew_ends_with_the_requests(void **state)
{
    struct fixture *f = *state;
    send_requests(f, 'q', 10);
    send_requests(f, 'e', 1);
    pthread_join(f->watch, NULL);
    assert_int_equal(f->result, 0);
    assert_int_equal(pthread_create(&f->watch, NULL, watch, f), 0); /* returns at once; the teardown joins it */
}

static void test_crew_reports_an_error(void **state)
{
    struct fixture *f = *state;
    close(f->pipe[1]);
    pthread_join(f->watch, NULL);
    assert_int_equal(f->result, -EIO);
    f->pipe[1] = -1;
    assert_int_equal(pthread_create(&f->watch, NULL, watch, f), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_crew_announced_waits_do_not_hold_up_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crew_silent_waits_do_not_hold_up_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crew_goes_on_after_all_waited, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crew_parks_who_is_not_wanted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crew_ends_with_the_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crew_reports_an_error, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
