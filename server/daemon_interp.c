/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_interp.c: opens the interpreter module of a daemon's group; main thread, after the
 * privilege drop.
 *
 * RTLD_GLOBAL: extension modules of Python do not link libpython, and find its symbols in the
 * process. For the same reason a libpython that is there already, of another module of this httpd,
 * is refused: the extensions would bind to the wrong one.
 */
#include "server/daemon_private.h"

#include <dlfcn.h>
#include <unistd.h>

#include <http_log.h>

APLOG_USE_MODULE(pipeline);

static apr_status_t interp_refuse(const daemon_plan_t *plan, const char *why)
{
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, plan->server,
                 PIPELOGNO(0331) "process group %s: cannot open the interpreter module %s: %s",
                 plan->group->name, plan->group->interp_module, why);
    return APR_EINIT;
}

apr_status_t daemon_interp_open(const daemon_plan_t *plan, const pipeline_interp_api_t **api)
{
    const char *path = plan->group->interp_module;
    void *module;

    *api = NULL;
    if (dlsym(RTLD_DEFAULT, "Py_InitializeFromConfig") != NULL) {
        return interp_refuse(plan, "another module of this httpd has loaded a libpython");
    }
    if (access(path, R_OK) != 0) {
        return interp_refuse(plan, "the group's user cannot read it");
    }
    module = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (module == NULL) {
        return interp_refuse(plan, dlerror());
    }
    *api = dlsym(module, PIPELINE_INTERP_SYMBOL);
    if (*api == NULL || (*api)->abi != PIPELINE_ABI) {
        *api = NULL;
        return interp_refuse(plan, "it belongs to another version of mod_pipeline");
    }
    return APR_SUCCESS;
}
