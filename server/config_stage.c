/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_stage.c: PipelineStage, a stage in Python with its place and its parameters.
 *
 * Called in the httpd parent while it reads its configuration; single-threaded, no Python.  Whether
 * the stages that it names exist, and whether all of them can be put in an order, is order.c's to
 * say, once everything was read.
 */
#include "server/config_private.h"

#include <string.h>

#include <apr_strings.h>

#include "stages/order.h"

/* "a,?b": names, with a question mark before those that may be absent. */
static int is_name_list(apr_pool_t *p, const char *list)
{
    while (1) {
        apr_size_t len = strcspn(list, ",");
        const char *name = apr_pstrmemdup(p, list, len);

        if (!config_word_is_name(name[0] == '?' ? name + 1 : name)) {
            return 0;
        }
        if (!list[len]) {
            return 1;
        }
        list += len + 1;
    }
}

static const char *neighbours_read(cmd_parms *cmd, const char *key, const char *value,
                                   const char **neighbours)
{
    if (!is_name_list(cmd->temp_pool, value)) {
        return config_refuse(cmd, "%s=%s is not a list of stages with commas between them", key,
                             value);
    }
    *neighbours = value;
    return NULL;
}

static unsigned type_bit(const char *name, apr_size_t len)
{
    int i;

    for (i = 0; i < CONFIG_TYPE_COUNT; i++) {
        const char *type = order_type_name(i);

        if (strlen(type) == len && memcmp(type, name, len) == 0) {
            return 1u << i;
        }
    }
    return 0;
}

static const char *types_read(cmd_parms *cmd, const char *value, unsigned *types)
{
    const char *at = value;

    *types = 0;
    while (1) {
        apr_size_t len = strcspn(at, ",");
        unsigned bit = type_bit(at, len);

        if (!bit) {
            return config_refuse(cmd, "types=%s: '%.*s' is not one of browser, http, xmlrpc, wsgi",
                                 value, (int)len, at);
        }
        if (*types & bit) {
            return config_refuse(cmd, "types=%s: '%.*s' is given twice", value, (int)len, at);
        }
        *types |= bit;
        if (!at[len]) {
            return NULL;
        }
        at += len + 1;
    }
}

/* The environ comes first in each call, mostly under this name, which Python takes once only. */
#define RESERVED "environ"

static const char *param_read(cmd_parms *cmd, const char *key, const char *value,
                              apr_table_t *params)
{
    if (!config_word_is_name(key)) {
        return config_refuse(cmd, "'%s' is not a parameter's name", key);
    }
    if (strcmp(key, RESERVED) == 0) {
        return config_refuse(cmd, RESERVED "= is what every stage is handed; a parameter needs "
                                           "another name");
    }
    apr_table_setn(params, key, value);
    return NULL;
}

static const char *word_read(cmd_parms *cmd, const char *word, config_stage_t *stage,
                             apr_table_t *seen, apr_table_t *params)
{
    const char *key, *value;

    if (!config_word_split(cmd->pool, word, &key, &value)) {
        return config_refuse(cmd, "'%s' is not of the form key=value", word);
    }
    if (apr_table_get(seen, key)) {
        return config_refuse(cmd, "%s= is given twice", key);
    }
    apr_table_setn(seen, key, value);
    if (strcmp(key, "after") == 0) {
        return neighbours_read(cmd, key, value, &stage->after);
    }
    if (strcmp(key, "before") == 0) {
        return neighbours_read(cmd, key, value, &stage->before);
    }
    if (strcmp(key, "types") == 0) {
        return types_read(cmd, value, &stage->types);
    }
    return param_read(cmd, key, value, params);
}

static const config_stage_t *stage_find(const config_server_t *config, const char *name)
{
    int i;

    for (i = 0; i < config->stages->nelts; i++) {
        const config_stage_t *stage = APR_ARRAY_IDX(config->stages, i, const config_stage_t *);

        if (strcmp(stage->name, name) == 0) {
            return stage;
        }
    }
    return NULL;
}

static const char *stage_name_check(cmd_parms *cmd, const char *name, const char *target)
{
    const config_stage_t *other = stage_find(config_server_get(cmd->server), name);

    if (!config_word_is_name(name)) {
        return config_refuse(cmd, "'%s' is not a name of letters, digits, '_', '-' and '.'", name);
    }
    if (other) {
        return config_refuse(cmd, "the stage '%s' was declared before, at %s:%d", name,
                             other->place.file, other->place.line);
    }
    if (!config_word_is_callable(target)) {
        return config_refuse(cmd, "'%s' is not of the form module:callable", target);
    }
    return NULL;
}

const char *config_stage_read(cmd_parms *cmd, const apr_array_header_t *words)
{
    config_server_t *config = config_server_get(cmd->server);
    config_stage_t *stage = apr_pcalloc(cmd->pool, sizeof(*stage));
    apr_table_t *seen = apr_table_make(cmd->temp_pool, 8);
    apr_table_t *params = apr_table_make(cmd->pool, 4);
    const char *error;
    int i;

    stage->name = APR_ARRAY_IDX(words, 0, const char *);
    stage->target = APR_ARRAY_IDX(words, 1, const char *);
    stage->after = stage->before = "";
    stage->types = CONFIG_TYPE_ALL;
    stage->params = params;
    stage->place = config_place(cmd);
    error = stage_name_check(cmd, stage->name, stage->target);
    for (i = 2; !error && i < words->nelts; i++) {
        error = word_read(cmd, APR_ARRAY_IDX(words, i, const char *), stage, seen, params);
    }
    if (!error) {
        APR_ARRAY_PUSH(config->stages, config_stage_t *) = stage;
    }
    return error;
}
