/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_identity.c: a daemon's user, groups, working directory and umask; main thread, before any
 * thread and before Python.
 *
 * Each step is checked, and what could be undone is tried: a process that kept a way back to root
 * would hand it to the application (CVE-2014-0240 and CVE-2014-8583 of another module are why).
 */
#include "server/daemon_private.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <http_log.h>
#include <unixd.h>

APLOG_USE_MODULE(pipeline);

static apr_status_t refuse(const daemon_plan_t *plan, const char *step, apr_status_t rv)
{
    ap_log_error(APLOG_MARK, APLOG_CRIT, rv, plan->server,
                 PIPELOGNO(0330) "process group %s: %s failed; the daemon does not start",
                 plan->group->name, step);
    return rv != APR_SUCCESS ? rv : APR_EGENERAL;
}

static const char *user_name(const config_group_t *group)
{
    return group->user != NULL ? group->user : ap_unixd_config.user_name;
}

static apr_status_t groups_take(const daemon_plan_t *plan)
{
    const config_group_t *group = plan->group;

    if (setgid(group->gid) != 0) {
        return refuse(plan, "setgid", errno);
    }
    if (setgroups(0, NULL) != 0) {
        return refuse(plan, "setgroups", errno);
    }
    if (initgroups(user_name(group), group->gid) != 0) {
        return refuse(plan, "initgroups", errno);
    }
    return APR_SUCCESS;
}

static apr_status_t identity_verify(const daemon_plan_t *plan)
{
    const config_group_t *group = plan->group;

    if (getuid() != group->uid || geteuid() != group->uid || getgid() != group->gid ||
        getegid() != group->gid) {
        return refuse(plan, "the check of the identity", APR_SUCCESS);
    }
    if (group->uid != 0 && (setuid(0) == 0 || seteuid(0) == 0)) {
        return refuse(plan, "the check that root cannot come back", APR_SUCCESS);
    }
    return APR_SUCCESS;
}

static apr_status_t identity_change(const daemon_plan_t *plan)
{
    apr_status_t rv;

    if (geteuid() != 0) {
        return APR_SUCCESS; /* httpd itself was started by an ordinary user: there is nothing to
                               drop */
    }
    rv = groups_take(plan);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (setuid(plan->group->uid) != 0) {
        return refuse(plan, "setuid", errno);
    }
    return identity_verify(plan);
}

apr_status_t daemon_identity_take(const daemon_plan_t *plan)
{
    const config_group_t *group = plan->group;
    apr_status_t rv;

    if (group->umask >= 0) {
        (void)umask((mode_t)group->umask);
    }
    rv = identity_change(plan);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (chdir(group->home != NULL ? group->home : "/") != 0) {
        return refuse(plan, "changing to the home directory", errno);
    }
    (void)setenv("LANG", group->lang != NULL ? group->lang : "C.UTF-8", 1);
    /* after the change of identity, which would reset it */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    return APR_SUCCESS;
}
