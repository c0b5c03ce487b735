/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager.h: the manager process: one per generation, forked by the httpd parent, which forks and
 * supervises the daemons of every group.
 *
 * The parent's part (manager_parent.c) runs in post_config, returns at once, and never fails for an
 * application's sake: an error there would end Apache.
 */
#ifndef SERVER_MANAGER_H
#define SERVER_MANAGER_H

#include <httpd.h>

/*
 * Finds or makes the shared parts of every group, and forks this generation's manager.  Second pass
 * of post_config, httpd parent.  OK; HTTP_INTERNAL_SERVER_ERROR only at the first start, when
 * memory or descriptors do not suffice (logged).
 */
int manager_start(apr_pool_t *pconf, server_rec *main_server);

/* child_init: what the parent set up for itself is not the child's. */
void manager_child_init(void);

#endif
