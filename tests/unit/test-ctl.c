/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control sockets: one line in, one line out; whatever a peer does, the server goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/ctl-line.h"
#include "core/clock.h"
#include "core/ctl.h"
#include "core/util.h"

#define SOCK "test.sock"

struct place {
    char root[256], run[300];
    int dirfd;
    struct ctl_server *server;
    struct err err;
};

static int handler(void *arg, const char *cmd, json_t *req, json_t **ret, struct err *err)
{
    if (strcmp(cmd, "echo") == 0) {
        *ret = json_deep_copy(req);
        return 0;
    }
    if (strcmp(cmd, "busy") == 0)
        return err_set(err, -EBUSY, "image 'win' is in use by pc1");
    if (strcmp(cmd, "bytes") == 0)
        return err_set(err, -ENOENT, "no file '\xff\xfe' here");
    if (strcmp(cmd, "slow") == 0) {
        (void)poll(NULL, 0, 1000);
        return 0;
    }
    if (strcmp(cmd, "big") == 0) {
        _cleanup_free_ char *text = malloc(3 * MiB + 1);
        assert_non_null(text);
        memset(text, 'a', 3 * MiB);
        text[3 * MiB] = 0;
        *ret = json_pack("{s:s}", "text", text);
        return 0;
    }
    return -EOPNOTSUPP;
}

/* The root's own path is longer than sockaddr_un can hold. */
static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    strcpy(p->root, "/tmp/dg-test-ctl.XXXXXX");
    assert_non_null(mkdtemp(p->root));
    strcat(p->root,
           "/a-folder-with-a-long-name-a-folder-with-a-long-name-a-folder-with-a-long-name-a-folder-with-a-long-name");
    (void)snprintf(p->run, sizeof(p->run), "%s/run", p->root);
    assert_int_equal(make_dirs(p->run, 0700), 0);
    p->dirfd = open(p->run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(p->dirfd >= 0);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    ctl_server_close(p->server);
    (void)unlinkat(p->dirfd, SOCK, 0);
    closep(&p->dirfd);
    int r = rmdir(p->run) | rmdir(p->root);
    *strrchr(p->root, '/') = 0;
    r |= rmdir(p->root);
    free(p);
    return r;
}

static void start(struct place *p)
{
    assert_int_equal(ctl_server_open(p->dirfd, SOCK, handler, p, &p->server, &p->err), 0);
    assert_int_equal(ctl_server_start(p->server), 0);
}

static int call(struct place *p, const char *cmd, json_t **ret)
{
    _cleanup_json_ json_t *req = json_pack("{s:s,s:i}", "cmd", cmd, "n", 7);
    return ctl_call(p->root, SOCK, req, 10000, ret, &p->err);
}

static void check_alive(struct place *p)
{
    _cleanup_json_ json_t *ret = NULL;
    assert_int_equal(call(p, "echo", &ret), 0);
    assert_int_equal(json_integer_value(json_object_get(ret, "n")), 7);
}

/* A plain connection, for peers that do not behave. */
static int raw_connect(struct place *p)
{
    struct sockaddr_un a;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(ctl_address(p->dirfd, SOCK, &a), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static void test_ctl_answers_over_a_path_of_any_length(void **state)
{
    struct place *p = *state;
    start(p);
    check_alive(p);
    check_alive(p);
}

static void test_ctl_passes_on_error_and_sentence(void **state)
{
    struct place *p = *state;
    json_t *ret = NULL;
    start(p);
    assert_int_equal(call(p, "busy", &ret), -EBUSY);
    assert_string_equal(p->err.msg, "image 'win' is in use by pc1");
    assert_int_equal(call(p, "nonsense", &ret), -EOPNOTSUPP);
    assert_non_null(strstr(p->err.msg, "nonsense"));
    assert_int_equal(call(p, "bytes", &ret), -ENOENT);
    assert_string_equal(p->err.msg, "no file '?"
                                    "?' here");
    assert_null(ret);
}

static void test_ctl_carries_megabytes(void **state)
{
    struct place *p = *state;
    _cleanup_json_ json_t *ret = NULL, *req = NULL;
    start(p);
    assert_int_equal(call(p, "big", &ret), 0);
    assert_int_equal(json_string_length(json_object_get(ret, "text")), 3 * MiB);
    req = json_pack("{s:s,s:O}", "cmd", "echo", "text", json_object_get(ret, "text"));
    json_decref(ret);
    ret = NULL;
    assert_int_equal(ctl_call(p->root, SOCK, req, 10000, &ret, &p->err), 0);
    assert_true(json_equal(req, ret));
}

static void test_ctl_malformed_requests_get_an_error_line(void **state)
{
    static const char *const texts[] = {"\n",
                                        "{\n",
                                        "[1,2]\n",
                                        "\"cmd\"\n",
                                        "{\"cmd\":5}\n",
                                        "{}\n",
                                        "{\"cmd\":\"a\",\"cmd\":\"b\"}\n",
                                        "\xff\xfe\n",
                                        "GET / HTTP/1.1\r\n\r\n",
                                        "{\"cmd\":\"echo\"} x\n"};
    struct place *p = *state;
    start(p);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        char why[JSON_ERROR_TEXT_LENGTH];
        _cleanup_json_ json_t *ret = NULL;
        _cleanup_close_ int fd = raw_connect(p);
        assert_int_equal(write_full(fd, texts[i], strlen(texts[i])), 0);
        assert_int_equal(ctl_recv(fd, -1, clock_ms() + 10000, &ret, why), 0);
        assert_true(json_is_string(json_object_get(ret, "error")));
        assert_int_equal(json_integer_value(json_object_get(ret, "errno")), EINVAL);
    }
    check_alive(p);
}

static void test_ctl_survives_peers_that_vanish(void **state)
{
    struct place *p = *state;
    start(p);
    for (unsigned i = 0; i < 20; i++) {
        _cleanup_close_ int fd = raw_connect(p);
        if (i % 3 == 1)
            assert_int_equal(write_full(fd, "{\"cmd\":", 7), 0);
        if (i % 3 == 2)
            assert_int_equal(write_full(fd, "{\"cmd\":\"big\"}\n", 14), 0);
    }
    check_alive(p);
}

static void *call_often(void *arg)
{
    struct place *p = arg;
    for (unsigned i = 0; i < 50; i++) {
        struct err err;
        _cleanup_json_ json_t *ret = NULL, *req = json_pack("{s:s,s:i}", "cmd", "echo", "n", (int)i);
        if (ctl_call(p->root, SOCK, req, 30000, &ret, &err) != 0 || !json_equal(req, ret))
            return p;
    }
    return NULL;
}

static void test_ctl_serves_many_callers_at_once(void **state)
{
    struct place *p = *state;
    pthread_t threads[8];
    start(p);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, p), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        void *failed = p;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}

