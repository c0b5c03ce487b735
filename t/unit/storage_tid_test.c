/* SPDX-License-Identifier: Apache-2.0 */
// links: storage/tid.c
/*
 * storage_tid_test.c: tids encode the clock as persistent.TimeStamp does, and step past a full
 * minute by the calendar. The expected numbers are what persistent 6.9 gives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/tid.h"

static void test_times_encode_as_timestamps(void **state)
{
    (void)state;
    assert_int_equal(tid_from_time(0), 0x23c2b0000000000);
    assert_int_equal(tid_from_time(apr_time_make(1795542235, 123456)), 0x40d3c47eb318377);
    assert_int_equal(tid_from_time(apr_time_make(951868799, 999999)), 0x332b37fffffffb8);
    assert_int_equal(tid_from_time(apr_time_make(2147483648, 500000)), 0x468630224444444);
    assert_int_equal(tid_from_time(apr_time_make(1677628770, 0)), 0x3eead5f80000000);
}

static void test_clock_that_has_moved_on_gives_the_time(void **state)
{
    apr_time_t now = apr_time_make(1795542235, 123456);

    (void)state;
    assert_int_equal(tid_after(0, now), tid_from_time(now));
    assert_int_equal(tid_after(tid_from_time(now) - 1, now), tid_from_time(now));
}

static void test_clock_that_stands_still_or_goes_back_gives_the_next_tid(void **state)
{
    apr_time_t now = apr_time_make(1795542235, 123456);
    storage_tid_t last = tid_from_time(now);

    (void)state;
    assert_int_equal(tid_after(last, now), last + 1);
    assert_int_equal(tid_after(last + 7, now), last + 8);
    assert_int_equal(tid_after(last, 0), last + 1);
}

static void test_full_minute_is_followed_by_a_date_that_exists(void **state)
{
    static const storage_tid_t pairs[][2] = {
        { 0x3f58ab8ffffffff, 0x3f58ab900000000 }, /* within a day */
        { 0x3f0c3bfffffffff, 0x3f0c3c000000000 }, /* 30 to 31 May */
        { 0x3f0155fffffffff, 0x3f01b0000000000 }, /* 30 April to 1 May */
        { 0x3f58dffffffffff, 0x3f58e0000000000 }, /* a new year */
        { 0x3eead5fffffffff, 0x3eebe4000000000 }, /* 28 February 2023 to 1 March */
        { 0x3f6d9dfffffffff, 0x3f6d9e000000000 }, /* 28 to 29 February 2024 */
        { 0x3f6df7fffffffff, 0x3f6eac000000000 }, /* 29 February 2024 to 1 March */
        { 0x14bdfffffffff, 0x15cc000000000 },     /* 1900 had no leap day */
        { 0x332addfffffffff, 0x332ade000000000 }, /* 2000 had one */
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        assert_int_equal(tid_after(pairs[i][0], -2208988800 * APR_USEC_PER_SEC), pairs[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times_encode_as_timestamps),
        cmocka_unit_test(test_clock_that_has_moved_on_gives_the_time),
        cmocka_unit_test(test_clock_that_stands_still_or_goes_back_gives_the_next_tid),
        cmocka_unit_test(test_full_minute_is_followed_by_a_date_that_exists),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
