/* SPDX-License-Identifier: Apache-2.0 */
// links: storage/spool.c storage/state.c
/*
 * storage_spool_test.c: a transaction's stores come out sorted, the last one of an object winning,
 * and what it owned is released. Run under AddressSanitizer, a leak fails it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/spool.h"

static void store(spool_t *spool, storage_oid_t oid, storage_tid_t serial, const char *data)
{
    assert_int_equal(spool_store(spool, oid, serial, data, strlen(data)), APR_SUCCESS);
}

static void assert_entry(const spool_entry_t *entry, storage_oid_t oid, storage_tid_t serial,
                         const char *data)
{
    assert_non_null(entry);
    assert_int_equal(entry->state->oid, oid);
    assert_int_equal(entry->serial, serial);
    assert_int_equal(entry->state->size, strlen(data));
    assert_memory_equal(entry->state->data, data, strlen(data));
}

static void test_entries_are_sorted_and_the_last_store_wins(void **state)
{
    spool_t spool = { 0 };

    (void)state;
    store(&spool, 9, 1, "nine");
    store(&spool, 2, 2, "two");
    store(&spool, 9, 3, "nine again");
    store(&spool, 5, 4, "");
    store(&spool, 9, 5, "nine at last");
    spool_sort(&spool);
    assert_int_equal(spool.count, 3);
    assert_entry(&spool.entries[0], 2, 2, "two");
    assert_entry(&spool.entries[1], 5, 4, "");
    assert_entry(&spool.entries[2], 9, 5, "nine at last");
    assert_ptr_equal(spool_find(&spool, 5), &spool.entries[1]);
    assert_null(spool_find(&spool, 4));
    spool_free(&spool);
}

static void test_store_after_a_sort_replaces(void **state)
{
    spool_t spool = { 0 };

    (void)state;
    store(&spool, 1, 1, "one");
    store(&spool, 2, 1, "two");
    spool_sort(&spool);
    store(&spool, 1, 7, "resolved");
    spool_sort(&spool);
    assert_int_equal(spool.count, 2);
    assert_entry(spool_find(&spool, 1), 1, 7, "resolved");
    spool_free(&spool);
}

/* Sorting has dropped two entries, so there are fewer than had come before the one replaced. */
static void test_store_after_a_sort_that_dropped_entries_replaces(void **state)
{
    spool_t spool = { 0 };

    (void)state;
    store(&spool, 2, 1, "two");
    store(&spool, 2, 1, "two again");
    store(&spool, 2, 1, "two at last");
    store(&spool, 1, 1, "one");
    spool_sort(&spool);
    store(&spool, 1, 7, "resolved");
    spool_sort(&spool);
    assert_int_equal(spool.count, 2);
    assert_entry(spool_find(&spool, 1), 1, 7, "resolved");
    assert_entry(spool_find(&spool, 2), 2, 1, "two at last");
    spool_free(&spool);
}

static void test_many_entries_of_many_objects(void **state)
{
    spool_t spool = { 0 };
    storage_oid_t oid;

    (void)state;
    for (oid = 5000; oid > 0; oid--) {
        store(&spool, oid * 7919 % 5003, oid, "x");
        assert_int_equal(spool_read_current(&spool, oid, 1), APR_SUCCESS);
    }
    spool_sort(&spool);
    assert_int_equal(spool.count, 5000);
    for (oid = 1; oid < spool.count; oid++) {
        assert_true(spool.entries[oid - 1].state->oid < spool.entries[oid].state->oid);
    }
    assert_int_equal(spool.read_count, 5000);
    spool_clear(&spool);
    assert_int_equal(spool.count + spool.read_count, 0);
    assert_null(spool.entries);
    assert_null(spool_find(&spool, 1));
    spool_free(&spool);
}

static void test_conflicts_name_both_sides(void **state)
{
    spool_t spool = { 0 };

    (void)state;
    store(&spool, 1, 4, "ours");
    spool_sort(&spool);
    assert_int_equal(spool_conflict(&spool, &spool.entries[0], state_create(1, 6, 0)), APR_SUCCESS);
    assert_int_equal(spool.conflict_count, 1);
    assert_int_equal(spool.conflicts[0].serial, 4);
    assert_int_equal(spool.conflicts[0].committed_tid, 6);
    assert_memory_equal(spool.conflicts[0].data, "ours", 4);
    spool_clear(&spool);
    assert_int_equal(spool.conflict_count, 0);
    store(&spool, 2, 0, "the next transaction");
    spool_sort(&spool);
    assert_int_equal(spool.count, 1);
    spool_free(&spool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries_are_sorted_and_the_last_store_wins),
        cmocka_unit_test(test_store_after_a_sort_replaces),
        cmocka_unit_test(test_store_after_a_sort_that_dropped_entries_replaces),
        cmocka_unit_test(test_many_entries_of_many_objects),
        cmocka_unit_test(test_conflicts_name_both_sides),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
