/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order.h: puts a virtual host's stages in order, and says what is wrong with them.
 *
 * Part of mod_pipeline.so: called by config_check() in the httpd parent, once per server, before
 * APR sees a constraint (its own sorting never ends on a cycle and ignores unknown names).  The
 * arrays are read-only afterwards, in every process.  Knows no Python and keeps no state.
 */
#ifndef STAGES_ORDER_H
#define STAGES_ORDER_H

#include <apr_pools.h>
#include <apr_tables.h>

#include "server/config.h"
#include "stages/stage.h"

/* One stage in its place; everything is owned by the pool given to order_check(). */
typedef struct order_stage_t {
    const char *name;
    unsigned types;    /* CONFIG_TYPE_* bits */
    const char *after; /* as declared */
    const char *before;
    const config_stage_t *config; /* PipelineStage; NULL: built in, or a C module's */
    const stage_added_t *added;   /* a C module's; else NULL */
    const char *origin;           /* for listings: "built in", "module mod_x", "FILE:LINE" */
    int place;                    /* among all stages of the server, from 0 */
} order_stage_t;

/*
 * Sorts the built-in stages, those of C modules and the configured ones (config_stage_t *, may be
 * empty), and fills order[] with one array of `const order_stage_t *` for each request type, by the
 * number of its bit.  The sort is stable: built-in stages keep the order of table.h; an added stage
 * stands directly behind the last stage that it names in `after`, or, if it names none, directly
 * before the first that it names in `before`; without either, before `call`.
 *
 * APR_SUCCESS; APR_EINVAL: *error is one line that names the stages, the file and the line of the
 * PipelineStage directive.  Causes: a cycle, an unknown name, a name twice, a stage before
 * `classify` that is not for every type, a Python stage before `interp`.
 */
apr_status_t order_check(const apr_array_header_t *configured, apr_pool_t *p,
                         const apr_array_header_t *order[CONFIG_TYPE_COUNT], const char **error);

/* Name of a request type by the number of its bit: "browser", "http", "xmlrpc", "wsgi". */
PIPELINE_EXPORT const char *order_type_name(int type);

/*
 * The stages that C modules added by the optional hook, as `const stage_added_t *`, in the order of
 * their hooks; owned by p.  Httpd parent, after LoadModule.
 */
const apr_array_header_t *order_added(apr_pool_t *p);

/*
 * Prints the ordered stages of every virtual host that publishes something, and where each is from,
 * to standard output, if `apachectl -t -D DUMP_PIPELINE` asked for it.  To be called in
 * test_config.
 */
void order_dump(apr_pool_t *p, server_rec *main_server);

#endif
