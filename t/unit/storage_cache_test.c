/* SPDX-License-Identifier: Apache-2.0 */
// links: storage/cache_state.c storage/state.c
/*
 * storage_cache_test.c: the cache never shows a snapshot what it must not see, and never grows
 * beyond its limit.
 *
 * The last test compares it with a model that knows every revision, over random histories.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>

#include "storage/cache.h"
#include "storage/state.h"

#define LIMIT 4096

typedef struct fixture_t {
    apr_pool_t *p;
    cache_t *cache;
} fixture_t;

static int setup(void **state)
{
    fixture_t *f = calloc(1, sizeof(*f));

    if (!f || apr_initialize() != APR_SUCCESS || apr_pool_create(&f->p, NULL) != APR_SUCCESS) {
        return -1;
    }
    *state = f;
    return cache_create(&f->cache, LIMIT, 1000, f->p) == APR_SUCCESS ? 0 : -1;
}

static int teardown(void **state)
{
    fixture_t *f = *state;

    apr_pool_destroy(f->p);
    apr_terminate();
    free(f);
    return 0;
}

/* Read oid's revision tid in a snapshot at `at`. */
static void put(cache_t *cache, storage_oid_t oid, storage_tid_t tid, storage_tid_t at,
                apr_size_t size)
{
    storage_state_t *state = state_create(oid, tid, size);

    memset(state->data, (int)tid, size);
    cache_put(cache, state, at);
    storage_state_release(state);
}

static void put_committed(cache_t *cache, storage_oid_t oid, storage_tid_t tid,
                          storage_tid_t replaced)
{
    storage_state_t *state = state_create(oid, tid, 10);

    cache_put_committed(cache, state, replaced);
    storage_state_release(state);
}

/* The tid that a snapshot at `at` is shown, 0 if nothing. */
static storage_tid_t shown(cache_t *cache, storage_oid_t oid, storage_tid_t at)
{
    storage_state_t *state = cache_get(cache, oid, at);
    storage_tid_t tid = state ? state->tid : 0;

    storage_state_release(state);
    return tid;
}

static void advance(cache_t *cache, storage_tid_t from, storage_tid_t to, storage_oid_t oid)
{
    cache_change_t change = { oid, to };
    cache_changes_t changes = { .items = &change, .count = oid ? 1 : 0 };

    cache_advance(cache, from, to, &changes);
}

static void test_current_state_serves_later_snapshots_until_it_changes(void **state)
{
    cache_t *cache = ((fixture_t *)*state)->cache;

    cache_advance(cache, 0, 10, NULL);
    put(cache, 1, 5, 10, 10);
    assert_int_equal(shown(cache, 1, 10), 5);
    advance(cache, 10, 20, 2);
    assert_int_equal(shown(cache, 1, 20), 5);
    advance(cache, 20, 30, 1);
    assert_int_equal(shown(cache, 1, 30), 0);
    /* Those who are still behind see what they saw. */
    assert_int_equal(shown(cache, 1, 20), 5);
    assert_int_equal(shown(cache, 1, 4), 0);
}

static void test_state_read_behind_the_horizon_serves_that_snapshot_only(void **state)
{
    cache_t *cache = ((fixture_t *)*state)->cache;

    cache_advance(cache, 0, 10, NULL);
    advance(cache, 10, 20, 1);
    put(cache, 1, 5, 10, 10);
    assert_int_equal(shown(cache, 1, 10), 5);
    assert_int_equal(shown(cache, 1, 20), 0);
    put(cache, 1, 20, 20, 10);
    assert_int_equal(shown(cache, 1, 10), 5);
    assert_int_equal(shown(cache, 1, 20), 20);
}

static void test_unknown_changes_close_everything(void **state)
{
    cache_t *cache = ((fixture_t *)*state)->cache;

    cache_advance(cache, 0, 10, NULL);
    put(cache, 1, 5, 10, 10);
    cache_advance(cache, 10, 20, NULL);
    assert_int_equal(shown(cache, 1, 10), 5);
    assert_int_equal(shown(cache, 1, 20), 0);
}

