/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_mount.c: PipelineScriptAlias and PipelineRoot, and which of them a URL belongs to.
 *
 * Reading and checking: the httpd parent, single-threaded.  The two lookups: httpd children and
 * daemons, any thread; they only read.  No Python.
 */
#include "server/config_private.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

/* FNV-1a, 64 bits: the offset basis and prime of its definition. */
#define FNV_BASIS APR_UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME APR_UINT64_C(0x100000001b3)

/* ---- Reading ---- */

/* "/" becomes "", "/api/" becomes "/api"; NULL when it is not a prefix. */
static const char *prefix_parse(apr_pool_t *p, const char *word)
{
    apr_size_t len = strlen(word);

    if (len && word[len - 1] == '/') {
        len--;
    }
    word = apr_pstrmemdup(p, word, len);
    if (len && (!word[1] || !config_word_is_path(word) || strpbrk(word, "?#"))) {
        return NULL;
    }
    return word;
}

static const config_mount_t *mount_with_prefix(const apr_array_header_t *mounts, const char *prefix)
{
    int i;

    for (i = 0; i < mounts->nelts; i++) {
        const config_mount_t *mount = APR_ARRAY_IDX(mounts, i, const config_mount_t *);

        if (strcmp(mount->prefix, prefix) == 0) {
            return mount;
        }
    }
    return NULL;
}

static const char *group_word_read(cmd_parms *cmd, const char *word, config_mount_t *mount)
{
    const char *key, *value;

    if (!config_word_split(cmd->pool, word, &key, &value) || strcmp(key, "process-group") != 0) {
        return config_refuse(cmd, "'%s' is not process-group=NAME", word);
    }
    if (!config_word_is_name(value)) {
        return config_refuse(cmd, "process-group=%s is not the name of a group", value);
    }
    mount->group_name = value;
    return NULL;
}

/* What both directives share: PREFIX and process-group=. */
static const char *mount_read(cmd_parms *cmd, const apr_array_header_t *words, config_mount_e kind,
                              config_mount_t **pmount)
{
    config_server_t *config = config_server_get(cmd->server);
    const char *word = APR_ARRAY_IDX(words, 0, const char *);
    config_mount_t *mount = apr_pcalloc(cmd->pool, sizeof(*mount));
    const config_mount_t *other;

    *pmount = mount;
    mount->kind = kind;
    mount->place = config_place(cmd);
    mount->prefix = prefix_parse(cmd->pool, word);
    if (!*word || !mount->prefix) {
        return config_refuse(cmd,
                             "'%s' is not a URL prefix: it starts with /, and has no empty, "
                             "'.' or '..' segments, no ? and no #",
                             word);
    }
    mount->prefix_len = strlen(mount->prefix);
    other = mount_with_prefix(config->mounts, mount->prefix);
    if (other) {
        return config_refuse(cmd, "the prefix '%s' was given before in this host, by %s at %s:%d",
                             word, other->place.directive, other->place.file, other->place.line);
    }
    if (words->nelts > 2) {
        return group_word_read(cmd, APR_ARRAY_IDX(words, 2, const char *), mount);
    }
    return NULL;
}

/* /path/to/file or /path/to/file:callable */
static int is_script(apr_pool_t *p, const char *target)
{
    const char *name = strrchr(target, '/');
    const char *colon = name ? strchr(name, ':') : NULL;
    const char *file =
        apr_pstrmemdup(p, target, colon ? (apr_size_t)(colon - target) : strlen(target));

    return config_word_is_file(file) && file[strlen(file) - 1] != '/' &&
           (!colon || config_word_is_dotted(colon + 1, strlen(colon + 1)));
}

const char *config_mount_read_script(cmd_parms *cmd, const apr_array_header_t *words)
{
    const char *target = APR_ARRAY_IDX(words, 1, const char *);
    config_mount_t *mount;
    const char *error = mount_read(cmd, words, CONFIG_MOUNT_WSGI, &mount);

    if (error) {
        return error;
    }
    if (target[0] == '/' ? !is_script(cmd->temp_pool, target) : !config_word_is_callable(target)) {
        return config_refuse(cmd,
                             "'%s' is neither module:callable, nor /path/to/file, nor "
                             "/path/to/file:callable",
                             target);
    }
    mount->target = target;
    APR_ARRAY_PUSH(config_server_get(cmd->server)->mounts, config_mount_t *) = mount;
    return NULL;
}

