/* SPDX-License-Identifier: Apache-2.0 */
// links: storage/uri_parse.c storage/uri_options.c
/*
 * storage_uri_test.c: what a storage's URI may be, what it means, and what it is refused for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "storage/uri.h"

static int setup(void **state)
{
    apr_pool_t *p;

    if (apr_initialize() != APR_SUCCESS || apr_pool_create(&p, NULL) != APR_SUCCESS) {
        return -1;
    }
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    apr_pool_destroy(*state);
    apr_terminate();
    return 0;
}

static uri_t *accepted(const char *text, apr_pool_t *p)
{
    const char *error;
    uri_t *uri;

    assert_int_equal(uri_parse(text, &uri, &error, p), APR_SUCCESS);
    assert_null(error);
    return uri;
}

static void refused(const char *text, const char *reason, apr_pool_t *p)
{
    const char *error;
    uri_t *uri;

    assert_int_equal(uri_parse(text, &uri, &error, p), STORAGE_BAD_URI);
    if (!strstr(error, reason)) {
        fail_msg("\"%s\" was refused for: %s", text, error);
    }
}

static void test_parts_and_defaults(void **state)
{
    uri_t *uri = accepted("sqlite:///srv/data", *state);

    assert_string_equal(uri->scheme, "sqlite");
    assert_string_equal(uri->path, "/srv/data");
    assert_string_equal(uri->name, "sqlite:///srv/data");
    assert_int_equal(uri->options[URI_CREATE], 1);
    assert_int_equal(uri->options[URI_READ_ONLY], 0);
    assert_int_equal(uri->options[URI_COMMIT_LOCK_TIMEOUT], 30);
    assert_int_equal(uri->options[URI_CACHE_LOCAL_MB], 10);
    assert_int_equal(uri->options[URI_SYNCHRONOUS], URI_SYNC_NORMAL);
}

static void test_options_do_not_belong_to_the_name(void **state)
{
    uri_t *uri = accepted("sqlite:///srv/a%20b?read-only=true&pool-ttl=5&synchronous=full", *state);

    assert_string_equal(uri->path, "/srv/a b");
    assert_string_equal(uri->name, "sqlite:///srv/a%20b");
    assert_int_equal(uri->options[URI_READ_ONLY], 1);
    assert_int_equal(uri->options[URI_POOL_TTL], 5);
    assert_int_equal(uri->options[URI_SYNCHRONOUS], URI_SYNC_FULL);
}

static void test_values_are_decoded(void **state)
{
    uri_t *uri = accepted("sqlite:///a?pool-ttl=%31%32", *state);

    assert_int_equal(uri->options[URI_POOL_TTL], 12);
}

static void test_limits_of_every_number_are_inclusive(void **state)
{
    static const char *const limits[][4] = {
        { "commit-lock-timeout", "0", "3600", "3601" },
        { "cache-local-mb", "0", "65536", "65537" },
        { "cache-local-object-max", "0", "67108864", "67108865" },
        { "pool-min", "0", "8", "257" },
        { "pool-soft-max", "1", "256", "1025" },
        { "pool-max", "8", "1024", "1025" },
        { "pool-ttl", "0", "86400", "86401" },
        { "pool-timeout", "1", "3600", "3601" },
        { "page-cache-kb", "64", "16777216", "16777217" },
    };
    apr_int64_t options[URI_OPTION_COUNT];
    size_t i;
    int j;

    for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        for (j = 1; j <= 2; j++) {
            uri_options_default(options);
            assert_null(uri_option_set(options, limits[i][0], limits[i][j], *state));
            assert_null(uri_options_check(options, *state));
            assert_int_equal(options[uri_option_find(limits[i][0])], atoi(limits[i][j]));
        }
        assert_non_null(uri_option_set(options, limits[i][0], limits[i][3], *state));
    }
}

static void test_wrong_uris_are_refused_with_their_reason(void **state)
{
    refused("", "no scheme", *state);
    refused("/srv/data", "no scheme", *state);
    refused("://srv/data", "no scheme", *state);
    refused("/srv?x=a://b", "no scheme", *state);
    refused("sqlite://data", "not absolute", *state);
    refused("sqlite://", "not absolute", *state);
    refused("sqlite:///", "root directory", *state);
    refused("sqlite:///?create=true", "root directory", *state);
    refused("sqlite:////", "root directory", *state);
    refused("sqlite:///%2F", "root directory", *state);
    refused("sqlite:///a\nb", "control character", *state);
    refused("sqlite:///a\x7f", "control character", *state);
    refused("sqlite:///a%", "malformed", *state);
    refused("sqlite:///a%4", "malformed", *state);
    refused("sqlite:///a%00", "malformed", *state);
    refused("sqlite:///a%g0", "malformed", *state);
}

static void test_wrong_options_are_refused_by_name(void **state)
{
    refused("sqlite:///a?b=c", "unknown option \"b\"", *state);
    refused("sqlite:///a?=c", "unknown option \"\"", *state);
    refused("sqlite:///a?create", "option \"create\" has no value", *state);
    refused("sqlite:///a?create=yes", "one of: false, true", *state);
    refused("sqlite:///a?pool-ttl=", "from 0 to 86400", *state);
    refused("sqlite:///a?pool-ttl=1x", "from 0 to 86400", *state);
    refused("sqlite:///a?pool-ttl=+1", "from 0 to 86400", *state);
    refused("sqlite:///a?pool-ttl=18446744073709551617", "from 0 to 86400", *state);
    refused("sqlite:///a?pool-ttl=1&create=true&pool-ttl=1", "pool-ttl is given twice", *state);
    refused("sqlite:///a?pool-soft-max=9&pool-max=8", "must not decrease", *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_and_defaults),
        cmocka_unit_test(test_options_do_not_belong_to_the_name),
        cmocka_unit_test(test_values_are_decoded),
        cmocka_unit_test(test_limits_of_every_number_are_inclusive),
        cmocka_unit_test(test_wrong_uris_are_refused_with_their_reason),
        cmocka_unit_test(test_wrong_options_are_refused_by_name),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
