/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order_hook.c: the two hooks of stage.h.
 *
 * `add_stages` is an optional hook, run in the httpd parent for each configuration that is checked.
 * `stage` is the registry of actions: filled in a daemon, after its fork, by the interpreter
 * module; it lives here, in mod_pipeline.so, so that every httpd module of the daemon sees the same
 * one.
 */
#include "stages/order.h"

APR_HOOK_STRUCT(APR_HOOK_LINK(stage))

APR_IMPLEMENT_EXTERNAL_HOOK_BASE(pipeline, PIPELINE, stage)

APR_IMPLEMENT_OPTIONAL_HOOK_RUN_ALL(pipeline, PIPELINE, int, add_stages,
                                    (stage_add_t * add, void *list), (add, list), OK, DECLINED)

static void order_add(void *list, const stage_added_t *stage)
{
    *(const stage_added_t **)apr_array_push(list) = stage;
}

const apr_array_header_t *order_added(apr_pool_t *p)
{
    apr_array_header_t *list = apr_array_make(p, 4, sizeof(const stage_added_t *));

    pipeline_run_add_stages(order_add, list);
    return list;
}
