/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost.c: the stage `vhost`: what of the path is the mount's, and what is the site's own.
 *
 * The directive has mapped the host's root to a folder, so that no client may ask for another
 * mapping, for the process's controls or for debugging by a name in the path.  A worker thread, no
 * GIL.
 */
#include "stages/runner_private.h"

#include <string.h>

/* Namespaces that belong to the operator. A mounted WSGI application has names of its own. */
static const char *const vhost_refused[] = { "++vh++", "++etc++process", "++debug++" };

static int vhost_is_refused(const char *path)
{
    const char *name;
    apr_size_t i;

    for (name = path; name != NULL; name = strchr(name, '/')) {
        name += *name == '/';
        for (i = 0; i < sizeof vhost_refused / sizeof *vhost_refused; ++i) {
            if (strncmp(name, vhost_refused[i], strlen(vhost_refused[i])) == 0) {
                return 1;
            }
        }
    }
    return 0;
}

static apr_status_t vhost_enter(stage_run_t *run)
{
    const wire_head_t *head = daemon_exchange_head(run->x);
    const char *path = head->text[WIRE_TEXT_URI].data;

    run->path = path;
    if (head->text[WIRE_TEXT_URI].len >= run->mount->prefix_len) {
        run->path = path + run->mount->prefix_len;
    }
    if (run->mount->kind == CONFIG_MOUNT_ROOT && vhost_is_refused(run->path)) {
        return run->api->answer(run, HTTP_BAD_REQUEST, NULL,
                                "This address has a name in it that is not for clients.\n");
    }
    return APR_SUCCESS;
}

const stage_actions_t stage_vhost = { "vhost", vhost_enter, NULL, NULL };
