/* SPDX-License-Identifier: Apache-2.0 */
// links: server/scoreboard.c server/scoreboard_channel.c
/*
 * scoreboard_channel_test.c: who gets a ticket: one worker, or the owner that takes it back.
 *
 * Child and worker are played by one thread, in every order of their steps that matters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <apr_general.h>

#include "server/scoreboard_channel.h"

#define CHILD  4711 /* a pid; nobody is sent a signal */
#define WORKER 1u
#define OTHER  2u

typedef struct fixture_t {
    apr_pool_t *pool;
    scoreboard_instance_t *instance;
    scoreboard_lease_t lease;
} fixture_t;

static int fixture_setup(void **state)
{
    static const scoreboard_shape_t shape = { .channels = 1, .processes = 1, .threads = 3 };
    static fixture_t fixture;

    apr_pool_create(&fixture.pool, NULL);
    assert_int_equal(scoreboard_create("site", "digest", &shape, &fixture.instance, fixture.pool),
                     APR_SUCCESS);
    fixture.instance->self = CHILD;
    assert_int_equal(scoreboard_channel_acquire(fixture.instance, 0, 0, &fixture.lease),
                     APR_SUCCESS);
    *state = &fixture;
    return 0;
}

static int fixture_teardown(void **state)
{
    fixture_t *fixture = *state;

    scoreboard_destroy(fixture->instance);
    apr_pool_destroy(fixture->pool);
    return 0;
}

static apr_status_t claim(const fixture_t *fixture, apr_uint32_t req, apr_uint32_t worker)
{
    return scoreboard_channel_claim(fixture->instance, 0, req, worker);
}

static void test_ticket_is_claimed_once(void **state)
{
    const fixture_t *fixture = *state;
    apr_uint32_t req = fixture->lease.req;

    assert_int_equal(claim(fixture, req, WORKER), APR_SUCCESS);
    assert_int_equal(claim(fixture, req, OTHER), APR_EEXIST);
    assert_true(scoreboard_channel_served(fixture->instance, 0, req));
    scoreboard_channel_unclaim(fixture->instance, 0, req, WORKER);
    assert_false(scoreboard_channel_served(fixture->instance, 0, req));
    assert_int_equal(claim(fixture, req, OTHER), APR_EEXIST);
}

static void test_withdrawn_ticket_is_claimed_by_nobody(void **state)
{
    const fixture_t *fixture = *state;

    assert_true(scoreboard_channel_withdraw(&fixture->lease));
    assert_int_equal(claim(fixture, fixture->lease.req, WORKER), APR_EEXIST);
    assert_false(scoreboard_channel_served(fixture->instance, 0, fixture->lease.req));
}

static void test_claimed_ticket_is_not_withdrawn(void **state)
{
    const fixture_t *fixture = *state;
    apr_uint32_t req = fixture->lease.req;

    assert_int_equal(claim(fixture, req, WORKER), APR_SUCCESS);
    assert_false(scoreboard_channel_withdraw(&fixture->lease));
    assert_true(scoreboard_channel_served(fixture->instance, 0, req));
    scoreboard_channel_finishing(fixture->instance, 0, req, WORKER);
    assert_false(scoreboard_channel_withdraw(&fixture->lease));
    scoreboard_channel_unclaim(fixture->instance, 0, req, WORKER);
    assert_false(scoreboard_channel_withdraw(&fixture->lease));
}

static void test_channel_serves_the_next_request_after_a_withdrawal(void **state)
{
    fixture_t *fixture = *state;
    apr_uint32_t before = fixture->lease.req;

    assert_true(scoreboard_channel_withdraw(&fixture->lease));
    scoreboard_channel_release(&fixture->lease);
    assert_int_equal(scoreboard_channel_acquire(fixture->instance, 0, 0, &fixture->lease),
                     APR_SUCCESS);
    assert_int_equal(claim(fixture, before, WORKER), APR_ECONNABORTED);
    assert_int_equal(claim(fixture, fixture->lease.req, WORKER), APR_SUCCESS);
}

/* A frame may carry one descriptor; the kernel has the room of two, by the padding. */
static void test_second_descriptor_of_a_frame_is_not_received(void **state)
{
    const fixture_t *fixture = *state;
    int passed[2] = { fixture->instance->queue_send, fixture->instance->queue_recv };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(passed))];
    } control = { .align = { .cmsg_len = CMSG_LEN(sizeof(passed)),
                             .cmsg_level = SOL_SOCKET,
                             .cmsg_type = SCM_RIGHTS } };
    char byte = 1;
    struct iovec piece = { &byte, 1 };
    struct msghdr message = { .msg_iov = &piece,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    int first = dup(STDOUT_FILENO); /* the two lowest that are free */
    int second = dup(STDOUT_FILENO);
    int received = -1;
    apr_size_t got;

    close(first);
    close(second);
    memcpy(CMSG_DATA(&control.align), passed, sizeof(passed));
    assert_int_equal(sendmsg(fixture->instance->daemon_end[0], &message, 0), 1);
    assert_int_equal(scoreboard_channel_recv(fixture->lease.fd, &byte, 1, 0, &got, &received),
                     APR_SUCCESS);
    assert_int_equal(received, first);
    assert_int_equal(dup(STDOUT_FILENO), second);
    close(received);
    close(second);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ticket_is_claimed_once),
        TEST(test_withdrawn_ticket_is_claimed_by_nobody),
        TEST(test_claimed_ticket_is_not_withdrawn),
        TEST(test_channel_serves_the_next_request_after_a_withdrawal),
        TEST(test_second_descriptor_of_a_frame_is_not_received),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
