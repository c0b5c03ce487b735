/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_storage.c: PipelineStorage, a named object database.
 *
 * Called in the httpd parent while it reads its configuration; single-threaded, no Python, and no
 * database: a URI is looked at, not tried.  Its parameters are the storage's own to judge.
 */
#include "server/config_private.h"

#include <string.h>

#include <apr_strings.h>

/* One line for each backend of the storage library. */
static const struct {
    const char *prefix;
    const char *form;
    int is_file; /* 1: what follows the prefix is an absolute path */
} schemes[] = {
    { "sqlite://", "sqlite:///absolute/directory", 1 },
};
#define SCHEME_COUNT ((int)(sizeof(schemes) / sizeof(schemes[0])))

const config_storage_t *config_storage_find(const config_server_t *main_config, const char *name)
{
    int i;

    for (i = 0; i < main_config->storages->nelts; i++) {
        const config_storage_t *storage =
            APR_ARRAY_IDX(main_config->storages, i, const config_storage_t *);

        if (strcmp(storage->name, name) == 0) {
            return storage;
        }
    }
    return NULL;
}

static const char *forms(apr_pool_t *p)
{
    const char *text = schemes[0].form;
    int i;

    for (i = 1; i < SCHEME_COUNT; i++) {
        text = apr_pstrcat(p, text, ", ", schemes[i].form, NULL);
    }
    return text;
}

static const char *uri_check(cmd_parms *cmd, const char *uri)
{
    int i;

    for (i = 0; i < SCHEME_COUNT; i++) {
        apr_size_t len = strlen(schemes[i].prefix);
        const char *path;

        if (strncmp(uri, schemes[i].prefix, len) != 0) {
            continue;
        }
        path = apr_pstrmemdup(cmd->temp_pool, uri + len, strcspn(uri + len, "?#"));
        if (schemes[i].is_file && !config_word_is_file(path)) {
            return config_refuse(cmd, "'%s' names no absolute path: it has the form %s", uri,
                                 schemes[i].form);
        }
        return NULL;
    }
    return config_refuse(cmd, "'%s' is of no known kind of storage: %s", uri,
                         forms(cmd->temp_pool));
}

const char *config_storage_read(cmd_parms *cmd, const apr_array_header_t *words)
{
    config_server_t *config = config_server_get(cmd->server);
    const char *name = APR_ARRAY_IDX(words, 0, const char *);
    const char *uri = APR_ARRAY_IDX(words, 1, const char *);
    const config_storage_t *other = config_storage_find(config, name);
    config_storage_t *storage;
    const char *error;

    if (!config_word_is_name(name)) {
        return config_refuse(cmd, "'%s' is not a name of letters, digits, '_', '-' and '.'", name);
    }
    if (other) {
        return config_refuse(cmd, "the storage '%s' was declared before, at %s:%d", name,
                             other->place.file, other->place.line);
    }
    error = uri_check(cmd, uri);
    if (error) {
        return error;
    }
    storage = apr_pcalloc(cmd->pool, sizeof(*storage));
    storage->name = name;
    storage->uri = uri;
    storage->place = config_place(cmd);
    APR_ARRAY_PUSH(config->storages, config_storage_t *) = storage;
    return NULL;
}
