/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.h: health checks and the status page, answered by an httpd child from the scoreboards
 * alone.
 *
 * No daemon is asked, so they answer at once also when every worker is stuck.  Child threads; they
 * only read shared memory, whose fields may be a moment apart from each other.
 */
#ifndef SERVER_STATUS_H
#define SERVER_STATUS_H

#include <apr_buckets.h>
#include <httpd.h>

#include "server/config.h"
#include "server/scoreboard.h"

/*
 * handler: "pipeline-live" (this child answers: always 200), "pipeline-startup" (200 once every
 * group has served), "pipeline-ready" (200 while every group serves, else 503), "pipeline-status"
 * (a page; ?auto: text for scripts).  Of the others DECLINED; HTTP_METHOD_NOT_ALLOWED for any but
 * GET and HEAD.
 */
int status_handle(request_rec *r);

/* What the page and the text say of one group. */
typedef struct status_group_t {
    const char *name;
    apr_uint32_t processes; /* that the configuration asks for */
    apr_uint32_t threads;   /* per process */
    apr_uint32_t live;      /* daemons that serve */
    apr_uint32_t busy;      /* workers */
    apr_uint32_t serving;   /* newest generation with a daemon that serves, 0 none */
    apr_uint32_t failed;    /* generation that could not load, 0 none */
    apr_int64_t failed_at;  /* us since the epoch */
    apr_uint64_t requests;
    apr_uint64_t refused;
    apr_uint64_t aborted;
    apr_uint64_t cancelled;
    apr_uint64_t deaths;
    apr_int64_t median_us; /* upper bounds of the buckets of the histogram */
    apr_int64_t p99_us;
    const scoreboard_instance_t *instance; /* the one that serves; NULL: the group has none */
} status_group_t;

/* Reads a group's scoreboard. */
void status_group_read(const config_group_t *group, status_group_t *status);

/* status_page.c: the page, for people. */
void status_page_write(request_rec *r, const config_server_t *config);

/* status_text.c: the same facts, a line each, for scripts. */
void status_text_write(request_rec *r, const config_server_t *config);

#endif
