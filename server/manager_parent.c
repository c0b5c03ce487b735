/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager_parent.c: what the httpd parent does for the managers, in the second pass of post_config
 * and when httpd's main loop reaps one of them.
 *
 * httpd unloads and reloads this module at every restart, so what must survive lives in the process
 * pool, holds no pointer into the module, and is found again by its name:
 *
 *   1. An instance is destroyed here only when no generation can be configured to use it any more.
 *   2. Every manager that was forked and not reaped has a record, and is registered anew as another
 *      child of httpd in each generation; pconf's clearing forgets the registration.
 *   3. The parent's copy of the liveness pipe's write end is closed when pconf is cleared.
 */
#include "server/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <http_config.h>
#include <http_log.h>

#include "server/config.h"
#include "server/manager_private.h"
#include "server/scoreboard.h"

APLOG_USE_MODULE(pipeline);

#define RETAINED_KEY \
    "mod_pipeline-managers-1"     /* the number changes with the shape of what is retained */
#define CHANNELS_MAX      256     /* by default; each costs two descriptors in every process */
#define YOUNG             2000000 /* us: a manager that dies younger is started again later */
#define DESCRIPTORS_SPARE 256     /* for httpd itself, on top of the channels */

typedef struct manager_record_t {
    pid_t pid; /* 0: free */
    apr_uint32_t generation;
} manager_record_t;

typedef struct manager_retained_t {
    apr_uint32_t generation;
    apr_array_header_t *instances; /* scoreboard_instance_t *, of the process pool */
    apr_array_header_t *managers;  /* manager_record_t */
} manager_retained_t;

/* One generation, as the parent knows it; of pconf. */
typedef struct parent_t {
    manager_retained_t *retained; /* borrowed from the process pool */
    manager_plan_t plan;
    pid_t manager;
    apr_int64_t forked; /* us, CLOCK_MONOTONIC */
} parent_t;

/* One registration with httpd; of pconf. */
typedef struct parent_child_t {
    parent_t *parent;
    apr_proc_t proc;
} parent_child_t;

static void manager_fork(parent_t *parent);
static void instances_retire(manager_retained_t *retained, const config_server_t *config);

static manager_retained_t *retained_get(server_rec *s)
{
    manager_retained_t *retained = ap_retained_data_get(RETAINED_KEY);

    if (retained == NULL) {
        apr_pool_t *pool = s->process->pool;

        retained = ap_retained_data_create(RETAINED_KEY, sizeof(*retained));
        retained->instances = apr_array_make(pool, 8, sizeof(scoreboard_instance_t *));
        retained->managers = apr_array_make(pool, 8, sizeof(manager_record_t));
    }
    return retained;
}

static void record_add(manager_retained_t *retained, pid_t pid, apr_uint32_t generation)
{
    manager_record_t *record = NULL;
    int i;

    for (i = 0; i < retained->managers->nelts; i++) {
        if (APR_ARRAY_IDX(retained->managers, i, manager_record_t).pid == 0) {
            record = &APR_ARRAY_IDX(retained->managers, i, manager_record_t);
            break;
        }
    }
    if (record == NULL) {
        record = apr_array_push(retained->managers);
    }
    record->pid = pid;
    record->generation = generation;
}

static void record_remove(manager_retained_t *retained, pid_t pid)
{
    int i;

    for (i = 0; i < retained->managers->nelts; i++) {
        if (APR_ARRAY_IDX(retained->managers, i, manager_record_t).pid == pid) {
            APR_ARRAY_IDX(retained->managers, i, manager_record_t).pid = 0;
        }
    }
}

/* An older instance is of no use once its last daemon has ended; its descriptors are given back. */
static void fallbacks_release(const parent_t *parent)
{
    const config_server_t *config = config_server_get(parent->plan.server);
    int i;

    for (i = 0; i < config->groups->nelts; i++) {
        scoreboard_instance_t *instance =
            APR_ARRAY_IDX(config->groups, i, config_group_t *)->instance;

        if (instance != NULL && instance->fallback != NULL &&
            scoreboard_live_update(instance->fallback) == 0) {
            instance->fallback = NULL;
        }
    }
    instances_retire(parent->retained, config);
}

/* A manager has ended; the current one gets a successor at once. */
static void manager_died(parent_child_t *child, int status)
{
    parent_t *parent = child->parent;
    pid_t pid = child->proc.pid;
    apr_int64_t age = scoreboard_clock() - parent->forked;

    record_remove(parent->retained, pid);
    if (pid != parent->manager) {
        fallbacks_release(parent);
        return;
    }
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, parent->plan.server,
                 PIPELOGNO(0301) "the manager (pid %" APR_PID_T_FMT
                                 ") ended with wait status %d; starting another",
                 pid, status);
    parent->plan.generation = ++parent->retained->generation;
    parent->plan.delay = age < YOUNG ? YOUNG : 0;
    parent->plan.kick = 0;
    manager_fork(parent);
}

