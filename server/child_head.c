/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child_head.c: a request_rec as a wire head.  Child threads.  Nothing is copied: the head borrows
 * from the request, and is encoded before the request goes on.
 */
#include "server/child_call.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

static void text_set(wire_head_t *head, wire_text_e which, const char *value)
{
    head->text[which].data = value != NULL ? value : "";
    head->text[which].len = value != NULL ? (apr_uint32_t)strlen(value) : 0;
}

/* Copies a table's rows into fields; an entry without a value counts as empty. */
static wire_field_t *fields_build(apr_pool_t *pool, const apr_table_t *table, apr_uint32_t *count)
{
    const apr_array_header_t *rows = apr_table_elts(table);
    const apr_table_entry_t *entry = (const apr_table_entry_t *)(const void *)rows->elts;
    wire_field_t *fields = apr_palloc(pool, (apr_size_t)(rows->nelts + 1) * sizeof(*fields));
    apr_uint32_t n = 0;
    int i;

    for (i = 0; i < rows->nelts; i++) {
        if (entry[i].key == NULL) {
            continue;
        }
        fields[n].name.data = entry[i].key;
        fields[n].name.len = (apr_uint32_t)strlen(entry[i].key);
        fields[n].value.data = entry[i].val != NULL ? entry[i].val : "";
        fields[n].value.len = (apr_uint32_t)strlen(fields[n].value.data);
        n++;
    }
    *count = n;
    return fields;
}

/* Bytes of the body: 0 none, -1 not known in advance. */
static apr_int64_t body_length(const request_rec *r)
{
    const char *length;

    if (apr_table_get(r->headers_in, "Transfer-Encoding") != NULL) {
        return -1;
    }
    length = apr_table_get(r->headers_in, "Content-Length");
    return length != NULL ? apr_atoi64(length) : 0;
}

static void head_addresses(const request_rec *r, wire_head_t *head)
{
    text_set(head, WIRE_TEXT_SERVER_NAME, ap_get_server_name((request_rec *)r));
    text_set(head, WIRE_TEXT_REMOTE_ADDR, r->useragent_ip);
    text_set(head, WIRE_TEXT_LOCAL_ADDR, r->connection->local_ip);
    head->server_port = (apr_uint16_t)ap_get_server_port(r);
    head->remote_port = r->useragent_addr != NULL ? r->useragent_addr->port : 0;
}

void child_head_build(const child_call_t *call, wire_head_t *head)
{
    request_rec *r = call->r;

    head->mount = call->mount->id;
    head->request_time = r->request_time;
    head->deadline = call->queue_deadline;
    head->content_length = body_length(r);
    text_set(head, WIRE_TEXT_METHOD, r->method);
    text_set(head, WIRE_TEXT_URI, r->uri);
    text_set(head, WIRE_TEXT_UNPARSED_URI, r->unparsed_uri);
    text_set(head, WIRE_TEXT_ARGS, r->args);
    text_set(head, WIRE_TEXT_PROTOCOL, r->protocol);
    text_set(head, WIRE_TEXT_SCHEME, ap_http_scheme(r));
    text_set(head, WIRE_TEXT_REMOTE_USER, r->user);
    text_set(head, WIRE_TEXT_AUTH_TYPE, r->ap_auth_type);
    text_set(head, WIRE_TEXT_REQUEST_ID, r->log_id);
    head_addresses(r, head);
    head->fields = fields_build(r->pool, r->headers_in, &head->field_count);
    head->vars = fields_build(r->pool, r->subprocess_env, &head->var_count);
}
