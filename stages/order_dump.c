/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order_dump.c: what `apachectl -t -D DUMP_PIPELINE` prints.
 *
 * Runs in the httpd parent, in the hook test_config, after config_check() has stored the checked
 * order of every server.  Reads only.
 */
#include "stages/order.h"

#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>

/* Request types that a server's mounts answer, as CONFIG_TYPE_* bits. */
static unsigned order_types_served(const config_server_t *config)
{
    unsigned types = 0;
    int i;

    for (i = 0; i < config->mounts->nelts; ++i) {
        const config_mount_t *mount = APR_ARRAY_IDX(config->mounts, i, const config_mount_t *);

        types |= mount->kind == CONFIG_MOUNT_ROOT ? CONFIG_TYPE_BROWSER : CONFIG_TYPE_WSGI;
    }
    return types;
}

static const char *order_constraints(const order_stage_t *stage, apr_pool_t *p)
{
    return apr_pstrcat(p, *stage->after ? " after=" : "", stage->after,
                       *stage->before ? " before=" : "", stage->before, NULL);
}

static void order_dump_type(apr_file_t *out, const config_server_t *config, int type, apr_pool_t *p)
{
    const apr_array_header_t *order = config->order[type];
    int i;

    apr_file_printf(out, "  %s:\n", order_type_name(type));
    for (i = 0; order != NULL && i < order->nelts; ++i) {
        const order_stage_t *stage = APR_ARRAY_IDX(order, i, const order_stage_t *);
        const char *target = stage->config != NULL ? stage->config->target : "";

        apr_file_printf(out, "    %2d %-16s %s%s%s%s\n", i + 1, stage->name, target,
                        *target ? " " : "", stage->origin, order_constraints(stage, p));
    }
}

static void order_dump_server(apr_file_t *out, const server_rec *s, unsigned types, apr_pool_t *p)
{
    const config_server_t *config = config_server_get(s);
    int type;

    apr_file_printf(out, "%s %s%s%s:%d\n", s->is_virtual ? "Virtual host" : "Main server",
                    s->server_hostname ? s->server_hostname : "*", s->defn_name ? " " : "",
                    s->defn_name ? s->defn_name : "", (int)s->defn_line_number);
    for (type = 0; type < CONFIG_TYPE_COUNT; ++type) {
        if (types & (1u << type)) {
            order_dump_type(out, config, type, p);
        }
    }
}

void order_dump(apr_pool_t *p, server_rec *main_server)
{
    apr_file_t *out = NULL;
    server_rec *s;

    if (!ap_exists_config_define("DUMP_PIPELINE") || apr_file_open_stdout(&out, p) != APR_SUCCESS) {
        return;
    }
    apr_file_printf(out, "Pipeline, in the order of entering (exit and error run in reverse):\n");
    for (s = main_server; s != NULL; s = s->next) {
        unsigned types = order_types_served(config_server_get(s));

        if (types != 0) {
            order_dump_server(out, s, types, p);
        }
    }
}