/* httpd's main loop tells about a manager. */
static void manager_changed(int reason, void *data, int status)
{
    parent_child_t *child = data;

    switch (reason) {
    case APR_OC_REASON_RESTART: /* stop or restart: nobody is left to be served */
        (void)kill(child->proc.pid, SIGTERM);
        apr_proc_other_child_unregister(child);
        break;
    case APR_OC_REASON_DEATH:
    case APR_OC_REASON_LOST:
        apr_proc_other_child_unregister(child);
        manager_died(child, status);
        break;
    default:
        break;
    }
}

static void manager_register(parent_t *parent, pid_t pid)
{
    apr_pool_t *pool = parent->plan.pconf;
    parent_child_t *child = apr_pcalloc(pool, sizeof(*child));

    child->parent = parent;
    child->proc.pid = pid;
    apr_proc_other_child_register(&child->proc, manager_changed, child, NULL, pool);
}

static void manager_fork(parent_t *parent)
{
    pid_t pid = fork();

    if (pid == 0) {
        manager_main(&parent->plan);
    }
    parent->manager = pid;
    parent->forked = scoreboard_clock();
    if (pid < 0) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, errno, parent->plan.server,
                     PIPELOGNO(0302) "cannot fork a manager; no application is served");
        return;
    }
    record_add(parent->retained, pid, parent->plan.generation);
    manager_register(parent, pid);
}

/* Does nothing: that there is a handler makes SIGCHLD end the main loop's sleep. */
static void wake_up(int signum)
{
    (void)signum;
}

static void wake_up_install(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = wake_up;
    action.sa_flags = SA_RESTART | SA_NOCLDSTOP;
    (void)sigaction(SIGCHLD, &action, NULL);
}

void manager_child_init(void)
{
    (void)signal(SIGCHLD, SIG_DFL);
}

/* pconf is cleared: this generation takes no more requests once its children have gone. */
static apr_status_t generation_end(void *data)
{
    parent_t *parent = data;

    (void)signal(SIGCHLD, SIG_DFL);
    (void)close(parent->plan.liveness_read);
    (void)close(parent->plan.liveness_write);
    return APR_SUCCESS;
}

static apr_uint32_t channels_default(void)
{
    int daemons = 0;
    int threads = 0;

    (void)ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &daemons);
    (void)ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    if (daemons <= 0 || threads <= 0 || daemons > CHANNELS_MAX / threads) {
        return CHANNELS_MAX;
    }
    return (apr_uint32_t)(daemons * threads);
}

/* A channel may be held by a worker whose client left, so there are never fewer than twice the
 * workers. */
static scoreboard_shape_t group_shape(const config_group_t *group)
{
    scoreboard_shape_t shape = { .processes = (apr_uint32_t)group->processes,
                                 .threads = (apr_uint32_t)group->threads,
                                 .channels = (apr_uint32_t)group->channels };

    if (group->channels == 0) {
        shape.channels = channels_default();
        if (shape.channels < 2 * shape.processes * shape.threads) {
            shape.channels = 2 * shape.processes * shape.threads;
        }
    }
    return shape;
}

/* The ids of the group's mount points, sorted; in p. */
static void shape_mounts(const config_group_t *group, scoreboard_shape_t *shape, apr_pool_t *p)
{
    int count = group->mounts_by_id->nelts;
    apr_uint64_t *ids = apr_palloc(p, (apr_size_t)(count + 1) * sizeof(*ids));
    int i;

    for (i = 0; i < count; i++) {
        ids[i] = APR_ARRAY_IDX(group->mounts_by_id, i, const config_mount_t *)->id;
    }
    shape->mounts = ids;
    shape->mount_count = (apr_uint32_t)count;
}

static int instance_find(const manager_retained_t *retained, const config_group_t *group)
{
    int i;

    for (i = 0; i < retained->instances->nelts; i++) {
        const scoreboard_instance_t *instance =
            APR_ARRAY_IDX(retained->instances, i, scoreboard_instance_t *);

        if (!strcmp(instance->name, group->name) && !strcmp(instance->digest, group->digest)) {
            return i;
        }
    }
    return -1;
}

/* The instance of that group, other than `current`, which has daemons to serve, newest first; NULL:
 * none. */
static scoreboard_instance_t *instance_serving(const manager_retained_t *retained, const char *name,
                                               const scoreboard_instance_t *current)
{
    scoreboard_instance_t *best = NULL;
    int i;

    for (i = 0; i < retained->instances->nelts; i++) {
        scoreboard_instance_t *other =
            APR_ARRAY_IDX(retained->instances, i, scoreboard_instance_t *);

        if (other != current && !strcmp(other->name, name) &&
            atomic_load(&other->board->live) > 0 &&
            (best == NULL || other->last_generation > best->last_generation)) {
            best = other;
        }
    }
    return best;
}

