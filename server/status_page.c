/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status_page.c: the status page: for each group, two plots of the last five minutes and its
 * workers.
 *
 * One self-contained HTML page with inline SVG: no script, nothing from elsewhere.  The plots are
 * drawn from the samples that the managers keep in the scoreboard.  Child threads.
 */
#include "server/status.h"

#include <string.h>

#include <apr_strings.h>
#include <http_protocol.h>

#define PLOT_WIDTH  600 /* two units a second */
#define PLOT_HEIGHT 120
#define REFRESH     "5" /* s between two loads of the page */

static const char page_head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"refresh\" content=\"" REFRESH
    "\">\n<title>Pipeline status</title>\n<style>\n"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;"
    "color:#1c2430;background:#fbfbf9}\n"
    "h1{font-size:1.5rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}\n"
    "figure{margin:1rem 0}figcaption{color:#5a6472;font-size:.9rem}\n"
    "svg{width:100%;height:auto;background:#fff;border:1px solid #dcdfe4;border-radius:6px}\n"
    "dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.5rem 1rem}\n"
    "dt{color:#5a6472;font-size:.85rem}dd{margin:0;font-variant-numeric:tabular-nums}\n"
    "ol.workers{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:4px}\n"
    "ol.workers li{padding:.1rem .5rem;border-radius:4px;background:#e3efe4;font-size:.85rem}\n"
    "ol.workers li.busy{background:#f6d8a8}ol.workers li.wait{background:#e4e6ea}\n"
    "p.bad{background:#fbe4e1;border-left:4px solid #b3372b;padding:.5rem .8rem}\n"
    "</style>\n</head>\n<body>\n<h1>Pipeline status</h1>\n";

typedef double (*plot_value_f)(const scoreboard_t *board, apr_uint64_t second);

static const scoreboard_sample_t *sample_at(const scoreboard_t *board, apr_uint64_t second)
{
    const scoreboard_sample_t *sample = &board->samples[second % SCOREBOARD_SAMPLES];

    return atomic_load(&sample->second) == second ? sample : NULL;
}

static double value_rate(const scoreboard_t *board, apr_uint64_t second)
{
    const scoreboard_sample_t *now = sample_at(board, second);
    const scoreboard_sample_t *before = sample_at(board, second - 1);

    if (now == NULL || before == NULL) {
        return 0;
    }
    return (double)(atomic_load(&now->requests) - atomic_load(&before->requests));
}

static double value_busy(const scoreboard_t *board, apr_uint64_t second)
{
    const scoreboard_sample_t *now = sample_at(board, second);

    return now != NULL ? (double)atomic_load(&now->busy) : 0;
}

/* The seconds that are complete and still in the ring: [last - SCOREBOARD_SAMPLES + 3, last]. */
static void plot_write(request_rec *r, const scoreboard_t *board, const char *title,
                       plot_value_f value, double least)
{
    apr_uint64_t last = (apr_uint64_t)apr_time_sec(apr_time_now()) - 1;
    apr_uint64_t first = last - SCOREBOARD_SAMPLES + 3;
    double top = least;
    apr_uint64_t second;

    for (second = first; second <= last; second++) {
        double v = value(board, second);

        top = v > top ? v : top;
    }
    ap_rprintf(r,
               "<figure>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n"
               "<polyline fill=\"none\" stroke=\"#2b6cb0\" stroke-width=\"1.5\" points=\"",
               PLOT_WIDTH, PLOT_HEIGHT, title);
    for (second = first; second <= last; second++) {
        ap_rprintf(r, "%d,%.1f ", (int)(second - first) * 2,
                   PLOT_HEIGHT - 4 - value(board, second) / top * (PLOT_HEIGHT - 12));
    }
    ap_rprintf(
        r,
        "\"/>\n</svg>\n<figcaption>%s, the last five minutes; now %.0f, at most %.0f</figcaption>\n"
        "</figure>\n",
        title, value(board, last), top);
}

static void fact(request_rec *r, const char *name, apr_uint64_t value)
{
    ap_rprintf(r, "<div><dt>%s</dt><dd>%" APR_UINT64_T_FMT "</dd></div>\n", name, value);
}

static void facts_write(request_rec *r, const status_group_t *status)
{
    ap_rputs("<dl>\n", r);
    fact(r, "Generation", status->serving);
    fact(r, "Requests", status->requests);
    fact(r, "Median below, µs", (apr_uint64_t)status->median_us);
    fact(r, "99 % below, µs", (apr_uint64_t)status->p99_us);
    fact(r, "Refused (503)", status->refused);
    fact(r, "Broken off (502)", status->aborted);
    fact(r, "Left by the client", status->cancelled);
    fact(r, "Daemons that died", status->deaths);
    ap_rputs("</dl>\n", r);
}

static const char *state_name(apr_uint32_t state)
{
    static const char *const names[] = { "free", "starting", "ready", "draining", "gone" };

    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

static void worker_write(request_rec *r, const scoreboard_instance_t *instance,
                         apr_uint32_t process, apr_uint32_t thread)
{
    const scoreboard_process_t *row = &instance->processes[process];
    const scoreboard_worker_t *worker =
        &instance->workers[process * instance->board->threads + thread];
    apr_uint32_t state = atomic_load(&row->state);
    int busy = atomic_load(&worker->busy) != 0;

    ap_rprintf(r, "<li class=\"%s\">pid %u.%u %s, %" APR_UINT64_T_FMT " requests</li>\n",
               busy                        ? "busy"
               : state == SCOREBOARD_READY ? "idle"
                                           : "wait",
               atomic_load(&row->pid), thread, busy ? "busy" : state_name(state),
               atomic_load(&worker->requests));
}

static void workers_write(request_rec *r, const scoreboard_instance_t *instance)
{
    apr_uint32_t i;
    apr_uint32_t k;

    ap_rputs("<ol class=\"workers\">\n", r);
    for (i = 0; i < instance->board->process_count; i++) {
        apr_uint32_t state = atomic_load(&instance->processes[i].state);

        for (k = 0;
             state != SCOREBOARD_FREE && state != SCOREBOARD_GONE && k < instance->board->threads;
             k++) {
            worker_write(r, instance, i, k);
        }
    }
    ap_rputs("</ol>\n", r);
}

static void group_write(request_rec *r, const config_group_t *group)
{
    status_group_t status;

    status_group_read(group, &status);
    ap_rprintf(r, "<h2>Process group %s: %u of %u daemons serve, %u of %u workers busy</h2>\n",
               ap_escape_html(r->pool, group->name), status.live, status.processes, status.busy,
               status.live * status.threads);
    if (status.failed != 0) {
        ap_rprintf(
            r, "<p class=\"bad\">Generation %u could not be started; %s. The log says why.</p>\n",
            status.failed,
            status.live > 0 ? "the older one goes on serving" : "requests are answered with 503");
    }
    if (status.instance == NULL) {
        return;
    }
    plot_write(r, status.instance->board, "Requests per second", value_rate, 1);
    plot_write(r, status.instance->board, "Workers busy", value_busy,
               status.processes * status.threads);
    facts_write(r, &status);
    workers_write(r, status.instance);
}

void status_page_write(request_rec *r, const config_server_t *config)
{
    int i;

    ap_rputs(page_head, r);
    for (i = 0; i < config->groups->nelts; i++) {
        group_write(r, APR_ARRAY_IDX(config->groups, i, config_group_t *));
    }
    ap_rputs("</body>\n</html>\n", r);
}
