/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_dump.c: what `apachectl -t -D DUMP_PIPELINE_CONFIG` prints: the configuration as it is
 * after merging and checking, so that an operator sees what a host inherits and who answers where.
 *
 * Called in the httpd parent, in test_config; reads only.  No Python.
 */
#include "server/config_private.h"

#include <apr_file_io.h>
#include <http_core.h>

static void dump_mount(apr_file_t *out, const config_mount_t *mount)
{
    const char *prefix = mount->prefix_len ? mount->prefix : "/";
    const server_rec *s = mount->server;
    const char *name = s->server_hostname ? s->server_hostname : "*";
    int port = s->is_virtual && s->addrs ? s->addrs->host_port : s->port;

    apr_file_printf(out, "  mount %s:%d %s -> %s%s%s (%s:%d) %016" APR_UINT64_T_HEX_FMT "\n", name,
                    port, prefix, mount->target, mount->kind == CONFIG_MOUNT_ROOT ? ":" : "",
                    mount->kind == CONFIG_MOUNT_ROOT ? mount->folder : "", mount->place.file,
                    mount->place.line, mount->id);
}

static void dump_group(apr_file_t *out, const config_group_t *group, apr_pool_t *p)
{
    int i;

    apr_file_printf(out, "Process group %s (%s:%d)\n", group->name, group->place.file,
                    group->place.line);
    apr_file_printf(out, "%s", config_group_describe(group, p));
    apr_file_printf(out, "  uid %d, gid %d\n", (int)group->uid, (int)group->gid);
    for (i = 0; i < group->zcml->nelts; i++) {
        apr_file_printf(out, "  zcml %s\n", APR_ARRAY_IDX(group->zcml, i, const char *));
    }
    for (i = 0; i < group->mounts->nelts; i++) {
        dump_mount(out, APR_ARRAY_IDX(group->mounts, i, const config_mount_t *));
    }
    apr_file_printf(out, "  digest %s\n", group->digest);
}

void config_dump(apr_pool_t *p, server_rec *main_server)
{
    const config_server_t *config = config_server_get(main_server);
    apr_file_t *out;
    int i;

    if (!ap_exists_config_define("DUMP_PIPELINE_CONFIG") ||
        apr_file_open_stdout(&out, p) != APR_SUCCESS) {
        return;
    }
    for (i = 0; i < config->storages->nelts; i++) {
        const config_storage_t *storage =
            APR_ARRAY_IDX(config->storages, i, const config_storage_t *);

        apr_file_printf(out, "Storage %s (%s:%d) %s\n", storage->name, storage->place.file,
                        storage->place.line, storage->uri);
    }
    for (i = 0; i < config->groups->nelts; i++) {
        dump_group(out, APR_ARRAY_IDX(config->groups, i, const config_group_t *), p);
    }
}