static void test_gap_between_horizon_and_changes_closes_everything(void **state)
{
    cache_t *cache = ((fixture_t *)*state)->cache;

    cache_advance(cache, 0, 10, NULL);
    put(cache, 1, 5, 10, 10);
    advance(cache, 15, 20, 2);
    assert_int_equal(shown(cache, 1, 20), 0);
}

static void test_committed_state_is_seen_once_the_horizon_passes_it(void **state)
{
    cache_t *cache = ((fixture_t *)*state)->cache;

    cache_advance(cache, 0, 10, NULL);
    put(cache, 1, 5, 10, 10);
    put_committed(cache, 1, 12, 5);
    assert_int_equal(shown(cache, 1, 10), 5);
    advance(cache, 10, 12, 1);
    assert_int_equal(shown(cache, 1, 12), 12);
    assert_int_equal(shown(cache, 1, 11), 5);
}

static void test_late_committed_state_is_not_taken_for_current(void **state)
{
    cache_t *cache = ((fixture_t *)*state)->cache;

    /* Somebody polled past our commit, and past one that replaced it, before we came here. */
    cache_advance(cache, 0, 10, NULL);
    advance(cache, 10, 30, 1);
    put_committed(cache, 1, 12, 5);
    assert_int_equal(shown(cache, 1, 12), 12);
    assert_int_equal(shown(cache, 1, 30), 0);
}

static void test_revisions_before_a_tid_need_an_exact_successor(void **state)
{
    cache_t *cache = ((fixture_t *)*state)->cache;
    storage_state_t *found;
    storage_tid_t next;

    cache_advance(cache, 0, 10, NULL);
    put(cache, 1, 5, 10, 10);
    assert_null(cache_get_before(cache, 1, 8, &next));
    put_committed(cache, 1, 12, 5);
    found = cache_get_before(cache, 1, 8, &next);
    assert_int_equal(found->tid, 5);
    assert_int_equal(next, 12);
    storage_state_release(found);
    assert_null(cache_get_before(cache, 1, 5, &next));
    assert_null(cache_get_before(cache, 1, 13, &next));
    assert_int_equal(next, 0);
}

static void test_bytes_never_pass_the_limit_and_the_least_used_goes_first(void **state)
{
    cache_t *cache = ((fixture_t *)*state)->cache;
    apr_size_t cost = sizeof(storage_state_t) + 100;
    storage_cache_stats_t stats;
    storage_oid_t oid;

    cache_advance(cache, 0, 10, NULL);
    for (oid = 1; oid <= 100; oid++) {
        put(cache, oid, 5, 10, 100);
        assert_int_equal(shown(cache, 1, 10), 5);
        cache_stats(cache, &stats);
        assert_true(stats.bytes <= LIMIT);
        assert_int_equal(stats.bytes, stats.states * cost);
    }
    assert_int_equal(stats.states, LIMIT / cost);
    assert_int_equal(shown(cache, 2, 10), 0);
    assert_int_equal(shown(cache, 100, 10), 5);
}

static void test_exact_fit_stays_and_one_byte_more_does_not(void **state)
{
    fixture_t *f = *state;
    apr_size_t room = LIMIT - sizeof(storage_state_t);
    cache_t *cache;

    assert_int_equal(cache_create(&cache, LIMIT, LIMIT, f->p), APR_SUCCESS);
    cache_advance(cache, 0, 10, NULL);
    put(cache, 1, 5, 10, room + 1);
    assert_int_equal(shown(cache, 1, 10), 0);
    put(cache, 1, 5, 10, room);
    assert_int_equal(shown(cache, 1, 10), 5);
    put(cache, 2, 5, 10, 1);
    assert_int_equal(shown(cache, 1, 10), 0);
    assert_int_equal(shown(cache, 2, 10), 5);
}

static void test_states_above_object_max_and_a_limit_of_nothing_remember_nothing(void **state)
{
    fixture_t *f = *state;
    cache_t *none;

    cache_advance(f->cache, 0, 10, NULL);
    put(f->cache, 1, 5, 10, 1001);
    assert_int_equal(shown(f->cache, 1, 10), 0);
    assert_int_equal(cache_create(&none, 0, 1000, f->p), APR_SUCCESS);
    put(none, 1, 5, 10, 0);
    put_committed(none, 1, 12, 5);
    assert_int_equal(shown(none, 1, 12), 0);
}

