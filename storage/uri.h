/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uri.h - a storage's URI, taken apart and checked.
 *
 * One table in uri_options.c says which options there are, their ranges and their defaults; an
 * option that is unknown, given twice or out of range is refused by name, with what is allowed.
 * Called while a storage is opened; pure, any thread.
 */
#ifndef STORAGE_URI_H
#define STORAGE_URI_H

#include "storage/storage.h"

/* The options in the order of the table in uri_options.c. */
typedef enum uri_option_e {
    URI_CREATE,
    URI_READ_ONLY,
    URI_COMMIT_LOCK_TIMEOUT,
    URI_CACHE_LOCAL_MB,
    URI_CACHE_LOCAL_OBJECT_MAX,
    URI_POOL_MIN,
    URI_POOL_SOFT_MAX,
    URI_POOL_MAX,
    URI_POOL_TTL,
    URI_POOL_TIMEOUT,
    URI_SYNCHRONOUS,
    URI_PAGE_CACHE_KB,
    URI_OPTION_COUNT
} uri_option_e;

/* The values of the option synchronous, as SQLite numbers them. */
enum { URI_SYNC_OFF = 0, URI_SYNC_NORMAL = 1, URI_SYNC_FULL = 2, URI_SYNC_EXTRA = 3 };

typedef struct uri_t {
    const char *scheme;
    const char *path; /* percent-decoded */
    const char *name; /* scheme://path as given, without options */
    apr_int64_t options[URI_OPTION_COUNT];
} uri_t;

/* Take text apart; everything in *puri is allocated from pool. *perror is NULL, or what is wrong;
 * then the status is STORAGE_BAD_URI. */
apr_status_t uri_parse(const char *text, uri_t **puri, const char **perror, apr_pool_t *pool);

/* Fill in the defaults. */
void uri_options_default(apr_int64_t options[URI_OPTION_COUNT]);

/* Set one option from its text; NULL if it is well, else what is wrong. */
const char *uri_option_set(apr_int64_t options[URI_OPTION_COUNT], const char *name,
                           const char *value, apr_pool_t *pool);

/* Check what options say together; NULL or what is wrong. */
const char *uri_options_check(const apr_int64_t options[URI_OPTION_COUNT], apr_pool_t *pool);

/* The index of an option by name, URI_OPTION_COUNT if there is none. */
uri_option_e uri_option_find(const char *name);

#endif
