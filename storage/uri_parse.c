/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uri_parse.c - takes a storage's URI apart.
 *
 * Called by conn_open.c, and by whoever checks a configuration without opening it. The form is
 * scheme:///absolute/path?name=value&name=value, with %XX in path and values. Pure, any thread.
 */
#include "storage/uri.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that the escape at text stands for, left being what is there of it; -1 if it is
 * malformed, or hides a NUL that would cut the text short. */
static int escaped_byte(const char *text, apr_size_t left)
{
    int high, low;

    if (left < 3) {
        return -1;
    }
    high = hex_digit(text[1]);
    low = hex_digit(text[2]);
    return high < 0 || low < 0 || high + low == 0 ? -1 : high * 16 + low;
}

/* NULL if an escape is malformed. */
static char *percent_decode(const char *text, apr_size_t size, apr_pool_t *pool)
{
    char *result = apr_palloc(pool, size + 1);
    apr_size_t i, n = 0;
    int byte;

    for (i = 0; i < size; i++) {
        byte = (unsigned char)text[i];
        if (text[i] == '%') {
            byte = escaped_byte(text + i, size - i);
            i += 2;
        }
        if (byte < 0) {
            return NULL;
        }
        result[n++] = (char)byte;
    }
    result[n] = '\0';
    return result;
}

static const char *parse_option(uri_t *uri, char *item, apr_uint64_t *pseen, apr_pool_t *pool)
{
    char *value = strchr(item, '=');
    const char *decoded, *error;
    apr_uint64_t bit;

    if (!value) {
        return apr_psprintf(pool, "option \"%s\" has no value", item);
    }
    *value++ = '\0';
    decoded = percent_decode(value, strlen(value), pool);
    if (!decoded) {
        return apr_psprintf(pool, "option %s has a malformed %% escape", item);
    }
    error = uri_option_set(uri->options, item, decoded, pool);
    if (error) {
        return error;
    }
    bit = (apr_uint64_t)1 << uri_option_find(item);
    if (*pseen & bit) {
        return apr_psprintf(pool, "option %s is given twice", item);
    }
    *pseen |= bit;
    return NULL;
}

static const char *parse_options(uri_t *uri, const char *query, apr_pool_t *pool)
{
    char *rest = apr_pstrdup(pool, query);
    apr_uint64_t seen = 0;
    const char *error;
    char *item;

    for (item = apr_strtok(rest, "&", &rest); item; item = apr_strtok(NULL, "&", &rest)) {
        error = parse_option(uri, item, &seen, pool);
        if (error) {
            return error;
        }
    }
    return uri_options_check(uri->options, pool);
}

static int has_control_character(const char *text, const char *end)
{
    while (text < end && !apr_iscntrl(*text)) {
        text++;
    }
    return text < end;
}

/* The root directory holds no database: whoever names it has left something out. */
static int is_root(const char *path)
{
    return path[strspn(path, "/")] == '\0';
}

static const char *parse_path(uri_t *uri, const char *text, const char *end, apr_pool_t *pool)
{
    const char *colon = strstr(text, "://");

    if (!colon || colon > end || colon == text) {
        return "it has no scheme; write sqlite:///absolute/directory";
    }
    if (has_control_character(text, end)) {
        return "its path has a control character; write it as %XX";
    }
    uri->scheme = apr_pstrmemdup(pool, text, (apr_size_t)(colon - text));
    uri->name = apr_pstrmemdup(pool, text, (apr_size_t)(end - text));
    uri->path = percent_decode(colon + 3, (apr_size_t)(end - colon - 3), pool);
    if (!uri->path) {
        return "its path has a malformed % escape";
    }
    if (uri->path[0] != '/') {
        return "its path is not absolute; write sqlite:///absolute/directory";
    }
    if (is_root(uri->path)) {
        return "its path is the root directory; write sqlite:///absolute/directory";
    }
    return NULL;
}

apr_status_t uri_parse(const char *text, uri_t **puri, const char **perror, apr_pool_t *pool)
{
    uri_t *uri = apr_pcalloc(pool, sizeof(*uri));
    const char *query = strchr(text, '?');

    *puri = uri;
    uri_options_default(uri->options);
    *perror = parse_path(uri, text, query ? query : text + strlen(text), pool);
    if (!*perror && query) {
        *perror = parse_options(uri, query + 1, pool);
    }
    return *perror ? STORAGE_BAD_URI : APR_SUCCESS;
}
