/* SPDX-License-Identifier: Apache-2.0 */
// links: stages/order.c stages/order_hook.c
/*
 * order_test.c: what the sorter promises, on the table as it ships and with stages added to it.
 *
 * Each built-in pair is tested with the reason for which it exists, so that whoever changes the
 * table reads what will break.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <apr_time.h>

#include "stages/order.h"

typedef struct fixture_t {
    apr_pool_t *p;
    apr_array_header_t *configured;
    const apr_array_header_t *order[CONFIG_TYPE_COUNT];
    const char *error;
} fixture_t;

enum { BROWSER, HTTP, XMLRPC, WSGI };

static int setup(void **state)
{
    fixture_t *f;
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    apr_hook_global_pool = p;
    f = apr_pcalloc(p, sizeof *f);
    f->p = p;
    f->configured = apr_array_make(p, 4, sizeof(config_stage_t *));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;

    apr_hook_deregister_all();
    apr_pool_destroy(f->p);
    apr_terminate();
    return 0;
}

static config_stage_t *configure(fixture_t *f, const char *name, const char *after,
                                 const char *before)
{
    config_stage_t *stage = apr_pcalloc(f->p, sizeof *stage);

    stage->name = name;
    stage->target = "myapp.audit:stage";
    stage->after = after;
    stage->before = before;
    stage->types = CONFIG_TYPE_ALL;
    stage->place.directive = "PipelineStage";
    stage->place.file = "site.conf";
    stage->place.line = 10 + f->configured->nelts;
    *(config_stage_t **)apr_array_push(f->configured) = stage;
    return stage;
}

static apr_status_t check(fixture_t *f)
{
    return order_check(f->configured, f->p, f->order, &f->error);
}

static const char *names(fixture_t *f, int type)
{
    const char *all = "";
    int i;

    for (i = 0; i < f->order[type]->nelts; ++i) {
        const order_stage_t *stage = APR_ARRAY_IDX(f->order[type], i, const order_stage_t *);

        all = apr_pstrcat(f->p, all, *all ? " " : "", stage->name, NULL);
    }
    return all;
}

static int place(fixture_t *f, int type, const char *name)
{
    int i;

    for (i = 0; i < f->order[type]->nelts; ++i) {
        if (strcmp(APR_ARRAY_IDX(f->order[type], i, const order_stage_t *)->name, name) == 0) {
            return i;
        }
    }
    fail_msg("no stage %s in %s", name, order_type_name(type));
    return -1;
}

static void test_built_in_stages_keep_the_order_of_the_table(void **state)
{
    fixture_t *f = *state;

    assert_int_equal(check(f), APR_SUCCESS);
    assert_string_equal(names(f, BROWSER),
                        "log vhost classify retry interp create_request open_root "
                        "handle_error transaction inputs traverse call");
    assert_string_equal(names(f, WSGI), "log vhost classify retry interp handle_error call");
}

static void test_built_in_stages_stand_where_their_reasons_put_them(void **state)
{
    static const struct {
        const char *before, *after, *reason;
    } pairs[] = {
        { "vhost", "retry", "the mapping is the same for every attempt" },
        { "classify", "retry", "so is the request's type" },
        { "retry", "interp", "a back-off does not sleep with the GIL" },
        { "retry", "create_request", "it resets the environment, not the request" },
        { "retry", "transaction", "the failed attempt must be aborted first" },
        { "open_root", "handle_error", "error views need the open database" },
        { "handle_error", "transaction", "an error in commit gets a page too, after the abort" },
        { "handle_error", "inputs", "form errors get a page" },
        { "open_root", "traverse", "it consumes the root" },
        { "inputs", "traverse", "it consumes the form's action" },
        { "traverse", "call", "it finds what is called" },
    };
    fixture_t *f = *state;
    size_t i;

    assert_int_equal(check(f), APR_SUCCESS);
    for (i = 0; i < sizeof pairs / sizeof *pairs; ++i) {
        if (place(f, BROWSER, pairs[i].before) >= place(f, BROWSER, pairs[i].after)) {
            fail_msg("%s must stand before %s: %s", pairs[i].before, pairs[i].after,
                     pairs[i].reason);
        }
    }
}

static void test_stage_with_after_stands_directly_behind_it(void **state)
{
    fixture_t *f = *state;

    configure(f, "audit", "create_request", "");
    configure(f, "second", "audit", "call");
    assert_int_equal(check(f), APR_SUCCESS);
    assert_string_equal(names(f, BROWSER),
                        "log vhost classify retry interp create_request audit second "
                        "open_root handle_error transaction inputs traverse call");
    assert_string_equal(names(f, WSGI),
                        "log vhost classify retry interp audit second handle_error call");
}

static void test_stage_with_before_alone_stands_directly_before_it(void **state)
{
    fixture_t *f = *state;

    configure(f, "last", "", "call");
    configure(f, "audit", "", "inputs");
    configure(f, "free", "", "");
    assert_int_equal(check(f), APR_SUCCESS);
    assert_string_equal(names(f, BROWSER),
                        "log vhost classify retry interp create_request open_root "
                        "handle_error transaction audit inputs traverse last free call");
}

static void test_stages_of_equal_constraints_keep_the_order_of_their_directives(void **state)
{
    fixture_t *f = *state;

    configure(f, "c", "traverse", "");
    configure(f, "a", "traverse", "");
    configure(f, "b", "traverse", "");
    assert_int_equal(check(f), APR_SUCCESS);
    assert_string_equal(strstr(names(f, BROWSER), "traverse"), "traverse c a b call");
}

static void test_constraint_holds_through_a_stage_that_the_type_lacks(void **state)
{
    fixture_t *f = *state;

    configure(f, "first", "", "middle")->types = CONFIG_TYPE_WSGI;
    configure(f, "middle", "handle_error", "")->types = CONFIG_TYPE_BROWSER;
    configure(f, "last", "middle", "")->types = CONFIG_TYPE_WSGI;
    assert_int_equal(check(f), APR_SUCCESS);
    assert_true(place(f, WSGI, "first") < place(f, WSGI, "last"));
    assert_null(strstr(names(f, WSGI), "middle"));
}

static void test_unknown_name_is_refused_with_file_and_line(void **state)
{
    fixture_t *f = *state;

    configure(f, "fine", "traverse", "call");
    configure(f, "audit", "athenticate", "traverse");
    assert_int_equal(check(f), APR_EINVAL);
    assert_string_equal(f->error,
                        "PipelineStage audit at site.conf:11: unknown stage \"athenticate\" "
                        "in after= (\"?athenticate\" may be absent)");
    assert_null(f->order[BROWSER]);
}

static void test_unknown_name_with_question_mark_is_ignored(void **state)
{
    fixture_t *f = *state;

    configure(f, "audit", "?athenticate,?inputs", "?nothing");
    assert_int_equal(check(f), APR_SUCCESS);
    assert_int_equal(place(f, BROWSER, "audit"), place(f, BROWSER, "inputs") + 1);
}

static void test_cycle_is_refused_and_names_its_stages(void **state)
{
    fixture_t *f = *state;

    configure(f, "audit", "call", "traverse");
    assert_int_equal(check(f), APR_EINVAL);
    assert_string_equal(
        f->error, "PipelineStage audit at site.conf:10: the stages would stand before each other "
                  "in a circle: traverse > call > audit > traverse");
}

static void test_cycle_of_configured_stages_alone_names_both_directives(void **state)
{
    fixture_t *f = *state;

    configure(f, "one", "", "two");
    configure(f, "two", "", "one");
    assert_int_equal(check(f), APR_EINVAL);
    assert_non_null(strstr(f->error, "PipelineStage one at site.conf:10"));
    assert_non_null(strstr(f->error, "PipelineStage two at site.conf:11"));
    assert_null(strchr(f->error, '\n'));
}

static void test_stage_that_follows_itself_is_a_cycle(void **state)
{
    fixture_t *f = *state;

    configure(f, "audit", "audit", "");
    assert_int_equal(check(f), APR_EINVAL);
    assert_non_null(strstr(f->error, "circle: audit > audit"));
}

static void test_name_of_another_stage_is_refused(void **state)
{
    fixture_t *f = *state;

    configure(f, "traverse", "", "");
    assert_int_equal(check(f), APR_EINVAL);
    assert_string_equal(f->error,
                        "PipelineStage traverse at site.conf:10: the name is already that of "
                        "stage traverse (built in)");
}

static void test_python_stage_before_interp_is_refused(void **state)
{
    fixture_t *f = *state;

    configure(f, "audit", "log", "interp");
    assert_int_equal(check(f), APR_EINVAL);
    assert_non_null(strstr(f->error, "PipelineStage audit at site.conf:10"));
    assert_non_null(strstr(f->error, "circle"));
}

static int add_early(stage_add_t *add, void *list)
{
    static const stage_added_t early = {
        "early", "log", "vhost", CONFIG_TYPE_ALL, "mod_early", NULL
    };

    add(list, &early);
    return OK;
}

static int add_partial(stage_add_t *add, void *list)
{
    static const stage_added_t partial = { "partial",        "log",         "",
                                           CONFIG_TYPE_WSGI, "mod_partial", NULL };

    add(list, &partial);
    return OK;
}

static void test_stage_of_a_c_module_takes_its_place(void **state)
{
    fixture_t *f = *state;
    const order_stage_t *stage;

    APR_OPTIONAL_HOOK(pipeline, add_stages, add_early, NULL, NULL, APR_HOOK_MIDDLE);
    assert_int_equal(check(f), APR_SUCCESS);
    stage = APR_ARRAY_IDX(f->order[WSGI], 1, const order_stage_t *);
    assert_string_equal(stage->name, "early");
    assert_string_equal(stage->origin, "module mod_early");
    assert_null(stage->config);
}

static void test_stage_before_classify_must_be_for_every_type(void **state)
{
    fixture_t *f = *state;

    APR_OPTIONAL_HOOK(pipeline, add_stages, add_partial, NULL, NULL, APR_HOOK_MIDDLE);
    assert_int_equal(check(f), APR_EINVAL);
    assert_string_equal(f->error, "stage partial (module mod_partial): stands before classify, "
                                  "so types= must name every type");
}

/* 100 virtual hosts are checked within `apachectl -t`, which has 0.3 s for everything. */
static void test_a_hundred_hosts_with_many_stages_take_under_a_tenth_of_a_second(void **state)
{
    fixture_t *f = *state;
    apr_time_t start = apr_time_now();
    int i;

    for (i = 0; i < 50; ++i) {
        configure(f, apr_psprintf(f->p, "stage%d", i),
                  i ? apr_psprintf(f->p, "stage%d", i - 1) : "retry", "traverse");
    }
    for (i = 0; i < 100; ++i) {
        assert_int_equal(check(f), APR_SUCCESS);
    }
    assert_true(apr_time_now() - start < apr_time_from_msec(100));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_built_in_stages_keep_the_order_of_the_table),
        TEST(test_built_in_stages_stand_where_their_reasons_put_them),
        TEST(test_stage_with_after_stands_directly_behind_it),
        TEST(test_stage_with_before_alone_stands_directly_before_it),
        TEST(test_stages_of_equal_constraints_keep_the_order_of_their_directives),
        TEST(test_constraint_holds_through_a_stage_that_the_type_lacks),
        TEST(test_unknown_name_is_refused_with_file_and_line),
        TEST(test_unknown_name_with_question_mark_is_ignored),
        TEST(test_cycle_is_refused_and_names_its_stages),
        TEST(test_cycle_of_configured_stages_alone_names_both_directives),
        TEST(test_stage_that_follows_itself_is_a_cycle),
        TEST(test_name_of_another_stage_is_refused),
        TEST(test_python_stage_before_interp_is_refused),
        TEST(test_stage_of_a_c_module_takes_its_place),
        TEST(test_stage_before_classify_must_be_for_every_type),
        TEST(test_a_hundred_hosts_with_many_stages_take_under_a_tenth_of_a_second),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
