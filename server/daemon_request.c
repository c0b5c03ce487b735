/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_request.c: a request_rec in a daemon.
 *
 * Stages and httpd's logging want one.  It is made by hand, since httpd's own would bring the
 * filters that speak HTTP to a client; here there is neither a client nor a socket.  Worker
 * threads, each with its own connection.
 */
#include "server/daemon_private.h"

#include <string.h>

#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_protocol.h>
#include <scoreboard.h>

/* httpd's own field for a connection's id has no meaning here; the worker's number is as good. */
void daemon_connection_make(daemon_worker_t *worker)
{
    conn_rec *c = apr_pcalloc(worker->pool, sizeof(*c));
    ap_sb_handle_t *handle;

    c->pool = worker->pool;
    c->base_server = worker->daemon->plan.server;
    c->id = worker->index;
    c->conn_config = ap_create_conn_config(worker->pool);
    c->notes = apr_table_make(worker->pool, 4);
    c->bucket_alloc = apr_bucket_alloc_create(worker->pool);
    worker->address = apr_pcalloc(worker->pool, sizeof(*worker->address));
    worker->address->pool = worker->pool;
    worker->address->family = APR_INET;
    c->client_addr = worker->address;
    c->local_addr = worker->address;
    c->client_ip = (char *)"-";
    c->local_ip = (char *)"-";
    ap_create_sb_handle(&handle, worker->pool, -1, 0);
    c->sbh = handle; /* without one, log lines say "remote" */
    worker->connection = c;
}

static apr_table_t *headers_make(apr_pool_t *pool, const wire_head_t *head)
{
    apr_table_t *table = apr_table_make(pool, (int)head->field_count + 1);
    apr_uint32_t i;

    for (i = 0; i < head->field_count; i++) {
        apr_table_addn(table, head->fields[i].name.data, head->fields[i].value.data);
    }
    return table;
}

/* Unlike httpd's children, nothing here writes to these texts. */
static char *text(const wire_head_t *head, wire_text_e which)
{
    return (char *)head->text[which].data;
}

static void request_address(request_rec *r, daemon_worker_t *w, const wire_head_t *head)
{
    conn_rec *c = w->connection;

    c->client_ip = text(head, WIRE_TEXT_REMOTE_ADDR);
    c->local_ip = text(head, WIRE_TEXT_LOCAL_ADDR);
    w->address->port = head->remote_port;
    r->useragent_ip = c->client_ip;
    r->useragent_addr = w->address;
}

static void request_line(request_rec *r, const wire_head_t *head)
{
    r->request_time = head->request_time;
    r->method = text(head, WIRE_TEXT_METHOD);
    r->method_number = strcmp(r->method, "GET") == 0 ? M_GET : ap_method_number_of(r->method);
    r->header_only = r->method_number == M_GET && r->method[0] == 'H';
    r->uri = text(head, WIRE_TEXT_URI);
    r->unparsed_uri = text(head, WIRE_TEXT_UNPARSED_URI);
    r->args = head->text[WIRE_TEXT_ARGS].len > 0 ? text(head, WIRE_TEXT_ARGS) : NULL;
    r->protocol = text(head, WIRE_TEXT_PROTOCOL);
    r->proto_num = strcmp(r->protocol, "HTTP/1.0") ? HTTP_VERSION(1, 1) : HTTP_VERSION(1, 0);
    r->the_request = (char *)r->method;
    r->hostname = text(head, WIRE_TEXT_SERVER_NAME);
    r->user = head->text[WIRE_TEXT_REMOTE_USER].len > 0 ? text(head, WIRE_TEXT_REMOTE_USER) : NULL;
    r->ap_auth_type =
        head->text[WIRE_TEXT_AUTH_TYPE].len > 0 ? text(head, WIRE_TEXT_AUTH_TYPE) : NULL;
}

/* The id that a child has logged under, or the one that a child would make of it. */
static const char *request_id(apr_pool_t *pool, const daemon_exchange_t *x)
{
    if (x->head.text[WIRE_TEXT_REQUEST_ID].len > 0) {
        return x->head.text[WIRE_TEXT_REQUEST_ID].data;
    }
    return scoreboard_request_id(pool, x->head.request_time, x->channel, x->req);
}

request_rec *daemon_request_make(daemon_worker_t *worker, const daemon_exchange_t *x)
{
    apr_pool_t *pool = worker->request_pool;
    request_rec *r = apr_pcalloc(pool, sizeof(*r));
    const wire_head_t *head = &x->head;

    r->pool = pool;
    r->connection = worker->connection;
    r->connection->log_id = NULL;
    r->server = x->mount->server;
    r->connection->base_server = r->server;
    r->per_dir_config = r->server->lookup_defaults;
    r->request_config = ap_create_request_config(pool);
    r->headers_in = headers_make(pool, head);
    r->subprocess_env = apr_table_make(pool, 4);
    r->headers_out = apr_table_make(pool, 4);
    r->err_headers_out = apr_table_make(pool, 4);
    r->notes = apr_table_make(pool, 4);
    r->status = HTTP_OK;
    r->log_id = request_id(pool, x);
    request_line(r, head);
    request_address(r, worker, head);
    return r;
}
