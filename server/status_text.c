/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status_text.c: the status for scripts: "Group.Key: value", one a line, in a fixed order.
 * Child threads.
 */
#include "server/status.h"

#include <http_protocol.h>

static void row(request_rec *r, const status_group_t *status, const char *key, apr_uint64_t value)
{
    ap_rprintf(r, "%s.%s: %" APR_UINT64_T_FMT "\n", status->name, key, value);
}

static void group_write(request_rec *r, const config_group_t *group)
{
    status_group_t status;

    status_group_read(group, &status);
    row(r, &status, "Processes", status.processes);
    row(r, &status, "Threads", status.threads);
    row(r, &status, "Live", status.live);
    row(r, &status, "Busy", status.busy);
    row(r, &status, "Generation", status.serving);
    row(r, &status, "FailedGeneration", status.failed);
    row(r, &status, "Requests", status.requests);
    row(r, &status, "Refused", status.refused);
    row(r, &status, "Aborted", status.aborted);
    row(r, &status, "Cancelled", status.cancelled);
    row(r, &status, "Deaths", status.deaths);
    row(r, &status, "MedianMicroseconds", (apr_uint64_t)status.median_us);
    row(r, &status, "P99Microseconds", (apr_uint64_t)status.p99_us);
}

void status_text_write(request_rec *r, const config_server_t *config)
{
    int i;

    for (i = 0; i < config->groups->nelts; i++) {
        group_write(r, APR_ARRAY_IDX(config->groups, i, config_group_t *));
    }
}
