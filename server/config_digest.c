/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_digest.c: a fingerprint of everything that a group's daemons depend on.
 *
 * Called in the httpd parent at the end of the check; single-threaded, no Python.  While the digest
 * of a group stays the same over a restart, daemons of the old generation may answer requests of
 * the new one.  Line numbers and comments of the configuration are not part of it.
 *
 * Every item goes in with its NUL, and every list with its length, so that no two configurations
 * give the same bytes.
 */
#include "server/config_private.h"

#include <dlfcn.h>
#include <string.h>

#include <apr_escape.h>
#include <apr_file_info.h>
#include <apr_sha1.h>
#include <apr_strings.h>

#include "stages/order.h"

const char *config_digest_module_path(void)
{
    Dl_info info;

    if (!dladdr((const void *)&config_commands, &info) || !info.dli_fname) {
        return "mod_pipeline.so";
    }
    return info.dli_fname;
}

static void add_text(apr_sha1_ctx_t *sha, const char *text)
{
    static const char absent[] = "\1";

    if (!text) {
        text = absent;
    }
    apr_sha1_update_binary(sha, (const unsigned char *)text, (unsigned int)strlen(text) + 1);
}

static void add_number(apr_sha1_ctx_t *sha, apr_int64_t number)
{
    apr_sha1_update_binary(sha, (const unsigned char *)&number, sizeof(number));
}

/* A file that is replaced has another inode, time or size; an unreadable one counts as absent. */
static void add_build(apr_sha1_ctx_t *sha, const char *path, apr_pool_t *ptemp)
{
    apr_finfo_t info;
    apr_status_t rv;

    add_text(sha, path);
    rv = apr_stat(&info, path, APR_FINFO_MTIME | APR_FINFO_SIZE | APR_FINFO_INODE, ptemp);
    if (rv != APR_SUCCESS) {
        add_number(sha, -1);
        return;
    }
    add_number(sha, info.mtime);
    add_number(sha, info.size);
    add_number(sha, (apr_int64_t)info.inode);
}

static void add_group(apr_sha1_ctx_t *sha, const config_group_t *group, apr_pool_t *ptemp)
{
    add_text(sha, group->name);
    add_text(sha, config_group_describe(group, ptemp));
    add_number(sha, group->uid);
    add_number(sha, group->gid);
}

static int add_param(void *sha, const char *key, const char *value)
{
    add_text(sha, key);
    add_text(sha, value);
    return 1;
}

static void add_stages(apr_sha1_ctx_t *sha, const apr_array_header_t *stages)
{
    int i;

    add_number(sha, stages->nelts);
    for (i = 0; i < stages->nelts; i++) {
        const config_stage_t *stage = APR_ARRAY_IDX(stages, i, const config_stage_t *);

        add_text(sha, stage->name);
        add_text(sha, stage->target);
        add_text(sha, stage->after);
        add_text(sha, stage->before);
        add_number(sha, stage->types);
        add_number(sha, apr_table_elts(stage->params)->nelts);
        apr_table_do(add_param, sha, stage->params, NULL);
    }
}

/* The names in their order, since modules of others add stages that no directive names. */
static void add_order(apr_sha1_ctx_t *sha, const config_server_t *config)
{
    int type, i;

    for (type = 0; type < CONFIG_TYPE_COUNT; type++) {
        add_number(sha, config->order[type]->nelts);
        for (i = 0; i < config->order[type]->nelts; i++) {
            add_text(sha, APR_ARRAY_IDX(config->order[type], i, const order_stage_t *)->name);
        }
    }
}

static void add_texts(apr_sha1_ctx_t *sha, const apr_array_header_t *texts)
{
    int i;

    add_number(sha, texts->nelts);
    for (i = 0; i < texts->nelts; i++) {
        add_text(sha, APR_ARRAY_IDX(texts, i, const char *));
    }
}

static void add_mounts(apr_sha1_ctx_t *sha, const apr_array_header_t *mounts)
{
    int i;

    add_number(sha, mounts->nelts);
    for (i = 0; i < mounts->nelts; i++) {
        const config_mount_t *mount = APR_ARRAY_IDX(mounts, i, const config_mount_t *);

        add_number(sha, mount->kind);
        add_number(sha, (apr_int64_t)mount->id);
        add_text(sha, mount->prefix);
        add_text(sha, mount->target);
        add_text(sha, mount->folder);
        add_texts(sha, mount->config->zcml);
        add_stages(sha, mount->config->stages);
        add_order(sha, mount->config);
    }
}

static void add_storages(apr_sha1_ctx_t *sha, const apr_array_header_t *storages)
{
    int i;

    add_number(sha, storages->nelts);
    for (i = 0; i < storages->nelts; i++) {
        const config_storage_t *storage = APR_ARRAY_IDX(storages, i, const config_storage_t *);

        add_text(sha, storage->name);
        add_text(sha, storage->uri);
    }
}

void config_digest_compute(config_group_t *group, apr_pool_t *pconf, apr_pool_t *ptemp)
{
    unsigned char hash[APR_SHA1_DIGESTSIZE];
    apr_sha1_ctx_t sha;

    apr_sha1_init(&sha);
    add_text(&sha, PIPELINE_VERSION);
    add_build(&sha, config_digest_module_path(), ptemp);
    add_build(&sha, group->interp_module, ptemp);
    add_group(&sha, group, ptemp);
    add_mounts(&sha, group->mounts);
    add_storages(&sha, group->storages);
    add_texts(&sha, group->zcml);
    apr_sha1_final(hash, &sha);
    group->digest = apr_pescape_hex(pconf, hash, sizeof(hash), 0);
}
