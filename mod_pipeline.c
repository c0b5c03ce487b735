/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mod_pipeline.c: the module record and its hooks: where httpd meets the rest.
 *
 * Loaded and unloaded by the httpd parent at every restart; the children and the daemons are forks
 * of it.  Nothing here keeps state.
 */
#include "mod_pipeline.h"

#include <ap_mpm.h>
#include <http_config.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>

#include "server/child.h"
#include "server/config.h"
#include "server/manager.h"
#include "server/status.h"
#include "stages/order.h"

/* httpd calls this twice at start; processes are made in the second pass, which is the one that
 * lasts. */
static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                       server_rec *main_server)
{
    (void)plog;
    (void)ptemp;
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG ||
        ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST) {
        return OK;
    }
    return manager_start(pconf, main_server);
}

static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                        server_rec *main_server)
{
    (void)plog;
    return config_check(pconf, ptemp, main_server);
}

static void child_init(apr_pool_t *pchild, server_rec *main_server)
{
    manager_child_init();
    child_start(pchild, main_server);
}

static void test_config(apr_pool_t *pconf, server_rec *main_server)
{
    order_dump(pconf, main_server);
    config_dump(pconf, main_server);
}

static void register_hooks(apr_pool_t *p)
{
    static const char *const after_alias[] = { "mod_alias.c", "mod_rewrite.c", NULL };

    (void)p;
    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_test_config(test_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_LAST);
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_pre_connection(child_connection, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_translate_name(child_translate, after_alias, NULL, APR_HOOK_MIDDLE);
    ap_hook_map_to_storage(child_map_to_storage, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_type_checker(child_type, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(child_handle, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_handler(status_handle, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(pipeline) = {
    STANDARD20_MODULE_STUFF, NULL,           NULL, config_server_create, config_server_merge,
    config_commands,         register_hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE,
#endif
};
