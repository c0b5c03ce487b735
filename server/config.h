/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h: what the directives say, after they were read, merged and checked.
 *
 * Written by the httpd parent while it reads its configuration (config_directives.c,
 * config_check.c), owned by pconf, and read-only from then on, in the children, the manager and the
 * daemons.
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <httpd.h>
#include <http_config.h>

#include "mod_pipeline.h"

/* Request types, as bits; the names stand in stages/table.h. */
#define CONFIG_TYPE_BROWSER 0x1u
#define CONFIG_TYPE_HTTP    0x2u
#define CONFIG_TYPE_XMLRPC  0x4u
#define CONFIG_TYPE_WSGI    0x8u
#define CONFIG_TYPE_ALL     0xfu
#define CONFIG_TYPE_COUNT   4

/* Where a directive stood, for messages. */
typedef struct config_place_t {
    const char *directive;
    const char *file;
    int line;
} config_place_t;

/* PipelineStorage NAME URI */
typedef struct config_storage_t {
    const char *name;
    const char *uri;
    config_place_t place;
} config_storage_t;

/* PipelineStage NAME module:callable after= before= types= key=value... */
typedef struct config_stage_t {
    const char *name;
    const char *target; /* module:callable */
    const char *after;  /* comma-separated names, "?name" may be absent; "" none */
    const char *before;
    unsigned types;            /* CONFIG_TYPE_* bits */
    const apr_table_t *params; /* the remaining key=value pairs */
    config_place_t place;
} config_stage_t;

typedef enum {
    CONFIG_MOUNT_WSGI, /* PipelineScriptAlias: a WSGI application */
    CONFIG_MOUNT_ROOT  /* PipelineRoot: a folder of a storage, published */
} config_mount_e;

typedef struct config_group_t config_group_t;
typedef struct config_server_t config_server_t;

/* One URL prefix of one virtual host, and what answers there. */
typedef struct config_mount_t {
    config_mount_e kind;
    const char *prefix; /* no trailing slash; "" is the whole host */
    apr_size_t prefix_len;
    const char *target;              /* WSGI: module:callable or /path/to/file.wsgi[:callable] */
    const config_storage_t *storage; /* ROOT */
    const char *folder; /* ROOT: absolute path in the storage, "/" is its root object */
    apr_uint64_t id;    /* hash of host and prefix, the same in every generation */
    server_rec *server;
    const config_server_t *config; /* of that server */
    config_group_t *group;
    const char *group_name; /* as PipelineProcessGroup or the directive said */
    config_place_t place;
} config_mount_t;

/* PipelineDaemonProcess NAME option=value... ; times are in us. */
struct config_group_t {
    const char *name;
    int processes;    /* default 2 */
    int threads;      /* per process, default 1 */
    int channels;     /* requests at once, waiting ones too; 0: from MaxRequestWorkers */
    const char *user; /* NULL: httpd's own */
    const char *group;
    uid_t uid;
    gid_t gid;
    const char *home;                    /* working directory, NULL: / */
    int umask;                           /* -1: httpd's own */
    const char *lang;                    /* LANG of the process; NULL: C.UTF-8 */
    const char *display_name;            /* in ps; NULL: the module's own */
    const char *python_home;             /* virtual environment or prefix; NULL: the module's own */
    const char *python_path;             /* colon-separated folders, put before sys.path */
    const char *python_version;          /* "3.11": which interpreter module; NULL: as built */
    const char *interp_module;           /* absolute path of that module */
    apr_interval_time_t queue_timeout;   /* longest wait for a free worker; default 30 s */
    apr_interval_time_t startup_timeout; /* to load the applications: default 120 s */
    apr_interval_time_t request_timeout; /* from ticket to end; default 60 s, 0 none */
    apr_interval_time_t graceful_timeout; /* for an old generation's requests; default 60 s */
    apr_interval_time_t shutdown_timeout; /* on stop and restart: default 5 s */
    int maximum_requests;                 /* a process drains after so many; 0 never */
    apr_array_header_t *zcml;             /* const char *: files for PipelineZCML, in order */
    apr_array_header_t *mounts;           /* config_mount_t *, every one that this group serves */
    apr_array_header_t *mounts_by_id;     /* the same, sorted by id */
    apr_array_header_t *storages;         /* config_storage_t *, all that were declared */
    const char *digest; /* hex: of all above that a daemon depends on, and the build */
    /* Borrowed from the process pool; set once, in post_config. */
    struct scoreboard_instance_t *instance; /* NULL: it could not be made */
    struct scoreboard_instance_t *older;    /* then this one serves; NULL: none */
    config_place_t place;
};

/* Per server_rec; merged from the main server's. */
struct config_server_t {
    apr_array_header_t *groups;   /* config_group_t *, main server only: all of them */
    apr_array_header_t *storages; /* config_storage_t *, main server only */
    const char *group_name;       /* PipelineProcessGroup, NULL: not said */
    config_place_t group_place;   /* where it was said */
    apr_array_header_t *mounts;   /* config_mount_t *, longest prefix first after the check */
    apr_array_header_t *stages;   /* config_stage_t *, the server's own after the main server's */
    apr_array_header_t *zcml;     /* const char *, until config_check hands them to the group */
    /* order_stage_t *, one array per request type */
    const apr_array_header_t *order[CONFIG_TYPE_COUNT];
};

config_server_t *config_server_get(const server_rec *s);

/* The mount whose prefix covers the path (whole segments only), or NULL. */
const config_mount_t *config_mount_find(const server_rec *s, const char *uri);

/* The group's mount with that id, or NULL: another generation's. */
const config_mount_t *config_mount_by_id(const config_group_t *group, apr_uint64_t id);

/* The directives, for the module record. */
extern const command_rec config_commands[];
void *config_server_create(apr_pool_t *p, server_rec *s);
void *config_server_merge(apr_pool_t *p, void *base, void *add);

/*
 * Resolves groups, storages and stages after every file was read; computes the digests.
 * Returns OK, or logs one line (directive, file, line, reason) and returns
 * HTTP_INTERNAL_SERVER_ERROR.
 * Parent only, in check_config, so that `apachectl -t` does the same.
 */
int config_check(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *main_server);

/*
 * Prints what the directives amount to, if `apachectl -t -D DUMP_PIPELINE_CONFIG` asked for it:
 * every group with its options, digest and mounts.  To be called in test_config, after
 * config_check().
 */
void config_dump(apr_pool_t *p, server_rec *main_server);

#endif