/* The storage's name stays in `target` until config_mount_check() has found it. */
const char *config_mount_read_root(cmd_parms *cmd, const apr_array_header_t *words)
{
    const char *word = APR_ARRAY_IDX(words, 1, const char *);
    const char *colon = strchr(word, ':');
    config_mount_t *mount;
    const char *error = mount_read(cmd, words, CONFIG_MOUNT_ROOT, &mount);

    if (error) {
        return error;
    }
    mount->target = colon ? apr_pstrmemdup(cmd->pool, word, (apr_size_t)(colon - word)) : word;
    mount->folder = colon ? colon + 1 : "";
    if (!config_word_is_name(mount->target) || !config_word_is_path(mount->folder)) {
        return config_refuse(cmd, "'%s' is not of the form STORAGE:/FOLDER", word);
    }
    APR_ARRAY_PUSH(config_server_get(cmd->server)->mounts, config_mount_t *) = mount;
    return NULL;
}

/* ---- After every file was read ---- */

static apr_uint64_t fnv1a(apr_uint64_t hash, const char *text)
{
    do {
        hash = (hash ^ (unsigned char)*text) * FNV_PRIME;
    } while (*text++);
    return hash;
}

static int storage_resolve(config_mount_t *mount, const config_server_t *main_config,
                           apr_pool_t *ptemp)
{
    if (mount->kind != CONFIG_MOUNT_ROOT) {
        return OK;
    }
    mount->storage = config_storage_find(main_config, mount->target);
    if (!mount->storage) {
        return config_check_refuse(PIPELOGNO(0102), &mount->place, ptemp,
                                   "there is no PipelineStorage '%s'", mount->target);
    }
    return OK;
}

static int group_resolve(config_mount_t *mount, const config_server_t *config,
                         const config_server_t *main_config, apr_pool_t *ptemp)
{
    if (!mount->group_name) {
        mount->group_name = config->group_name;
    }
    if (!mount->group_name) {
        return config_check_refuse(
            PIPELOGNO(0101), &mount->place, ptemp,
            "no process group: this host has no PipelineProcessGroup, and the "
            "directive no process-group=");
    }
    mount->group = config_group_find(main_config, mount->group_name);
    if (!mount->group) {
        return config_check_refuse(PIPELOGNO(0101), &mount->place, ptemp,
                                   "there is no PipelineDaemonProcess '%s'", mount->group_name);
    }
    return OK;
}

/* Longest first; equal ones do not occur in one host. */
static int by_prefix(const void *a, const void *b)
{
    const config_mount_t *left = *(config_mount_t *const *)a;
    const config_mount_t *right = *(config_mount_t *const *)b;

    if (left->prefix_len != right->prefix_len) {
        return left->prefix_len > right->prefix_len ? -1 : 1;
    }
    return strcmp(left->prefix, right->prefix);
}

int config_mount_check(config_server_t *config, server_rec *s, const config_server_t *main_config,
                       const char *host_key, apr_pool_t *ptemp)
{
    int i, rv;

    for (i = 0; i < config->mounts->nelts; i++) {
        config_mount_t *mount = APR_ARRAY_IDX(config->mounts, i, config_mount_t *);

        rv = storage_resolve(mount, main_config, ptemp);
        if (rv == OK) {
            rv = group_resolve(mount, config, main_config, ptemp);
        }
        if (rv != OK) {
            return rv;
        }
        mount->server = s;
        mount->config = config;
        mount->id = fnv1a(fnv1a(FNV_BASIS, host_key), mount->prefix);
        APR_ARRAY_PUSH(mount->group->mounts, config_mount_t *) = mount;
        APR_ARRAY_PUSH(mount->group->mounts_by_id, config_mount_t *) = mount;
    }
    qsort(config->mounts->elts, (size_t)config->mounts->nelts, sizeof(config_mount_t *), by_prefix);
    return OK;
}

/* ---- Lookups ---- */

const config_mount_t *config_mount_find(const server_rec *s, const char *uri)
{
    const apr_array_header_t *mounts = config_server_get(s)->mounts;
    int i;

    if (!uri || uri[0] != '/') {
        return NULL;
    }
    for (i = 0; i < mounts->nelts; i++) {
        const config_mount_t *mount = APR_ARRAY_IDX(mounts, i, const config_mount_t *);
        apr_size_t len = mount->prefix_len;

        if (strncmp(uri, mount->prefix, len) == 0 && (uri[len] == '\0' || uri[len] == '/')) {
            return mount;
        }
    }
    return NULL;
}

const config_mount_t *config_mount_by_id(const config_group_t *group, apr_uint64_t id)
{
    int low = 0;
    int high = group->mounts_by_id->nelts;

    while (low < high) {
        int middle = low + (high - low) / 2;
        const config_mount_t *mount =
            APR_ARRAY_IDX(group->mounts_by_id, middle, const config_mount_t *);

        if (mount->id == id) {
            return mount;
        }
        if (mount->id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}
