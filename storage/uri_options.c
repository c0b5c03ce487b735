/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uri_options.c - the table of a storage's options: names, ranges, defaults.
 *
 * Called by uri_parse.c while a storage is opened. Names that RelStorage has mean here what they
 * mean there. Values are kept as integers, so that a backend never looks at text.
 */
#include "storage/uri.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include <limits.h>
#include <string.h>

typedef struct option_t {
    const char *name;
    const char *const *words; /* NULL for a number; else the words, a value is the index */
    apr_int64_t least;
    apr_int64_t most;
    apr_int64_t standard;
} option_t;

static const char *const bool_words[] = { "false", "true", NULL };
static const char *const sync_words[] = { "off", "normal", "full", "extra", NULL };

/* In the order of uri_option_e. The standard values of commit-lock-timeout, the two of the cache
 * and synchronous are RelStorage's; page-cache-kb is SQLite's own. A pool of 256 is far above what
 * a process of Python threads can use, and below the usual limit of 1024 descriptors at two each.
 */
static const option_t option_table[URI_OPTION_COUNT] = {
    [URI_CREATE] = { "create", bool_words, 0, 1, 1 },
    [URI_READ_ONLY] = { "read-only", bool_words, 0, 1, 0 },
    [URI_COMMIT_LOCK_TIMEOUT] = { "commit-lock-timeout", NULL, 0, 3600, 30 },
    [URI_CACHE_LOCAL_MB] = { "cache-local-mb", NULL, 0, 65536, 10 },
    [URI_CACHE_LOCAL_OBJECT_MAX] = { "cache-local-object-max", NULL, 0, 67108864, 16384 },
    [URI_POOL_MIN] = { "pool-min", NULL, 0, 256, 0 },
    [URI_POOL_SOFT_MAX] = { "pool-soft-max", NULL, 1, 1024, 8 },
    [URI_POOL_MAX] = { "pool-max", NULL, 2, 1024, 256 },
    [URI_POOL_TTL] = { "pool-ttl", NULL, 0, 86400, 300 },
    [URI_POOL_TIMEOUT] = { "pool-timeout", NULL, 1, 3600, 30 },
    [URI_SYNCHRONOUS] = { "synchronous", sync_words, 0, 3, URI_SYNC_NORMAL },
    [URI_PAGE_CACHE_KB] = { "page-cache-kb", NULL, 64, 16777216, 2000 },
};

void uri_options_default(apr_int64_t options[URI_OPTION_COUNT])
{
    int i;

    for (i = 0; i < URI_OPTION_COUNT; i++) {
        options[i] = option_table[i].standard;
    }
}

uri_option_e uri_option_find(const char *name)
{
    int i;

    for (i = 0; i < URI_OPTION_COUNT; i++) {
        if (strcmp(option_table[i].name, name) == 0) {
            break;
        }
    }
    return (uri_option_e)i;
}

static const char *join_names(apr_pool_t *pool)
{
    const char *names = option_table[0].name;
    int i;

    for (i = 1; i < URI_OPTION_COUNT; i++) {
        names = apr_pstrcat(pool, names, ", ", option_table[i].name, NULL);
    }
    return names;
}

static const char *set_word(const option_t *option, const char *value, apr_int64_t *pnumber,
                            apr_pool_t *pool)
{
    const char *list = "";
    int i;

    for (i = 0; option->words[i]; i++) {
        if (strcmp(option->words[i], value) == 0) {
            *pnumber = i;
            return NULL;
        }
        list = apr_pstrcat(pool, list, i ? ", " : "", option->words[i], NULL);
    }
    return apr_psprintf(pool, "option %s is \"%s\", but must be one of: %s", option->name, value,
                        list);
}

static const char *set_number(const option_t *option, const char *value, apr_int64_t *pnumber,
                              apr_pool_t *pool)
{
    apr_size_t digits = strspn(value, "0123456789");
    apr_int64_t number;

    /* Eighteen digits cannot overflow, and are far beyond every range of the table. */
    if (digits > 0 && digits <= 18 && value[digits] == '\0') {
        number = apr_atoi64(value);
        if (number >= option->least && number <= option->most) {
            *pnumber = number;
            return NULL;
        }
    }
    return apr_psprintf(pool,
                        "option %s is \"%s\", but must be a whole number from %" APR_INT64_T_FMT
                        " to %" APR_INT64_T_FMT,
                        option->name, value, option->least, option->most);
}

const char *uri_option_set(apr_int64_t options[URI_OPTION_COUNT], const char *name,
                           const char *value, apr_pool_t *pool)
{
    uri_option_e which = uri_option_find(name);

    if (which == URI_OPTION_COUNT) {
        return apr_psprintf(pool, "unknown option \"%s\"; the options are: %s", name,
                            join_names(pool));
    }
    if (option_table[which].words) {
        return set_word(&option_table[which], value, &options[which], pool);
    }
    return set_number(&option_table[which], value, &options[which], pool);
}

const char *uri_options_check(const apr_int64_t options[URI_OPTION_COUNT], apr_pool_t *pool)
{
    if (options[URI_POOL_MIN] > options[URI_POOL_SOFT_MAX] ||
        options[URI_POOL_SOFT_MAX] > options[URI_POOL_MAX]) {
        return apr_psprintf(
            pool,
            "options pool-min (%" APR_INT64_T_FMT "), pool-soft-max (%" APR_INT64_T_FMT
            ") and pool-max (%" APR_INT64_T_FMT ") must not decrease in this order",
            options[URI_POOL_MIN], options[URI_POOL_SOFT_MAX], options[URI_POOL_MAX]);
    }
    return NULL;
}
