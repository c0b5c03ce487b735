/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager_descriptors.h: what a process forked from httpd keeps of it.  Managers, and the daemons
 * that they fork; single-threaded.
 */
#ifndef SERVER_MANAGER_DESCRIPTORS_H
#define SERVER_MANAGER_DESCRIPTORS_H

#include <apr_tables.h>
#include <httpd.h>

/* Closes every descriptor but 0-2, the error logs' and those in keep (int). */
void manager_descriptors_close(server_rec *main_server, const apr_array_header_t *keep,
                               apr_pool_t *p);

/* Shows what a process is in ps and top; at most the room that httpd's own arguments have. */
void manager_title_set(server_rec *main_server, const char *title);

#endif