static apr_status_t instance_attach(manager_retained_t *retained, config_group_t *group,
                                    server_rec *s)
{
    int at = instance_find(retained, group);
    scoreboard_instance_t *instance;
    scoreboard_shape_t shape = group_shape(group);
    apr_status_t rv;

    if (at >= 0) {
        instance = APR_ARRAY_IDX(retained->instances, at, scoreboard_instance_t *);
    } else {
        shape_mounts(group, &shape, group->mounts_by_id->pool);
        rv = scoreboard_create(group->name, group->digest, &shape, &instance, s->process->pool);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        APR_ARRAY_PUSH(retained->instances, scoreboard_instance_t *) = instance;
    }
    instance->last_generation = retained->generation;
    atomic_store(&instance->board->newest, retained->generation);
    instance->fallback = instance_serving(retained, instance->name, instance);
    if (instance->fallback != NULL) {
        instance->fallback->fallback = NULL;
    }
    group->instance = instance;
    return APR_SUCCESS;
}

static int instance_needed(const config_server_t *config, const scoreboard_instance_t *instance)
{
    int i;

    for (i = 0; i < config->groups->nelts; i++) {
        const config_group_t *group = APR_ARRAY_IDX(config->groups, i, config_group_t *);

        if (group->older == instance ||
            (group->instance != NULL &&
             (group->instance == instance || group->instance->fallback == instance))) {
            return 1;
        }
    }
    return 0;
}

/* Lets go of instances that no group uses, and tells their managers, which have their own copies.
 */
static void instances_retire(manager_retained_t *retained, const config_server_t *config)
{
    int kept = 0;
    int i;

    for (i = 0; i < retained->instances->nelts; i++) {
        scoreboard_instance_t *instance =
            APR_ARRAY_IDX(retained->instances, i, scoreboard_instance_t *);

        if (instance_needed(config, instance)) {
            APR_ARRAY_IDX(retained->instances, kept++, scoreboard_instance_t *) = instance;
        } else {
            atomic_store(&instance->board->superseded, retained->generation);
            scoreboard_destroy(instance);
        }
    }
    retained->instances->nelts = kept;
}

/* Channels take descriptors; the hard limit is what the administrator set, the soft one is a
 * default. */
static void descriptors_allow(const config_server_t *config)
{
    struct rlimit limit;
    rlim_t wanted = DESCRIPTORS_SPARE;
    int i;

    for (i = 0; i < config->groups->nelts; i++) {
        scoreboard_shape_t shape = group_shape(APR_ARRAY_IDX(config->groups, i, config_group_t *));

        wanted +=
            2 * (2 + 2 * (rlim_t)shape.channels); /* twice: an older instance may live beside it */
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static apr_status_t instances_attach(manager_retained_t *retained, const config_server_t *config,
                                     server_rec *s)
{
    int i;

    descriptors_allow(config);
    for (i = 0; i < config->groups->nelts; i++) {
        config_group_t *group = APR_ARRAY_IDX(config->groups, i, config_group_t *);
        apr_status_t rv = instance_attach(retained, group, s);

        if (rv != APR_SUCCESS) {
            ap_log_error(
                APLOG_MARK, APLOG_CRIT, rv, s,
                PIPELOGNO(0303) "cannot make the queue and the channels of process group %s",
                group->name);
            if (retained->generation == 1) {
                return rv;
            }
            group->instance = NULL; /* on a graceful an error would end Apache */
            group->older = instance_serving(retained, group->name, NULL);
        }
    }
    instances_retire(retained, config);
    return APR_SUCCESS;
}

static apr_status_t liveness_make(manager_plan_t *plan)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return errno;
    }
    plan->liveness_read = ends[0];
    plan->liveness_write = ends[1];
    return APR_SUCCESS;
}

/* Managers of earlier generations that still have something to do. */
static void managers_reregister(parent_t *parent)
{
    int i;

    for (i = 0; i < parent->retained->managers->nelts; i++) {
        pid_t pid = APR_ARRAY_IDX(parent->retained->managers, i, manager_record_t).pid;

        if (pid != 0) {
            manager_register(parent, pid);
        }
    }
}

/* Whether this generation has a group to run. */
static int instances_any(const config_server_t *config)
{
    int i;

    for (i = 0; i < config->groups->nelts; i++) {
        if (APR_ARRAY_IDX(config->groups, i, config_group_t *)->instance != NULL) {
            return 1;
        }
    }
    return 0;
}

int manager_start(apr_pool_t *pconf, server_rec *main_server)
{
    manager_retained_t *retained = retained_get(main_server);
    parent_t *parent = apr_pcalloc(pconf, sizeof(*parent));
    apr_status_t rv;

    retained->generation++;
    parent->retained = retained;
    parent->plan.server = main_server;
    parent->plan.pconf = pconf;
    parent->plan.generation = retained->generation;
    parent->plan.parent = getpid();
    parent->plan.kick = retained->generation > 1;
    managers_reregister(parent);
    rv = instances_attach(retained, config_server_get(main_server), main_server);
    if (rv != APR_SUCCESS) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (!instances_any(config_server_get(main_server))) {
        return OK;
    }
    rv = liveness_make(&parent->plan);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, main_server,
                     PIPELOGNO(0304) "cannot make the liveness pipe");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    apr_pool_cleanup_register(pconf, parent, generation_end, apr_pool_cleanup_null);
    wake_up_install();
    manager_fork(parent);
    return OK;
}