static void test_ctl_nobody_there_is_a_sentence(void **state)
{
    struct place *p = *state;
    json_t *ret = NULL;
    assert_int_equal(call(p, "echo", &ret), -ENOENT);
    assert_non_null(strstr(p->err.msg, "diskgate up"));
    start(p);
    ctl_server_close(p->server);
    p->server = NULL;
    assert_int_equal(call(p, "echo", &ret), -ENOENT);
}

static void test_ctl_slow_daemon_times_out(void **state)
{
    struct place *p = *state;
    _cleanup_json_ json_t *req = json_pack("{s:s}", "cmd", "slow"), *ret = NULL;
    start(p);
    assert_int_equal(ctl_call(p->root, SOCK, req, 100, &ret, &p->err), -ETIMEDOUT);
    assert_non_null(strstr(p->err.msg, "0.1 s"));
    check_alive(p);
}

/* A peer that is silent does not hold up the end of the server. */
static void test_ctl_stop_does_not_wait_for_peers(void **state)
{
    struct place *p = *state;
    start(p);
    _cleanup_close_ int fd = raw_connect(p);
    assert_true(fd >= 0);
    (void)poll(NULL, 0, 50); /* so that the server is inside its wait, most of the time */
    int64_t begin = clock_ms();
    ctl_server_stop(p->server);
    assert_true(clock_ms() - begin < 9000); /* less than the limit for silent peers */
    ctl_server_stop(p->server);
    assert_int_equal(ctl_server_start(p->server), 0);
    check_alive(p);
}

static void test_ctl_dead_socket_is_replaced_and_live_one_is_not(void **state)
{
    struct place *p = *state;
    struct ctl_server *second = NULL;
    struct sockaddr_un a;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(ctl_address(p->dirfd, SOCK, &a), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0); /* bound, never listened at: as after a crash */
    start(p);
    check_alive(p);
    assert_int_equal(ctl_server_open(p->dirfd, SOCK, handler, p, &second, &p->err), -EBUSY);
    assert_null(second);
    check_alive(p);
}

static void test_ctl_file_in_the_way_is_kept(void **state)
{
    struct place *p = *state;
    struct stat st;
    _cleanup_close_ int fd = openat(p->dirfd, SOCK, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ctl_server_open(p->dirfd, SOCK, handler, p, &p->server, &p->err), -EEXIST);
    assert_int_equal(fstatat(p->dirfd, SOCK, &st, 0), 0);
}

static void test_ctl_socket_is_for_its_owner_only(void **state)
{
    struct place *p = *state;
    struct stat st;
    mode_t old = umask(0);
    start(p);
    (void)umask(old);
    assert_int_equal(fstatat(p->dirfd, SOCK, &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

/* Exit status of a child that calls as user 65534, with the file permissions out of its way. */
static int call_as_nobody(struct place *p)
{
    struct sockaddr_un a;
    char why[JSON_ERROR_TEXT_LENGTH];
    json_t *ret = NULL;
    if (ctl_address(p->dirfd, SOCK, &a) < 0 || setresuid(65534, 65534, 65534) < 0)
        return 10;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        return 11;
    if (ctl_recv(fd, -1, clock_ms() + 10000, &ret, why) < 0)
        return 12;
    return json_integer_value(json_object_get(ret, "errno")) == EPERM ? 0 : 13;
}

static void test_ctl_other_users_are_refused(void **state)
{
    struct place *p = *state;
    int status = -1;
    if (geteuid() != 0) {
        print_message("needs root to become another user\n");
        skip();
    }
    start(p);
    assert_int_equal(fchmodat(p->dirfd, SOCK, 0666, 0), 0);
    char top[256];
    strcpy(top, p->root);
    *strrchr(top, '/') = 0;
    assert_int_equal(chmod(top, 0755) | chmod(p->root, 0755) | chmod(p->run, 0755), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(call_as_nobody(p));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    check_alive(p);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_ctl_answers_over_a_path_of_any_length),
        T(test_ctl_passes_on_error_and_sentence),
        T(test_ctl_carries_megabytes),
        T(test_ctl_malformed_requests_get_an_error_line),
        T(test_ctl_survives_peers_that_vanish),
        T(test_ctl_serves_many_callers_at_once),
        T(test_ctl_nobody_there_is_a_sentence),
        T(test_ctl_slow_daemon_times_out),
        T(test_ctl_stop_does_not_wait_for_peers),
        T(test_ctl_dead_socket_is_replaced_and_live_one_is_not),
        T(test_ctl_file_in_the_way_is_kept),
        T(test_ctl_socket_is_for_its_owner_only),
        T(test_ctl_other_users_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
