/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_check.c: what can only be judged once every file was read: names, identities, the order of
 * the stages; and what follows from all of it: the groups' mounts and digests.
 *
 * Called in the httpd parent, in check_config, so that `apachectl -t` does the same;
 * single-threaded, no Python.  It stops at the first thing that is wrong, with one line that says
 * where it stands.  Per host it does no work on the disk, and hosts without stages of their own
 * share one order.
 */
#include "server/config_private.h"

#include <stdlib.h>
#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <http_log.h>

#include "stages/order.h"

APLOG_USE_MODULE(pipeline);

int config_check_refuse(const char *id, const config_place_t *place, apr_pool_t *ptemp,
                        const char *format, ...)
{
    va_list arguments;
    const char *reason;

    va_start(arguments, format);
    reason = apr_pvsprintf(ptemp, format, arguments);
    va_end(arguments);
    ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, NULL, "%s%s at %s:%d: %s", id,
                 place->directive, place->file, place->line, reason);
    return HTTP_INTERNAL_SERVER_ERROR;
}

/*
 * What tells a host from the others, whatever changes elsewhere in the files: its first address and
 * its name.  Hosts that have both in common are numbered.
 */
static const char *host_key(const server_rec *s, apr_hash_t *seen, apr_pool_t *ptemp)
{
    const char *name = s->server_hostname ? s->server_hostname : "";
    const char *key;
    int *count;

    if (!s->is_virtual || !s->addrs) {
        key = apr_psprintf(ptemp, "%s:%d", name, s->port);
    } else {
        key = apr_psprintf(ptemp, "%s:%d@%s", name, s->addrs->host_port, s->addrs->virthost);
    }
    count = apr_hash_get(seen, key, APR_HASH_KEY_STRING);
    if (!count) {
        count = apr_pcalloc(ptemp, sizeof(*count));
        apr_hash_set(seen, key, APR_HASH_KEY_STRING, count);
    }
    *count += 1;
    return *count == 1 ? key : apr_psprintf(ptemp, "%s#%d", key, *count);
}

static int group_name_check(const config_server_t *config, const config_server_t *main_config,
                            apr_pool_t *ptemp)
{
    if (config->group_name && !config_group_find(main_config, config->group_name)) {
        return config_check_refuse(PIPELOGNO(0101), &config->group_place, ptemp,
                                   "there is no PipelineDaemonProcess '%s'", config->group_name);
    }
    return OK;
}

static int order_fill(config_server_t *config, const config_server_t *main_config,
                      apr_pool_t *pconf)
{
    const char *error;
    apr_status_t rv;

    if (config != main_config && config->stages == main_config->stages) {
        memcpy(config->order, main_config->order, sizeof(config->order));
        return OK;
    }
    rv = order_check(config->stages, pconf, config->order, &error);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, NULL, PIPELOGNO(0107) "%s", error);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}

static void zcml_add(config_group_t *group, const char *file)
{
    int i;

    for (i = 0; i < group->zcml->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(group->zcml, i, const char *), file) == 0) {
            return;
        }
    }
    APR_ARRAY_PUSH(group->zcml, const char *) = file;
}

/* A host's files go to every group that serves something of the host. */
static void zcml_hand_out(const config_server_t *config)
{
    int i, k;

    for (i = 0; i < config->mounts->nelts; i++) {
        const config_mount_t *mount = APR_ARRAY_IDX(config->mounts, i, const config_mount_t *);

        for (k = 0; k < config->zcml->nelts; k++) {
            zcml_add(mount->group, APR_ARRAY_IDX(config->zcml, k, const char *));
        }
    }
}

/* In the order of the configuration: httpd lists the main server, then the last host first. */
static void zcml_hand_out_all(const server_rec *main_server, apr_pool_t *ptemp)
{
    apr_array_header_t *hosts = apr_array_make(ptemp, 8, sizeof(const server_rec *));
    const server_rec *s;

    for (s = main_server->next; s; s = s->next) {
        APR_ARRAY_PUSH(hosts, const server_rec *) = s;
    }
    zcml_hand_out(config_server_get(main_server));
    while (hosts->nelts > 0) {
        s = *(const server_rec **)apr_array_pop(hosts);
        zcml_hand_out(config_server_get(s));
    }
}

static int server_check(server_rec *s, const config_server_t *main_config, apr_hash_t *seen,
                        apr_pool_t *pconf, apr_pool_t *ptemp)
{
    config_server_t *config = config_server_get(s);
    int rv = group_name_check(config, main_config, ptemp);

    if (rv == OK) {
        rv = config_mount_check(config, s, main_config, host_key(s, seen, ptemp), ptemp);
    }
    if (rv == OK) {
        rv = order_fill(config, main_config, pconf);
    }
    return rv;
}

static int by_id(const void *a, const void *b)
{
    apr_uint64_t left = (*(config_mount_t *const *)a)->id;
    apr_uint64_t right = (*(config_mount_t *const *)b)->id;

    return left < right ? -1 : left > right;
}

static int groups_check(const config_server_t *main_config, apr_pool_t *pconf, apr_pool_t *ptemp)
{
    int i, rv;

    for (i = 0; i < main_config->groups->nelts; i++) {
        config_group_t *group = APR_ARRAY_IDX(main_config->groups, i, config_group_t *);

        rv = config_group_check(group, pconf, ptemp);
        if (rv != OK) {
            return rv;
        }
        qsort(group->mounts_by_id->elts, (size_t)group->mounts_by_id->nelts,
              sizeof(config_mount_t *), by_id);
        group->storages = main_config->storages;
        config_digest_compute(group, pconf, ptemp);
    }
    return OK;
}

int config_check(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *main_server)
{
    const config_server_t *main_config = config_server_get(main_server);
    apr_hash_t *seen = apr_hash_make(ptemp);
    server_rec *s;
    int rv;

    for (s = main_server; s; s = s->next) {
        rv = server_check(s, main_config, seen, pconf, ptemp);
        if (rv != OK) {
            return rv;
        }
    }
    zcml_hand_out_all(main_server, ptemp);
    return groups_check(main_config, pconf, ptemp);
}
