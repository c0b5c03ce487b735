/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child_map.c: which requests are ours.  httpd's hooks, in a child's thread, for every request; so
 * a server without mount points leaves at its first line.
 */
#include "server/child.h"

#include <unistd.h>

#include <ap_mpm.h>
#include <http_config.h>
#include <http_request.h>

#include "server/config.h"
#include "server/scoreboard.h"

static const config_mount_t *request_mount(const request_rec *r)
{
    return ap_get_module_config(r->request_config, &pipeline_module);
}

void child_start(apr_pool_t *pchild, server_rec *main_server)
{
    const config_server_t *config = config_server_get(main_server);
    int i;

    (void)pchild;
    for (i = 0; i < config->groups->nelts; i++) {
        const config_group_t *group = APR_ARRAY_IDX(config->groups, i, config_group_t *);
        scoreboard_instance_t *instance = group->instance != NULL ? group->instance : group->older;

        for (; instance != NULL; instance = instance->fallback) {
            instance->self = getpid();
        }
    }
}

int child_translate(request_rec *r)
{
    const config_mount_t *mount = NULL;

    if (!r->proxyreq && r->uri != NULL && r->uri[0] == '/') {
        mount = config_mount_find(r->server, r->uri);
    }
    if (mount == NULL) {
        return DECLINED;
    }
    ap_set_module_config(r->request_config, &pipeline_module, (void *)mount);
    r->filename = (char *)"pipeline:"; /* httpd wants a name; no file is looked for */
    return OK;
}

int child_map_to_storage(request_rec *r)
{
    return request_mount(r) != NULL ? OK : DECLINED;
}

int child_type(request_rec *r)
{
    if (request_mount(r) == NULL) {
        return DECLINED;
    }
    r->handler = CHILD_HANDLER;
    return OK;
}
