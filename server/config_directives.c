/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_directives.c: the directives, and the configuration of a server: made, merged, found.
 *
 * Called in the httpd parent while it reads its configuration, which it does twice when it starts
 * and once for every restart: everything hangs from the pool of that reading.  config_server_get()
 * is called everywhere, from any thread.  No Python.
 */
#include "server/config_private.h"

#include <string.h>

#include <apr_strings.h>

config_server_t *config_server_get(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &pipeline_module);
}

void *config_server_create(apr_pool_t *p, server_rec *s)
{
    config_server_t *config = apr_pcalloc(p, sizeof(*config));

    (void)s;
    config->groups = apr_array_make(p, 2, sizeof(config_group_t *));
    config->storages = apr_array_make(p, 2, sizeof(config_storage_t *));
    config->mounts = apr_array_make(p, 2, sizeof(config_mount_t *));
    config->stages = apr_array_make(p, 2, sizeof(config_stage_t *));
    config->zcml = apr_array_make(p, 2, sizeof(const char *));
    return config;
}

/* ---- Merging: a virtual host has what the main server has, unless it says the same again ---- */

static int has_mount(const apr_array_header_t *mounts, const char *prefix)
{
    int i;

    for (i = 0; i < mounts->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(mounts, i, config_mount_t *)->prefix, prefix) == 0) {
            return 1;
        }
    }
    return 0;
}

static int has_stage(const apr_array_header_t *stages, const char *name)
{
    int i;

    for (i = 0; i < stages->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(stages, i, config_stage_t *)->name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

static int has_text(const apr_array_header_t *texts, const char *text)
{
    int i;

    for (i = 0; i < texts->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(texts, i, const char *), text) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Each host gets its own copy of an inherited mount, which belongs to that host from then on. */
static apr_array_header_t *merge_mounts(apr_pool_t *p, const apr_array_header_t *base,
                                        const apr_array_header_t *add)
{
    apr_array_header_t *merged = apr_array_copy(p, add);
    int i;

    for (i = 0; i < base->nelts; i++) {
        const config_mount_t *mount = APR_ARRAY_IDX(base, i, const config_mount_t *);

        if (!has_mount(add, mount->prefix)) {
            APR_ARRAY_PUSH(merged, config_mount_t *) = apr_pmemdup(p, mount, sizeof(*mount));
        }
    }
    return merged;
}

/* Without stages of its own a host shares the main server's array, and so its order. */
static apr_array_header_t *merge_stages(apr_pool_t *p, apr_array_header_t *base,
                                        const apr_array_header_t *add)
{
    apr_array_header_t *merged;
    int i;

    if (add->nelts == 0) {
        return base;
    }
    merged = apr_array_make(p, base->nelts + add->nelts, sizeof(config_stage_t *));
    for (i = 0; i < base->nelts; i++) {
        config_stage_t *stage = APR_ARRAY_IDX(base, i, config_stage_t *);

        if (!has_stage(add, stage->name)) {
            APR_ARRAY_PUSH(merged, config_stage_t *) = stage;
        }
    }
    apr_array_cat(merged, add);
    return merged;
}

static apr_array_header_t *merge_zcml(apr_pool_t *p, const apr_array_header_t *base,
                                      const apr_array_header_t *add)
{
    apr_array_header_t *merged = apr_array_copy(p, base);
    int i;

    for (i = 0; i < add->nelts; i++) {
        const char *file = APR_ARRAY_IDX(add, i, const char *);

        if (!has_text(base, file)) {
            APR_ARRAY_PUSH(merged, const char *) = file;
        }
    }
    return merged;
}

void *config_server_merge(apr_pool_t *p, void *base, void *add)
{
    const config_server_t *from = base;
    const config_server_t *own = add;
    config_server_t *merged = apr_pmemdup(p, own, sizeof(*own));

    if (!own->group_name) {
        merged->group_name = from->group_name;
        merged->group_place = from->group_place;
    }
    merged->mounts = merge_mounts(p, from->mounts, own->mounts);
    merged->stages = merge_stages(p, from->stages, own->stages);
    merged->zcml = merge_zcml(p, from->zcml, own->zcml);
    return merged;
}

/* ---- The two directives that are no noun of their own ---- */

static const char *process_group_read(cmd_parms *cmd, const apr_array_header_t *words)
{
    config_server_t *config = config_server_get(cmd->server);
    const char *name = APR_ARRAY_IDX(words, 0, const char *);

    if (!config_word_is_name(name)) {
        return config_refuse(cmd, "'%s' is not the name of a group", name);
    }
    if (config->group_name) {
        return config_refuse(cmd, "the group of this host was said before, at %s:%d",
                             config->group_place.file, config->group_place.line);
    }
    config->group_name = name;
    config->group_place = config_place(cmd);
    return NULL;
}

static const char *zcml_read(cmd_parms *cmd, const apr_array_header_t *words)
{
    config_server_t *config = config_server_get(cmd->server);
    const char *word = APR_ARRAY_IDX(words, 0, const char *);
    const char *file = ap_server_root_relative(cmd->pool, word);

    if (!*word || !file || !config_word_is_file(file)) {
        return config_refuse(cmd, "'%s' is not the name of a file", word);
    }
    if (has_text(config->zcml, file)) {
        return config_refuse(cmd, "%s was named before in this host", file);
    }
    APR_ARRAY_PUSH(config->zcml, const char *) = file;
    return NULL;
}

/* ---- The table ---- */

#define ANY_NUMBER 1000

static const config_directive_t daemon_process = { 1, 1, ANY_NUMBER, "NAME [option=value ...]",
                                                   config_group_read };
static const config_directive_t storage = { 1, 2, 2, "NAME URI", config_storage_read };
static const config_directive_t process_group = { 0, 1, 1, "NAME", process_group_read };
static const config_directive_t zcml = { 0, 1, 1, "FILE", zcml_read };
static const config_directive_t root = { 0, 2, 3, "PREFIX STORAGE:/FOLDER [process-group=NAME]",
                                         config_mount_read_root };
static const config_directive_t script_alias = { 0, 2, 3, "PREFIX TARGET [process-group=NAME]",
                                                 config_mount_read_script };
static const config_directive_t stage = {
    0, 2, ANY_NUMBER, "NAME module:callable [after=] [before=] [types=] [key=value ...]",
    config_stage_read
};

/* Sections are allowed here so that config_directive_read() can say why they are not. */
#define CONTEXT (RSRC_CONF | ACCESS_CONF)
#define DIRECTIVE(name, directive, help) \
    AP_INIT_RAW_ARGS(name, config_directive_read, (void *)&directive, CONTEXT, help)

const command_rec config_commands[] = {
    DIRECTIVE("PipelineDaemonProcess", daemon_process,
              "a group of daemon processes and its options"),
    DIRECTIVE("PipelineStorage", storage, "a named object database"),
    DIRECTIVE("PipelineProcessGroup", process_group, "the group that serves this host"),
    DIRECTIVE("PipelineZCML", zcml, "a configuration file of the application"),
    DIRECTIVE("PipelineRoot", root, "publishes a folder of a storage under a URL prefix"),
    DIRECTIVE("PipelineScriptAlias", script_alias, "mounts a WSGI application under a URL prefix"),
    DIRECTIVE("PipelineStage", stage, "a stage of one's own, in Python"),
    { .name = NULL },
};