static void test_a_state_in_use_outlives_its_place_in_the_cache(void **state)
{
    cache_t *cache = ((fixture_t *)*state)->cache;
    storage_state_t *held;
    storage_oid_t oid;

    cache_advance(cache, 0, 10, NULL);
    put(cache, 1, 5, 10, 100);
    held = cache_get(cache, 1, 10);
    for (oid = 2; oid < 100; oid++) {
        put(cache, oid, 5, 10, 100);
    }
    assert_int_equal(shown(cache, 1, 10), 0);
    assert_int_equal(held->data[99], 5);
    storage_state_release(held);
}

/* ---- Against a model ---- */

#define MODEL_OIDS 8
#define MODEL_TIDS 400

typedef struct model_t {
    storage_tid_t current[MODEL_TIDS + 1][MODEL_OIDS]; /* at each tid, the revision of each oid */
    storage_tid_t last;
} model_t;

static storage_oid_t model_commit(model_t *model)
{
    storage_oid_t oid = (storage_oid_t)(rand() % MODEL_OIDS);

    memcpy(model->current[model->last + 1], model->current[model->last], sizeof(model->current[0]));
    model->last++;
    model->current[model->last][oid] = model->last;
    return oid;
}

/* A view at seen polls to the newest tid. */
static storage_tid_t model_poll(const model_t *model, cache_t *cache, storage_tid_t seen)
{
    cache_change_t items[MODEL_OIDS];
    cache_changes_t changes = { .items = items };
    storage_oid_t oid;

    for (oid = 0; oid < MODEL_OIDS; oid++) {
        if (model->current[model->last][oid] > seen) {
            items[changes.count++] = (cache_change_t){ oid, model->current[model->last][oid] };
        }
    }
    cache_advance(cache, seen, model->last, &changes);
    return model->last;
}

static void model_read(const model_t *model, cache_t *cache, storage_tid_t at)
{
    storage_oid_t oid = (storage_oid_t)(rand() % MODEL_OIDS);
    storage_tid_t tid = model->current[at][oid];
    storage_tid_t known = shown(cache, oid, at);

    assert_true(known == 0 || known == tid);
    if (!known && tid) {
        put(cache, oid, tid, at, 50);
    }
}

static void test_random_histories_never_show_a_wrong_revision(void **state)
{
    cache_t *cache = ((fixture_t *)*state)->cache;
    model_t *model = calloc(1, sizeof(*model));
    storage_tid_t views[3] = { 0, 0, 0 };
    int step, view;

    srand(20);
    model_commit(model);
    cache_advance(cache, 0, model->last, NULL);
    for (view = 0; view < 3; view++) {
        views[view] = model->last;
    }
    for (step = 0; model->last < MODEL_TIDS; step++) {
        view = rand() % 3;
        switch (rand() % 6) {
        case 0:
            model_commit(model);
            break;
        case 1: {
            storage_oid_t oid = model_commit(model);

            put_committed(cache, oid, model->last, model->current[model->last - 1][oid]);
            break;
        }
        case 2:
            views[view] = model_poll(model, cache, views[view]);
            break;
        default:
            model_read(model, cache, views[view]);
        }
    }
    assert_true(step > MODEL_TIDS);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_current_state_serves_later_snapshots_until_it_changes,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_state_read_behind_the_horizon_serves_that_snapshot_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_changes_close_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gap_between_horizon_and_changes_closes_everything,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_committed_state_is_seen_once_the_horizon_passes_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_late_committed_state_is_not_taken_for_current, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_revisions_before_a_tid_need_an_exact_successor, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_bytes_never_pass_the_limit_and_the_least_used_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exact_fit_stays_and_one_byte_more_does_not, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_states_above_object_max_and_a_limit_of_nothing_remember_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_state_in_use_outlives_its_place_in_the_cache, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_random_histories_never_show_a_wrong_revision, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
