/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h: a daemon process: one interpreter, some worker threads, one queue to serve.
 */
#ifndef SERVER_DAEMON_H
#define SERVER_DAEMON_H

#include <httpd.h>

#include "server/config.h"
#include "server/scoreboard.h"

/* One-byte messages on the control pair. */
#define DAEMON_READY 'r' /* daemon -> manager: the applications are loaded, the workers serve */
#define DAEMON_PARTIAL \
    'p' /* daemon -> manager: serves, but not every application could be loaded */
#define DAEMON_RECYCLE 'c' /* daemon -> manager: maximum-requests is reached; start a successor */
#define DAEMON_DRAIN   'd' /* manager -> daemon: take no more tickets, end what you have, exit */

#define DAEMON_EXIT_LOAD       3 /* an application could not be loaded; it was logged */
#define DAEMON_EXIT_INTERP     4 /* the interpreter could not be started; it was logged */
#define DAEMON_EXIT_PRIVILEGES 5 /* the identity could not be changed; it was logged */
#define DAEMON_EXIT_QUEUE      6 /* the queue cannot be read any more; it was logged */

/* How a daemon is started; everything borrowed from the manager, whose fork it is. */
typedef struct daemon_plan_t {
    server_rec *server;
    const config_group_t *group;
    scoreboard_instance_t *instance;
    apr_uint32_t slot; /* row of scoreboard.processes */
    apr_uint32_t generation;
    int control;
    int liveness;
    pid_t parent; /* httpd's */
} daemon_plan_t;

/* The whole life of a daemon process, from the fork.  Never returns. */
void daemon_main(const daemon_plan_t *plan) __attribute__((noreturn));

#endif
