/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.h: the httpd child's side: which requests are ours, and one request's way to a worker and
 * back.
 *
 * Runs in the threads of httpd's children, without Python and without a database.  Any number of
 * threads at once; what they share stands in the scoreboard.
 */
#ifndef SERVER_CHILD_H
#define SERVER_CHILD_H

#include <httpd.h>

#define CHILD_HANDLER "pipeline-request" /* r->handler of a request that a mount point covers */

/* child_init: remembers the pid for the scoreboard, and closes what only managers need. */
void child_start(apr_pool_t *pchild, server_rec *main_server);

/* translate_name: OK when a mount point covers the path, which then needs no file; else DECLINED.
 */
int child_translate(request_rec *r);

/* map_to_storage: OK for a request that child_translate() took: no directory walk, no stat. */
int child_map_to_storage(request_rec *r);

/* type_checker: sets the handler; a SetHandler of the location overrides it later. */
int child_type(request_rec *r);

/* handler: sends the request to a worker and its answer to the client. */
int child_handle(request_rec *r);

/* pre_connection: room for what one connection remembers. */
int child_connection(conn_rec *c, void *csd);

#endif
